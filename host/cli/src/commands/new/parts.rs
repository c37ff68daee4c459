//! What each stage adds to a new plugin: one text per stage, in sections.

use std::collections::BTreeMap;

use tunesmith::Stage;

/// The sections of a stage's text.
pub(crate) struct Part(BTreeMap<&'static str, String>);

impl Part {
    /// The part of a stage.
    pub(crate) fn of(stage: Stage) -> Self {
        let text = match stage {
            Stage::Curate => include_str!("curate.txt"),
            Stage::Judge => include_str!("judge.txt"),
            Stage::Reward => include_str!("reward.txt"),
            Stage::Credit => include_str!("credit.txt"),
            Stage::Weigh => include_str!("weigh.txt"),
            Stage::Objective => include_str!("objective.txt"),
            Stage::Edit => include_str!("edit.txt"),
            Stage::Measure => include_str!("measure.txt"),
            Stage::Answer => include_str!("answer.txt"),
            Stage::Retain => include_str!("retain.txt"),
        };
        let sections = text.split("--- ").filter_map(|section| section.split_once('\n'));
        Self(sections.map(|(name, content)| (name, content.trim_end().to_owned())).collect())
    }

    /// A section; empty if the stage has none of this name.
    pub(crate) fn section(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// The name and the Rust type of the setting.
    pub(crate) fn setting(&self) -> (&str, &str) {
        self.section("setting").split_once(' ').unwrap_or_default()
    }

    /// A value of the setting's schema, as it stands in `plugin.toml`.
    pub(crate) fn schema(&self, key: &str) -> Option<&str> {
        self.section("manifest").lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "))
    }
}
