//! What a cluster may refuse, and what Ceph alone has.

use super::*;
use quantix_model::{Fault, FaultCode, Secret};
use quantix_storage::explore::{Found, Question};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

fn refused(setup: &PoolSetup, wanted: FaultCode) -> Fault {
    let began = Instant::now();
    let fault = CephPool::new(setup).unwrap().init().expect_err("a refusal");
    assert_eq!(fault.code, wanted, "{fault:?}");
    assert!(!fault.remedy.is_empty() && !fault.cause.is_empty(), "{fault:?}");
    let PoolSpec::Ceph(spec) = &setup.spec else { panic!("Ceph") };
    assert!(!format!("{fault:?}").contains(spec.key.expose()), "the key shows: {fault:?}");
    assert!(began.elapsed() < Duration::from_secs(9), "told after {:?}", began.elapsed());
    eprintln!("ceph | bad input | {:?} | {} | {} ms", fault.code, fault.message, began.elapsed().as_millis());
    fault
}

pub fn bad_input(lab: &CephLab) {
    let good = lab.pool("good");
    let with = |change: &dyn Fn(&mut CephSpec)| {
        let mut spec = good.clone();
        change(&mut spec);
        setup_of(spec)
    };
    let other = lab.user("other", &["mon", "allow r"]);
    refused(&with(&|spec| spec.key = Secret::new(other.clone())), FaultCode::PoolAuthFailed);
    refused(&with(&|spec| spec.key = Secret::new("AQBx+/==")), FaultCode::PoolAuthFailed);
    refused(&with(&|spec| spec.user = "nobody".into()), FaultCode::PoolAuthFailed);
    refused(&with(&|spec| spec.pool = "nopool".into()), FaultCode::PoolExportMissing);
    refused(&with(&|spec| spec.monitors = vec!["127.0.0.1:1".into()]), FaultCode::PoolServerUnreachable);
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    refused(&with(&|spec| spec.monitors = vec![address.clone()]), FaultCode::PoolServerUnreachable);
    refused(
        &with(&|spec| spec.monitors = vec!["no.such.host.invalid".into()]),
        FaultCode::PoolServerUnreachable,
    );
    let poor = with(&|spec| {
        spec.user = "other".into();
        spec.key = Secret::new(other.clone());
    });
    let fault = refused(&poor, FaultCode::PoolAccessDenied);
    assert!(fault.remedy.contains("ceph auth caps client.other"), "{fault:?}");
    // One monitor that is gone beside one that answers is no hindrance.
    let monitors = vec!["127.0.0.1:1".to_owned(), good.monitors[0].clone()];
    open(&with(&|spec| spec.monitors = monitors.clone())).info().unwrap();
    let pool = open(&setup_of(lab.pool("formats")));
    let qcow2 = VolumeWish { format: VolumeFormat::Qcow2, ..wish(MIB, VolumeSource::Blank) };
    assert_eq!(pool.volume_create(&qcow2, &mut no_progress()).unwrap_err().field, "format");
}

pub fn foreign(lab: &CephLab) {
    let spec = lab.pool("taken");
    let first = setup_of(spec.clone());
    let wish = make(&open(&first), MIB, VolumeSource::Blank);
    let second = CephPool::new(&setup_of(spec.clone())).unwrap().init().unwrap_err();
    assert_eq!(second.code, FaultCode::PoolForeignData);
    assert!(second.message.contains(&first.id.to_string()), "{second:?}");
    let again = PoolSetup { must_exist: true, ..first };
    // Images of others beside ours are not ours.
    lab.rbd(&["create", "--size", "4M", "taken/vm-100-disk-0"]);
    let listed = open(&again).volume_list().unwrap();
    assert_eq!(listed.iter().map(|v| v.id).collect::<Vec<_>>(), [wish.id]);
    let facts = open(&again).info().unwrap().facts;
    assert!(facts.iter().any(|f| f.name == "images of others" && f.value == "1: vm-100-disk-0"), "{facts:?}");
    let empty = PoolSetup { must_exist: true, ..setup_of(lab.pool("made-anew")) };
    assert_eq!(refused(&empty, FaultCode::PoolForeignData).code, FaultCode::PoolForeignData);
}

