//! What cannot be done, and what a person is told: code, sentence, remedy; and nothing half-made is left.

use crate::{disk, iso, wish};
use quantix_contract::quantix::host::v1 as host;
use quantix_contract::quantix::image::v1 as image;
use quantix_contract::quantix::pool::v1 as pool;
use quantix_contract::quantix::vm::v1 as vm;
use quantix_contract::quantix::volume::v1 as volume;
use quantix_hypervisor::fake::Trouble;
use quantix_lab::cluster::{Cluster, DEADLINE};
use quantix_lab::rig::until;
use quantix_model::{Fault, FaultCode};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_that_cannot_be_added() {
    let mut cluster = Cluster::apart().await;
    let (url, token) = (cluster.host_url(), cluster.host_token().await);
    let fault = cluster.probe(&url, "hello").await.expect_err("no token");
    assert_eq!((fault.code, fault.phase.as_str()), (FaultCode::TokenInvalid, "TOKEN"));
    let (fingerprint, other) = (token.rsplit('.').next().unwrap(), "AAAAAAAAAAAAAAAAAAAAAA");
    let fault = cluster.probe(&url, &format!("qxh1.{other}.{fingerprint}")).await.expect_err("wrong secret");
    assert_eq!((fault.code, fault.phase.as_str()), (FaultCode::TokenInvalid, "TOKEN"), "{fault}");
    assert!(fault.evidence.is_some_and(|e| e.http_status == 401 || e.http_status == 403));
    let fault = cluster.probe("https://169.254.169.254", &token).await.expect_err("metadata address");
    assert_eq!(fault.code, FaultCode::InvalidRequest);
    let fault = cluster.probe("https://127.0.0.1:1", &token).await.expect_err("nobody there");
    assert_eq!((fault.code, fault.phase.as_str()), (FaultCode::HostConnectionFailed, "PING"));

    let probe = cluster.probe(&url, &token).await.expect("all is right");
    let fault = cluster.refused(cluster.add_host(&probe, "Not A Label").await);
    assert_eq!((fault.code, fault.field.as_str()), (FaultCode::InvalidArgument, "name"));
    let fault = cluster.refused(cluster.add_host("no-such-probe", "host-1").await);
    assert_eq!(fault.code, FaultCode::InvalidRequest);
    cluster.ok(cluster.add_host(&probe, "host-1").await);
    let ready = cluster.host_ready().await;
    let again = cluster.host_token().await;
    let probe = cluster.probe(&url, &again).await.expect("it may be enrolled again, as what it is");
    let fault = cluster.refused(cluster.add_host(&probe, "host-2").await);
    assert_eq!((fault.code, fault.host.as_str()), (FaultCode::HostAlreadyExists, "host-1"), "{fault}");

    // Removed and added anew: the key is known to nobody any more.
    let request = host::RemoveHostRequest { id: ready.id, ..Default::default() };
    cluster.ok(cluster.client.hosts().remove_host(request).await);
    let token = cluster.host_token().await;
    let probe = cluster.probe(&url, &token).await.expect("it may come back");
    cluster.ok(cluster.add_host(&probe, "host-2").await);
    cluster.host_ready().await;
    cluster.kill_node();
    let fault = cluster.probe(&url, &token).await.expect_err("it is off");
    assert_eq!(fault.code, FaultCode::HostConnectionFailed, "{fault}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pools_that_cannot_be() {
    let cluster = Cluster::start().await;
    let host = cluster.host_ready().await.id;
    let pool_id = cluster.pool("main").await;
    let create = async |wish| cluster.refused(cluster.client.pools().create_pool(wish).await);
    let fault = create(Cluster::pool_wish("main", "/data/other", &host)).await;
    assert_eq!((fault.code, fault.field.as_str()), (FaultCode::NameTaken, "name"));
    for path in ["data", "/etc/x", "/a/../b", "/"] {
        let fault = create(Cluster::pool_wish("other", path, &host)).await;
        assert_eq!(fault.code, FaultCode::PoolPathInvalid, "{path}");
    }
    for path in ["/data/main", "/data/main/inner", "/data"] {
        let fault = create(Cluster::pool_wish("other", path, &host)).await;
        assert_eq!(fault.code, FaultCode::PoolPathInvalid, "{path}");
        assert!(fault.message.contains("main"), "{fault}");
    }
    let mut nowhere = Cluster::pool_wish("other", "/data/other", &host);
    nowhere.host_ids.clear();
    assert_eq!(create(nowhere).await.field, "host_ids");
    let stranger = "00000000-0000-7000-8000-000000000000";
    let fault = create(Cluster::pool_wish("other", "/data/other", stranger)).await;
    assert_eq!(fault.code, FaultCode::NotFound);
    let list = cluster.client.pools().list_pools(pool::ListPoolsRequest::default()).await;
    assert_eq!(cluster.ok(list).into_owned().total, 1, "nothing half-made is left");

    cluster.vm(wish("web-1", &pool_id)).await;
    let request =
        pool::UnassignPoolRequest { pool_id: pool_id.clone(), host_id: host.clone(), ..Default::default() };
    let fault = cluster.refused(cluster.client.pools().unassign_pool(request).await);
    assert_eq!(fault.code, FaultCode::PoolInUse);
    assert!(fault.message.contains("web-1"), "{fault}");
    let request = pool::DeletePoolRequest { id: pool_id, force: true, ..Default::default() };
    let fault = cluster.refused(cluster.client.pools().delete_pool(request).await);
    assert!(fault.message.contains("web-1"), "{fault}");
    let request = host::RemoveHostRequest { id: host, ..Default::default() };
    let fault = cluster.refused(cluster.client.hosts().remove_host(request).await);
    assert_eq!(fault.code, FaultCode::HostInUse);
    assert!(fault.message.contains("web-1") && fault.message.contains("main"), "{fault}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn images_that_are_none() {
    let cluster = Cluster::start().await;
    let pool_id = cluster.pool("main").await;
    let text = b"I am no image at all, only words.".repeat(100);
    let made = cluster.declare("words", &pool_id, &text).await;
    assert_eq!(cluster.patch(&made.upload_path, 0, &text).await.status, 204);
    let fault = cluster.task_failed(&made.task_id).await;
    assert_eq!(fault.code, FaultCode::ImageNotAnImage, "{fault}");
    let id = made.image.as_option().unwrap().id.clone();
    let seen = cluster.image_now(&id).await;
    assert_eq!(seen.phase, image::ImagePhase::IMAGE_PHASE_ERROR);
    assert_eq!(Fault::from(seen.fault.as_option().unwrap()).code, FaultCode::ImageNotAnImage);

    let bytes = iso(0);
    let mut request = image::CreateImageRequest {
        name: "sum".into(),
        pool_id: pool_id.clone(),
        size_bytes: bytes.len() as u64,
        sha256: "00".repeat(32),
        ..Default::default()
    };
    let made = cluster.ok(cluster.client.images().create_image(request.clone()).await).into_owned();
    assert_eq!(cluster.patch(&made.upload_path, 0, &bytes).await.status, 204);
    assert_eq!(cluster.task_failed(&made.task_id).await.code, FaultCode::ImageChecksumMismatch);
    request.sha256 = "xyz".into();
    let fault = cluster.refused(cluster.client.images().create_image(request.clone()).await);
    assert_eq!(fault.field, "sha256");
    request.sha256.clear();
    request.size_bytes = 0;
    let fault = cluster.refused(cluster.client.images().create_image(request).await);
    assert_eq!(fault.field, "size_bytes");

    // Bytes that do not fit together.
    let made = cluster.declare("gap", &pool_id, &bytes).await;
    let answer = cluster.patch(&made.upload_path, 7, &bytes[7..]).await;
    assert_eq!(answer.status, 409, "{}", answer.body);
    assert!(answer.body.contains("UPLOAD_OFFSET_MISMATCH"));
    let answer = cluster.patch(&made.upload_path, 0, &[&bytes[..], b"more"].concat()).await;
    assert_eq!(answer.status, 413, "{}", answer.body);
    let answer = cluster.patch("/api/v1/uploads/00000000-0000-7000-8000-000000000000", 0, b"x").await;
    assert_eq!(answer.status, 404, "{}", answer.body);

    // Full before the first byte.
    cluster.shelf(&pool_id).resize(1 << 20);
    let big = disk(4 << 20);
    let made = cluster.declare("big", &pool_id, &big).await;
    let answer = cluster.patch(&made.upload_path, 0, &big).await;
    assert!(answer.body.contains("POOL_FULL"), "{} {}", answer.status, answer.body);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vms_that_cannot_be() {
    let cluster = Cluster::start().await;
    let pool_id = cluster.pool("main").await;
    let iso_id = cluster.image("boot.iso", &pool_id, &iso(0)).await;
    let disk_id = cluster.image("cloud.img", &pool_id, &disk(4 << 20)).await;
    let made = cluster.vm(wish("web-1", &pool_id)).await;
    let create = async |wish| cluster.refused(cluster.client.vms().create_vm(wish).await);
    let bad = |change: fn(&mut vm::CreateVmRequest)| {
        let mut bad = wish("web-2", &pool_id);
        change(&mut bad);
        bad
    };
    assert_eq!(create(wish("web-1", &pool_id)).await.code, FaultCode::NameTaken);
    assert_eq!(create(bad(|w| w.name = "a b".into())).await.field, "name");
    assert_eq!(create(bad(|w| w.vcpus = 0)).await.field, "vcpus");
    assert_eq!(create(bad(|w| w.memory_bytes = 1)).await.field, "memory_bytes");
    assert_eq!(create(bad(|w| w.disks[0].size_bytes = 7)).await.field, "disks.size_bytes");
    assert_eq!(create(bad(|w| w.nics[0].mac = "01:00:00:00:00:00".into())).await.field, "nics.mac");
    assert_eq!(create(bad(|w| w.memory_bytes = 5 << 40)).await.code, FaultCode::NoHostFits);

    let mut wrong = wish("web-2", &pool_id);
    wrong.cdrom_image_id = disk_id.clone();
    assert_eq!(create(wrong.clone()).await.field, "cdrom_image_id");
    wrong.cdrom_image_id = iso_id.clone();
    wrong.disks[0].image_id = iso_id.clone();
    assert_eq!(create(wrong.clone()).await.field, "disks.image_id");
    wrong.disks[0].image_id = disk_id;
    wrong.disks[0].size_bytes = 1 << 20;
    assert_eq!(create(wrong).await.field, "disks.size_bytes");
    let mut taken = wish("web-2", &pool_id);
    taken.disks[0] = vm::NewDisk { volume_id: made.volumes[0].id.clone(), ..Default::default() };
    let fault = create(taken).await;
    assert_eq!(fault.code, FaultCode::VolumeInUse);
    assert!(fault.message.contains("web-1"), "{fault}");
    let request = volume::DeleteVolumeRequest { id: made.volumes[0].id.clone(), ..Default::default() };
    let fault = cluster.refused(cluster.client.volumes().delete_volume(request).await);
    assert_eq!(fault.code, FaultCode::VolumeInUse);
    let fault = cluster.refused(cluster.power(&made.id, vm::PowerVerb::POWER_VERB_PAUSE).await);
    assert_eq!(fault.code, FaultCode::VmActionNotAllowed);
    let request = vm::CreateConsoleTicketRequest { vm_id: made.id.clone(), ..Default::default() };
    let fault = cluster.refused(cluster.client.vms().create_console_ticket(request).await);
    assert_eq!(fault.code, FaultCode::ConsoleNotRunning);

    let mut in_drive = wish("web-3", &pool_id);
    in_drive.cdrom_image_id = iso_id.clone();
    cluster.vm(in_drive).await;
    let request = image::DeleteImageRequest { id: iso_id, ..Default::default() };
    let fault = cluster.refused(cluster.client.images().delete_image(request).await);
    assert_eq!(fault.code, FaultCode::ImageInUse);
    assert!(fault.message.contains("web-3"), "{fault}");
    let list = cluster.client.vms().list_vms(vm::ListVmsRequest::default()).await;
    assert_eq!(cluster.ok(list).into_owned().total, 2, "nothing half-made is left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vm_the_hypervisor_refuses_leaves_nothing() {
    let cluster = Cluster::start().await;
    let pool_id = cluster.pool("main").await;
    cluster.driver.set_trouble(Trouble::Refuse("unsupported machine".into()));
    let made = cluster.ok(cluster.client.vms().create_vm(wish("web-1", &pool_id)).await).into_owned();
    let fault = cluster.task_failed(&made.task_id).await;
    assert!(fault.cause.contains("unsupported machine"), "{fault:?}");
    assert_eq!(fault.phase, "Defining the VM", "{fault:?}");
    assert_eq!(fault.host, "host-1");
    cluster.driver.set_trouble(Trouble::None);
    let vms = cluster.client.vms().list_vms(vm::ListVmsRequest::default()).await;
    assert_eq!(cluster.ok(vms).into_owned().total, 0);
    let volumes = cluster.client.volumes().list_volumes(volume::ListVolumesRequest::default()).await;
    assert_eq!(cluster.ok(volumes).into_owned().total, 0);
    assert_eq!(on_disk(&cluster, &pool_id, "volumes").await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn libvirt_stops_and_nothing_is_claimed_to_be_off() {
    let cluster = Cluster::start().await;
    let pool_id = cluster.pool("main").await;
    let made = cluster.vm(vm::CreateVmRequest { start: true, ..wish("web-1", &pool_id) }).await;
    cluster.powered(&made.id, vm::PowerState::POWER_STATE_RUNNING).await;
    cluster.driver.set_trouble(Trouble::Down);
    cluster.host_in(host::HostPhase::HOST_PHASE_DEGRADED).await;
    cluster.powered(&made.id, vm::PowerState::POWER_STATE_UNKNOWN).await;
    let fault = cluster.refused(cluster.client.vms().create_vm(wish("web-2", &pool_id)).await);
    assert_eq!(fault.code, FaultCode::NoHostFits);
    assert!(fault.reasons[0].reason.contains("hypervisor"), "{fault:?}");
    cluster.driver.set_trouble(Trouble::None);
    cluster.host_ready().await;
    cluster.powered(&made.id, vm::PowerState::POWER_STATE_RUNNING).await;
}

/// Names of the files in a folder of the pool.
pub async fn on_disk(cluster: &Cluster, pool_id: &str, path: &str) -> Vec<String> {
    until("the pool lists its files", DEADLINE, async || {
        let request =
            pool::ListFilesRequest { pool_id: pool_id.into(), path: path.into(), ..Default::default() };
        let answer = cluster.client.pools().list_files(request).await;
        Some(answer.ok()?.into_owned().files.into_iter().map(|f| f.name).collect())
    })
    .await
}
