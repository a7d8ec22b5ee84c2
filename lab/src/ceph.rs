//! A Ceph cluster of one's own: a monitor, a manager and an OSD on loopback, in a folder, gone when dropped.
//!
//! Everything it knows stands in that folder, and it listens on ports nobody else had. The OSD keeps its objects in
//! a sparse file, so capacities are true.

use crate::process::free_port;
use quantix_model::Secret;
use quantix_model::pool::CephSpec;
use rustix::process::{Pid, Signal, kill_process};
use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// The user pools are opened with: it may work in all pools, as RBD clients do, and administer nothing.
pub const USER: &str = "quantix";
/// Size of the OSD, most of which is never written.
const OSD_BYTES: u64 = 8 << 30;
const START_DEADLINE: Duration = Duration::from_secs(90);
const STOP_DEADLINE: Duration = Duration::from_secs(5);
/// What a lab needs; the programs of ceph-common come with the product.
const PROGRAMS: [&str; 6] = ["ceph-mon", "ceph-mgr", "ceph-osd", "ceph", "rbd", "rados"];
const INSTALL: &str = "apt-get install -y --no-install-recommends ceph-mon ceph-mgr ceph-osd ceph-common";

/// One of its daemons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Daemon {
    /// Answers questions about the cluster.
    Mon,
    /// Counts.
    Mgr,
    /// Holds the data.
    Osd,
}

impl Daemon {
    fn program(self) -> &'static str {
        match self {
            Daemon::Mon => "ceph-mon",
            Daemon::Mgr => "ceph-mgr",
            Daemon::Osd => "ceph-osd",
        }
    }

    fn id(self) -> &'static str {
        match self {
            Daemon::Mon => "a",
            Daemon::Mgr => "x",
            Daemon::Osd => "0",
        }
    }
}

/// See the module.
pub struct CephLab {
    dir: PathBuf,
    monitor: String,
    key: String,
    daemons: Vec<(Daemon, Child)>,
}

impl CephLab {
    /// Starts one in `dir`, which must be empty or absent. Takes about 12 s.
    ///
    /// # Panics
    /// When a program is missing or the cluster does not come up; with its own words.
    pub fn start(dir: &Path) -> CephLab {
        for program in PROGRAMS {
            let found = Command::new(program).arg("--version").output();
            assert!(found.is_ok_and(|out| out.status.success()), "{program} is missing: {INSTALL}");
        }
        for name in ["mon", "mgr", "osd", "log"] {
            std::fs::create_dir_all(dir.join(name)).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
        }
        let monitor = format!("127.0.0.1:{}", free_port());
        let mut lab = CephLab { dir: dir.to_owned(), monitor, key: String::new(), daemons: Vec::new() };
        let fsid = Uuid::new_v4();
        lab.write("ceph.conf", &lab.conf(fsid));
        lab.make_monitor(fsid);
        lab.daemon(Daemon::Mon);
        lab.wait("the monitor", || lab.try_ceph(&["mon", "stat"]).is_some());
        lab.make_osd();
        let caps = ["mon", "allow profile mgr", "osd", "allow *", "mds", "allow *"];
        let keyring = lab.path("mgr/keyring");
        lab.ceph(&[&["auth", "get-or-create", "mgr.x", "-o", &keyring][..], &caps].concat());
        lab.daemon(Daemon::Mgr);
        lab.daemon(Daemon::Osd);
        lab.wait("the OSD", || lab.try_ceph(&["osd", "stat"]).is_some_and(|said| said.contains("1 up")));
        lab.key = lab.user(USER, &["mon", "profile rbd", "osd", "profile rbd"]);
        lab
    }

    fn path(&self, name: &str) -> String {
        self.dir.join(name).to_string_lossy().into_owned()
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap_or_else(|e| panic!("{path}: {e}"));
    }

