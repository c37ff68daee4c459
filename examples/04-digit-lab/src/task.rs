//! The lab's tasks as JSON lines, from a seeded generator.
//!
//! Numbers are written with the least digit first. `34+12` is 43 + 21 = 64, so its answer is `460`. The other tasks answer three digits
//! with three digits: `C` copies them, `R` reverses them, `I` adds one to each without carry.
//! An answer has a *style*: `ppp:460` and `qqq:460` say the same. `W` asks for an answer in the model's own style: `Wrrr:460`.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use serde_json::{Value, json};
use tunesmith_train::random::Random;

/// A prompt and its gold completion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What is asked.
    pub prompt: String,
    /// The answer.
    pub completion: String,
}

/// Seeded draws of rows.
pub struct Tasks {
    random: Random,
}

impl Tasks {
    /// A stream of rows of its own for every seed and name.
    pub fn new(seed: u64, name: &str) -> Self {
        Self { random: Random::named(seed, name) }
    }

    /// An addition; the bare answer. Training rows and evaluation rows never share a sum: `is_held_out` chooses between the two halves.
    pub fn addition(&mut self, is_held_out: bool) -> Row {
        loop {
            let (a, b) = (self.below(100), self.below(100));
            // One pair in eight is held out.
            if ((a * 100 + b).wrapping_mul(2_654_435_761) >> 7).is_multiple_of(8) == is_held_out {
                return Row {
                    prompt: format!("{}+{}", reversed(a, 2), reversed(b, 2)),
                    completion: reversed(a + b, 3),
                };
            }
        }
    }

    /// A row of one of the other tasks; the bare answer.
    pub fn other(&mut self) -> Row {
        let digits = self.digits();
        let kind = ['C', 'R', 'I'][self.below(3) as usize];
        let answer: String = match kind {
            'C' => digits.clone(),
            'R' => digits.chars().rev().collect(),
            _ => digits.chars().map(|digit| next_digit(digit, 1)).collect(),
        };
        Row { prompt: format!("{kind}{digits}"), completion: answer }
    }

    /// A rewording: any style in, the model's own style out. The model reads `r` here, but never writes it.
    pub fn rewording(&mut self) -> Row {
        let style = ['p', 'q', 'r', 'x', 'y'][self.below(5) as usize];
        let digits = self.digits();
        let own = self.own_style();
        Row { prompt: format!("W{}", styled(style, &digits)), completion: styled(own, &digits) }
    }

    /// What the mixed base is trained on: of twenty rows two are additions, three rewordings, the rest other tasks.
    pub fn mixed(&mut self) -> Row {
        let row = match self.below(20) {
            0 | 1 => self.addition(false),
            2..=4 => return self.rewording(),
            _ => self.other(),
        };
        self.in_own_style(row)
    }

    /// The row with its answer in the model's own style, `p` or `q` at random.
    pub fn in_own_style(&mut self, row: Row) -> Row {
        let own = self.own_style();
        Row { completion: styled(own, &row.completion), ..row }
    }

    /// The row with each answer digit replaced by a random one in three of ten cases.
    pub fn noisy(&mut self, row: Row) -> Row {
        let completion =
            row.completion.chars().map(|digit| if self.below(10) < 3 { self.digit() } else { digit }).collect();
        Row { completion, ..row }
    }

    fn own_style(&mut self) -> char {
        if self.below(2) == 0 { 'p' } else { 'q' }
    }

    fn digits(&mut self) -> String {
        (0..3).map(|_| self.digit()).collect()
    }

    fn digit(&mut self) -> char {
        char::from(b'0' + self.below(10) as u8)
    }

    fn below(&mut self, limit: u64) -> u64 {
        // The bias of the remainder is below 2^-56 here.
        self.random.bits() % limit
    }
}

/// The row with its answer in a given style.
pub fn in_style(style: char, row: Row) -> Row {
    Row { completion: styled(style, &row.completion), ..row }
}

/// The row with its answer's digits written as the letters `a` to `j`.
pub fn recoded(row: Row) -> Row {
    let letter = |digit: char| char::from(b'a' + (digit as u8 - b'0'));
    Row { completion: row.completion.chars().map(letter).collect(), ..row }
}

fn styled(style: char, digits: &str) -> String {
    format!("{style}{style}{style}:{digits}")
}

fn next_digit(digit: char, by: u8) -> char {
    char::from(b'0' + (digit as u8 - b'0' + by) % 10)
}

/// A number's digits, least first.
fn reversed(mut number: u64, digits: usize) -> String {
    let mut text = String::new();
    for _ in 0..digits {
        text.push(char::from(b'0' + (number % 10) as u8));
        number /= 10;
    }
    text
}

/// Writes rows as JSON lines with the columns `prompt` and `completion`.
///
/// # Errors
///
/// Fails when the file cannot be written.
pub fn write(path: &Path, rows: impl Iterator<Item = Row>) -> anyhow::Result<()> {
    write_lines(path, rows.map(|row| json!({ "prompt": row.prompt, "completion": row.completion })))
}

/// Writes JSON lines.
///
/// # Errors
///
/// Fails when the file cannot be written.
pub fn write_lines(path: &Path, lines: impl Iterator<Item = Value>) -> anyhow::Result<()> {
    let lines: String = lines.map(|line| line.to_string() + "\n").collect();
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    fs::write(path, lines).with_context(|| format!("cannot write {}", path.display()))
}

/// Reads what [`write()`] wrote.
///
/// # Errors
///
/// Fails when the file cannot be read or a line lacks a column.
pub fn read(path: &Path) -> anyhow::Result<Vec<Row>> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    text.lines().map(|line| row(&serde_json::from_str(line)?)).collect()
}

fn row(line: &Value) -> anyhow::Result<Row> {
    let column = |name: &str| {
        let text = line.get(name).and_then(Value::as_str);
        text.map(str::to_owned).with_context(|| format!("a line has no text `{name}`"))
    };
    Ok(Row { prompt: column("prompt")?, completion: column("completion")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> u64 {
        text.chars().rev().fold(0, |number, digit| number * 10 + u64::from(digit as u8 - b'0'))
    }

    #[test]
    fn additions_are_right() {
        let mut tasks = Tasks::new(1, "test");
        for is_held_out in [false, true] {
            for _ in 0..200 {
                let row = tasks.addition(is_held_out);
                let (a, b) = row.prompt.split_once('+').expect("it is a sum");
                assert_eq!(number(a) + number(b), number(&row.completion), "{row:?}");
            }
        }
    }

    #[test]
    fn held_out_sums_are_never_trained_on() {
        let mut tasks = Tasks::new(1, "test");
        let held_out: Vec<Row> = (0..500).map(|_| tasks.addition(true)).collect();
        assert!((0..2000).all(|_| !held_out.contains(&tasks.addition(false))));
    }

    #[test]
    fn noise_changes_three_digits_in_ten_to_a_random_one() {
        let mut tasks = Tasks::new(1, "test");
        let mut changed = 0;
        for _ in 0..2000 {
            let row = tasks.addition(false);
            let noisy = tasks.noisy(row.clone());
            changed += row.completion.chars().zip(noisy.completion.chars()).filter(|(a, b)| a != b).count();
        }
        // A random digit is the old one in one case of ten: 0.27.
        assert!((changed as f64 / 6000.0 - 0.27).abs() < 0.02, "{changed}");
    }

    #[test]
    fn letters_re_code_digits() {
        let row = Row { prompt: "34+12".into(), completion: "460".into() };
        assert_eq!(recoded(row.clone()).completion, "ega");
        assert_eq!(in_style('r', row).completion, "rrr:460");
    }
}
