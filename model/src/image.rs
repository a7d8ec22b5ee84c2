//! ISOs and disk images in the library.
//!
//! ```text
//!   Uploading ──▶ Verifying ──▶ Ready ──▶ Deleting
//!       │             │                      ▲
//!       └─────────────┴──▶ Error ────────────┘
//! ```
//! An image is never Ready before its host checked size, checksum and content.

use crate::volume::VolumeFormat;
use serde::{Deserialize, Serialize};

/// What an image is, by content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageFormat {
    /// ISO 9660 or UDF: goes into a CD drive.
    Iso,
    /// QEMU copy-on-write disk.
    Qcow2,
    /// Plain disk with a boot sector.
    Raw,
}

impl ImageFormat {
    /// File name ending.
    pub fn as_str(self) -> &'static str {
        match self {
            ImageFormat::Iso => "iso",
            ImageFormat::Qcow2 => "qcow2",
            ImageFormat::Raw => "raw",
        }
    }

    /// The disk format, when a disk can start from this image.
    pub fn disk_format(self) -> Option<VolumeFormat> {
        match self {
            ImageFormat::Iso => None,
            ImageFormat::Qcow2 => Some(VolumeFormat::Qcow2),
            ImageFormat::Raw => Some(VolumeFormat::Raw),
        }
    }
}

/// Where an image stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImagePhase {
    /// Bytes are coming.
    Uploading,
    /// All bytes are there; the host checks them.
    Verifying,
    /// Usable.
    Ready,
    /// Refused or lost; says why.
    Error,
    /// Being removed.
    Deleting,
}

impl ImagePhase {
    /// Whether an image may go from this phase to `next`.
    pub fn may_become(self, next: ImagePhase) -> bool {
        use ImagePhase::*;
        match (self, next) {
            (Uploading, Verifying | Error | Deleting)
            | (Verifying, Ready | Error | Deleting | Uploading)
            | (Ready, Error | Deleting)
            | (Error, Uploading | Deleting) => true,
            (Uploading, Uploading | Ready)
            | (Verifying, Verifying)
            | (Ready, Uploading | Verifying | Ready)
            | (Error, Verifying | Ready | Error)
            | (Deleting, _) => false,
        }
    }
}

/// What a host found when it checked an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageFacts {
    /// By content.
    pub format: ImageFormat,
    /// What a guest would see.
    pub virtual_size_bytes: u64,
    /// Lower-case hex.
    pub sha256: String,
}
