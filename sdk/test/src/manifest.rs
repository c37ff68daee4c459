//! Compares `plugin.toml` with the code: stages, settings and defaults.

use std::fmt;
use std::path::Path;

use serde::de::{DeserializeOwned, Deserializer, Error as _, Visitor};
use serde_json::{Map, Value, json};
use tunesmith_sdk::{Exports, Plugin};

/// What a plugin may ask for.
const CAPABILITIES: [&str; 6] =
    ["model.generate", "model.score", "model.embed", "model.forward", "judge", "parameters"];

/// Checks that `plugin.toml`, a path from the plugin's folder, says what the code does:
///
/// * name, version, license, description and paper are there, capabilities are known ones;
/// * `stages` are those of [`export!`](tunesmith_sdk::export);
/// * every setting of the schema has a description and a type, is a field of [`Plugin::Settings`], and every field is in the schema;
/// * the settings type refuses unknown keys, and takes the defaults; with them, and no setting that has none, the plugin can be made.
///
/// # Panics
///
/// Panics with everything that does not fit.
pub fn check_manifest<P: Exports>(manifest: impl AsRef<Path>) {
    let faults = faults::<P>(&read(manifest.as_ref()));
    assert!(faults.is_empty(), "{}:\n  {}", manifest.as_ref().display(), faults.join("\n  "));
}

/// Everything in which a manifest and the code disagree.
pub(crate) fn faults<P: Exports>(document: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    check_words::<P>(document, &mut faults);
    check_settings::<P>(&settings_of(document), &mut faults);
    faults
}

/// The schema of each setting.
///
/// # Panics
///
/// Panics if the manifest cannot be read.
pub(crate) fn settings(manifest: &Path) -> Map<String, Value> {
    settings_of(&read(manifest))
}

/// The names of the extra trainable parameters.
///
/// # Panics
///
/// Panics if the manifest cannot be read.
pub(crate) fn parameters(manifest: &Path) -> Vec<String> {
    let document = read(manifest);
    let declared = document["parameters"].as_array().into_iter().flatten();
    declared.filter_map(|parameter| parameter["name"].as_str().map(str::to_owned)).collect()
}

fn read(manifest: &Path) -> Value {
    let text = std::fs::read_to_string(manifest).unwrap_or_else(|error| panic!("{}: {error}", manifest.display()));
    toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", manifest.display()))
}

fn settings_of(document: &Value) -> Map<String, Value> {
    document["settings"].as_object().cloned().unwrap_or_default()
}

/// The texts of a list in the manifest.
fn words<'a>(document: &'a Value, key: &str) -> Vec<&'a str> {
    document[key].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn check_words<P: Exports>(document: &Value, faults: &mut Vec<String>) {
    for key in ["name", "version", "license", "description", "paper"] {
        if document[key].as_str().is_none_or(str::is_empty) {
            faults.push(format!("`{key}` is missing"));
        }
    }
    let mut stages = words(document, "stages");
    stages.sort_unstable();
    let mut exported: Vec<&str> = P::STAGES.iter().copied().filter(|stage| *stage != "state").collect();
    exported.sort_unstable();
    if stages != exported {
        faults.push(format!("`stages` are {stages:?}, the code exports {exported:?}"));
    }
    let unknown = words(document, "capabilities").into_iter().filter(|word| !CAPABILITIES.contains(word));
    faults.extend(unknown.map(|word| format!("unknown capability `{word}`; there are {CAPABILITIES:?}")));
}

fn check_settings<P: Plugin>(schema: &Map<String, Value>, faults: &mut Vec<String>) {
    let mut settings = Map::new();
    let mut has_defaults_only = true;
    for (name, property) in schema {
        for key in ["type", "description"] {
            if property[key].as_str().is_none_or(str::is_empty) {
                faults.push(format!("setting `{name}` has no `{key}`"));
            }
        }
        let default = property.get("default");
        has_defaults_only &= default.is_some();
        let value = default.cloned().unwrap_or_else(|| sample(property));
        faults.extend(misfit(property, &value).map(|fault| format!("the default of setting `{name}` {fault}")));
        settings.insert(name.clone(), value);
    }
    check_fields::<P::Settings>(schema, faults);
    let mut with_more = settings.clone();
    with_more.insert("no-such-setting".into(), json!(0));
    if serde_json::from_value::<P::Settings>(with_more.into()).is_ok() {
        faults.push("the settings type takes unknown keys; give it `#[serde(deny_unknown_fields)]`".into());
    }
    match serde_json::from_value::<P::Settings>(settings.into()) {
        Err(error) => faults.push(format!("the settings type does not take the defaults: {error}")),
        Ok(settings) if has_defaults_only => {
            faults.extend(P::new(settings).err().map(|error| format!("the plugin declines the defaults: {error}")));
        }
        Ok(_) => {}
    }
}

/// Some value that a setting without a default may have.
fn sample(property: &Value) -> Value {
    let first = property["enum"].get(0).or_else(|| property.get("minimum")).cloned();
    first.unwrap_or_else(|| match property["type"].as_str() {
        Some("string") => json!(""),
        Some("boolean") => json!(false),
        Some("array") => json!([]),
        Some("object") => json!({}),
        Some("number") => json!(0.0),
        _ => json!(0),
    })
}

/// What is wrong with a value, if anything.
fn misfit(property: &Value, value: &Value) -> Option<String> {
    let fits = match property["type"].as_str() {
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        Some("number") => value.is_number(),
        Some("integer") => value.is_i64() || value.is_u64(),
        _ => true,
    };
    let outside = |bound: &str, is_outside: fn(f64, f64) -> bool| {
        let bound = property.get(bound).and_then(Value::as_f64)?;
        value.as_f64().filter(|&value| is_outside(value, bound))
    };
    if !fits {
        Some(format!("is {value}, not of type {}", property["type"]))
    } else if property["enum"].as_array().is_some_and(|choices| !choices.contains(value)) {
        Some(format!("is {value}, none of {}", property["enum"]))
    } else if outside("minimum", |value, bound| value < bound)
        .or(outside("maximum", |value, bound| value > bound))
        .is_some()
    {
        Some(format!("is {value}, outside its range"))
    } else {
        None
    }
}

fn check_fields<S: DeserializeOwned>(schema: &Map<String, Value>, faults: &mut Vec<String>) {
    let Some(fields) = field_names::<S>() else { return };
    let in_schema = |field: &&&str| schema.contains_key(**field);
    faults.extend(
        fields
            .iter()
            .filter(|field| !in_schema(field))
            .map(|field| format!("the field `{field}` is not in the schema")),
    );
    let is_field = |name: &&String| fields.contains(&name.as_str());
    faults.extend(
        schema
            .keys()
            .filter(|name| !is_field(name))
            .map(|name| format!("the setting `{name}` is no field of the settings type")),
    );
}

/// The names that a struct's `Deserialize` asks for; none if it is no struct.
fn field_names<S: DeserializeOwned>() -> Option<&'static [&'static str]> {
    S::deserialize(Names).err().and_then(|asked| asked.0)
}

/// Takes down what names a type asks for, instead of giving it any data.
struct Names;

/// What was asked for.
#[derive(Debug)]
struct Asked(Option<&'static [&'static str]>);

impl fmt::Display for Asked {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", self.0)
    }
}

impl std::error::Error for Asked {}

impl serde::de::Error for Asked {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self(None)
    }
}

impl<'de> Deserializer<'de> for Names {
    type Error = Asked;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Asked> {
        Err(Asked::custom("no struct"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Asked> {
        Err(Asked(Some(fields)))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct
        seq tuple tuple_struct map enum identifier ignored_any
    }
}
