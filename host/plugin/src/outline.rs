//! What a component imports and exports, read without compiling or executing anything.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use tunesmith_core::stage::Stage;
use wasmparser::component_types::ComponentEntityType;
use wasmparser::{BinaryReader, Parser, Payload, ValidPayload, Validator, WasmFeatures};

use crate::limits::Limits;

/// The WIT package that plugins are written against.
pub(crate) const PACKAGE: &str = "tunesmith:method";

/// The version of the package that this host speaks. Plugins of every 0.1.x run.
pub const WIT_VERSION: &str = "0.1.2";

/// How to get from Rust code to a component.
const BUILD_HINT: &str = "hint: `tunesmith plugin build` makes a component from a plugin's folder";

/// Why bytes are no usable component.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ComponentError {
    /// Something else than WebAssembly.
    #[error("it is not WebAssembly: it starts with {start}\n{BUILD_HINT}")]
    NotWasm {
        /// The first bytes, in hexadecimal.
        start: String,
    },
    /// A core module, which says nothing about its interfaces.
    #[error("it is a core WebAssembly module, not a component\n{BUILD_HINT}, with the linker `wasm-component-ld`")]
    CoreModule,
    /// The bytes end too early, or break the rules of the format.
    #[error(
        "it is not a valid component: {what} (at byte {offset})\nhint: the file may be cut short; build or fetch it again"
    )]
    Invalid {
        /// What the parser says.
        what: String,
        /// Where.
        offset: usize,
    },
    /// More of something than this host compiles.
    #[error("it has {got} {what}, over the limit of {limit}\nhint: if you trust the plugin, raise `limits.{key}`")]
    TooMuch {
        /// What there is too much of.
        what: &'static str,
        /// How much there is.
        got: usize,
        /// How much there may be.
        limit: usize,
        /// The name of the limit.
        key: &'static str,
    },
}

/// What a component imports and exports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outline {
    /// What it needs.
    pub imports: Vec<Import>,
    /// The names of all it offers, as they stand in the component.
    pub exports: Vec<String>,
}

/// One imported item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Import {
    /// The name, as it stands in the component.
    pub name: String,
    /// The functions of the interface that are used, as they stand in the component: `[method]tensor.add`.
    pub functions: Vec<String>,
    /// What the name means.
    pub item: Item,
}

/// What the name of an imported or exported item means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Item {
    /// An interface of the plugin contract.
    Contract {
        /// Its name, such as `model`.
        interface: String,
        /// Its version, such as `0.1.0`.
        version: String,
    },
    /// Anything else.
    Foreign,
}

impl Item {
    /// The meaning of a name as it stands in a component.
    pub fn of(name: &str) -> Self {
        let parts = name.strip_prefix(PACKAGE).and_then(|rest| rest.strip_prefix('/'));
        match parts.and_then(|rest| rest.split_once('@')) {
            Some((interface, version)) => Self::Contract { interface: interface.into(), version: version.into() },
            None => Self::Foreign,
        }
    }

    /// Whether this is an interface of a version that this host does not speak.
    pub fn is_of_unknown_version(&self) -> bool {
        // 0.1.x only: what follows the patch, such as `-rc.1`, never matches by semver.
        let is_known = |version: &str| {
            version
                .strip_prefix("0.1.")
                .is_some_and(|patch| !patch.is_empty() && patch.bytes().all(|byte| byte.is_ascii_digit()))
        };
        matches!(self, Self::Contract { version, .. } if !is_known(version))
    }
}

impl Outline {
    /// The stages that the component exports, in the order of the data flow.
    pub fn stages(&self) -> Vec<Stage> {
        Stage::ALL.into_iter().filter(|stage| self.exports_interface(stage.name())).collect()
    }

    /// Whether the component keeps memory between calls.
    pub fn has_state(&self) -> bool {
        self.exports_interface("state")
    }

    fn exports_interface(&self, wanted: &str) -> bool {
        let is_wanted = |item: &Item| matches!(item, Item::Contract { interface, .. } if interface == wanted);
        self.exports.iter().map(|name| Item::of(name)).any(|item| is_wanted(&item) && !item.is_of_unknown_version())
    }
}

