//! VMs through the whole daemon.

use crate::vdc::TestVdc;
use crate::yard::{Machine, delete_vm, furnish, pool_intent, power, vm_id, vm_intent, volume_id};
use quantix_contract::quantix::node::v1 as node;
use quantix_contract::twin;
use quantix_hypervisor::fake::Trouble;
use quantix_model::FaultCode;
use quantix_model::id::VmId;
use quantix_model::vm::{PowerState, PowerVerb};
use uuid::Uuid;

fn state(report: &node::VmReport) -> PowerState {
    twin::read("power_state", report.power_state).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_lives_its_life() {
    let (machine, vdc) = (Machine::new(), TestVdc::start().await);
    let (daemon, line) = machine.enrol(&vdc).await;
    furnish(&line).await;
    let definition = machine.driver.definition(vm_id()).expect("it is defined");
    assert_eq!((definition.name.as_str(), definition.generation), ("web-1", 1));
    assert!(format!("{:?}", definition.disks[0].source).contains(&volume_id().to_string()));
    assert_eq!(definition.disks[0].serial, volume_id().to_string()[..20]);
    assert_eq!(state(&line.apply_vm(vm_intent(1)).await.unwrap()), PowerState::Off);
    assert_eq!(state(&line.power_vm(power(PowerVerb::Start)).await.unwrap()), PowerState::Running);
    assert_eq!(state(&line.power_vm(power(PowerVerb::Start)).await.unwrap()), PowerState::Running);
    let fault = line.delete_vm(delete_vm(1)).await.unwrap_err();
    assert_eq!(fault.code, FaultCode::VmActionNotAllowed);
    let running = |b: &node::BeatRequest| b.vms.iter().any(|v| state(v) == PowerState::Running);
    vdc.beat_that("it runs", running).await;
    line.power_vm(power(PowerVerb::ShutDown)).await.unwrap();
    let off = |b: &node::BeatRequest| b.vms.iter().any(|v| state(v) == PowerState::Off);
    let beat = vdc.beat_that("the guest shut itself down", off).await;
    assert_eq!(beat.vms[0].generation, 1);
    assert!(line.delete_vm(delete_vm(1)).await.unwrap().existed);
    assert!(!line.delete_vm(delete_vm(1)).await.unwrap().existed);
    assert!(machine.driver.definition(vm_id()).is_none());
    vdc.beat_that("it is gone", |b| b.vms_known && b.vms.is_empty()).await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn older_generations_are_refused_also_after_a_delete() {
    let (machine, vdc) = (Machine::new(), TestVdc::start().await);
    let (daemon, line) = machine.enrol(&vdc).await;
    furnish(&line).await;
    line.apply_vm(vm_intent(5)).await.unwrap();
    assert_eq!(line.apply_vm(vm_intent(4)).await.unwrap_err().code, FaultCode::StaleGeneration);
    let old = power(PowerVerb::Start);
    assert_eq!(line.power_vm(old).await.unwrap_err().code, FaultCode::StaleGeneration);
    line.delete_vm(delete_vm(5)).await.unwrap();
    let fault = line.apply_vm(vm_intent(4)).await.unwrap_err();
    assert_eq!(fault.code, FaultCode::StaleGeneration, "a call that comes late makes no VM");
    assert!(machine.driver.definition(vm_id()).is_none());
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_definition_leaves_nothing_behind() {
    let (machine, vdc) = (Machine::new(), TestVdc::start().await);
    let (daemon, line) = machine.enrol(&vdc).await;
    line.apply_pool(pool_intent(1)).await.unwrap();
    line.create_volume(crate::yard::volume_request()).await.unwrap();
    machine.driver.set_trouble(Trouble::Refuse("no such machine type".into()));
    let fault = line.apply_vm(vm_intent(1)).await.unwrap_err();
    assert_eq!((fault.code, fault.host.as_str()), (FaultCode::HypervisorRefused, "host-1"));
    machine.driver.set_trouble(Trouble::None);
    line.release_pool(crate::yard::release_pool(1)).await.expect("no VM uses the pool");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_machines_are_shown_and_never_touched() {
    let (machine, vdc) = (Machine::new(), TestVdc::start().await);
    let stranger = VmId(Uuid::from_u128(0xbad));
    machine.driver.add_foreign(stranger, "legacy");
    let (daemon, line) = machine.enrol(&vdc).await;
    let beat = vdc.beat_that("it is listed", |b| !b.vms.is_empty()).await;
    assert_eq!((beat.vms[0].generation, beat.vms[0].name.as_str()), (0, "legacy"));
    let request = node::DeleteVmRequest { vm_id: stranger.to_string(), generation: 9, ..Default::default() };
    assert_eq!(line.delete_vm(request).await.unwrap_err().code, FaultCode::Conflict);
    assert!(machine.driver.definition(stranger).is_some());
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_hypervisor_is_said_and_found_again() {
    let (machine, vdc) = (Machine::new(), TestVdc::start().await);
    let (daemon, line) = machine.enrol(&vdc).await;
    furnish(&line).await;
    line.power_vm(power(PowerVerb::Start)).await.unwrap();
    machine.driver.set_trouble(Trouble::Down);
    let fault = line.power_vm(power(PowerVerb::ForceStop)).await.unwrap_err();
    assert_eq!(fault.code, FaultCode::HypervisorUnavailable);
    let beat = vdc.beat_that("unknown", |b| !b.vms_known).await;
    assert!(beat.vms.iter().all(|v| state(v) == PowerState::Unknown));
    machine.driver.set_trouble(Trouble::None);
    let known = |b: &node::BeatRequest| b.vms_known && b.vms.iter().any(|v| state(v) == PowerState::Running);
    vdc.beat_that("known again", known).await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_behind_the_daemons_back_is_told_at_once() {
    let (machine, vdc) = (Machine::new(), TestVdc::with_interval(60_000).await);
    let (daemon, line) = machine.enrol(&vdc).await;
    furnish(&line).await;
    line.power_vm(power(PowerVerb::Start)).await.unwrap();
    let crashed = |b: &node::BeatRequest| b.vms.iter().any(|v| state(v) == PowerState::Crashed);
    let wait = vdc.beat_that("the crash", crashed);
    tokio::join!(wait, async { machine.driver.crash(vm_id()) });
    let wait = vdc.beat_that("gone", |b| b.vms_known && b.vms.is_empty());
    tokio::join!(wait, async { machine.driver.vanish(vm_id()) });
    daemon.stop().await;
}
