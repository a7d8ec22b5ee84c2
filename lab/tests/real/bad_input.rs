//! What goes wrong on a real host, and what a person is told.

use crate::{files, guest_vm};
use quantix_contract::quantix::host::v1 as host;
use quantix_contract::quantix::vm::v1 as vm;
use quantix_lab::mount::Tmpfs;
use quantix_lab::rig::{self, Rig, STEP_DEADLINE, until};
use quantix_model::FaultCode;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn libvirt_stops_and_comes_back() {
    let folder = rig::folder();
    let mut rig = Rig::start(folder.path()).await;
    let pool_id = rig.pool("main", &folder.path().join("pool")).await;
    let request = vm::CreateVmRequest { cdrom_image_id: String::new(), ..guest_vm("web-1", &pool_id, "") };
    let made = rig.vm(request.clone()).await;
    rig.kill_libvirt();
    let degraded = until("the host says so", STEP_DEADLINE, async || {
        let hosts = rig.client.hosts().list_hosts(host::ListHostsRequest::default()).await.ok()?.into_owned();
        hosts.hosts.into_iter().find(|h| h.phase == host::HostPhase::HOST_PHASE_DEGRADED)
    })
    .await;
    let fault = degraded.fault.as_option().expect("a degraded host says why");
    assert_eq!(fault.code.to_i32(), FaultCode::HypervisorUnavailable.number(), "{fault:?}");
    assert!(!fault.remedy.is_empty());
    let other = vm::CreateVmRequest { name: "web-2".into(), ..request };
    let refused = rig.refused(rig.client.vms().create_vm(other).await);
    assert_eq!(refused.code, FaultCode::NoHostFits, "{refused}");
    assert!(refused.reasons.iter().any(|r| r.reason.contains("hypervisor")), "{refused:?}");
    rig.start_libvirt();
    rig.host_ready().await;
    rig.powered(&made.id, vm::PowerState::POWER_STATE_OFF).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_says_so_and_leaves_nothing() {
    let folder = rig::folder();
    let small = Tmpfs::mount(&folder.path().join("small"), 8 << 20);
    let rig = Rig::start(&folder.path().join("rig")).await;
    let pool_dir = small.path().join("pool");
    let pool_id = rig.pool("small", &pool_dir).await;
    let big = folder.path().join("big.raw");
    let file = std::fs::File::create(&big).unwrap();
    file.set_len(32 << 20).unwrap();
    drop(file);
    let made = rig.declare_image("big", &pool_id, 32 << 20).await;
    let output = rig.curl_upload(&made.upload_path, &big).output().unwrap();
    assert!(!output.status.success(), "32 MiB do not fit into 8");
    let body = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(body.contains("POOL_FULL") && body.contains("remedy"), "{body}");
    let image = made.image.as_option().expect("an image comes back").id.clone();
    rig.delete_image(&image).await;
    until("nothing is left", STEP_DEADLINE, async || files(pool_dir.join("images")).is_empty().then_some(()))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_image_is_refused_by_content() {
    let folder = rig::folder();
    let rig = Rig::start(&folder.path().join("rig")).await;
    let pool_dir = folder.path().join("pool");
    let pool_id = rig.pool("main", &pool_dir).await;
    let page = folder.path().join("page.iso");
    std::fs::write(&page, "<!DOCTYPE html><html><body>404 Not Found</body></html>").unwrap();
    let made = rig.declare_image("page.iso", &pool_id, std::fs::metadata(&page).unwrap().len()).await;
    let _ = rig.curl_upload(&made.upload_path, &page).output().unwrap();
    let end = rig.task_end(&made.task_id).await;
    let fault = end.fault.as_option().expect("the task failed and says why");
    assert_eq!(fault.code.to_i32(), FaultCode::ImageNotAnImage.number(), "{fault:?}");
    until("nothing is left", STEP_DEADLINE, async || files(pool_dir.join("images")).is_empty().then_some(()))
        .await;
}
