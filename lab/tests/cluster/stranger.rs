//! Hosts that are not who they say, that say what cannot be, or that say it far too often.

use crate::wish;
use quantix_client::VdcClient;
use quantix_client::tls::host_name;
use quantix_contract::quantix::alert::v1 as alert;
use quantix_contract::quantix::event::v1 as event;
use quantix_contract::quantix::host::v1 as host;
use quantix_contract::quantix::node::v1 as node;
use quantix_contract::quantix::pool::v1 as pool;
use quantix_contract::quantix::vm::v1 as vm;
use quantix_contract::time;
use quantix_lab::cluster::{Cluster, DEADLINE};
use quantix_lab::rig::until;
use quantix_model::id::HostId;
use quantix_model::{Fault, FaultCode, UnixMs};
use rcgen::{CertificateParams, Issuer, KeyPair};

async fn host_now(cluster: &Cluster) -> Option<host::Host> {
    let list = cluster.client.hosts().list_hosts(host::ListHostsRequest::default()).await;
    list.ok()?.into_owned().hosts.into_iter().next()
}

/// The alert of this rule, if there is one.
pub async fn alert_of(cluster: &Cluster, rule: &str) -> Option<alert::Alert> {
    let list = cluster.client.alerts().list_alerts(alert::ListAlertsRequest::default()).await;
    list.ok()?.into_owned().alerts.into_iter().find(|alert| alert.rule == rule)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_machines_with_one_identity() {
    let mut cluster = Cluster::apart().await;
    // A busy machine must not make one of the two seem to have gone.
    cluster.config.beat_interval_ms = 1_000;
    cluster.kill_vdc();
    cluster.start_vdc().await;
    let token = cluster.host_token().await;
    let probed = cluster.probe(&cluster.host_url(), &token).await.expect("the probe goes well");
    cluster.ok(cluster.add_host(&probed, "host-1").await);
    let pool_id = cluster.pool("main").await;
    let made = cluster.vm(wish("web-1", &pool_id)).await;
    // A daemon that is started anew is no second machine.
    cluster.kill_node();
    cluster.start_node().await;
    let ready = cluster.host_ready().await;
    cluster.powered(&made.id, vm::PowerState::POWER_STATE_OFF).await;
    assert!(alert_of(&cluster, "host.cloned").await.is_none());

    cluster.copy_node().await;
    let seen = until("it is noticed", DEADLINE, async || {
        let seen = host_now(&cluster).await?;
        let fault = Fault::from(seen.fault.as_option()?);
        (fault.code == FaultCode::HostCloned).then_some((seen, fault))
    })
    .await;
    assert_eq!(seen.0.phase, host::HostPhase::HOST_PHASE_DEGRADED);
    assert!(seen.1.message.contains("Two machines report as host-1, both from 127.0.0.1"), "{}", seen.1);
    assert!(seen.1.remedy.contains("add it as a host of its own"), "{:?}", seen.1);
    let raised = until("somebody is told", DEADLINE, async || alert_of(&cluster, "host.cloned").await).await;
    assert!(raised.message.contains("127.0.0.1"), "{raised:?}");
    let filter = event::ListEventsRequest { filter: "Two machines".into(), ..Default::default() };
    let told = until("it stands in the events", DEADLINE, async || {
        let events = cluster.client.events().list_events(filter.clone()).await.ok()?.into_owned().events;
        events.into_iter().find(|event| event.kind == "alert.raised")
    });
    assert!(told.await.message.contains("host-1"));

    // Nobody knows which of the two would do it.
    let fault = cluster.refused(cluster.power(&made.id, vm::PowerVerb::POWER_VERB_START).await);
    assert_eq!((fault.code, fault.host.as_str()), (FaultCode::HostCloned, "host-1"), "{fault}");
    let fault = cluster.refused(cluster.client.vms().create_vm(wish("web-2", &pool_id)).await);
    assert!(fault.reasons[0].reason.contains("Two machines"), "{fault:?}");
    let pool = Cluster::pool_wish("other", "/data/other", &ready.id);
    let pushed = cluster.ok(cluster.client.pools().create_pool(pool).await).into_owned();
    assert_eq!(cluster.task_failed(&pushed.task_id).await.code, FaultCode::HostCloned);

    cluster.kill_copy();
    cluster.host_ready().await;
    until("the alert is over", DEADLINE, async || {
        alert_of(&cluster, "host.cloned").await.is_none().then_some(())
    })
    .await;
    let started = cluster.ok(cluster.power(&made.id, vm::PowerVerb::POWER_VERB_START).await);
    cluster.task_done(&started.task_id).await;
    cluster.powered(&made.id, vm::PowerState::POWER_STATE_RUNNING).await;
    // What was asked for meanwhile comes with the beats.
    let other = pushed.pool.as_option().expect("a pool").id.clone();
    cluster.pool_in(&other, pool::PoolPhase::POOL_PHASE_READY).await;
}

/// A whole beat that says nothing special.
fn beat(host_id: &str, sequence: u64) -> node::BeatRequest {
    node::BeatRequest {
        host_id: host_id.into(),
        boot_id: "by-hand".into(),
        sequence,
        observed_at: time::to_proto(now()).into(),
        vms_known: true,
        ..Default::default()
    }
}

fn now() -> UnixMs {
    quantix_control::clock::Clock::system().now()
}

async fn refused(line: &VdcClient, beat: node::BeatRequest) -> Fault {
    let fault = line.beat(beat).await.expect_err("it must be refused");
    assert!(!fault.message.is_empty() && !fault.remedy.is_empty(), "{fault:?}");
    fault
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_that_are_none_of_ours() {
    let cluster = Cluster::start().await;
    let id = cluster.host_ready().await.id;
    let (chain, key) = cluster.host_identity();
    let line = cluster.line_as(&chain, &key);
    let other = "00000000-0000-7000-8000-000000000000";
    let fault = refused(&line, beat(other, 1)).await;
    assert_eq!(fault.code, FaultCode::Forbidden, "{fault}");
    assert!(fault.message.contains("for itself only"), "{fault}");

    // Nobody at all, then a host of our CA that is not registered.
    let ca = std::fs::read_to_string(cluster.vdc_dir().join("pki/ca.pem")).expect("the vDC's CA");
    let core = cluster.vdc().core();
    let ca_key = core.pki.authorities().all()[0].key(&core.seal).expect("its key");
    let signed = |id: &str, from: i32, to: i32| {
        let id: HostId = id.parse().expect("an id");
        let mut params = CertificateParams::new([host_name(id)]).expect("a name");
        params.not_before = rcgen::date_time_ymd(from, 1, 1);
        params.not_after = rcgen::date_time_ymd(to, 1, 1);
        let own = KeyPair::from_pem(&key).expect("a key");
        let issuer = Issuer::from_ca_cert_pem(&ca, KeyPair::from_pem(&ca_key).expect("a key"));
        params.signed_by(&own, &issuer.expect("a CA")).expect("it signs").pem()
    };
    let stranger = cluster.line_as(&signed(other, 2020, 4000), &key);
    let fault = refused(&stranger, beat(other, 1)).await;
    assert_eq!(fault.code, FaultCode::Forbidden, "{fault}");
    let expired = cluster.line_as(&signed(&id, 2020, 2021), &key);
    let fault = refused(&expired, beat(&id, 1)).await;
    assert!(matches!(fault.code, FaultCode::HostUnreachable | FaultCode::TlsError), "{fault}");

    // Removed, and then replaced: the same machine under a new id; the old certificate is worth nothing.
    let request = host::RemoveHostRequest { id: id.clone(), ..Default::default() };
    cluster.ok(cluster.client.hosts().remove_host(request).await);
    let fault = refused(&line, beat(&id, 9)).await;
    assert_eq!(fault.code, FaultCode::Forbidden, "{fault}");
    let token = cluster.host_token().await;
    let probed = cluster.probe(&cluster.host_url(), &token).await.expect("it may come back");
    cluster.ok(cluster.add_host(&probed, "host-2").await);
    cluster.host_ready().await;
    let fault = refused(&line, beat(&id, 10)).await;
    assert_eq!(fault.code, FaultCode::Forbidden, "{fault}");
    let seen = cluster.host_ready().await;
    assert_eq!((seen.name.as_str(), seen.fault.is_set()), ("host-2", false));
}

/// A report of a pool with this much in all and in use.
fn report(pool_id: &str, total_bytes: u64, used_bytes: u64) -> node::PoolReport {
    let capacity =
        pool::Capacity { total_bytes, used_bytes, available_bytes: used_bytes, ..Default::default() };
    node::PoolReport {
        pool_id: pool_id.into(),
        generation: 1,
        health: pool::PoolHealth::POOL_HEALTH_HEALTHY.into(),
        observed_at: time::to_proto(UnixMs(i64::MAX)).into(),
        since: time::to_proto(now()).into(),
        capacity: capacity.into(),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_that_say_what_cannot_be() {
    let mut cluster = Cluster::start().await;
    let pool_id = cluster.pool("main").await;
    let (chain, key) = cluster.host_identity();
    let id = cluster.host_ready().await.id;
    cluster.kill_node();
    let line = cluster.line_as(&chain, &key);

    // More used than there is, free space past the end, a look in the far future.
    let absurd = node::BeatRequest { pools: vec![report(&pool_id, 100, 500)], ..beat(&id, 1) };
    line.beat(absurd).await.expect("brought to sense");
    let request = pool::GetPoolRequest { id: pool_id.clone(), ..Default::default() };
    let seen = cluster.ok(cluster.client.pools().get_pool(request).await).into_owned();
    let capacity = seen.capacity.as_option().expect("a capacity");
    assert_eq!((capacity.total_bytes, capacity.used_bytes, capacity.available_bytes), (100, 100, 100));

    let huge = node::BeatRequest { pools: vec![report(&pool_id, u64::MAX, u64::MAX)], ..beat(&id, 2) };
    assert_eq!(refused(&line, huge).await.code, FaultCode::InvalidArgument);
    let long = node::BeatRequest { boot_id: "x".repeat(65), ..beat(&id, 3) };
    assert_eq!(refused(&line, long).await.code, FaultCode::InvalidArgument);
    let many = node::BeatRequest { pools: vec![report(&pool_id, 1, 1); 10_001], ..beat(&id, 4) };
    assert_eq!(refused(&line, many).await.code, FaultCode::InvalidArgument);

    // Figures that overflow, on top of a whole beat whose digest they name.
    let digest = b"one".to_vec();
    let whole = node::BeatRequest {
        pools: vec![report(&pool_id, 100, 50)],
        state_digest: digest.clone(),
        ..beat(&id, 5)
    };
    line.beat(whole).await.expect("a plain one");
    let figures = node::Figures {
        pool_age_ms: vec![i64::MIN],
        pool_used_bytes: vec![u64::MAX],
        pool_available_bytes: vec![u64::MAX],
        ..Default::default()
    };
    let moved = node::BeatRequest { figures: figures.into(), state_digest: digest, ..beat(&id, 6) };
    line.beat(moved).await.expect("brought to sense");

    // A clock that is a year ahead is told of; a pool nobody gave it is kept there and told of.
    let unknown = "00000000-0000-7000-8000-00000000000b";
    let ahead = UnixMs(now().0 + 365 * 24 * 3_600_000);
    let strange = node::BeatRequest {
        observed_at: time::to_proto(ahead).into(),
        pools: vec![report(&pool_id, 100, 50), report(unknown, 100, 50)],
        ..beat(&id, 7)
    };
    let answer = line.beat(strange).await.expect("it is taken");
    assert!(answer.released.is_empty(), "{answer:?}");
    for rule in ["host.clock", "host.pools"] {
        until(rule, DEADLINE, async || alert_of(&cluster, rule).await).await;
    }
    let list = cluster.client.pools().list_pools(pool::ListPoolsRequest::default()).await;
    assert_eq!(cluster.ok(list).into_owned().total, 1, "a beat makes no pool");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_beats_far_too_often_is_told_to_come_later() {
    let mut cluster = Cluster::start().await;
    let (chain, key) = cluster.host_identity();
    let id = cluster.host_ready().await.id;
    cluster.kill_node();
    let line = cluster.line_as(&chain, &key);
    line.beat(beat(&id, 1)).await.expect("the first");
    let flood = (2..1_000).map(|n| {
        let (line, id) = (line.clone(), id.clone());
        async move { line.beat(beat(&id, n)).await.err() }
    });
    let faults: Vec<Fault> = futures::future::join_all(flood).await.into_iter().flatten().collect();
    let told: Vec<&Fault> = faults.iter().filter(|fault| fault.retry_after_ms > 0).collect();
    assert!(told.len() > 100, "{} of {}", told.len(), faults.len());
    assert!(told.iter().all(|fault| fault.code == FaultCode::Busy), "{:?}", told[0]);
    // Everybody else is served, and it is heard again when it comes in time.
    cluster.ok(cluster.client.hosts().list_hosts(host::ListHostsRequest::default()).await);
    until("it is heard again", DEADLINE, async || line.beat(beat(&id, 2_000)).await.ok()).await;
    cluster.start_node().await;
    cluster.host_ready().await;
}
