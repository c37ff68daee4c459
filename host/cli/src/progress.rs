//! Progress bars on standard error, with speed and time left; nothing of it where that is no terminal.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tunesmith::{Event, Level, Observer};

use crate::terminal::{one_line, plain};

/// Shows a run to a person.
pub(crate) struct Progress {
    bars: MultiProgress,
    /// Work inside work, the innermost last.
    stack: Vec<ProgressBar>,
    is_terminal: bool,
}

impl Progress {
    /// Bars if standard error is a terminal; else warnings only.
    pub(crate) fn new() -> Self {
        let is_terminal = io::stderr().is_terminal();
        let target = if is_terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Self { bars: MultiProgress::with_draw_target(target), stack: Vec::new(), is_terminal }
    }

    /// Writes a line above the bars.
    fn say(&self, line: &str) {
        if self.is_terminal {
            let _ = self.bars.println(plain(line));
        } else {
            crate::terminal::say(line);
        }
    }

    fn begin(&mut self, work: &str, total: Option<u64>) {
        let bar = self.bars.add(total.map_or_else(ProgressBar::new_spinner, ProgressBar::new));
        bar.set_style(style(total.is_some()));
        bar.set_prefix(one_line(work));
        bar.enable_steady_tick(Duration::from_millis(200));
        self.stack.push(bar);
    }
}

impl Observer for Progress {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Begin { work, total } => self.begin(work, total),
            Event::Advance { units, note } => {
                if let Some(bar) = self.stack.last() {
                    bar.inc(units);
                    bar.set_message(one_line(note));
                }
            }
            Event::Finish => {
                if let Some(bar) = self.stack.pop() {
                    bar.finish_and_clear();
                }
            }
            Event::Line { plugin, line } => {
                // Lines for the plugin's author are in the run folder; without a terminal only what asks for action is shown.
                let is_shown = line.level == Level::Warn || (self.is_terminal && line.level == Level::Info);
                if is_shown {
                    self.say(&format!("{}: {}", one_line(plugin), one_line(&line.text)));
                }
            }
            Event::Note(note) => self.say(&one_line(note)),
            _ => {}
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        for bar in self.stack.drain(..) {
            bar.finish_and_clear();
        }
    }
}

fn style(has_total: bool) -> ProgressStyle {
    let template = if has_total {
        "{prefix:<18} [{bar:30}] {pos}/{len}  {per_sec}  {eta} left  {wide_msg}"
    } else {
        "{prefix:<18} {spinner} {pos}  {per_sec}  {elapsed}  {wide_msg}"
    };
    // The template is fixed; the default style is only for one that does not parse.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_parse() {
        assert!(
            ProgressStyle::with_template("{prefix:<18} [{bar:30}] {pos}/{len}  {per_sec}  {eta} left  {wide_msg}")
                .is_ok()
        );
    }

    #[test]
    fn work_inside_work_ends_in_order() {
        let mut progress = Progress::new();
        progress.event(Event::Begin { work: "curate", total: Some(3) });
        progress.event(Event::Begin { work: "generate", total: None });
        progress.event(Event::Advance { units: 1, note: "a\u{1b}b" });
        progress.event(Event::Finish);
        progress.event(Event::Finish);
        progress.event(Event::Finish);
        assert!(progress.stack.is_empty());
    }
}