/// Reads what the component imports and exports, and refuses what would take too long to compile.
///
/// # Errors
///
/// Fails when the bytes are no component, or over a limit.
pub fn read(bytes: &[u8], limits: &Limits) -> Result<Outline, ComponentError> {
    expect_component(bytes, limits)?;
    let mut census = Census::new(limits);
    let mut validator = Validator::new_with_features(features());
    let mut names = Names::default();
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload.map_err(|error| invalid(&error))?;
        census.count(&payload)?;
        if depth == 0 {
            names.note(&payload).map_err(|error| invalid(&error))?;
        }
        match validator.payload(&payload).map_err(|error| invalid(&error))? {
            ValidPayload::Parser(_) => depth += 1,
            ValidPayload::End(types) if depth == 0 => return Ok(names.outline(&types)),
            ValidPayload::End(_) => depth -= 1,
            // Function bodies are checked when they are compiled.
            ValidPayload::Func(..) | ValidPayload::Ok => {}
        }
    }
    Err(ComponentError::Invalid { what: "it ends too early".into(), offset: bytes.len() })
}

/// Fails when the bytes do not start as a component, or are too many.
pub(crate) fn expect_component(bytes: &[u8], limits: &Limits) -> Result<(), ComponentError> {
    over("bytes", bytes.len(), limits.component_bytes, "component-bytes")?;
    if !bytes.starts_with(b"\0asm") {
        let start = bytes.iter().take(8).map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
        let start = if start.is_empty() { "nothing".into() } else { start };
        return Err(ComponentError::NotWasm { start });
    }
    match bytes.get(4..8) {
        None => Err(ComponentError::Invalid { what: "it ends too early".into(), offset: bytes.len() }),
        Some([1, 0, 0, 0]) => Err(ComponentError::CoreModule),
        Some(_) => Ok(()),
    }
}

/// One section of the outermost component.
pub(crate) struct Section<'a> {
    /// The name of a custom section.
    pub(crate) custom: Option<&'a str>,
    /// The content, for a custom section without its name.
    pub(crate) content: &'a [u8],
    /// Where the section lies in the file, its header included.
    pub(crate) range: Range<usize>,
}

/// The sections of the outermost component, in order; nested ones are skipped as a whole.
pub(crate) fn sections<'a>(bytes: &'a [u8], limits: &Limits) -> Result<Vec<Section<'a>>, ComponentError> {
    expect_component(bytes, limits)?;
    let mut reader = BinaryReader::new(&bytes[8..], 8);
    let mut sections = Vec::new();
    while !reader.eof() {
        over("sections", sections.len() + 1, limits.sections, "sections")?;
        let start = reader.original_position();
        let section = section(&mut reader, start).map_err(|error| invalid(&error))?;
        if section.custom.is_some() {
            over("bytes in one custom section", section.content.len(), limits.section_bytes, "section-bytes")?;
        }
        sections.push(section);
    }
    Ok(sections)
}

fn section<'a>(reader: &mut BinaryReader<'a>, start: usize) -> wasmparser::Result<Section<'a>> {
    let id = reader.read_u8()?;
    let len = reader.read_var_u32()? as usize;
    let whole = reader.read_bytes(len)?;
    let end = reader.original_position();
    if id != 0 {
        return Ok(Section { custom: None, content: whole, range: start..end });
    }
    let mut inside = BinaryReader::new(whole, end - len);
    let name = inside.read_string()?;
    let content = inside.read_bytes(end - inside.original_position())?;
    Ok(Section { custom: Some(name), content, range: start..end })
}

/// What this host compiles: nothing that is nondeterministic, and nothing that is young.
fn features() -> WasmFeatures {
    WasmFeatures::WASM2
        | WasmFeatures::TAIL_CALL
        | WasmFeatures::EXTENDED_CONST
        | WasmFeatures::MULTI_MEMORY
        | WasmFeatures::COMPONENT_MODEL
}

fn invalid(error: &wasmparser::BinaryReaderError) -> ComponentError {
    ComponentError::Invalid { what: error.message().escape_debug().to_string(), offset: error.offset() }
}

