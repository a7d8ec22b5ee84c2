//! Which room may use which. The table in `ARCHITECTURE.md` is the rule itself, read here and nowhere copied.

use super::Source;
use crate::child::capture;
use crate::failure::{Context, Failure, Result};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const PREFIX: &str = "quantix-";
const HEADING: &str = "## Allowed edges";

/// What a room may use.
#[derive(Debug, PartialEq, Eq)]
enum May {
    All,
    Only(BTreeSet<String>),
}

/// Complaints about dependencies between rooms, in `cargo metadata`'s words.
pub fn check(root: &Path, sources: &[Source]) -> Result<Vec<String>> {
    let architecture = sources.iter().find(|source| source.path == "ARCHITECTURE.md");
    let architecture = architecture
        .ok_or_else(|| Failure::new("ARCHITECTURE.md is missing; it holds the table of allowed edges"))?;
    let allowed = table(&architecture.text);
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root).args(["metadata", "--no-deps", "--format-version", "1", "--offline"]);
    let output = capture(&mut cargo, Duration::from_secs(60))?;
    if !output.status.success() {
        return Err(Failure::new(format!(
            "cargo metadata: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )));
    }
    let metadata: Value = serde_json::from_slice(&output.stdout).doing("reading cargo metadata")?;
    Ok(compare(&used(&metadata), &allowed))
}

/// The rows of the first table under the heading.
fn table(text: &str) -> BTreeMap<String, May> {
    let mut allowed = BTreeMap::new();
    let section = text.split(HEADING).nth(1).unwrap_or_default();
    let rows =
        section.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    for row in rows.skip(2) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [rooms, uses] = cells[..] else { continue };
        for room in rooms.split(',').map(str::trim) {
            let may = match uses {
                "all" => May::All,
                "none" => May::Only(BTreeSet::new()),
                list => May::Only(list.split(',').map(|name| name.trim().to_owned()).collect()),
            };
            allowed.insert(room.to_owned(), may);
        }
    }
    allowed
}

/// Each room with the rooms it depends on, for building, running or testing.
fn used(metadata: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let room =
        |value: &Value| value["name"].as_str().and_then(|name| name.strip_prefix(PREFIX)).map(str::to_owned);
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut used = BTreeMap::new();
    for package in list(&metadata["packages"]) {
        if let Some(name) = room(&package) {
            used.insert(name, list(&package["dependencies"]).iter().filter_map(room).collect());
        }
    }
    used
}

fn compare(used: &BTreeMap<String, BTreeSet<String>>, allowed: &BTreeMap<String, May>) -> Vec<String> {
    let mut complaints = Vec::new();
    for (room, uses) in used {
        let refused: Vec<&str> = match allowed.get(room) {
            None => {
                complaints
                    .push(format!("ARCHITECTURE.md: room `{room}` is not in the table of allowed edges"));
                continue;
            }
            Some(May::All) => Vec::new(),
            Some(May::Only(may)) => uses.difference(may).map(String::as_str).collect(),
        };
        complaints.extend(refused.iter().map(|other| {
            format!("{room}/Cargo.toml: `{room}` may not use `{other}` (ARCHITECTURE.md, allowed edges)")
        }));
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "x\n## Allowed edges\n\n| Room | May use |\n|---|---|\n| a, b | c |\n| c | none |\n| lab | all |\n\nend\n| z | z |\n";

    fn rooms(pairs: &[(&str, &[&str])]) -> BTreeMap<String, BTreeSet<String>> {
        pairs
            .iter()
            .map(|(room, uses)| ((*room).into(), uses.iter().map(|name| (*name).into()).collect()))
            .collect()
    }

    #[test]
    fn the_table_is_the_rule() {
        let allowed = table(TEXT);
        assert_eq!(allowed.len(), 4);
        assert!(compare(&rooms(&[("a", &["c"]), ("c", &[]), ("lab", &["a", "b"])]), &allowed).is_empty());
        let complaints = compare(&rooms(&[("b", &["a"]), ("c", &["lab"]), ("new", &[])]), &allowed);
        assert_eq!(complaints.len(), 3, "{complaints:?}");
    }
}
