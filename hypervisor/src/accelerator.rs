//! Whether guests run under KVM here. The device alone proves nothing: on some machines `/dev/kvm` opens, the
//! firmware runs, and every stock kernel hangs at its first instruction. So `auto` boots a kernel and looks:
//!
//! ```text
//!   choice kvm ──▶ KVM, unproven          choice tcg ──▶ emulation
//!   choice auto:
//!     /dev/kvm opens? ──no──▶ emulation
//!       │ yes
//!     a kernel to boot? ──no──▶ emulation, and how to give one
//!       │ yes
//!     known since this boot, for this kernel, QEMU and probe? ──yes──▶ as remembered
//!       │ no
//!     QEMU with KVM prints "Linux version" in time? ──no──▶ emulation
//!       │ yes
//!     may others than root open /dev/kvm? ──yes──▶ KVM      ──no──▶ emulation, and how to let them
//! ```
//!
//! The probe runs in the background and never delays the daemon: until it is done, guests are emulated and the
//! reason says so. QEMU runs without disks, network or display, and is killed as soon as the answer is known.

use quantix_host::program::{Program, Runner, SystemRunner};
use quantix_model::host::{Accelerator, AcceleratorChoice};
use serde::{Deserialize, Serialize};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::watch;

/// First words of every Linux kernel on its console.
const FIRST_WORDS: &[u8] = b"Linux version";
/// How much of the serial line is read; the words come in the first few lines.
const SERIAL_BYTES_MAX: u64 = 1 << 20;
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What to use, and what to prove it with.
#[derive(Clone, Debug)]
pub struct AcceleratorOptions {
    /// The administrator's choice.
    pub choice: AcceleratorChoice,
    /// Kernel to boot as proof; `None` takes the machine's own from /boot.
    pub probe_kernel: Option<PathBuf>,
    /// Where the verdict is remembered; the probe's serial line is written beside it.
    pub cache: PathBuf,
    /// Emulator to prove it with.
    pub qemu: String,
    /// No first line after this means no.
    pub deadline: Duration,
    /// Root under which /dev, /proc and /boot are; another one only in tests.
    pub root: PathBuf,
}

impl AcceleratorOptions {
    /// The usual emulator, this machine, 20 s.
    pub fn new(choice: AcceleratorChoice, cache: impl Into<PathBuf>) -> AcceleratorOptions {
        AcceleratorOptions {
            choice,
            probe_kernel: None,
            cache: cache.into(),
            qemu: "qemu-system-x86_64".to_owned(),
            deadline: Duration::from_secs(20),
            root: PathBuf::from("/"),
        }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }
}

/// What guests use, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// How guests run.
    pub accelerator: Accelerator,
    /// What was tried and what it said.
    pub reason: String,
}

impl Verdict {
    fn kvm(reason: impl Into<String>) -> Verdict {
        Verdict { accelerator: Accelerator::Kvm, reason: reason.into() }
    }

    fn tcg(reason: impl Into<String>) -> Verdict {
        Verdict { accelerator: Accelerator::Tcg, reason: reason.into() }
    }
}

/// The verdict, which may still be on its way.
#[derive(Clone, Debug)]
pub struct Prober {
    choice: AcceleratorChoice,
    verdict: watch::Receiver<Verdict>,
    kvm_device: PathBuf,
}

impl Prober {
    /// Starts to prove and returns at once. Needs a running tokio runtime.
    pub fn start(options: AcceleratorOptions) -> Prober {
        Prober::start_with(options, Arc::new(SystemRunner))
    }

    /// The same with a way to run programs of the caller's.
    pub fn start_with(options: AcceleratorOptions, runner: Arc<dyn Runner>) -> Prober {
        let pending = forced(options.choice)
            .unwrap_or_else(|| Verdict::tcg("KVM is being probed; until then guests are emulated"));
        let (choice, kvm_device) = (options.choice, options.path("/dev/kvm"));
        let (sender, verdict) = watch::channel(pending);
        tokio::spawn(async move {
            let proved = prove(&options, runner.as_ref()).await;
            tracing::info!(accelerator = ?proved.accelerator, reason = proved.reason, "accelerator chosen");
            sender.send_replace(proved);
        });
        Prober { choice, verdict, kvm_device }
    }

    /// What the administrator asked for.
    pub fn choice(&self) -> AcceleratorChoice {
        self.choice
    }

    /// What is known now.
    pub fn verdict(&self) -> Verdict {
        self.verdict.borrow().clone()
    }

    /// Waits until the verdict is final.
    pub async fn settled(&self) -> Verdict {
        let mut verdict = self.verdict.clone();
        // The sender goes when it has spoken its last word; both mean: final.
        while verdict.changed().await.is_ok() {}
        self.verdict()
    }

