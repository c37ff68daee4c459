//! The files of a new plugin.

use std::fmt::Write as _;

use super::Draft;

/// Columns that rustfmt allows.
const COLUMNS: usize = 100;

/// Every file: its path in the folder, and its text.
pub(crate) fn files(draft: &Draft) -> Vec<(&'static str, String)> {
    vec![
        ("Cargo.toml", cargo_toml(draft)),
        (".cargo/config.toml", CONFIG.to_owned()),
        (".gitignore", "/target/\n/run/\n*.wasm\n".to_owned()),
        ("rustfmt.toml", "use_small_heuristics = \"Max\"\n".to_owned()),
        ("plugin.toml", plugin_toml(draft)),
        ("src/lib.rs", lib(draft)),
        ("src/math.rs", math(draft)),
        ("README.md", readme(draft)),
        ("recipe.toml", recipe(draft)),
        ("train.jsonl", DATA.to_owned()),
    ]
}

const CONFIG: &str = r#"# `cargo build --release` makes a component. `cargo test --target host-tuple` (or `cargo native`) tests on this machine.
[build]
target = "wasm32-unknown-unknown"

[target.wasm32-unknown-unknown]
linker = "wasm-component-ld"
rustflags = ["-Ctarget-feature=+simd128"]

[alias]
native = "test --target host-tuple"
"#;

const DATA: &str = r#"{"prompt": "What is 2 + 2?", "completion": "4"}
{"prompt": "What is 3 + 4?", "completion": "7"}
{"prompt": "Which colour has the sky?", "completion": "Blue"}
{"prompt": "Say a long word.", "completion": "Incomprehensibilities"}
"#;

/// A text as TOML writes it.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn stages(draft: &Draft) -> Vec<&'static str> {
    draft.stages.iter().map(|stage| stage.name()).collect()
}

fn capabilities(draft: &Draft) -> Vec<String> {
    let named = draft.parts.iter().map(|part| part.section("capability")).filter(|name| !name.is_empty());
    named.map(quoted).collect()
}

fn cargo_toml(draft: &Draft) -> String {
    let crate_at = |part: &str| quoted(&draft.sdk.join(part).display().to_string());
    format!(
        r#"[package]
name = "{name}"
version = "0.1.0"
edition = "2024"
rust-version = "1.95"
license = "MIT OR Apache-2.0"
description = "A method plugin for Tunesmith: {stages}"
publish = false

# A workspace of its own: no folder around this one has a say.
[workspace]

[lib]
crate-type = ["cdylib", "rlib"]

[dependencies]
serde = {{ version = "1.0", features = ["derive"] }}
# The SDK is not on crates.io; its folder is that of a checkout of Tunesmith. A Git dependency works as well:
# `{{ git = "...", rev = "..." }}`, with the same source for both crates.
tunesmith-sdk = {{ path = {sdk} }}

[dev-dependencies]
tunesmith-sdk-test = {{ path = {test} }}

# Small, fast, and with function names for backtraces.
[profile.release]
opt-level = 3
lto = true
codegen-units = 1
panic = "abort"
strip = "debuginfo"
"#,
        name = draft.name,
        stages = stages(draft).join(", "),
        sdk = crate_at("rust"),
        test = crate_at("test"),
    )
}

fn plugin_toml(draft: &Draft) -> String {
    let words: Vec<String> = stages(draft).into_iter().map(quoted).collect();
    let mut text = format!(
        r#"name = "{name}"
version = "0.1.0"
license = "MIT OR Apache-2.0"
description = "A first version for {listed}: say here in one sentence what the method does"
paper = "none yet: name authors, year and arXiv number here"
stages = [{words}]
capabilities = [{capabilities}]
"#,
        name = draft.name,
        listed = stages(draft).join(", "),
        words = words.join(", "),
        capabilities = capabilities(draft).join(", "),
    );
    for part in &draft.parts {
        let _ = write!(text, "\n[settings.{}]\n{}\n", part.setting().0, part.section("manifest"));
    }
    text
}

fn lib(draft: &Draft) -> String {
    let mut used: Vec<&str> = draft.parts.iter().flat_map(|part| part.section("uses").split_whitespace()).collect();
    used.extend(["Error", "Plugin"]);
    let mut of_tests: Vec<String> = draft
        .parts
        .iter()
        .flat_map(|part| part.section("test uses").split_whitespace())
        .map(|word| word.replace('=', " as "))
        .collect();
    of_tests.extend(["PretendHost".to_owned(), "check_manifest".to_owned()]);
    let fields = draft.parts.iter().map(|part| {
        let (name, kind) = part.setting();
        let described = part.schema("description").unwrap_or_default().trim_matches('"');
        format!("    /// {described}.\n    pub {}: {kind},\n", name.replace('-', "_"))
    });
    let glue: Vec<&str> = draft.parts.iter().map(|part| part.section("glue")).collect();
    let tests: Vec<&str> = draft.parts.iter().map(|part| part.section("tests")).collect();
    format!(
        r#"//! The plugin `{name}`: what the host calls. The arithmetic is in `math.rs`.

mod math;

use serde::Deserialize;
{used}

/// The settings, as in `plugin.toml`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {{
{fields}}}

/// The method.
pub struct Method {{
    settings: Settings,
}}

impl Plugin for Method {{
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, Error> {{
        Ok(Self {{ settings }})
    }}
}}

