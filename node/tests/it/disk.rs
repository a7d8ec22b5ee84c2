//! Disks of VMs through the whole daemon: given and taken while the guest runs, held only then, grown, and their keys.

use crate::vdc::TestVdc;
use crate::volume::grow;
use crate::yard::{
    Machine, furnish, line, pool_id, pool_intent, power, register, release_pool, until, vm_id, vm_intent,
    volume_id, volume_request,
};
use quantix_client::HostClient;
use quantix_contract::quantix::node::v1 as node;
use quantix_contract::quantix::vm::v1 as vm;
use quantix_hypervisor::driver::{DiskSource, Secrets as _};
use quantix_hypervisor::fake::Trouble;
use quantix_model::id::VolumeId;
use quantix_model::pool::spec::secret_uuid;
use quantix_model::pool::{CephSpec, PoolSpec};
use quantix_model::vm::{Disk, PowerVerb, VmSpec};
use quantix_model::{Fault, FaultCode, Secret};
use quantix_storage::backend::{Attachment, LettingGo};
use quantix_storage::fake::Reach;
use std::io::Write;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};
use uuid::Uuid;

const SECOND: VolumeId = VolumeId(Uuid::from_u128(0x801 << 64));
const CANARY: &str = "Q2FuYXJ5TmV2ZXJTZWVu";

fn intent(generation: u64, volumes: &[VolumeId]) -> node::VmIntent {
    let mut intent = vm_intent(generation);
    let spec = VmSpec::try_from(intent.spec.as_option().unwrap()).unwrap();
    let disks = volumes.iter().map(|id| Disk { volume_id: *id, pool_id: pool_id() }).collect();
    intent.spec = vm::VmSpec::from(&VmSpec { disks, ..spec }).into();
    intent
}

async fn second(line: &HostClient) {
    line.create_volume(node::CreateVolumeRequest { volume_id: SECOND.to_string(), ..volume_request() })
        .await
        .unwrap();
}

fn start(generation: u64) -> node::PowerVmRequest {
    node::PowerVmRequest { generation, ..power(PowerVerb::Start) }
}

fn live(machine: &Machine) -> Vec<String> {
    machine.driver.live_disks(vm_id()).into_iter().map(|(disk, _)| disk.serial).collect()
}

fn defined(machine: &Machine) -> (u64, Vec<String>) {
    let definition = machine.driver.definition(vm_id()).unwrap();
    (definition.generation, definition.disks.into_iter().map(|disk| disk.serial).collect())
}

