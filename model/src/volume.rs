//! Virtual disks.

pub mod actions;

use crate::fault::Fault;
use crate::id::{ImageId, VolumeId};
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

/// When space is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Allocation {
    /// As it is written.
    #[default]
    Thin,
    /// All at once.
    Thick,
}

/// What a new volume starts with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum VolumeSource {
    /// Nothing.
    #[default]
    Blank,
    /// A finished image of the same pool.
    Image {
        /// Which.
        id: ImageId,
        /// Without copying: the image must then stay.
        linked: bool,
    },
    /// Another volume of the same pool.
    Volume {
        /// Which.
        id: VolumeId,
        /// As it was then; empty: as it is.
        snapshot: String,
        /// Without copying: the source (or its snapshot) must then stay, and a source without snapshot can no
        /// longer be written.
        linked: bool,
    },
}

impl VolumeSource {
    /// The volume it is made from.
    pub fn volume(&self) -> Option<VolumeId> {
        match self {
            VolumeSource::Volume { id, .. } => Some(*id),
            VolumeSource::Blank | VolumeSource::Image { .. } => None,
        }
    }

    /// The image it is made from.
    pub fn image(&self) -> Option<ImageId> {
        match self {
            VolumeSource::Image { id, .. } => Some(*id),
            VolumeSource::Blank | VolumeSource::Volume { .. } => None,
        }
    }
}

/// Longest name of a snapshot, in characters: what LVM leaves beside a volume's id.
pub const SNAPSHOT_NAME_CHARS_MAX: usize = 40;

/// Checks a snapshot's name, which every backend must be able to keep as it is.
pub fn check_snapshot_name(field: &str, name: &str) -> Result<(), Fault> {
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let ends = |b: Option<u8>| b.is_some_and(|b| b != b'-');
    let bytes = name.as_bytes();
    if bytes.len() > SNAPSHOT_NAME_CHARS_MAX
        || !bytes.iter().copied().all(legal)
        || !ends(bytes.first().copied())
        || !ends(bytes.last().copied())
    {
        return Err(Fault::invalid(
            field,
            format!("{name:?} cannot be a snapshot's name."),
            "Use 1 to 40 characters: a-z, 0-9 and `-`, starting and ending with a letter or digit.",
        ));
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshot_names() {
        for good in ["a", "before-update", "2026-11-20", &"x".repeat(40)] {
            assert!(check_snapshot_name("name", good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "a b", "A", "a@b", "ä", "../a", "a\n", &"x".repeat(41)] {
            assert_eq!(check_snapshot_name("name", bad).expect_err(bad).field, "name");
        }
    }
}
