//! Backup while everything goes on, and a vDC whose time has gone back among hosts whose time has not.

use crate::blank_volume;
use crate::postgres::Postgres;
use crate::stranger::alert_of;
use crate::wish;
use quantix_contract::quantix::pool::v1 as pool;
use quantix_contract::quantix::vm::v1 as vm;
use quantix_contract::quantix::volume::v1 as volume;
use quantix_control::{Config, backup};
use quantix_lab::cluster::{Cluster, DEADLINE};
use quantix_lab::rig::until;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

async fn volume_names(cluster: &Cluster) -> Vec<String> {
    let request = volume::ListVolumesRequest { page_size: 500, ..Default::default() };
    let list = cluster.ok(cluster.client.volumes().list_volumes(request).await).into_owned();
    list.volumes.into_iter().map(|volume| volume.name).collect()
}

/// Makes a backup while volumes are made; three, `v-0` to `v-2`, were acknowledged before.
async fn backup_while_written_to(cluster: &Cluster, pool_id: &str) -> PathBuf {
    let stop = Arc::new(AtomicBool::new(false));
    let (client, pool, end) = (cluster.client.clone(), pool_id.to_owned(), Arc::clone(&stop));
    let (first, began) = tokio::sync::oneshot::channel();
    let writing = tokio::spawn(async move {
        let mut first = Some(first);
        for n in 0.. {
            if end.load(Ordering::Relaxed) {
                return n;
            }
            client.volumes().create_volume(blank_volume(&format!("v-{n}"), &pool)).await.expect("taken");
            if n == 2 {
                first.take().expect("once").send(()).expect("somebody waits");
            }
        }
        unreachable!("it is told to stop")
    });
    began.await.expect("three were acknowledged");
    let file = cluster.folder().join("state.backup");
    let now = cluster.clock.now();
    backup::make(&cluster.config, None, &file, now).await.expect("a backup while it serves");
    stop.store(true, Ordering::Relaxed);
    assert!(writing.await.expect("nothing failed") >= 3);
    file
}

/// `elsewhere`: the database of the vDC that is restored; none for SQLite.
async fn a_backup_comes_back_elsewhere(here: Option<String>, elsewhere: Option<String>) {
    let mut cluster = Cluster::start_on(here).await;
    let pool_id = cluster.pool("main").await;
    let old = cluster.vm(vm::CreateVmRequest { start: true, ..wish("web-1", &pool_id) }).await;
    cluster.powered(&old.id, vm::PowerState::POWER_STATE_RUNNING).await;

    let file = backup_while_written_to(&cluster, &pool_id).await;

    // What the backup does not know: a VM, and a newer generation of a VM and of a pool it does know.
    let new = cluster.vm(vm::CreateVmRequest { start: true, ..wish("web-2", &pool_id) }).await;
    let late = cluster.pool("late").await;
    let done = cluster.ok(cluster.power(&old.id, vm::PowerVerb::POWER_VERB_SHUT_DOWN).await);
    cluster.task_done(&done.task_id).await;
    cluster.powered(&old.id, vm::PowerState::POWER_STATE_OFF).await;
    let spare = cluster.ok(cluster.client.volumes().create_volume(blank_volume("spare", &pool_id)).await);
    let spare = spare.into_owned();
    cluster.task_done(&spare.task_id).await;
    let request = volume::AttachVolumeRequest {
        id: spare.volume.as_option().expect("a volume").id.clone(),
        vm_id: old.id.clone(),
        ..Default::default()
    };
    let attached = cluster.ok(cluster.client.volumes().attach_volume(request).await).into_owned();
    cluster.task_done(&attached.task_id).await;

    cluster.kill_vdc();
    let other = cluster.folder().join("elsewhere");
    cluster.config = Config { database_url: elsewhere, ..cluster.config.clone() };
    cluster.config.data_dir = other;
    let now = cluster.clock.now();
    backup::restore(&cluster.config, &file, false, now, &mut |_| Ok(())).await.expect("it comes back");
    cluster.start_vdc().await;
    cluster.sign_in().await;
    cluster.host_ready().await;

    // The same rows, and the host's truth about them.
    let names = volume_names(&cluster).await;
    assert!((0..3).all(|n| names.contains(&format!("v-{n}"))), "{names:?}");
    assert!(!names.contains(&"spare".to_owned()), "made after the backup: {names:?}");
    cluster.pool_in(&pool_id, pool::PoolPhase::POOL_PHASE_READY).await;
    cluster.powered(&old.id, vm::PowerState::POWER_STATE_OFF).await;

    // Nothing of what the backup does not know is touched.
    let vms = cluster.client.vms().list_vms(vm::ListVmsRequest::default()).await;
    assert_eq!(cluster.ok(vms).into_owned().vms.len(), 1);
    assert!(cluster.driver.definition(new.id.parse().expect("an id")).is_some(), "the VM is left alone");
    let request = volume::ListOrphansRequest { pool_id: pool_id.clone(), ..Default::default() };
    let orphans = cluster.ok(cluster.client.volumes().list_orphans(request).await).into_owned();
    let disk = &new.volumes[0].id;
    assert!(orphans.unclaimed.iter().any(|volume| volume.volume_id == *disk), "its disk is there, too");
    let told = until("its pool is told of", DEADLINE, async || alert_of(&cluster, "host.pools").await).await;
    assert!(told.fault.as_option().expect("why").cause.contains(&late), "{told:?}");
    assert_eq!(cluster.shelf(&late).let_go(), Vec::new(), "and stays where it is");

    intents_are_taken_again(&cluster, &pool_id, &old.id).await;
}

/// The host has seen newer generations of pool and VM than the backup had.
async fn intents_are_taken_again(cluster: &Cluster, pool_id: &str, vm_id: &str) {
    let started = cluster.ok(cluster.power(vm_id, vm::PowerVerb::POWER_VERB_START).await);
    cluster.task_done(&started.task_id).await;
    cluster.powered(vm_id, vm::PowerState::POWER_STATE_RUNNING).await;
    let forced = cluster.ok(cluster.power(vm_id, vm::PowerVerb::POWER_VERB_FORCE_STOP).await);
    cluster.task_done(&forced.task_id).await;
    cluster.vm(wish("web-3", pool_id)).await;
    cluster.powered(vm_id, vm::PowerState::POWER_STATE_OFF).await;
    let request = vm::DeleteVmRequest { id: vm_id.into(), ..Default::default() };
    let gone = until("it can be deleted", DEADLINE, async || {
        cluster.client.vms().delete_vm(request.clone()).await.ok()
    });
    cluster.task_done(&gone.await.into_owned().task_id).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_sqlite_comes_back_elsewhere() {
    a_backup_comes_back_elsewhere(None, None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_postgresql_comes_back_elsewhere() {
    let (here, elsewhere) = (Postgres::start(), Postgres::start());
    a_backup_comes_back_elsewhere(Some(here.url()), Some(elsewhere.url())).await;
}
