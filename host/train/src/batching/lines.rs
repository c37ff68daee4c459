//! How the rows of a micro-batch lie in a forward pass: one per line, or several behind each other.

use crate::batching::MicroBatch;
use crate::error::ModelError;
use crate::model::TokenBatch;

/// The rows of a micro-batch on lines of one width, and where each begins.
///
/// Rows on one line do not see each other: positions restart, and attention ends where a row begins. What is computed of a row is therefore the
/// same on any line, up to rounding.
#[derive(Debug, Clone, PartialEq)]
pub struct Lines {
    /// The lines.
    pub layout: TokenBatch,
    /// `line * width + column` of each row's first token.
    pub starts: Vec<usize>,
}

impl Lines {
    /// One row per line, or with `is_packed` as few lines as first fit finds for the longest rows first (Johnson 1973). Lines are as wide as the
    /// longest row, so that packing never makes attention wider.
    ///
    /// # Errors
    ///
    /// Fails when there is no row.
    pub fn new(micro: &MicroBatch, is_packed: bool) -> Result<Self, ModelError> {
        let width = micro.width();
        let lines = if is_packed { packed(micro, width) } else { (0..micro.rows.len()).map(|row| vec![row]).collect() };
        let mut starts = vec![0; micro.rows.len()];
        for (number, line) in lines.iter().enumerate() {
            let mut start = number * width;
            for row in line {
                starts[*row] = start;
                start += micro.rows[*row].tokens.len();
            }
        }
        let rows: Vec<Vec<&[u32]>> =
            lines.iter().map(|line| line.iter().map(|row| micro.rows[*row].tokens.as_slice()).collect()).collect();
        Ok(Self { layout: TokenBatch::packed(&rows)?, starts })
    }
}

/// The rows of each line.
fn packed(micro: &MicroBatch, width: usize) -> Vec<Vec<usize>> {
    let len = |row: usize| micro.rows[row].tokens.len();
    let mut order: Vec<usize> = (0..micro.rows.len()).collect();
    order.sort_by_key(|row| std::cmp::Reverse(len(*row)));
    let mut lines: Vec<(usize, Vec<usize>)> = Vec::new();
    for row in order {
        match lines.iter_mut().find(|(used, _)| used + len(row) <= width) {
            Some((used, line)) => {
                *used += len(row);
                line.push(row);
            }
            None => lines.push((len(row), vec![row])),
        }
    }
    lines.into_iter().map(|(_, line)| line).collect()
}
