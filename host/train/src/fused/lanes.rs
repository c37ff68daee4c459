//! Loops over slices that compilers turn into vector instructions, with a fixed order of sums, and the rows of a matrix in parallel.

use rayon::prelude::*;

/// Partial sums of a long sum. The order of additions depends on nothing else.
const LANES: usize = 16;

/// Below this many elements threads cost more than they give.
const PARALLEL: usize = 1 << 14;

/// `e^x` for `x <= 0`, exact to 2 units in the last place; 0 below -87, NaN for NaN.
///
/// Range reduction to `|r| <= ln 2 / 2` and the polynomial of the Cephes library (`expf`), without branches.
#[inline]
pub(crate) fn exp_negative(x: f32) -> f32 {
    /// Adding and subtracting it rounds to an integer, which also stands in the low bits of the sum.
    const ROUND: f32 = 12_582_912.0;
    let sum = x * std::f32::consts::LOG2_E + ROUND;
    let n = sum - ROUND;
    let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let mut p = 1.987_569_1e-4;
    for coefficient in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = p * r + coefficient;
    }
    let p = p * r * r + r + 1.0;
    let scale = f32::from_bits((sum.to_bits() << 23).wrapping_add(1.0_f32.to_bits()));
    if x < -87.0 { 0.0 } else { p * scale }
}

/// `1 / (1 + e^-x)`.
#[inline]
pub(super) fn sigmoid(x: f32) -> f32 {
    let e = exp_negative(-x.abs());
    (if x < 0.0 { e } else { 1.0 }) / (1.0 + e)
}

/// The sum of `f(x)` over a slice.
#[inline]
pub(crate) fn sum_of(xs: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let (blocks, rest) = xs.as_chunks::<LANES>();
    for block in blocks {
        for (sum, &x) in lanes.iter_mut().zip(block) {
            *sum += f(x);
        }
    }
    lanes.iter().sum::<f32>() + rest.iter().map(|&x| f(x)).sum::<f32>()
}

/// The sum of products of two slices of one length.
#[inline]
pub(crate) fn dot(xs: &[f32], ys: &[f32]) -> f32 {
    let mut lanes = [0.0; LANES];
    let ((blocks, rest), (other_blocks, other_rest)) = (xs.as_chunks::<LANES>(), ys.as_chunks::<LANES>());
    for (block, other) in blocks.iter().zip(other_blocks) {
        for ((sum, &x), &y) in lanes.iter_mut().zip(block).zip(other) {
            *sum += x * y;
        }
    }
    lanes.iter().sum::<f32>() + rest.iter().zip(other_rest).map(|(&x, &y)| x * y).sum::<f32>()
}

/// The largest element, or minus infinity. NaN is passed over.
#[inline]
pub(crate) fn largest(xs: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (blocks, rest) = xs.as_chunks::<LANES>();
    for block in blocks {
        for (largest, &x) in lanes.iter_mut().zip(block) {
            *largest = if *largest < x { x } else { *largest };
        }
    }
    lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |largest, &x| if largest < x { x } else { largest })
}

/// How many rows one task takes, so that it is worth a thread.
fn rows_per_task(width: usize) -> usize {
    (PARALLEL / width.max(1)).max(1)
}

/// Calls `f` with the number of each row of `out` and the row.
pub(super) fn each_row(out: &mut [f32], width: usize, f: impl Fn(usize, &mut [f32]) + Send + Sync) {
    let rows = rows_per_task(width);
    out.par_chunks_mut(rows * width).enumerate().for_each(|(task, part)| {
        for (row, line) in part.chunks_mut(width).enumerate() {
            f(task * rows + row, line);
        }
    });
}

/// As [`each_row`], with a row of each of two matrices.
pub(super) fn each_row_pair(
    (out, width): (&mut [f32], usize),
    (other, other_width): (&mut [f32], usize),
    f: impl Fn(usize, &mut [f32], &mut [f32]) + Send + Sync,
) {
    let rows = rows_per_task(width);
    out.par_chunks_mut(rows * width).zip(other.par_chunks_mut(rows * other_width)).enumerate().for_each(
        |(task, (part, other_part))| {
            for (row, (line, other_line)) in part.chunks_mut(width).zip(other_part.chunks_mut(other_width)).enumerate()
            {
                f(task * rows + row, line, other_line);
            }
        },
    );
}
