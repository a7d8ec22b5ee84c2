//! `kill -9` of either daemon in the middle of each long piece of work: afterwards it ends done or failed, nothing
//! is doubled, and no file is without an owner.

use crate::bad_input::on_disk;
use crate::{disk, iso, wish};
use quantix_contract::quantix::image::v1 as image;
use quantix_contract::quantix::pool::v1 as pool;
use quantix_contract::quantix::task::v1 as task;
use quantix_contract::quantix::vm::v1 as vm;
use quantix_hypervisor::fake::Trouble;
use quantix_lab::cluster::{Cluster, DEADLINE};
use quantix_lab::rig::until;
use quantix_model::FaultCode;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_vdc_dies_while_a_pool_is_made() {
    let mut cluster = Cluster::start().await;
    let host = cluster.host_ready().await.id;
    // The pool does not come up before the vDC is gone.
    cluster.kill_node();
    let wish = Cluster::pool_wish("main", "/data/main", &host);
    let made = cluster.ok(cluster.client.pools().create_pool(wish).await).into_owned();
    cluster.task_at(&made.task_id, "Preparing").await;
    cluster.kill_vdc();
    cluster.start_node().await;
    cluster.start_vdc().await;
    cluster.task_done(&made.task_id).await;
    let id = made.pool.as_option().unwrap().id.clone();
    cluster.pool_in(&id, pool::PoolPhase::POOL_PHASE_READY).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_goes_on_after_a_cut_line_and_both_daemons_dead() {
    let mut cluster = Cluster::start().await;
    let pool_id = cluster.pool("main").await;
    let bytes = disk(6 << 20);
    let made = cluster.declare("cloud.img", &pool_id, &bytes).await;
    let path = &made.upload_path;
    // The browser's line is cut in the middle of what it announced.
    cluster.http("PATCH", path, &[("upload-offset", "0")], &bytes[..2 << 20], bytes.len()).await;
    let first =
        until("bytes are safe", DEADLINE, async || cluster.offset(path).await.filter(|n| *n > 0)).await;
    assert!(first <= 2 << 20, "{first}");
    cluster.kill_vdc();
    cluster.start_vdc().await;
    let after_vdc = until("the vDC answers", DEADLINE, async || cluster.offset(path).await).await;
    assert!(after_vdc >= first, "{after_vdc} after {first}");
    let from = usize::try_from(after_vdc).unwrap();
    cluster
        .http(
            "PATCH",
            path,
            &[("upload-offset", &from.to_string())],
            &bytes[from..4 << 20],
            bytes.len() - from,
        )
        .await;
    cluster.kill_node();
    cluster.start_node().await;
    cluster.host_ready().await;
    let rest = until("the host answers", DEADLINE, async || cluster.offset(path).await).await;
    let from = usize::try_from(rest).unwrap();
    let answer = cluster.patch(path, rest, &bytes[from..]).await;
    assert_eq!(answer.status, 204, "{}", answer.body);
    cluster.task_done(&made.task_id).await;
    let id = made.image.as_option().unwrap().id.clone();
    let seen = cluster.image_now(&id).await;
    assert_eq!(seen.phase, image::ImagePhase::IMAGE_PHASE_READY);
    // The bytes are the ones that were sent, in their order.
    let whole = cluster.image("again.img", &pool_id, &bytes).await;
    assert_eq!(cluster.image_now(&whole).await.sha256, seen.sha256);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_upload_leaves_no_bytes() {
    let cluster = Cluster::start().await;
    let pool_id = cluster.pool("main").await;
    let bytes = iso(1 << 20);
    for by_delete in [true, false] {
        let made = cluster.declare("boot.iso", &pool_id, &bytes).await;
        cluster
            .http("PATCH", &made.upload_path, &[("upload-offset", "0")], &bytes[..1000], bytes.len())
            .await;
        until("bytes are safe", DEADLINE, async || {
            cluster.offset(&made.upload_path).await.filter(|n| *n == 1000)
        })
        .await;
        let id = made.image.as_option().unwrap().id.clone();
        if by_delete {
            let request = image::DeleteImageRequest { id, ..Default::default() };
            cluster.ok(cluster.client.images().delete_image(request).await);
        } else {
            let request = task::CancelTaskRequest { id: made.task_id.clone(), ..Default::default() };
            cluster.ok(cluster.client.tasks().cancel_task(request).await);
        }
        let end = cluster.task_end(&made.task_id).await;
        assert_eq!(end.state, task::TaskState::TASK_STATE_CANCELLED);
        until("the image is gone", DEADLINE, async || {
            let list = cluster.client.images().list_images(image::ListImagesRequest::default()).await;
            (cluster.ok(list).into_owned().total == 0).then_some(())
        })
        .await;
        assert_eq!(on_disk(&cluster, &pool_id, "images").await, Vec::<String>::new());
    }
}

/// Kills the vDC while a VM is made, at the step where `hold` makes the host slow.
async fn killed_while_creating(step: &str, hold: impl Fn(&Cluster, &str), release: impl Fn(&Cluster, &str)) {
    let mut cluster = Cluster::start().await;
    let pool_id = cluster.pool("main").await;
    hold(&cluster, &pool_id);
    let request = vm::CreateVmRequest { start: true, ..wish("web-1", &pool_id) };
    let made = cluster.ok(cluster.client.vms().create_vm(request).await).into_owned();
    cluster.task_at(&made.task_id, step).await;
    cluster.kill_vdc();
    release(&cluster, &pool_id);
    cluster.start_vdc().await;
    let end = cluster.task_end(&made.task_id).await;
    let vms = cluster.ok(cluster.client.vms().list_vms(vm::ListVmsRequest::default()).await).into_owned();
    let files = on_disk(&cluster, &pool_id, "volumes").await;
    if end.state == task::TaskState::TASK_STATE_DONE {
        let id = made.vm.as_option().expect("a VM comes back").id.clone();
        cluster.powered(&id, vm::PowerState::POWER_STATE_RUNNING).await;
        assert_eq!((vms.total, files.len()), (1, 1), "{files:?}");
    } else {
        assert!(end.fault.is_set(), "a task that did not end well says why");
        assert_eq!((vms.total, files.len()), (0, 0), "{files:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_vdc_dies_while_a_disk_is_made() {
    let hold = |cluster: &Cluster, pool: &str| cluster.shelf(pool).stall(true);
    let release = |cluster: &Cluster, pool: &str| cluster.shelf(pool).stall(false);
    killed_while_creating("Making disk", hold, release).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_vdc_dies_while_a_vm_is_defined() {
    let slow = Trouble::Slow(Duration::from_secs(2));
    let hold = move |cluster: &Cluster, _: &str| cluster.driver.set_trouble(slow.clone());
    let release = |cluster: &Cluster, _: &str| cluster.driver.set_trouble(Trouble::None);
    killed_while_creating("Defining", hold, release).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_vdc_dies_while_a_vm_is_started() {
    let slow = Trouble::Slow(Duration::from_secs(2));
    let hold = move |cluster: &Cluster, _: &str| cluster.driver.set_trouble(slow.clone());
    let release = |cluster: &Cluster, _: &str| cluster.driver.set_trouble(Trouble::None);
    killed_while_creating("Starting", hold, release).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_node_dies_while_a_vm_is_defined() {
    let mut cluster = Cluster::start().await;
    let pool_id = cluster.pool("main").await;
    cluster.driver.set_trouble(Trouble::Slow(Duration::from_secs(2)));
    let made = cluster.ok(cluster.client.vms().create_vm(wish("web-1", &pool_id)).await).into_owned();
    cluster.task_at(&made.task_id, "Defining").await;
    cluster.kill_node();
    cluster.driver.set_trouble(Trouble::None);
    cluster.start_node().await;
    let fault = cluster.task_failed(&made.task_id).await;
    assert_eq!((fault.code, fault.host.as_str()), (FaultCode::HostUnreachable, "host-1"), "{fault}");
    let vms = cluster.ok(cluster.client.vms().list_vms(vm::ListVmsRequest::default()).await).into_owned();
    assert_eq!(vms.total, 0, "{:?}", vms.vms);
    assert_eq!(on_disk(&cluster, &pool_id, "volumes").await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_vdc_dies_while_a_vm_is_deleted() {
    for step in ["Removing the VM", "Removing disk"] {
        let mut cluster = Cluster::start().await;
        let pool_id = cluster.pool("main").await;
        let made = cluster.vm(wish("web-1", &pool_id)).await;
        cluster.powered(&made.id, vm::PowerState::POWER_STATE_OFF).await;
        match step {
            "Removing disk" => cluster.shelf(&pool_id).stall(true),
            _ => cluster.driver.set_trouble(Trouble::Slow(Duration::from_secs(2))),
        }
        let request = vm::DeleteVmRequest { id: made.id, delete_volumes: true, ..Default::default() };
        let gone = cluster.ok(cluster.client.vms().delete_vm(request).await).into_owned();
        cluster.task_at(&gone.task_id, step).await;
        cluster.kill_vdc();
        cluster.shelf(&pool_id).stall(false);
        cluster.driver.set_trouble(Trouble::None);
        cluster.start_vdc().await;
        cluster.task_done(&gone.task_id).await;
        let vms = cluster.ok(cluster.client.vms().list_vms(vm::ListVmsRequest::default()).await);
        assert_eq!(vms.into_owned().total, 0);
        assert_eq!(on_disk(&cluster, &pool_id, "volumes").await, Vec::<String>::new());
    }
}
