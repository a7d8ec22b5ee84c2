//! A libvirt of one's own.
//!
//! libvirt has fixed paths, so a second daemon would take the first one's socket away. Here `libvirtd` and
//! `virtlogd` run in a private mount namespace in which those paths are folders of `--dir`: any number run side by
//! side and none meets the system's. From outside: `qemu+unix:///system?socket=DIR/run/libvirt-sock`.
//!
//! ```text
//! libvirt ──exec──▶ unshare --mount ──exec──▶ libvirt-inside ─┬─▶ virtlogd
//!   (one process id throughout)                               └─▶ libvirtd ──▶ guests
//! ```
//!
//! It ends on SIGTERM and SIGINT, when its parent is gone, and when one of the two daemons dies.

use crate::args::Args;
use crate::child::{Running, capture, ending, own, tied, wait_until};
use crate::failure::{Context, Failure, Result};
use rustix::mount::{MountPropagationFlags, mount_bind, mount_change};
use rustix::process::{Pid, Signal, getppid, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The first answer includes QEMU's capability probe, which took 8 s on a quiet machine.
const READY_WITHIN: Duration = Duration::from_secs(120);
const STOP_WITHIN: Duration = Duration::from_secs(15);
/// A Unix socket's path is at most 107 bytes (`unix(7)`).
const SOCKET_PATH_MAX: usize = 107;

/// Where each folder of the state directory appears inside the namespace.
const PLACES: [(&str, &str); 5] = [
    ("run", "/run/libvirt"),
    ("lib", "/var/lib/libvirt"),
    ("log", "/var/log/libvirt"),
    ("etc", "/etc/libvirt"),
    ("cache", "/var/cache/libvirt"),
];

/// What the caller asked for; the same words pass through `unshare`.
struct Options {
    dir: PathBuf,
    cache: Option<PathBuf>,
    stop_guests: bool,
}

impl Options {
    fn read(mut args: Args) -> Result<Self> {
        let dir = args.path("--dir")?;
        let cache = args.value::<PathBuf>("--cache")?;
        let cache = cache.map(std::path::absolute).transpose().doing("--cache")?;
        let stop_guests = args.flag("--stop-guests");
        args.done()?;
        Ok(Self { dir, cache, stop_guests })
    }

    fn words(&self) -> Vec<std::ffi::OsString> {
        let mut words = vec!["--dir".into(), self.dir.clone().into_os_string()];
        if let Some(cache) = &self.cache {
            words.extend(["--cache".into(), cache.clone().into_os_string()]);
        }
        if self.stop_guests {
            words.push("--stop-guests".into());
        }
        words
    }

    fn cache(&self) -> PathBuf {
        self.cache.clone().unwrap_or_else(|| self.dir.join("cache"))
    }
}

/// The socket of the libvirt that runs in `dir`.
pub fn socket(dir: &Path) -> PathBuf {
    dir.join("run/libvirt-sock")
}

/// How to connect to the libvirt behind `socket`.
pub fn uri(socket: &Path) -> String {
    format!("qemu+unix:///system?socket={}", socket.display())
}

/// `xtask libvirt --dir D`: becomes the same process inside its own mount namespace.
pub fn outside(args: Args) -> Result<()> {
    let options = Options::read(args)?;
    check(&options)?;
    let own = own()?;
    let error = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "--"])
        .arg(own)
        .arg("libvirt-inside")
        .args(options.words())
        .exec();
    Err(crate::child::missing("unshare", &error))
}

fn check(options: &Options) -> Result<()> {
    let socket = socket(&options.dir);
    if socket.as_os_str().len() > SOCKET_PATH_MAX {
        return Err(Failure::new(format!("{} is too long for a socket", socket.display())).remedy(format!(
            "choose a --dir of at most {} characters",
            SOCKET_PATH_MAX - "/run/libvirt-sock".len()
        )));
    }
    if !rustix::process::geteuid().is_root() {
        return Err(Failure::new(
            "a libvirt of one's own needs root: it mounts folders and starts guests as another user",
        )
        .remedy("run it with sudo, or use the system's libvirt"));
    }
    for program in ["/usr/sbin/libvirtd", "/usr/sbin/virtlogd", "/usr/bin/virsh"] {
        if !Path::new(program).exists() {
            return Err(Failure::new(format!("{program} is missing"))
                .remedy("apt-get install -y libvirt-daemon-system libvirt-clients qemu-system-x86"));
        }
    }
    Ok(())
}

