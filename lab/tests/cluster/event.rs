//! What happens is written down once and kept, and what is wrong is an alert for as long as it lasts.

use crate::wish;
use quantix_contract::quantix::alert::v1 as alert;
use quantix_contract::quantix::event::v1 as event;
use quantix_contract::quantix::host::v1::HostPhase;
use quantix_contract::quantix::pool::v1::PoolPhase;
use quantix_contract::quantix::vm::v1 as vm;
use quantix_lab::cluster::{Cluster, DEADLINE};
use quantix_lab::rig::until;
use quantix_model::FaultCode;

/// Kinds told of an object, oldest first.
async fn kinds(cluster: &Cluster, object_id: &str) -> Vec<String> {
    let request = event::ListEventsRequest { object_id: object_id.into(), ..Default::default() };
    let page = cluster.ok(cluster.client.events().list_events(request).await).into_owned();
    assert_eq!(page.total, page.events.len() as u64);
    page.events.into_iter().rev().map(|event| event.kind).collect()
}

/// Waits until the last kind told of an object is this one.
async fn told(cluster: &Cluster, object_id: &str, kind: &str) {
    until(&format!("{kind} is told"), DEADLINE, async || {
        kinds(cluster, object_id).await.iter().any(|k| k == kind).then_some(())
    })
    .await;
}

async fn alerts(cluster: &Cluster) -> Vec<alert::Alert> {
    let request = alert::ListAlertsRequest::default();
    cluster.ok(cluster.client.alerts().list_alerts(request).await).into_owned().alerts
}

async fn alert(cluster: &Cluster, rule: &str) -> alert::Alert {
    until(&format!("alert {rule}"), DEADLINE, async || {
        alerts(cluster).await.into_iter().find(|alert| alert.rule == rule)
    })
    .await
}

async fn no_alert(cluster: &Cluster) {
    until("no alert is left", DEADLINE, async || alerts(cluster).await.is_empty().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vm_that_was_stopped_behind_our_back_is_an_event() {
    let cluster = Cluster::start().await;
    let pool_id = cluster.pool("main").await;
    let made = cluster.vm(wish("web-1", &pool_id)).await;
    cluster.power(&made.id, vm::PowerVerb::POWER_VERB_START).await.unwrap();
    told(&cluster, &made.id, "vm.started").await;
    cluster.driver.crash(made.id.parse().unwrap());
    told(&cluster, &made.id, "vm.crashed").await;
    let kinds = kinds(&cluster, &made.id).await;
    assert_eq!(kinds.iter().filter(|k| *k == "vm.started").count(), 1, "{kinds:?}");
    assert_eq!(kinds.iter().filter(|k| *k == "task.done").count(), 2, "{kinds:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_host_alerts_and_is_told_once_also_over_a_restart() {
    let mut cluster = Cluster::start().await;
    let host = cluster.host_ready().await;
    let pool_id = cluster.pool("main").await;
    told(&cluster, &host.id, "host.ready").await;
    told(&cluster, &pool_id, "pool.ready").await;
    cluster.kill_node();
    cluster.host_in(HostPhase::HOST_PHASE_DISCONNECTED).await;
    let silent = alert(&cluster, "host.silent").await;
    assert_eq!((silent.object_id.as_str(), silent.object_kind.as_str()), (host.id.as_str(), "host"));
    told(&cluster, &host.id, "host.disconnected").await;

    let seen = alert::AcknowledgeAlertRequest { id: silent.id.clone(), ..Default::default() };
    let seen = cluster.ok(cluster.client.alerts().acknowledge_alert(seen).await).into_owned();
    assert_eq!(seen.acknowledged_by, "admin");

    cluster.kill_vdc();
    cluster.start_vdc().await;
    // Until the host had its time to speak nothing is known, and an alert of before stays with who took it.
    let kept = alert(&cluster, "host.silent").await;
    assert_eq!((kept.id, kept.acknowledged_by.as_str()), (silent.id, "admin"));

    cluster.start_node().await;
    cluster.host_ready().await;
    cluster.pool_in(&pool_id, PoolPhase::POOL_PHASE_READY).await;
    no_alert(&cluster).await;
    told(&cluster, &host.id, "alert.cleared").await;
    let kinds = kinds(&cluster, &host.id).await;
    assert_eq!(kinds.iter().filter(|k| *k == "host.disconnected").count(), 1, "{kinds:?}");
    assert_eq!(kinds.iter().filter(|k| *k == "alert.raised").count(), 1, "{kinds:?}");
    let unknown = alert::AcknowledgeAlertRequest { id: silent_id(), ..Default::default() };
    let fault = cluster.refused(cluster.client.alerts().acknowledge_alert(unknown).await);
    assert_eq!(fault.code, FaultCode::NotFound);
}

fn silent_id() -> String {
    "00000000-0000-7000-8000-00000000000a".into()
}