    fn conf(&self, fsid: Uuid) -> String {
        let (dir, monitor) = (self.dir.display(), &self.monitor);
        let mut text = format!(
            "[global]\nfsid = {fsid}\nmon host = [v2:{monitor}]\nmon initial members = a\n\
             public addr = 127.0.0.1\ncluster addr = 127.0.0.1\nrun dir = {dir}\nkeyring = {dir}/$name.keyring\n\
             admin socket =\npid file =\nlog file = {dir}/log/$name.log\n\
             [mon]\nmon data = {dir}/mon\nkeyring = {dir}/mon.keyring\n\
             [mgr]\nmgr data = {dir}/mgr\nkeyring = {dir}/mgr/keyring\nmgr initial modules =\n\
             [osd]\nosd data = {dir}/osd\nkeyring = {dir}/osd/keyring\n[global]\n"
        );
        for setting in [
            "auth cluster required = cephx",
            "auth service required = cephx",
            "auth client required = cephx",
            "auth allow insecure global id reclaim = false",
            "osd pool default size = 1",
            "osd pool default min size = 1",
            "osd pool default pg num = 8",
            "osd pool default pg autoscale mode = off",
            "osd crush chooseleaf type = 0",
            "mon allow pool size one = true",
            "mon allow pool delete = true",
            "mon warn on pool no redundancy = false",
            // The disk this lab lies on is no concern of a test.
            "mon data avail warn = 1",
            "mon data avail crit = 0",
            // A frozen OSD stays `up` for the monitors at first, as in life; a dead one is marked down at once.
            "osd heartbeat grace = 20",
            "mgr stats period = 1",
            "osd objectstore = bluestore",
            "osd memory target = 939524096",
            "bluestore block db create = false",
            "bluestore block wal create = false",
            "osd max object name len = 256",
        ] {
            let _ = writeln!(text, "{setting}");
        }
        let _ = writeln!(text, "bluestore block size = {OSD_BYTES}");
        text
    }

    fn make_monitor(&self, fsid: Uuid) {
        let (mon, admin, map) =
            (self.path("mon.keyring"), self.path("client.admin.keyring"), self.path("monmap"));
        let all = ["--cap", "mon", "allow *"];
        self.run("ceph-authtool", &[&["-C", &mon, "--gen-key", "-n", "mon."][..], &all].concat());
        let rest = ["--cap", "osd", "allow *", "--cap", "mgr", "allow *"];
        let own = ["-C", &admin, "--gen-key", "-n", "client.admin"];
        self.run("ceph-authtool", &[&own[..], &all, &rest].concat());
        self.run("ceph-authtool", &[&mon, "--import-keyring", &admin]);
        let address = format!("[v2:{}]", self.monitor);
        self.run("monmaptool", &["--create", "--fsid", &fsid.to_string(), "--addv", "a", &address, &map]);
        self.run(
            "ceph-mon",
            &["-c", &self.path("ceph.conf"), "--mkfs", "-i", "a", "--monmap", &map, "--keyring", &mon],
        );
    }

    fn make_osd(&self) {
        let id = Uuid::new_v4().to_string();
        let secret = self.run("ceph-authtool", &["--gen-print-key"]);
        let (secret, keyring) = (secret.trim(), self.path("osd/keyring"));
        self.write("osd.json", &format!("{{\"cephx_secret\": \"{secret}\"}}"));
        self.ceph(&["osd", "new", &id, "-i", &self.path("osd.json")]);
        self.run("ceph-authtool", &["-C", &keyring, "--name", "osd.0", "--add-key", secret]);
        let block = File::create(self.dir.join("osd/block")).and_then(|file| file.set_len(OSD_BYTES));
        block.unwrap_or_else(|e| panic!("the OSD's file: {e}"));
        self.run("ceph-osd", &["-c", &self.path("ceph.conf"), "-i", "0", "--mkfs", "--osd-uuid", &id]);
    }

    /// Starts a daemon; the kernel ends it when the thread that started it is gone.
    fn daemon(&mut self, daemon: Daemon) {
        let log = self.dir.join(format!("log/{}.out", daemon.program()));
        let out = File::create(&log).unwrap_or_else(|e| panic!("{}: {e}", log.display()));
        let err = out.try_clone().unwrap_or_else(|e| panic!("{}: {e}", log.display()));
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--", daemon.program(), "-f", "-c", &self.path("ceph.conf")])
            .args(["-i", daemon.id()])
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .unwrap_or_else(|e| panic!("{}: {e}", daemon.program()));
        self.daemons.push((daemon, child));
    }

