//! The training set as tokens: rows are read and tokenised when they are drawn, as many as fit are kept.

use std::collections::BTreeMap;
use std::ops::Range;

use tunesmith_core::plan::TrainPlan;

use super::{RunError, preflight};
use crate::batching::{Buckets, EncodedTarget, Encoder, LengthRule, Share, Urn};
use crate::curate::set::SetRows;

/// How many bytes of rows are kept as tokens, as far as they are counted.
const KEPT_BYTES: usize = 64 << 20;

/// The training set of a run. Of each row it holds where it lies, its length and its weight; beside that at most 64 MiB of rows, as tokens.
#[derive(Debug, Default)]
pub(crate) struct TrainingRows {
    set: Option<SetRows>,
    kept: BTreeMap<usize, EncodedTarget>,
    kept_bytes: usize,
    lengths: Vec<u32>,
    shares: Vec<Share>,
    /// Rows that are cut.
    pub(crate) truncated: u64,
    /// Whether a row has two sequences.
    pub(crate) has_preferences: bool,
}

impl TrainingRows {
    /// Tokenises every row once. `weights` are those of the pool, by example id.
    ///
    /// # Errors
    ///
    /// Fails with the first row that cannot be trained on.
    pub(crate) fn new(
        set: SetRows,
        encoder: &Encoder,
        lengths: LengthRule,
        weights: &[(Range<u64>, f64)],
    ) -> Result<Self, RunError> {
        Self::within(KEPT_BYTES, set, encoder, lengths, weights)
    }

    fn within(
        room: usize,
        mut set: SetRows,
        encoder: &Encoder,
        lengths: LengthRule,
        weights: &[(Range<u64>, f64)],
    ) -> Result<Self, RunError> {
        let mut rows = Self::default();
        let mut shares: Vec<Share> =
            weights.iter().map(|(_, weight)| Share { rows: Vec::new(), weight: *weight }).collect();
        // What a plugin adds is of no file.
        shares.push(Share { rows: Vec::new(), weight: 1.0 });
        let is_weighted = shares.iter().any(|share| share.weight.to_bits() != 1.0_f64.to_bits());
        for number in 0..set.len() {
            let (row, bytes) = set.row(number)?;
            let target = preflight::encode(encoder, &row, lengths)?;
            rows.truncated += target.truncated as u64;
            rows.has_preferences |= target.rows.len() > 1;
            rows.lengths.push(target.width() as u32);
            if is_weighted {
                let share = weights.iter().position(|(ids, _)| ids.contains(&row.example.id)).unwrap_or(weights.len());
                shares[share].rows.push(number);
            }
            // Text is held as strings and tokens, several times its size in the file.
            let bytes = 4 * bytes + 8 * target.rows.iter().map(|row| row.tokens.len()).sum::<usize>();
            if rows.kept_bytes + bytes <= room {
                rows.kept_bytes += bytes;
                rows.kept.insert(number, target);
            }
        }
        if is_weighted {
            shares.retain(|share| !share.rows.is_empty());
            rows.shares = shares;
        }
        rows.set = Some(set);
        Ok(rows)
    }

    pub(crate) fn len(&self) -> usize {
        self.lengths.len()
    }

    /// What the sampler draws from.
    pub(crate) fn urn(&self, plan: &TrainPlan) -> Urn {
        let buckets =
            Buckets { lengths: self.lengths.clone(), batch: plan.batch as usize, batches: plan.buckets as usize };
        Urn { rows: self.len(), shares: self.shares.clone(), buckets: (plan.buckets > 0).then_some(buckets) }
    }

    /// The row with this number, as tokens.
    ///
    /// # Errors
    ///
    /// Fails when the file of the training set cannot be read any more.
    pub(crate) fn draw(
        &mut self,
        number: usize,
        encoder: &Encoder,
        lengths: LengthRule,
    ) -> Result<EncodedTarget, RunError> {
        match (self.kept.get(&number), &mut self.set) {
            (Some(target), _) => Ok(target.clone()),
            (None, Some(set)) => preflight::encode(encoder, &set.row(number)?.0, lengths),
            (None, None) => unreachable!("rows without a file are all kept"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use burn::tensor::Device;
    use tunesmith_core::data::{Example, Target, TrainingRow};
    use tunesmith_core::model::Message;

    use super::*;
    use crate::curate::set::SetWriter;
    use crate::model::LanguageModel;
    use crate::test_folder::chat_folder;

    const LENGTHS: LengthRule = LengthRule { longest: 100, truncate: false };

    fn set(folder: &std::path::Path) -> SetRows {
        let mut writer = SetWriter::create(&folder.join("curated.jsonl")).expect("writable");
        for id in 0..20 {
            let example = Example { id, messages: vec![Message::user(format!("say {id}"))], ..Example::default() };
            let target = Target::Completion("abcdefghij"[..=id as usize % 10].into());
            let row = TrainingRow { example: Arc::new(example), target, provenance: "gold".into(), notes: Vec::new() };
            writer.keep(&row).expect("writable");
        }
        writer.finish().expect("writable")
    }

    #[test]
    fn rows_are_the_same_kept_or_read_again() {
        let model = chat_folder();
        let encoder = Encoder::new(&LanguageModel::load(model.path(), &Device::flex()).expect("the fixture is whole"));
        let folders = [(); 3].map(|()| tempfile::tempdir().expect("a temporary folder"));
        let rows = |room, folder: &tempfile::TempDir| {
            TrainingRows::within(room, set(folder.path()), &encoder, LENGTHS, &[(0..4, 2.0), (4..20, 1.0)])
                .expect("they fit")
        };
        let (mut none, mut some, mut all) =
            (rows(0, &folders[0]), rows(3000, &folders[1]), rows(KEPT_BYTES, &folders[2]));
        assert_eq!((none.kept.len(), all.kept.len()), (0, 20));
        assert!((1..20).contains(&some.kept.len()) && some.kept_bytes <= 3000, "{}", some.kept.len());
        for number in [7, 0, 19, 3, 7] {
            let expected = all.draw(number, &encoder, LENGTHS).expect("it is kept");
            assert_eq!(none.draw(number, &encoder, LENGTHS).expect("it is read"), expected);
            assert_eq!(some.draw(number, &encoder, LENGTHS).expect("it is there"), expected);
        }
        let plan = TrainPlan { batch: 4, buckets: 2, ..crate::run::tests::train_plan() };
        let urn = none.urn(&plan);
        assert_eq!(urn, all.urn(&plan));
        assert_eq!(
            urn.shares.iter().map(|share| (share.rows.len(), share.weight)).collect::<Vec<_>>(),
            [(4, 2.0), (16, 1.0)]
        );
        assert_eq!(urn.buckets.expect("they are asked for").lengths[..2], [14, 15]);
    }
}