    /// /dev/kvm is there; says nothing about whether guests run.
    pub fn kvm_device_present(&self) -> bool {
        self.kvm_device.exists()
    }
}

fn forced(choice: AcceleratorChoice) -> Option<Verdict> {
    match choice {
        AcceleratorChoice::Auto => None,
        AcceleratorChoice::Kvm => Some(Verdict::kvm("set by the administrator; not proved")),
        AcceleratorChoice::Tcg => Some(Verdict::tcg("set by the administrator")),
    }
}

/// Finds out, taking up to the options' deadline.
pub async fn prove(options: &AcceleratorOptions, runner: &dyn Runner) -> Verdict {
    if let Some(verdict) = forced(options.choice) {
        return verdict;
    }
    let device = options.path("/dev/kvm");
    if let Err(error) = std::fs::OpenOptions::new().read(true).write(true).open(&device) {
        return Verdict::tcg(format!("/dev/kvm cannot be opened ({error}): using software emulation"));
    }
    let Some(kernel) = probe_kernel(options) else {
        return Verdict::tcg(no_kernel(options));
    };
    let qemu_version = match qemu_version(options, runner).await {
        Ok(version) => version,
        Err(why) => {
            return Verdict::tcg(format!("KVM could not be proved ({why}): using software emulation"));
        }
    };
    let key = Key::now(options, &kernel, qemu_version);
    if let Some(remembered) = recall(&options.cache, &key) {
        return usable(remembered, &device);
    }
    let verdict = match boot(options, runner, &kernel).await {
        Ok(verdict) => verdict,
        // Not KVM's fault, so nothing to remember.
        Err(why) => {
            return Verdict::tcg(format!("KVM could not be proved ({why}): using software emulation"));
        }
    };
    remember(&options.cache, key, &verdict);
    usable(verdict, &device)
}

/// The probe ran as this daemon's user; libvirt's QEMU runs as another, which must be let in as well.
fn usable(verdict: Verdict, device: &Path) -> Verdict {
    let Ok(meta) = std::fs::metadata(device) else { return verdict };
    let to_all = meta.mode() & 0o006 == 0o006;
    let to_a_group = meta.mode() & 0o060 == 0o060 && meta.gid() != 0;
    if verdict.accelerator == Accelerator::Tcg || to_all || to_a_group {
        return verdict;
    }
    Verdict::tcg(format!(
        "{}, but only root may open /dev/kvm and libvirt's QEMU runs as another user: using software emulation; \
         give the device to the group kvm with mode 660, or set the accelerator to kvm",
        verdict.reason
    ))
}

fn no_kernel(options: &AcceleratorOptions) -> String {
    if let Some(kernel) = &options.probe_kernel {
        return format!(
            "KVM is unproven: the probe kernel {} cannot be read; software emulation",
            kernel.display()
        );
    }
    let how = "name a kernel to boot as proof, or set the accelerator to kvm to use it unproven";
    let cpuinfo = std::fs::read_to_string(options.path("/proc/cpuinfo")).unwrap_or_default();
    let has = |flag: &str| {
        cpuinfo
            .lines()
            .any(|line| line.starts_with("flags") && line.split_whitespace().any(|word| word == flag))
    };
    match ["vmx", "svm"].into_iter().find(|flag| has(flag)) {
        Some(flag) => format!(
            "KVM is unproven: the processor has {flag}, but no kernel in /boot can be booted as proof; software \
             emulation until then: {how}"
        ),
        None => format!(
            "/dev/kvm is there, but the processor has neither vmx nor svm and no kernel in /boot can prove it; \
             software emulation: {how}"
        ),
    }
}

/// The kernel named, else the one that runs, else the newest there is; only if it can be read.
fn probe_kernel(options: &AcceleratorOptions) -> Option<PathBuf> {
    let readable = |path: &Path| std::fs::File::open(path).is_ok();
    if let Some(given) = &options.probe_kernel {
        return readable(given).then(|| given.clone());
    }
    let boot = options.path("/boot");
    let running = boot.join(format!("vmlinuz-{}", kernel_release(options)));
    if readable(&running) {
        return Some(running);
    }
    let mut kernels: Vec<(SystemTime, PathBuf)> = std::fs::read_dir(boot)
        .ok()?
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("vmlinuz-"))
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .filter(|(_, path)| readable(path))
        .collect();
    kernels.sort();
    kernels.pop().map(|(_, path)| path)
}

fn kernel_release(options: &AcceleratorOptions) -> String {
    line(&options.path("/proc/sys/kernel/osrelease"))
}