fn over(what: &'static str, got: usize, limit: usize, key: &'static str) -> Result<(), ComponentError> {
    if limit < got { Err(ComponentError::TooMuch { what, got, limit, key }) } else { Ok(()) }
}

/// Counts what compile time grows with, nested modules included.
struct Census<'a> {
    limits: &'a Limits,
    sections: usize,
    modules: usize,
    functions: usize,
    types: usize,
}

impl<'a> Census<'a> {
    fn new(limits: &'a Limits) -> Self {
        Self { limits, sections: 0, modules: 0, functions: 0, types: 0 }
    }

    fn count(&mut self, payload: &Payload<'_>) -> Result<(), ComponentError> {
        self.sections +=
            usize::from(!matches!(payload, Payload::CodeSectionEntry(_) | Payload::Version { .. } | Payload::End(_)));
        over("sections", self.sections, self.limits.sections, "sections")?;
        match payload {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => self.modules += 1,
            Payload::FunctionSection(section) => self.functions += section.count() as usize,
            Payload::ComponentCanonicalSection(section) => self.functions += section.count() as usize,
            Payload::TypeSection(section) => self.types += section.count() as usize,
            Payload::CoreTypeSection(section) => self.types += section.count() as usize,
            Payload::ComponentTypeSection(section) => self.types += section.count() as usize,
            Payload::CodeSectionEntry(body) => {
                over("bytes in one function", body.range().len(), self.limits.function_bytes, "function-bytes")?;
            }
            Payload::CustomSection(section) => {
                over("bytes in one custom section", section.data().len(), self.limits.section_bytes, "section-bytes")?;
            }
            _ => {}
        }
        over("nested modules", self.modules, self.limits.modules, "modules")?;
        over("functions", self.functions, self.limits.functions, "functions")?;
        over("types", self.types, self.limits.types, "types")
    }
}

/// The names at the outermost level.
#[derive(Default)]
struct Names {
    imports: Vec<String>,
    exports: Vec<String>,
}

impl Names {
    fn note(&mut self, payload: &Payload<'_>) -> wasmparser::Result<()> {
        match payload {
            Payload::ComponentImportSection(section) => {
                for import in section.clone() {
                    self.imports.push(import?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section.clone() {
                    self.exports.push(export?.name.name.to_owned());
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn outline(self, types: &wasmparser::types::Types) -> Outline {
        let functions = |name: &str| match types.component_item_for_import(name).map(|item| item.ty) {
            Some(ComponentEntityType::Instance(id)) => {
                let exports = types.as_ref().get(id).map(|instance| &instance.exports);
                let functions =
                    exports.into_iter().flatten().filter(|(_, item)| matches!(item.ty, ComponentEntityType::Func(_)));
                functions.map(|(name, _)| name.clone()).collect()
            }
            _ => Vec::new(),
        };
        let imports = self
            .imports
            .into_iter()
            .map(|name| Import { functions: functions(&name), item: Item::of(&name), name })
            .collect();
        Outline { imports, exports: self.exports }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_other_than_0_1_is_unknown() {
        assert!(!Item::of("tunesmith:method/judge@0.1.7").is_of_unknown_version());
        assert!(Item::of("tunesmith:method/judge@0.2.0").is_of_unknown_version());
        assert!(Item::of("tunesmith:method/judge@0.1.0-rc.1").is_of_unknown_version());
        assert_eq!(Item::of("wasi:cli/stdout@0.2.0"), Item::Foreign);
    }

    #[track_caller]
    fn check(bytes: &[u8], expected: &str) {
        let error = read(bytes, &Limits::default()).expect_err("no component").to_string();
        assert!(error.contains(expected), "`{error}` does not say `{expected}`");
    }

    #[test]
    fn bytes_that_are_no_component_are_told_apart() {
        check(b"", "starts with nothing");
        check(b"PK\x03\x04", "starts with 50 4b 03 04");
        check(b"\0asm\x01\0\0\0", "core WebAssembly module");
        check(b"\0asm", "ends too early");
    }
}
