//! A daemon under test and what it stands on.

use crate::vdc::TestVdc;
use quantix_client::registration::Completion;
use quantix_client::{HostClient, Registration};
use quantix_contract::quantix::node::v1 as node;
use quantix_contract::quantix::pool::v1 as pool;
use quantix_contract::quantix::vm::v1 as vm;
use quantix_contract::twin;
use quantix_hypervisor::fake::FakeDriver;
use quantix_model::host::Accelerator;
use quantix_model::id::{HostId, PoolId, VmId, VolumeId};
use quantix_model::pool::PoolSpec;
use quantix_model::vm::{Disk, Firmware, PowerVerb, VmSpec};
use quantix_model::volume::VolumeFormat;
use quantix_node::{Node, NodeHandle, NodeOptions};
use quantix_storage::device::fake::FakeDisks;
use quantix_storage::worker::{FakeLauncher, Limits};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// Nothing in these tests takes longer.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A machine: what outlives its daemon.
pub struct Machine {
    pub folder: tempfile::TempDir,
    pub driver: FakeDriver,
    pub launcher: Arc<FakeLauncher>,
    pub disks: FakeDisks,
    /// Between tries of a pool that does not answer.
    pub backoff: Duration,
    /// What a pool's worker may take before it counts as stalled.
    pub patience: Duration,
}

impl Machine {
    pub fn new() -> Machine {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        Machine {
            folder: tempfile::tempdir().unwrap(),
            driver: FakeDriver::new(Accelerator::Tcg),
            launcher: FakeLauncher::new(),
            disks: FakeDisks::default(),
            backoff: Duration::from_millis(50),
            patience: Duration::from_millis(400),
        }
    }

    pub fn options(&self) -> NodeOptions {
        NodeOptions {
            state_dir: self.folder.path().join("state"),
            listen: ([127, 0, 0, 1], 0).into(),
            driver: Arc::new(self.driver.clone()),
            launcher: self.launcher.clone(),
            pool_limits: Limits {
                patience_max: self.patience,
                backoff_min: self.backoff,
                backoff_max: 4 * self.backoff,
                ..Limits::default()
            },
            runner: Arc::new(self.disks.clone()),
            machine_root: "/".into(),
            logs: Default::default(),
        }
    }

    pub async fn start(&self) -> NodeHandle {
        Node::start(self.options()).await.expect("the daemon starts")
    }

    /// A daemon that belongs to `vdc`, and the vDC's line to it.
    pub async fn enrol(&self, vdc: &TestVdc) -> (NodeHandle, HostClient) {
        let daemon = self.start().await;
        let completion = register(&daemon, vdc).await;
        let line = line(&daemon, vdc, &completion);
        (daemon, line)
    }
}

/// Registers a daemon at `vdc`.
pub async fn register(daemon: &NodeHandle, vdc: &TestVdc) -> Completion {
    let registration = Registration::new(&url(daemon), &daemon.token().await.unwrap()).unwrap();
    let contact = registration.ping().await.unwrap();
    let completion = vdc.completion(HostId(Uuid::new_v4()), &contact.certificate_der);
    registration.complete(&completion).await.unwrap();
    completion
}

pub fn url(daemon: &NodeHandle) -> String {
    format!("https://{}", daemon.address())
}

/// The vDC's line to a daemon that was registered so.
pub fn line(daemon: &NodeHandle, vdc: &TestVdc, completion: &Completion) -> HostClient {
    HostClient::new(completion.host_id.parse().unwrap(), "host-1", &url(daemon), vdc.client_config()).unwrap()
}

/// Asks until there is an answer.
pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let end = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(tokio::time::Instant::now() < end, "{what}: not in time");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub fn pool_id() -> PoolId {
    PoolId(Uuid::from_u128(0x900))
}

pub fn vm_id() -> VmId {
    VmId(Uuid::from_u128(0x700))
}

pub fn volume_id() -> VolumeId {
    VolumeId(Uuid::from_u128(0x800))
}

pub fn pool_intent(generation: u64) -> node::PoolIntent {
    let spec = PoolSpec::local("/srv/quantix/main");
    node::PoolIntent {
        pool_id: pool_id().to_string(),
        generation,
        spec: pool::PoolSpec::from(&spec).into(),
        name: "main".into(),
        ..Default::default()
    }
}

pub fn volume_request() -> node::CreateVolumeRequest {
    node::CreateVolumeRequest {
        pool_id: pool_id().to_string(),
        volume_id: volume_id().to_string(),
        size_bytes: 1 << 30,
        format: twin::write(VolumeFormat::Qcow2),
        ..Default::default()
    }
}

pub fn vm_intent(generation: u64) -> node::VmIntent {
    let spec = VmSpec {
        vcpus: 1,
        memory_bytes: 256 << 20,
        firmware: Firmware::Bios,
        disks: vec![Disk { volume_id: volume_id(), pool_id: pool_id() }],
        cdrom: None,
        nics: vec![],
    };
    node::VmIntent {
        vm_id: vm_id().to_string(),
        name: "web-1".into(),
        generation,
        spec: vm::VmSpec::from(&spec).into(),
        ..Default::default()
    }
}

pub fn power(verb: PowerVerb) -> node::PowerVmRequest {
    node::PowerVmRequest {
        vm_id: vm_id().to_string(),
        verb: twin::write(verb),
        generation: 1,
        ..Default::default()
    }
}

pub fn delete_vm(generation: u64) -> node::DeleteVmRequest {
    node::DeleteVmRequest { vm_id: vm_id().to_string(), generation, ..Default::default() }
}

pub fn release_pool(generation: u64) -> node::ReleasePoolRequest {
    node::ReleasePoolRequest { pool_id: pool_id().to_string(), generation, ..Default::default() }
}

/// A pool, a volume in it, and a VM with that volume.
pub async fn furnish(line: &HostClient) {
    line.apply_pool(pool_intent(1)).await.unwrap();
    line.create_volume(volume_request()).await.unwrap();
    line.apply_vm(vm_intent(1)).await.unwrap();
}
