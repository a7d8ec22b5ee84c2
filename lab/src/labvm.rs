//! The lab VM for tests: Debian with its stock kernel, restored in seconds to the moment all its services were up.
//!
//! ```text
//!   LabVm::start ──▶ quantix-xtask labvm start (becomes QEMU) ──state──▶ running ──Drop──▶ gone, and its disk with it
//!        │  run(argv) ──guest agent──▶ a program, as root        share() = /share in the guest
//! ```
//! Nothing a test does in there stays: it may format, mount, log in and break what it likes. What it finds:
//!
//! | What | Where |
//! |---|---|
//! | NFS server, versions 3 to 4.2 (grace and lease 10 s) | `127.0.0.1:/srv/nfs/rw`, `ro`, `squash` (root squashed, belongs to root, 0755), `secret` (for nobody) |
//! | iSCSI target, CHAP [`CHAP_USER`] / [`CHAP_PASSWORD`] | [`TARGET`]: LUN 0 of 2 GiB, LUN 1 of 1 GiB |
//! | iSCSI target, mutual CHAP ([`MUTUAL_USER`] / [`MUTUAL_PASSWORD`] back) | [`TARGET_MUTUAL`]: LUN 0 of 1 GiB |
//! | empty disks | `/dev/vdb` of 8 GiB, `/dev/vdc` of 2 GiB |
//! | installed | LVM, multipath (stopped), XFS, ext4, btrfs, parted, sgdisk, qemu-img, QEMU, libvirt, rbd |

use crate::agent::{Agent, Output, Running};
use crate::process::Process;
use crate::rig::target;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tempfile::TempDir;

/// Where the guest sees [`LabVm::share`].
pub const SHARE: &str = "/share";
/// This machine as the guest sees it, when [`Builder::reach_host`] is set.
pub const HOST_ADDRESS: &str = "10.0.2.2";
/// One-way CHAP.
pub const TARGET: &str = "iqn.2026-01.org.lab:t1";
/// Mutual CHAP.
pub const TARGET_MUTUAL: &str = "iqn.2026-01.org.lab:mutual";
/// Who logs in.
pub const CHAP_USER: &str = "u1";
/// With this. Known to everybody, and worth nothing outside of the lab VM.
pub const CHAP_PASSWORD: &str = "lab-chap-secret-1";
/// As whom the mutual target proves itself.
pub const MUTUAL_USER: &str = "t1";
/// With this.
pub const MUTUAL_PASSWORD: &str = "lab-chap-secret-2";

/// Restoring takes 3 s; building, when nobody did before, some minutes.
const START_DEADLINE: Duration = Duration::from_secs(900);
const STEP_DEADLINE: Duration = Duration::from_secs(30);
const LOOK_MIN: Duration = Duration::from_millis(10);
const LOOK_MAX: Duration = Duration::from_millis(200);

/// How a lab VM should be connected.
#[derive(Default)]
pub struct Builder {
    forwards: Vec<(u16, u16)>,
    reach_host: bool,
}

impl Builder {
    /// TCP port `host_port` of this machine's loopback leads to `guest_port` of the guest.
    pub fn forward(mut self, host_port: u16, guest_port: u16) -> Self {
        self.forwards.push((host_port, guest_port));
        self
    }

    /// The guest reaches this machine's loopback at [`HOST_ADDRESS`]. Otherwise it reaches nothing.
    pub fn reach_host(mut self) -> Self {
        self.reach_host = true;
        self
    }

    /// Starts it.
    ///
    /// # Panics
    /// When it does not answer, with what was said about it.
    pub fn start(self) -> LabVm {
        let began = Instant::now();
        let dir = tempfile::Builder::new().prefix("qx-labvm-").tempdir().expect("a folder can be made");
        let mut command = Command::new(workshop());
        command.args(["labvm", "start", "--dir"]).arg(dir.path());
        for (host_port, guest_port) in &self.forwards {
            command.arg("--forward").arg(format!("{host_port}:{guest_port}"));
        }
        if self.reach_host {
            command.arg("--reach-host");
        }
        let process = Process::start("the lab VM", command);
        process.wait_for("the lab VM starts", START_DEADLINE);
        let agent = Agent::connect(&dir.path().join("agent.sock"), STEP_DEADLINE);
        let agent = agent.unwrap_or_else(|error| panic!("the lab VM's agent does not answer: {error}"));
        let vm =
            LabVm { _process: process, agent: Mutex::new(agent), share: dir.path().join("share"), _dir: dir };
        vm.wake();
        eprintln!("lab VM: answered after {:.1} s", began.elapsed().as_secs_f64());
        vm
    }
}

