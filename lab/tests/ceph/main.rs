//! The Ceph backend on a real cluster: the suite every backend passes, and what only Ceph can do wrong. One cluster
//! serves all cases that leave it alive; freezing has one of its own.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cases;
mod guest;
mod kill;
#[path = "../../../storage/tests/pools/mod.rs"]
mod pools;
mod stall;
#[path = "../../../storage/tests/suite/mod.rs"]
mod suite;

use pools::*;
use quantix_lab::ceph::CephLab;
use quantix_model::pool::{CephSpec, PoolSpec};
use quantix_model::volume::{Allocation, VolumeFormat, VolumeSource};
use quantix_storage::backend::*;
use quantix_storage::ceph::CephPool;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Instant;

/// Where the cluster's own `ceph.conf` is, for those who open disks as an administrator may.
static CONF: OnceLock<PathBuf> = OnceLock::new();

fn start(dir: &tempfile::TempDir) -> CephLab {
    let began = Instant::now();
    let lab = CephLab::start(&dir.path().join("ceph"));
    eprintln!("ceph | up after {} ms", began.elapsed().as_millis());
    CONF.set(dir.path().join("ceph/ceph.conf")).unwrap();
    lab
}

fn setup_of(spec: CephSpec) -> PoolSetup {
    PoolSetup { id: pool_id(), spec: PoolSpec::Ceph(spec), must_exist: false, may_make: true }
}

fn open(setup: &PoolSetup) -> CephPool {
    let mut pool = CephPool::new(setup).unwrap();
    pool.init().unwrap_or_else(|fault| panic!("{fault:?}"));
    pool
}

/// As QEMU finds the image, with the administrator's key.
fn opener(attachment: &Attachment) -> Option<(String, VolumeFormat)> {
    let Attachment::Rbd { pool, image, .. } = attachment else { panic!("an RBD image") };
    let conf = CONF.get().unwrap().display();
    Some((format!("rbd:{pool}/{image}:id=admin:conf={conf}"), VolumeFormat::Raw))
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

fn make(pool: &dyn Backend, size_bytes: u64, source: VolumeSource) -> VolumeWish {
    let wish = wish(size_bytes, source);
    pool.volume_create(&wish, &mut no_progress()).unwrap_or_else(|fault| panic!("{wish:?}: {fault:?}"));
    wish
}

fn write(pool: &dyn Backend, wish: &VolumeWish, command: &str) {
    let (disk, _) = opener(&pool.volume_attach(wish.id).unwrap()).unwrap();
    run_program("qemu-io", &["-f", "raw", "-c", command, &disk]);
}

type Case = fn(&CephLab);

#[test]
fn a_real_cluster() {
    let dir = scratch();
    let lab = start(&dir);
    let cases: &[(&str, Case)] = &[
        ("suite", |lab| suite::run_with(open(&setup_of(lab.pool("direct"))), "ceph", opener)),
        ("suite in a worker", |lab| {
            let through = Through::start(setup_of(lab.pool("through")), trial(None));
            suite::run_with(through, "ceph, worker process", opener);
        }),
        ("bad input", cases::bad_input),
        ("foreign pools", cases::foreign),
        ("the key shows nowhere", cases::secrets),
        ("open images", cases::in_use),
        ("protected snapshots", cases::protected),
        ("flatten", cases::flatten),
        ("what pools there are", cases::explored),
        ("nearly full, then deleted under us", cases::under_us),
        ("large and deep volumes go in the background", cases::background),
        ("a full pool", cases::full),
        ("kill -9 at each step", kill::everywhere),
        ("kill -9 in a copy", kill::in_a_copy),
    ];
    let mut failed = Vec::new();
    for (name, case) in cases {
        let began = Instant::now();
        let good = catch_unwind(AssertUnwindSafe(|| case(&lab))).is_ok();
        let word = if good { "passed" } else { "FAILED" };
        eprintln!("ceph | {name} | {word} | {} ms", began.elapsed().as_millis());
        if !good {
            failed.push(*name);
        }
    }
    assert!(failed.is_empty(), "{failed:?} failed");
}

#[test]
fn a_frozen_cluster() {
    let dir = scratch();
    let mut lab = start(&dir);
    stall::every_operation(&lab);
    stall::the_worker_lives_on(&mut lab);
}