/// The second half, in the namespace: mounts, starts both daemons, and waits for an end.
pub fn inside(args: Args) -> Result<()> {
    let options = Options::read(args)?;
    let parent = getppid();
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        signal_hook::flag::register(signal, stop.clone()).doing("catching signals")?;
    }
    let stopping = || stop.load(Ordering::Relaxed) || getppid() != parent;
    let _lock = prepare(&options)?;
    enter(&options)?;
    let mut virtlogd = daemon(&options, "virtlogd")?;
    let mut libvirtd = daemon(&options, "libvirtd")?;
    let outcome = serve(&options, &mut virtlogd, &mut libvirtd, stopping);
    if options.stop_guests {
        stop_guests(libvirtd.ended().is_none());
    }
    libvirtd.stop(STOP_WITHIN);
    virtlogd.stop(STOP_WITHIN);
    outcome
}

/// Waits for the first answer, says READY, then waits for an end.
fn serve(
    options: &Options,
    virtlogd: &mut Running,
    libvirtd: &mut Running,
    stopping: impl Fn() -> bool,
) -> Result<()> {
    let mut died = None;
    let mut over = |pause: Duration| {
        died = [&mut *virtlogd, &mut *libvirtd]
            .into_iter()
            .find_map(|daemon| Some((daemon.name, daemon.ended()?)));
        std::thread::sleep(pause);
        died.is_some() || stopping()
    };
    let mut ready = false;
    let answered = wait_until(READY_WITHIN, || {
        ready = virsh(&["version"]).is_ok();
        ready || over(Duration::from_millis(25))
    });
    if answered.is_none() {
        return Err(Failure::new("libvirtd does not answer").remedy(log_of(options)));
    }
    if ready {
        announce()?;
        while !over(Duration::from_millis(100)) {}
    }
    match died {
        Some((name, status)) if !stopping() => {
            Err(Failure::new(format!("{name} ended with {}", ending(status))).remedy(log_of(options)))
        }
        _ => Ok(()),
    }
}

fn log_of(options: &Options) -> String {
    format!("its own words are in {}", options.dir.join("log").display())
}

fn announce() -> Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "READY").and_then(|()| out.flush()).doing("saying READY")
}

/// Makes the folders and settings; the lock keeps a second one out for as long as it is held.
fn prepare(options: &Options) -> Result<File> {
    let dir = &options.dir;
    for name in ["run", "lib", "log/qemu", "etc/qemu", "cache"] {
        fs::create_dir_all(dir.join(name)).doing(dir.join(name).display())?;
    }
    let cache = options.cache();
    fs::create_dir_all(&cache).doing(cache.display())?;
    let lock = File::create(dir.join("lock")).doing(dir.join("lock").display())?;
    if lock.try_lock().is_err() {
        return Err(Failure::new(format!("a libvirt runs in {} already", dir.display())));
    }
    // Other users may not reach the socket; QEMU's user must reach its own files, which it does inside the namespace.
    fs::set_permissions(dir.join("etc"), Permissions::from_mode(0o700))
        .doing("closing the settings folder")?;
    let settings = format!(
        "auth_unix_ro = \"none\"\nauth_unix_rw = \"none\"\nunix_sock_ro_perms = \"0700\"\nunix_sock_rw_perms = \"0700\"\n\
         unix_sock_admin_perms = \"0700\"\nhost_uuid = \"{}\"\nlog_outputs = \"3:file:/var/log/libvirt/libvirtd.log\"\n",
        host_uuid(dir)?
    );
    write(&dir.join("etc/libvirtd.conf"), &settings)?;
    write(&dir.join("etc/virtlogd.conf"), "log_outputs = \"3:file:/var/log/libvirt/virtlogd.log\"\n")?;
    // Without controllers, guests of two libvirts cannot meet in one control group; profiles know only the real paths;
    // a second namespace per guest would try to move our cover of /dev/kvm.
    write(
        &dir.join("etc/qemu.conf"),
        "cgroup_controllers = [ ]\nsecurity_driver = \"none\"\nnamespaces = [ ]\nseccomp_sandbox = 1\n",
    )?;
    for stale in ["run/libvirt-sock", "run/libvirt-sock-ro", "run/libvirtd.pid", "run/virtlogd.pid"] {
        let _ = fs::remove_file(dir.join(stale));
    }
    Ok(lock)
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).doing(path.display())
}

