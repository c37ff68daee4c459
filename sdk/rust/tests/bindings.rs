//! The checked-in bindings are what `wit-bindgen` makes of `wit/`; `UPDATE_EXPECT=1 cargo test -p tunesmith-sdk --test bindings` rewrites them.
//!
//! Bindings are checked in so that a plugin builds without the generator. One world imports everything; each stage has a world of its own
//! that shares the imports' types and brings its own export macro, so that a component exports exactly the stages it names.

use std::path::Path;

use expect_test::expect_file;
use wit_bindgen_core::wit_parser::{Resolve, WorldId, WorldItem, WorldKey};
use wit_bindgen_core::{Files, WorldGenerator as _};
use wit_bindgen_rust::{Opts, WithOption};

/// Everything that any stage may import, as one world outside the contract.
const IMPORTS: &str = "
package tunesmith:sdk;

world imports {
  import tunesmith:method/types@0.1.2;
  import tunesmith:method/settings@0.1.2;
  import tunesmith:method/random@0.1.2;
  import tunesmith:method/log@0.1.2;
  import tunesmith:method/store@0.1.2;
  import tunesmith:method/tensors@0.1.2;
  import tunesmith:method/data@0.1.2;
  import tunesmith:method/answers@0.1.2;
  import tunesmith:method/batches@0.1.2;
  import tunesmith:method/model@0.1.2;
  import tunesmith:method/judging@0.1.2;
  import tunesmith:method/parameters@0.1.2;
  import tunesmith:method/cache@0.1.2;
}
";

/// The contract and the world of all imports.
fn contract() -> (Resolve, WorldId) {
    let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit");
    let mut resolve = Resolve { all_features: true, ..Resolve::default() };
    resolve.push_dir(&wit).expect("`wit/` can be read");
    let sdk = resolve.push_str("imports.wit", IMPORTS).expect("the world of all imports fits `wit/`");
    let imports = resolve.select_world(&[sdk], Some("imports")).expect("the package has this world");
    (resolve, imports)
}

/// The bindings of one world as Rust text.
fn generate(resolve: &Resolve, world: WorldId, options: Opts) -> String {
    let mut files = Files::default();
    let mut resolve = resolve.clone();
    options.build().generate(&mut resolve, world, &mut files).expect("the world has bindings");
    let (_, bytes) = files.iter().next().expect("one world gives one file");
    String::from_utf8(bytes.to_vec()).expect("Rust is UTF-8")
}

fn options() -> Opts {
    Opts { format: true, generate_all: true, generate_unused_types: true, pub_export_macro: true, ..Opts::default() }
}

#[test]
fn the_imports_are_those_of_the_contract() {
    let (resolve, imports) = contract();
    let text = generate(&resolve, imports, options());
    expect_file!["../src/bindings/imports.rs"].assert_eq(&text);
}

#[test]
fn every_stage_has_the_bindings_of_its_world() {
    let (resolve, _) = contract();
    let (_, package) =
        resolve.packages.iter().find(|(_, package)| package.name.name == "method").expect("`wit/` is read");
    for (name, &world) in &package.worlds {
        let Some(stage) = name.strip_suffix("-plugin") else { continue };
        let shared = resolve.worlds[world].imports.iter().filter_map(|(key, item)| match (key, item) {
            (WorldKey::Interface(id), WorldItem::Interface { .. }) => {
                let module = resolve.interfaces[*id].name.as_deref().expect("imports have names");
                let path = format!("crate::bindings::imports::tunesmith::method::{module}");
                Some((resolve.name_world_key(key), WithOption::Path(path)))
            }
            _ => None,
        });
        let stage_options = Opts {
            with: shared.collect(),
            export_macro_name: Some(format!("export_{stage}")),
            default_bindings_module: Some(format!("$crate::bindings::{stage}")),
            ..options()
        };
        let text = generate(&resolve, world, stage_options);
        expect_file![format!("../src/bindings/{stage}.rs")].assert_eq(&text);
    }
}
