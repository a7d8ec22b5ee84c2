//! The real driver on a real libvirt and QEMU: the same suite as the fake, with the daemon killed in the middle,
//! then what only a real one can show: disks, refusals in libvirt's own words, and a libvirtd that hangs.

use async_trait::async_trait;
use quantix_hypervisor::accelerator::AcceleratorOptions;
use quantix_hypervisor::conformance::{self, Outage, Setup};
use quantix_hypervisor::driver::{DiskSource, Disks, Driver, Machine, MachineDisk};
use quantix_hypervisor::libvirt::{LibvirtDriver, LibvirtOptions};
use quantix_model::FaultCode;
use quantix_model::host::{Accelerator, AcceleratorChoice};
use quantix_model::vm::{Firmware, PowerState, PowerVerb};
use quantix_model::volume::VolumeFormat;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::Permissions;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A guest boots, moves its screen and obeys within this, also on a busy machine under emulation.
const GUEST_PATIENCE: Duration = Duration::from_secs(120);

/// A libvirt of the test's own; its guests end with it.
struct Libvirt {
    dir: TempDir,
    child: Mutex<Option<Child>>,
}

impl Libvirt {
    fn start() -> Arc<Libvirt> {
        let dir = TempDir::with_prefix("qx").expect("a folder");
        // QEMU's user must reach the disks in it.
        std::fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).expect("opened");
        let libvirt = Arc::new(Libvirt { dir, child: Mutex::default() });
        libvirt.up();
        libvirt
    }

    fn up(&self) {
        let workshop = std::env::var_os("QUANTIX_X").expect("QUANTIX_X is not set: run through ./x test");
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("libvirt-cache");
        let mut child = Command::new(workshop)
            .args(["libvirt", "--dir"])
            .arg(self.dir.path().join("v"))
            .arg("--cache")
            .arg(cache)
            .stdout(Stdio::piped())
            .stdin(Stdio::null())
            .spawn()
            .expect("the workshop runs");
        let out = child.stdout.take().expect("piped");
        let first = BufReader::new(out).lines().next();
        assert_eq!(first.and_then(Result::ok).as_deref(), Some("READY"), "libvirt is up");
        *self.child.lock().expect("not poisoned") = Some(child);
    }

    /// What a service manager does. libvirtd was seen to die, once in several runs, when it woke after so long.
    fn up_again_if_ended(&self) {
        let mut child = self.child.lock().expect("not poisoned").take();
        if child.as_mut().is_none_or(|c| matches!(c.try_wait(), Ok(Some(_)))) {
            self.up();
        } else {
            *self.child.lock().expect("not poisoned") = child;
        }
    }

    fn uri(&self) -> String {
        format!("qemu+unix:///system?socket={}", self.run("libvirt-sock").display())
    }

    fn run(&self, name: &str) -> PathBuf {
        self.dir.path().join("v/run").join(name)
    }

    fn signal_libvirtd(&self, signal: Signal) {
        let text = std::fs::read_to_string(self.run("libvirtd.pid")).expect("a pid file");
        let pid = text.trim().parse().ok().and_then(Pid::from_raw).expect("a pid");
        kill_process(pid, signal).expect("signalled");
    }

    fn driver(&self) -> Arc<LibvirtDriver> {
        let accelerator =
            AcceleratorOptions::new(AcceleratorChoice::Tcg, self.dir.path().join("accelerator.json"));
        Arc::new(LibvirtDriver::start(LibvirtOptions { uri: self.uri(), accelerator }))
    }

    /// A new disk image that QEMU's user may open.
    fn disk(&self, name: &str) -> MachineDisk {
        let path = self.dir.path().join(name);
        let made = Command::new("qemu-img")
            .args(["create", "-q", "-f", "qcow2"])
            .arg(&path)
            .arg("64M")
            .status()
            .expect("qemu-img is installed");
        assert!(made.success());
        let path = path.to_str().expect("UTF-8").to_owned();
        MachineDisk {
            source: DiskSource::File { path, format: VolumeFormat::Qcow2 },
            serial: "0192d1c0-0000-7000-8".to_owned(),
        }
    }

    fn wait_child(&self) {
        let child = self.child.lock().expect("not poisoned").take();
        if let Some(mut child) = child {
            child.wait().expect("waited");
        }
    }
}

