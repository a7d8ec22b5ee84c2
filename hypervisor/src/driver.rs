//! What the daemon asks of a hypervisor, whichever it is.

use async_trait::async_trait;
use quantix_model::host::{Accelerator, Engine};
use quantix_model::id::VmId;
use quantix_model::time::UnixMs;
use quantix_model::vm::{Firmware, NicKind, PowerState, PowerVerb};
use quantix_model::volume::VolumeFormat;
use quantix_model::{Fault, Secret};
use std::os::unix::net::UnixStream;
use tokio::sync::broadcast;
use uuid::Uuid;

/// A hypervisor error is a fault from the start.
pub type Result<T> = std::result::Result<T, Fault>;

/// A hypervisor. Every method has its own deadline inside; none blocks the caller's thread.
#[async_trait]
pub trait Driver: Disks + Secrets + Send + Sync + 'static {
    /// Versions and accelerator. Its `fault` is set, not returned, when the hypervisor does not answer.
    async fn engine(&self) -> Engine;
    /// Makes or replaces the persistent definition.
    async fn define(&self, machine: &Machine) -> Result<()>;
    /// Removes the definition of a stopped machine; `false` when it was not there.
    async fn undefine(&self, id: VmId) -> Result<bool>;
    /// Changes power. `Already` cases are successes.
    async fn power(&self, id: VmId, verb: PowerVerb) -> Result<()>;
    /// One machine; `None` when the hypervisor has none of that id.
    async fn get(&self, id: VmId) -> Result<Option<MachineReport>>;
    /// All machines, ours and others'.
    async fn list(&self) -> Result<Vec<MachineReport>>;
    /// A stream that speaks RFB: the machine's screen.
    async fn console(&self, id: VmId) -> Result<UnixStream>;
    /// Tells that a machine changed; lagging receivers should list again.
    fn events(&self) -> broadcast::Receiver<MachineEvent>;
}

/// Disks of machines that are there already. A disk is known by its serial, which is unique in its machine.
#[async_trait]
pub trait Disks {
    /// The disks a machine has: while it is active those the guest sees, else those of its definition.
    async fn disk_list(&self, id: VmId) -> Result<Vec<DiskReport>>;
    /// Gives a disk to a machine: to the guest at once while it is active, and to the definition. One that is there
    /// already is a success.
    async fn disk_attach(&self, id: VmId, disk: &MachineDisk) -> Result<()>;
    /// Takes a disk away: asks the guest to let go of it while it is active, then from the definition. One that is not
    /// there is a success. `VOLUME_IN_USE` when the guest does not let go; guest and definition then keep it.
    async fn disk_detach(&self, id: VmId, serial: &str) -> Result<()>;
    /// Makes a running guest's disk larger; files and RBD images grow with it, a block device must be so large
    /// already. The same size again is a success, a smaller one `VOLUME_CANNOT_SHRINK`.
    async fn disk_grow(&self, id: VmId, serial: &str, size_bytes: u64) -> Result<()>;
}

/// Keys the hypervisor needs to reach disks over the network. Kept in its memory only, gone when it restarts.
#[async_trait]
pub trait Secrets {
    /// Sets the key (base64, as Ceph writes them) of a CephX user. `usage` says for whom, for people; unique.
    async fn secret_set(&self, uuid: Uuid, usage: &str, key: &Secret) -> Result<()>;
    /// Forgets a key; `false` when it was not there.
    async fn secret_remove(&self, uuid: Uuid) -> Result<bool>;
}

/// A VM as the hypervisor needs it: everything resolved to paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Also the domain's UUID.
    pub id: VmId,
    /// Domain name.
    pub name: String,
    /// Generation of the intent, kept in the definition's metadata.
    pub generation: u64,
    /// Virtual processors.
    pub vcpus: u32,
    /// Guest memory.
    pub memory_bytes: u64,
    /// Boots how.
    pub firmware: Firmware,
    /// In boot order.
    pub disks: Vec<MachineDisk>,
    /// An empty drive is there too, so that media can be changed.
    pub cdrom: Option<DiskSource>,
    /// In slot order.
    pub nics: Vec<MachineNic>,
    /// How guests run on this host.
    pub accelerator: Accelerator,
}

/// A disk with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineDisk {
    /// Where its bytes are.
    pub source: DiskSource,
    /// Serial the guest sees: the first 20 characters of the volume id.
    pub serial: String,
}

/// Where QEMU finds the bytes of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskSource {
    /// A file.
    File {
        /// Absolute.
        path: String,
        /// Given explicitly: QEMU must never probe it.
        format: VolumeFormat,
    },
    /// A block device, raw.
    Block {
        /// Absolute.
        path: String,
    },
    /// An RBD image, raw.
    Rbd {
        /// `host`, `host:port` or `[v6]:port`.
        monitors: Vec<String>,
        /// Ceph pool.
        pool: String,
        /// Image in it.
        image: String,
        /// CephX user without `client.`.
        user: String,
        /// Its key is kept under this; see [`Secrets`].
        secret_uuid: Uuid,
    },
}

/// A disk as the hypervisor shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskReport {
    /// As given; empty for one Quantix did not make.
    pub serial: String,
    /// As the guest's bus names it, e.g. `vda`.
    pub target: String,
    /// As the guest sees it; `None` while the machine is not active.
    pub size_bytes: Option<u64>,
}

/// A network card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineNic {
    /// Reaches out how.
    pub kind: NicKind,
    /// Colon form.
    pub mac: String,
}

/// What the hypervisor says of a machine.
#[derive(Clone, Debug, PartialEq)]
pub struct MachineReport {
    /// Domain UUID.
    pub id: VmId,
    /// Domain name.
    pub name: String,
    /// From the definition's metadata; `None` when Quantix did not make it.
    pub generation: Option<u64>,
    /// Now.
    pub power_state: PowerState,
    /// As the hypervisor words it, e.g. `destroyed`.
    pub power_reason: String,
    /// CPU time of all vCPUs since start, nanoseconds; `None` when not active.
    pub cpu_time_ns: Option<u64>,
    /// Resident memory of QEMU in bytes; `None` when not active.
    pub memory_used_bytes: Option<u64>,
    /// vCPUs.
    pub vcpus: u32,
}

/// Words of the event every machine gets when the hypervisor stops answering.
pub const LOST: &str = "hypervisor lost";
/// Words of the event every machine gets when the hypervisor answers again: what happened meanwhile is unheard.
pub const RETURNED: &str = "hypervisor returned";

/// A machine changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineEvent {
    /// Which.
    pub id: VmId,
    /// In the hypervisor's words: `started`, `stopped: destroyed`, `shutdown: guest`.
    pub what: String,
    /// Seen then.
    pub at: UnixMs,
}
