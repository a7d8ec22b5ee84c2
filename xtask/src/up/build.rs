//! Builds what `./x up` starts, and nothing else: two programs and the web app, side by side.
//!
//! Cargo knows by itself what is fresh. For the web app a stamp says which inputs were built last.

use crate::child::{capture, ending, missing, own};
use crate::failure::{Context, Failure, Result};
use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const NPM_WITHIN: Duration = Duration::from_secs(900);

/// Where cargo puts the programs: this one is among them.
pub fn target() -> Result<PathBuf> {
    let own = own()?;
    Ok(own.parent().map(Path::to_path_buf).unwrap_or_default())
}

/// Builds both halves; cargo's progress is shown as it comes, the web app's steps by name.
///
/// The vDC takes the finished web app in, so it must not be compiled while that is written: what it is made of
/// is compiled meanwhile.
pub fn run(root: &Path) -> Result<()> {
    if !web_is_fresh(root) {
        let (compiled, built) = std::thread::scope(|scope| {
            let web = scope.spawn(|| web(root));
            let compiled = cargo(root, &["--exclude", "quantix-control", "--lib", "--bins"]);
            (compiled, web.join().unwrap_or_else(|_| Err(Failure::new("building the web app failed"))))
        });
        compiled.and(built)?;
    }
    programs(root)
}

/// `quantix-vdc` and `quantix-node`.
pub fn programs(root: &Path) -> Result<()> {
    cargo(root, &["--bins"])
}

/// The workspace as a whole, so that the same dependencies serve `./x test`; but not this very program.
fn cargo(root: &Path, words: &[&str]) -> Result<()> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root).args([
        "build",
        "--workspace",
        "--exclude",
        "quantix-lab",
        "--exclude",
        "quantix-xtask",
    ]);
    let status = cargo.args(words).stdin(Stdio::null()).status().map_err(|error| missing("cargo", &error))?;
    if status.success() {
        Ok(())
    } else {
        Err(Failure::new(format!("cargo build ended with {}", ending(status))))
    }
}

/// Installs packages and builds the web app, each only when its inputs changed.
pub fn web(root: &Path) -> Result<()> {
    let web = root.join("web");
    packages(&web)?;
    if web_is_fresh(root) {
        return Ok(());
    }
    step(&web, "building", &["run", "build"])?;
    fs::write(built_stamp(root), web_inputs(root)).doing("noting what was built")
}

fn web_is_fresh(root: &Path) -> bool {
    let known = fs::read_to_string(built_stamp(root)).is_ok_and(|known| known == web_inputs(root));
    known && root.join("web/dist/index.html").exists()
}

/// Not inside `dist`: what lies there is served.
fn built_stamp(root: &Path) -> PathBuf {
    root.join("web/node_modules/.quantix-built")
}

fn web_inputs(root: &Path) -> String {
    hash_of(&[&root.join("web"), &root.join("contract/proto")])
}

/// `npm ci` in a folder, when its lock changed since the last one.
pub fn packages(folder: &Path) -> Result<()> {
    let inputs = hash_of(&[&folder.join("package.json"), &folder.join("package-lock.json")]);
    let stamp = folder.join("node_modules/.quantix-inputs");
    if fs::read_to_string(&stamp).is_ok_and(|known| known == inputs) {
        return Ok(());
    }
    step(folder, "installing packages", &["ci", "--no-audit", "--no-fund"])?;
    fs::write(&stamp, inputs).doing(stamp.display())
}

/// One npm step: its name and time on one line, its words only when it fails.
fn step(folder: &Path, name: &str, words: &[&str]) -> Result<()> {
    let of = folder.file_name().unwrap_or_default().display();
    eprintln!("    {of}: {name} …");
    let began = Instant::now();
    let output = capture(Command::new("npm").current_dir(folder).args(words), NPM_WITHIN)?;
    if !output.status.success() {
        let said =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        return Err(Failure::new(format!(
            "npm {} ended with {}:\n{}",
            words.join(" "),
            ending(output.status),
            said.trim()
        )));
    }
    eprintln!("    {of}: {name}: done in {:.0} s", began.elapsed().as_secs_f64());
    Ok(())
}

/// One number for all files below the given places, whatever their times say.
fn hash_of(places: &[&Path]) -> String {
    let mut hasher = DefaultHasher::new();
    for place in places {
        add(place, &mut hasher);
    }
    format!("{:016x}\n", hasher.finish())
}

fn add(path: &Path, hasher: &mut DefaultHasher) {
    const MADE: [&str; 5] = ["node_modules", "dist", "gen", "e2e", ".vite"];
    let name = path.file_name().unwrap_or_default();
    if MADE.iter().any(|made| name == *made) {
        return;
    }
    name.hash(hasher);
    if let Ok(bytes) = fs::read(path) {
        bytes.hash(hasher);
    }
    let mut inner: Vec<PathBuf> =
        fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    inner.sort();
    inner.iter().for_each(|path| add(path, hasher));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stamp_sees_content_and_ignores_what_is_made() {
        let dir = std::env::temp_dir().join(format!("quantix-stamp-{}", std::process::id()));
        fs::create_dir_all(dir.join("src")).unwrap();
        fs::create_dir_all(dir.join("dist")).unwrap();
        fs::write(dir.join("src/a.ts"), "1").unwrap();
        let first = hash_of(&[&dir]);
        fs::write(dir.join("dist/a.js"), "made").unwrap();
        assert_eq!(hash_of(&[&dir]), first);
        fs::write(dir.join("src/a.ts"), "2").unwrap();
        assert_ne!(hash_of(&[&dir]), first);
        fs::remove_dir_all(&dir).unwrap();
    }
}
