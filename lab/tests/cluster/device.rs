//! A disk of a host becomes a pool: listed, chosen, initialised, mounted; and every way in which it does not.

use quantix_contract::quantix::host::v1 as host;
use quantix_contract::quantix::pool::v1 as pool;
use quantix_lab::cluster::Cluster;
use quantix_model::{Fault, FaultCode};
use quantix_storage::device::fake::FakeDisk;

const GIB: u64 = 1 << 30;

async fn list(cluster: &Cluster, host_id: &str) -> Vec<host::BlockDevice> {
    let request = host::ListDevicesRequest { host_id: host_id.into(), ..Default::default() };
    let answer = cluster.ok(cluster.client.hosts().list_devices(request).await).into_owned();
    assert!(answer.observed_at.is_set() && answer.host == "host-1", "every value has an age and a source");
    answer.devices
}

fn wish(host_id: &str, device: &host::BlockDevice, name: &str, erase: bool) -> host::InitialiseDeviceRequest {
    host::InitialiseDeviceRequest {
        host_id: host_id.into(),
        device: device.path.clone(),
        fingerprint: device.fingerprint.clone(),
        erase,
        pool_name: name.into(),
        ..Default::default()
    }
}

async fn pools(cluster: &Cluster) -> Vec<pool::Pool> {
    cluster.ok(cluster.client.pools().list_pools(pool::ListPoolsRequest::default()).await).into_owned().pools
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_becomes_a_pool() {
    let cluster = Cluster::start().await;
    cluster.disks.add(FakeDisk::new("/dev/sdb", 8 * GIB).with_partitions(&["ext4", "swap"]));
    cluster.disks.add(FakeDisk::new("/dev/sdc", 8 * GIB));
    cluster.disks.change("/dev/sdc", |disk| disk.node.mountpoints = vec![Some("/data".into())]);
    let host_id = cluster.host_ready().await.id;
    let calls = cluster.client.hosts();
    let seen = list(&cluster, &host_id).await;
    assert_eq!(seen[0].contents.len(), 3);
    let may = |device: &host::BlockDevice| device.allowed_actions[0].allowed;
    assert!(may(&seen[0]) && !may(&seen[1]), "{seen:?}");
    assert!(seen[1].allowed_actions[0].reason_if_not.contains("/data"));

    // Nobody said that it may be erased: no pool, and the disk as it was.
    let asked =
        cluster.ok(calls.initialise_device(wish(&host_id, &seen[0], "disk", false)).await).into_owned();
    assert_eq!(cluster.task_failed(&asked.task_id).await.code, FaultCode::PoolForeignData);
    assert_eq!((pools(&cluster).await.len(), cluster.disks.disk("/dev/sdb").unwrap().marks.len()), (0, 3));

    let asked =
        cluster.ok(calls.initialise_device(wish(&host_id, &seen[0], "disk", true)).await).into_owned();
    cluster.task_done(&asked.task_id).await;
    let made = cluster.pool_in(&asked.pool_id, pool::PoolPhase::POOL_PHASE_READY).await;
    assert_eq!((made.name.as_str(), made.host_statuses[0].host_id.as_str()), ("disk", host_id.as_str()));
    let Some(pool::pool_spec::Backend::Local(local)) = &made.spec.as_option().unwrap().backend else {
        panic!("a local pool")
    };
    assert!(local.path.ends_with(&made.id) && local.file_system_uuid.len() == 36, "{local:?}");

    let fault: Fault = cluster.refused(calls.initialise_device(wish(&host_id, &seen[0], "disk", true)).await);
    assert_eq!((fault.code, fault.field.as_str()), (FaultCode::NameTaken, "pool_name"));
    let asked =
        cluster.ok(calls.initialise_device(wish(&host_id, &seen[0], "other", true)).await).into_owned();
    assert_eq!(cluster.task_failed(&asked.task_id).await.code, FaultCode::DeviceChanged);
    let asked =
        cluster.ok(calls.initialise_device(wish(&host_id, &seen[1], "other", true)).await).into_owned();
    assert_eq!(cluster.task_failed(&asked.task_id).await.code, FaultCode::DeviceInUse);
    assert_eq!(pools(&cluster).await.len(), 1, "what failed left no pool");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vdc_that_dies_meanwhile_ends_what_it_began() {
    let mut cluster = Cluster::start().await;
    let mut disk = FakeDisk::new("/dev/sdb", 8 * GIB);
    disk.slow = std::time::Duration::from_millis(400);
    cluster.disks.add(disk);
    let host_id = cluster.host_ready().await.id;
    let seen = list(&cluster, &host_id).await;
    let asked = wish(&host_id, &seen[0], "disk", false);
    let asked = cluster.ok(cluster.client.hosts().initialise_device(asked).await).into_owned();
    cluster.task_at(&asked.task_id, "Initialising").await;
    cluster.kill_vdc();
    cluster.start_vdc().await;
    cluster.task_done(&asked.task_id).await;
    cluster.pool_in(&asked.pool_id, pool::PoolPhase::POOL_PHASE_READY).await;
    assert_eq!(pools(&cluster).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_is_not_there_leaves_no_pool() {
    let cluster = Cluster::start().await;
    cluster.disks.add(FakeDisk::new("/dev/sdb", 8 * GIB));
    let host_id = cluster.host_ready().await.id;
    let mut seen = list(&cluster, &host_id).await.remove(0);
    seen.path = "/dev/nothing".into();
    let calls = cluster.client.hosts();
    let asked = cluster.ok(calls.initialise_device(wish(&host_id, &seen, "disk", false)).await).into_owned();
    let fault = cluster.task_failed(&asked.task_id).await;
    assert_eq!((fault.code, fault.host.as_str()), (FaultCode::PoolDeviceMissing, "host-1"), "{fault}");
    assert!(pools(&cluster).await.is_empty());
    let mut bad = wish(&host_id, &seen, "No Name!", false);
    assert_eq!(cluster.refused(calls.initialise_device(bad.clone()).await).field, "pool_name");
    bad.pool_name = "disk".into();
    bad.device = "sdb; reboot".into();
    assert_eq!(cluster.refused(calls.initialise_device(bad).await).field, "device");
}
