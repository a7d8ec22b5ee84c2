//! What pools could be made of, asked of a host through the vDC.

use quantix_contract::quantix::host::v1 as host;
use quantix_contract::quantix::pool::v1 as pool;
use quantix_lab::cluster::Cluster;
use quantix_model::FaultCode;
use quantix_model::id::PoolId;
use quantix_storage::explore::{CephPoolSeen, Export, Exports, Found, Lun, Target};
use std::time::{Duration, Instant};

const TARGET: &str = "iqn.2026-01.org.example:vms";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_types_a_name() {
    let cluster = Cluster::start().await;
    let hosts = cluster.client.hosts().list_hosts(host::ListHostsRequest::default()).await;
    let host_id = cluster.ok(hosts).into_owned().hosts[0].id.clone();
    let pools = cluster.client.pools();
    // Who answers questions on a fake host: the pool without an id.
    let fake = cluster.launcher.pool(PoolId(Default::default()));
    let portal = |portal: &str, target: &str| pool::DiscoverTargetsRequest {
        host_id: host_id.clone(),
        portal: portal.into(),
        target: target.into(),
        chap: pool::Chap { user: "u".into(), password: "hush-hush-hush".into(), ..Default::default() }.into(),
        ..Default::default()
    };
    let fault = cluster.refused(pools.discover_targets(portal("192.0.2.1", "")).await);
    assert_eq!((fault.code, fault.host.as_str()), (FaultCode::PoolServerUnreachable, "host-1"), "{fault}");
    let lun = Lun { number: 3, size_bytes: 1 << 40, wwid: "naa.6".into(), ..Default::default() };
    let target = Target { name: TARGET.into(), portals: vec!["192.0.2.1:3260".into()], luns: vec![lun] };
    fake.find(Found::Targets(vec![target]));
    let found = cluster.ok(pools.discover_targets(portal("192.0.2.1", TARGET)).await).into_owned();
    assert_eq!((found.targets[0].name.as_str(), found.targets[0].luns[0].number), (TARGET, 3));
    assert!(found.host == "host-1" && found.observed_at.is_set(), "every value has an age");

    let server = |server: &str| pool::ListExportsRequest {
        host_id: host_id.clone(),
        server: server.into(),
        ..Default::default()
    };
    let export = Export { path: "/srv/vms".into(), clients: "*".into() };
    fake.find(Found::Exports(Exports { exports: vec![export], note: "x".into() }));
    let found = cluster.ok(pools.list_exports(server("nas")).await).into_owned();
    assert_eq!((found.exports[0].path.as_str(), found.note.as_str()), ("/srv/vms", "x"));
    fake.find(Found::CephPools(vec![CephPoolSeen { name: "vms".into(), ..Default::default() }]));
    let cluster_of = pool::ListCephPoolsRequest {
        host_id: host_id.clone(),
        monitors: vec!["192.0.2.1".into()],
        user: "quantix".into(),
        key: "AQ==".into(),
        ..Default::default()
    };
    let found = cluster.ok(pools.list_ceph_pools(cluster_of).await).into_owned();
    assert_eq!(found.pools[0].name, "vms");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn questions_nobody_can_ask() {
    let cluster = Cluster::start().await;
    let hosts = cluster.client.hosts().list_hosts(host::ListHostsRequest::default()).await;
    let host_id = cluster.ok(hosts).into_owned().hosts[0].id.clone();
    let pools = cluster.client.pools();
    let fake = cluster.launcher.pool(PoolId(Default::default()));
    let portal = |portal: &str, target: &str| pool::DiscoverTargetsRequest {
        host_id: host_id.clone(),
        portal: portal.into(),
        target: target.into(),
        ..Default::default()
    };
    let server = |server: &str| pool::ListExportsRequest {
        host_id: host_id.clone(),
        server: server.into(),
        ..Default::default()
    };
    // What would go to a program of the host is checked first.
    for bad in ["", "-e", "nas;reboot", "nas /x", "../x"] {
        let fault = cluster.refused(pools.list_exports(server(bad)).await);
        assert_eq!(
            (fault.code, fault.field.as_str()),
            (FaultCode::InvalidArgument, "spec.nfs.server"),
            "{bad}"
        );
    }
    for (bad, target) in
        [("-p", ""), ("192.0.2.1:x", ""), ("192.0.2.1", "--logout"), ("192.0.2.1", "iqn.x y")]
    {
        let fault = cluster.refused(pools.discover_targets(portal(bad, target)).await);
        assert_eq!(fault.code, FaultCode::InvalidArgument, "{bad} {target}");
    }
    let nobody = pool::ListExportsRequest { server: "nas".into(), ..Default::default() };
    assert_eq!(cluster.refused(pools.list_exports(nobody).await).field, "host_id");

    // A server that is silent holds up its own question only; a second one is told so.
    fake.stall(true);
    let slow = cluster.client.pools();
    let (first, (second, took)) = tokio::join!(slow.list_exports(server("nas")), async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let began = Instant::now();
        let second = cluster.refused(pools.list_exports(server("nas")).await);
        fake.stall(false);
        (second, began.elapsed())
    });
    assert_eq!(second.code, FaultCode::Busy, "{second}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    drop(first);
}
