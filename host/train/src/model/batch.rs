//! Token ids of several sequences in one rectangle, with what is padding and where positions restart.

use std::ops::Range;

use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::error::ModelError;
use crate::model::rope::Place;

/// Sequences of token ids laid out in rows of one width.
///
/// A row holds segments: runs of real tokens that attend only to themselves and count their positions from 0. Everything
/// outside the segments is padding (id 0), which no real token ever attends to. Left and right padding are rows with one
/// segment, packing is rows with several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenBatch {
    width: usize,
    tokens: Vec<u32>,
    segments: Vec<Vec<Range<usize>>>,
}

impl TokenBatch {
    /// One sequence per row, ending together.
    ///
    /// # Errors
    ///
    /// Fails when there is no sequence or one of them is empty.
    pub fn left_padded<S: AsRef<[u32]>>(sequences: &[S]) -> Result<Self, ModelError> {
        Self::padded(sequences, 0, |width, len| width - len)
    }

    /// As [`TokenBatch::left_padded`], with at least this many columns.
    pub(crate) fn left_padded_to<S: AsRef<[u32]>>(width: usize, sequences: &[S]) -> Result<Self, ModelError> {
        Self::padded(sequences, width, |width, len| width - len)
    }

    /// One sequence per row, beginning together.
    ///
    /// # Errors
    ///
    /// Fails when there is no sequence or one of them is empty.
    pub fn right_padded<S: AsRef<[u32]>>(sequences: &[S]) -> Result<Self, ModelError> {
        Self::padded(sequences, 0, |_, _| 0)
    }

    /// Several sequences per row, one after the other, padded on the right.
    ///
    /// # Errors
    ///
    /// Fails when there is no row, or an empty row or sequence.
    pub fn packed<S: AsRef<[u32]>>(rows: &[Vec<S>]) -> Result<Self, ModelError> {
        let width = rows.iter().map(|row| row.iter().map(|sequence| sequence.as_ref().len()).sum()).max().unwrap_or(0);
        let mut batch = Self::blank(rows.len(), width)?;
        for (index, row) in rows.iter().enumerate() {
            let mut start = 0;
            for sequence in row {
                batch.put(index, start, sequence.as_ref())?;
                start += sequence.as_ref().len();
            }
        }
        batch.checked()
    }

    /// Rows of `width` columns whose real tokens are those where `is_real` is true: one run in each row.
    ///
    /// # Errors
    ///
    /// Fails when the lengths disagree, or a row has no real token or several runs of them.
    pub fn masked(width: usize, tokens: &[u32], is_real: &[bool]) -> Result<Self, ModelError> {
        let mut batch = Self::blank(is_real.len() / width.max(1), width)?;
        if tokens.len() != is_real.len() || batch.tokens.len() != tokens.len() {
            return Err(ModelError::request(format!(
                "{} tokens and {} marks for rows of {width}",
                tokens.len(),
                is_real.len()
            )));
        }
        for (row, marks) in is_real.chunks(width).enumerate() {
            let start = marks.iter().position(|mark| *mark).unwrap_or(width);
            let end = start + marks[start..].iter().take_while(|mark| **mark).count();
            if marks[end..].contains(&true) {
                return Err(ModelError::request(format!("the real tokens of row {row} do not follow each other")));
            }
            batch.put(row, start, &tokens[row * width + start..row * width + end])?;
        }
        batch.checked()
    }

    fn padded<S: AsRef<[u32]>>(
        sequences: &[S],
        min_width: usize,
        start: impl Fn(usize, usize) -> usize,
    ) -> Result<Self, ModelError> {
        let width = sequences.iter().map(|sequence| sequence.as_ref().len()).max().unwrap_or(0).max(min_width);
        let mut batch = Self::blank(sequences.len(), width)?;
        for (index, sequence) in sequences.iter().enumerate() {
            let sequence = sequence.as_ref();
            batch.put(index, start(width, sequence.len()), sequence)?;
        }
        batch.checked()
    }

    fn blank(rows: usize, width: usize) -> Result<Self, ModelError> {
        let count = rows
            .checked_mul(width)
            .filter(|count| 0 < *count)
            .ok_or_else(|| ModelError::request("a batch needs at least one token"))?;
        Ok(Self { width, tokens: vec![0; count], segments: vec![Vec::new(); rows] })
    }

    fn put(&mut self, row: usize, start: usize, sequence: &[u32]) -> Result<(), ModelError> {
        if sequence.is_empty() {
            return Err(ModelError::request(format!("sequence in row {row} is empty")));
        }
        let begin = row * self.width + start;
        self.tokens[begin..begin + sequence.len()].copy_from_slice(sequence);
        self.segments[row].push(start..start + sequence.len());
        Ok(())
    }

