//! `kill -9` of either daemon while volumes and files are changed: afterwards each piece of work ended done, or failed
//! with a reason; what it should do is done once; and nothing in the pool is without an owner.

use crate::file::{copy, removal, upload};
use crate::volume::{blank, copy_of, gift, growth, made, now, snapshot};
use crate::wish;
use quantix_contract::quantix::pool::v1 as pool;
use quantix_contract::quantix::task::v1 as task;
use quantix_contract::quantix::vm::v1 as vm;
use quantix_contract::quantix::volume::v1 as volume;
use quantix_lab::cluster::{Cluster, DEADLINE};
use quantix_lab::rig::until;
use std::time::Duration;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Vdc,
    Node,
}

/// The work that is cut short.
const WORK: [&str; 11] = [
    "volume.grow",
    "snapshot.create",
    "volume.create",
    "snapshot.revert",
    "snapshot.delete",
    "volume.attach",
    "volume.detach",
    "volume.purge",
    "file.copy",
    "file.delete",
    "file.upload",
];

const STRAY: &str = "00000000-0000-7000-8000-00000000000a";

/// What the work is done on.
struct Yard {
    pool: String,
    volume: String,
    vm: String,
}

/// Has a piece of work begun; answers its task.
async fn begin(cluster: &Cluster, yard: &Yard, work: &str) -> String {
    let (volumes, files) = (cluster.client.volumes(), cluster.client.files());
    let of = |answer: Result<volume::VolumeTask, connectrpc::ConnectError>| cluster.ok(answer).task_id;
    match work {
        "volume.grow" => {
            of(volumes.grow_volume(growth(&yard.volume, 16 << 20)).await.map(|a| a.into_owned()))
        }
        "snapshot.create" => {
            of(volumes.create_snapshot(snapshot(&yard.volume, "s")).await.map(|a| a.into_owned()))
        }
        "volume.create" => {
            of(volumes.clone_volume(copy_of(&yard.volume, "copy")).await.map(|a| a.into_owned()))
        }
        "snapshot.revert" => {
            of(volumes.revert_snapshot(snapshot(&yard.volume, "s")).await.map(|a| a.into_owned()))
        }
        "snapshot.delete" => {
            of(volumes.delete_snapshot(snapshot(&yard.volume, "s")).await.map(|a| a.into_owned()))
        }
        "volume.attach" => {
            of(volumes.attach_volume(gift(&yard.volume, &yard.vm)).await.map(|a| a.into_owned()))
        }
        "volume.detach" => {
            let request = volume::DetachVolumeRequest { id: yard.volume.clone(), ..Default::default() };
            of(volumes.detach_volume(request).await.map(|a| a.into_owned()))
        }
        "volume.purge" => {
            let request = volume::DeleteOrphanRequest {
                pool_id: yard.pool.clone(),
                volume_id: STRAY.into(),
                ..Default::default()
            };
            cluster.ok(volumes.delete_orphan(request).await);
            let tasks = cluster.client.tasks().list_tasks(task::ListTasksRequest::default()).await;
            let tasks = cluster.ok(tasks).into_owned().tasks;
            tasks.into_iter().find(|t| t.kind == work).expect("its task").id
        }
        "file.copy" => {
            cluster.ok(files.copy_file(copy(&yard.pool, "a.txt", "b.txt")).await).into_owned().task_id
        }
        "file.delete" => {
            cluster.ok(files.delete_file(removal(&yard.pool, "a.txt")).await).into_owned().task_id
        }
        "file.upload" => {
            let opened = cluster.ok(files.create_upload(upload(&yard.pool, "up.txt", 5)).await).into_owned();
            assert_eq!(cluster.patch(&opened.upload_path, 0, b"hello").await.status, 204);
            opened.task_id
        }
        other => panic!("{other}"),
    }
}

/// Nothing in the pool is without an owner, and no record without its bytes.
async fn all_is_owned(cluster: &Cluster, yard: &Yard) {
    let found = until("the pool tells what it holds", DEADLINE, async || {
        let request = volume::ListOrphansRequest { pool_id: yard.pool.clone(), ..Default::default() };
        Some(cluster.client.volumes().list_orphans(request).await.ok()?.into_owned())
    })
    .await;
    let strays: Vec<&str> =
        found.unclaimed.iter().map(|u| u.volume_id.as_str()).filter(|id| *id != STRAY).collect();
    assert!(strays.is_empty() && found.missing.is_empty(), "{found:?}");
}

