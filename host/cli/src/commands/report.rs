//! `report`: a run as one page that a browser shows without any network.

use anyhow::Result;
use serde_json::json;

use super::print_json;
use crate::arguments::Report;
use crate::files::replace;
use crate::report::{Run, page};
use crate::terminal::{one_line, print, say};

pub(crate) fn run(report: &Report) -> Result<()> {
    let run = Run::read(&report.run)?;
    let other = report.compare.as_deref().map(Run::read).transpose()?;
    let page = page(&run, other.as_ref());
    let output = report.output.clone().unwrap_or_else(|| report.run.join("report.html"));
    replace(&output, page.as_bytes())?;
    let faults: Vec<&String> = run.faults.iter().chain(other.iter().flat_map(|other| &other.faults)).collect();
    if report.json {
        return print_json(&json!({ "file": output, "bytes": page.len(), "faults": faults }));
    }
    for fault in faults {
        say(&format!("warning: {}", one_line(fault)));
    }
    print(&format!("{}: {:.1} kB", one_line(&output.display().to_string()), page.len() as f64 / 1e3))?;
    Ok(())
}
