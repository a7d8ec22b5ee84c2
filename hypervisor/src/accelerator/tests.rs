//! Every way a probe can end, on a machine and an emulator made up for the test.

use super::*;
use async_trait::async_trait;
use quantix_host::program::Output;
use quantix_model::Fault;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use tempfile::TempDir;

/// What the emulator does when asked to boot.
#[derive(Clone, Copy)]
enum Boots {
    AndSpeaks,
    AndPanicsAtOnce,
    AndHangs,
    Not,
}

struct Emulator {
    boots: Boots,
    times: AtomicUsize,
}

#[async_trait]
impl Runner for Emulator {
    async fn run(&self, program: Program) -> Result<Output, Fault> {
        if program.args == ["--version"] {
            return Ok(Output { code: Some(0), stdout: b"QEMU 7.2\nmore".to_vec(), ..Output::default() });
        }
        self.times.fetch_add(1, Ordering::Relaxed);
        assert!(program.args.windows(2).any(|pair| pair == ["-accel", "kvm"]), "{:?}", program.args);
        let serial = program.args.iter().find_map(|arg| arg.strip_prefix("file:")).expect("a serial file");
        match self.boots {
            Boots::Not => {
                return Ok(Output {
                    code: Some(1),
                    stderr: "qemu: failed to initialize kvm: Bad address\n".into(),
                    ..Output::default()
                });
            }
            Boots::AndPanicsAtOnce => {
                std::fs::write(serial, "Linux version 6.1\nKernel panic").expect("written");
                return Ok(Output { code: Some(0), ..Output::default() });
            }
            Boots::AndSpeaks => std::fs::write(serial, "\u{1b}[2J...Linux version 6.1").expect("written"),
            Boots::AndHangs => std::fs::write(serial, "Booting from ROM..\n").expect("written"),
        }
        std::future::pending().await
    }
}

struct Place {
    dir: TempDir,
    options: AcceleratorOptions,
}

fn place() -> Place {
    let dir = TempDir::new().expect("a folder");
    for sub in ["dev", "proc/sys/kernel/random", "boot", "state"] {
        std::fs::create_dir_all(dir.path().join(sub)).expect("made");
    }
    for (file, text) in [
        ("dev/kvm", ""),
        ("proc/sys/kernel/osrelease", "6.1.0-test\n"),
        ("proc/sys/kernel/random/boot_id", "b1\n"),
        ("proc/cpuinfo", "flags\t\t: fpu svmx sse2\n"),
        ("boot/vmlinuz-6.1.0-test", "kernel"),
    ] {
        std::fs::write(dir.path().join(file), text).expect("written");
    }
    set_mode(&dir.path().join("dev/kvm"), 0o666);
    let mut options =
        AcceleratorOptions::new(AcceleratorChoice::Auto, dir.path().join("state/accelerator.json"));
    options.root = dir.path().to_owned();
    options.deadline = Duration::from_millis(300);
    Place { dir, options }
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("set");
}

fn emulator(boots: Boots) -> Emulator {
    Emulator { boots, times: AtomicUsize::new(0) }
}

#[tokio::test]
async fn a_kernel_that_speaks_proves_kvm_once() {
    let place = place();
    let qemu = emulator(Boots::AndSpeaks);
    let verdict = prove(&place.options, &qemu).await;
    assert_eq!(verdict.accelerator, Accelerator::Kvm);
    assert!(verdict.reason.starts_with("a guest kernel printed its first line under KVM in "), "{verdict:?}");
    assert_eq!(prove(&place.options, &qemu).await, verdict, "remembered");
    assert_eq!(qemu.times.load(Ordering::Relaxed), 1);
    let left: Vec<_> = std::fs::read_dir(place.dir.path().join("state")).expect("listed").collect();
    assert_eq!(left.len(), 1, "only the memory is left: {left:?}");

    std::fs::write(place.dir.path().join("proc/sys/kernel/random/boot_id"), "b2").expect("written");
    prove(&place.options, &qemu).await;
    assert_eq!(qemu.times.load(Ordering::Relaxed), 2, "another boot is another machine");
    std::fs::write(&place.options.cache, "{ not json").expect("written");
    assert_eq!(prove(&place.options, &qemu).await.accelerator, Accelerator::Kvm);
}

