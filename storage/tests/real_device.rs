//! Real disks in the lab VM: `/dev/vdb` (8 GiB) and `/dev/vdc` (2 GiB) are wiped, partitioned, made pools, mounted,
//! lost and found.

#![allow(clippy::unwrap_used)]

mod lab;
mod pools;
mod suite;

use pools::*;
use quantix_host::program::SystemRunner;
use quantix_model::device::BlockDevice;
use quantix_model::id::PoolId;
use quantix_model::pool::PoolSpec;
use quantix_model::{Fault, FaultCode as C};
use quantix_storage::backend::*;
use quantix_storage::device::{Disks, Wish};
use quantix_storage::disk::DiskPool;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const BIG: &str = "/dev/vdb";
const SMALL: &str = "/dev/vdc";

fn disks() -> Disks {
    Disks::new(Arc::new(SystemRunner))
}

fn seen(path: &str) -> BlockDevice {
    let all = disks().list().unwrap();
    let found = all.iter().find(|disk| disk.path == path);
    found.unwrap_or_else(|| panic!("no {path} in {all:?}")).clone()
}

fn wish(path: &str, pool: PoolId, erase: bool) -> Wish {
    let seen = seen(path);
    eprintln!("{path}: {:?} {}", seen.contents, seen.refused_because);
    Wish { pool, device: path.into(), fingerprint: seen.fingerprint, erase, begun: false }
}

fn make(wish: &Wish) -> Result<(), Fault> {
    disks().initialise(wish, &|| Ok(()))
}

/// Empties a disk whatever is on it, as a person would.
fn blank(path: &str) {
    for args in [&["umount", "--all-targets", path][..], &["umount", &format!("{path}1")], &["swapoff", "-a"]]
    {
        let _ = Command::new(args[0]).args(&args[1..]).output();
    }
    let _ = Command::new("vgremove").args(["-ff", "-y", "labvg"]).output();
    let parts = format!("{path}1");
    if std::fs::exists(&parts).unwrap() {
        run_program("wipefs", &["--all", "--quiet", &parts]);
    }
    run_program("wipefs", &["--all", "--quiet", path]);
    run_program(
        "dd",
        &["if=/dev/zero", &format!("of={path}"), "bs=1M", "count=4", "conv=fsync", "status=none"],
    );
    run_program("udevadm", &["settle", "--timeout=20"]);
}

fn setup_of(pool: PoolId) -> PoolSetup {
    PoolSetup { id: pool, spec: PoolSpec::disk(pool), must_exist: false, may_make: true }
}

fn mounted(pool: PoolId) -> bool {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    table.contains(&format!("/var/lib/quantix/pools/{pool} "))
}

#[test]
fn an_empty_disk_becomes_a_pool_that_passes_the_suite() {
    lab::require();
    blank(BIG);
    let pool = pool_id();
    assert!(seen(BIG).contents.is_empty() && seen(BIG).refused_because.is_empty());
    make(&wish(BIG, pool, false)).unwrap();
    make(&Wish { pool, device: BIG.into(), fingerprint: "x.y".into(), erase: false, begun: false })
        .expect("it is the pool's already");
    let told = seen(BIG).contents.join("\n");
    assert!(
        told.contains("GPT partition table with 1 partition") && told.contains("xfs file system"),
        "{told}"
    );
    let mut direct = DiskPool::new(&setup_of(pool)).unwrap();
    direct.init().unwrap();
    let info = direct.info().unwrap();
    assert_eq!((info.capabilities.file_system.as_str(), info.capabilities.reflink), ("xfs", true));
    assert!(info.facts.iter().any(|f| f.name == "device" && f.value == "/dev/vdb1"), "{:?}", info.facts);
    suite::run(direct, "disk, XFS");
    suite::run(Through::start(setup_of(pool), trial(None)), "disk, XFS, worker process");
    // Mounted: refused whatever is said, also for the sake of another pool.
    let fault = make(&Wish { begun: true, ..wish(BIG, pool_id(), true) }).unwrap_err();
    assert_eq!(fault.code, C::DeviceInUse, "{fault}");
    assert!(fault.message.contains("mounted"), "{fault}");
    DiskPool::new(&setup_of(pool)).unwrap().destroy(LettingGo::Orderly).unwrap();
    assert!(!mounted(pool), "let go of at release");
    blank(BIG);
}

#[test]
fn what_is_on_a_disk_is_told_and_goes_only_when_asked() {
    lab::require();
    let fill: [(&str, fn()); 4] = [
        ("ext4 file system", || drop(run_program("mkfs.ext4", &["-q", "-F", SMALL]))),
        ("LVM physical volume", || {
            run_program("pvcreate", &["-q", SMALL]);
        }),
        ("MBR partition table with 1 partition", || {
            run_program("parted", &["-s", SMALL, "mklabel", "msdos", "mkpart", "primary", "1MiB", "100%"]);
            run_program("udevadm", &["settle", "--timeout=20"]);
            run_program("mkfs.xfs", &["-q", "-f", "/dev/vdc1"]);
        }),
        ("data of a kind nobody knows", || {
            run_program("dd", &["if=/dev/urandom", "of=/dev/vdc", "bs=4096", "count=1", "status=none"]);
        }),
    ];
    for (word, fill) in fill {
        blank(SMALL);
        fill();
        run_program("udevadm", &["settle", "--timeout=20"]);
        let pool = pool_id();
        let refused = make(&wish(SMALL, pool, false)).unwrap_err();
        assert_eq!(refused.code, C::PoolForeignData, "{refused}");
        assert!(refused.cause.contains(word), "{word}: {refused}");
        make(&wish(SMALL, pool, true)).unwrap_or_else(|fault| panic!("{word}: {fault:?}"));
        let mut made = DiskPool::new(&setup_of(pool)).unwrap();
        made.init().unwrap();
        made.destroy(LettingGo::Orderly).unwrap();
    }
    blank(SMALL);
}

