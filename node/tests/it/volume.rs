//! Volumes through the whole daemon: growing them, their snapshots, and a pool that must be asked again.

use crate::vdc::TestVdc;
use crate::yard::{Machine, furnish, pool_id, pool_intent, power, volume_id, volume_request};
use quantix_client::HostClient;
use quantix_contract::quantix::node::v1 as node;
use quantix_contract::twin;
use quantix_model::FaultCode;
use quantix_model::pool::PoolHealth;
use quantix_model::vm::PowerVerb;
use std::time::{Duration, Instant};

pub fn grow(size_bytes: u64) -> node::GrowVolumeRequest {
    node::GrowVolumeRequest {
        pool_id: pool_id().to_string(),
        volume_id: volume_id().to_string(),
        size_bytes,
        ..Default::default()
    }
}

pub fn snapshot(name: &str) -> node::SnapshotRequest {
    node::SnapshotRequest {
        pool_id: pool_id().to_string(),
        volume_id: volume_id().to_string(),
        name: name.into(),
        ..Default::default()
    }
}

async fn names(line: &HostClient) -> Vec<String> {
    let all = line.list_snapshots(snapshot("")).await.unwrap();
    all.snapshots.into_iter().map(|s| s.name).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_grows_and_never_shrinks() {
    let (machine, vdc) = (Machine::new(), TestVdc::start().await);
    let (daemon, line) = machine.enrol(&vdc).await;
    line.apply_pool(pool_intent(1)).await.unwrap();
    line.create_volume(volume_request()).await.unwrap();
    assert_eq!(line.grow_volume(grow(2 << 30)).await.unwrap().size_bytes, 2 << 30);
    line.grow_volume(grow(2 << 30)).await.expect("the same again");
    assert_eq!(line.grow_volume(grow(1 << 30)).await.unwrap_err().code, FaultCode::VolumeCannotShrink);
    assert_eq!(line.grow_volume(grow(7)).await.unwrap_err().field, "size_bytes");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_live_their_life() {
    let (machine, vdc) = (Machine::new(), TestVdc::start().await);
    let (daemon, line) = machine.enrol(&vdc).await;
    furnish(&line).await;
    line.create_snapshot(snapshot("before")).await.unwrap();
    line.create_snapshot(snapshot("before")).await.expect("the same again");
    line.create_snapshot(snapshot("after")).await.unwrap();
    assert_eq!(names(&line).await, ["before", "after"]);
    assert_eq!(line.revert_snapshot(snapshot("before")).await.unwrap().name, "before");
    assert_eq!(line.create_snapshot(snapshot("Bad name")).await.unwrap_err().field, "name");
    let fault = line.revert_snapshot(snapshot("none")).await.unwrap_err();
    assert_eq!(fault.code, FaultCode::SnapshotMissing);
    line.power_vm(power(PowerVerb::Start)).await.unwrap();
    for refused in [
        line.create_snapshot(snapshot("live")).await.map(drop),
        line.revert_snapshot(snapshot("before")).await.map(drop),
        line.delete_snapshot(snapshot("before")).await.map(drop),
    ] {
        let fault = refused.unwrap_err();
        assert_eq!(fault.code, FaultCode::VolumeInUse, "{fault}");
        assert!(fault.message.contains("web-1"), "{fault}");
    }
    // Where the pool can do it, only going back needs the VM to be off.
    machine.launcher.pool(pool_id()).can(|c| c.snapshots_running = true);
    let request = node::RetryPoolRequest { pool_id: pool_id().to_string(), ..Default::default() };
    let report = line.retry_pool(request).await.unwrap();
    assert!(report.capabilities.as_option().is_some_and(|c| c.snapshots_running));
    line.create_snapshot(snapshot("live")).await.unwrap();
    assert!(line.delete_snapshot(snapshot("live")).await.unwrap().existed);
    let fault = line.revert_snapshot(snapshot("before")).await.unwrap_err();
    assert_eq!(fault.code, FaultCode::VolumeInUse);
    line.power_vm(power(PowerVerb::ForceStop)).await.unwrap();
    line.revert_snapshot(snapshot("before")).await.expect("it is off");
    assert!(line.delete_snapshot(snapshot("before")).await.unwrap().existed);
    assert!(!line.delete_snapshot(snapshot("before")).await.unwrap().existed);
    assert_eq!(names(&line).await, ["after"]);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_came_back_is_found_at_once() {
    let mut machine = Machine::new();
    machine.backoff = Duration::from_secs(60);
    let vdc = TestVdc::start().await;
    let (daemon, line) = machine.enrol(&vdc).await;
    line.apply_pool(pool_intent(1)).await.unwrap();
    let pool = machine.launcher.pool(pool_id());
    pool.stall(true);
    let request = || node::RetryPoolRequest { pool_id: pool_id().to_string(), ..Default::default() };
    let began = Instant::now();
    let report = line.retry_pool(request()).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(twin::read::<PoolHealth>("health", report.health).unwrap(), PoolHealth::Error);
    pool.stall(false);
    let report = line.retry_pool(request()).await.unwrap();
    assert_eq!(twin::read::<PoolHealth>("health", report.health).unwrap(), PoolHealth::Healthy);
    daemon.stop().await;
}