#[tokio::test]
async fn proof_that_only_root_can_repeat_is_no_use() {
    let place = place();
    set_mode(&place.dir.path().join("dev/kvm"), 0o600);
    let qemu = emulator(Boots::AndSpeaks);
    for _ in 0..2 {
        let verdict = prove(&place.options, &qemu).await;
        assert_eq!(verdict.accelerator, Accelerator::Tcg);
        assert!(verdict.reason.contains("only root may open /dev/kvm"), "{verdict:?}");
    }
    set_mode(&place.dir.path().join("dev/kvm"), 0o666);
    assert_eq!(prove(&place.options, &qemu).await.accelerator, Accelerator::Kvm);
    assert_eq!(qemu.times.load(Ordering::Relaxed), 1, "the proof itself was remembered");
}

#[tokio::test]
async fn a_kernel_that_panics_at_once_has_spoken() {
    let verdict = prove(&place().options, &emulator(Boots::AndPanicsAtOnce)).await;
    assert_eq!(verdict.accelerator, Accelerator::Kvm);
}

#[tokio::test]
async fn a_kernel_that_hangs_means_emulation() {
    let place = place();
    let qemu = emulator(Boots::AndHangs);
    let verdict = prove(&place.options, &qemu).await;
    assert_eq!(verdict.accelerator, Accelerator::Tcg);
    assert_eq!(
        verdict.reason,
        "KVM exists, but a stock kernel printed nothing in 0.3 s: using software emulation"
    );
    prove(&place.options, &qemu).await;
    assert_eq!(qemu.times.load(Ordering::Relaxed), 1, "a no is remembered as well");
}

#[tokio::test]
async fn an_emulator_that_fails_is_quoted() {
    let verdict = prove(&place().options, &emulator(Boots::Not)).await;
    assert_eq!(verdict.accelerator, Accelerator::Tcg);
    assert!(verdict.reason.contains("failed to initialize kvm: Bad address"), "{verdict:?}");
}

#[tokio::test]
async fn without_device_or_kernel_nothing_is_booted() {
    let qemu = emulator(Boots::AndSpeaks);
    let mut place = place();
    place.options.probe_kernel = Some(place.dir.path().join("absent"));
    let verdict = prove(&place.options, &qemu).await;
    assert!(verdict.reason.contains("absent cannot be read"), "{verdict:?}");
    place.options.probe_kernel = None;
    std::fs::remove_file(place.dir.path().join("boot/vmlinuz-6.1.0-test")).expect("removed");
    let verdict = prove(&place.options, &qemu).await;
    assert!(verdict.reason.contains("neither vmx nor svm"), "{verdict:?}");
    std::fs::write(place.dir.path().join("proc/cpuinfo"), "flags : fpu vmx\n").expect("written");
    let verdict = prove(&place.options, &qemu).await;
    assert!(verdict.reason.contains("has vmx"), "{verdict:?}");
    assert!(verdict.reason.contains("set the accelerator to kvm"), "{verdict:?}");
    std::fs::remove_file(place.dir.path().join("dev/kvm")).expect("removed");
    let verdict = prove(&place.options, &qemu).await;
    assert!(verdict.reason.starts_with("/dev/kvm cannot be opened"), "{verdict:?}");
    assert_eq!(verdict.accelerator, Accelerator::Tcg);
    assert_eq!(qemu.times.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn the_prober_answers_before_it_knows() {
    let place = place();
    let prober = Prober::start_with(place.options.clone(), Arc::new(emulator(Boots::AndSpeaks)));
    let verdict = prober.verdict();
    assert_eq!(verdict.accelerator, Accelerator::Tcg);
    assert!(verdict.reason.contains("being probed"), "{verdict:?}");
    assert!(prober.kvm_device_present());
    assert_eq!(prober.settled().await.accelerator, Accelerator::Kvm);
}

#[tokio::test]
async fn a_forced_choice_holds_from_the_start() {
    for (choice, accelerator) in
        [(AcceleratorChoice::Kvm, Accelerator::Kvm), (AcceleratorChoice::Tcg, Accelerator::Tcg)]
    {
        let mut place = place();
        place.options.choice = choice;
        let prober = Prober::start_with(place.options.clone(), Arc::new(emulator(Boots::AndHangs)));
        assert_eq!(prober.verdict().accelerator, accelerator);
        assert_eq!(prober.settled().await.accelerator, accelerator);
    }
}
