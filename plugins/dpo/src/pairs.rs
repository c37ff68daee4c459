//! Which rows of a batch are pairs.

use tunesmith_sdk::{Error, Tensor, log};

/// A group of a batch: rows of one prompt.
#[derive(Debug, PartialEq, Eq)]
pub struct Group {
    /// The chosen row.
    pub chosen: usize,
    /// The rejected ones, at least one.
    pub rejected: Vec<usize>,
    /// The policy's own answers.
    pub own: Vec<usize>,
}

/// What to do about rows without a preference.
const HINT: &str = "name the columns `chosen` and `rejected` of the data in `[data]`, or take a plugin in `[curate]` that makes preferences";

/// The groups of a batch, in their order.
///
/// # Errors
///
/// Declines when a group lacks a chosen or a rejected row, has several chosen ones, or rows of other roles.
pub fn groups(numbers: &[i32], roles: &[String]) -> Result<Vec<Group>, Error> {
    let mut found = Vec::new();
    let rows: Vec<usize> = (0..numbers.len()).collect();
    for rows in rows.chunk_by(|one, other| numbers[*one] == numbers[*other]) {
        let of = |role: &str| rows.iter().copied().filter(|row| roles[*row] == role).collect::<Vec<_>>();
        let (chosen, rejected, own) = (of("chosen"), of("rejected"), of("self"));
        let number = numbers[rows[0]];
        let declined = |what: String| Err(Error::unsupported(format!("group {number} of the batch {what}; {HINT}")));
        if let Some(row) = rows.iter().find(|row| !matches!(roles[**row].as_str(), "chosen" | "rejected" | "self")) {
            return declined(format!("has a row of the role `{}`", roles[*row]));
        }
        match chosen.as_slice() {
            [] => return declined("has no chosen row".into()),
            [chosen] if !rejected.is_empty() => found.push(Group { chosen: *chosen, rejected, own }),
            [_] => return declined("has no rejected row".into()),
            _ => return declined(format!("has {} chosen rows", chosen.len())),
        }
    }
    Ok(found)
}

/// The pairs of a batch whose sides differ.
#[derive(Debug, Default, PartialEq)]
pub struct Pairs {
    /// The chosen row of each.
    pub chosen: Vec<i32>,
    /// The rejected one.
    pub rejected: Vec<i32>,
    /// The share of each in its group.
    pub shares: Vec<f32>,
    /// How many were left out, since both sides are the same.
    pub equal: usize,
    /// The groups that still have a pair, by their place.
    pub groups: Vec<usize>,
}

impl Pairs {
    /// The pairs of these groups; `is_same` says whether two rows are the same text.
    pub fn new(groups: &[Group], is_same: impl Fn(usize, usize) -> bool) -> Self {
        let mut pairs = Self::default();
        for (place, group) in groups.iter().enumerate() {
            let (same, other): (Vec<usize>, Vec<usize>) =
                group.rejected.iter().copied().partition(|row| is_same(group.chosen, *row));
            for row in &same {
                log::skip(*row, "the rejected completion equals the chosen one");
            }
            pairs.equal += same.len();
            for row in &other {
                pairs.chosen.push(group.chosen as i32);
                pairs.rejected.push(*row as i32);
                pairs.shares.push(1.0 / other.len() as f32);
            }
            if !other.is_empty() {
                pairs.groups.push(place);
            }
        }
        pairs
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.chosen.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.chosen.is_empty()
    }
}

/// The entries of these rows.
pub fn rows(tensor: &Tensor, rows: &[i32]) -> Tensor {
    tensor.index_select(0, &Tensor::from_ints(rows, &[rows.len()]))
}
