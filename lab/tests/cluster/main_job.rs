//! The main job, from an empty vDC to a VM with a screen, and all the way back.

use crate::{disk, iso, wish};
use futures::StreamExt as _;
use quantix_contract::quantix::host::v1 as host;
use quantix_contract::quantix::image::v1 as image;
use quantix_contract::quantix::pool::v1 as pool;
use quantix_contract::quantix::system::v1 as system;
use quantix_contract::quantix::vm::v1 as vm;
use quantix_contract::quantix::volume::v1 as volume;
use quantix_lab::cluster::{Cluster, DEADLINE};
use quantix_lab::rig::until;
use quantix_model::FaultCode;
use tokio_tungstenite::tungstenite::Message;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_nothing_to_a_screen_and_back() {
    let cluster = Cluster::start().await;
    let pool_id = cluster.pool("main").await;
    let iso_id = cluster.image("boot.iso", &pool_id, &iso(0)).await;
    let disk_id = cluster.image("cloud.img", &pool_id, &disk(3 << 20)).await;
    let seen = cluster.image_now(&disk_id).await;
    assert_eq!(seen.format, image::ImageFormat::IMAGE_FORMAT_RAW);
    assert_eq!(seen.received_bytes, 3 << 20);
    assert_eq!(seen.sha256.len(), 64);

    let mut request = wish("web-1", &pool_id);
    request.cdrom_image_id = iso_id.clone();
    request.start = true;
    request.disks.push(vm::NewDisk { pool_id: pool_id.clone(), image_id: disk_id, ..Default::default() });
    let made = cluster.vm(request).await;
    let running = cluster.powered(&made.id, vm::PowerState::POWER_STATE_RUNNING).await;
    assert_eq!(running.phase, vm::VmPhase::VM_PHASE_READY);
    assert_eq!(running.volumes.len(), 2);
    assert_eq!(running.volumes[1].size_bytes, 3 << 20);
    assert_eq!(running.cdrom_image, "boot.iso");
    assert!(running.observed_at.is_set(), "every value has an age");
    let allowed = |verb: &str| running.allowed_actions.iter().any(|a| a.verb == verb && a.allowed);
    assert!(allowed("shut_down") && allowed("console") && !allowed("start") && !allowed("delete"));

    let counts = cluster.client.system().get_summary(system::GetSummaryRequest::default()).await;
    let counts = cluster.ok(counts).into_owned();
    assert_eq!((counts.hosts_ready, counts.pools_ready, counts.vms_running), (1, 1, 1));
    assert!(counts.hosts[0].phase == host::HostPhase::HOST_PHASE_READY && counts.hosts[0].count == 1);
    assert!(counts.pools[0].phase == pool::PoolPhase::POOL_PHASE_READY && counts.pools[0].count == 1);
    assert!(counts.vms[0].power_state == vm::PowerState::POWER_STATE_RUNNING && counts.vms[0].count == 1);
    assert!(
        counts.hosts.len() + counts.pools.len() + counts.vms.len() == 3 && counts.oldest_report_at.is_set()
    );

    a_screen_greets(&cluster, &made.id).await;
    files_are_claimed(&cluster, &pool_id).await;

    let done = cluster.ok(cluster.power(&made.id, vm::PowerVerb::POWER_VERB_SHUT_DOWN).await);
    cluster.task_done(&done.task_id).await;
    cluster.powered(&made.id, vm::PowerState::POWER_STATE_OFF).await;
    let request = vm::DeleteVmRequest { id: made.id.clone(), delete_volumes: true, ..Default::default() };
    let gone = cluster.ok(cluster.client.vms().delete_vm(request).await).into_owned();
    cluster.task_done(&gone.task_id).await;
    assert!(cluster.driver.definition(made.id.parse().unwrap()).is_none());
    let left = cluster.client.volumes().list_volumes(volume::ListVolumesRequest::default()).await;
    assert_eq!(cluster.ok(left).into_owned().total, 0);

    for id in [iso_id, running.volumes[1].image_id.clone()] {
        let request = image::DeleteImageRequest { id, ..Default::default() };
        cluster.ok(cluster.client.images().delete_image(request).await);
    }
    let emptied = until("the pool is empty", DEADLINE, async || {
        let request = pool::DeletePoolRequest { id: pool_id.clone(), ..Default::default() };
        cluster.client.pools().delete_pool(request).await.ok()
    })
    .await;
    cluster.task_done(&emptied.into_owned().task_id).await;
}

