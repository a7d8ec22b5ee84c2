//! The vDC's database is full, held by somebody else, or gone for a while: what was acknowledged stays, what cannot be is
//! said, no healthy host is called silent, nothing is unmounted, and all goes on by itself.

use crate::blank_volume;
use crate::hold::{Crowd, Hold};
use crate::postgres::Postgres;
use quantix_contract::quantix::event::v1 as event;
use quantix_contract::quantix::host::v1 as host;
use quantix_contract::quantix::pool::v1 as pool;
use quantix_contract::quantix::system::v1 as system;
use quantix_contract::quantix::volume::v1 as volume;
use quantix_lab::cluster::{Cluster, DEADLINE};
use quantix_lab::mount::{Ext4, Tmpfs};
use quantix_lab::rig::until;
use quantix_model::{Fault, FaultCode};
use std::io::Write as _;
use std::path::PathBuf;

async fn names(cluster: &Cluster) -> Vec<String> {
    let list = cluster.client.volumes().list_volumes(volume::ListVolumesRequest::default()).await;
    let mut names: Vec<String> =
        cluster.ok(list).into_owned().volumes.into_iter().map(|volume| volume.name).collect();
    names.sort();
    names
}

/// A change is refused with this code, in time, with words.
async fn change_is_refused(cluster: &Cluster, pool_id: &str, code: FaultCode) -> Fault {
    let volumes = cluster.client.volumes();
    let call = volumes.create_volume(blank_volume("refused", pool_id));
    let answer = tokio::time::timeout(DEADLINE, call).await.expect("an answer comes");
    let fault = cluster.refused(answer);
    assert_eq!(fault.code, code, "{fault:?}");
    assert!(!fault.cause.is_empty() && fault.remedy.contains("data folder"), "{fault:?}");
    fault
}

/// `/readyz`, for whoever cannot even sign in.
async fn readyz(cluster: &Cluster) -> (u16, String) {
    let answer = cluster.http_as("none", "GET", "/readyz", &[], b"", 0).await;
    (answer.status, answer.body)
}

async fn unready(cluster: &Cluster, code: FaultCode) {
    until("/readyz says what is wrong", DEADLINE, async || {
        let (status, body) = readyz(cluster).await;
        (status == 503 && body.contains(code.as_str())).then_some(())
    })
    .await;
}

/// A host keeps beating news into a store that takes none: once that is known it is Ready all the time, and its pool stays
/// where it is. Before, a beat waits as long as the store does, which is short for hosts that beat every 30 s.
async fn host_is_not_forgotten(cluster: &Cluster, pool_id: &str) {
    cluster.host_ready().await;
    // Something that is worth writing.
    cluster.shelf(pool_id).resize(2 << 40);
    let mut ages = std::collections::BTreeSet::new();
    until("it goes on beating", DEADLINE, async || {
        let list = cluster.client.hosts().list_hosts(host::ListHostsRequest::default()).await.ok()?;
        let seen = list.into_owned().hosts.into_iter().next()?;
        assert_eq!(seen.phase, host::HostPhase::HOST_PHASE_READY, "{:?}", seen.fault);
        ages.extend(seen.observed_at.as_option().map(|at| (at.seconds, at.nanos)));
        (ages.len() > 10).then_some(())
    })
    .await;
    assert!(cluster.shelf(pool_id).let_go().is_empty(), "nothing is unmounted");
}

async fn recovers(cluster: &Cluster, pool_id: &str, code: FaultCode) {
    until("/readyz is well again", DEADLINE, async || (readyz(cluster).await.0 == 200).then_some(())).await;
    let made = until("changes are taken again", DEADLINE, async || {
        cluster.client.volumes().create_volume(blank_volume("after", pool_id)).await.ok()
    });
    cluster.task_done(&made.await.into_owned().task_id).await;
    cluster.host_ready().await;
    cluster.pool_in(pool_id, pool::PoolPhase::POOL_PHASE_READY).await;
    assert_eq!(names(cluster).await, ["after", "before"]);
    let told = until("it stands in the events", DEADLINE, async || {
        let events = cluster.client.events().list_events(event::ListEventsRequest::default()).await;
        events.ok()?.into_owned().events.into_iter().find(|event| event.kind == "store.failed")
    });
    assert_eq!(Fault::from(told.await.fault.as_option().expect("why")).code, code);
}