async fn cut_short(side: Side, work: &str, yard: &Yard, cluster: &mut Cluster) {
    let task_id = begin(cluster, yard, work).await;
    match side {
        Side::Vdc => {
            cluster.kill_vdc();
            cluster.start_vdc().await;
        }
        Side::Node => {
            cluster.kill_node();
            tokio::time::sleep(Duration::from_millis(50)).await;
            cluster.start_node().await;
        }
    }
    let end = cluster.task_end(&task_id).await;
    if end.state != task::TaskState::TASK_STATE_DONE {
        assert!(end.fault.is_set(), "{work}: a task that did not end well says why");
        eprintln!("{work}: {:?}", end.fault);
    }
    cluster.pool_in(&yard.pool, pool::PoolPhase::POOL_PHASE_READY).await;
    all_is_owned(cluster, yard).await;
    if end.state != task::TaskState::TASK_STATE_DONE {
        // What failed can be done again, once all is up.
        cluster.powered(&yard.vm, vm::PowerState::POWER_STATE_OFF).await;
        let again = begin(cluster, yard, work).await;
        cluster.task_done(&again).await;
    }
}

async fn everything_is_cut_short(side: Side) {
    let mut cluster = Cluster::start().await;
    let pool = cluster.pool("main").await;
    let volume = made(&cluster, blank("data", &pool)).await;
    let vm = cluster.vm(wish("web-1", &pool)).await.id;
    cluster.powered(&vm, vm::PowerState::POWER_STATE_OFF).await;
    let yard = Yard { pool, volume, vm };
    for work in WORK {
        if work == "file.copy" {
            cluster.shelf(&yard.pool).put_file("a.txt", vec![7; 1000]);
        }
        cut_short(side, work, &yard, &mut cluster).await;
        let seen = now(&cluster, &yard.volume).await;
        match work {
            "volume.grow" => assert_eq!(seen.size_bytes, 16 << 20),
            "volume.attach" => assert_eq!(seen.vm_id, yard.vm),
            "volume.detach" => {
                assert_eq!(seen.vm_id, "");
                let defined =
                    cluster.driver.definition(yard.vm.parse().expect("an id")).expect("it is there");
                assert_eq!(defined.disks.len(), 1, "the host let go of it");
            }
            "volume.create" => {
                let all = cluster.client.volumes().list_volumes(volume::ListVolumesRequest::default()).await;
                let copies = cluster.ok(all).into_owned().volumes;
                assert_eq!(copies.iter().filter(|v| v.name == "copy").count(), 1);
            }
            _ => {}
        }
    }
    let request = pool::ListFilesRequest { pool_id: yard.pool.clone(), ..Default::default() };
    let files = cluster.ok(cluster.client.pools().list_files(request).await).into_owned().files;
    let names: Vec<&str> = files.iter().map(|f| f.name.as_str()).filter(|n| n.ends_with(".txt")).collect();
    assert_eq!(names, ["b.txt", "up.txt"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_vdc_dies_in_everything() {
    everything_is_cut_short(Side::Vdc).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_node_dies_in_everything() {
    everything_is_cut_short(Side::Node).await;
}

/// The host is at work when the vDC dies; after the start the same work is not done twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_vdc_dies_while_a_host_is_at_work() {
    let mut cluster = Cluster::start().await;
    let pool_id = cluster.pool("main").await;
    let id = made(&cluster, blank("data", &pool_id)).await;
    cluster.shelf(&pool_id).stall(true);
    let answer = cluster.ok(cluster.client.volumes().grow_volume(growth(&id, 16 << 20)).await).into_owned();
    let copied =
        cluster.ok(cluster.client.volumes().create_volume(blank("other", &pool_id)).await).into_owned();
    cluster.task_at(&answer.task_id, "Growing").await;
    cluster.task_at(&copied.task_id, "Making").await;
    cluster.kill_vdc();
    cluster.shelf(&pool_id).stall(false);
    cluster.start_vdc().await;
    for task_id in [&answer.task_id, &copied.task_id] {
        cluster.task_done(task_id).await;
    }
    assert_eq!(now(&cluster, &id).await.size_bytes, 16 << 20);
}