fn line(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

async fn qemu_version(options: &AcceleratorOptions, runner: &dyn Runner) -> Result<String, String> {
    let program = Program::new(&options.qemu).arg("--version").deadline(Duration::from_secs(10));
    let output = runner.run(program).await.map_err(|fault| fault.message)?;
    if !output.succeeded() {
        return Err(format!("{}: {}", options.qemu, output.complaint()));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// Boots `kernel` under KVM and reads its serial line. An error means that nothing was learned.
async fn boot(options: &AcceleratorOptions, runner: &dyn Runner, kernel: &Path) -> Result<Verdict, String> {
    let serial = options.cache.with_extension(format!("{}.serial", std::process::id()));
    let guard = Removed(serial.clone());
    std::fs::write(&serial, b"").map_err(|error| format!("{}: {error}", serial.display()))?;
    let program = Program::new(&options.qemu)
        .args(["-accel", "kvm", "-machine", "q35", "-cpu", "host", "-m", "256"])
        .args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"])
        .args(["-serial".to_owned(), format!("file:{}", serial.display())])
        .args(["-kernel".to_owned(), kernel.display().to_string()])
        .args(["-append", "console=ttyS0 earlyprintk=serial,ttyS0 panic=-1"])
        // The deadline below is the one that decides; this one only backs it up.
        .deadline(options.deadline + Duration::from_secs(5));
    let began = Instant::now();
    let verdict = tokio::select! {
        () = seen(&serial) => Ok(proved(began)),
        // Dropping the run kills QEMU.
        () = tokio::time::sleep(options.deadline) => Ok(Verdict::tcg(format!(
            "KVM exists, but a stock kernel printed nothing in {} s: using software emulation",
            options.deadline.as_secs_f64()
        ))),
        ended = runner.run(program) => match ended {
            // A kernel without a root file system panics and ends at once, maybe between two looks.
            Ok(_) if look(&serial).await => Ok(proved(began)),
            Ok(output) => Ok(Verdict::tcg(format!(
                "KVM exists, but QEMU could not boot a kernel under it ({}): using software emulation",
                output.complaint().lines().next().unwrap_or_default()
            ))),
            Err(fault) => Err(fault.message),
        },
    };
    drop(guard);
    verdict
}

fn proved(began: Instant) -> Verdict {
    Verdict::kvm(format!(
        "a guest kernel printed its first line under KVM in {:.1} s",
        began.elapsed().as_secs_f64()
    ))
}

async fn seen(serial: &Path) {
    while !look(serial).await {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn look(serial: &Path) -> bool {
    let Ok(mut file) = tokio::fs::File::open(serial).await else { return false };
    let mut bytes = Vec::new();
    let read =
        file.rewind().await.is_ok() && file.take(SERIAL_BYTES_MAX).read_to_end(&mut bytes).await.is_ok();
    read && bytes.windows(FIRST_WORDS.len()).any(|window| window == FIRST_WORDS)
}

/// Removes a file when it goes.
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// What a verdict depends on.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Key {
    kernel_release: String,
    boot_id: String,
    qemu_version: String,
    probe_kernel: PathBuf,
    probe_kernel_modified_unix_ms: u128,
}

#[derive(Serialize, Deserialize)]
struct Remembered {
    key: Key,
    verdict: Verdict,
}

impl Key {
    fn now(options: &AcceleratorOptions, kernel: &Path, qemu_version: String) -> Key {
        let modified = std::fs::metadata(kernel).and_then(|meta| meta.modified()).unwrap_or(UNIX_EPOCH);
        Key {
            kernel_release: kernel_release(options),
            boot_id: line(&options.path("/proc/sys/kernel/random/boot_id")),
            qemu_version,
            probe_kernel: kernel.to_owned(),
            probe_kernel_modified_unix_ms: modified
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default()
                .as_millis(),
        }
    }
}

fn recall(cache: &Path, key: &Key) -> Option<Verdict> {
    let bytes = std::fs::read(cache).ok()?;
    let remembered: Remembered = serde_json::from_slice(&bytes).ok()?;
    (remembered.key == *key).then_some(remembered.verdict)
}

/// Forgetting is no failure: the next start proves again.
fn remember(cache: &Path, key: Key, verdict: &Verdict) {
    let part = cache.with_extension("part");
    let written = serde_json::to_vec_pretty(&Remembered { key, verdict: verdict.clone() })
        .map_err(std::io::Error::other)
        .and_then(|bytes| std::fs::write(&part, bytes))
        .and_then(|()| std::fs::rename(&part, cache));
    if let Err(error) = written {
        tracing::warn!(cache = %cache.display(), %error, "the accelerator's verdict is not remembered");
    }
}

#[cfg(test)]
mod tests;