fn serials(volumes: &[VolumeId]) -> Vec<String> {
    volumes.iter().map(|id| id.to_string()[..20].to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_vm_gets_and_gives_back_a_disk() {
    let (machine, vdc) = (Machine::new(), TestVdc::start().await);
    let (daemon, line) = machine.enrol(&vdc).await;
    furnish(&line).await;
    second(&line).await;
    line.power_vm(start(1)).await.unwrap();
    let both = [volume_id(), SECOND];
    for _ in 0..2 {
        line.apply_vm(intent(2, &both)).await.unwrap();
        assert_eq!(live(&machine), serials(&both));
        assert_eq!(defined(&machine), (2, serials(&both)));
    }
    machine.driver.set_disks_held(true);
    let fault = line.apply_vm(intent(3, &[volume_id()])).await.unwrap_err();
    assert_eq!((fault.code, fault.host.as_str()), (FaultCode::VolumeInUse, "host-1"), "{fault}");
    assert_eq!(live(&machine), serials(&both), "a guest that holds on keeps it");
    assert_eq!(defined(&machine), (2, serials(&both)), "and so does the definition");
    machine.driver.set_disks_held(false);
    line.apply_vm(intent(3, &[volume_id()])).await.unwrap();
    assert_eq!(live(&machine), serials(&[volume_id()]));
    assert_eq!(defined(&machine), (3, serials(&[volume_id()])));
    assert_eq!(machine.launcher.pool(pool_id()).held(), [volume_id()], "only what is used is held");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_fails_leaves_guest_and_definition_as_they_were() {
    let (machine, vdc) = (Machine::new(), TestVdc::start().await);
    let (daemon, line) = machine.enrol(&vdc).await;
    furnish(&line).await;
    second(&line).await;
    line.power_vm(start(1)).await.unwrap();
    let first = serials(&[volume_id()]);
    // The disk goes in, then the definition is refused: another name for the same machine.
    let renamed = node::VmIntent { name: "web-2".into(), ..intent(2, &[volume_id(), SECOND]) };
    let fault = line.apply_vm(renamed).await.unwrap_err();
    assert_eq!(fault.code, FaultCode::Conflict, "{fault}");
    assert_eq!((live(&machine), defined(&machine)), (first.clone(), (1, first.clone())));
    // One disk out and another in, and the definition refused: the first comes back.
    let renamed = node::VmIntent { name: "web-2".into(), ..intent(2, &[SECOND]) };
    line.apply_vm(renamed).await.unwrap_err();
    assert_eq!((live(&machine), defined(&machine)), (first.clone(), (1, first.clone())));
    machine.driver.set_trouble(Trouble::Refuse("No more available PCI slots".into()));
    let fault = line.apply_vm(intent(2, &[volume_id(), SECOND])).await.unwrap_err();
    assert_eq!(fault.cause, "No more available PCI slots");
    machine.driver.set_trouble(Trouble::None);
    assert_eq!((live(&machine), defined(&machine)), (first.clone(), (1, first)));
    assert_eq!(machine.launcher.pool(pool_id()).held(), [volume_id()]);
    line.apply_vm(intent(2, &[volume_id(), SECOND])).await.expect("nothing stands in its way now");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn volumes_are_held_only_while_their_vm_runs() {
    let (machine, vdc) = (Machine::new(), TestVdc::start().await);
    vdc.want_pools(vec![pool_intent(1)]);
    let daemon = machine.start().await;
    let completion = register(&daemon, &vdc).await;
    let host = line(&daemon, &vdc, &completion);
    let pool = machine.launcher.pool(pool_id());
    pool.reach(Reach::Blocks);
    furnish(&host).await;
    let source = machine.driver.definition(vm_id()).unwrap().disks[0].source.clone();
    assert_eq!(source, DiskSource::Block { path: format!("/dev/fake/{}", volume_id()) });
    assert!(pool.held().is_empty(), "a VM that is off holds nothing");
    host.power_vm(start(1)).await.unwrap();
    assert_eq!(pool.held(), [volume_id()]);
    machine.driver.crash(vm_id());
    until("let go of after a crash", async || pool.held().is_empty().then_some(())).await;
    machine.driver.set_trouble(Trouble::Refuse("no".into()));
    host.power_vm(start(1)).await.unwrap_err();
    assert!(pool.held().is_empty(), "nor does one that did not start");
    machine.driver.set_trouble(Trouble::None);
    host.power_vm(start(1)).await.unwrap();
    assert_eq!(pool.held(), [volume_id()]);
    daemon.stop().await;
    assert_eq!(pool.held(), [volume_id()], "a daemon that ends leaves VMs alone");
    machine.driver.guest_powers_off(vm_id());
    let daemon = machine.start().await;
    until("let go of by the next daemon", async || pool.held().is_empty().then_some(())).await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn volumes_that_cannot_be_let_go_of_are_told_until_they_are() {
    let (machine, vdc) = (Machine::new(), TestVdc::start().await);
    vdc.want_pools(vec![pool_intent(1)]);
    let (daemon, host) = machine.enrol(&vdc).await;
    let pool = machine.launcher.pool(pool_id());
    pool.reach(Reach::Blocks);
    furnish(&host).await;
    host.power_vm(start(1)).await.unwrap();
    let broken = Fault::new(FaultCode::PoolIoFailed, "The LUN does not answer.", "Look at the target.");
    pool.fail(Some(broken.because("Input/output error")));
    machine.driver.crash(vm_id());
    let beat = vdc.beat_that("why they are held", |b| b.vms.iter().any(|vm| vm.fault.is_set())).await;
    let told = &beat.vms[0];
    assert!(told.fault_since.is_set(), "with its age");
    let fault = Fault::from(told.fault.as_option().unwrap());
    assert!(fault.message.contains("could not let go of its volumes"), "{fault}");
    assert_eq!(
        (fault.code, fault.cause.as_str()),
        (FaultCode::PoolIoFailed, "Input/output error"),
        "{fault}"
    );
    assert!(fault.remedy.contains("tried again"), "{fault}");
    assert_eq!(pool.held(), [volume_id()]);
    pool.fail(None);
    vdc.beat_that("no longer", |b| b.vms.len() == 1 && b.vms[0].fault.is_unset()).await;
    assert!(pool.held().is_empty(), "and it is so");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_grows_while_its_vm_runs() {
    let (machine, vdc) = (Machine::new(), TestVdc::start().await);
    let (daemon, line) = machine.enrol(&vdc).await;
    furnish(&line).await;
    let pool = machine.launcher.pool(pool_id());
    line.power_vm(start(1)).await.unwrap();
    let size = |machine: &Machine| machine.driver.live_disks(vm_id())[0].1;
    for _ in 0..2 {
        assert_eq!(line.grow_volume(grow(2 << 30)).await.unwrap().size_bytes, 2 << 30);
        assert_eq!(size(&machine), 2 << 30, "the guest sees it");
    }
    let fault = line.grow_volume(grow(1 << 30)).await.unwrap_err();
    assert_eq!(fault.code, FaultCode::VolumeCannotShrink);
    // A device is made larger first, then QEMU is told.
    pool.reach(Reach::Blocks);
    assert_eq!(line.grow_volume(grow(3 << 30)).await.unwrap().size_bytes, 3 << 30);
    assert_eq!(size(&machine), 3 << 30);
    let list = node::ListVolumesRequest { pool_id: pool_id().to_string(), ..Default::default() };
    assert_eq!(line.list_volumes(list).await.unwrap().volumes[0].size_bytes, 3 << 30);
    pool.can(|can| can.grow_running = false);
    let retry = node::RetryPoolRequest { pool_id: pool_id().to_string(), ..Default::default() };
    line.retry_pool(retry).await.unwrap();
    let fault = line.grow_volume(grow(4 << 30)).await.unwrap_err();
    assert_eq!(fault.code, FaultCode::VolumeInUse, "{fault}");
    assert!(fault.message.contains("web-1") && fault.remedy.contains("grow"), "{fault:?}");
    line.power_vm(power(PowerVerb::ForceStop)).await.unwrap();
    assert_eq!(line.grow_volume(grow(4 << 30)).await.unwrap().size_bytes, 4 << 30);
    daemon.stop().await;
}

/// Everything the daemon logs.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn ceph_intent() -> node::PoolIntent {
    let spec = PoolSpec::Ceph(CephSpec {
        monitors: vec!["192.0.2.1".into()],
        pool: "vms".into(),
        user: "quantix".into(),
        key: Secret::new(CANARY),
    });
    let spec = quantix_contract::pool::spec_with_secrets(&spec).into();
    node::PoolIntent { spec, ..pool_intent(1) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_reaches_the_hypervisor_and_nobody_else() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .try_init()
        .expect("this test has a process of its own: run it with nextest");
    let (machine, vdc) = (Machine::new(), TestVdc::start().await);
    vdc.want_pools(vec![ceph_intent()]);
    let (daemon, line) = machine.enrol(&vdc).await;
    let uuid = secret_uuid(pool_id());
    let pool = machine.launcher.pool(pool_id());
    pool.reach(Reach::Rbd(Attachment::Rbd {
        monitors: vec!["192.0.2.1".into()],
        pool: "vms".into(),
        image: String::new(),
        user: "quantix".into(),
        secret_uuid: uuid,
    }));
    let mut seen = format!("{:?}", line.apply_pool(ceph_intent()).await.unwrap());
    line.create_volume(volume_request()).await.unwrap();
    seen += &format!("{:?}", line.apply_vm(vm_intent(1)).await.unwrap());
    line.power_vm(start(1)).await.expect("the key is there before the start");
    assert_eq!(machine.driver.secret(uuid), Some(Secret::new(CANARY)));
    // libvirt forgets it when it restarts.
    machine.driver.set_trouble(Trouble::Down);
    machine.driver.set_trouble(Trouble::None);
    until("the key is set again", async || machine.driver.secret(uuid)).await;
    // A disk given to the running VM needs it too, whoever took it away.
    second(&line).await;
    assert!(machine.driver.secret_remove(uuid).await.unwrap());
    line.apply_vm(intent(2, &[volume_id(), SECOND])).await.unwrap();
    let other = node::PoolIntent { generation: 1, name: "other".into(), ..ceph_intent() };
    seen += &format!("{:?}", line.apply_pool(other).await);
    seen += &format!("{:?}", line.release_pool(release_pool(1)).await.unwrap_err());
    seen += &format!("{:?}", vdc.beats());
    seen += &String::from_utf8_lossy(&log.0.lock().unwrap());
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        seen += &String::from_utf8_lossy(&command);
    }
    assert!(seen.contains("pool released") || seen.contains("host-1"), "something was written down");
    assert!(!seen.contains(CANARY), "the key was told");
    let ledger = machine.folder.path().join("state/ledger.json");
    assert!(std::fs::read_to_string(&ledger).unwrap().contains(CANARY), "the host remembers it");
    assert_eq!(std::fs::metadata(&ledger).unwrap().permissions().mode() & 0o777, 0o600);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_starts_with_the_monitors_and_the_key_its_pool_has_now() {
    let (machine, vdc) = (Machine::new(), TestVdc::start().await);
    let (daemon, line) = machine.enrol(&vdc).await;
    let uuid = secret_uuid(pool_id());
    let pool = machine.launcher.pool(pool_id());
    let reach = |monitor: &str| {
        Reach::Rbd(Attachment::Rbd {
            monitors: vec![monitor.into()],
            pool: "vms".into(),
            image: String::new(),
            user: "quantix".into(),
            secret_uuid: uuid,
        })
    };
    let intent = |generation: u64, monitor: &str, key: &str| {
        let spec = PoolSpec::Ceph(CephSpec {
            monitors: vec![monitor.into()],
            pool: "vms".into(),
            user: "quantix".into(),
            key: Secret::new(key),
        });
        let spec = quantix_contract::pool::spec_with_secrets(&spec).into();
        node::PoolIntent { spec, ..pool_intent(generation) }
    };
    let monitors = || match machine.driver.definition(vm_id()).unwrap().disks.remove(0).source {
        DiskSource::Rbd { monitors, .. } => monitors,
        other => panic!("{other:?}"),
    };
    pool.reach(reach("192.0.2.1"));
    vdc.want_pools(vec![intent(1, "192.0.2.1", "AQ==")]);
    line.apply_pool(intent(1, "192.0.2.1", "AQ==")).await.unwrap();
    line.create_volume(volume_request()).await.unwrap();
    line.apply_vm(vm_intent(1)).await.unwrap();
    assert_eq!(monitors(), ["192.0.2.1"]);

    pool.reach(reach("192.0.2.2"));
    vdc.want_pools(vec![intent(2, "192.0.2.2", "BQ==")]);
    line.apply_pool(intent(2, "192.0.2.2", "BQ==")).await.unwrap();
    line.power_vm(start(1)).await.unwrap();
    assert_eq!(
        (monitors(), machine.driver.secret(uuid)),
        (vec!["192.0.2.2".into()], Some(Secret::new("BQ==")))
    );
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_released_pool_is_let_go_of_unless_it_is_in_use() {
    let (machine, vdc) = (Machine::new(), TestVdc::start().await);
    let (daemon, line) = machine.enrol(&vdc).await;
    let pool = machine.launcher.pool(pool_id());
    furnish(&line).await;
    let fault = line.release_pool(release_pool(1)).await.unwrap_err();
    assert_eq!(fault.code, FaultCode::PoolInUse);
    assert!(pool.let_go().is_empty(), "a VM uses it");
    line.delete_vm(crate::yard::delete_vm(1)).await.unwrap();
    pool.fail(Some(Fault::new(FaultCode::PoolInUse, "Something has a file open.", "End it.")));
    let fault = line.release_pool(release_pool(1)).await.unwrap_err();
    assert_eq!(fault.message, "Something has a file open.");
    pool.fail(None);
    let list = node::ListVolumesRequest { pool_id: pool_id().to_string(), ..Default::default() };
    assert_eq!(line.list_volumes(list.clone()).await.unwrap().volumes.len(), 1, "it is still served");
    line.release_pool(release_pool(1)).await.unwrap();
    assert_eq!(pool.let_go(), [LettingGo::Orderly]);
    assert_eq!(line.list_volumes(list).await.unwrap_err().code, FaultCode::PoolNotAssigned);
    line.apply_pool(pool_intent(2)).await.unwrap();
    pool.fail(Some(Fault::new(FaultCode::PoolInUse, "Something has a file open.", "End it.")));
    let force = node::ReleasePoolRequest { force: true, ..release_pool(2) };
    line.release_pool(force).await.expect("whatever it says");
    daemon.stop().await;
}
