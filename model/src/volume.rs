//! Virtual disks.

use crate::fault::Fault;
use serde::{Deserialize, Serialize};

/// Smallest and largest virtual disk: qcow2 needs one cluster, and 64 TiB is the most vSphere takes too.
pub const SIZE_BYTES_MIN: u64 = 1 << 20;
/// See [`SIZE_BYTES_MIN`].
pub const SIZE_BYTES_MAX: u64 = 64 << 40;

/// How the bytes of a disk are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VolumeFormat {
    /// QEMU copy-on-write; thin.
    Qcow2,
    /// Plain bytes; sparse where the file system can.
    Raw,
}

impl VolumeFormat {
    /// QEMU's name for it, also the file name ending.
    pub fn as_str(self) -> &'static str {
        match self {
            VolumeFormat::Qcow2 => "qcow2",
            VolumeFormat::Raw => "raw",
        }
    }
}

/// Where a volume stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VolumePhase {
    /// Intent is durable, the host is making it.
    Creating,
    /// The host said it is there.
    Ready,
    /// Could not be made or was lost.
    Error,
    /// Being removed.
    Deleting,
}

/// Checks a wished size: in range and a multiple of 512, the sector size.
pub fn check_size(field: &str, size_bytes: u64) -> Result<(), Fault> {
    let remedy = "Choose from 1 MiB to 64 TiB, a multiple of 512 bytes.";
    if !(SIZE_BYTES_MIN..=SIZE_BYTES_MAX).contains(&size_bytes) || !size_bytes.is_multiple_of(512) {
        return Err(Fault::invalid(field, format!("A disk of {size_bytes} bytes cannot be made."), remedy));
    }
    Ok(())
}
