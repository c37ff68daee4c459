//! `TensorBoard`'s event files: records with checksums, each of which is an `Event` of TensorFlow's protocol buffers.
//!
//! A record is its length (u64), a checksum of the length (u32), its bytes, and a checksum of them (u32), all little-endian. A checksum is
//! CRC-32C, rotated to the right by 15 bits, plus a constant. Only what scalars need of an event is written: `wall_time` (field 1, double),
//! `step` (2, int64), `file_version` (3, string) and `summary` (5) with values of a `tag` (1, string) and a `simple_value` (2, float).

use std::time::{Duration, Instant};

/// Bytes of a record beside its event: length and two checksums.
const FRAME: usize = 16;

/// The time of day, read once and then only counted on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    began: Duration,
    since: Instant,
}

impl Clock {
    /// A clock that shows `began`, a time since 1970, now.
    pub(crate) fn new(began: Duration) -> Self {
        Self { began, since: Instant::now() }
    }

    /// Seconds since 1970.
    pub(crate) fn seconds(&self) -> f64 {
        (self.began + self.since.elapsed()).as_secs_f64()
    }
}

/// The first record of a file: the version of the format. `wall_time` is in seconds since 1970.
pub(crate) fn version(wall_time: f64) -> Vec<u8> {
    let mut event = time(wall_time);
    bytes(&mut event, 3, b"brain.Event:2");
    framed(&event)
}

/// A record with named numbers of a step. `wall_time` is in seconds since 1970.
pub(crate) fn scalars(wall_time: f64, step: u32, values: &[(String, f64)]) -> Vec<u8> {
    let mut event = time(wall_time);
    // A field of 0 is not written, as TensorFlow's own writer does.
    if step > 0 {
        varint(&mut event, 2 << 3);
        varint(&mut event, u64::from(step));
    }
    let mut summary = Vec::new();
    for (tag, value) in values {
        let mut one = Vec::new();
        bytes(&mut one, 1, tag.as_bytes());
        varint(&mut one, 2 << 3 | 5);
        one.extend((*value as f32).to_le_bytes());
        bytes(&mut summary, 1, &one);
    }
    bytes(&mut event, 5, &summary);
    framed(&event)
}

/// Where each whole record ends, up to the first that is damaged or cut.
pub(crate) fn ends(file: &[u8]) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut start = 0;
    while let Some(length) = whole(&file[start..]) {
        start += length;
        ends.push(start);
    }
    ends
}

/// The bytes of the record at the start, if it is whole.
fn whole(file: &[u8]) -> Option<usize> {
    let (length, rest) = file.split_first_chunk::<8>()?;
    let (length_sum, rest) = rest.split_first_chunk::<4>()?;
    // Before the length is used: what is damaged may say anything.
    if u32::from_le_bytes(*length_sum) != checksum(length) {
        return None;
    }
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    let (event, rest) = rest.split_at_checked(length)?;
    let (event_sum, _) = rest.split_first_chunk::<4>()?;
    (u32::from_le_bytes(*event_sum) == checksum(event)).then_some(FRAME + length)
}

fn framed(event: &[u8]) -> Vec<u8> {
    let length = (event.len() as u64).to_le_bytes();
    let mut record = Vec::with_capacity(FRAME + event.len());
    record.extend(length);
    record.extend(checksum(&length).to_le_bytes());
    record.extend(event);
    record.extend(checksum(event).to_le_bytes());
    record
}

/// CRC-32C, masked so that a checksum over data with checksums in it stays a good one.
fn checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// The beginning of an event.
fn time(wall_time: f64) -> Vec<u8> {
    let mut event = vec![1 << 3 | 1];
    event.extend(wall_time.to_le_bytes());
    event
}

/// A field of bytes: text, or a message.
fn bytes(message: &mut Vec<u8>, field: u64, content: &[u8]) {
    varint(message, field << 3 | 2);
    varint(message, content.len() as u64);
    message.extend(content);
}

fn varint(message: &mut Vec<u8>, mut number: u64) {
    while number > 0x7f {
        message.push(number as u8 | 0x80);
        number >>= 7;
    }
    message.push(number as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by `TensorBoard`'s own record writer and protocol buffers; see the README beside it.
    const THEIRS: &[u8] = include_bytes!("../tests/fixtures/tensorboard/events.out.tfevents.0.tunesmith");

    fn ours() -> Vec<Vec<u8>> {
        let value = |tag: &str, value| (tag.to_owned(), value);
        vec![
            version(1_700_000_000.5),
            scalars(1_700_000_001.25, 0, &[value("train/loss", 2.5), value("train/learning-rate", 1e-4)]),
            scalars(1_700_000_002.0, 300, &[value("train/loss", -0.125)]),
            scalars(1_700_000_003.0, 70_000, &[value("eval/größe/accuracy", 0.3)]),
            scalars(1_700_000_004.0, u32::MAX, &[]),
        ]
    }

    #[test]
    fn the_bytes_are_those_of_tensorboards_own_writer() {
        assert_eq!(ours().concat(), THEIRS);
    }

    #[test]
    fn whole_records_are_found_wherever_a_file_is_cut() {
        let expected: Vec<usize> = ours()
            .iter()
            .scan(0, |end, record| {
                *end += record.len();
                Some(*end)
            })
            .collect();
        for length in 0..=THEIRS.len() {
            let whole: Vec<usize> = expected.iter().copied().filter(|end| *end <= length).collect();
            assert_eq!(ends(&THEIRS[..length]), whole, "{length} bytes");
        }
    }

    #[test]
    fn a_flipped_bit_ends_what_can_be_used() {
        let first = ours()[0].len();
        for place in 0..THEIRS.len() {
            let mut file = THEIRS.to_vec();
            file[place] ^= 0x10;
            let found = ends(&file);
            assert!(found.iter().all(|end| *end <= place), "byte {place}");
            assert_eq!(found.is_empty(), place < first, "byte {place}");
        }
    }

    #[test]
    fn a_clock_counts_on_from_what_it_was_told() {
        let clock = Clock::new(Duration::from_secs(1_700_000_000));
        let (first, second) = (clock.seconds(), clock.seconds());
        assert!((1_700_000_000.0..1_700_000_100.0).contains(&first) && first <= second, "{first} {second}");
    }
}
