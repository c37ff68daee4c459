//! The contract is `wit/`: every item is documented and dated, and no released version is ever broken.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use wit_parser::{Resolve, Stability, TypeDefKind, UnresolvedPackageGroup, WorldId};

/// Stages and the interface that each world exports: the vocabulary of the whole project.
const STAGES: [&str; 10] =
    ["curate", "judge", "reward", "credit", "weigh", "objective", "edit", "measure", "answer", "retain"];

fn wit() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit")
}

/// The texts of a WIT folder as one parsed group; `version` replaces the package's own.
fn parse(resolve: &mut Resolve, folder: &Path, version: Option<&str>) -> wit_parser::PackageId {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("an entry can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "wit"))
        .collect();
    paths.sort();
    let mut map = wit_parser::SourceMap::default();
    for path in &paths {
        let mut text = fs::read_to_string(path).expect("a listed file can be read");
        if let Some(version) = version {
            text = renumbered(&text, version);
        }
        map.push(path, text);
    }
    let group: UnresolvedPackageGroup = map.parse().map_err(|(_, error)| error).expect("the contract parses");
    resolve.push_group(group).expect("the contract resolves")
}

/// The text with this version in its `package` line, if it has one. What is dated later than the version is in it all the same.
fn renumbered(text: &str, version: &str) -> String {
    const PACKAGE: &str = "package tunesmith:method@";
    let line = |line: &str| {
        if line.starts_with(PACKAGE) { format!("{PACKAGE}{version};\n") } else { format!("{line}\n") }
    };
    text.lines().map(line).collect()
}

/// The version in `package.wit` of a folder.
fn version_of(folder: &Path) -> String {
    let text = fs::read_to_string(folder.join("package.wit")).expect("the folder has a `package.wit`");
    let version = text.lines().find_map(|line| line.strip_prefix("package tunesmith:method@")?.strip_suffix(';'));
    version.expect("it names the package and its version").to_owned()
}

fn resolve() -> (Resolve, wit_parser::PackageId) {
    let mut resolve = Resolve { all_features: true, ..Resolve::default() };
    let package = parse(&mut resolve, &wit(), None);
    (resolve, package)
}

#[test]
fn every_item_is_documented_and_dated() {
    let (resolve, package) = resolve();
    let mut faults = Vec::new();
    for (name, &id) in &resolve.packages[package].interfaces {
        let interface = &resolve.interfaces[id];
        let mut check = |item: &str, docs: &wit_parser::Docs, stability: &Stability| {
            if docs.contents.as_deref().unwrap_or_default().trim().is_empty() {
                faults.push(format!("{name}.{item}: no `///`"));
            }
            if *stability == Stability::Unknown {
                faults.push(format!("{name}.{item}: no `@since` or `@unstable`"));
            }
        };
        check("", &interface.docs, &interface.stability);
        for (function_name, function) in &interface.functions {
            check(function_name, &function.docs, &function.stability);
        }
        for (type_name, &id) in &interface.types {
            let definition = &resolve.types[id];
            let is_used_from_elsewhere = matches!(definition.kind, TypeDefKind::Type(_));
            if !is_used_from_elsewhere {
                check(type_name, &definition.docs, &definition.stability);
            }
            if let TypeDefKind::Variant(variant) = &definition.kind {
                for case in &variant.cases {
                    check(&format!("{type_name}.{}", case.name), &case.docs, &definition.stability);
                }
            }
            if let TypeDefKind::Enum(kind) = &definition.kind {
                for case in &kind.cases {
                    check(&format!("{type_name}.{}", case.name), &case.docs, &definition.stability);
                }
            }
        }
        faults.extend(
            interface
                .types
                .iter()
                .filter(|&(_, &id)| matches!(resolve.types[id].kind, TypeDefKind::Record(_)))
                .map(|(type_name, _)| format!("{name}.{type_name}: a record cannot grow; hand over a resource")),
        );
    }
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn there_is_one_world_and_one_exported_interface_per_stage() {
    let (resolve, package) = resolve();
    let package = &resolve.packages[package];
    for stage in STAGES.into_iter().chain(["state"]) {
        let world = &resolve.worlds[package.worlds[&format!("{stage}-plugin")]];
        let exports: Vec<String> = world.exports.keys().map(|key| resolve.name_world_key(key)).collect();
        assert_eq!(exports, [format!("tunesmith:method/{stage}@{}", tunesmith_plugin::WIT_VERSION)]);
    }
}

#[test]
fn the_vocabulary_is_the_same_in_contract_and_core() {
    let words: Vec<&str> = tunesmith_core::stage::Stage::ALL.iter().map(|stage| stage.name()).collect();
    assert_eq!(words, STAGES);
}

#[test]
fn no_released_version_is_broken() {
    let released = wit().join("released");
    let mut checked = 0;
    for entry in fs::read_dir(&released).expect("released contracts are kept") {
        let folder = entry.expect("an entry can be read").path();
        let mut resolve = Resolve { all_features: false, ..Resolve::default() };
        // `semver_check` compares structure and ignores versions; two packages in one `Resolve` need different ones.
        let before = parse(&mut resolve, &folder, Some("9999.0.0"));
        let now = parse(&mut resolve, &wit(), None);
        let worlds: Vec<(String, WorldId)> =
            resolve.packages[before].worlds.iter().map(|(name, &id)| (name.clone(), id)).collect();
        for (name, before) in worlds {
            let now = resolve.packages[now].worlds[&name];
            wit_component::semver_check(resolve.clone(), before, now)
                .unwrap_or_else(|error| panic!("{}: world `{name}` is broken: {error:#}", folder.display()));
            checked += 1;
        }
    }
    assert!(checked > 0, "no world was checked");
}

/// Whoever changes the contract after it was frozen needs another version.
#[test]
fn the_contract_as_it_is_has_a_frozen_copy() {
    let version = version_of(&wit());
    assert_eq!(version, tunesmith_plugin::WIT_VERSION);
    let frozen = wit().join("released").join(&version);
    let texts = |folder: &Path| -> BTreeMap<String, String> {
        let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let paths = entries.map(|entry| entry.expect("an entry can be read").path());
        let read = |path: PathBuf| {
            let name = path.file_name().expect("it has a name").to_string_lossy().into_owned();
            (name, fs::read_to_string(&path).expect("a listed file can be read"))
        };
        paths.filter(|path| path.extension().is_some_and(|extension| extension == "wit")).map(read).collect()
    };
    assert_eq!(texts(&wit()), texts(&frozen), "`wit/` is not `wit/released/{version}`: give it a new version");
}

#[test]
fn a_released_version_is_the_one_its_folder_names() {
    for entry in fs::read_dir(wit().join("released")).expect("released contracts are kept") {
        let folder = entry.expect("an entry can be read").path();
        assert_eq!(folder.file_name().expect("it has a name").to_string_lossy(), version_of(&folder));
    }
}

#[test]
fn a_breaking_change_would_be_found() {
    let mut resolve = Resolve::default();
    let before = parse(&mut resolve, &wit(), None);
    let text: String = ["package", "types", "tensors", "data", "model", "stages", "worlds"]
        .map(|file| fs::read_to_string(wit().join(format!("{file}.wit"))).expect("the file is there"))
        .join("\n")
        .replace("undecided(string),", "undecided(string),\n    /// New.\n    unheard-of,");
    let text = renumbered(&text, "9999.0.0");
    let mut map = wit_parser::SourceMap::default();
    map.push(Path::new("changed.wit"), text);
    let group = map.parse().map_err(|(_, error)| error).expect("the changed contract parses");
    let after = resolve.push_group(group).expect("the changed contract resolves");
    let (before, after) =
        (resolve.packages[before].worlds["judge-plugin"], resolve.packages[after].worlds["judge-plugin"]);
    assert!(wit_component::semver_check(resolve, before, after).is_err(), "a new case of an answer breaks old hosts");
}