{glue}

{export}

#[cfg(test)]
mod tests {{
    use super::*;
{of_tests}

    #[test]
    fn the_manifest_says_what_the_code_does() {{
        check_manifest::<Method>("plugin.toml");
    }}

{tests}
}}
"#,
        name = draft.name,
        used = import("", "tunesmith_sdk", &used),
        fields = fields.collect::<String>(),
        glue = glue.join("\n\n"),
        export = format_args!("tunesmith_sdk::export!(Method: {});", stages(draft).join(", ")),
        of_tests = import("    ", "tunesmith_sdk_test", &of_tests),
        tests = tests.join("\n\n"),
    )
}

/// A `use`, as rustfmt would write it.
fn import(indent: &str, from: &str, names: &[impl AsRef<str>]) -> String {
    let mut sorted: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    // Types come before functions.
    sorted.sort_by_key(|name| (name.starts_with(|first: char| first.is_lowercase()), *name));
    sorted.dedup();
    let line = format!("{indent}use {from}::{{{}}};", sorted.join(", "));
    if line.len() <= COLUMNS {
        return line;
    }
    let (mut text, inner) = (format!("{indent}use {from}::{{"), format!("\n{indent}    "));
    let mut column = COLUMNS;
    for name in sorted {
        // Within braces rustfmt leaves two columns free.
        if column + 1 + name.len() + 1 > COLUMNS - 2 {
            text.push_str(&inner);
            column = inner.len() - 1;
        } else {
            text.push(' ');
            column += 1;
        }
        let _ = write!(text, "{name},");
        column += name.len() + 1;
    }
    let _ = write!(text, "\n{indent}}};");
    text
}

fn math(draft: &Draft) -> String {
    let sections = |name: &str| draft.parts.iter().map(|part| part.section(name)).collect::<Vec<_>>().join("\n\n");
    format!(
        "//! The formulas, as plain functions: numbers in, numbers out.\n\n{}\n\n#[cfg(test)]\nmod tests {{\n    use super::*;\n\n{}\n}}\n",
        sections("math"),
        sections("math tests")
    )
}

fn readme(draft: &Draft) -> String {
    let list = |name: &str| {
        let lines = draft.parts.iter().map(|part| format!("* {}\n", part.section(name)));
        lines.collect::<String>()
    };
    let settings = draft.parts.iter().map(|part| {
        let text = |key: &str| part.schema(key).unwrap_or_default().trim_matches('"').to_owned();
        format!("| `{}` | {} | {} | {} |\n", part.setting().0, text("type"), text("default"), text("description"))
    });
    let grants = match capabilities(draft).as_slice() {
        [] => "It needs no grant.".to_owned(),
        named => format!("The recipe has to grant {}.", named.join(" and ").replace('"', "`")),
    };
    format!(
        r"# {name}

A plugin for Tunesmith, made by `tunesmith plugin new`: it works as it is, and is yours to change.

```
cargo test --target host-tuple          # the unit tests, on this machine
tunesmith plugin build . -o {name}.wasm # the component with its manifest
tunesmith plugin check {name}.wasm
tunesmith train recipe.toml             # after `model.path` in it names a model
```

`cargo build --release` makes the component alone, without the manifest.

## What it does

{does}
{grants}

## Formula

{formula}
## Paper

None yet. Name it here and in `plugin.toml`, and test `src/math.rs` against its numbers.

## Settings

| setting | type | default | effect |
|---|---|---|---|
{settings}
## Parity

The tests in `src/math.rs` hold numbers worked out by hand. Say here whose numbers the method was compared with, and how closely they agree.

## Limits

It is a first version: nothing has been trained with it.
",
        name = draft.name,
        does = list("does"),
        formula = list("formula"),
        settings = settings.collect::<String>(),
    )
}

fn recipe(draft: &Draft) -> String {
    let plugin = match capabilities(draft).as_slice() {
        [] => format!("\"{}.wasm\"", draft.name),
        granted => format!("{{ path = \"{}.wasm\", grants = [{}] }}", draft.name, granted.join(", ")),
    };
    let mut text = format!(
        r#"# A run with this plugin: `tunesmith check recipe.toml`, then `tunesmith train recipe.toml`.
seed = 17
output = "run"

[model]
path = "model" # a Hugging Face folder, or what `tunesmith model import FILE.gguf model` makes
adapter = {{ lora = {{ rank = 8, alpha = 16 }} }}

[data]
train = "train.jsonl"
eval = "train.jsonl"

[plugins]
mine = {plugin}
"#
    );
    for (stage, part) in draft.stages.iter().zip(&draft.parts) {
        let head = if stage.name() == "reward" { "[[reward]]".to_owned() } else { format!("[{stage}]") };
        let setting = format!("settings = {{ {} = {} }}", part.setting().0, part.schema("default").unwrap_or_default());
        let table = format!("{head}\nplugin = \"mine\"\n{setting}\n");
        if tunesmith::is_called(*stage) {
            let _ = write!(text, "\n{table}");
        } else {
            let _ = writeln!(text, "\n# This version of Tunesmith does not call `{stage}` in training yet.");
            table.lines().for_each(|line| {
                let _ = writeln!(text, "# {line}");
            });
        }
    }
    text.push_str("\n[train]\nsteps = 2\nbatch = 2\n\n[generate]\nmax-tokens = 16\n");
    text
}