/// One pool, one volume that was acknowledged before anything went wrong.
async fn yard(cluster: &Cluster) -> String {
    let pool_id = cluster.pool("main").await;
    let made = cluster
        .ok(cluster.client.volumes().create_volume(blank_volume("before", &pool_id)).await)
        .into_owned();
    cluster.task_done(&made.task_id).await;
    pool_id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_somebody_else_holds() {
    let cluster = Cluster::start().await;
    let pool_id = yard(&cluster).await;
    let hold = Hold::of(&cluster).await;
    change_is_refused(&cluster, &pool_id, FaultCode::StoreUnavailable).await;
    unready(&cluster, FaultCode::StoreUnavailable).await;
    host_is_not_forgotten(&cluster, &pool_id).await;
    let summary = cluster.client.system().get_summary(system::GetSummaryRequest::default()).await;
    let summary = cluster.ok(summary).into_owned();
    let fault = Fault::from(summary.store_fault.as_option().expect("the dashboard says it"));
    assert_eq!(fault.code, FaultCode::StoreUnavailable);
    assert_eq!(names(&cluster).await, ["before"], "what is there can be looked at");
    hold.end().await;
    recovers(&cluster, &pool_id, FaultCode::StoreUnavailable).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_whose_disk_is_full() {
    let mut cluster = Cluster::start().await;
    let pool_id = yard(&cluster).await;
    let (folder, aside) = set_aside(&mut cluster).await;
    let disk = Tmpfs::mount(&folder, 16 << 20);
    copy(&aside, disk.path());
    cluster.start_vdc().await;
    cluster.host_ready().await;
    let ballast = disk.path().join("ballast");
    fill(&ballast);

    // What fits into the journal is still taken; then it is full.
    let mut tried = 0;
    let fault = until("the disk is full", DEADLINE, async || {
        tried += 1;
        let call =
            cluster.client.volumes().create_volume(blank_volume(&format!("v-{tried}"), &pool_id)).await;
        let fault = cluster.client.fault(&call.err()?);
        (fault.code == FaultCode::StoreFull).then_some(fault)
    })
    .await;
    assert!(fault.remedy.contains("Free space"), "{fault:?}");
    unready(&cluster, FaultCode::StoreFull).await;
    host_is_not_forgotten(&cluster, &pool_id).await;
    assert!(names(&cluster).await.contains(&"before".to_owned()), "what is there can be looked at");
    let acknowledged = names(&cluster).await;
    std::fs::remove_file(&ballast).expect("it is ours");
    for name in acknowledged.iter().filter(|name| *name != "before") {
        // Taken before it was full: it is there, and can go.
        let list = cluster.client.volumes().list_volumes(volume::ListVolumesRequest::default()).await;
        let list = cluster.ok(list).into_owned().volumes;
        let id = list.into_iter().find(|volume| volume.name == *name).expect("acknowledged").id;
        let gone = until("it can be deleted", DEADLINE, async || {
            let request = volume::DeleteVolumeRequest { id: id.clone(), ..Default::default() };
            cluster.client.volumes().delete_volume(request).await.ok()
        });
        cluster.task_done(&gone.await.into_owned().task_id).await;
    }
    recovers(&cluster, &pool_id, FaultCode::StoreFull).await;
    cluster.kill_vdc();
}

async fn stopped(cluster: &mut Cluster) {
    cluster.kill_vdc();
    let folder = cluster.vdc_dir();
    until("the vDC let go of its folder", DEADLINE, async || {
        let lock = std::fs::File::open(folder.join("lock")).ok()?;
        lock.try_lock().ok()
    })
    .await;
}

/// Ends the vDC and makes room for its folder to stand on another disk; answers where it should and where it now is.
async fn set_aside(cluster: &mut Cluster) -> (PathBuf, PathBuf) {
    stopped(cluster).await;
    let (folder, aside) = (cluster.vdc_dir(), cluster.folder().join("aside"));
    std::fs::rename(&folder, &aside).expect("both are ours");
    (folder, aside)
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    for entry in std::fs::read_dir(from).expect("a folder").map(|entry| entry.expect("an entry")) {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            std::fs::create_dir_all(&to).expect("a new folder");
            copy(&from, &to);
        } else {
            std::fs::copy(&from, &to).expect("there is room");
            // Durable as the vDC's own writes are.
            std::fs::File::open(&to).and_then(|file| file.sync_all()).expect("it is there");
        }
    }
}

/// Writes until nothing more fits.
fn fill(path: &std::path::Path) {
    let mut file = std::fs::File::create(path).expect("a new file");
    for size in [1 << 16, 1 << 12, 1] {
        let block = vec![1; size];
        while file.write_all(&block).is_ok() {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_folder_that_goes_read_only() {
    let mut cluster = Cluster::start().await;
    let pool_id = yard(&cluster).await;
    let (folder, aside) = set_aside(&mut cluster).await;
    let disk = Ext4::mount(&cluster.folder().join("disk.img"), &folder, 64 << 20);
    copy(&aside, &folder);
    cluster.start_vdc().await;
    cluster.host_ready().await;
    disk.fail();
    change_is_refused(&cluster, &pool_id, FaultCode::StoreUnavailable).await;
    unready(&cluster, FaultCode::StoreUnavailable).await;
    host_is_not_forgotten(&cluster, &pool_id).await;
    assert_eq!(names(&cluster).await, ["before"], "what is there can be looked at");
    // Such a file system has to be mended with nobody using it.
    stopped(&mut cluster).await;
    disk.mend();
    cluster.start_vdc().await;
    cluster.host_ready().await;
    cluster.pool_in(&pool_id, pool::PoolPhase::POOL_PHASE_READY).await;
    let made = cluster.ok(cluster.client.volumes().create_volume(blank_volume("after", &pool_id)).await);
    cluster.task_done(&made.into_owned().task_id).await;
    assert_eq!(names(&cluster).await, ["after", "before"]);
    stopped(&mut cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_server_that_is_stopped_for_a_while() {
    let mut server = Postgres::start();
    let cluster = Cluster::start_on(Some(server.url())).await;
    let pool_id = yard(&cluster).await;
    server.stop();
    let volumes = cluster.client.volumes();
    let call = volumes.create_volume(blank_volume("refused", &pool_id));
    let fault = cluster.refused(tokio::time::timeout(DEADLINE, call).await.expect("an answer comes"));
    assert_eq!(fault.code, FaultCode::StoreUnavailable, "{fault:?}");
    assert!(fault.remedy.contains("database server"), "{fault:?}");
    unready(&cluster, FaultCode::StoreUnavailable).await;
    server.begin_again();
    // Nobody was called silent meanwhile, and nothing was unmounted.
    recovers(&cluster, &pool_id, FaultCode::StoreUnavailable).await;
    let events = cluster.client.events().list_events(event::ListEventsRequest::default()).await;
    let events = cluster.ok(events).into_owned().events;
    assert!(!events.iter().any(|event| event.kind == "host.disconnected"), "{events:?}");
    assert!(cluster.shelf(&pool_id).let_go().is_empty(), "nothing is unmounted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_server_with_no_connection_left() {
    let server = Postgres::start();
    let cluster = Cluster::start_on(Some(server.url())).await;
    let pool_id = yard(&cluster).await;
    let crowd = Crowd::at(&server.url()).await;
    let volumes = cluster.client.volumes();
    let call = volumes.create_volume(blank_volume("refused", &pool_id));
    let fault = cluster.refused(tokio::time::timeout(DEADLINE, call).await.expect("an answer comes"));
    assert_eq!(fault.code, FaultCode::StoreUnavailable, "{fault:?}");
    assert!(!fault.cause.is_empty() && fault.remedy.contains("database server"), "{fault:?}");
    unready(&cluster, FaultCode::StoreUnavailable).await;
    crowd.leave().await;
    recovers(&cluster, &pool_id, FaultCode::StoreUnavailable).await;
    assert!(cluster.shelf(&pool_id).let_go().is_empty(), "nothing is unmounted");
}
