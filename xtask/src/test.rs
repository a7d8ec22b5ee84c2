//! `./x test`: every tier there is, with a table at the end.
//!
//! A tier that fails does not hide the next one, but the command fails. A missing prerequisite fails its tier with
//! the line that installs it; nothing is skipped. What a person may want to look at later goes to `target/artefacts`.

use crate::args::Args;
use crate::child::{own, run};
use crate::failure::{Context, Failure, Result};
use crate::up::build;
use crate::{guest, labvm, tidy};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

struct Tier {
    name: &'static str,
    what: &'static str,
    run: fn(&House) -> Result<()>,
}

/// In the order that finds cheap faults first.
const TIERS: [Tier; 7] = [
    Tier { name: "tidy", what: "edges, budgets, heads, documents", run: |house| tidy::run(&house.root) },
    Tier { name: "fmt", what: "cargo fmt --check", run: House::fmt },
    Tier { name: "web", what: "lint, types, unit tests, build", run: House::web },
    Tier { name: "clippy", what: "every warning is an error", run: House::clippy },
    Tier { name: "unit", what: "all Rust tests, with real libvirt", run: House::unit },
    Tier { name: "lab", what: "storage and guests on real servers, in lab VMs", run: House::lab },
    Tier { name: "e2e", what: "the main job in a real browser", run: House::e2e },
];

/// Runs the tiers named, or all.
pub fn task(words: impl Iterator<Item = String>, root: &Path) -> Result<()> {
    let named = Args::new("test", words).rest()?;
    let known = |name: &String| TIERS.iter().any(|tier| tier.name == name);
    if let Some(unknown) = named.iter().find(|name| !known(name)) {
        let names: Vec<&str> = TIERS.iter().map(|tier| tier.name).collect();
        return Err(Failure::new(format!("`{unknown}` is no tier"))
            .remedy(format!("the tiers are {}", names.join(", "))));
    }
    let house = House::new(root)?;
    let began = Instant::now();
    let mut rows = Vec::new();
    let wanted = |tier: &&Tier| named.is_empty() || named.iter().any(|name| name == tier.name);
    let needs_lab_vm = TIERS.iter().filter(wanted).any(|tier| ["unit", "lab"].contains(&tier.name));
    for tier in TIERS.iter().filter(wanted) {
        // Beside compiling, which waits for nothing; tests of pages would.
        if tier.name == "clippy" && needs_lab_vm {
            house.begin_lab_vm();
        }
        eprintln!("\n── {}: {}", tier.name, tier.what);
        let began = Instant::now();
        let outcome = (tier.run)(&house);
        if let Err(failure) = &outcome {
            eprintln!("{failure}");
        }
        rows.push((tier.name, began.elapsed(), outcome.is_ok()));
    }
    report(&rows, began.elapsed())
}

fn report(rows: &[(&str, Duration, bool)], whole: Duration) -> Result<()> {
    eprintln!("\n  tier      seconds");
    for (name, took, good) in rows {
        eprintln!("  {name:<8} {:>8.1}  {}", took.as_secs_f64(), if *good { "passed" } else { "FAILED" });
    }
    eprintln!("  {:<8} {:>8.1}", "all", whole.as_secs_f64());
    let failed: Vec<&str> = rows.iter().filter(|(_, _, good)| !good).map(|(name, ..)| *name).collect();
    if failed.is_empty() { Ok(()) } else { Err(Failure::new(format!("failed: {}", failed.join(", ")))) }
}

/// The repository under test.
struct House {
    root: PathBuf,
    artefacts: PathBuf,
    /// Being made beside the tiers that need none.
    lab_vm: Mutex<Option<JoinHandle<Result<PathBuf>>>>,
}

impl House {
    fn new(root: &Path) -> Result<Self> {
        let artefacts = root.join("target/artefacts");
        fs::create_dir_all(&artefacts).doing(artefacts.display())?;
        Ok(Self { root: root.to_path_buf(), artefacts, lab_vm: Mutex::default() })
    }

    /// Begins to make the lab VM, which takes minutes and mostly waits.
    fn begin_lab_vm(&self) {
        let root = self.root.clone();
        let making = std::thread::spawn(move || labvm::build(&root));
        *self.lab_vm.lock().unwrap_or_else(PoisonError::into_inner) = Some(making);
    }

    /// The lab VM is there.
    fn lab_vm(&self) -> Result<()> {
        let making = self.lab_vm.lock().unwrap_or_else(PoisonError::into_inner).take();
        match making.map(JoinHandle::join) {
            Some(Ok(Ok(_))) => Ok(()),
            // Beside everything else it may have missed a deadline.
            _ => labvm::build(&self.root).map(drop),
        }
    }

    fn cargo(&self, words: &[&str]) -> Command {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(&self.root).args(words);
        cargo
    }

    fn npm(&self, words: &[&str]) -> Result<()> {
        let mut npm = Command::new("npm");
        run(npm.current_dir(self.root.join("web")).arg("--silent").args(words))
    }

    fn fmt(&self) -> Result<()> {
        run(&mut self.cargo(&["fmt", "--all", "--check"]))
    }

    fn clippy(&self) -> Result<()> {
        run(&mut self.cargo(&[
            "clippy",
            "-q",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ]))
    }

    fn web(&self) -> Result<()> {
        build::packages(&self.root.join("web"))?;
        self.npm(&["run", "gen"])?;
        self.npm(&["run", "lint"])?;
        self.npm(&["test"])?;
        // Checks the types, too.
        build::web(&self.root)?;
        self.npm(&["run", "size"])
    }

    fn unit(&self) -> Result<()> {
        self.lab_vm()?;
        guest::build(&self.root.join("target/guest"))?;
        build::web(&self.root)?;
        build::packages(&self.root.join("lab/oidc"))?;
        let mut nextest = self.cargo(&["nextest", "run", "--workspace", "--locked", "--profile", "house"]);
        let outcome = run(nextest.envs(self.env()?));
        let report = self.root.join("target/nextest/house/junit.xml");
        let _ = fs::copy(report, self.artefacts.join("junit.xml"));
        outcome
    }

    fn lab(&self) -> Result<()> {
        self.lab_vm()?;
        let inside = labvm::inside::all(&self.root, None, &[], false);
        // Whoever runs the tier wants to know of both.
        let around = labvm::inside::servers(&self.root, &[], false);
        inside.and(around)
    }

    fn e2e(&self) -> Result<()> {
        build::web(&self.root)?;
        self.programs()?;
        guest::build(&self.root.join("target/guest"))?;
        build::packages(&self.root.join("lab/oidc"))?;
        let mut browser = Command::new("node");
        browser.current_dir(self.root.join("web")).arg("e2e/main-job.mjs").envs(self.env()?);
        run(&mut browser)
    }

    /// `quantix-vdc` and `quantix-node` as the Rust tests have them. Built alone they would need other features of
    /// their dependencies, and everything would be compiled twice.
    fn programs(&self) -> Result<()> {
        run(&mut self.cargo(&["test", "-q", "--workspace", "--no-run", "--locked"]))
    }

    /// Where tests find what they cannot build themselves.
    fn env(&self) -> Result<[(&'static str, PathBuf); 4]> {
        let own = own()?;
        Ok([
            ("QUANTIX_X", own),
            ("QUANTIX_BIN", build::target()?),
            ("QUANTIX_GUEST", self.root.join("target/guest")),
            ("QUANTIX_ARTEFACTS", self.artefacts.clone()),
        ])
    }
}
