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

/// One recipe per `[[phase]]`: the keys of the phase are put over those of the recipe, tables into tables, anything else in place of what was
/// there. Without a phase there is nothing to be split.
pub(crate) fn phases(text: &str) -> Option<Result<Vec<Split>, Refused>> {
    // What is no TOML has no phases; the recipe's own reader says what is wrong.
    let mut root = text.parse::<Table>().ok()?;
    let phases = root.remove("phase")?;
    Some(split(&root, phases))
}

/// A phase as a recipe of its own.
pub(crate) struct Split {
    /// Its name.
    pub(crate) name: String,
    /// Its recipe, as TOML.
    pub(crate) text: String,
}

/// The keys of a phase that are not put over the recipe's.
const OWN: [&str; 3] = ["name", "from", "reference"];
/// What a phase starts from that starts from no other.
pub(crate) const START: &str = "start";

fn split(root: &Table, phases: Value) -> Result<Vec<Split>, Refused> {
    let refuse = |field: String, what: &str, hint: &str| Refused::Key { field, what: what.into(), hint: hint.into() };
    let Value::Array(phases) = phases else {
        return Err(refuse("phase".into(), "is no list of tables", "write `[[phase]]` before the keys of each phase"));
    };
    let mut splits: Vec<Split> = Vec::with_capacity(phases.len());
    for (index, phase) in phases.into_iter().enumerate() {
        let key = |part: &str| format!("phase.{index}.{part}");
        let Value::Table(mut phase) = phase else {
            return Err(refuse(format!("phase.{index}"), "is no table", "write `[[phase]]` before its keys"));
        };
        let mut own: Table = OWN.iter().filter_map(|name| Some(((*name).to_owned(), phase.remove(*name)?))).collect();
        let is_word =
            |name: &str| !name.is_empty() && name.chars().all(|letter| matches!(letter, 'a'..='z' | '0'..='9' | '-'));
        let name = own.get("name").and_then(Value::as_str).map(ToOwned::to_owned);
        let Some(name) = name.filter(|name| is_word(name) && name != START) else {
            let what = "is missing, or is no name of lower-case letters, digits and hyphens";
            return Err(refuse(key("name"), what, "give the phase a name of its own, such as `sft`"));
        };
        if splits.iter().any(|split| split.name == name) {
            return Err(refuse(key("name"), "is taken by an earlier phase", "give each phase a name of its own"));
        }
        if let Some(part) = ["output", "plugins"].into_iter().find(|part| phase.contains_key(*part)) {
            return Err(refuse(key(part), "is of the whole recipe", "write it before the first `[[phase]]`"));
        }
        match own.get("from").and_then(Value::as_str).map(ToOwned::to_owned) {
            None => {
                own.extend(splits.last().map(|before| ("from".to_owned(), Value::String(before.name.clone()))));
            }
            Some(from) if from == START => {
                own.remove("from");
            }
            Some(from) if splits.iter().any(|split| split.name == from) => {}
            Some(_) => {
                let what = "names no earlier phase";
                return Err(refuse(
                    key("from"),
                    what,
                    "name a phase above this one, or `start` for the recipe's model",
                ));
            }
        }
        let mut recipe = root.clone();
        merge(&mut recipe, phase);
        recipe.insert("phase".into(), Value::Table(own));
        let text = toml::to_string(&recipe).expect("a table that was read can be written");
        splits.push(Split { name, text });
    }
    if splits.is_empty() {
        return Err(refuse("phase".into(), "has no entry", "write a `[[phase]]`, or leave the key out"));
    }
    Ok(splits)
}

/// Puts the keys of a table over those of another.
fn merge(below: &mut Table, over: Table) {
    for (key, value) in over {
        match (below.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(over)) => merge(below, over),
            (_, value) => {
                below.insert(key, value);
            }
        }
    }
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

    const PHASES: &str = "seed = 1\n[train]\nsteps = 3\nbatch = 2\n[[phase]]\nname = \"a\"\n[[phase]]\nname = \"b\"\nreference = \"policy\"\ntrain = { steps = 9 }\n[[phase]]\nname = \"c\"\nfrom = \"a\"\n";

    #[test]
    fn a_phase_is_a_recipe_of_its_own() {
        let Some(Ok(splits)) = phases(PHASES) else { panic!("three phases") };
        let tables: Vec<Table> = splits.iter().map(|split| split.text.parse().expect("TOML")).collect();
        let phase = |at: usize, key: &str| tables[at]["phase"].get(key).and_then(Value::as_str).map(ToOwned::to_owned);
        assert_eq!((phase(0, "from"), phase(1, "from"), phase(2, "from")), (None, Some("a".into()), Some("a".into())));
        assert_eq!(phase(1, "reference").as_deref(), Some("policy"));
        let train = |at: usize, key: &str| tables[at]["train"][key].as_integer();
        assert_eq!((train(0, "steps"), train(1, "steps"), train(1, "batch")), (Some(3), Some(9), Some(2)));
        assert!(phases("seed = 1\n").is_none());
    }

    #[test]
    fn phases_that_make_no_sense_are_named() {
        let refused = |text: &str| match phases(text) {
            Some(Err(Refused::Key { field, what, .. })) => format!("{field} {what}"),
            _ => panic!("`{text}` is taken"),
        };
        assert_eq!(refused("phase = 3"), "phase is no list of tables");
        assert_eq!(refused("phase = []"), "phase has no entry");
        assert!(refused("[[phase]]\n").starts_with("phase.0.name is missing"));
        assert!(refused("[[phase]]\nname = \"../x\"").starts_with("phase.0.name is missing, or is no name"));
        assert_eq!(refused(&PHASES.replace("\"b\"", "\"a\"")), "phase.1.name is taken by an earlier phase");
        assert_eq!(refused(&PHASES.replace("from = \"a\"", "from = \"d\"")), "phase.2.from names no earlier phase");
        assert_eq!(refused("[[phase]]\nname = \"a\"\noutput = \"x\""), "phase.0.output is of the whole recipe");
    }

    #[test]
    fn a_key_inside_a_number_leads_nowhere() {
        check("seed.x", "1", "`x` lies in a value of type integer, not in a table");
        check("train..steps", "1", "is not a key");
    }
}
