//! Ending at any moment, and starting again.

use crate::vdc::TestVdc;
use crate::yard::{
    Machine, delete_vm, furnish, line, pool_id, pool_intent, power, register, until, vm_id, vm_intent,
    volume_request,
};
use quantix_contract::quantix::node::v1::BeatRequest;
use quantix_contract::twin;
use quantix_hypervisor::fake::Trouble;
use quantix_model::FaultCode;
use quantix_model::pool::PoolHealth;
use quantix_model::vm::PowerVerb;
use quantix_node::Node;
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_daemon_has_everything() {
    let (machine, vdc) = (Machine::new(), TestVdc::start().await);
    vdc.want_pools(vec![pool_intent(1)]);
    let daemon = machine.start().await;
    let completion = register(&daemon, &vdc).await;
    furnish(&line(&daemon, &vdc, &completion)).await;
    line(&daemon, &vdc, &completion).power_vm(power(PowerVerb::Start)).await.unwrap();
    let first_life = vdc.beat_that("any", |_| true).await.boot_id;
    daemon.stop().await;
    let daemon = machine.start().await;
    let beat = vdc
        .beat_that("all of it", |b| {
            b.boot_id != first_life
                && b.vms_known
                && b.vms.len() == 1
                && b.pools.iter().any(|p| twin::read("health", p.health) == Ok(PoolHealth::Healthy))
        })
        .await;
    assert_eq!(beat.host_id, completion.host_id);
    let line = line(&daemon, &vdc, &completion);
    line.apply_pool(pool_intent(1)).await.unwrap();
    line.power_vm(power(PowerVerb::ForceStop)).await.unwrap();
    daemon.stop().await;
}

/// Nobody may be told that libvirt does not answer before libvirt was asked.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_beat_of_a_life_follows_the_first_look() {
    let (machine, vdc) = (Machine::new(), TestVdc::start().await);
    vdc.want_pools(vec![pool_intent(1)]);
    let daemon = machine.start().await;
    let completion = register(&daemon, &vdc).await;
    furnish(&line(&daemon, &vdc, &completion)).await;
    let first_life = vdc.beat_that("any", |_| true).await.boot_id;
    daemon.stop().await;
    machine.driver.set_trouble(Trouble::Slow(Duration::from_millis(700)));
    let daemon = machine.start().await;
    let beat = vdc.beat_that("the first of this life", |b| b.boot_id != first_life).await;
    assert_eq!(beat.sequence, 1);
    assert!(beat.vms_known && beat.vms.len() == 1 && beat.engine.is_set(), "{beat:?}");
    assert_eq!(twin::read::<PoolHealth>("health", beat.pools[0].health).unwrap(), PoolHealth::Healthy);
    let second_life = beat.boot_id;
    daemon.stop().await;
    // A hypervisor that hangs holds the beat up for a moment only.
    machine.driver.set_trouble(Trouble::Slow(Duration::from_secs(25)));
    machine.driver.set_deadline(Duration::from_secs(7));
    let began = Instant::now();
    let daemon = machine.start().await;
    let unlike = |b: &BeatRequest| b.boot_id != first_life && b.boot_id != second_life;
    let beat = vdc.beat_that("the first of a silent one", unlike).await;
    assert!(began.elapsed() < Duration::from_millis(6500), "{:?}", began.elapsed());
    assert!(!beat.vms_known && beat.pools.len() == 1, "{beat:?}");
    machine.driver.set_trouble(Trouble::None);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_daemons_on_one_folder_are_one_too_many() {
    let machine = Machine::new();
    let daemon = machine.start().await;
    let fault = Node::start(machine.options()).await.err().expect("the folder is taken");
    assert_eq!(fault.code, FaultCode::Busy);
    daemon.stop().await;
    machine.start().await.stop().await;
}

/// Kills the daemon at a random-ish moment of a create–start–stop–delete round, many times: whatever was answered
/// is there, whatever was not can be asked again, and in the end nothing is left over.
#[test]
fn killed_between_any_two_steps() {
    let machine = Machine::new();
    let outer = tokio::runtime::Runtime::new().unwrap();
    let vdc = outer.block_on(TestVdc::start());
    vdc.want_pools(vec![pool_intent(1)]);
    let completion = {
        let life = tokio::runtime::Runtime::new().unwrap();
        let completion = life.block_on(async { register(&machine.start().await, &vdc).await });
        life.shutdown_timeout(Duration::from_secs(2));
        completion
    };
    for round in 0..12u64 {
        let life = tokio::runtime::Runtime::new().unwrap();
        let (acknowledged, address) = life.block_on(async {
            let daemon = start_when_unlocked(&machine).await;
            let line = line(&daemon, &vdc, &completion);
            let mut done = Vec::new();
            let work = async {
                line.apply_pool(pool_intent(1)).await.map(|_| done.push("pool"))?;
                line.create_volume(volume_request()).await.map(|_| done.push("volume"))?;
                line.apply_vm(vm_intent(1)).await.map(|_| done.push("vm"))?;
                line.power_vm(power(PowerVerb::Start)).await.map(|_| done.push("start"))?;
                line.power_vm(power(PowerVerb::ForceStop)).await.map(|_| done.push("stop"))?;
                line.delete_vm(delete_vm(1)).await.map(|_| done.push("delete"))
            };
            let result: Result<Result<(), _>, _> =
                tokio::time::timeout(Duration::from_millis(5 + round * 9), work).await;
            if let Ok(Err(fault)) = result {
                panic!("{fault}");
            }
            (done, daemon.address())
        });
        // Everything of this life ends here, wherever it is.
        life.shutdown_timeout(Duration::from_secs(5));
        let ledger = std::fs::read_to_string(machine.folder.path().join("state/ledger.json")).unwrap();
        let defined = machine.driver.definition(vm_id()).is_some();
        if acknowledged.contains(&"pool") {
            assert!(ledger.contains(&pool_id().to_string()), "{address}: {acknowledged:?}");
        }
        match acknowledged.last() {
            Some(&"vm" | &"start") => assert!(defined, "{acknowledged:?}"),
            Some(&"delete") => assert!(!defined, "{acknowledged:?}"),
            _ => {}
        }
    }
    outer.block_on(async {
        let daemon = start_when_unlocked(&machine).await;
        let line = line(&daemon, &vdc, &completion);
        line.apply_pool(pool_intent(1)).await.unwrap();
        line.create_volume(volume_request()).await.unwrap();
        line.apply_vm(vm_intent(1)).await.unwrap();
        line.power_vm(power(PowerVerb::ForceStop)).await.unwrap();
        assert!(line.delete_vm(delete_vm(1)).await.unwrap().existed);
        line.release_pool(crate::yard::release_pool(1)).await.expect("nothing uses the pool any more");
        daemon.stop().await;
    });
}

/// The lock of a killed life is free a moment after its last thread has gone.
async fn start_when_unlocked(machine: &Machine) -> quantix_node::NodeHandle {
    until("the folder is free", async || match Node::start(machine.options()).await {
        Ok(daemon) => Some(daemon),
        Err(fault) if fault.code == FaultCode::Busy => None,
        Err(fault) => panic!("{fault}"),
    })
    .await
}