    fn wait(&self, what: &str, mut seen: impl FnMut() -> bool) {
        let end = Instant::now() + START_DEADLINE;
        while !seen() {
            assert!(Instant::now() < end, "{what} did not come up; see {}", self.path("log"));
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn run(&self, program: &str, args: &[&str]) -> String {
        let output = Command::new(program).args(args).stdin(Stdio::null()).output();
        let output = output.unwrap_or_else(|e| panic!("{program}: {e}. {INSTALL}"));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {args:?}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn admin(&self) -> [String; 6] {
        let [conf, keyring] = ["ceph.conf", "client.admin.keyring"].map(|name| self.path(name));
        ["-c".into(), conf, "-k".into(), keyring, "--id".into(), "admin".into()]
    }

    fn try_ceph(&self, args: &[&str]) -> Option<String> {
        let command = ["--connect-timeout", "20"];
        // With an open standard input it waits for more commands there.
        let mut ceph = Command::new("ceph");
        let output = ceph.args(self.admin()).args(command).args(args).stdin(Stdio::null()).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs `ceph` as the administrator; answers what it printed.
    pub fn ceph(&self, args: &[&str]) -> String {
        let admin = self.admin();
        self.run("ceph", &[&admin.each_ref().map(String::as_str)[..], args].concat())
    }

    /// Runs `rbd` as the administrator; answers what it printed.
    pub fn rbd(&self, args: &[&str]) -> String {
        let admin = self.admin();
        self.run("rbd", &[&admin.each_ref().map(String::as_str)[..], args].concat())
    }

    /// Runs `rados` as the administrator; answers what it printed.
    pub fn rados(&self, args: &[&str]) -> String {
        let admin = self.admin();
        self.run("rados", &[&admin.each_ref().map(String::as_str)[..], args].concat())
    }

    /// A command that runs `rbd` as the administrator, for tests that want it in the background.
    pub fn rbd_command(&self) -> Command {
        let mut command = Command::new("rbd");
        command.args(self.admin());
        command
    }

    /// Makes a user with rights; answers its key.
    pub fn user(&self, name: &str, caps: &[&str]) -> String {
        let name = format!("client.{name}");
        self.ceph(&[&["auth", "get-or-create", &name][..], caps].concat());
        self.ceph(&["auth", "print-key", &name]).trim().to_owned()
    }

    /// Makes a pool for RBD images and answers how to reach it.
    pub fn pool(&self, name: &str) -> CephSpec {
        self.ceph(&["osd", "pool", "create", name, "8"]);
        self.rbd(&["pool", "init", name]);
        self.spec(name)
    }

    /// How to reach a pool.
    pub fn spec(&self, name: &str) -> CephSpec {
        CephSpec {
            monitors: vec![self.monitor.clone()],
            pool: name.to_owned(),
            user: USER.to_owned(),
            key: Secret::new(self.key.clone()),
        }
    }

    fn signal(&self, daemon: Daemon, signal: Signal) {
        let child = &self.daemons.iter().find(|(is, _)| *is == daemon).expect("the daemon runs").1;
        let pid = Pid::from_raw(child.id() as i32).expect("a process has an id");
        kill_process(pid, signal).expect("the daemon can be signalled");
    }

    /// Freezes a daemon: it stays connected and says nothing.
    pub fn freeze(&self, daemon: Daemon) {
        self.signal(daemon, Signal::STOP);
    }

    /// Lets it go on.
    pub fn thaw(&self, daemon: Daemon) {
        self.signal(daemon, Signal::CONT);
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&mut self, daemon: Daemon) {
        if let Some(at) = self.daemons.iter().position(|(is, _)| *is == daemon) {
            let (_, mut child) = self.daemons.swap_remove(at);
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts one that was killed.
    pub fn restart(&mut self, daemon: Daemon) {
        self.kill(daemon);
        self.daemon(daemon);
    }
}

impl Drop for CephLab {
    fn drop(&mut self) {
        for (_, child) in &mut self.daemons {
            // Nothing in it is needed any more.
            let _ = child.kill();
        }
        let end = Instant::now() + STOP_DEADLINE;
        for (_, child) in &mut self.daemons {
            while Instant::now() < end && matches!(child.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
