//! What a plugin says: log lines, metrics, skipped rows. Capped and escaped, since it ends up in terminals and reports.

use tunesmith_core::call::{Level, LogLine, Report};
use tunesmith_core::digest::PartsDigest;

use crate::limits::Limits;
use crate::text;

/// What a plugin said during a call.
pub(crate) struct Journal {
    report: Report,
    lines_left: usize,
    bytes_left: usize,
    line_bytes: usize,
    names: usize,
    stored: Option<PartsDigest>,
}

impl Journal {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            report: Report::default(),
            lines_left: limits.log_lines,
            bytes_left: limits.log_bytes,
            line_bytes: limits.log_line_bytes,
            names: limits.names,
            stored: None,
        }
    }

    pub(crate) fn line(&mut self, level: Level, text: &str) {
        if self.lines_left == 0 || self.bytes_left == 0 {
            self.report.suppressed += 1;
            return;
        }
        let text = text::escape(text, self.line_bytes.min(self.bytes_left));
        self.lines_left -= 1;
        self.bytes_left -= text.len().min(self.bytes_left);
        self.report.lines.push(LogLine { level, text });
    }

    pub(crate) fn metric(&mut self, name: &str, value: f64) {
        let name = text::name(name);
        if self.names <= self.report.metrics.len() && !self.report.metrics.contains_key(&name) {
            self.report.suppressed += 1;
        } else {
            self.report.metric(&name, value);
        }
    }

    pub(crate) fn skip(&mut self, why: &str) {
        let why = text::name(why);
        if self.names <= self.report.skipped.len() && !self.report.skipped.contains_key(&why) {
            self.report.suppressed += 1;
        } else {
            self.report.skip(&why);
        }
    }

    /// Notes what the plugin wrote into its store.
    pub(crate) fn stored(&mut self, name: &str, ids: &[u64], values: &[f64]) {
        let digest = self.stored.get_or_insert_default();
        digest.add(name.as_bytes());
        digest.add(&ids.iter().flat_map(|id| id.to_le_bytes()).collect::<Vec<u8>>());
        digest.add(&values.iter().flat_map(|value| value.to_bits().to_le_bytes()).collect::<Vec<u8>>());
    }

    /// Adds what was said to the report of the call. Costs are not this journal's business.
    pub(crate) fn finish(mut self, report: &mut Report) {
        self.report.stored = self.stored.take().map(PartsDigest::finish);
        report.absorb(self.report);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_a_cap_is_counted_not_kept() {
        let mut journal = Journal::new(&Limits { log_lines: 1, names: 1, ..Limits::default() });
        for word in ["a", "b"] {
            journal.line(Level::Info, word);
            journal.metric(word, 1.0);
            journal.skip(word);
        }
        journal.metric("a", f64::NAN);
        let mut report = Report::default();
        journal.finish(&mut report);
        assert_eq!((report.lines.len(), report.metrics.len(), report.skipped.len()), (1, 1, 1));
        assert_eq!(report.suppressed, 4);
    }
}
