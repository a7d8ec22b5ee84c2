//! What daemon and worker say to each other. Both come from the same build, so there is one version only.

use crate::backend::{
    Attachment, FileDetails, FilePage, FileQuery, LettingGo, PoolInfo, PoolSetup, Progress, SnapshotInfo,
    VolumeInfo, VolumeWish,
};
use crate::explore::Found;
use bytes::Bytes;
use quantix_model::Fault;
use quantix_model::id::{ImageId, VolumeId};
use quantix_model::image::ImageFacts;
use quantix_model::volume::{Allocation, VolumeSource};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// First frame to a worker; answered as call 0, with the pool's info or why it is not usable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// Must equal the worker's own version: after an upgrade the old worker's file may still be running.
    pub version: String,
    /// What to serve.
    pub setup: PoolSetup,
    /// Do not serve it: let go of what an earlier worker of it left on the host, and say `Done`. Works without the
    /// pool's server, which may be dead for good.
    #[serde(default)]
    pub let_go: Option<LettingGo>,
    /// Do not serve it: its spec is a question. Answer that, and end.
    #[serde(default)]
    pub explore: bool,
}

/// A call with its number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Comes back in the answer.
    pub number: u64,
    /// What to do.
    pub call: Call,
}

/// What a worker can be asked. One variant per backend method.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Call {
    Info,
    Destroy {
        how: LettingGo,
    },
    Refresh {
        take_in: bool,
    },
    VolumeCreate {
        wish: VolumeWish,
    },
    VolumeDelete {
        id: VolumeId,
    },
    VolumeList,
    VolumeAttach {
        id: VolumeId,
    },
    VolumeDetach {
        id: VolumeId,
    },
    VolumeGrow {
        id: VolumeId,
        size_bytes: u64,
    },
    VolumeFlatten {
        id: VolumeId,
    },
    SnapshotCreate {
        id: VolumeId,
        name: String,
    },
    SnapshotList {
        id: VolumeId,
    },
    SnapshotRevert {
        id: VolumeId,
        name: String,
    },
    SnapshotDelete {
        id: VolumeId,
        name: String,
    },
    FileList {
        query: FileQuery,
    },
    FileDetails {
        path: String,
    },
    /// The bytes come as the answer's body.
    FileRead {
        path: String,
        offset: u64,
        limit: usize,
    },
    FileMakeFolder {
        path: String,
    },
    FileRename {
        from: String,
        to: String,
    },
    FileCopy {
        from: String,
        to: String,
    },
    FileRemove {
        path: String,
    },
    UploadKeep {
        id: ImageId,
        path: String,
        size_bytes: u64,
        sha256: Option<String>,
    },
    UploadOpen {
        id: ImageId,
        size_bytes: u64,
    },
    /// The bytes are the frame's body.
    UploadWrite {
        id: ImageId,
        offset: u64,
    },
    UploadSync {
        id: ImageId,
    },
    UploadFinish {
        id: ImageId,
        size_bytes: u64,
        sha256: Option<String>,
    },
    ImageDelete {
        id: ImageId,
    },
    ImageAttach {
        id: ImageId,
    },
}

/// Which thread of the worker does a call. Calls of one lane are done in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Looking and small changes: milliseconds.
    Short,
    /// Changes that a program of the host makes: seconds.
    Change,
    /// Copies: as long as it takes, with progress.
    Long,
    /// Waiting for the disk, while more is written.
    Sync,
}

impl Lane {
    /// Every lane.
    pub const ALL: [Lane; 4] = [Lane::Short, Lane::Change, Lane::Long, Lane::Sync];
}

