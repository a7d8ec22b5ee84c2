//! `kill -9` at any moment: afterwards every task has ended, and there is one of everything or nothing.

use crate::{files, guest_vm};
use quantix_contract::quantix::task::v1 as task;
use quantix_contract::quantix::vm::v1 as vm;
use quantix_lab::rig::{self, Rig, STEP_DEADLINE, until, virsh};
use std::path::Path;
use std::time::Duration;

/// Moments within the creation of a VM, which takes some hundred milliseconds.
const MOMENTS_MS: [u64; 6] = [0, 15, 40, 90, 200, 400];

#[derive(Clone, Copy, Debug)]
enum Victim {
    Vdc,
    Node,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_the_vdc_leaves_one_or_nothing() {
    creation_survives(Victim::Vdc).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_the_node_leaves_one_or_nothing() {
    creation_survives(Victim::Node).await;
}

async fn creation_survives(victim: Victim) {
    let folder = rig::folder();
    let mut rig = Rig::start(folder.path()).await;
    let pool_dir = folder.path().join("pool");
    let pool_id = rig.pool("main", &pool_dir).await;
    for (round, after_ms) in MOMENTS_MS.into_iter().enumerate() {
        let name = format!("vm-{round}");
        // A host that was just killed does not know its pools yet, and says so.
        rig.pool_ready(&pool_id).await;
        let request = vm::CreateVmRequest { cdrom_image_id: String::new(), ..guest_vm(&name, &pool_id, "") };
        let made = rig.ok(rig.client.vms().create_vm(request).await.map(|answer| answer.into_owned()));
        tokio::time::sleep(Duration::from_millis(after_ms)).await;
        match victim {
            Victim::Vdc => {
                rig.kill_vdc();
                rig.start_vdc().await;
            }
            Victim::Node => {
                rig.kill_node();
                rig.start_node();
            }
        }
        let end = rig.task_end(&made.task_id).await;
        let id = made.vm.as_option().expect("a VM comes back").id.clone();
        let expected = one_or_nothing(&end, &name);
        settled(&rig, &pool_dir, &id, expected).await;
        if expected == 1 {
            rig.host_ready().await;
            rig.powered(&id, vm::PowerState::POWER_STATE_OFF).await;
            rig.delete_vm(&id).await;
            settled(&rig, &pool_dir, &id, 0).await;
        }
    }
}

fn one_or_nothing(end: &task::Task, name: &str) -> usize {
    if end.state == task::TaskState::TASK_STATE_DONE {
        return 1;
    }
    let fault = end.fault.as_option().unwrap_or_else(|| panic!("{name}: a task that failed says why"));
    assert!(!fault.message.is_empty() && !fault.remedy.is_empty(), "{fault:?}");
    0
}

/// The same count of VMs, definitions and files, once the host is back and has cleaned up.
async fn settled(rig: &Rig, pool_dir: &Path, id: &str, expected: usize) {
    until(&format!("{expected} of everything"), STEP_DEADLINE, async || {
        let domains = virsh(&rig.libvirt_uri(), &["list", "--all", "--uuid"]);
        let domains = domains.lines().filter(|line| line.trim() == id).count();
        let volumes = files(pool_dir.join("volumes")).len();
        let request = vm::GetVmRequest { id: id.into(), ..Default::default() };
        let known = usize::from(rig.client.vms().get_vm(request).await.is_ok());
        ([domains, volumes, known] == [expected; 3]).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_guest_outlives_both_daemons() {
    let folder = rig::folder();
    let mut rig = Rig::start(folder.path()).await;
    let pool_id = rig.pool("main", &folder.path().join("pool")).await;
    let request =
        vm::CreateVmRequest { cdrom_image_id: String::new(), start: true, ..guest_vm("web-1", &pool_id, "") };
    let made = rig.vm(request).await;
    rig.powered(&made.id, vm::PowerState::POWER_STATE_RUNNING).await;
    let before = virsh(&rig.libvirt_uri(), &["domid", &made.id]);
    rig.kill_node();
    rig.kill_vdc();
    rig.start_vdc().await;
    let request = vm::GetVmRequest { id: made.id.clone(), ..Default::default() };
    let unseen = rig.ok(rig.client.vms().get_vm(request).await.map(|answer| answer.into_owned()));
    assert!(
        unseen.power_state == vm::PowerState::POWER_STATE_UNKNOWN,
        "nobody reported yet, so nobody knows: {:?}",
        unseen.power_state
    );
    rig.start_node();
    rig.powered(&made.id, vm::PowerState::POWER_STATE_RUNNING).await;
    assert_eq!(virsh(&rig.libvirt_uri(), &["domid", &made.id]), before, "the same QEMU still runs");
}
