//! Block formats of GGUF tensors and their dequantisation to float32.
//!
//! A block holds a fixed number of neighbouring weights of one row: packed integers `q` with one or more half-precision
//! scales. `d` is the scale and `m` the minimum; layouts are those of ggml (`ggml-common.h`, `ggml-quants.c`).

use half::{bf16, f16};

/// Weights in a block of the K formats.
const K_BLOCK: usize = 256;

/// How the weights of a tensor are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BlockFormat {
    /// Single precision, one weight per block.
    F32,
    /// Half precision, one weight per block.
    F16,
    /// Brain float, one weight per block.
    Bf16,
    /// 4 bits, `w = d (q - 8)`, 32 weights per block.
    Q4_0,
    /// 4 bits, `w = d q + m`, 32 weights per block.
    Q4_1,
    /// 5 bits, `w = d (q - 16)`, 32 weights per block.
    Q5_0,
    /// 5 bits, `w = d q + m`, 32 weights per block.
    Q5_1,
    /// 8 bits, `w = d q`, 32 weights per block.
    Q8_0,
    /// 4 bits, `w = d s q - m t` with 6-bit `s` and `t` per 32 weights, 256 weights per block.
    Q4K,
    /// 5 bits, `w = d s q - m t` with 6-bit `s` and `t` per 32 weights, 256 weights per block.
    Q5K,
    /// 6 bits, `w = d s (q - 32)` with 8-bit `s` per 16 weights, 256 weights per block.
    Q6K,
}

/// Formats that a file may hold and that are not read here, by their numbers.
const NOT_READ: [(u32, &str); 21] = [
    (9, "Q8_1"),
    (10, "Q2_K"),
    (11, "Q3_K"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (20, "IQ4_NL"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (23, "IQ4_XS"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (29, "IQ1_M"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (39, "MXFP4"),
];

/// The name of the format with this number in a file, whether it is read here or not.
pub(super) fn name_of(number: u32) -> Option<&'static str> {
    let other = NOT_READ.iter().find(|(known, _)| *known == number).map(|(_, name)| *name);
    BlockFormat::from_number(number).map(BlockFormat::name).or(other)
}

impl BlockFormat {
    /// Every format, in the order of its number in a file.
    const ALL: [(u32, Self); 11] = [
        (0, Self::F32),
        (1, Self::F16),
        (2, Self::Q4_0),
        (3, Self::Q4_1),
        (6, Self::Q5_0),
        (7, Self::Q5_1),
        (8, Self::Q8_0),
        (12, Self::Q4K),
        (13, Self::Q5K),
        (14, Self::Q6K),
        (30, Self::Bf16),
    ];

    /// The format with this number in a file, or none where it is not known here.
    pub fn from_number(number: u32) -> Option<Self> {
        let found = Self::ALL.iter().find(|(known, _)| *known == number);
        found.map(|(_, format)| *format)
    }

    /// The name the field uses: `Q4_K`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q5_0 => "Q5_0",
            Self::Q5_1 => "Q5_1",
            Self::Q8_0 => "Q8_0",
            Self::Q4K => "Q4_K",
            Self::Q5K => "Q5_K",
            Self::Q6K => "Q6_K",
        }
    }

    /// Weights per block.
    pub fn block_len(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::Bf16 => 1,
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0 => 32,
            Self::Q4K | Self::Q5K | Self::Q6K => K_BLOCK,
        }
    }

    /// Bytes per block.
    pub fn block_bytes(self) -> usize {
        match self {
            Self::F16 | Self::Bf16 => 2,
            Self::F32 => 4,
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
            Self::Q4K => 144,
            Self::Q5K => 176,
            Self::Q6K => 210,
        }
    }

    /// Appends the weights of all whole blocks of `bytes` to `out`; a rest shorter than a block is ignored.
    pub fn dequantise(self, bytes: &[u8], out: &mut Vec<f32>) {
        for block in bytes.chunks_exact(self.block_bytes()) {
            match self {
                Self::F32 => out.push(f32::from_le_bytes([block[0], block[1], block[2], block[3]])),
                Self::F16 => out.push(half_at(block, 0)),
                Self::Bf16 => out.push(bf16::from_le_bytes([block[0], block[1]]).to_f32()),
                Self::Q4_0 => nibbles(block, 2, |q| half_at(block, 0) * (q - 8.0), out),
                Self::Q4_1 => {
                    let (d, m) = (half_at(block, 0), half_at(block, 2));
                    nibbles(block, 4, |q| d * q + m, out);
                }
                Self::Q5_0 => {
                    let d = half_at(block, 0);
                    fives(block, 2, |q| d * (q - 16.0), out);
                }
                Self::Q5_1 => {
                    let (d, m) = (half_at(block, 0), half_at(block, 2));
                    fives(block, 4, |q| d * q + m, out);
                }
                Self::Q8_0 => {
                    let d = half_at(block, 0);
                    out.extend(block[2..].iter().map(|q| d * f32::from(q.cast_signed())));
                }
                Self::Q4K => four_k(block, out),
                Self::Q5K => five_k(block, out),
                Self::Q6K => six_k(block, out),
            }
        }
    }
}

