//! The lab VM's server and mounts, as the tests need them.

use crate::pools::*;
use quantix_model::pool::{NfsSpec, NfsVersion, PoolSpec};
use quantix_model::volume::{Allocation, VolumeFormat, VolumeSource};
use quantix_storage::backend::*;
use quantix_storage::nfs::NfsPool;
use quantix_storage::worker::{PoolWorker, WorkerStatus};
use rustix::net::{AddressFamily, SocketType, bind, connect, getsockname, listen, socket};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

static SERVER: Mutex<()> = Mutex::new(());

/// The kernel's server, for one test alone. Running again when the test ends, however it ends.
pub struct Server(#[allow(dead_code)] MutexGuard<'static, ()>);

pub fn server() -> Server {
    crate::lab::require();
    Server(SERVER.lock().unwrap_or_else(PoisonError::into_inner))
}

impl Server {
    pub fn stop(&self) {
        run("rpc.nfsd", &["0"]);
    }

    pub fn start(&self) {
        self.start_with(&[]);
    }

    pub fn start_with(&self, options: &[&str]) {
        run("rpc.nfsd", &[options, &["8"]].concat());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let running = std::fs::read_to_string("/proc/fs/nfsd/threads").is_ok_and(|n| n.trim() != "0");
        if !running {
            self.start();
        }
    }
}

/// A folder of its own on the exported file system; below an export, it can be mounted like one.
pub fn folder() -> String {
    let path = format!("/srv/nfs/rw/{}", pool_id());
    std::fs::create_dir(&path).unwrap();
    path
}

pub fn nfs(version: NfsVersion, export: &str) -> PoolSetup {
    nfs_with(version, "127.0.0.1", export, "", "")
}

pub fn nfs_with(
    version: NfsVersion,
    server: &str,
    export: &str,
    options: &str,
    mount_path: &str,
) -> PoolSetup {
    let spec = PoolSpec::Nfs(NfsSpec {
        server: server.into(),
        export: export.into(),
        version,
        options: options.into(),
        mount_path: mount_path.into(),
    });
    spec.check().unwrap();
    PoolSetup { id: pool_id(), spec, must_exist: false, may_make: true }
}

/// Where a pool is mounted when nobody chose a place.
pub fn standard(setup: &PoolSetup) -> String {
    format!("/var/lib/quantix/pools/{}", setup.id)
}

/// Runs what must succeed.
pub fn run(program: &str, args: &[&str]) {
    run_program(program, args);
}

/// Unmounts, and checks that nothing stays.
pub fn let_go(setup: &PoolSetup) {
    NfsPool::new(setup).unwrap().destroy(LettingGo::Orderly).unwrap();
    assert!(mount_id(&standard(setup)).is_none() && !std::fs::exists(standard(setup)).unwrap());
}

pub fn mount_id(path: &str) -> Option<u64> {
    let table = quantix_host::mount::lines(Path::new("/"));
    table.iter().rev().find(|line| line.mount.target == path).map(|line| line.id)
}

pub fn mount_options(path: &str) -> Vec<String> {
    let table = quantix_host::mount::lines(Path::new("/"));
    table.into_iter().rev().find(|line| line.mount.target == path).unwrap().options
}

/// Workers and helpers that the kernel holds.
pub fn stuck() -> Vec<String> {
    let stat = |entry: std::fs::DirEntry| std::fs::read_to_string(entry.path().join("stat")).ok();
    let ours = |stat: &String| {
        ["(pool-worker-on", "(mount.nfs", "(qemu-img", "(dd)"].iter().any(|name| stat.contains(name))
            && stat.contains(") D ")
    };
    std::fs::read_dir("/proc").unwrap().flatten().filter_map(stat).filter(ours).collect()
}

/// Somebody who writes into a file for ever, past the cache, as QEMU does.
pub fn writer(path: &str) -> Child {
    let mut dd = Command::new("dd");
    dd.args(["if=/dev/zero", "bs=64k", "oflag=direct", "conv=notrunc", "count=100000"])
        .arg(format!("of={path}"));
    dd.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Waits for the end of a process, however it ends; kills it on the way when it goes on.
pub fn ended(child: &mut Child) {
    let end = Instant::now() + Duration::from_secs(20);
    let _ = child.kill();
    while child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < end, "process {} cannot be ended", child.id());
        std::thread::sleep(Duration::from_millis(50));
    }
}

pub fn blank() -> VolumeWish {
    VolumeWish {
        id: volume_id(),
        size_bytes: MIB,
        format: VolumeFormat::Raw,
        allocation: Allocation::Thin,
        source: VolumeSource::Blank,
    }
}

/// As [`wait_for`], for as long as a server's grace and a client's pauses take.
pub async fn wait_long(worker: &PoolWorker, what: &str, seen: impl Fn(&WorkerStatus) -> bool) {
    let mut watch = worker.watch();
    let got = tokio::time::timeout(Duration::from_secs(120), watch.wait_for(|s| seen(s))).await;
    assert!(matches!(got, Ok(Ok(_))), "{what} did not happen; now {:?}", worker.status());
}

/// A port whose queue is full: the kernel drops who knocks, as a firewall would.
pub fn silent_port() -> (u16, Vec<OwnedFd>) {
    let any = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
    let listener = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&listener, &any).unwrap();
    listen(&listener, 0).unwrap();
    let address = SocketAddrV4::try_from(getsockname(&listener).unwrap()).unwrap();
    let mut held = vec![listener];
    for _ in 0..2 {
        let knock = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        rustix::io::ioctl_fionbio(&knock, true).unwrap();
        // In progress for ever.
        let _ = connect(&knock, &address);
        held.push(knock);
    }
    (address.port(), held)
}

/// A port that takes connections and never says a word.
pub fn mute_port() -> (u16, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    (listener.local_addr().unwrap().port(), listener)
}
