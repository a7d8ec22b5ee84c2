//! Volumes over their whole life: made, grown, kept in snapshots, cloned, given to VMs and taken away, lost and found.

use crate::bad_input::on_disk;
use crate::{disk, iso, wish};
use quantix_contract::quantix::vm::v1 as vm;
use quantix_contract::quantix::volume::v1 as volume;
use quantix_contract::quantix::volume::v1::{VolumeAllocation, VolumeFormat, VolumePhase};
use quantix_lab::cluster::{Cluster, DEADLINE};
use quantix_lab::rig::until;
use quantix_model::FaultCode;
use quantix_model::pool::Capabilities;
use quantix_storage::backend::{Backend as _, VolumeWish};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// The smallest volume anybody asks for here.
const SIZE: u64 = 8 << 20;

/// A free volume to be.
pub fn blank(name: &str, pool_id: &str) -> volume::CreateVolumeRequest {
    volume::CreateVolumeRequest {
        name: name.into(),
        pool_id: pool_id.into(),
        size_bytes: SIZE,
        ..Default::default()
    }
}

/// Makes a volume and waits for it; answers its id.
pub async fn made(cluster: &Cluster, request: volume::CreateVolumeRequest) -> String {
    let answer = cluster.ok(cluster.client.volumes().create_volume(request).await).into_owned();
    cluster.task_done(&answer.task_id).await;
    answer.volume.as_option().expect("a volume comes back").id.clone()
}

/// A volume as it is.
pub async fn now(cluster: &Cluster, id: &str) -> volume::Volume {
    let request = volume::GetVolumeRequest { id: id.into(), ..Default::default() };
    cluster.ok(cluster.client.volumes().get_volume(request).await).into_owned()
}

/// Waits for the good end of a volume's task.
pub async fn done(
    cluster: &Cluster,
    answer: Result<volume::VolumeTask, connectrpc::ConnectError>,
) -> volume::VolumeTask {
    let answer = cluster.ok(answer);
    cluster.task_done(&answer.task_id).await;
    answer
}

/// Changes what the pool says it can do, and waits until the vDC knows.
pub async fn can(cluster: &Cluster, pool_id: &str, change: impl FnOnce(&mut Capabilities)) {
    let mut wanted = Capabilities::default();
    cluster.shelf(pool_id).can(|can| {
        change(can);
        wanted = can.clone();
    });
    until("the vDC knows what the pool can do", DEADLINE, async || {
        let request =
            quantix_contract::quantix::pool::v1::GetPoolRequest { id: pool_id.into(), ..Default::default() };
        let pool = cluster.client.pools().get_pool(request).await.ok()?.into_owned();
        pool.capabilities.as_option().is_some_and(|c| Capabilities::from(c) == wanted).then_some(())
    })
    .await;
}

/// What may be done with a volume now.
async fn allowed(cluster: &Cluster, id: &str) -> String {
    let actions = now(cluster, id).await.allowed_actions;
    assert!(actions.iter().all(|a| a.allowed == a.reason_if_not.is_empty()), "{actions:?}");
    let verbs: Vec<String> = actions.into_iter().filter(|a| a.allowed).map(|a| a.verb).collect();
    verbs.join(" ")
}

pub fn snapshot(id: &str, name: &str) -> volume::SnapshotRequest {
    volume::SnapshotRequest { volume_id: id.into(), name: name.into(), ..Default::default() }
}

pub fn growth(id: &str, size_bytes: u64) -> volume::GrowVolumeRequest {
    volume::GrowVolumeRequest { id: id.into(), size_bytes, ..Default::default() }
}

pub fn copy_of(id: &str, name: &str) -> volume::CloneVolumeRequest {
    volume::CloneVolumeRequest { id: id.into(), name: name.into(), ..Default::default() }
}

pub fn gift(id: &str, vm_id: &str) -> volume::AttachVolumeRequest {
    volume::AttachVolumeRequest { id: id.into(), vm_id: vm_id.into(), ..Default::default() }
}

