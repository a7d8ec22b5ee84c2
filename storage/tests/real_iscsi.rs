//! iSCSI pools on a real target (LIO), with the kernel's initiator and LVM, inside the lab VM.

#![allow(clippy::unwrap_used)]

mod lab;
mod pools;
mod suite;

use pools::*;
use quantix_model::FaultCode;
use quantix_model::id::VolumeId;
use quantix_model::pool::{Chap, IscsiSpec, PoolSpec};
use quantix_model::secret::Secret;
use quantix_model::volume::{Allocation, VolumeFormat, VolumeSource};
use quantix_storage::backend::*;
use quantix_storage::error::Result;
use quantix_storage::iscsi::IscsiPool;
use quantix_storage::worker::{Limits, PoolWorker, ProcessLauncher};
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

const TARGET: &str = "iqn.2026-01.org.lab:t1";
const MUTUAL: &str = "iqn.2026-01.org.lab:mutual";
const SECRET: &str = "lab-chap-secret-1";
const SECRET_BACK: &str = "lab-chap-secret-2";
const OTHER_HOST: &str = "quantix.host=iqn.2026-01.org.lab:somebody-else";
const GIB: u64 = 1 << 30;

fn chap(user: &str, password: &str) -> Option<Chap> {
    Some(Chap { user: user.into(), password: Secret::new(password) })
}

fn spec(lun: u32) -> IscsiSpec {
    IscsiSpec {
        portal: "127.0.0.1".into(),
        target: TARGET.into(),
        lun,
        chap: chap("u1", SECRET),
        mutual_chap: None,
        volume_group: format!("qx{lun}"),
        create_volume_group: true,
    }
}

fn setup_of(spec: IscsiSpec) -> PoolSetup {
    PoolSetup { id: pool_id(), spec: PoolSpec::Iscsi(spec), must_exist: false, may_make: true }
}

fn open(setup: &PoolSetup) -> Result<IscsiPool> {
    let mut pool = IscsiPool::new(setup)?;
    pool.init()?;
    Ok(pool)
}

fn wish(size_bytes: u64, source: VolumeSource) -> VolumeWish {
    VolumeWish {
        id: volume_id(),
        size_bytes,
        format: VolumeFormat::Raw,
        allocation: Allocation::Thin,
        source,
    }
}

fn make(pool: &dyn Backend, size_bytes: u64) -> VolumeId {
    let wish = wish(size_bytes, VolumeSource::Blank);
    pool.volume_create(&wish, &mut no_progress()).unwrap().id
}

fn path(attachment: Attachment) -> String {
    match attachment {
        Attachment::Block { path } => path,
        other => panic!("{other:?}"),
    }
}

/// Empties what stands behind a LUN.
fn blank(name: &str, bytes: u64) -> File {
    let file = OpenOptions::new().read(true).write(true).open(format!("/srv/iscsi/{name}.img")).unwrap();
    file.set_len(0).unwrap();
    file.set_len(bytes).unwrap();
    file
}

