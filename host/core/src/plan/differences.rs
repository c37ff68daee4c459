//! What differs between two plans, in the words of the recipe.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Plan;

impl Plan {
    /// What decides the result and is not the same in an earlier plan: one text per key. Empty exactly if the digests are equal.
    pub fn differences(&self, earlier: &Self) -> Vec<String> {
        let (now, before) = (leaves(self), leaves(earlier));
        let keys: BTreeSet<&String> = now.keys().chain(before.keys()).collect();
        let text = |key: &String| match (before.get(key), now.get(key)) {
            (before, now) if before == now => None,
            (Some(_), Some(_)) if key.ends_with(".digest") => Some(changed_file(key)),
            (before, now) => {
                let told = |value: Option<&String>| value.map_or("absent", String::as_str).to_owned();
                Some(format!("`{key}` was {} and is {}", told(before), told(now)))
            }
        };
        keys.into_iter().filter_map(text).collect()
    }
}

fn changed_file(key: &str) -> String {
    let owner = key.strip_suffix(".digest").unwrap_or(key);
    let what = match owner.split('.').next() {
        Some("model" | "models") => "the model's files have changed",
        Some("plugins") => "the plugin's bytes have changed",
        _ => "the data has changed",
    };
    format!("`{owner}`: {what}")
}

/// Every value of a plan that decides the result, by its key.
fn leaves(plan: &Plan) -> BTreeMap<String, String> {
    let mut leaves = BTreeMap::new();
    let value = serde_json::to_value(plan.bare()).expect("a plan has only text keys and plain values");
    collect(String::new(), &value, &mut leaves);
    leaves
}

fn collect(key: String, value: &Value, leaves: &mut BTreeMap<String, String>) {
    let below = |part: &str| if key.is_empty() { part.to_owned() } else { format!("{key}.{part}") };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| collect(below(name), value, leaves)),
        Value::Array(items) if items.iter().any(Value::is_object) => {
            let name = |item: &Value| item.get("name").or_else(|| item.get("stage")).map(Value::to_string);
            for (index, item) in items.iter().enumerate() {
                let named =
                    name(item).filter(|own| items[..index].iter().all(|other| name(other).as_ref() != Some(own)));
                // Of several rewards the first has the stage's name, the others have their numbers.
                let part = named.map_or_else(|| index.to_string(), |name| name.trim_matches('"').to_owned());
                collect(below(&part), item, leaves);
            }
        }
        plain => {
            leaves.insert(key, plain.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::recipe::Recipe;

    fn plan(tables: &str) -> Plan {
        let text = format!(
            "output = \"run\"\n[model]\npath = \"m\"\n[data]\ntrain = \"t.jsonl\"\n[plugins]\nssr = \"s.wasm\"\n{tables}"
        );
        Plan::resolve(&Recipe::parse(&text).expect("a recipe"), &text, Path::new("/base")).expect("a plan")
    }

    #[track_caller]
    fn check(before: &Plan, now: &Plan, expected: &[&str]) {
        assert_eq!(now.differences(before), expected);
        assert_eq!(expected.is_empty(), now.digest() == before.digest());
    }

    #[test]
    fn what_differs_is_named_by_its_key() {
        let before = plan("[curate]\nplugin = \"ssr\"\nsettings = { samples = 2 }\n");
        let now = plan("[curate]\nplugin = \"ssr\"\nsettings = { samples = 3 }\n[train]\nsteps = 7\n");
        check(&before, &now, &["`stages.curate.settings.samples` was 2 and is 3", "`train.steps` was 0 and is 7"]);
        check(
            &before,
            &plan(""),
            &[
                "`stages` was absent and is []",
                "`stages.curate.plugin` was \"ssr\" and is absent",
                "`stages.curate.settings.samples` was 2 and is absent",
                "`stages.curate.stage` was \"curate\" and is absent",
                "`stages.curate.weight` was 1.0 and is absent",
            ],
        );
    }

    #[test]
    fn changed_files_are_named_by_their_owner() {
        let (before, mut now) = (plan(""), plan(""));
        now.model.digest = "1".into();
        now.plugins[0].digest = "2".into();
        now.data.train.digest = "3".into();
        check(
            &before,
            &now,
            &[
                "`data.train`: the data has changed",
                "`model`: the model's files have changed",
                "`plugins.ssr`: the plugin's bytes have changed",
            ],
        );
    }

    #[test]
    fn places_and_checkpoints_decide_nothing() {
        let mut moved = plan("[train]\ncheckpoint-every = 5\nkeep-checkpoints = 1\n");
        moved.output = "elsewhere".into();
        check(&plan(""), &moved, &[]);
    }
}