pub async fn snapshots(cluster: &Cluster, id: &str) -> Vec<String> {
    let request = volume::ListSnapshotsRequest { volume_id: id.into(), ..Default::default() };
    let answer = cluster.ok(cluster.client.volumes().list_snapshots(request).await).into_owned();
    assert!(answer.observed_at.is_set(), "every value has an age");
    answer.snapshots.into_iter().map(|s| s.name).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_is_made_grown_kept_copied_and_removed() {
    let cluster = Cluster::start().await;
    let pool_id = cluster.pool("main").await;
    let calls = cluster.client.volumes();
    let id = made(&cluster, blank("data", &pool_id)).await;
    let seen = now(&cluster, &id).await;
    assert_eq!((seen.phase.as_known(), seen.size_bytes), (Some(VolumePhase::VOLUME_PHASE_READY), SIZE));
    assert_eq!(seen.format, VolumeFormat::VOLUME_FORMAT_QCOW2, "the pool's first");
    assert_eq!(seen.allocation, VolumeAllocation::VOLUME_ALLOCATION_THIN);
    assert_eq!(allowed(&cluster, &id).await, "grow clone snapshot revert attach delete");

    done(&cluster, calls.grow_volume(growth(&id, 2 * SIZE)).await.map(|a| a.into_owned())).await;
    assert_eq!(now(&cluster, &id).await.size_bytes, 2 * SIZE);

    done(&cluster, calls.create_snapshot(snapshot(&id, "before")).await.map(|a| a.into_owned())).await;
    assert_eq!(snapshots(&cluster, &id).await, ["before"]);
    done(&cluster, calls.grow_volume(growth(&id, 3 * SIZE)).await.map(|a| a.into_owned())).await;
    let mut copy = copy_of(&id, "copy");
    copy.snapshot = "before".into();
    let copied = done(&cluster, calls.clone_volume(copy).await.map(|a| a.into_owned())).await;
    let copied = now(&cluster, &copied.volume.as_option().unwrap().id).await;
    assert_eq!(
        (copied.name.as_str(), copied.parent_volume_id.as_str()),
        ("copy", ""),
        "a full copy stands alone"
    );
    done(&cluster, calls.revert_snapshot(snapshot(&id, "before")).await.map(|a| a.into_owned())).await;
    done(&cluster, calls.delete_snapshot(snapshot(&id, "before")).await.map(|a| a.into_owned())).await;
    assert_eq!(snapshots(&cluster, &id).await, Vec::<String>::new());

    for id in [id, copied.id] {
        let request = volume::DeleteVolumeRequest { id, ..Default::default() };
        done(&cluster, calls.delete_volume(request).await.map(|a| a.into_owned())).await;
    }
    assert_eq!(on_disk(&cluster, &pool_id, "volumes").await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_linked_clone_becomes_independent() {
    let cluster = Cluster::start().await;
    let pool_id = cluster.pool("main").await;
    let calls = cluster.client.volumes();
    let flatten = |id: &str| volume::FlattenVolumeRequest { id: id.into(), ..Default::default() };
    let id = made(&cluster, blank("base", &pool_id)).await;
    let fault = cluster.refused(calls.flatten_volume(flatten(&id)).await);
    assert_eq!(fault.code, FaultCode::Conflict, "{fault}");
    let linked = volume::CloneVolumeRequest { linked: true, ..copy_of(&id, "linked") };
    let clone = done(&cluster, calls.clone_volume(linked).await.map(|a| a.into_owned())).await;
    let clone = clone.volume.as_option().unwrap().id.clone();
    let seen = now(&cluster, &clone).await;
    assert_eq!((seen.parent_volume_id.as_str(), seen.parent_volume.as_str()), (id.as_str(), "base"));
    assert!(allowed(&cluster, &clone).await.split(' ').any(|verb| verb == "flatten"));
    // Who stands in the way is named, and what would help.
    let delete = volume::DeleteVolumeRequest { id: id.clone(), ..Default::default() };
    let fault = cluster.refused(calls.delete_volume(delete.clone()).await);
    assert_eq!(fault.code, FaultCode::VolumeHasClones);
    assert!(fault.message.contains("linked") && fault.remedy.contains("flatten"), "{fault}");
    // Not while a VM runs on it.
    let owner = cluster.vm(wish("web-1", &pool_id)).await.id;
    cluster.powered(&owner, vm::PowerState::POWER_STATE_OFF).await;
    done(&cluster, calls.attach_volume(gift(&clone, &owner)).await.map(|a| a.into_owned())).await;
    cluster.ok(cluster.power(&owner, vm::PowerVerb::POWER_VERB_START).await);
    cluster.powered(&owner, vm::PowerState::POWER_STATE_RUNNING).await;
    let fault = cluster.refused(calls.flatten_volume(flatten(&clone)).await);
    assert_eq!(fault.code, FaultCode::VolumeInUse);
    assert!(fault.message.contains("web-1"), "{fault}");
    cluster.ok(cluster.power(&owner, vm::PowerVerb::POWER_VERB_FORCE_STOP).await);
    cluster.powered(&owner, vm::PowerState::POWER_STATE_OFF).await;
    done(&cluster, calls.flatten_volume(flatten(&clone)).await.map(|a| a.into_owned())).await;
    let seen = now(&cluster, &clone).await;
    assert_eq!((seen.parent_volume_id.as_str(), seen.task_id.as_str()), ("", ""));
    done(&cluster, calls.delete_volume(delete).await.map(|a| a.into_owned())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_goes_from_vm_to_vm() {
    let cluster = Cluster::start().await;
    let pool_id = cluster.pool("main").await;
    let calls = cluster.client.volumes();
    let id = made(&cluster, blank("data", &pool_id)).await;
    let mut owners = Vec::new();
    for name in ["web-1", "web-2"] {
        owners.push(cluster.vm(wish(name, &pool_id)).await.id);
    }
    for owner in &owners {
        cluster.powered(owner, vm::PowerState::POWER_STATE_OFF).await;
        done(&cluster, calls.attach_volume(gift(&id, owner)).await.map(|a| a.into_owned())).await;
        let request = vm::GetVmRequest { id: owner.clone(), ..Default::default() };
        let seen = cluster.ok(cluster.client.vms().get_vm(request).await).into_owned();
        assert_eq!(seen.volumes.len(), 2);
        assert_eq!(seen.volumes[1].id, id, "the last disk");
        let defined = cluster.driver.definition(owner.parse().unwrap()).expect("its host has it");
        assert_eq!(defined.disks.len(), 2, "the host was told");
        assert_eq!(now(&cluster, &id).await.vm, seen.name);
        assert_eq!(allowed(&cluster, &id).await, "grow clone snapshot revert detach");

        let other = owners.iter().find(|o| *o != owner).unwrap();
        let fault = cluster.refused(calls.attach_volume(gift(&id, other)).await);
        assert_eq!(fault.code, FaultCode::VolumeInUse);
        assert!(fault.message.contains(&seen.name), "{fault}");

        let request = volume::DetachVolumeRequest { id: id.clone(), ..Default::default() };
        done(&cluster, calls.detach_volume(request).await.map(|a| a.into_owned())).await;
        assert_eq!(now(&cluster, &id).await.vm_id, "");
        assert_eq!(cluster.driver.definition(owner.parse().unwrap()).unwrap().disks.len(), 1);
    }
    let request = volume::DetachVolumeRequest { id, ..Default::default() };
    assert_eq!(cluster.refused(calls.detach_volume(request).await).code, FaultCode::Conflict);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_host_refuses_to_give_stays_free() {
    let cluster = Cluster::start().await;
    let pool_id = cluster.pool("main").await;
    let calls = cluster.client.volumes();
    let id = made(&cluster, blank("data", &pool_id)).await;
    let owner = cluster.vm(wish("web-1", &pool_id)).await.id;
    cluster.powered(&owner, vm::PowerState::POWER_STATE_OFF).await;
    // The bytes are gone on the host, which the vDC cannot know.
    cluster.shelf(&pool_id).backend(Arc::default()).volume_delete(id.parse().unwrap()).unwrap();
    let answer = cluster.ok(calls.attach_volume(gift(&id, &owner)).await).into_owned();
    let fault = cluster.task_failed(&answer.task_id).await;
    assert_eq!(fault.code, FaultCode::VolumeMissing, "{fault}");
    let freed = now(&cluster, &id).await;
    assert_eq!(freed.vm_id, "", "nobody has it");
    let request = vm::GetVmRequest { id: owner, ..Default::default() };
    assert_eq!(cluster.ok(cluster.client.vms().get_vm(request).await).into_owned().volumes.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_and_found() {
    let cluster = Cluster::start().await;
    let pool_id = cluster.pool("main").await;
    let calls = cluster.client.volumes();
    let id = made(&cluster, blank("data", &pool_id)).await;
    let shelf = cluster.shelf(&pool_id).backend(Arc::new(AtomicBool::new(false)));
    shelf.volume_delete(id.parse().unwrap()).unwrap();
    let strays = ["00000000-0000-7000-8000-00000000000a", "00000000-0000-7000-8000-00000000000b"];
    for stray in strays {
        let wish = VolumeWish {
            id: stray.parse().unwrap(),
            size_bytes: SIZE,
            format: quantix_model::volume::VolumeFormat::Raw,
            allocation: quantix_model::volume::Allocation::Thin,
            source: quantix_model::volume::VolumeSource::Blank,
        };
        shelf.volume_create(&wish, &mut |_| {}).unwrap();
    }
    let orphans = async || {
        let request = volume::ListOrphansRequest { pool_id: pool_id.clone(), ..Default::default() };
        let found = cluster.ok(calls.list_orphans(request).await).into_owned();
        assert_eq!(found.host, "host-1");
        let mut ids: Vec<String> = found.unclaimed.into_iter().map(|u| u.volume_id).collect();
        ids.sort();
        (ids, found.missing.into_iter().map(|v| v.name).collect::<Vec<_>>())
    };
    assert_eq!(orphans().await, (strays.map(str::to_owned).to_vec(), vec!["data".to_owned()]));

    let adopt = |stray: &str, name: &str| volume::AdoptOrphanRequest {
        pool_id: pool_id.clone(),
        volume_id: stray.into(),
        name: name.into(),
        ..Default::default()
    };
    let found = cluster.ok(calls.adopt_orphan(adopt(strays[0], "found")).await).into_owned();
    assert_eq!((found.size_bytes, found.format.as_known()), (SIZE, Some(VolumeFormat::VOLUME_FORMAT_RAW)));
    cluster.ok(calls.adopt_orphan(adopt(strays[0], "found")).await);
    let fault = cluster.refused(calls.adopt_orphan(adopt(strays[1], "found")).await);
    assert_eq!((fault.code, fault.field.as_str()), (FaultCode::NameTaken, "name"));
    let fault = cluster.refused(calls.adopt_orphan(adopt(strays[0], "other")).await);
    assert_eq!(fault.code, FaultCode::VolumeInUse, "{fault}");
    let nothing = "00000000-0000-7000-8000-00000000000c";
    assert_eq!(cluster.refused(calls.adopt_orphan(adopt(nothing, "x")).await).code, FaultCode::VolumeMissing);

    let remove = |stray: &str| volume::DeleteOrphanRequest {
        pool_id: pool_id.clone(),
        volume_id: stray.into(),
        ..Default::default()
    };
    let fault = cluster.refused(calls.delete_orphan(remove(strays[0])).await);
    assert_eq!(fault.code, FaultCode::VolumeInUse);
    assert!(fault.message.contains("found"), "{fault}");
    cluster.ok(calls.delete_orphan(remove(strays[1])).await);
    until("the orphan is gone", DEADLINE, async || (orphans().await.0.is_empty()).then_some(())).await;
    cluster.ok(calls.delete_orphan(remove(strays[1])).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn volumes_that_cannot_be() {
    let cluster = Cluster::start().await;
    let pool_id = cluster.pool("main").await;
    let calls = cluster.client.volumes();
    let id = made(&cluster, blank("data", &pool_id)).await;
    let create = async |change: &dyn Fn(&mut volume::CreateVolumeRequest)| {
        let mut request = blank("other", &pool_id);
        change(&mut request);
        cluster.refused(calls.create_volume(request).await)
    };
    for name in ["", " x", "x ", "a\nb", "a\u{7}b", &"x".repeat(129)] {
        assert_eq!(create(&|r| r.name = name.into()).await.field, "name", "{name:?}");
    }
    assert_eq!(create(&|r| r.name = "data".into()).await.code, FaultCode::NameTaken);
    assert_eq!(create(&|r| r.name = "DATA".into()).await.code, FaultCode::NameTaken);
    for size in [0, 7, 1000, 65 << 40] {
        assert_eq!(create(&|r| r.size_bytes = size).await.field, "size_bytes", "{size}");
    }
    can(&cluster, &pool_id, |can| (can.thick, can.clones) = (false, false)).await;
    let fault = create(&|r| r.allocation = VolumeAllocation::VOLUME_ALLOCATION_THICK.into()).await;
    assert_eq!((fault.code, fault.field.as_str()), (FaultCode::PoolCannot, "allocation"));
    assert_eq!(create(&|r| r.linked = true).await.field, "linked");
    assert_eq!(create(&|r| r.pool_id = "../x".into()).await.code, FaultCode::InvalidArgument);
    // Names that are only text are fine, also those that look like something else.
    for name in ["-rf", "..", "a/b", "it's \"quoted\"", "größe 💾", "$(reboot)"] {
        made(&cluster, blank(name, &pool_id)).await;
    }
    can(&cluster, &pool_id, |can| can.formats = vec![quantix_model::volume::VolumeFormat::Raw]).await;
    let fault = create(&|r| r.format = VolumeFormat::VOLUME_FORMAT_QCOW2.into()).await;
    assert_eq!((fault.code, fault.field.as_str()), (FaultCode::PoolCannot, "format"));
    let raw = made(&cluster, blank("raw", &pool_id)).await;
    assert_eq!(now(&cluster, &raw).await.format, VolumeFormat::VOLUME_FORMAT_RAW);

    for size in [SIZE, SIZE / 2] {
        let fault = cluster.refused(calls.grow_volume(growth(&id, size)).await);
        assert_eq!((fault.code, fault.field.as_str()), (FaultCode::VolumeCannotShrink, "size_bytes"));
    }
    assert_eq!(cluster.refused(calls.grow_volume(growth(&id, SIZE + 1)).await).field, "size_bytes");
    for name in ["", "-a", "a b", "a@b", "../a", "a\n", "Ä", &"x".repeat(41)] {
        let fault = cluster.refused(calls.create_snapshot(snapshot(&id, name)).await);
        assert_eq!((fault.code, fault.field.as_str()), (FaultCode::InvalidArgument, "name"), "{name:?}");
    }
    done(&cluster, calls.create_snapshot(snapshot(&id, "one")).await.map(|a| a.into_owned())).await;
    let fault = cluster.refused(calls.create_snapshot(snapshot(&id, "one")).await);
    assert_eq!((fault.code, fault.field.as_str()), (FaultCode::NameTaken, "name"));
    for refused in [
        calls.revert_snapshot(snapshot(&id, "none")).await,
        calls.delete_snapshot(snapshot(&id, "none")).await,
    ] {
        assert_eq!(cluster.refused(refused).code, FaultCode::SnapshotMissing);
    }
    let mut linked = copy_of(&id, "clone");
    linked.linked = true;
    let fault = cluster.refused(calls.clone_volume(linked).await);
    assert_eq!((fault.code, fault.field.as_str()), (FaultCode::PoolCannot, "linked"));
    let fault = cluster.refused(calls.clone_volume(copy_of(&id, "data")).await);
    assert_eq!(fault.code, FaultCode::NameTaken);
    assert_eq!(snapshots(&cluster, &id).await, ["one"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_running_vm_has_is_left_alone_unless_its_pool_can() {
    let cluster = Cluster::start().await;
    let pool_id = cluster.pool("main").await;
    let calls = cluster.client.volumes();
    let owner = cluster.vm(vm::CreateVmRequest { start: true, ..wish("web-1", &pool_id) }).await;
    cluster.powered(&owner.id, vm::PowerState::POWER_STATE_RUNNING).await;
    let id = owner.volumes[0].id.clone();
    can(&cluster, &pool_id, |can| can.grow_running = false).await;
    let in_use = |fault: quantix_model::Fault| {
        assert_eq!(fault.code, FaultCode::VolumeInUse, "{fault}");
        assert!(fault.message.contains("web-1"), "{fault}");
    };
    in_use(cluster.refused(calls.create_snapshot(snapshot(&id, "live")).await));
    in_use(cluster.refused(calls.revert_snapshot(snapshot(&id, "live")).await));
    in_use(cluster.refused(calls.grow_volume(growth(&id, 2 * SIZE)).await));
    in_use(cluster.refused(calls.clone_volume(copy_of(&id, "copy")).await));
    let request = volume::DeleteVolumeRequest { id: id.clone(), ..Default::default() };
    in_use(cluster.refused(calls.delete_volume(request).await));
    can(&cluster, &pool_id, |can| can.snapshots_running = true).await;
    done(&cluster, calls.create_snapshot(snapshot(&id, "live")).await.map(|a| a.into_owned())).await;
    in_use(cluster.refused(calls.revert_snapshot(snapshot(&id, "live")).await));
    let mut copy = copy_of(&id, "copy");
    copy.snapshot = "live".into();
    done(&cluster, calls.clone_volume(copy).await.map(|a| a.into_owned())).await;
    // An image in a pool that keeps none is refused before a byte is sent.
    can(&cluster, &pool_id, |can| can.images = false).await;
    let request = quantix_contract::quantix::image::v1::CreateImageRequest {
        name: "x".into(),
        pool_id: pool_id.clone(),
        size_bytes: iso(0).len() as u64,
        ..Default::default()
    };
    let fault = cluster.refused(cluster.client.images().create_image(request).await);
    assert_eq!((fault.code, fault.field.as_str()), (FaultCode::PoolCannot, "pool_id"));
    assert!(disk(0).len() > 1 << 20);
}
