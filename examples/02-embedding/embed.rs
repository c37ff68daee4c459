//! Runs a recipe and says what that did: `cargo run --example embed -- RECIPE`.
#![expect(clippy::print_stdout, reason = "an example talks to its terminal")]

use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let recipe = std::env::args().nth(1).ok_or("give a recipe")?;
    let session = tunesmith::Session::open(Path::new(&recipe))?;
    println!("{} plugins, output in {}", session.plan().plugins.len(), session.plan().output.display());
    let summary = session.run(&mut ())?;
    for set in &summary.sets {
        println!("{}: before {:?}, after {:?}", set.name, set.before, set.after);
    }
    Ok(())
}
