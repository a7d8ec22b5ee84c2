//! The lab VM: Debian with its stock kernel under software emulation, because storage needs a real kernel NFS server
//! and client, a real iSCSI target, LVM and file systems that this machine's kernel may lack.
//!
//! ```text
//! build:  packages ─▶ root folder ─▶ disk.raw ─▶ first boot ─▶ all services up ─▶ state (memory, devices)
//! start:  empty overlay over disk.raw + state ─▶ running, as if it had never stopped (seconds)
//! ```
//! `build` keeps its result until the recipe changes, under a name made of the recipe's hash. `start` writes only into
//! its own `--dir`, so any number of VMs run side by side. It becomes QEMU: end the process and the VM is gone.
//!
//! In `--dir`: `agent.sock` (QEMU guest agent, runs commands), `console.sock` (a root shell), `console.log`, and
//! `share/`, which the guest mounts by `mount -t 9p -o trans=virtio,version=9p2000.L share /share`.

mod build;
pub mod inside;
mod machine;
mod recipe;
mod root;

use crate::args::Args;
use crate::failure::{Context, Failure, Result};
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Where finished lab VMs are kept, instead of `target/labvm`: several clones may share one.
const KEPT_IN: &str = "QUANTIX_LABVM";
/// A Unix socket's path is at most 107 bytes (`unix(7)`).
const SOCKET_PATH_MAX: usize = 107;
const STEP_DEADLINE: Duration = Duration::from_secs(60);

/// `./x labvm build` and `./x labvm start --dir D`.
pub fn task(mut words: impl Iterator<Item = String>, root: &Path) -> Result<()> {
    match words.next().as_deref() {
        Some("build") => {
            Args::new("labvm build", words).done()?;
            eprintln!("{}", build::ready(root, &kept_in(root))?.display());
            Ok(())
        }
        Some("start") => start(Args::new("labvm start", words), root),
        _ => {
            Err(Failure::new("`./x labvm` knows `build` and `start`").remedy("`./x help` lists the options"))
        }
    }
}

/// Makes the lab VM when it is missing; answers the folder it is in.
pub fn build(root: &Path) -> Result<PathBuf> {
    build::ready(root, &kept_in(root))
}

fn kept_in(root: &Path) -> PathBuf {
    std::env::var_os(KEPT_IN).map_or_else(|| main_checkout(root).join("target/labvm"), PathBuf::from)
}

/// The checkout that holds the repository. Its other worktrees need no lab VM of their own.
fn main_checkout(root: &Path) -> PathBuf {
    let link = fs::read_to_string(root.join(".git")).unwrap_or_default();
    let git = link.trim().strip_prefix("gitdir: ").map(Path::new);
    let main =
        git.and_then(|git| git.ancestors().find(|folder| folder.ends_with(".git"))).and_then(Path::parent);
    main.filter(|main| main.join("Cargo.toml").exists()).unwrap_or(root).to_owned()
}

fn start(mut args: Args, root: &Path) -> Result<()> {
    let dir = args.path("--dir")?;
    let mut net = machine::Net::default();
    while let Some(pair) = args.value::<machine::Forward>("--forward")? {
        net.forwards.push(pair);
    }
    net.reaches_host = args.flag("--reach-host");
    args.done()?;
    if dir.join("console.sock").as_os_str().len() > SOCKET_PATH_MAX {
        return Err(Failure::new(format!("{} is too long a path for a socket", dir.display()))
            .remedy("choose a --dir of at most 90 characters"));
    }
    let made = build(root)?;
    fs::create_dir_all(dir.join("share")).doing(format!("making {}/share", dir.display()))?;
    machine::overlay(&made, &dir)?;
    eprintln!("the lab VM starts; its console: socat -,raw,echo=0 {}/console.sock", dir.display());
    let mut qemu = machine::command(&made, &dir, &net);
    // Relative, because QEMU hands this line to a shell.
    qemu.current_dir(&made).args(["-incoming", "exec:exec cat state"]);
    Err(crate::child::missing("qemu-system-x86_64", &qemu.exec()))
}

/// Runs a program and answers its output; its own words are the failure.
fn checked(command: &mut Command, deadline: Duration) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = crate::child::capture(command, deadline)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let words: Vec<&str> = words.lines().rev().take(15).collect();
    let words: Vec<&str> = words.into_iter().rev().collect();
    let ending = crate::child::ending(output.status);
    Err(Failure::new(format!("{name} ended with {ending}:\n{}", words.join("\n"))))
}
