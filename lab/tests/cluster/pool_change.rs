//! A pool is changed while hosts have it: taken at once where somebody is there, and by those that were away when they
//! are back.

use crate::wish;
use quantix_contract::quantix::host::v1 as host;
use quantix_contract::quantix::pool::v1 as pool;
use quantix_contract::quantix::vm::v1 as vm;
use quantix_lab::cluster::{Cluster, DEADLINE};
use quantix_lab::rig::until;
use quantix_model::FaultCode;

const PASSWORD: &str = "hush-hush-hush";

fn spec(options: &str) -> pool::PoolSpec {
    let nfs = pool::NfsPool {
        server: "nas".into(),
        export: "/srv/vms".into(),
        options: options.into(),
        ..Default::default()
    };
    pool::PoolSpec { backend: Some(nfs.into()), ..Default::default() }
}

async fn make(cluster: &Cluster, spec: pool::PoolSpec) -> pool::Pool {
    let host = cluster.host_ready().await;
    let wish = pool::CreatePoolRequest {
        name: "main".into(),
        spec: spec.into(),
        host_ids: vec![host.id],
        ..Default::default()
    };
    let made = cluster.ok(cluster.client.pools().create_pool(wish).await).into_owned();
    cluster.task_done(&made.task_id).await;
    let id = made.pool.as_option().expect("a pool comes back").id.clone();
    cluster.pool_in(&id, pool::PoolPhase::POOL_PHASE_READY).await
}

fn change(there: &pool::Pool, options: &str) -> pool::UpdatePoolRequest {
    pool::UpdatePoolRequest {
        id: there.id.clone(),
        generation: there.generation,
        spec: spec(options).into(),
        ..Default::default()
    }
}

fn options(there: &pool::Pool) -> &str {
    match &there.spec.as_option().unwrap().backend {
        Some(pool::pool_spec::Backend::Nfs(nfs)) => &nfs.options,
        other => panic!("an NFS pool, not {other:?}"),
    }
}