/// Every process's arguments and variables, the whole time.
pub fn secrets(lab: &CephLab) {
    let spec = lab.pool("secrets");
    let key = spec.key.expose().to_owned();
    let over = AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        let spy = scope.spawn(|| {
            let mut looks = 0;
            while !over.load(Ordering::Relaxed) {
                for entry in std::fs::read_dir("/proc").unwrap().flatten() {
                    for name in ["cmdline", "environ"] {
                        let text = std::fs::read(entry.path().join(name)).unwrap_or_default();
                        looks += usize::from(text.windows(3).any(|w| w == b"rbd"));
                        let shown = text.windows(key.len()).any(|window| window == key.as_bytes());
                        assert!(!shown, "{}", String::from_utf8_lossy(&text));
                    }
                }
            }
            looks
        });
        let pool = open(&setup_of(spec.clone()));
        let source = make(&pool, 64 * MIB, VolumeSource::Blank);
        write(&pool, &source, "write 0 16M");
        let of = VolumeSource::Volume { id: source.id, snapshot: String::new(), linked: false };
        make(&pool, 64 * MIB, of);
        pool.info().unwrap();
        over.store(true, Ordering::Relaxed);
        spy.join().unwrap()
    });
    assert!(seen > 0, "the spy saw no program at all");
}

pub fn in_use(lab: &CephLab) {
    let pool = open(&setup_of(lab.pool("used")));
    let (snapshots, wish) = (pool.abilities().snapshots.unwrap(), make(&pool, 64 * MIB, VolumeSource::Blank));
    snapshots.snapshot_create(wish.id, "one").unwrap();
    let bench = ["bench", "--io-type", "write", "--io-size", "4096", "--io-threads", "1", "--io-total", "8G"];
    let image = format!("used/quantix-{}", wish.id);
    let quiet = std::process::Stdio::null;
    let mut user = lab.rbd_command().args(bench).arg(&image).stdout(quiet()).stderr(quiet()).spawn().unwrap();
    eventually("a watcher", || lab.rbd(&["status", &image]).contains("client."));
    for fault in
        [pool.volume_delete(wish.id).unwrap_err(), snapshots.snapshot_revert(wish.id, "one").unwrap_err()]
    {
        assert_eq!(fault.code, FaultCode::VolumeInUse, "{fault:?}");
    }
    assert_eq!(snapshots.snapshot_list(wish.id).unwrap().len(), 1, "a refused delete takes nothing away");
    // A copy of a disk that is being written is one of a moment.
    let of = VolumeSource::Volume { id: wish.id, snapshot: String::new(), linked: false };
    make(&pool, 64 * MIB, of);
    assert_eq!(snapshots.snapshot_list(wish.id).unwrap().len(), 1, "the copy's own snapshot stayed");
    user.kill().unwrap();
    user.wait().unwrap();
}

pub fn protected(lab: &CephLab) {
    let pool = open(&setup_of(lab.pool("older")));
    let (snapshots, wish) = (pool.abilities().snapshots.unwrap(), make(&pool, 8 * MIB, VolumeSource::Blank));
    snapshots.snapshot_create(wish.id, "old").unwrap();
    let (snapshot, clone) = (format!("older/quantix-{}@old", wish.id), volume_id());
    lab.rbd(&["snap", "protect", &snapshot]);
    lab.rbd(&["clone", "--rbd-default-clone-format", "1", &snapshot, &format!("older/quantix-{clone}")]);
    let listed = pool.volume_list().unwrap();
    assert!(listed.iter().any(|v| v.id == clone && v.parent == Some(wish.id)));
    assert_eq!(snapshots.snapshot_list(wish.id).unwrap()[0].clones, 1);
    let fault = snapshots.snapshot_delete(wish.id, "old").unwrap_err();
    assert_eq!(fault.code, FaultCode::VolumeHasClones, "{fault:?}");
    assert_eq!(code(pool.volume_delete(wish.id)), FaultCode::VolumeHasClones);
    assert!(pool.volume_delete(clone).unwrap());
    assert!(snapshots.snapshot_delete(wish.id, "old").unwrap());
    snapshots.snapshot_create(wish.id, "new").unwrap();
    lab.rbd(&["snap", "protect", &format!("older/quantix-{}@new", wish.id)]);
    assert!(pool.volume_delete(wish.id).unwrap());
    eventually("the background", || lab.rbd(&["ls", "older"]).is_empty());
}

