//! `doctor`: what this machine has, what is missing, and the command that mends it.

use anyhow::Result;
use serde_json::json;

use super::print_json;
use crate::arguments::Doctor;
use crate::doctor::{Check, Need, checks};
use crate::terminal::{one_line, print, table};

pub(crate) fn run(doctor: &Doctor) -> Result<()> {
    let checks = checks();
    let missing = checks.iter().filter(|check| check.need == Need::Training && !check.is_fine).count();
    if doctor.json {
        let version = env!("CARGO_PKG_VERSION");
        print_json(&json!({ "version": version, "is-ready": missing == 0, "checks": checks }))?;
    } else {
        show(&checks)?;
    }
    anyhow::ensure!(missing == 0, "{missing} thing(s) that training needs are missing");
    Ok(())
}

fn show(checks: &[Check]) -> Result<()> {
    print(&format!("tunesmith {}", env!("CARGO_PKG_VERSION")))?;
    for need in [Need::Training, Need::Cuda, Need::RustPlugins, Need::OtherPlugins] {
        let of_need = || checks.iter().filter(|check| check.need == need);
        let optional = if need == Need::Training { "" } else { " (optional)" };
        print(&format!("\n{}{optional}:", need.name()))?;
        let row = |check: &Check| {
            let state = if check.is_fine { "fine" } else { "missing" };
            vec![format!("  {state}"), one_line(&check.name), one_line(&check.found)]
        };
        let heads = vec![String::new(); 3];
        let rows: Vec<Vec<String>> = std::iter::once(heads).chain(of_need().map(row)).collect();
        print(table(&rows).trim_start_matches('\n'))?;
        for (check, mend) in of_need().filter_map(|check| Some((check, check.mend.as_deref()?))) {
            print(&format!("  mend {}: {}", one_line(&check.name), one_line(mend)))?;
        }
    }
    Ok(())
}
