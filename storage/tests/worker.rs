//! The worker and its owner: deadlines, abandoning, recovery, and that the real process lives and dies as it should.

#![allow(clippy::unwrap_used)]

mod pools;

use bytes::Bytes;
use pools::*;
use quantix_model::FaultCode;
use quantix_model::volume::{Allocation, VolumeFormat, VolumeSource};
use quantix_storage::backend::*;
use quantix_storage::fake;
use quantix_storage::worker::{FakeLauncher, Limits, PoolWorker, ProcessLauncher, WorkerState};
use rustix::process::{Pid, Signal, kill_process};
use std::sync::Arc;
use std::time::{Duration, Instant};

fn impatient() -> Limits {
    Limits { start: Duration::from_millis(300), patience_max: Duration::from_millis(300), ..quick() }
}

fn signal(worker_id: u32, signal: Signal) {
    kill_process(Pid::from_raw(worker_id as i32).unwrap(), signal).unwrap();
}

fn is_alive(worker_id: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{worker_id}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[tokio::test]
async fn a_stalled_pool_refuses_at_once_and_comes_back_by_itself() {
    let launcher = FakeLauncher::new();
    let id = pool_id();
    let pool = launcher.pool(id);
    let worker = PoolWorker::start(fake::setup(id), launcher.clone(), impatient());
    worker.info().await.unwrap();
    pool.stall(true);
    let fault = worker.info().await.unwrap_err();
    assert_eq!(fault.code, FaultCode::PoolStalled);
    assert!(fault.message.contains("looking at the pool") && fault.retryable(), "{fault}");
    let status = wait_for(&worker, "a stall", |s| s.state == WorkerState::Stalled).await;
    let began = Instant::now();
    for _ in 0..100 {
        assert_eq!(code(worker.info().await), FaultCode::PoolStalled);
    }
    assert!(began.elapsed() < Duration::from_millis(250), "refusals took {:?}", began.elapsed());
    assert!(worker.status().since == status.since, "the stall has one beginning");
    pool.stall(false);
    ready(&worker).await;
    worker.info().await.unwrap();
    wait_for(&worker, "abandoned ones gone", |s| s.abandoned == 0).await;
}

#[tokio::test]
async fn waiting_calls_are_refused_with_the_stalled_one() {
    let launcher = FakeLauncher::new();
    let id = pool_id();
    let worker = PoolWorker::start(fake::setup(id), launcher.clone(), impatient());
    ready(&worker).await;
    launcher.pool(id).stall(true);
    let began = Instant::now();
    let calls = (0..20).map(|_| worker.info());
    for answer in futures::future::join_all(calls).await {
        assert_eq!(code(answer), FaultCode::PoolStalled);
    }
    assert!(began.elapsed() < Duration::from_secs(2), "one deadline for all, not one each");
}

#[tokio::test]
async fn workers_left_in_the_kernel_are_counted_and_capped() {
    let launcher = FakeLauncher::new();
    let id = pool_id();
    let pool = launcher.pool(id);
    let worker = PoolWorker::start(fake::setup(id), launcher.clone(), impatient());
    ready(&worker).await;
    pool.killable(false);
    pool.stall(true);
    assert_eq!(code(worker.info().await), FaultCode::PoolStalled);
    let status = wait_for(&worker, "the cap", |s| s.abandoned == 3).await;
    assert!(status.fault.unwrap().cause.contains("3 worker"));
    let launches = launcher.launches();
    for _ in 0..20 {
        worker.retry();
        assert_eq!(code(worker.info().await), FaultCode::PoolStalled);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(launcher.launches(), launches, "started more than the cap allows");
    pool.stall(false);
    wait_for(&worker, "recovery", |s| s.state == WorkerState::Ready && s.abandoned == 0).await;
    worker.info().await.unwrap();
}

#[tokio::test]
async fn one_stalled_pool_does_not_touch_another() {
    let launcher = FakeLauncher::new();
    let (sick, well) = (pool_id(), pool_id());
    let sick_worker = PoolWorker::start(fake::setup(sick), launcher.clone(), impatient());
    let well_worker = PoolWorker::start(fake::setup(well), launcher.clone(), impatient());
    ready(&sick_worker).await;
    launcher.pool(sick).stall(true);
    let sick_call = tokio::spawn(async move { sick_worker.info().await });
    let began = Instant::now();
    for _ in 0..50 {
        well_worker.info().await.unwrap();
    }
    assert!(began.elapsed() < Duration::from_secs(2));
    assert_eq!(code(sick_call.await.unwrap()), FaultCode::PoolStalled);
}

#[tokio::test]
async fn a_pool_that_cannot_start_says_why_and_is_tried_again() {
    let launcher = FakeLauncher::new();
    let id = pool_id();
    let pool = launcher.pool(id);
    let why = quantix_model::Fault::new(FaultCode::PoolPathInvalid, "No such folder.", "Make it.");
    pool.fail(Some(why.clone()));
    let worker = PoolWorker::start(fake::setup(id), launcher, quick());
    assert_eq!(worker.info().await.unwrap_err(), why);
    let status = wait_for(&worker, "a failure", |s| s.state == WorkerState::Failed).await;
    assert_eq!(status.fault, Some(why));
    pool.fail(None);
    ready(&worker).await;
    worker.info().await.unwrap();
}

#[tokio::test]
async fn too_many_waiting_calls_are_refused_as_busy() {
    let launcher = FakeLauncher::new();
    let id = pool_id();
    let limits = Limits { waiting_max: 4, patience_max: Duration::from_secs(5), ..quick() };
    let worker = PoolWorker::start(fake::setup(id), launcher.clone(), limits);
    ready(&worker).await;
    launcher.pool(id).stall(true);
    let calls: Vec<_> = (0..30)
        .map(|_| {
            let worker = worker.clone();
            tokio::spawn(async move { worker.info().await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(100)).await;
    launcher.pool(id).stall(false);
    let mut busy = 0;
    for call in calls {
        match call.await.unwrap() {
            Ok(_) => {}
            Err(fault) => {
                assert_eq!(fault.code, FaultCode::Busy, "{fault}");
                busy += 1;
            }
        }
    }
    assert!((1..30).contains(&busy), "{busy} refused");
}

#[tokio::test]
async fn a_killed_process_is_replaced() {
    let dir = scratch();
    let worker = PoolWorker::start(setup(&dir.path().join("pool")), trial(None), quick());
    let first = ready(&worker).await.worker_id;
    signal(first, Signal::KILL);
    let second =
        wait_for(&worker, "a new worker", |s| s.state == WorkerState::Ready && s.worker_id != first).await;
    assert!(is_alive(second.worker_id) && !is_alive(first));
    worker.info().await.unwrap();
    worker.stop().await;
    assert!(!is_alive(second.worker_id));
    assert_eq!(code(worker.info().await), FaultCode::PoolNotReady);
}

#[tokio::test]
async fn why_a_process_ended_is_told_in_its_own_words() {
    let dir = scratch();
    let worker = PoolWorker::start(setup(&dir.path().join("pool")), trial(None), quick());
    let id = ready(&worker).await.worker_id;
    signal(id, Signal::STOP);
    let kill = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        signal(id, Signal::KILL);
    };
    let (answer, ()) = tokio::join!(worker.info(), kill);
    let fault = answer.unwrap_err();
    assert_eq!(fault.code, FaultCode::PoolNotReady);
    assert_eq!(fault.cause, "signal: 9 (SIGKILL)");

    // A program that knows nothing of pools stands for a worker that breaks.
    let broken = ProcessLauncher::new("cat", vec!["/nobody/is/here".into()]).unwrap();
    let worker = PoolWorker::start(setup(&dir.path().join("other")), Arc::new(broken), quick());
    let fault = wait_for(&worker, "a failure", |s| s.state == WorkerState::Failed).await.fault.unwrap();
    assert_eq!(fault.cause, "exit status: 1; cat: /nobody/is/here: No such file or directory");
}

#[tokio::test]
async fn a_frozen_process_is_killed_and_replaced() {
    let dir = scratch();
    let limits = Limits { patience_max: Duration::from_millis(500), ..quick() };
    let worker = PoolWorker::start(setup(&dir.path().join("pool")), trial(None), limits);
    let first = ready(&worker).await.worker_id;
    signal(first, Signal::STOP);
    assert_eq!(code(worker.info().await), FaultCode::PoolStalled);
    wait_for(&worker, "a new worker", |s| s.state == WorkerState::Ready && s.worker_id != first).await;
    wait_for(&worker, "the frozen one gone", |s| s.abandoned == 0).await;
    assert!(!is_alive(first));
    worker.info().await.unwrap();
}

#[tokio::test]
async fn the_process_ends_with_its_last_handle() {
    let dir = scratch();
    let worker = PoolWorker::start(setup(&dir.path().join("pool")), trial(None), quick());
    let id = ready(&worker).await.worker_id;
    drop(worker);
    let gone = async {
        while is_alive(id) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.expect("the worker outlives its handles");
}

#[tokio::test]
async fn looking_goes_on_while_an_image_is_copied() {
    let dir = scratch();
    let worker = PoolWorker::start(setup(&dir.path().join("pool")), trial(None), quick());
    let disk = raw_disk(96 * MIB).iter().map(|b| b | 1).collect::<Vec<u8>>();
    let mut disk = disk;
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    let image = image_id();
    worker.upload_open(image, disk.len() as u64).await.unwrap();
    let mut at = 0;
    for piece in disk.chunks(MIB as usize) {
        at = worker.upload_write(image, at, Bytes::copy_from_slice(piece)).await.unwrap();
    }
    worker.upload_finish(image, at, None, None).await.unwrap();
    let wish = VolumeWish {
        id: volume_id(),
        size_bytes: 96 * MIB,
        format: VolumeFormat::Qcow2,
        allocation: Allocation::Thin,
        source: VolumeSource::Image { id: image, linked: false },
    };
    let (sender, progress) = tokio::sync::watch::channel(Progress::default());
    let making = tokio::spawn({
        let worker = worker.clone();
        async move { worker.volume_create(wish, Some(sender)).await }
    });
    let mut looked = 0;
    while !making.is_finished() {
        worker.info().await.unwrap();
        looked += 1;
    }
    making.await.unwrap().unwrap();
    assert!(looked >= 3, "looked {looked} times only");
    assert_eq!(progress.borrow().total_bytes, 96 * MIB);
}

#[tokio::test]
async fn memory_stays_flat_while_much_passes_through() {
    let dir = scratch();
    let worker = PoolWorker::start(setup(&dir.path().join("pool")), trial(None), quick());
    let id = ready(&worker).await.worker_id;
    let (image, size) = (image_id(), 256 * MIB);
    worker.upload_open(image, size).await.unwrap();
    let mut piece = vec![7; MIB as usize];
    piece[510..512].copy_from_slice(&[0x55, 0xaa]);
    let piece = Bytes::from(piece);
    let mut at = 0;
    while at < size {
        at = worker.upload_write(image, at, piece.clone()).await.unwrap();
    }
    worker.upload_finish(image, size, None, None).await.unwrap();
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find(|l| l.starts_with("VmHWM")).unwrap();
    let peak_kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    eprintln!("worker peak resident: {peak_kib} KiB");
    assert!(peak_kib < 32 << 10, "{line}");
}