/// Made once and kept: libvirt refuses to migrate between two hosts of one id.
fn host_uuid(dir: &Path) -> Result<String> {
    let path = dir.join("etc/host-uuid");
    if let Ok(known) = fs::read_to_string(&path) {
        return Ok(known.trim().to_owned());
    }
    let fresh = fs::read_to_string("/proc/sys/kernel/random/uuid").doing("making a host id")?;
    write(&path, &fresh)?;
    Ok(fresh.trim().to_owned())
}

fn enter(options: &Options) -> Result<()> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .doing("leaving the shared mounts")?;
    for (name, place) in PLACES {
        let from = if name == "cache" { options.cache() } else { options.dir.join(name) };
        fs::create_dir_all(place).doing(place)?;
        mount_bind(&from, place).doing(format!("mounting {} on {place}", from.display()))?;
    }
    cover_kvm(options)
}

/// Covers a KVM device that QEMU's user may not open. libvirt's own probe (as root's child) and its later check (as
/// that user) disagree about such a device, and it would probe QEMU anew, for seconds, before every single call.
fn cover_kvm(options: &Options) -> Result<()> {
    let Ok(device) = fs::metadata("/dev/kvm") else { return Ok(()) };
    let mode = device.mode();
    let open_to_all = mode & 0o006 == 0o006;
    let open_to_group = mode & 0o060 == 0o060 && device.gid() != 0;
    if open_to_all || open_to_group {
        return Ok(());
    }
    let cover = options.dir.join("no-kvm");
    write(&cover, "")?;
    fs::set_permissions(&cover, Permissions::from_mode(0o000)).doing(cover.display())?;
    mount_bind(&cover, "/dev/kvm").doing("covering /dev/kvm")
}

fn daemon(options: &Options, name: &'static str) -> Result<Running> {
    let path = options.dir.join(format!("log/{name}.out"));
    let out = File::create(&path).doing(path.display())?;
    let err = out.try_clone().doing(path.display())?;
    let mut command = tied(format!("/usr/sbin/{name}"));
    command.args(["-p", &format!("/run/libvirt/{name}.pid")]).stdout(out).stderr(err);
    Running::start(name, &mut command)
}

fn virsh(words: &[&str]) -> Result<String> {
    // The namespace has its own /run/libvirt, so the plain address is ours.
    let mut command = Command::new("virsh");
    command.args(["-q", "-c", "qemu:///system"]).args(words);
    let output = capture(&mut command, Duration::from_secs(60))?;
    if !output.status.success() {
        return Err(Failure::new(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Ends every guest of this libvirt: first by libvirt's own means, then by the process id it noted.
fn stop_guests(libvirt_answers: bool) {
    if libvirt_answers {
        for guest in virsh(&["list", "--uuid"]).unwrap_or_default().split_whitespace() {
            let _ = virsh(&["destroy", guest]);
        }
    }
    end_processes(Path::new("/run/libvirt/qemu"));
}

/// Ends the guests that a libvirt in `dir` left behind when it was ended by force. None may run there now.
pub fn end_leftovers(dir: &Path) {
    end_processes(&dir.join("run/qemu"));
}

fn end_processes(pid_files: &Path) {
    let Ok(entries) = fs::read_dir(pid_files) else { return };
    for path in entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "pid"))
    {
        if let Some(pid) = guest_of(&path) {
            let _ = kill_process(pid, Signal::KILL);
        }
        let _ = fs::remove_file(path);
    }
}

/// The QEMU that a pid file means, if it still is one and lives in our namespace.
fn guest_of(pid_file: &Path) -> Option<Pid> {
    let number: i32 = fs::read_to_string(pid_file).ok()?.trim().parse().ok()?;
    let command = fs::read(format!("/proc/{number}/cmdline")).ok()?;
    let is_qemu = String::from_utf8_lossy(&command).split('\0').next()?.contains("qemu-system");
    let open = fs::read(format!("/proc/{number}/environ")).ok()?;
    let ours = String::from_utf8_lossy(&open).contains("/var/lib/libvirt/qemu/domain-");
    if is_qemu && ours { Pid::from_raw(number) } else { None }
}