impl Call {
    /// Its name, for counting: `volume_create`.
    pub fn kind(&self) -> &'static str {
        match self {
            Call::Info => "info",
            Call::Destroy { .. } => "destroy",
            Call::Refresh { .. } => "refresh",
            Call::VolumeCreate { .. } => "volume_create",
            Call::VolumeDelete { .. } => "volume_delete",
            Call::VolumeList => "volume_list",
            Call::VolumeAttach { .. } => "volume_attach",
            Call::VolumeDetach { .. } => "volume_detach",
            Call::VolumeGrow { .. } => "volume_grow",
            Call::VolumeFlatten { .. } => "volume_flatten",
            Call::SnapshotCreate { .. } => "snapshot_create",
            Call::SnapshotList { .. } => "snapshot_list",
            Call::SnapshotRevert { .. } => "snapshot_revert",
            Call::SnapshotDelete { .. } => "snapshot_delete",
            Call::FileList { .. } => "file_list",
            Call::FileDetails { .. } => "file_details",
            Call::FileRead { .. } => "file_read",
            Call::FileMakeFolder { .. } => "file_make_folder",
            Call::FileRename { .. } => "file_rename",
            Call::FileCopy { .. } => "file_copy",
            Call::FileRemove { .. } => "file_remove",
            Call::UploadKeep { .. } => "upload_keep",
            Call::UploadOpen { .. } => "upload_open",
            Call::UploadWrite { .. } => "upload_write",
            Call::UploadSync { .. } => "upload_sync",
            Call::UploadFinish { .. } => "upload_finish",
            Call::ImageDelete { .. } => "image_delete",
            Call::ImageAttach { .. } => "image_attach",
        }
    }

    /// The lane that does it.
    pub fn lane(&self) -> Lane {
        match self {
            Call::VolumeCreate { wish }
                if wish.source != VolumeSource::Blank || wish.allocation == Allocation::Thick =>
            {
                Lane::Long
            }
            Call::UploadFinish { .. }
            | Call::VolumeFlatten { .. }
            | Call::UploadKeep { .. }
            | Call::FileCopy { .. }
            | Call::FileRemove { .. } => Lane::Long,
            Call::VolumeGrow { .. }
            | Call::SnapshotCreate { .. }
            | Call::SnapshotRevert { .. }
            | Call::SnapshotDelete { .. }
            | Call::Refresh { .. }
            | Call::Destroy { .. } => Lane::Change,
            Call::UploadSync { .. } => Lane::Sync,
            Call::VolumeCreate { .. }
            | Call::Info
            | Call::VolumeDelete { .. }
            | Call::VolumeList
            | Call::VolumeAttach { .. }
            | Call::VolumeDetach { .. }
            | Call::SnapshotList { .. }
            | Call::FileList { .. }
            | Call::FileDetails { .. }
            | Call::FileRead { .. }
            | Call::FileMakeFolder { .. }
            | Call::FileRename { .. }
            | Call::UploadOpen { .. }
            | Call::UploadWrite { .. }
            | Call::ImageDelete { .. }
            | Call::ImageAttach { .. } => Lane::Short,
        }
    }

    /// How long it may say nothing before the worker counts as stalled: looking is quick, writing may wait for the disk.
    pub fn patience(&self) -> Duration {
        Duration::from_secs(match self {
            Call::Info | Call::ImageAttach { .. } => 5,
            // LVM reads, claims, reads again and checks a thin pool.
            Call::VolumeAttach { .. } => 20,
            Call::FileList { .. }
            | Call::FileDetails { .. }
            | Call::FileRead { .. }
            | Call::SnapshotList { .. }
            | Call::UploadOpen { .. } => 10,
            Call::VolumeCreate { .. }
            | Call::VolumeDelete { .. }
            | Call::VolumeDetach { .. }
            | Call::VolumeList
            | Call::FileMakeFolder { .. }
            | Call::FileRename { .. }
            | Call::FileCopy { .. }
            | Call::FileRemove { .. }
            | Call::UploadWrite { .. }
            | Call::UploadSync { .. }
            | Call::UploadFinish { .. }
            | Call::UploadKeep { .. }
            | Call::Destroy { .. }
            | Call::ImageDelete { .. } => 30,
            // qemu-img rewrites what differs, without a word until it is done.
            Call::VolumeGrow { .. }
            | Call::Refresh { .. }
            | Call::SnapshotCreate { .. }
            | Call::SnapshotRevert { .. }
            | Call::SnapshotDelete { .. } => 120,
            // Told in hundredths, of which one may be many gigabytes; a pool that stalls is noticed by who looks at it.
            Call::VolumeFlatten { .. } => 600,
        })
    }

    /// Words for people.
    pub fn what(&self) -> &'static str {
        match self {
            Call::Info => "looking at the pool",
            Call::Refresh { .. } => "looking for what changed outside the pool",
            Call::VolumeCreate { .. } => "making a volume",
            Call::VolumeDelete { .. } => "deleting a volume",
            Call::VolumeList => "listing volumes",
            Call::VolumeAttach { .. } => "finding a volume",
            Call::VolumeDetach { .. } => "letting go of a volume",
            Call::VolumeGrow { .. } => "growing a volume",
            Call::VolumeFlatten { .. } => "making a volume independent",
            Call::SnapshotCreate { .. } => "making a snapshot",
            Call::SnapshotList { .. } => "listing snapshots",
            Call::SnapshotRevert { .. } => "reverting to a snapshot",
            Call::SnapshotDelete { .. } => "deleting a snapshot",
            Call::Destroy { .. } => "letting go of the pool",
            Call::FileList { .. } => "listing files",
            Call::FileDetails { .. } => "looking at a file",
            Call::FileRead { .. } => "reading a file",
            Call::FileMakeFolder { .. } => "making a folder",
            Call::FileRename { .. } => "renaming a file",
            Call::FileCopy { .. } => "copying a file",
            Call::FileRemove { .. } => "removing files",
            Call::UploadKeep { .. } => "keeping an upload",
            Call::UploadOpen { .. } => "opening an upload",
            Call::UploadWrite { .. } => "writing an upload",
            Call::UploadSync { .. } => "making an upload durable",
            Call::UploadFinish { .. } => "checking an image",
            Call::ImageDelete { .. } => "deleting an image",
            Call::ImageAttach { .. } => "finding an image",
        }
    }
}

/// What a worker says, to which call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// Number of the call; 0 for the hello.
    pub number: u64,
    /// What.
    pub said: Said,
}

/// Progress any number of times, then one of the others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(clippy::large_enum_variant, reason = "one is alive per call, and goes into a frame at once")]
pub enum Said {
    /// It goes on.
    Progress(Progress),
    /// Done.
    Done(Answer),
    /// Refused or failed.
    Failed(Box<Fault>),
}

/// The result of a call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
#[allow(clippy::large_enum_variant, reason = "one is alive per call, and goes into a frame at once")]
pub enum Answer {
    Info(PoolInfo),
    Volume(VolumeInfo),
    Volumes(Vec<VolumeInfo>),
    Existed(bool),
    Attachment(Attachment),
    Files(FilePage),
    File(FileDetails),
    Snapshot(SnapshotInfo),
    Snapshots(Vec<SnapshotInfo>),
    Found(Found),
    Length(u64),
    Image(ImageFacts),
    /// Nothing more to say.
    Done,
    /// The bytes travel as the frame's body.
    Bytes(#[serde(skip)] Bytes),
}
