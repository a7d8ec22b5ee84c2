//! Disks of a host as somebody sees them who looks for room for a pool.

use serde::{Deserialize, Serialize};

/// How a disk keeps its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceKind {
    /// On spinning platters.
    #[default]
    Hdd,
    /// In flash, behind a bus made for disks.
    Ssd,
    /// In flash, on PCI Express.
    Nvme,
}

/// A whole disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockDevice {
    /// `/dev/sdb`; may be another disk's after a boot.
    pub path: String,
    /// All of it.
    pub size_bytes: u64,
    /// As the device tells.
    pub model: String,
    /// As the device tells.
    pub serial: String,
    /// World-wide name; empty when it has none.
    pub wwn: String,
    /// How it is connected, in lsblk's words (`sata`, `nvme`); empty when it does not tell.
    pub transport: String,
    /// How it keeps its bytes.
    pub kind: DeviceKind,
    /// The device takes no writes.
    pub read_only: bool,
    /// It may be pulled out.
    pub removable: bool,
    /// What is on it, one line each.
    pub contents: Vec<String>,
    /// Why it cannot be initialised whatever one says; empty when it can.
    pub refused_because: String,
    /// Stands for what was seen.
    pub fingerprint: String,
}