    fn checked(self) -> Result<Self, ModelError> {
        match self.segments.iter().position(Vec::is_empty) {
            Some(row) => Err(ModelError::request(format!("row {row} has no sequence"))),
            None => Ok(self),
        }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.segments.len()
    }

    /// Number of columns.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Token ids, row by row; 0 where there is padding.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// The runs of real tokens of one row, in order.
    pub fn segments(&self, row: usize) -> &[Range<usize>] {
        &self.segments[row]
    }

    /// Longest segment: the number of positions that the model needs.
    pub fn positions(&self) -> usize {
        self.segments.iter().flatten().map(Range::len).max().unwrap_or(0)
    }

    /// Position ids, row by row: the count of real tokens before this one in its segment; 0 in padding.
    pub fn position_ids(&self) -> Vec<u32> {
        self.by_segment(|segment, column| (column - segment.start) as u32, |_| 0)
    }

    /// Where each token stands in its segment, row by row; padding is a sequence of one.
    pub fn places(&self) -> Vec<Place> {
        let positions = self.position_ids();
        let lengths = self.by_segment(|segment, _| segment.len() as u32, |_| 1);
        positions.into_iter().zip(lengths).map(|(position, length)| Place { position, length }).collect()
    }

    /// First column that each token may attend to, row by row. A padding column attends to itself only.
    pub fn first_keys(&self) -> Vec<u32> {
        self.by_segment(|segment, _| segment.start as u32, |column| column as u32)
    }

    /// The ids as a tensor `[rows, width]`.
    pub fn tensor(&self, device: &Device) -> Tensor<2, Int> {
        let ids: Vec<i32> = self.tokens.iter().map(|id| *id as i32).collect();
        Tensor::from_data(TensorData::new(ids, [self.rows(), self.width]), device)
    }

    fn by_segment(&self, inside: impl Fn(&Range<usize>, usize) -> u32, outside: impl Fn(usize) -> u32) -> Vec<u32> {
        let mut values: Vec<u32> = (0..self.tokens.len()).map(|index| outside(index % self.width)).collect();
        for (row, segments) in self.segments.iter().enumerate() {
            for segment in segments {
                for column in segment.clone() {
                    values[row * self.width + column] = inside(segment, column);
                }
            }
        }
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn left_padding_starts_late_and_counts_real_tokens_only() {
        let batch = TokenBatch::left_padded(&[vec![5, 6, 7], vec![8]]).expect("two sequences");
        assert_eq!(batch.tokens(), [5, 6, 7, 0, 0, 8]);
        assert_eq!(batch.position_ids(), [0, 1, 2, 0, 0, 0]);
        assert_eq!(batch.first_keys(), [0, 0, 0, 0, 1, 2]);
    }

    #[test]
    fn packed_sequences_do_not_see_each_other() {
        let batch = TokenBatch::packed(&[vec![vec![1, 2], vec![3, 4]], vec![vec![5]]]).expect("two rows");
        assert_eq!(batch.tokens(), [1, 2, 3, 4, 5, 0, 0, 0]);
        assert_eq!(batch.position_ids(), [0, 1, 0, 1, 0, 0, 0, 0]);
        assert_eq!(batch.first_keys(), [0, 0, 2, 2, 0, 1, 2, 3]);
    }

    #[test]
    fn a_mask_says_where_the_real_tokens_are() {
        let real = [false, true, true, true, true, false];
        let batch = TokenBatch::masked(3, &[9, 5, 6, 7, 8, 9], &real).expect("two rows");
        assert_eq!(batch.tokens(), [0, 5, 6, 7, 8, 0]);
        assert_eq!(batch.position_ids(), [0, 0, 1, 0, 1, 0]);
        for bad in [[true, false, true, true, true, true], [false, false, false, true, true, true]] {
            assert!(TokenBatch::masked(3, &[1; 6], &bad).is_err());
        }
        assert!(TokenBatch::masked(3, &[1; 5], &real).is_err());
        assert!(TokenBatch::masked(0, &[], &[]).is_err());
    }

    #[test]
    fn empty_input_is_refused() {
        assert!(TokenBatch::left_padded::<Vec<u32>>(&[]).is_err());
        assert!(TokenBatch::left_padded(&[vec![1], vec![]]).is_err());
        assert!(TokenBatch::packed::<Vec<u32>>(&[vec![vec![1]], vec![]]).is_err());
    }
}
