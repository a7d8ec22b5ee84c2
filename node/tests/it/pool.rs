//! Pools through the whole daemon.

use crate::vdc::TestVdc;
use crate::yard::{
    Machine, delete_vm, furnish, line, pool_id, pool_intent, register, release_pool, until, vm_intent,
    volume_id, volume_request,
};
use quantix_contract::quantix::node::v1 as node;
use quantix_contract::quantix::pool::v1 as wire;
use quantix_contract::twin;
use quantix_model::pool::{IscsiSpec, PoolHealth, PoolSpec};
use quantix_model::{Fault, FaultCode};
use quantix_node::{Node, NodeOptions};
use quantix_storage::worker::Limits;
use std::time::{Duration, Instant};

fn health(report: &node::PoolReport) -> PoolHealth {
    twin::read("health", report.health).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_is_applied_used_and_released() {
    let (machine, vdc) = (Machine::new(), TestVdc::start().await);
    let (daemon, line) = machine.enrol(&vdc).await;
    let report = line.apply_pool(pool_intent(2)).await.unwrap();
    assert_eq!((health(&report), report.generation), (PoolHealth::Healthy, 2));
    assert!(report.capacity.is_set());
    assert_eq!(line.apply_pool(pool_intent(1)).await.unwrap_err().code, FaultCode::StaleGeneration);
    line.apply_pool(pool_intent(2)).await.expect("the same again");
    let made = line.create_volume(volume_request()).await.unwrap();
    assert_eq!(made.size_bytes, 1 << 30);
    line.create_volume(volume_request()).await.expect("the same again");
    let request = node::ListVolumesRequest { pool_id: pool_id().to_string(), ..Default::default() };
    assert_eq!(line.list_volumes(request).await.unwrap().volumes.len(), 1);
    let files =
        node::ListFilesRequest { pool_id: pool_id().to_string(), page_size: 10, ..Default::default() };
    let files = line.list_files(files).await.unwrap();
    assert!(files.total >= 1 && files.files.len() as u64 <= 10 && files.host == "host-1");
    let gone = node::DeleteVolumeRequest {
        pool_id: pool_id().to_string(),
        volume_id: volume_id().to_string(),
        ..Default::default()
    };
    assert!(line.delete_volume(gone.clone()).await.unwrap().existed);
    assert!(!line.delete_volume(gone).await.unwrap().existed);
    line.release_pool(release_pool(2)).await.unwrap();
    line.release_pool(release_pool(2)).await.expect("the same again");
    let fault = line.create_volume(volume_request()).await.unwrap_err();
    assert_eq!((fault.code, fault.host.as_str()), (FaultCode::PoolNotAssigned, "host-1"));
    daemon.stop().await;
}

/// A worker that hangs, and has not been found out yet: who asks hears so within a second, and nothing is given up.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_hears_of_a_silent_pool_within_a_second() {
    let (machine, vdc) = (Machine::new(), TestVdc::start().await);
    // Patient as in real life: five seconds pass before the worker counts as stalled.
    let options = NodeOptions { pool_limits: Limits::default(), ..machine.options() };
    let daemon = Node::start(options).await.unwrap();
    let completion = register(&daemon, &vdc).await;
    let line = line(&daemon, &vdc, &completion);
    line.apply_pool(pool_intent(1)).await.unwrap();
    let pool = machine.launcher.pool(pool_id());
    let files =
        || line.list_files(node::ListFilesRequest { pool_id: pool_id().to_string(), ..Default::default() });
    let volumes = || {
        line.list_volumes(node::ListVolumesRequest { pool_id: pool_id().to_string(), ..Default::default() })
    };
    files().await.unwrap();
    pool.stall(true);
    let began = Instant::now();
    let (files_fault, volumes_fault) = tokio::join!(files(), volumes());
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    for fault in [files_fault.unwrap_err(), volumes_fault.unwrap_err()] {
        assert_eq!((fault.code, fault.host.as_str()), (FaultCode::PoolStalled, "host-1"), "{fault}");
        assert!(fault.cause.contains("900 ms") && !fault.remedy.is_empty(), "{fault:?}");
    }
    pool.stall(false);
    let began = Instant::now();
    until("it answers again", async || files().await.ok()).await;
    volumes().await.expect("the same worker goes on");
    assert!(began.elapsed() < Duration::from_secs(1), "no new worker was needed: {:?}", began.elapsed());
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_with_a_vm_on_it_stays() {
    let (machine, vdc) = (Machine::new(), TestVdc::start().await);
    let (daemon, line) = machine.enrol(&vdc).await;
    furnish(&line).await;
    let fault = line.release_pool(release_pool(1)).await.unwrap_err();
    assert_eq!(fault.code, FaultCode::PoolInUse);
    assert!(fault.message.contains("web-1"), "{fault}");
    line.delete_vm(delete_vm(1)).await.unwrap();
    line.release_pool(release_pool(1)).await.unwrap();
    let fault = line.apply_vm(vm_intent(2)).await.unwrap_err();
    assert_eq!(fault.code, FaultCode::PoolNotAssigned);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_intents_are_refused_with_the_field() {
    let (machine, vdc) = (Machine::new(), TestVdc::start().await);
    let (daemon, line) = machine.enrol(&vdc).await;
    let mut bad = pool_intent(1);
    bad.spec = wire::PoolSpec::from(&quantix_model::pool::PoolSpec::local("/etc")).into();
    let fault = line.apply_pool(bad).await.unwrap_err();
    assert_eq!((fault.code, fault.field.as_str()), (FaultCode::PoolPathInvalid, "spec.local.path"));
    let mut bad = volume_request();
    bad.format = 9.into();
    line.apply_pool(pool_intent(1)).await.unwrap();
    assert_eq!(line.create_volume(bad).await.unwrap_err().field, "format");
    let files =
        node::ListFilesRequest { pool_id: pool_id().to_string(), path: "../..".into(), ..Default::default() };
    assert!(line.list_files(files).await.is_err());
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_pool_says_why_and_comes_back() {
    let (machine, vdc) = (Machine::new(), TestVdc::start().await);
    let (daemon, line) = machine.enrol(&vdc).await;
    let pool = machine.launcher.pool(pool_id());
    let broken = quantix_model::Fault::new(FaultCode::PoolReadOnly, "The pool is read-only.", "Mount it.");
    pool.fail(Some(broken.because("EROFS")));
    let report = line.apply_pool(pool_intent(1)).await.unwrap();
    let fault = quantix_model::Fault::from(report.fault.as_option().expect("it says why"));
    assert_eq!((fault.code, fault.cause.as_str()), (FaultCode::PoolReadOnly, "EROFS"));
    pool.fail(None);
    until("healthy again", async || {
        let report = line.apply_pool(pool_intent(1)).await.unwrap();
        (health(&report) == PoolHealth::Healthy).then_some(())
    })
    .await;
    daemon.stop().await;
}

/// What all hosts share is made by the one that has leave, and leave is good for one attempt.
#[tokio::test(flavor = "multi_thread")]
async fn leave_to_make_a_shared_pool_ends_with_the_attempt() {
    let (machine, vdc) = (Machine::new(), TestVdc::start().await);
    let (daemon, line) = machine.enrol(&vdc).await;
    let pool = machine.launcher.pool(pool_id());
    let code = |report: &node::PoolReport| {
        let fault = report.fault.as_option().map(quantix_model::Fault::from);
        (health(report), fault.map(|fault| fault.code))
    };
    let apply = async |may_make: bool| line.apply_pool(lun_intent(may_make)).await.unwrap();
    let missing = (PoolHealth::Error, Some(FaultCode::PoolDeviceMissing));
    assert_eq!(code(&apply(false).await), missing, "it waits for its turn");
    let broken = Fault::new(FaultCode::PoolAuthFailed, "Wrong password.", "Give the right one.");
    pool.fail(Some(broken));
    assert_eq!(code(&apply(true).await), (PoolHealth::Error, Some(FaultCode::PoolAuthFailed)));
    pool.fail(None);
    // It tries again by itself, but may not make anything: another host may have leave by now.
    vdc.beat_that("it looks again", |b| b.pools.iter().any(|p| code(p) == missing)).await;
    assert_eq!(code(&apply(false).await), missing);
    assert_eq!(code(&apply(true).await), (PoolHealth::Healthy, None));
    assert_eq!(code(&apply(false).await), (PoolHealth::Healthy, None), "what is made is there for all");
    daemon.stop().await;
}

fn lun_intent(may_make: bool) -> node::PoolIntent {
    let spec = PoolSpec::Iscsi(IscsiSpec {
        portal: "192.0.2.1".into(),
        target: "iqn.2026-01.org.example:vms".into(),
        lun: 0,
        chap: None,
        mutual_chap: None,
        volume_group: "vms".into(),
        create_volume_group: true,
    });
    node::PoolIntent { spec: wire::PoolSpec::from(&spec).into(), may_make, ..pool_intent(1) }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_beats_answer_is_made_true() {
    let (machine, vdc) = (Machine::new(), TestVdc::start().await);
    let (daemon, line) = machine.enrol(&vdc).await;
    vdc.want_pools(vec![pool_intent(1)]);
    let healthy = |b: &node::BeatRequest| b.pools.iter().any(|p| health(p) == PoolHealth::Healthy);
    vdc.beat_that("the wanted pool is there", healthy).await;
    line.create_volume(volume_request()).await.unwrap();
    line.apply_vm(vm_intent(1)).await.unwrap();
    vdc.want_pools(vec![]);
    for _ in 0..3 {
        let beat = vdc.beat_that("a pool in use stays", |_| true).await;
        assert_eq!(beat.pools.len(), 1);
    }
    line.delete_vm(delete_vm(1)).await.unwrap();
    vdc.beat_that("let go of once unused", |b| b.pools.is_empty()).await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vdc_that_does_not_know_a_pool_does_not_take_it_away() {
    let (machine, vdc) = (Machine::new(), TestVdc::start().await);
    let (daemon, line) = machine.enrol(&vdc).await;
    line.apply_pool(pool_intent(1)).await.unwrap();
    vdc.forget_pools();
    for _ in 0..3 {
        let beat = vdc.beat_that("what nobody speaks of is kept", |_| true).await;
        assert_eq!(beat.pools.len(), 1);
    }
    line.create_volume(volume_request()).await.expect("and serves");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_does_not_know_of_a_new_pool_does_not_take_it_away() {
    // With a beat only every minute, the one sent on change is the one that must not undo the change.
    let (machine, vdc) = (Machine::new(), TestVdc::with_interval(60_000).await);
    let (daemon, line) = machine.enrol(&vdc).await;
    vdc.beat_that("the first", |_| true).await;
    vdc.want_pools(vec![pool_intent(1)]);
    line.apply_pool(pool_intent(1)).await.unwrap();
    let beat = vdc.beat_that("told at once", |b| !b.pools.is_empty()).await;
    assert_eq!(beat.pools[0].generation, 1);
    line.create_volume(volume_request()).await.expect("the pool is still there");
    daemon.stop().await;
}
