//! A cluster that says nothing: every call answers in bounds, nothing is stuck, and all goes on afterwards by itself.

use super::kill::programs_with;
use super::*;
use quantix_lab::ceph::Daemon;
use quantix_model::FaultCode;
use quantix_model::id::VolumeId;
use quantix_storage::error::Result;
use quantix_storage::worker::{PoolWorker, WorkerState};
use std::time::Duration;

/// Half a second beyond the longest a worker's owner waits for a call that only looks.
const LOOK_MAX: Duration = Duration::from_millis(5_500);
/// The same for changes.
const CHANGE_MAX: Duration = Duration::from_secs(30);

type Work = fn(&CephPool, VolumeId) -> Result<()>;

const OPERATIONS: &[(&str, Duration, Work)] = &[
    ("info", LOOK_MAX, |pool, _| pool.info().map(drop)),
    ("attach", LOOK_MAX, |pool, id| pool.volume_attach(id).map(drop)),
    ("list", LOOK_MAX, |pool, _| pool.volume_list().map(drop)),
    ("snapshot list", LOOK_MAX, |pool, id| pool.snapshot_list(id).map(drop)),
    ("create", CHANGE_MAX, |pool, _| create(pool, VolumeSource::Blank)),
    ("create linked", CHANGE_MAX, |pool, id| create(pool, of(id, true))),
    ("create full", CHANGE_MAX, |pool, id| create(pool, of(id, false))),
    ("grow", CHANGE_MAX, |pool, id| pool.volume_grow(id, 64 * MIB).map(drop)),
    ("delete", CHANGE_MAX, |pool, id| pool.volume_delete(id).map(drop)),
    ("snapshot create", CHANGE_MAX, |pool, id| pool.snapshot_create(id, "two").map(drop)),
    ("snapshot revert", CHANGE_MAX, |pool, id| pool.snapshot_revert(id, "one")),
    ("snapshot delete", CHANGE_MAX, |pool, id| pool.snapshot_delete(id, "one").map(drop)),
];

fn of(id: VolumeId, linked: bool) -> VolumeSource {
    VolumeSource::Volume { id, snapshot: String::new(), linked }
}

fn create(pool: &CephPool, source: VolumeSource) -> Result<()> {
    pool.volume_create(&wish(32 * MIB, source), &mut no_progress()).map(drop)
}

/// Each operation from a worker's view of its own, all at once.
pub fn every_operation(lab: &CephLab) {
    let setup = setup_of(lab.pool("frozen"));
    let pool = open(&setup);
    let mut ids = Vec::new();
    for _ in OPERATIONS {
        let wish = make(&pool, 32 * MIB, VolumeSource::Blank);
        pool.snapshot_create(wish.id, "one").unwrap();
        ids.push(wish.id);
    }
    let conf = format!("/proc/{}/fd/", std::process::id());
    for (daemon, wanted) in
        [(Daemon::Osd, FaultCode::PoolStalled), (Daemon::Mon, FaultCode::PoolServerUnreachable)]
    {
        let pools: Vec<CephPool> = OPERATIONS.iter().map(|_| open(&setup)).collect();
        lab.freeze(daemon);
        let answers = std::thread::scope(|scope| {
            let asked: Vec<_> = OPERATIONS
                .iter()
                .zip(pools.iter().zip(&ids))
                .map(|((_, _, work), (pool, id))| {
                    scope.spawn(move || {
                        let began = Instant::now();
                        let fault = work(pool, *id);
                        let took = began.elapsed();
                        // What follows is refused at once, for as long as the silence is remembered.
                        let began = Instant::now();
                        let again = pool.volume_attach(*id);
                        (fault, took, again, began.elapsed())
                    })
                })
                .collect();
            asked.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        lab.thaw(daemon);
        for ((name, bound, _), (answer, took, again, took_again)) in OPERATIONS.iter().zip(answers) {
            eprintln!("never hang | ceph | {daemon:?} frozen | {name} | {} ms", took.as_millis());
            let fault = answer.expect_err(name);
            assert_eq!(fault.code, wanted, "{name}: {fault:?}");
            assert!(took < *bound, "{name} answered after {took:?}");
            assert_eq!(again.expect_err(name).code, wanted);
            assert!(took_again < Duration::from_secs(1), "{name}: refused after {took_again:?}");
        }
        eventually("the cluster answers", || pool.info().is_ok());
        eventually("no program is left", || programs_with(&conf) == 0);
        eprintln!("never hang | ceph | {daemon:?} frozen | stuck processes after recovery | 0");
    }
    // Nothing was torn: everything there can be opened, and what was asked for can be done now.
    for volume in pool.volume_list().unwrap() {
        pool.volume_attach(volume.id).unwrap();
    }
    create(&pool, of(ids[0], true)).unwrap();
}

/// The worker process is the same before and after, also when the OSD was killed and came back.
pub fn the_worker_lives_on(lab: &mut CephLab) {
    let setup = setup_of(lab.pool("steady"));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let worker = PoolWorker::start(setup, trial(None), quick());
        let id = ready(&worker).await.worker_id;
        let volume = wish(MIB, VolumeSource::Blank);
        worker.volume_create(volume.clone(), None).await.unwrap();
        for killed in [false, true] {
            if killed {
                lab.kill(Daemon::Osd)
            } else {
                lab.freeze(Daemon::Osd)
            }
            let began = Instant::now();
            assert_eq!(code(worker.info().await), FaultCode::PoolStalled);
            assert!(began.elapsed() < LOOK_MAX, "told after {:?}", began.elapsed());
            assert_eq!(code(worker.volume_attach(volume.id).await), FaultCode::PoolStalled);
            if killed {
                lab.restart(Daemon::Osd)
            } else {
                lab.thaw(Daemon::Osd)
            }
            let began = Instant::now();
            while worker.info().await.is_err() {
                assert!(began.elapsed() < Duration::from_secs(60), "no recovery: {:?}", worker.status());
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            eprintln!(
                "never hang | ceph | OSD killed: {killed} | recovered after {} ms",
                began.elapsed().as_millis()
            );
            worker.volume_attach(volume.id).await.unwrap();
            let status = worker.status();
            assert_eq!((status.state, status.worker_id, status.abandoned), (WorkerState::Ready, id, 0));
        }
        worker.stop().await;
        let conf = format!("/proc/{id}/fd/");
        eventually("no program is left", || programs_with(&conf) == 0);
    });
}
