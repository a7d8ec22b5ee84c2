//! From nothing to a running guest that obeys, and back to nothing.

use crate::{files, guest_iso, guest_vm};
use quantix_contract::quantix::vm::v1 as vm;
use quantix_lab::rig::{self, Rig, virsh};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_is_made_runs_obeys_and_goes() {
    let iso = guest_iso();
    let folder = rig::folder();
    let rig = Rig::start(folder.path()).await;
    let pool_dir = folder.path().join("pool");
    let pool_id = rig.pool("main", &pool_dir).await;
    let iso_id = rig.upload("guest.iso", &pool_id, &iso).await;

    let made = rig.vm(guest_vm("web-1", &pool_id, &iso_id)).await;
    rig.powered(&made.id, vm::PowerState::POWER_STATE_OFF).await;
    assert_eq!(files(pool_dir.join("volumes")).len(), 1);

    rig.power(&made.id, vm::PowerVerb::POWER_VERB_START).await;
    let seen = rig.powered(&made.id, vm::PowerState::POWER_STATE_RUNNING).await;
    assert!(seen.observed_at.is_set(), "a power state has an age");
    let xml = virsh(&rig.libvirt_uri(), &["dumpxml", &made.id]);
    assert!(
        !xml.contains("listen='0.0.0.0'") && !xml.contains("type='address'"),
        "the screen is on no network: {xml}"
    );

    // A power change behind our back is seen by event, long before the next beat.
    virsh(&rig.libvirt_uri(), &["suspend", &made.id]);
    rig.powered(&made.id, vm::PowerState::POWER_STATE_PAUSED).await;
    rig.power(&made.id, vm::PowerVerb::POWER_VERB_RESUME).await;
    rig.powered(&made.id, vm::PowerState::POWER_STATE_RUNNING).await;

    // The guest needs some seconds until it listens to its power button.
    quantix_lab::rig::until("the guest shuts down", quantix_lab::rig::STEP_DEADLINE, async || {
        let request = vm::PowerVmRequest {
            id: made.id.clone(),
            verb: vm::PowerVerb::POWER_VERB_SHUT_DOWN.into(),
            ..Default::default()
        };
        let _ = rig.client.vms().power_vm(request).await;
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        let request = vm::GetVmRequest { id: made.id.clone(), ..Default::default() };
        let seen = rig.client.vms().get_vm(request).await.ok()?.into_owned();
        (seen.power_state == vm::PowerState::POWER_STATE_OFF).then_some(())
    })
    .await;

    rig.delete_vm(&made.id).await;
    rig.delete_image(&iso_id).await;
    assert_eq!(files(pool_dir.join("volumes")), Vec::<String>::new());
    assert_eq!(files(pool_dir.join("images")), Vec::<String>::new());
    assert_eq!(virsh(&rig.libvirt_uri(), &["list", "--all", "--name"]).trim(), "");
}
