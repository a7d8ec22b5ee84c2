//! A PostgreSQL server of one's own, on a Unix socket in a temporary folder; gone when dropped.

#![allow(clippy::unwrap_used, reason = "whoever cannot have it cannot go on")]

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub struct Postgres {
    dir: tempfile::TempDir,
    bin: PathBuf,
    server: Child,
}

/// The programs of the newest PostgreSQL installed.
fn programs() -> PathBuf {
    let mut found: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .map(|entries| entries.flatten().map(|e| e.path().join("bin")).collect())
        .unwrap_or_default();
    found.retain(|bin| bin.join("initdb").is_file());
    found.sort();
    found.pop().expect("PostgreSQL is missing: apt-get install -y postgresql")
}

/// PostgreSQL refuses to run as root; its own user is there once it is installed.
fn as_its_user(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).current_dir("/");
    if let Some((uid, gid)) = its_user() {
        command.uid(uid).gid(gid);
    }
    command
}

fn its_user() -> Option<(u32, u32)> {
    let me = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let root = me.lines().any(|l| l.starts_with("Uid:\t0\t"));
    let passwd = std::fs::read_to_string("/etc/passwd").expect("Linux");
    let line = passwd.lines().find(|l| l.starts_with("postgres:"))?;
    let mut fields = line.split(':').skip(2);
    let ids = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    root.then_some(ids)
}

fn serve(bin: &Path, dir: &Path) -> Child {
    as_its_user(&bin.join("postgres"))
        .args(["-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=40", "-k"])
        .arg(dir)
        .arg("-D")
        .arg(dir.join("data"))
        .spawn()
        .unwrap()
}

impl Postgres {
    pub fn start() -> Postgres {
        let bin = programs();
        let dir = tempfile::tempdir().unwrap();
        if let Some((uid, gid)) = its_user() {
            std::os::unix::fs::chown(dir.path(), Some(uid), Some(gid)).unwrap();
        }
        let data = dir.path().join("data");
        let made = as_its_user(&bin.join("initdb"))
            .args(["-A", "trust", "-U", "quantix", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "-D"])
            .arg(&data)
            .status()
            .unwrap();
        assert!(made.success(), "initdb: {made}");
        let server = serve(&bin, dir.path());
        let postgres = Postgres { dir, bin, server };
        postgres.wait();
        postgres
    }

    fn wait(&self) {
        let until = Instant::now() + Duration::from_secs(20);
        while !self.answers() {
            assert!(Instant::now() < until, "PostgreSQL does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Stops the server, as an administrator does; its data stays.
    #[allow(dead_code, reason = "not every suite stops it")]
    pub fn stop(&mut self) {
        let data = self.dir.path().join("data");
        let stopped =
            as_its_user(&self.bin.join("pg_ctl")).args(["stop", "-m", "fast", "-D"]).arg(data).status();
        assert!(stopped.is_ok_and(|status| status.success()), "pg_ctl stop");
        self.server.wait().unwrap();
    }

    /// Starts it again.
    #[allow(dead_code, reason = "not every suite stops it")]
    pub fn begin_again(&mut self) {
        self.server = serve(&self.bin, self.dir.path());
        self.wait();
    }

    fn answers(&self) -> bool {
        let ask = as_its_user(&self.bin.join("pg_isready")).arg("-h").arg(self.dir.path()).status();
        ask.is_ok_and(|status| status.success())
    }

    pub fn url(&self) -> String {
        format!("postgres://quantix@localhost/postgres?host={}", self.dir.path().display())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let data = self.dir.path().join("data");
        let stopped =
            as_its_user(&self.bin.join("pg_ctl")).args(["stop", "-m", "immediate", "-D"]).arg(data).status();
        if !stopped.is_ok_and(|status| status.success()) {
            let _ = self.server.kill();
        }
        let _ = self.server.wait();
    }
}