/// A running lab VM, gone with this value.
pub struct LabVm {
    // In this order: first QEMU, then its folder.
    _process: Process,
    agent: Mutex<Agent>,
    share: PathBuf,
    _dir: TempDir,
}

impl LabVm {
    /// One without any connection to the outside.
    pub fn start() -> LabVm {
        LabVm::builder().start()
    }

    /// For ports and the like.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The folder on this machine that the guest sees as [`SHARE`].
    pub fn share(&self) -> &Path {
        &self.share
    }

    /// Runs a program in the guest as root, without a shell, and kills it when the deadline passes.
    ///
    /// # Panics
    /// When the guest itself does not answer, or has no such program.
    pub fn run(&self, argv: &[&str], deadline: Duration) -> Output {
        self.run_with(argv, &[], b"", deadline)
    }

    /// [`LabVm::run`] with environment variables (`NAME=value`) and standard input.
    ///
    /// # Panics
    /// Likewise.
    pub fn run_with(&self, argv: &[&str], env: &[String], input: &[u8], deadline: Duration) -> Output {
        let began = Instant::now();
        let pid = self.spawn(argv, env, input);
        let mut pause = LOOK_MIN;
        loop {
            if let Running::Ended(output) = self.ask(argv, |agent| agent.status(pid)) {
                return Output { took: began.elapsed(), ..output };
            }
            if began.elapsed() >= deadline {
                let kill = ["kill".to_owned(), "-KILL".to_owned(), pid.to_string()];
                let kill: Vec<&str> = kill.iter().map(String::as_str).collect();
                self.spawn(&kill, &[], b"");
                return Output { late: true, took: began.elapsed(), ..Output::default() };
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(LOOK_MAX);
        }
    }

    /// Starts a program in the guest and does not wait for it; answers its process id there.
    ///
    /// # Panics
    /// Likewise.
    pub fn spawn(&self, argv: &[&str], env: &[String], input: &[u8]) -> i64 {
        // The agent's own PATH has no sbin in every release.
        let mut all = vec!["PATH=/usr/sbin:/usr/bin:/sbin:/bin".to_owned(), "LC_ALL=C.UTF-8".to_owned()];
        all.extend_from_slice(env);
        self.ask(argv, |agent| agent.exec(argv, &all, input))
    }

    /// [`LabVm::run`] of what must succeed; answers its standard output.
    ///
    /// # Panics
    /// When it fails, with its own words.
    pub fn ok(&self, argv: &[&str]) -> String {
        let output = self.run(argv, STEP_DEADLINE);
        assert!(output.success(), "{argv:?} in the lab VM: {output:?}");
        output.stdout
    }

    /// Ends the VM now.
    pub fn stop(self) {}

    /// Brings a restored guest into the present.
    fn wake(&self) {
        // Its clock still shows when it was saved; certificates made since would not be valid yet.
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("the clock is past 1970");
        self.ok(&["date", "-s", &format!("@{}.{:03}", now.as_secs(), now.subsec_millis())]);
        // A mounted share cannot be saved.
        self.ok(&["mount", "-t", "9p", "-o", "trans=virtio,version=9p2000.L,msize=512000", "share", SHARE]);
    }

    fn ask<T>(&self, argv: &[&str], ask: impl FnOnce(&mut Agent) -> std::io::Result<T>) -> T {
        let mut agent = self.agent.lock().unwrap_or_else(PoisonError::into_inner);
        ask(&mut agent).unwrap_or_else(|error| panic!("{argv:?} in the lab VM: {error}"))
    }
}

/// `./x`, as the tests' environment names it or beside the running test.
fn workshop() -> PathBuf {
    let named = std::env::var_os("QUANTIX_X").map(PathBuf::from);
    let found = named.unwrap_or_else(|| target().join("debug/quantix-xtask"));
    assert!(found.exists(), "{} is not built: run this through `./x test`", found.display());
    let _ = found.metadata().map(|meta| assert!(meta.permissions().mode() & 0o111 != 0));
    found
}