#[test]
fn used_and_changed_disks_are_refused() {
    lab::require();
    blank(SMALL);
    let before = wish(SMALL, pool_id(), true);
    run_program("mkfs.ext4", &["-q", "-F", SMALL]);
    assert_eq!(make(&before).unwrap_err().code, C::DeviceChanged);
    run_program("wipefs", &["--all", "--quiet", SMALL]);
    run_program("mkswap", &["-q", SMALL]);
    run_program("swapon", &[SMALL]);
    let fault = make(&wish(SMALL, pool_id(), true)).unwrap_err();
    assert!(fault.code == C::DeviceInUse && fault.message.contains("swaps"), "{fault}");
    run_program("swapoff", &[SMALL]);
    blank(SMALL);
    run_program("vgcreate", &["-q", "-y", "labvg", SMALL]);
    run_program("lvcreate", &["-q", "-y", "-n", "data", "-L", "64M", "labvg"]);
    let fault = make(&wish(SMALL, pool_id(), true)).unwrap_err();
    assert!(fault.code == C::DeviceInUse && fault.message.contains("LVM holds it"), "{fault}");
    run_program("vgremove", &["-q", "-ff", "-y", "labvg"]);
    let system = seen("/dev/vda");
    assert!(system.refused_because.contains("The system runs from it"), "{system:?}");
    blank(SMALL);
}

#[test]
fn a_run_cut_at_any_step_is_ended_by_the_same_call() {
    lab::require();
    for cut in 1..20 {
        blank(SMALL);
        run_program("mkfs.ext4", &["-q", "-F", SMALL]);
        let (wish, noted, count) = (wish(SMALL, pool_id(), true), AtomicBool::new(false), AtomicU64::new(0));
        let dying = Disks::with(
            Arc::new(SystemRunner),
            Arc::new(move |step| {
                let now = count.fetch_add(1, Ordering::SeqCst) + 1;
                if now == cut { Err(Fault::internal(format!("killed at {step}"))) } else { Ok(()) }
            }),
        );
        let begin = || {
            noted.store(true, Ordering::SeqCst);
            Ok(())
        };
        let survived = dying.initialise(&wish, &begin).is_ok();
        let again = Wish { begun: noted.load(Ordering::SeqCst), ..wish };
        make(&again).unwrap_or_else(|fault| panic!("after a death at step {cut}: {fault:?}"));
        if survived {
            assert!(cut > 7);
            break;
        }
    }
    blank(SMALL);
}

#[test]
fn a_disk_is_mounted_by_its_uuid_and_missed_when_it_is_gone() {
    lab::require();
    blank(SMALL);
    let pool = pool_id();
    make(&wish(SMALL, pool, false)).unwrap();
    let setup = setup_of(pool);
    let path = format!("/var/lib/quantix/pools/{pool}");
    let mut first = DiskPool::new(&setup).unwrap();
    first.init().unwrap();
    drop(first);
    let mut next = DiskPool::new(&setup).unwrap();
    next.init().expect("the next worker adopts the mount");
    let held = std::fs::File::create(format!("{path}/held")).unwrap();
    let fault = next.destroy(LettingGo::Orderly).unwrap_err();
    assert_eq!(fault.code, C::PoolInUse, "{fault}");
    drop(held);
    next.info().expect("it goes on");
    // As after a boot: nothing is mounted.
    drop(next);
    run_program("umount", &[&path]);
    let mut booted = DiskPool::new(&PoolSetup { must_exist: true, ..setup.clone() }).unwrap();
    booted.init().expect("mounted by its UUID");
    assert!(mounted(pool));
    // Without udev's links.
    booted.destroy(LettingGo::Orderly).unwrap();
    let PoolSpec::Local { file_system_uuid, .. } = &setup.spec else { unreachable!() };
    std::fs::remove_file(format!("/dev/disk/by-uuid/{file_system_uuid}")).unwrap();
    DiskPool::new(&setup).unwrap().init().expect("blkid knows it, too");
    DiskPool::new(&setup).unwrap().destroy(LettingGo::Orderly).unwrap();
    // Something else in its place.
    std::fs::create_dir_all(&path).unwrap();
    run_program("mount", &["-t", "tmpfs", "some-tmpfs", &path]);
    let fault = DiskPool::new(&setup).unwrap().init().unwrap_err();
    assert_eq!(fault.code, C::PoolForeignMount, "{fault}");
    DiskPool::new(&setup).unwrap().destroy(LettingGo::Forced).unwrap();
    assert!(mounted(pool), "a mount of somebody else stays");
    run_program("umount", &[&path]);
    std::fs::create_dir_all(&path).unwrap();
    std::fs::write(format!("{path}/file"), "x").unwrap();
    assert_eq!(DiskPool::new(&setup).unwrap().init().unwrap_err().code, C::PoolPathInvalid);
    std::fs::remove_file(format!("{path}/file")).unwrap();
    // The disk is gone.
    blank(SMALL);
    let fault = DiskPool::new(&setup).unwrap().init().unwrap_err();
    assert_eq!(fault.code, C::PoolDeviceMissing, "{fault}");
    assert!(!fault.remedy.is_empty());
}
