//! Puts the manifest of a `plugin.toml` into a component: `embed COMPONENT PLUGIN_TOML OUT`.

use std::{env, error, fs};

fn main() -> Result<(), Box<dyn error::Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [component, plugin_toml, out] = arguments.as_slice() else {
        return Err("usage: embed COMPONENT PLUGIN_TOML OUT".into());
    };
    let bytes = tunesmith_plugin::manifest::embed(&fs::read(component)?, &fs::read_to_string(plugin_toml)?)?;
    fs::write(out, bytes)?;
    Ok(())
}