/// Clones of both formats become independent, with snapshots of their own; the protected snapshot is freed.
pub fn flatten(lab: &CephLab) {
    let pool = open(&setup_of(lab.pool("flat")));
    let able = pool.abilities();
    let (snapshots, flatten) = (able.snapshots.unwrap(), able.flatten.unwrap());
    let wish = make(&pool, 8 * MIB, VolumeSource::Blank);
    write(&pool, &wish, "write -P 7 0 4M");
    snapshots.snapshot_create(wish.id, "old").unwrap();
    let (snapshot, clone) = (format!("flat/quantix-{}@old", wish.id), volume_id());
    lab.rbd(&["snap", "protect", &snapshot]);
    lab.rbd(&["clone", "--rbd-default-clone-format", "1", &snapshot, &format!("flat/quantix-{clone}")]);
    snapshots.snapshot_create(clone, "of-the-clone").unwrap();
    let mut told = Vec::new();
    flatten.volume_flatten(clone, &mut |at| told.push(at.done_bytes)).unwrap_or_else(|f| panic!("{f:?}"));
    assert!(told.is_sorted() && told.last().is_some(), "{told:?}");
    assert!(!lab.rbd(&["info", &snapshot]).contains("protected: True"), "it stays protected");
    assert!(snapshots.snapshot_delete(wish.id, "old").unwrap());
    let of = VolumeSource::Volume { id: wish.id, snapshot: String::new(), linked: true };
    let second = make(&pool, 8 * MIB, of);
    // Not under whoever has it open.
    let image = format!("flat/quantix-{}", second.id);
    let bench = ["bench", "--io-type", "write", "--io-size", "4096", "--io-threads", "1", "--io-total", "8G"];
    let quiet = std::process::Stdio::null;
    let mut user = lab.rbd_command().args(bench).arg(&image).stdout(quiet()).stderr(quiet()).spawn().unwrap();
    eventually("a watcher", || lab.rbd(&["status", &image]).contains("client."));
    assert_eq!(code(flatten.volume_flatten(second.id, &mut no_progress())), FaultCode::VolumeInUse);
    user.kill().unwrap();
    user.wait().unwrap();
    assert!(pool.volume_list().unwrap().iter().any(|v| v.id == second.id && v.parent == Some(wish.id)));
}

/// The pool is deleted, or the cluster fills up, while it is in use.
pub fn under_us(lab: &CephLab) {
    let setup = setup_of(lab.pool("going"));
    let pool = open(&setup);
    let wish = make(&pool, MIB, VolumeSource::Blank);
    lab.ceph(&["osd", "set-nearfull-ratio", "0.00001"]);
    write(&pool, &wish, "write 0 1M");
    let mut fault = None;
    eventually("nearly full", || {
        fault = open(&setup).info().ok().and_then(|info| info.fault);
        fault.as_ref().is_some_and(|fault| fault.message.contains("nearly full"))
    });
    assert_eq!(fault.unwrap().code, FaultCode::PoolFull);
    lab.ceph(&["osd", "set-nearfull-ratio", "0.85"]);
    eventually("room again", || open(&setup).info().is_ok_and(|info| info.fault.is_none()));
    lab.ceph(&["config", "set", "mon", "mon_allow_pool_delete", "true"]);
    lab.ceph(&["osd", "pool", "rm", "going", "going", "--yes-i-really-really-mean-it"]);
    let mut got = None;
    eventually("the loss is told", || {
        got = pool.info().err();
        got.is_some()
    });
    let fault = got.unwrap();
    assert_eq!(fault.code, FaultCode::PoolExportMissing, "{fault:?}");
    assert!(fault.remedy.contains("ceph osd pool ls"), "{fault:?}");
    for got in [
        code(pool.volume_list()),
        code(pool.volume_attach(wish.id)),
        code(pool.volume_create(&super::wish(MIB, VolumeSource::Blank), &mut no_progress())),
        code(pool.volume_delete(wish.id)),
    ] {
        assert_eq!(got, FaultCode::PoolExportMissing);
    }
}

