//! `./x bench`: the figures behind `docs/promises.md`, from optimised programs.

use crate::args::Args;
use crate::child::{own, run};
use crate::failure::{Failure, Result};
use crate::guest;
use crate::up::build;
use std::path::Path;
use std::process::Command;

/// `web` is measured by the web app's own script, `storage` beside the bare programs; all others by the lab.
const WEB: &str = "web";
/// See [`WEB`].
const STORAGE: &str = "storage";

/// Builds and runs the measurements named, or all.
pub fn task(words: impl Iterator<Item = String>, root: &Path) -> Result<()> {
    let words: Vec<String> = words.collect();
    if words.first().is_some_and(|word| word == "fleet") {
        // By itself, and with options of its own. The pages are a part of the program that is measured.
        build::web(root)?;
        return lab_program(root, "quantix-bench", &words);
    }
    let named = Args::new("bench", words.into_iter()).rest()?;
    if named.is_empty() || named.iter().any(|name| name == STORAGE) {
        storage(root)?;
    }
    if named.iter().all(|name| name == STORAGE) && !named.is_empty() {
        return Ok(());
    }
    build::web(root)?;
    if named.is_empty() || named.iter().any(|name| name == WEB) {
        run(Command::new("npm").current_dir(root.join("web")).args(["run", "size"]))?;
    }
    let others: Vec<&String> = named.iter().filter(|name| *name != WEB && *name != STORAGE).collect();
    if others.is_empty() && !named.is_empty() {
        return Ok(());
    }
    guest::build(&root.join("target/guest"))?;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    run(cargo.current_dir(root).args(["build", "--workspace", "--release", "--bins"]))?;
    let programs = root.join("target/release");
    let bench = programs.join("quantix-bench");
    if !bench.exists() {
        return Err(Failure::new(format!("{} was not built", bench.display())));
    }
    let own = own()?;
    let mut command = Command::new(bench);
    command
        .args(others)
        .env("QUANTIX_X", own)
        .env("QUANTIX_GUEST", root.join("target/guest"))
        .env("QUANTIX_BIN", programs);
    run(&mut command)
}

/// A fleet to look at: its own program knows the options.
pub fn fleet(words: impl Iterator<Item = String>, root: &Path) -> Result<()> {
    build::web(root)?;
    lab_program(root, "quantix-fleet", &words.collect::<Vec<_>>())
}

fn lab_program(root: &Path, name: &str, words: &[String]) -> Result<()> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    run(cargo.current_dir(root).args(["build", "--workspace", "--release", "--bins"]))?;
    run(Command::new(root.join("target/release").join(name)).args(words))
}

/// A local pool against qemu-img, rm, ls and cp on the disk of the build folder.
fn storage(root: &Path) -> Result<()> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let example = ["build", "--workspace", "--release", "--example", "pool_bench"];
    run(cargo.current_dir(root).args(example))?;
    run(Command::new(root.join("target/release/examples/pool_bench")).arg(root.join("target")))
}