/// Through ticket, WebSocket, vDC, mutual TLS and host: the guest's screen says hello in RFB.
async fn a_screen_greets(cluster: &Cluster, vm_id: &str) {
    let request = vm::CreateConsoleTicketRequest { vm_id: vm_id.into(), ..Default::default() };
    let ticket = cluster.ok(cluster.client.vms().create_console_ticket(request).await).into_owned();
    let mut socket = cluster.websocket(&ticket.websocket_path).await;
    let first = tokio::time::timeout(DEADLINE, socket.next()).await.expect("the screen speaks");
    let Some(Ok(Message::Binary(bytes))) = first else { panic!("no greeting: {first:?}") };
    assert!(bytes.starts_with(b"RFB 003."), "{bytes:?}");
    drop(socket);
    // Good once only: the second try is closed with the reason.
    let mut again = cluster.websocket(&ticket.websocket_path).await;
    let refused = until("a close frame", DEADLINE, async || match again.next().await {
        Some(Ok(Message::Close(Some(frame)))) => Some(frame.reason.to_string()),
        Some(Ok(_)) => None,
        other => panic!("{other:?}"),
    })
    .await;
    assert!(refused.starts_with(FaultCode::ConsoleTicketInvalid.as_str()), "{refused}");
}

async fn files_are_claimed(cluster: &Cluster, pool_id: &str) {
    let request =
        pool::ListFilesRequest { pool_id: pool_id.into(), path: "volumes".into(), ..Default::default() };
    let files = cluster.ok(cluster.client.pools().list_files(request).await).into_owned();
    assert_eq!(files.host, "host-1");
    let names: Vec<&str> = files.files.iter().map(|f| f.claimed_by.as_str()).collect();
    assert!(names.contains(&"web-1-disk-0") && names.contains(&"web-1-disk-1"), "{names:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_host_makes_its_facts_unknown_and_they_come_back() {
    let mut cluster = Cluster::start().await;
    let pool_id = cluster.pool("main").await;
    let made = cluster.vm(vm::CreateVmRequest { start: true, ..wish("web-1", &pool_id) }).await;
    cluster.powered(&made.id, vm::PowerState::POWER_STATE_RUNNING).await;
    cluster.kill_node();
    let host = cluster.host_in(quantix_contract::quantix::host::v1::HostPhase::HOST_PHASE_DISCONNECTED).await;
    assert!(host.vitals.is_unset(), "what is not known is not shown");
    assert!(host.fault.is_set());
    let lost = cluster.powered(&made.id, vm::PowerState::POWER_STATE_UNKNOWN).await;
    assert!(lost.allowed_actions.iter().all(|a| !a.allowed && !a.reason_if_not.is_empty()));
    let shown = cluster.pool_in(&pool_id, pool::PoolPhase::POOL_PHASE_ERROR).await;
    assert!(shown.capacity.is_unset());
    cluster.start_node().await;
    cluster.host_ready().await;
    cluster.powered(&made.id, vm::PowerState::POWER_STATE_RUNNING).await;
    cluster.pool_in(&pool_id, pool::PoolPhase::POOL_PHASE_READY).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vm_that_vanishes_is_lost_and_can_be_deleted() {
    let cluster = Cluster::start().await;
    let pool_id = cluster.pool("main").await;
    let made = cluster.vm(wish("web-1", &pool_id)).await;
    cluster.powered(&made.id, vm::PowerState::POWER_STATE_OFF).await;
    cluster.driver.vanish(made.id.parse().unwrap());
    let lost = until("it is lost", DEADLINE, async || {
        let request = vm::GetVmRequest { id: made.id.clone(), ..Default::default() };
        let seen = cluster.ok(cluster.client.vms().get_vm(request).await).into_owned();
        (seen.phase == vm::VmPhase::VM_PHASE_LOST).then_some(seen)
    })
    .await;
    let fault = lost.fault.as_option().expect("says why");
    assert_eq!(fault.code.to_i32(), FaultCode::VmMissingOnHost.number());
    let request = vm::DeleteVmRequest { id: made.id, delete_volumes: true, ..Default::default() };
    let gone = cluster.ok(cluster.client.vms().delete_vm(request).await).into_owned();
    cluster.task_done(&gone.task_id).await;
}