fn names(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// What this host still has of any pool: sessions, devices, records, names in the register.
fn left() -> Vec<String> {
    let mut left = names("/sys/class/iscsi_session");
    left.extend(
        names("/sys/block").into_iter().filter(|name| name.starts_with("dm-") || name.starts_with("sd")),
    );
    left.extend(names("/etc/iscsi/nodes"));
    left.extend(names("/etc/iscsi").into_iter().filter(|name| name.contains("quantix")));
    left.extend(names("/run/quantix/iscsi"));
    left
}

/// Processes that nobody can end.
fn stuck() -> Vec<String> {
    let stats =
        names("/proc").into_iter().filter_map(|pid| fs::read_to_string(format!("/proc/{pid}/stat")).ok());
    stats
        .filter(|stat| {
            stat.contains(") D ") && ["(lvm)", "(dd)", "(iscsiadm)"].iter().any(|n| stat.contains(n))
        })
        .collect()
}

fn serve(on: bool) {
    let enable = format!("/sys/kernel/config/target/iscsi/{TARGET}/tpgt_1/enable");
    fs::write(enable, if on { "1" } else { "0" }).unwrap();
}

/// Looks at every command line of the machine for a secret, all the time.
struct Watch(Arc<AtomicBool>, std::thread::JoinHandle<(u64, Vec<String>)>);

impl Watch {
    fn start() -> Watch {
        let stop = Arc::new(AtomicBool::new(false));
        let ended = stop.clone();
        let look = move || {
            let (mut looks, mut seen) = (0, Vec::new());
            while !ended.load(Ordering::SeqCst) {
                for pid in names("/proc").into_iter().filter(|name| name.parse::<u32>().is_ok()) {
                    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                    let line = String::from_utf8_lossy(&line).into_owned();
                    looks += u64::from(line.contains("iscsiadm"));
                    if line.contains("lab-chap-secret") || line.contains("not-the-secret") {
                        seen.push(line);
                    }
                }
                std::thread::sleep(Duration::from_millis(100));
            }
            (looks, seen)
        };
        Watch(stop, std::thread::spawn(look))
    }

    fn end(self) {
        self.0.store(true, Ordering::SeqCst);
        let (looks, seen) = self.1.join().unwrap();
        assert!(looks > 0, "iscsiadm was never seen");
        assert!(seen.is_empty(), "{seen:?}");
        eprintln!("no secret in {looks} command lines of iscsiadm");
    }
}

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> (T, Duration) {
    let began = Instant::now();
    let done = work();
    eprintln!("{what}: {:.2} s", began.elapsed().as_secs_f64());
    (done, began.elapsed())
}

#[test]
fn keeps_the_promises_of_every_backend() {
    lab::require();
    blank("lun0", 2 * GIB);
    let setup = setup_of(spec(0));
    suite::run(IscsiPool::new(&setup).unwrap(), "iscsi");
    let pool = open(&setup).unwrap();
    assert!(pool.volume_list().unwrap().is_empty());
    pool.destroy(LettingGo::Orderly).unwrap();
    assert_eq!(left(), Vec::<String>::new());
}

#[test]
fn signs_in_or_says_why_not() {
    lab::require();
    let watch = Watch::start();
    blank("lun0", 2 * GIB);
    blank("lun1", GIB);
    blank("mutual", GIB);
    let mutual = |back: &str| IscsiSpec {
        target: MUTUAL.into(),
        mutual_chap: chap("t1", back),
        volume_group: "qxm".into(),
        ..spec(0)
    };
    for (what, spec, wanted) in [
        (
            "wrong CHAP",
            IscsiSpec { chap: chap("u1", "not-the-secret"), ..spec(0) },
            FaultCode::PoolAuthFailed,
        ),
        ("no CHAP", IscsiSpec { chap: None, ..spec(0) }, FaultCode::PoolAuthFailed),
        ("wrong mutual CHAP", mutual("not-the-secret"), FaultCode::PoolAuthFailed),
        (
            "no target",
            IscsiSpec { target: "iqn.2026-01.org.lab:no".into(), ..spec(0) },
            FaultCode::PoolExportMissing,
        ),
        ("no LUN", spec(7), FaultCode::PoolDeviceMissing),
        (
            "closed port",
            IscsiSpec { portal: "127.0.0.1:3269".into(), ..spec(0) },
            FaultCode::PoolServerUnreachable,
        ),
        (
            "nobody there",
            IscsiSpec { portal: "192.0.2.1".into(), ..spec(0) },
            FaultCode::PoolServerUnreachable,
        ),
    ] {
        let (got, took) = timed(what, || open(&setup_of(spec)).map(drop));
        let fault = got.unwrap_err();
        eprintln!("  {fault}");
        assert_eq!(fault.code, wanted, "{what}: {fault:?}");
        assert!(!fault.remedy.is_empty() && !format!("{fault:?}").contains("secret-"), "{fault:?}");
        assert!(took < Duration::from_secs(60), "{what} took {took:?}");
        assert_eq!(left(), Vec::<String>::new(), "{what}");
    }
    let both = open(&setup_of(mutual(SECRET_BACK))).unwrap();
    both.destroy(LettingGo::Orderly).unwrap();
    assert_eq!(left(), Vec::<String>::new());
    // Two pools on one target share its session; the last one ends it.
    let (first, took) = timed("first pool", || open(&setup_of(spec(0))).unwrap());
    assert!(took < Duration::from_secs(60));
    let second = open(&setup_of(spec(1))).unwrap();
    let record = format!("/etc/iscsi/nodes/{TARGET}/127.0.0.1,3260,1/default");
    assert_eq!(fs::metadata(&record).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(fs::read_to_string(&record).unwrap().contains(SECRET));
    let facts = first.info().unwrap().facts;
    let fact = |name: &str| facts.iter().find(|f| f.name == name).unwrap().value.clone();
    assert_eq!((fact("paths").as_str(), fact("target").as_str()), ("1 of 1", TARGET));
    assert!(fact("wwid").starts_with("naa.6001405"), "{facts:?}");
    first.destroy(LettingGo::Orderly).unwrap();
    first.destroy(LettingGo::Orderly).unwrap();
    assert_eq!(names("/sys/class/iscsi_session").len(), 1);
    assert!(second.info().unwrap().fault.is_none());
    second.destroy(LettingGo::Orderly).unwrap();
    assert_eq!(left(), Vec::<String>::new());
    watch.end();
}

#[test]
fn takes_no_lun_with_anything_on_it() {
    lab::require();
    let refused = |what: &str, setup: PoolSetup, wanted: FaultCode, word: &str| {
        let fault = open(&setup).map(drop).unwrap_err();
        eprintln!("{what}: {fault}");
        assert_eq!(fault.code, wanted, "{what}: {fault:?}");
        assert!(format!("{fault}").contains(word), "{what}: {fault:?}");
        assert_eq!(left(), Vec::<String>::new(), "{what}");
    };
    let file = blank("lun1", GIB);
    let unasked = IscsiSpec { create_volume_group: false, ..spec(1) };
    refused("no group", setup_of(unasked), FaultCode::PoolDeviceMissing, "qx1");
    let gone = PoolSetup { must_exist: true, ..setup_of(spec(1)) };
    refused("another disk", gone, FaultCode::PoolDeviceMissing, "any more");
    file.write_all_at(b"\0\0x", 70_000).unwrap();
    refused("unknown data", setup_of(spec(1)), FaultCode::PoolForeignData, "nobody knows");
    run_program("mkfs.ext4", &["-q", "-F", "-L", "precious", "/srv/iscsi/lun1.img"]);
    refused("a file system", setup_of(spec(1)), FaultCode::PoolForeignData, "precious");
    blank("lun1", GIB);
    run_program("lvm", &["vgcreate", "--devices", "/dev/vdc", "qx1", "/dev/vdc"]);
    refused("a name that is taken", setup_of(spec(1)), FaultCode::Conflict, "/dev/vdc");
    run_program("lvm", &["vgremove", "--devices", "/dev/vdc", "-y", "qx1"]);
    run_program("lvm", &["pvremove", "--devices", "/dev/vdc", "/dev/vdc"]);
    let mine = setup_of(spec(1));
    open(&mine).unwrap().destroy(LettingGo::Orderly).unwrap();
    refused("another pool's", setup_of(spec(1)), FaultCode::PoolForeignData, &mine.id.to_string());
    let renamed = IscsiSpec { volume_group: "other".into(), ..spec(1) };
    refused("another group", setup_of(renamed), FaultCode::PoolForeignData, "qx1");
    let pool = open(&PoolSetup { must_exist: true, ..mine }).unwrap();
    pool.destroy(LettingGo::Orderly).unwrap();
    assert_eq!(left(), Vec::<String>::new());
}

/// A program that writes past all caches.
fn writer(device: &str) -> Child {
    let to = format!("of={device}");
    let args = ["if=/dev/zero", &to, "bs=64k", "count=256", "oflag=direct", "conv=notrunc,nocreat"];
    Command::new("dd").args(args).stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn a_silent_target_stops_nobody() {
    lab::require();
    blank("lun0", 2 * GIB);
    serve(false);
    let (before, took) = timed("down before", || open(&setup_of(spec(0))).map(drop));
    // The portal itself serves another target, and says that this one is not there.
    assert_eq!(before.unwrap_err().code, FaultCode::PoolExportMissing);
    assert!(took < Duration::from_secs(60));
    serve(true);
    let pool = open(&setup_of(spec(0))).unwrap();
    let id = make(&pool, 64 * MIB);
    let device = path(pool.volume_attach(id).unwrap());
    serve(false);
    let mut dd = writer(&device);
    let state = || {
        fs::read_to_string(format!("/sys/class/iscsi_session/{}/state", names("/sys/class/iscsi_session")[0]))
    };
    eventually("the session fails", || state().unwrap().trim() != "LOGGED_IN");
    let (grow, snapshots) = (pool.abilities().grow.unwrap(), pool.abilities().snapshots.unwrap());
    let blank_wish = wish(64 * MIB, VolumeSource::Blank);
    let calls: [(&str, &dyn Fn() -> FaultCode); 8] = [
        ("info", &|| code(pool.info())),
        ("list", &|| code(pool.volume_list())),
        ("create", &|| code(pool.volume_create(&blank_wish, &mut no_progress()))),
        ("attach", &|| code(pool.volume_attach(id))),
        ("delete", &|| code(pool.volume_delete(id))),
        ("grow", &|| code(grow.volume_grow(id, 128 * MIB))),
        ("snapshot", &|| code(snapshots.snapshot_create(id, "one"))),
        ("let go", &|| code(pool.destroy(LettingGo::Orderly))),
    ];
    let mut worst = Duration::ZERO;
    for (what, call) in calls {
        let (got, took) = timed(what, call);
        assert_eq!(got, FaultCode::PoolStalled, "{what}");
        worst = worst.max(took);
    }
    eprintln!("worst answer while the target is silent: {worst:?}");
    assert!(worst < Duration::from_secs(1));
    assert!(dd.try_wait().unwrap().is_none(), "the guest's write was not kept waiting");
    serve(true);
    timed("recovery", || eventually("the pool comes back", || pool.info().is_ok()));
    assert!(dd.wait().unwrap().success(), "the guest's write failed");
    assert_eq!(stuck(), Vec::<String>::new());
    // The target dies for good, a VM has its disk open, and the pool is let go by force.
    serve(false);
    let mut dd = writer(&device);
    eventually("the session fails", || state().unwrap().trim() != "LOGGED_IN");
    let (forced, took) = timed("by force", || pool.destroy(LettingGo::Forced));
    forced.unwrap();
    assert!(took < Duration::from_secs(60));
    assert!(!dd.wait().unwrap().success(), "nothing could be written");
    eventually("the devices go", || left().is_empty());
    assert_eq!(stuck(), Vec::<String>::new());
    serve(true);
}

#[test]
fn one_host_has_a_volume() {
    lab::require();
    blank("lun0", 2 * GIB);
    let setup = setup_of(spec(0));
    let pool = open(&setup).unwrap();
    let (id, lv) = {
        let id = make(&pool, 64 * MIB);
        (id, format!("qx0/quantix-{id}"))
    };
    let able = pool.abilities();
    let (grow, snapshots, exclusive) = (able.grow.unwrap(), able.snapshots.unwrap(), able.exclusive.unwrap());
    run_program("lvm", &["lvchange", "--addtag", OTHER_HOST, &lv]);
    let fault = pool.volume_attach(id).unwrap_err();
    assert_eq!(fault.code, FaultCode::VolumeHeldElsewhere);
    assert!(fault.message.contains("somebody-else"), "{fault}");
    assert_eq!(code(pool.volume_delete(id)), FaultCode::VolumeHeldElsewhere);
    assert_eq!(code(grow.volume_grow(id, 128 * MIB)), FaultCode::VolumeHeldElsewhere);
    assert_eq!(code(snapshots.snapshot_create(id, "one")), FaultCode::VolumeHeldElsewhere);
    exclusive.volume_detach(id).unwrap();
    assert!(!Path::new(&format!("/dev/{lv}")).exists(), "active on two hosts");
    run_program("lvm", &["lvchange", "--deltag", OTHER_HOST, &lv]);

    let device = path(pool.volume_attach(id).unwrap());
    assert_eq!(path(pool.volume_attach(id).unwrap()), device);
    let guest = OpenOptions::new().read(true).write(true).open(&device).unwrap();
    for (what, got) in [
        ("delete", code(pool.volume_delete(id))),
        ("detach", code(exclusive.volume_detach(id))),
        (
            "revert",
            code(
                snapshots
                    .snapshot_create(id, "running")
                    .and_then(|_| snapshots.snapshot_revert(id, "running")),
            ),
        ),
    ] {
        assert_eq!(got, FaultCode::VolumeInUse, "{what}");
    }
    assert_eq!(code(pool.destroy(LettingGo::Orderly)), FaultCode::PoolInUse);
    guest.write_all_at(b"after the snapshot", 0).unwrap();
    guest.sync_all().unwrap();
    assert_eq!(grow.volume_grow(id, 96 * MIB).unwrap().size_bytes, 96 * MIB);
    let seen = String::from_utf8(run_program("blockdev", &["--getsize64", &device])).unwrap();
    assert_eq!(seen.trim(), (96 * MIB).to_string(), "the guest's disk did not grow");
    drop(guest);
    snapshots.snapshot_revert(id, "running").unwrap();
    let mut start = [1; 18];
    File::open(path(pool.volume_attach(id).unwrap())).unwrap().read_exact_at(&mut start, 0).unwrap();
    assert_eq!(start, [0; 18], "reverted");
    // Letting go of the pool gives the volume up, too.
    pool.destroy(LettingGo::Orderly).unwrap();
    assert_eq!(left(), Vec::<String>::new());
    let pool = open(&setup).unwrap();
    let tags = String::from_utf8(run_program("lvm", &["lvs", "--noheadings", "-o", "lv_tags", &lv])).unwrap();
    assert!(!tags.contains("quantix.host"), "{tags}");
    pool.destroy(LettingGo::Orderly).unwrap();
    assert_eq!(left(), Vec::<String>::new());
}

/// The worker dies at a step of `work`; answers the pool as the next worker finds it.
fn dies(setup: &PoolSetup, step: &str, work: impl Fn(&dyn Backend) -> bool) -> IscsiPool {
    let program = env!("CARGO_BIN_EXE_pool-worker-on-trial");
    let launcher = Arc::new(ProcessLauncher::new(program, vec![step.into()]).unwrap());
    let began = Instant::now();
    let runtime = Runtime::new().unwrap();
    let limits = Limits { start: Duration::from_secs(120), ..quick() };
    let worker = runtime.block_on(async { PoolWorker::start(setup.clone(), launcher, limits) });
    let mut through = Through { runtime, worker };
    let survived = !step.starts_with("init") && {
        through.init().unwrap();
        work(&through)
    };
    assert!(!survived, "no death at {step}");
    drop(through);
    // A program the worker started ends by itself.
    eventually("the worker's programs end", || stuck().is_empty());
    let pool = open(setup).unwrap_or_else(|fault| panic!("after a death at {step}: {fault:?}"));
    eprintln!("died at {step:?}, found again after {:.1} s", began.elapsed().as_secs_f64());
    pool
}

#[test]
fn a_worker_that_dies_leaves_nothing_half_made() {
    lab::require();
    blank("lun0", 2 * GIB);
    let setup = setup_of(spec(0));
    let pool = open(&setup).unwrap();
    let id = make(&pool, 16 * MIB);
    let write = |pool: &IscsiPool, byte: u8| {
        let device = path(pool.volume_attach(id).unwrap());
        let disk = OpenOptions::new().write(true).open(device).unwrap();
        disk.write_all_at(&[byte; 4096], 0).unwrap();
        disk.sync_all().unwrap();
        drop(disk);
        pool.abilities().exclusive.unwrap().volume_detach(id).unwrap();
    };
    let read = |pool: &IscsiPool| {
        let mut byte = [0];
        File::open(path(pool.volume_attach(id).unwrap())).unwrap().read_exact_at(&mut byte, 0).unwrap();
        pool.abilities().exclusive.unwrap().volume_detach(id).unwrap();
        byte[0]
    };
    write(&pool, 1);
    pool.abilities().snapshots.unwrap().snapshot_create(id, "one").unwrap();
    write(&pool, 2);
    let revert = |pool: &dyn Backend| pool.abilities().snapshots.unwrap().snapshot_revert(id, "one").is_ok();
    for (step, found) in [("revert: made", 2), ("revert: between", 1), ("revert: swapped", 1)] {
        let pool = dies(&setup, step, revert);
        assert_eq!(read(&pool), found, "after a death at {step}");
        assert_eq!(pool.volume_list().unwrap().len(), 1);
        write(&pool, 2);
    }
    let pool = dies(&setup, "claim: tagged", |pool| pool.volume_attach(id).is_ok());
    assert_eq!(read(&pool), 2);
    let copy = wish(16 * MIB, VolumeSource::Volume { id, snapshot: String::new(), linked: false });
    let clone = |pool: &dyn Backend| pool.volume_create(&copy, &mut no_progress()).is_ok();
    for step in ["create volume: made", "create volume: copying", "create volume: copied"] {
        let pool = dies(&setup, step, clone);
        assert_eq!(pool.volume_list().unwrap().len(), 1, "a half-made clone shows after {step}");
        pool.abilities().exclusive.unwrap().volume_detach(id).unwrap();
    }
    assert!(clone(&pool), "the same again after deaths");
    let pool = dies(&setup, "destroy: sign out", |pool| pool.destroy(LettingGo::Orderly).is_ok());
    assert_eq!(pool.volume_list().unwrap().len(), 2);
    pool.destroy(LettingGo::Orderly).unwrap();
    assert_eq!(left(), Vec::<String>::new());
}