impl Drop for Libvirt {
    /// Also after a failed test nothing of it stays behind.
    fn drop(&mut self) {
        for pid_file in std::fs::read_dir(self.run("qemu")).into_iter().flatten().flatten() {
            let Ok(text) = std::fs::read_to_string(pid_file.path()) else { continue };
            let Some(pid) = text.trim().parse().ok().and_then(Pid::from_raw) else { continue };
            let command =
                std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
            if String::from_utf8_lossy(&command).contains("qemu-system") {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        if let Some(child) = self.child.get_mut().expect("not poisoned") {
            if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::TERM);
            }
            let _ = child.wait();
        }
    }
}

/// Kills libvirtd outright, as a crash would, and starts it again in the same place.
struct Kill(Arc<Libvirt>);

#[async_trait]
impl Outage for Kill {
    async fn begin(&self) {
        self.0.signal_libvirtd(Signal::KILL);
        let libvirt = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || libvirt.wait_child()).await.expect("ended");
    }

    async fn end(&self) {
        let libvirt = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || libvirt.up()).await.expect("started");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn libvirt_conforms() {
    let libvirt = Libvirt::start();
    conformance::run(Setup {
        driver: libvirt.driver(),
        accelerator: Accelerator::Tcg,
        disks: ["one", "two"].map(|serial| MachineDisk { serial: serial.into(), ..libvirt.disk(serial) }),
        outage: Some(Box::new(Kill(Arc::clone(&libvirt)))),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn disks_start_and_refusals_say_what_to_do() {
    let libvirt = Libvirt::start();
    let driver = libvirt.driver();
    let with = |name: &str, disk: &MachineDisk, firmware| Machine {
        disks: vec![disk.clone()],
        firmware,
        ..conformance::machine(name, Accelerator::Tcg)
    };
    let disk = libvirt.disk("blank & \"odd\" <name>, with comma.qcow2");
    let first = with("first", &disk, Firmware::Bios);
    let second = with("second", &disk, Firmware::Bios);
    let uefi = with("uefi", &libvirt.disk("uefi.qcow2"), Firmware::Uefi);
    for machine in [&first, &second, &uefi] {
        driver.define(machine).await.expect("defined");
    }
    driver.power(first.id, PowerVerb::Start).await.expect("a blank disk starts");
    driver.power(uefi.id, PowerVerb::Start).await.expect("so does UEFI");
    conformance::wait_state(driver.as_ref(), uefi.id, PowerState::Running).await;

    let fault = driver.power(second.id, PowerVerb::Start).await.expect_err("the disk is in use");
    assert_eq!(fault.code, FaultCode::HypervisorRefused, "{fault}");
    assert!(fault.cause.contains("lock"), "libvirt's own words: {fault}");
    assert!(fault.remedy.contains("Another program has the disk"), "{}", fault.remedy);
    conformance::wait_state(driver.as_ref(), second.id, PowerState::Off).await;

    let gone = with("gone", &libvirt.disk("gone.qcow2"), Firmware::Bios);
    driver.define(&gone).await.expect("defined");
    std::fs::remove_file(libvirt.dir.path().join("gone.qcow2")).expect("removed");
    let fault = driver.power(gone.id, PowerVerb::Start).await.expect_err("no disk");
    assert_eq!(fault.code, FaultCode::HypervisorRefused, "{fault}");
    assert!(fault.cause.contains("No such file"), "{fault}");
    assert!(fault.remedy.contains("is not there"), "{}", fault.remedy);

    for machine in [&first, &second, &uefi, &gone] {
        driver.power(machine.id, PowerVerb::ForceStop).await.expect("stopped");
        assert!(driver.undefine(machine.id).await.expect("undefined"));
    }
    assert_eq!(driver.list().await.expect("listed"), vec![]);
    assert_eq!(driver.calls_abandoned(), 0);
}

/// A real guest: BIOS goes past the blank disk to the drive, the kernel boots on the processor we give it, its
/// screen moves, and it obeys both ACPI requests.
#[tokio::test(flavor = "multi_thread")]
async fn a_running_guest_is_kept_from_the_host() {
    let libvirt = Libvirt::start();
    let driver = libvirt.driver();
    let disks = vec![libvirt.disk("confined.qcow2")];
    let machine = Machine { disks, ..conformance::machine("confined", Accelerator::Tcg) };
    driver.define(&machine).await.expect("defined");
    driver.power(machine.id, PowerVerb::Start).await.expect("started: QEMU's user reaches the disk");
    let engine = driver.engine().await;
    assert_eq!((engine.fault, engine.weakness), (None, None));

    let id = machine.id.to_string();
    let all = quantix_host::process::named(Path::new("/"), "qemu");
    let guest = all.iter().find(|process| process.words.contains(&id)).expect("QEMU runs the VM");
    assert_ne!(guest.user, 0, "QEMU is not root");
    assert_eq!(guest.seccomp_mode, quantix_host::process::Process::FILTERED, "system calls are filtered");
    assert!(guest.no_new_privileges, "nor does it become anybody else");
    let at = guest.words.iter().position(|word| word == "-sandbox").expect("the sandbox is on");
    assert!(guest.words[at + 1].starts_with("on,"), "{}", guest.words[at + 1]);
    assert_eq!(listening(guest.pid), Vec::<String>::new(), "its screen has a socket of this machine only");
    let owner = std::fs::metadata(libvirt.dir.path().join("confined.qcow2")).expect("the disk is there");
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&owner), guest.user, "libvirt gave it the disk");
    driver.power(machine.id, PowerVerb::ForceStop).await.expect("stopped");
    assert!(driver.undefine(machine.id).await.expect("undefined"));
}

/// TCP sockets of a process that listen, as the kernel's tables show them (proc(5): state 0A).
fn listening(pid: u32) -> Vec<String> {
    let of_process: Vec<String> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("its files")
        .flatten()
        .filter_map(|entry| std::fs::read_link(entry.path()).ok())
        .filter_map(|to| Some(to.to_str()?.strip_prefix("socket:[")?.trim_end_matches(']').to_owned()))
        .collect();
    assert!(!of_process.is_empty(), "its monitor at least is a socket: this test would see one");
    let mut found = Vec::new();
    for table in ["tcp", "tcp6"] {
        let text = std::fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        for line in text.lines().skip(1) {
            let words: Vec<&str> = line.split_whitespace().collect();
            if words.get(3) == Some(&"0A")
                && of_process.iter().any(|inode| words.get(9) == Some(&inode.as_str()))
            {
                found.push(line.to_owned());
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_boots_past_a_blank_disk_and_obeys() {
    let libvirt = Libvirt::start();
    let driver = libvirt.driver();
    let iso = libvirt.dir.path().join("guest.iso");
    std::fs::copy(guest_iso(), &iso).expect("copied");
    let machine = Machine {
        disks: vec![libvirt.disk("blank.qcow2")],
        cdrom: Some(media(&iso)),
        memory_bytes: 256 << 20,
        ..conformance::machine("guest", Accelerator::Tcg)
    };
    let mut events = driver.events();
    driver.define(&machine).await.expect("defined");
    driver.power(machine.id, PowerVerb::Start).await.expect("started");
    let watching = driver.clone();
    let rebooted = conformance::wait_event(&mut events, machine.id, "reboot");
    let pressing = press_until_gone(driver.as_ref(), &machine, PowerVerb::Reboot);
    // The pressing never ends by itself: a guest that reboots stays running.
    tokio::select! {
        () = rebooted => {}
        () = pressing => panic!("a reboot is no stop"),
    }
    wait_screen_moves(watching.as_ref(), &machine).await;
    press_until_gone(driver.as_ref(), &machine, PowerVerb::ShutDown).await;
    let report = driver.get(machine.id).await.expect("answers").expect("there");
    assert_eq!((report.power_state, report.power_reason.as_str()), (PowerState::Off, "shutdown"));
    assert!(driver.undefine(machine.id).await.expect("undefined"));
}

/// A guest with a system lets go of a disk it was given while it ran, and sees it at its new size before.
#[tokio::test(flavor = "multi_thread")]
async fn a_running_guest_gets_grows_and_gives_back_a_disk() {
    let libvirt = Libvirt::start();
    let driver = libvirt.driver();
    let iso = libvirt.dir.path().join("guest.iso");
    std::fs::copy(guest_iso(), &iso).expect("copied");
    let machine = Machine {
        cdrom: Some(media(&iso)),
        memory_bytes: 256 << 20,
        ..conformance::machine("guest", Accelerator::Tcg)
    };
    let disk = libvirt.disk("second.qcow2");
    driver.define(&machine).await.expect("defined");
    driver.power(machine.id, PowerVerb::Start).await.expect("started");
    // Before its system is there, a guest holds on to what it has; then the same call succeeds.
    wait_screen_moves(driver.as_ref(), &machine).await;
    let began = Instant::now();
    loop {
        driver.disk_attach(machine.id, &disk).await.expect("attached");
        let listed = driver.disk_list(machine.id).await.expect("listed");
        assert_eq!(listed.len(), 1);
        driver.disk_grow(machine.id, &disk.serial, 128 << 20).await.expect("grown");
        let listed = driver.disk_list(machine.id).await.expect("listed");
        assert_eq!(listed[0].size_bytes, Some(128 << 20));
        let asked = Instant::now();
        match driver.disk_detach(machine.id, &disk.serial).await {
            Ok(()) => {
                eprintln!("the guest let go in {:?}, {:?} after its start", asked.elapsed(), began.elapsed());
                break;
            }
            Err(fault) => {
                assert_eq!(fault.code, FaultCode::VolumeInUse, "{fault}");
                assert!(began.elapsed() < GUEST_PATIENCE, "the guest never let go: {fault}");
            }
        }
    }
    assert!(driver.disk_list(machine.id).await.expect("listed").is_empty());
    driver.power(machine.id, PowerVerb::ForceStop).await.expect("stopped");
    assert!(driver.disk_list(machine.id).await.expect("listed").is_empty(), "nor is it defined");
    assert!(driver.undefine(machine.id).await.expect("undefined"));
}

fn media(iso: &Path) -> DiskSource {
    DiskSource::File { path: iso.to_str().expect("UTF-8").to_owned(), format: VolumeFormat::Raw }
}

/// Builds the test guest if its inputs changed.
fn guest_iso() -> PathBuf {
    let workshop = std::env::var_os("QUANTIX_X").expect("QUANTIX_X is not set: run through ./x test");
    let built = Command::new(workshop).arg("guest").output().expect("the workshop runs");
    let said = String::from_utf8_lossy(&built.stderr).into_owned();
    assert!(built.status.success(), "{said}");
    PathBuf::from(said.lines().last().expect("it says where").trim())
}

/// Asks again and again, because a guest that still boots does not hear it.
async fn press_until_gone(driver: &dyn Driver, machine: &Machine, verb: PowerVerb) {
    let began = Instant::now();
    loop {
        let report = driver.get(machine.id).await.expect("answers").expect("there");
        if !report.power_state.is_active() {
            return;
        }
        assert!(began.elapsed() < GUEST_PATIENCE, "the guest did not obey {verb:?}: {report:?}");
        if report.power_state == PowerState::Running {
            driver.power(machine.id, verb).await.expect("asked");
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}

async fn wait_screen_moves(driver: &dyn Driver, machine: &Machine) {
    let stream = driver.console(machine.id).await.expect("a screen");
    let mut screen = tokio::net::UnixStream::from_std(stream).expect("nonblocking");
    let mut greeting = [0; 14];
    screen.read_exact(&mut greeting[..12]).await.expect("greeted");
    screen.write_all(b"RFB 003.008\n").await.expect("answered");
    screen.read_exact(&mut greeting[12..]).await.expect("security types");
    assert_eq!(&greeting[12..], [1, 1], "no password: whoever reaches the stream may look");
    screen.write_all(&[1, 1]).await.expect("chosen, and shared");
    let mut init = [0; 28];
    screen.read_exact(&mut init).await.expect("initialised");
    let name_length = u32::from_be_bytes([init[24], init[25], init[26], init[27]]);
    let mut name = vec![0; usize::try_from(name_length).expect("small")];
    screen.read_exact(&mut name).await.expect("named");
    // The whole screen first, then two changes of it.
    for incremental in [0, 1, 1] {
        let size = [init[4], init[5], init[6], init[7]];
        let request = [&[3, incremental, 0, 0, 0, 0][..], &size].concat();
        screen.write_all(&request).await.expect("asked");
        let update = tokio::time::timeout(GUEST_PATIENCE, read_update(&mut screen));
        assert!(update.await.expect("the screen moves") > 0, "pixels came");
    }
}

/// Reads one framebuffer update in raw encoding, 4 bytes a pixel; answers how many pixels it had.
async fn read_update(screen: &mut tokio::net::UnixStream) -> usize {
    let mut pixels = 0;
    let mut head = [0; 4];
    screen.read_exact(&mut head).await.expect("an update");
    assert_eq!(head[0], 0, "a framebuffer update");
    for _ in 0..u16::from_be_bytes([head[2], head[3]]) {
        let mut rectangle = [0; 12];
        screen.read_exact(&mut rectangle).await.expect("a rectangle");
        let side = |at: usize| usize::from(u16::from_be_bytes([rectangle[at], rectangle[at + 1]]));
        let mut raw = vec![0; side(4) * side(6) * 4];
        screen.read_exact(&mut raw).await.expect("its pixels");
        pixels += raw.len() / 4;
    }
    pixels
}

#[tokio::test(flavor = "multi_thread")]
async fn a_libvirtd_that_hangs_holds_nobody_up() {
    let libvirt = Libvirt::start();
    let driver = libvirt.driver();
    assert!(driver.list().await.expect("listed").is_empty());
    libvirt.signal_libvirtd(Signal::STOP);
    let asked = Instant::now();
    let fault = driver.list().await.expect_err("nobody answers");
    assert_eq!(fault.code, FaultCode::DeadlineExceeded, "{fault}");
    assert!(asked.elapsed() < Duration::from_secs(12), "{:?}", asked.elapsed());
    assert_eq!(driver.calls_abandoned(), 1);
    // Unanswered keep-alives end the connection, and with it the call that was given up.
    wait(Duration::from_secs(40), || driver.calls_abandoned() == 0).await;
    let fault = driver.list().await.expect_err("gone");
    assert_eq!(fault.code, FaultCode::HypervisorUnavailable, "{fault}");
    libvirt.signal_libvirtd(Signal::CONT);
    let began = Instant::now();
    while let Err(fault) = driver.list().await {
        assert!(began.elapsed() < Duration::from_secs(60), "it comes back by itself: {fault}");
        libvirt.up_again_if_ended();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn wait(patience: Duration, mut until: impl FnMut() -> bool) {
    let began = Instant::now();
    while !until() {
        assert!(began.elapsed() < patience, "waited for {patience:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