/// Who is about to make a pool sees the cluster's pools, or why not.
pub fn explored(lab: &CephLab) {
    let spec = lab.pool("to-be-found");
    let ask = |key: Secret| {
        let question = Question::CephPools { monitors: spec.monitors.clone(), user: spec.user.clone(), key };
        CephPool::new(&question.setup().unwrap()).unwrap().abilities().explore.unwrap().explore()
    };
    let Found::CephPools(found) = ask(spec.key.clone()).unwrap() else { panic!("pools") };
    let seen = found.iter().find(|pool| pool.name == "to-be-found").expect("the pool");
    assert!(seen.available_bytes > 1 << 30, "{found:?}");
    let other = lab.user("explorer", &["mon", "allow r"]);
    assert_eq!(code(ask(Secret::new(other))), FaultCode::PoolAuthFailed);
}

pub fn background(lab: &CephLab) {
    let pool = open(&setup_of(lab.pool("large")));
    let wish = make(&pool, 64 << 30, VolumeSource::Blank);
    let began = Instant::now();
    assert!(pool.volume_delete(wish.id).unwrap());
    assert!(began.elapsed() < Duration::from_secs(5));
    assert!(pool.volume_list().unwrap().is_empty(), "out of sight at once");
    // The same id again, while the first may still be going.
    pool.volume_create(&wish, &mut no_progress()).unwrap();
    eventually("the background", || lab.rbd(&["ls", "large"]).trim() == format!("quantix-{}", wish.id));
    assert!(pool.volume_delete(wish.id).unwrap());
    // An entry nothing can open, as a killed `rbd create` leaves it.
    let half = volume_id();
    lab.rbd(&["create", "--size", "8M", &format!("large/quantix-{half}")]);
    let header = lab.rbd(&["info", "--format", "json", &format!("large/quantix-{half}")]);
    let number = header.split("\"id\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    lab.rados(&["-p", "large", "rm", &format!("rbd_header.{number}")]);
    assert!(pool.volume_list().unwrap().is_empty(), "half a volume is visible");
    let wish = VolumeWish { id: half, ..super::wish(16 * MIB, VolumeSource::Blank) };
    assert_eq!(pool.volume_create(&wish, &mut no_progress()).unwrap().size_bytes, 16 * MIB);
    assert!(pool.volume_delete(half).unwrap());
}

pub fn full(lab: &CephLab) {
    let setup = setup_of(lab.pool("small"));
    let pool = open(&setup);
    let room = pool.info().unwrap().capacity;
    assert!(room.total_bytes > 4 << 30 && room.used_bytes < MIB, "{room:?}");
    let wish = make(&pool, 64 * MIB, VolumeSource::Blank);
    write(&pool, &wish, "write 0 20M");
    lab.ceph(&["osd", "pool", "set-quota", "small", "max_bytes", "10000000"]);
    let mut info = pool.info().unwrap();
    eventually("a full pool", || {
        info = open(&setup).info().unwrap();
        info.fault.as_ref().is_some_and(|fault| fault.code == FaultCode::PoolFull)
    });
    assert_eq!(info.capacity.available_bytes, 0, "{info:?}");
    assert!(
        info.facts.iter().any(|fact| fact.name == "quota" && fact.value.contains("10000000")),
        "{info:?}"
    );
    let fault = pool.volume_create(&super::wish(MIB, VolumeSource::Blank), &mut no_progress()).unwrap_err();
    assert_eq!(fault.code, FaultCode::PoolFull, "{fault:?}");
    assert!(fault.cause.contains("quota"), "{fault:?}");
    lab.ceph(&["osd", "pool", "set-quota", "small", "max_bytes", "0"]);
    eventually("room again", || pool.info().is_ok_and(|info| info.fault.is_none()));
}
