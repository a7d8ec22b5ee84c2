//! `./x lab` and the tier `lab`: builds the storage tests named `real_*` and has them run inside the lab VM; then runs
//! the lab's own tests `servers`, which make lab VMs hosts of a vDC on this machine.

use crate::args::Args;
use crate::child::{ending, missing, own, run};
use crate::failure::{Context, Failure, Result};
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Tests that run on this machine and have hosts in lab VMs, beside those that run inside.
const SERVERS: &str = "servers";
/// Runs a list of test programs in one VM.
const RUNNER: &str = "quantix-lab-vm";

/// What cargo made.
#[derive(Default)]
struct Built {
    tests: Vec<(String, PathBuf)>,
    helpers: Vec<PathBuf>,
    runner: Option<PathBuf>,
}

/// `./x lab [FILE [TEST…]]`: one file of tests, or all, with the output shown as it comes.
pub fn task(words: impl Iterator<Item = String>, root: &Path) -> Result<()> {
    let words = Args::new("lab", words).rest()?;
    let (file, only) = match words.split_first() {
        Some((file, only)) => (Some(file.as_str()), only),
        None => (None, [].as_slice()),
    };
    match file {
        Some(SERVERS) => servers(root, only, true),
        Some(_) => all(root, file, only, true),
        None => all(root, file, only, true).and(servers(root, only, true)),
    }
}

/// Guests on hosts in lab VMs, those tests whose name holds one of `only`.
pub fn servers(root: &Path, only: &[String], shown: bool) -> Result<()> {
    super::build(root)?;
    let mut filter = format!("package(quantix-lab) and binary({SERVERS})");
    if !only.is_empty() {
        let names: Vec<String> = only.iter().map(|text| format!("test({text})")).collect();
        filter += &format!(" and ({})", names.join(" or "));
    }
    let mut nextest = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    nextest.current_dir(root).args(["nextest", "run", "--workspace", "--locked", "--profile", "house"]);
    nextest.args(["--ignore-default-filter", "-E", &filter]).env("QUANTIX_X", own()?);
    run(nextest.args(shown.then_some("--no-capture")))
}

/// Runs every test of `file`, or of all files, whose name holds one of `only`.
pub fn all(root: &Path, file: Option<&str>, only: &[String], shown: bool) -> Result<()> {
    super::build(root)?;
    let built = build(root)?;
    let runner = built.runner.ok_or_else(|| Failure::new(format!("{RUNNER} was not built")))?;
    let known: Vec<&str> = built.tests.iter().map(|(name, _)| name.as_str()).collect();
    if let Some(file) = file.filter(|file| !known.contains(file)) {
        return Err(Failure::new(format!("`{file}` is no file of lab tests"))
            .remedy(format!("there are {}, {SERVERS}", known.join(", "))));
    }
    let mut command = Command::new(runner);
    command.env("QUANTIX_X", own()?).args(shown.then_some("--shown"));
    for text in only {
        command.arg("--only").arg(text);
    }
    for helper in &built.helpers {
        command.arg("--place").arg(helper);
    }
    let wanted = built.tests.iter().filter(|(name, _)| file.is_none_or(|file| file == name));
    run(command.args(wanted.map(|(_, path)| path)))
}

/// The same selection for every file, so that cargo compiles the dependencies once; as `./x test unit` has them.
fn build(root: &Path) -> Result<Built> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root).args([
        "test",
        "--workspace",
        "--locked",
        "--no-run",
        "--test",
        "real_*",
        "--bins",
    ]);
    cargo.args(["-q", "--message-format=json-render-diagnostics"]).stdout(Stdio::piped());
    let mut child = cargo.spawn().map_err(|error| missing("cargo", &error))?;
    let mut built = Built::default();
    let storage = root.join("storage");
    if let Some(out) = child.stdout.take() {
        for line in BufReader::new(out).lines().map_while(std::result::Result::ok) {
            let Ok(message) = serde_json::from_str::<Value>(&line) else { continue };
            note(&message, &storage, &mut built);
        }
    }
    let status = child.wait().doing("waiting for cargo")?;
    built.tests.sort();
    if status.success() {
        Ok(built)
    } else {
        Err(Failure::new(format!("cargo ended with {}", ending(status))))
    }
}

fn note(message: &Value, storage: &Path, built: &mut Built) {
    let Some(path) = message["executable"].as_str().map(PathBuf::from) else { return };
    let target = &message["target"];
    let name = target["name"].as_str().unwrap_or_default();
    let of_storage = Path::new(target["src_path"].as_str().unwrap_or_default()).starts_with(storage);
    // `--bins` makes each program's own tests, too.
    let is_test = message["profile"]["test"] == true;
    match (target["kind"][0].as_str(), is_test) {
        (Some("test"), _) if of_storage && name.starts_with("real_") => {
            built.tests.push((name.to_owned(), path))
        }
        (Some("bin"), false) if name == RUNNER => built.runner = Some(path),
        (Some("bin"), false) if of_storage => built.helpers.push(path),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn cargo_is_understood() {
        let mut built = Built::default();
        let mut say = |kind: &str, name: &str, test: bool, place: &str| {
            let target = json!({"kind": [kind], "name": name, "src_path": format!("/r/{place}/x.rs")});
            let line =
                json!({"target": target, "profile": {"test": test}, "executable": format!("/t/{name}")});
            note(&line, Path::new("/r/storage"), &mut built);
        };
        say("test", "real_nfs", true, "storage/tests");
        say("test", "real_hypervisor", true, "lab/tests");
        say("bin", "pool-worker-on-trial", false, "storage/tests/bin");
        say("bin", "pool-worker-on-trial", true, "storage/tests/bin");
        say("bin", RUNNER, false, "lab/src/bin");
        assert_eq!(built.tests, [("real_nfs".to_owned(), PathBuf::from("/t/real_nfs"))]);
        assert_eq!(built.helpers, [PathBuf::from("/t/pool-worker-on-trial")]);
        assert!(built.runner.is_some());
    }
}
