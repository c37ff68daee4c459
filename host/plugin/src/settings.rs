//! The recipe's settings for a plugin, checked against the schema in the plugin's manifest.

use jsonschema::error::ValidationErrorKind;
use jsonschema::{PatternOptions, Validator};
use serde_json::{Map, Value};

use crate::manifest::Manifest;
use crate::text;

/// Properties of the largest schema.
const MAX_SETTINGS: usize = 256;

/// Why settings cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the setting `{field}` {fault}\nhint: {hint}")]
pub struct SettingsError {
    /// The setting, with a path inside it where it is a list or a table: `prompts.2`.
    pub field: String,
    /// What is wrong with it, with its value.
    pub fault: String,
    /// What would be right.
    pub hint: String,
}

/// Checks `given` against the manifest's schema and fills in defaults. Keys come in the schema's order.
///
/// # Errors
///
/// Fails when a setting is unknown, missing, or not what the schema says.
pub fn resolve(manifest: &Manifest, given: &Map<String, Value>) -> Result<Map<String, Value>, SettingsError> {
    if let Some(unknown) = given.keys().find(|name| manifest.setting_names().all(|known| known != name.as_str())) {
        let hint = text::hint(unknown, manifest.setting_names());
        return Err(SettingsError { field: unknown.escape_debug().to_string(), fault: "is unknown".into(), hint });
    }
    let filled: Map<String, Value> = properties(&manifest.settings)
        .filter_map(|(name, property)| {
            let value = given.get(name).or_else(|| property.get("default"))?;
            Some((name.clone(), value.clone()))
        })
        .collect();
    let validator = validator(&manifest.settings).map_err(|fault| SettingsError {
        field: "settings".into(),
        fault,
        hint: "the plugin's schema is broken; tell its author".into(),
    })?;
    let filled = Value::Object(filled);
    if let Some(error) = validator.iter_errors(&filled).next() {
        return Err(explain(&error, manifest));
    }
    match filled {
        Value::Object(map) => Ok(map),
        _ => Ok(Map::new()),
    }
}

/// Says what is wrong with a schema of settings, if anything is.
pub(crate) fn check_schema(schema: &Value) -> Result<(), String> {
    let is_object = schema.get("type").and_then(Value::as_str) == Some("object");
    if !is_object || !schema.get("properties").is_some_and(Value::is_object) {
        return Err("is not the JSON Schema of an object with `properties`".into());
    }
    if MAX_SETTINGS < properties(schema).count() {
        return Err(format!("has more than {MAX_SETTINGS} settings"));
    }
    let validator = validator(schema)?;
    // A default that breaks its own schema would only show in the recipe of somebody who did nothing wrong.
    for (name, property) in properties(schema) {
        let Some(default) = property.get("default") else { continue };
        let alone: Value = Map::from_iter([(name.clone(), default.clone())]).into();
        let is_about_default = |error: &jsonschema::ValidationError<'_>| !error.instance_path().as_str().is_empty();
        if let Some(error) = validator.iter_errors(&alone).find(is_about_default) {
            return Err(format!("has a default for `{name}` that its own schema refuses: {error}"));
        }
    }
    Ok(())
}

fn validator(schema: &Value) -> Result<Validator, String> {
    // Patterns come from the plugin: only the engine without backtracking runs them. References stay inside the document.
    jsonschema::options()
        .with_pattern_options(PatternOptions::regex().size_limit(1 << 20))
        .build(schema)
        .map_err(|error| format!("is no JSON Schema that this host can use: {}", error.to_string().escape_debug()))
}

fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema.get("properties").and_then(Value::as_object).into_iter().flatten()
}

fn explain(error: &jsonschema::ValidationError<'_>, manifest: &Manifest) -> SettingsError {
    let path = error.instance_path().as_str().trim_start_matches('/').replace('/', ".");
    let names = || text::hint("", manifest.setting_names());
    if let ValidationErrorKind::Required { property } = error.kind() {
        let name = property.as_str().unwrap_or_default();
        let field = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        return SettingsError { field, fault: "is missing and has no default".into(), hint: names() };
    }
    let root = path.split('.').next().unwrap_or_default();
    let property = properties(&manifest.settings).find(|(name, _)| name.as_str() == root).map(|(_, property)| property);
    let wanted = property.map_or_else(names, describe);
    let value = cut(&error.instance().to_string(), 200);
    let what = cut(&error.to_string(), 300);
    SettingsError { field: path.escape_debug().to_string(), fault: format!("is {value}: {what}"), hint: wanted }
}

/// What a property's schema allows, for people.
fn describe(property: &Value) -> String {
    let mut parts = Vec::new();
    for key in ["description", "type", "enum", "minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum", "default"]
    {
        match property.get(key) {
            Some(Value::String(text)) if key == "description" => parts.push(cut(text, 200)),
            Some(value) => parts.push(format!("{key} {}", cut(&value.to_string(), 200))),
            None => {}
        }
    }
    if parts.is_empty() { "the plugin's schema says no more".into() } else { parts.join("; ") }
}

/// At most `limit` characters, without control characters.
fn cut(text: &str, limit: usize) -> String {
    let mut short: String = text.chars().take(limit).flat_map(char::escape_debug).collect();
    // Quotes are harmless and easier to read as they are.
    short = short.replace("\\\"", "\"").replace("\\'", "'");
    if text.chars().nth(limit).is_some() {
        short.push_str("...");
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLUGIN: &str = r#"
        name = "p"
        version = "1.0.0"
        license = "MIT"
        description = "d"
        stages = ["judge"]
        [settings.temperature]
        type = "number"
        minimum = 0.0
        default = 0.7
        description = "How random."
        [settings.column]
        type = "string"
        [settings.mode]
        enum = ["fast", "exact"]
        default = "exact"
    "#;

    fn manifest() -> Manifest {
        Manifest::parse(PLUGIN).expect("a good manifest")
    }

    fn given(value: &Value) -> Map<String, Value> {
        value.as_object().cloned().expect("an object")
    }

    #[track_caller]
    fn check(value: &Value, expected: &str) {
        let error = resolve(&manifest(), &given(value)).expect_err("bad settings").to_string();
        assert!(error.contains(expected), "`{error}` does not say `{expected}`");
    }

    #[test]
    fn defaults_are_filled_in_and_keys_come_in_the_schemas_order() {
        let settings = resolve(&manifest(), &given(&serde_json::json!({"column": "answer"}))).expect("good settings");
        assert_eq!(Value::Object(settings).to_string(), r#"{"temperature":0.7,"column":"answer","mode":"exact"}"#);
    }

    #[test]
    fn an_unknown_setting_gets_a_hint() {
        check(&serde_json::json!({"column": "a", "temprature": 1}), "did you mean `temperature`?");
    }

    #[test]
    fn a_missing_setting_is_named() {
        check(&serde_json::json!({}), "`column` is missing");
    }

    #[test]
    fn a_value_out_of_range_is_named_with_what_would_be_right() {
        check(&serde_json::json!({"column": "a", "temperature": -1}), "`temperature` is -1");
        check(&serde_json::json!({"column": "a", "temperature": -1}), "minimum 0");
        check(&serde_json::json!({"column": "a", "mode": "slow"}), "enum [\"fast\",\"exact\"]");
    }

    #[test]
    fn a_default_that_breaks_its_schema_is_the_authors_fault() {
        let error = Manifest::parse(&PLUGIN.replace("default = 0.7", "default = -1.0")).expect_err("a bad default");
        assert!(error.to_string().contains("default for `temperature`"), "{error}");
    }
}
