//! Values put over a recipe from outside: `train.steps=50`.

use toml::{Table, Value};
use tunesmith_core::recipe::{Recipe, RecipeError};

/// Why values cannot be put over a recipe.
pub(crate) enum Refused {
    /// The recipe itself is broken.
    Text(RecipeError),
    /// A key leads nowhere.
    Key {
        /// The key.
        field: String,
        /// What is wrong.
        what: String,
        /// What to do.
        hint: String,
    },
}

/// The recipe's text with these values put over it, as TOML. Keys are dotted paths; a number in one counts `[[reward]]` tables.
pub(crate) fn apply(text: &str, set: &[(String, String)]) -> Result<String, Refused> {
    let mut root: Value = text.parse::<Table>().map(Value::Table).map_err(|error| {
        // The recipe's own reader gives the line.
        Refused::Text(Recipe::parse(text).err().unwrap_or(RecipeError {
            line: None,
            field: String::new(),
            what: error.message().to_owned(),
            hint: None,
        }))
    })?;
    for (key, text) in set {
        put(&mut root, key, value(text))?;
    }
    Ok(toml::to_string(&root).expect("a table that was read can be written"))
}

/// A TOML value, or the text itself where it is none: `linear` needs no quotes.
fn value(text: &str) -> Value {
    format!("value = {text}")
        .parse::<Table>()
        .ok()
        .filter(|table| table.len() == 1)
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| Value::String(text.into()))
}

fn put(root: &mut Value, key: &str, value: Value) -> Result<(), Refused> {
    let refuse = |what: String, hint: &str| Refused::Key { field: key.into(), what, hint: hint.into() };
    let mut place = root;
    for part in key.split('.') {
        if part.is_empty() {
            return Err(refuse("is not a key".into(), "write keys with dots between, such as `train.steps=50`"));
        }
        place = match place {
            Value::Table(table) => table.entry(part).or_insert_with(|| Value::Table(Table::new())),
            Value::Array(items) => {
                let len = items.len();
                part.parse::<usize>().ok().and_then(|index| items.get_mut(index)).ok_or_else(|| {
                    refuse(format!("`{part}` is none of the {len} entries"), "entries are numbered from 0")
                })?
            }
            other => {
                let what = format!("`{part}` lies in a value of type {}, not in a table", other.type_str());
                return Err(refuse(what, "set the table as a whole, such as `plugins.s3ft={path=\"s3ft.wasm\"}`"));
            }
        };
    }
    *place = value;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(key: &str, value: &str, expected: &str) {
        let text = "seed = 1\n[train]\nsteps = 3\n[[reward]]\nplugin = \"a\"\n";
        let result = apply(text, &[(key.into(), value.into())]);
        let said = match result {
            Ok(text) => text,
            Err(Refused::Key { what, .. }) => what,
            Err(Refused::Text(error)) => error.to_string(),
        };
        assert!(said.contains(expected), "`{said}` does not say `{expected}`");
    }

    #[test]
    fn values_keep_their_type() {
        check("train.steps", "50", "steps = 50");
        check("train.learning-rate", "2e-4", "learning-rate = 0.0002");
        check("train.schedule", "linear", "schedule = \"linear\"");
        check("train.betas", "[0.9, 0.95]", "betas = [0.9, 0.95]");
        // A line feed does not smuggle in a second key.
        check("model.path", "1\nb = 2", "path = \"\"\"\n1\nb = 2\"\"\"");
    }

    #[test]
    fn entries_of_a_list_are_counted() {
        check("reward.0.weight", "2.0", "weight = 2.0");
        check("reward.1.weight", "2.0", "`1` is none of the 1 entries");
    }

    #[test]
    fn a_key_inside_a_number_leads_nowhere() {
        check("seed.x", "1", "`x` lies in a value of type integer, not in a table");
        check("train..steps", "1", "is not a key");
    }
}