/// The half-precision number at byte `at`.
fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// 32 weights of 4 bits from byte `at`: first all low halves, then all high halves.
fn nibbles(block: &[u8], at: usize, weight: impl Fn(f32) -> f32, out: &mut Vec<f32>) {
    let packed = &block[at..at + 16];
    out.extend(packed.iter().map(|byte| weight(f32::from(byte & 15))));
    out.extend(packed.iter().map(|byte| weight(f32::from(byte >> 4))));
}

/// 32 weights of 5 bits: at byte `at` their fifth bits as one number, then the low four as in `nibbles`.
fn fives(block: &[u8], at: usize, weight: impl Fn(f32) -> f32, out: &mut Vec<f32>) {
    let high = u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]);
    let packed = &block[at + 4..at + 20];
    for half in 0..2 {
        for (i, byte) in packed.iter().enumerate() {
            let low = (byte >> (4 * half)) & 15;
            let fifth = u8::from((high >> (i + 16 * half)) & 1 == 1);
            out.push(weight(f32::from(low | (fifth << 4))));
        }
    }
}

/// The 6-bit scale and minimum of the 32 weights number `i` (0..8) in a `Q4_K` or `Q5_K` block.
fn scale_and_min(packed: &[u8], i: usize) -> (f32, f32) {
    let (scale, min) = if i < 4 {
        (packed[i] & 63, packed[i + 4] & 63)
    } else {
        let both = packed[i + 4];
        ((both & 15) | ((packed[i - 4] >> 6) << 4), (both >> 4) | ((packed[i] >> 6) << 4))
    };
    (f32::from(scale), f32::from(min))
}

/// A `Q4_K` block: `d`, `m`, 12 bytes of scales and minima, 128 bytes of nibbles.
fn four_k(block: &[u8], out: &mut Vec<f32>) {
    let (d, m) = (half_at(block, 0), half_at(block, 2));
    for group in 0..8 {
        let (scale, min) = scale_and_min(&block[4..16], group);
        let (scale, min) = (d * scale, m * min);
        let packed = &block[16 + 32 * (group / 2)..][..32];
        let shift = 4 * (group % 2);
        out.extend(packed.iter().map(|byte| scale * f32::from((byte >> shift) & 15) - min));
    }
}

/// A `Q5_K` block: as `Q4_K`, with 32 bytes of fifth bits (bit `g` of byte `i` for weight `i` of group `g`) before the nibbles.
fn five_k(block: &[u8], out: &mut Vec<f32>) {
    let (d, m) = (half_at(block, 0), half_at(block, 2));
    let fifths = &block[16..48];
    for group in 0..8 {
        let (scale, min) = scale_and_min(&block[4..16], group);
        let (scale, min) = (d * scale, m * min);
        let packed = &block[48 + 32 * (group / 2)..][..32];
        let shift = 4 * (group % 2);
        for (byte, fifth) in packed.iter().zip(fifths) {
            let q = ((byte >> shift) & 15) | (((fifth >> group) & 1) << 4);
            out.push(scale * f32::from(q) - min);
        }
    }
}

/// A `Q6_K` block: 128 bytes of low nibbles, 64 bytes of high bit pairs, 16 signed scales, `d`.
fn six_k(block: &[u8], out: &mut Vec<f32>) {
    let d = half_at(block, 208);
    let (lows, highs, scales) = (&block[..128], &block[128..192], &block[192..208]);
    for i in 0..K_BLOCK {
        // Two halves of 128 weights; in each, four runs of 32 share 64 low bytes and 32 high bytes.
        let (half, run, lane) = (i / 128, i % 128 / 32, i % 32);
        let low = (lows[64 * half + 32 * (run % 2) + lane] >> (4 * (run / 2))) & 15;
        let high = (highs[32 * half + lane] >> (2 * run)) & 3;
        let q = f32::from(low | (high << 4)) - 32.0;
        out.push(d * f32::from(scales[i / 16].cast_signed()) * q);
    }
}

#[cfg(test)]
mod tests;
