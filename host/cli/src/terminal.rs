//! The only way to the terminal: everything is escaped here, once.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};

/// Text that cannot move the cursor, change colours, or reverse what the reader sees. Line feeds and tabs stay.
pub(crate) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for character in text.chars() {
        if is_harmful(character) {
            let _ = write!(plain, "{}", character.escape_unicode());
        } else {
            plain.push(character);
        }
    }
    plain
}

/// As [`plain`], on one line.
pub(crate) fn one_line(text: &str) -> String {
    plain(text).replace('\n', "\\n").replace('\t', "\\t")
}

/// Control characters, and the invisible ones that reorder or hide text.
fn is_harmful(character: char) -> bool {
    let is_control = character.is_control() && character != '\n' && character != '\t';
    let is_invisible = matches!(character,
        '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{e0000}'..='\u{e007f}');
    is_control || is_invisible
}

/// Writes text to standard output and a line feed. A reader that went away, such as `head`, is no error.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{}", plain(text)).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Writes text for machines to standard output as it is, unless that is a terminal.
pub(crate) fn print_exactly(text: &str) -> io::Result<()> {
    if io::stdout().is_terminal() {
        return print(text);
    }
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Writes a line to standard error. Nothing can be done if that fails.
pub(crate) fn say(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", plain(text));
}

/// An error as people read it: `error:`, its causes indented, and all hints at the end.
pub(crate) fn rendered(error: &anyhow::Error) -> String {
    let mut text = String::new();
    let mut hints: Vec<String> = Vec::new();
    let mut before = String::new();
    for (depth, cause) in error.chain().enumerate() {
        let said = cause.to_string();
        // An error that only hands its cause through would be told twice.
        if said == before {
            continue;
        }
        let head = if depth == 0 { "error: " } else { "  because: " };
        let mut lines = said.lines().filter(|line| match line.trim_start().strip_prefix("hint: ") {
            Some(hint) => {
                hints.push(hint.to_owned());
                false
            }
            None => true,
        });
        let _ = writeln!(text, "{head}{}", lines.next().unwrap_or_default());
        for line in lines {
            let _ = writeln!(text, "    {line}");
        }
        before = said;
    }
    let mut told: Vec<&String> = Vec::new();
    for hint in &hints {
        if !told.contains(&hint) {
            let _ = writeln!(text, "hint: {hint}");
            told.push(hint);
        }
    }
    text.trim_end().to_owned()
}

/// Rows in columns, the first row being heads: columns of numbers to the right, others to the left.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let column = |index: usize| rows.iter().filter_map(move |row| row.get(index));
    let widths: Vec<usize> =
        (0..columns).map(|index| column(index).map(|cell| cell.chars().count()).max().unwrap_or(0)).collect();
    let is_number = |cell: &String| cell == "-" || cell.is_empty() || cell.trim_end_matches('%').parse::<f64>().is_ok();
    let are_numbers: Vec<bool> = (0..columns).map(|index| column(index).skip(1).all(is_number)).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (index, cell) in row.iter().enumerate() {
            let width = widths[index];
            let gap = if index == 0 { "" } else { "  " };
            let _ = if are_numbers[index] {
                write!(line, "{gap}{cell:>width$}")
            } else {
                write!(line, "{gap}{cell:<width$}")
            };
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[test]
    fn a_plugin_cannot_write_to_the_terminal() {
        assert_eq!(plain("a\u{1b}[31mb\r\u{202e}c\nd\té"), "a\\u{1b}[31mb\\u{d}\\u{202e}c\nd\té");
        assert_eq!(one_line("a\nb"), "a\\nb");
    }

    #[test]
    fn hints_come_last_and_causes_are_indented() {
        let error = Err::<(), _>(anyhow::anyhow!("the file is short\nhint: fetch it again"))
            .context("cannot open the model\nhint: give another")
            .expect_err("it is one");
        let expected =
            "error: cannot open the model\n  because: the file is short\nhint: give another\nhint: fetch it again";
        assert_eq!(rendered(&error), expected);
    }

    #[test]
    fn numbers_stand_below_each_other() {
        let rows = [["set", "before", "word"], ["target", "0.5", "a"], ["b", "-12", "long"]];
        let rows = rows.map(|row| row.map(String::from).to_vec());
        assert_eq!(table(&rows), "set     before  word\ntarget     0.5  a\nb          -12  long");
    }
}