/// The pool, once its only host has taken what it should be.
async fn taken(cluster: &Cluster, id: &str) -> pool::Pool {
    until("the host has taken the change", DEADLINE, async || {
        let request = pool::GetPoolRequest { id: id.into(), ..Default::default() };
        let seen = cluster.client.pools().get_pool(request).await.ok()?.into_owned();
        let row = &seen.host_statuses[0];
        (!row.is_behind && row.health == pool::PoolHealth::POOL_HEALTH_HEALTHY).then_some(seen)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_reaches_hosts_that_are_there_and_those_that_come_back() {
    let mut cluster = Cluster::start().await;
    let first = make(&cluster, spec("nconnect=2")).await;
    let made = cluster.vm(vm::CreateVmRequest { start: true, ..wish("web-1", &first.id) }).await;
    cluster.powered(&made.id, vm::PowerState::POWER_STATE_RUNNING).await;

    let asked =
        cluster.ok(cluster.client.pools().update_pool(change(&first, "nconnect=4")).await).into_owned();
    cluster.task_done(&asked.task_id).await;
    let second = taken(&cluster, &first.id).await;
    assert_eq!((options(&second), second.generation), ("nconnect=4", first.generation + 1));
    assert_eq!(second.host_statuses[0].generation, second.generation);
    cluster.powered(&made.id, vm::PowerState::POWER_STATE_RUNNING).await;

    // The same again, as when the answer got lost: nothing to do. Something else on what is no longer so: refused.
    let again =
        cluster.ok(cluster.client.pools().update_pool(change(&first, "nconnect=4")).await).into_owned();
    assert_eq!((again.task_id.as_str(), again.pool.as_option()), ("", Some(&second)));
    let fault = cluster.refused(cluster.client.pools().update_pool(change(&first, "nconnect=8")).await);
    assert_eq!((fault.code, fault.field.as_str()), (FaultCode::Conflict, "generation"), "{fault}");

    cluster.kill_node();
    cluster.host_in(host::HostPhase::HOST_PHASE_DISCONNECTED).await;
    let rename = pool::UpdatePoolRequest { name: "vms".into(), ..change(&second, "nconnect=8") };
    let asked = cluster.ok(cluster.client.pools().update_pool(rename).await).into_owned();
    cluster.task_done(&asked.task_id).await;
    let third = asked.pool.as_option().unwrap();
    assert!(third.host_statuses[0].is_behind && third.name == "vms", "{third:?}");
    cluster.start_node().await;
    let third = taken(&cluster, &first.id).await;
    assert_eq!((options(&third), third.host_statuses[0].generation), ("nconnect=8", third.generation));
    cluster.powered(&made.id, vm::PowerState::POWER_STATE_RUNNING).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_would_be_another_pool_is_refused_and_nothing_changes() {
    let cluster = Cluster::start().await;
    let there = make(&cluster, spec("")).await;
    let calls = cluster.client.pools();
    let moved = |change: fn(&mut pool::NfsPool)| {
        let mut nfs = pool::NfsPool { server: "nas".into(), export: "/srv/vms".into(), ..Default::default() };
        change(&mut nfs);
        let spec = pool::PoolSpec { backend: Some(nfs.into()), ..Default::default() };
        pool::UpdatePoolRequest { spec: spec.into(), ..self::change(&there, "") }
    };
    for (request, field) in [
        (moved(|nfs| nfs.server = "nas2".into()), "spec.nfs.server"),
        (moved(|nfs| nfs.export = "/srv/other".into()), "spec.nfs.export"),
        (moved(|nfs| nfs.version = pool::NfsVersion::NFS_VERSION_4_2.into()), "spec.nfs.version"),
        (change(&there, "exec"), "spec.nfs.options"),
        (pool::UpdatePoolRequest { name: "No Name!".into(), ..change(&there, "") }, "name"),
    ] {
        let fault = cluster.refused(calls.update_pool(request).await);
        assert_eq!((fault.code, fault.field.as_str()), (FaultCode::InvalidArgument, field), "{fault}");
    }
    // A name that another pool has.
    cluster.pool("other").await;
    let taken_name = pool::UpdatePoolRequest { name: "other".into(), ..change(&there, "hard") };
    assert_eq!(cluster.refused(calls.update_pool(taken_name).await).code, FaultCode::NameTaken);
    let seen = taken(&cluster, &there.id).await;
    assert_eq!((options(&seen), seen.generation, seen.name.as_str()), ("", there.generation, "main"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_is_left_out_stays_and_is_never_told() {
    let cluster = Cluster::start().await;
    let lun = |portal: &str, user: &str, password: &str| {
        let chap = pool::Chap { user: user.into(), password: password.into(), ..Default::default() };
        let lun = pool::IscsiPool {
            portal: portal.into(),
            target: "iqn.2026-01.org.example:vms".into(),
            lun: 1,
            chap: chap.into(),
            volume_group: "vms".into(),
            ..Default::default()
        };
        pool::PoolSpec { backend: Some(lun.into()), ..Default::default() }
    };
    let there = make(&cluster, lun("192.0.2.1", "u", PASSWORD)).await;
    let ask = |spec: pool::PoolSpec| pool::UpdatePoolRequest { spec: spec.into(), ..change(&there, "") };
    let calls = cluster.client.pools();
    let fault = cluster.refused(calls.update_pool(ask(lun("192.0.2.1", "v", ""))).await);
    assert_eq!(fault.field, "spec.iscsi.chap", "{fault}");
    let asked = cluster.ok(calls.update_pool(ask(lun("192.0.2.2", "u", ""))).await).into_owned();
    cluster.task_done(&asked.task_id).await;
    let seen = taken(&cluster, &there.id).await;
    assert!(!format!("{seen:?} {asked:?}").contains(PASSWORD));
    // The password that is given is the one that is there: no change, which only somebody who has it can tell.
    let same =
        pool::UpdatePoolRequest { generation: seen.generation, ..ask(lun("192.0.2.2", "u", PASSWORD)) };
    let same = cluster.ok(calls.update_pool(same).await).into_owned();
    assert_eq!(same.task_id, "");
}
