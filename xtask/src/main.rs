//! The workshop: everything that builds, checks, starts and measures Quantix. `./x` compiles it and hands over.

mod args;
mod bench;
mod child;
mod failure;
mod guest;
mod labvm;
mod libvirt;
mod test;
mod tidy;
mod up;

use args::Args;
use failure::{Failure, Result};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const HELP: &str = "\
./x up [--dir D] [--port P] [--api-port P] [--host-port P] [--libvirt-uri U] [--reset [--yes]]
                     builds and starts vDC and node daemon here, and follows their logs
./x test [tier…]     runs tidy, fmt, web, clippy, unit, lab and e2e, or those named
./x bench [what…]    measures start, memory, vm, upload, stall, storage, login, rights, renew and web, or those named
./x bench fleet [--hosts N] [--pools P] [--vms-per-host V] [--store sqlite|postgresql] [--seconds S]
                     measures a vDC under a whole fleet of simulated hosts
./x fleet [--hosts N] [--vms V] [--pools P] [--seed S] [--silent H] [--flapping H] [--lost-answers H] …
                     runs a vDC with a simulated fleet, to look at, until Ctrl-C
./x fuzz [--seconds N] [--seed S] [--case N]
                     sends what no client would send to everything that answers strangers; a finding is repeated by
                     its seed and case
./x tidy             checks what a reviewer would otherwise have to say
./x libvirt --dir D [--cache D] [--stop-guests]
                     runs a libvirt of its own in D and prints READY once it answers
./x guest [--out D]  builds the test guest: a bootable ISO and a qcow2 disk
./x lab [FILE [TEST…]]
                     runs storage tests inside the lab VM, all or those of storage/tests/FILE.rs, or
                     those of lab/tests/servers, whose hosts are lab VMs
./x ceph --dir D     runs a Ceph cluster of its own in D, says how to reach it, and removes it at Enter
./x labvm build      builds the lab VM: Debian with kernel NFS, iSCSI, LVM, saved while it runs
./x labvm start --dir D [--forward HOST:GUEST]… [--reach-host]
                     restores it in seconds; its sockets and its shared folder are in D";

fn main() -> ExitCode {
    match dispatch(std::env::args().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(mut words: impl Iterator<Item = String>) -> Result<()> {
    let task = words.next().unwrap_or_else(|| "help".to_owned());
    match task.as_str() {
        "guest" => guest::task(Args::new("guest", words)),
        "libvirt" => libvirt::outside(Args::new("libvirt", words)),
        "libvirt-inside" => libvirt::inside(Args::new("libvirt", words)),
        "ceph" => ceph(words),
        "lab" => labvm::inside::task(words, &root()),
        "labvm" => labvm::task(words, &root()),
        "up" => up::run(words, &root()),
        "test" => test::task(words, &root()),
        "bench" => bench::task(words, &root()),
        "fleet" => bench::fleet(words, &root()),
        "fuzz" => fuzz(words),
        "tidy" => {
            Args::new("tidy", words).done()?;
            tidy::run(&root())
        }
        "help" | "-h" | "--help" => {
            eprintln!("{HELP}");
            Ok(())
        }
        other => Err(Failure::new(format!("`{other}` is no task")).remedy("`./x help` lists them")),
    }
}

/// The lab's own program asks both daemons what no client would ask.
fn fuzz(words: impl Iterator<Item = String>) -> Result<()> {
    lab_program("quantix-fuzz", words)
}

/// The lab's Ceph cluster, which is not ours to know: the lab's own program starts it.
fn ceph(words: impl Iterator<Item = String>) -> Result<()> {
    lab_program("quantix-lab-ceph", words)
}

fn lab_program(name: &str, words: impl Iterator<Item = String>) -> Result<()> {
    let mut cargo = std::process::Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root()).args(["run", "-q", "-p", "quantix-lab", "--bin", name, "--"]);
    child::run(cargo.args(words))
}

/// The repository: this program was compiled inside it.
fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_path_buf()
}
