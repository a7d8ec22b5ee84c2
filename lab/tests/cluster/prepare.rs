//! What one host makes for all: by leave of the vDC, also long after the task that asked for it has ended.

use quantix_contract::quantix::pool::v1 as pool;
use quantix_contract::quantix::task::v1::TaskState;
use quantix_lab::cluster::Cluster;
use std::time::Duration;

/// Longer than any task waits for a pool.
const LONG: Duration = Duration::from_secs(150);

fn wish(host_id: &str) -> pool::CreatePoolRequest {
    let lun = pool::IscsiPool {
        portal: "192.0.2.1".into(),
        target: "iqn.2026-01.org.example:vms".into(),
        volume_group: "vms".into(),
        create_volume_group: true,
        ..Default::default()
    };
    pool::CreatePoolRequest {
        name: "lun".into(),
        spec: pool::PoolSpec { backend: Some(lun.into()), ..Default::default() }.into(),
        host_ids: vec![host_id.into()],
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lun_is_made_a_pool_whenever_a_host_comes() {
    let mut cluster = Cluster::start().await;
    let host = cluster.host_ready().await;
    let made = cluster.ok(cluster.client.pools().create_pool(wish(&host.id)).await).into_owned();
    cluster.task_done(&made.task_id).await;
    let id = made.pool.as_option().unwrap().id.clone();
    cluster.pool_in(&id, pool::PoolPhase::POOL_PHASE_READY).await;
    let gone = pool::DeletePoolRequest { id, ..Default::default() };
    let gone = cluster.ok(cluster.client.pools().delete_pool(gone).await).into_owned();
    cluster.task_done(&gone.task_id).await;

    cluster.kill_node();
    let made = cluster.ok(cluster.client.pools().create_pool(wish(&host.id)).await).into_owned();
    let id = made.pool.as_option().unwrap().id.clone();
    cluster.clock.advance(LONG);
    let end = cluster.task_end(&made.task_id).await;
    assert_eq!(end.state, TaskState::TASK_STATE_FAILED, "{end:?}");
    cluster.pool_in(&id, pool::PoolPhase::POOL_PHASE_ERROR).await;
    cluster.start_node().await;
    cluster.pool_in(&id, pool::PoolPhase::POOL_PHASE_READY).await;
}
