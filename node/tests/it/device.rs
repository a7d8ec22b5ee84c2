//! The host's disks through the whole daemon.

use crate::vdc::TestVdc;
use crate::yard::{Machine, pool_id};
use quantix_contract::quantix::host::v1 as host;
use quantix_contract::quantix::node::v1 as node;
use quantix_model::FaultCode;
use quantix_model::pool::PoolSpec;
use quantix_storage::device::fake::FakeDisk;
use std::time::{Duration, Instant};

fn wish(device: &host::BlockDevice, erase: bool) -> node::InitialiseDeviceRequest {
    node::InitialiseDeviceRequest {
        device: device.path.clone(),
        fingerprint: device.fingerprint.clone(),
        erase,
        pool_id: pool_id().to_string(),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn disks_are_listed_and_made_pools() {
    let (machine, vdc) = (Machine::new(), TestVdc::start().await);
    machine.disks.add(FakeDisk::new("/dev/sdb", 8 << 30).with_partitions(&["ext4"]));
    let (daemon, line) = machine.enrol(&vdc).await;
    let seen = line.list_devices(node::ListDevicesRequest::default()).await.unwrap();
    assert!(seen.observed_at.is_set() && seen.host == "host-1");
    let disk = &seen.devices[0];
    assert_eq!((disk.path.as_str(), disk.contents.len(), disk.refused_because.as_str()), ("/dev/sdb", 2, ""));
    let fault = line.initialise_device(wish(disk, false)).await.unwrap_err();
    assert_eq!((fault.code, fault.host.as_str()), (FaultCode::PoolForeignData, "host-1"));
    let mut odd = wish(disk, true);
    odd.device = "../etc/passwd".into();
    assert_eq!(line.initialise_device(odd).await.unwrap_err().field, "device");
    let PoolSpec::Local { path, file_system_uuid } = PoolSpec::disk(pool_id()) else { unreachable!() };
    for _ in 0..2 {
        let made = line.initialise_device(wish(disk, true)).await.expect("also the same again");
        assert_eq!((&made.file_system_uuid, &made.mount_path), (&file_system_uuid, &path));
    }
    let marks = machine.disks.disk("/dev/sdb").unwrap().marks;
    assert!(marks.contains(&("sdb1".into(), ("xfs".into(), file_system_uuid))), "{marks:?}");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_cut_is_ended_by_the_next_daemon() {
    let (machine, vdc) = (Machine::new(), TestVdc::start().await);
    machine.disks.add(FakeDisk::new("/dev/sdb", 8 << 30).with_partitions(&["ext4"]));
    machine.disks.change("/dev/sdb", |disk| disk.cut_mkfs = true);
    let (daemon, line) = machine.enrol(&vdc).await;
    let seen = line.list_devices(node::ListDevicesRequest::default()).await.unwrap();
    let wish = wish(&seen.devices[0], true);
    let fault = line.initialise_device(wish.clone()).await.unwrap_err();
    assert_eq!(fault.code, FaultCode::PoolIoFailed, "{fault}");
    daemon.stop().await;
    let daemon = machine.start().await;
    let line =
        quantix_client::HostClient::new(line.id(), "host-1", &crate::yard::url(&daemon), vdc.client_config());
    line.unwrap().initialise_device(wish).await.expect("the ledger knows that it was begun");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_looks_at_slow_disks_is_answered_soon() {
    let (machine, vdc) = (Machine::new(), TestVdc::start().await);
    let mut slow = FakeDisk::new("/dev/sdb", 8 << 30);
    slow.slow = Duration::from_secs(3);
    machine.disks.add(slow);
    let (daemon, line) = machine.enrol(&vdc).await;
    let began = Instant::now();
    let fault = line.list_devices(node::ListDevicesRequest::default()).await.unwrap_err();
    assert_eq!(fault.code, FaultCode::DeadlineExceeded, "{fault}");
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    crate::yard::until("the same look is fetched", async || {
        line.list_devices(node::ListDevicesRequest::default()).await.ok()
    })
    .await;
    daemon.stop().await;
}
