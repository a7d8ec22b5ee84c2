//! Keeps the house in order: what a reviewer would otherwise have to say each time.
//!
//! Each check reads the files git knows and returns complaints, `path:line: what`. No complaint is silenced by a
//! list: either the code changes or the rule does.

mod budgets;
mod docs;
mod edges;
mod web;

use crate::child::capture;
use crate::failure::{Context, Failure, Result};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A file git knows, with its text when it is text.
pub struct Source {
    /// Relative to the repository's root, with `/`.
    pub path: String,
    /// Empty for what is not UTF-8.
    pub text: String,
}

impl Source {
    fn has_kind(&self, kinds: &[&str]) -> bool {
        kinds.iter().any(|kind| self.path.ends_with(kind))
    }
}

/// Runs every check; fails with all complaints at once.
pub fn run(root: &Path) -> Result<()> {
    let sources = sources(root)?;
    let mut complaints = Vec::new();
    complaints.extend(edges::check(root, &sources)?);
    for source in &sources {
        complaints.extend(budgets::check(source));
        complaints.extend(check_place(source));
    }
    complaints.extend(docs::check(root, &sources));
    complaints.extend(web::check(&sources));
    if complaints.is_empty() {
        return Ok(());
    }
    let count = complaints.len();
    Err(Failure::new(format!("{}\n{count} complaint(s)", complaints.join("\n"))))
}

fn sources(root: &Path) -> Result<Vec<Source>> {
    let mut git = Command::new("git");
    git.current_dir(root).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let output = capture(&mut git, Duration::from_secs(30))?;
    if !output.status.success() {
        return Err(Failure::new(format!(
            "git ls-files: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )));
    }
    let names = String::from_utf8(output.stdout).doing("reading git's list of files")?;
    let known = names.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from);
    // A file deleted in the working tree is still in git's list.
    let present = known.filter(|name| root.join(name).is_file());
    Ok(present
        .map(|name| Source {
            text: std::fs::read(root.join(&name))
                .ok()
                .and_then(|bytes| String::from_utf8(bytes).ok())
                .unwrap_or_default(),
            path: name.to_string_lossy().into_owned(),
        })
        .collect())
}

/// Names that say nothing, and places where only machines write.
fn check_place(source: &Source) -> Vec<String> {
    const EMPTY_NAMES: [&str; 6] = ["common", "util", "utils", "helpers", "helper", "misc"];
    const GENERATED: [&str; 4] = ["target/", "node_modules/", "dist/", "web/src/api/gen/"];
    let path = &source.path;
    let mut complaints = Vec::new();
    let vague = path
        .split('/')
        .map(|part| part.split('.').next().unwrap_or(part))
        .find(|part| EMPTY_NAMES.contains(part));
    if let Some(name) = vague {
        complaints.push(format!("{path}: `{name}` says nothing; name it for what it holds"));
    }
    if GENERATED.iter().any(|place| path.starts_with(place) || path.contains(&format!("/{place}")))
        || path.ends_with(".snap.new")
    {
        complaints.push(format!("{path}: generated files stay out of git"));
    }
    let locks = path.ends_with("package-lock.json") || path.ends_with("Cargo.lock");
    let marker = concat!("@gen", "erated");
    if !locks && source.text.lines().take(5).any(|line| line.contains(marker)) {
        complaints.push(format!("{path}: marked as generated; generate it at build instead"));
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vague_and_generated_places_are_named() {
        let place = |path: &str| check_place(&Source { path: path.into(), text: String::new() });
        assert_eq!(place("node/src/util.rs").len(), 1);
        assert_eq!(place("web/src/helpers/x.ts").len(), 1);
        assert_eq!(place("web/dist/index.html").len(), 1);
        assert!(place("node/src/pool.rs").is_empty());
    }
}
