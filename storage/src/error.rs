//! What goes wrong on a pool.

use crate::backend::{VolumeInfo, VolumeWish};
use quantix_model::id::{ImageId, VolumeId};
use quantix_model::image::ImageFormat;
use quantix_model::{Fault, FaultCode};

/// Names a sentence may hold.
const NAMES_MAX: usize = 5;

/// A storage error is a fault from the start: it crosses the worker's socket as one.
pub type Result<T> = std::result::Result<T, Fault>;

/// The fault for an I/O error at a step, with the system's own words.
pub fn io(step: &str, err: &std::io::Error) -> Fault {
    let (code, message, remedy) = match err.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => (
            FaultCode::PoolFull,
            "The pool is full.",
            "Delete what is no longer needed, or grow the file system.",
        ),
        std::io::ErrorKind::ReadOnlyFilesystem => {
            (FaultCode::PoolReadOnly, "The pool is read-only.", "Mount it read-write on the host.")
        }
        _ => (
            FaultCode::PoolIoFailed,
            "The pool could not do that.",
            "Look at the host's disk and kernel log.",
        ),
    };
    Fault::new(code, message, remedy).because(err).in_phase(step)
}

/// The fault for something this kind of pool cannot do at all.
pub fn cannot(what: &str) -> Fault {
    let message = format!("This kind of pool cannot {what}.");
    Fault::new(FaultCode::PoolCannot, message, "Use a pool of another kind for that.")
}

/// The fault for a second change of something that is being changed.
pub fn busy(kind: &str, id: impl std::fmt::Display) -> Fault {
    Fault::new(
        FaultCode::Busy,
        format!("The {kind} {id} is being changed right now."),
        "Wait until that has ended.",
    )
}

/// A volume that is there already: fine when it is what was wished.
pub fn same_volume(wish: &VolumeWish, there: VolumeInfo) -> Result<VolumeInfo> {
    if there.size_bytes == wish.size_bytes && there.format == wish.format {
        return Ok(there);
    }
    Err(Fault::new(
        FaultCode::Conflict,
        format!(
            "The volume {} is there already, with {} bytes as {} instead of {} bytes as {}.",
            wish.id,
            there.size_bytes,
            there.format.as_str(),
            wish.size_bytes,
            wish.format.as_str()
        ),
        "Delete it first, or make one under a new id.",
    ))
}

/// Refuses to start a disk from an image that is no disk or larger than the wish.
pub fn check_image_fits(wish: &VolumeWish, format: ImageFormat, virtual_bytes: u64) -> Result<()> {
    if format.disk_format().is_none() {
        return Err(Fault::invalid(
            "image_id",
            "A disk cannot start from an ISO.",
            "Put the ISO into the CD drive and start from an empty disk, or choose a disk image.",
        ));
    }
    if wish.size_bytes < virtual_bytes {
        return Err(Fault::invalid(
            "size_bytes",
            format!(
                "The image holds a disk of {virtual_bytes} bytes; {} bytes are too small.",
                wish.size_bytes
            ),
            format!("Choose at least {virtual_bytes} bytes."),
        ));
    }
    Ok(())
}

/// A volume that is not in the pool.
pub fn volume_missing(id: VolumeId) -> Fault {
    Fault::new(
        FaultCode::VolumeMissing,
        format!("The volume {id} is not in the pool."),
        "Its file may have been removed by hand; restore it, or delete the volume.",
    )
}

/// Names of a few, and how many more.
pub fn some_of(names: &[impl std::fmt::Display]) -> String {
    let told: Vec<String> = names.iter().take(NAMES_MAX).map(|name| name.to_string()).collect();
    let more = names.len().saturating_sub(NAMES_MAX);
    if more > 0 { format!("{} and {more} more", told.join(", ")) } else { told.join(", ") }
}

/// How many, and names of a few.
pub fn none_or_some(names: &[impl std::fmt::Display]) -> String {
    if names.is_empty() { "none".to_owned() } else { format!("{}: {}", names.len(), some_of(names)) }
}

/// A volume that linked clones read.
pub fn has_clones(id: VolumeId, clones: &[VolumeId]) -> Fault {
    let need = if clones.len() == 1 { "linked clone needs" } else { "linked clones need" };
    Fault::new(
        FaultCode::VolumeHasClones,
        format!("{} {need} the volume {id} as it is: {}.", clones.len(), some_of(clones)),
        "Make those independent of it (flatten them), or delete them first.",
    )
}

/// A volume that a program on some host has open.
pub fn volume_in_use(cause: impl std::fmt::Display) -> Fault {
    Fault::new(
        FaultCode::VolumeInUse,
        "The volume is in use: a VM or another program has its file open.",
        "Shut the VM down first, or let its host do it while it runs.",
    )
    .because(cause)
}

/// A size below what there is.
pub fn cannot_shrink(id: VolumeId, there: u64, size_bytes: u64) -> Fault {
    Fault::new(
        FaultCode::VolumeCannotShrink,
        format!(
            "The volume {id} has {there} bytes; making it {size_bytes} would cut off what is at its end."
        ),
        "Choose a larger size, or copy its contents to a smaller volume inside a VM.",
    )
}

/// A snapshot that is not in the volume.
pub fn snapshot_missing(id: VolumeId, name: &str) -> Fault {
    Fault::new(
        FaultCode::SnapshotMissing,
        format!("The volume {id} has no snapshot {name:?}."),
        "Look at its snapshots again; it may have been deleted.",
    )
}

/// Refuses to start a disk from a larger one.
pub fn check_source_fits(wish: &VolumeWish, source: VolumeId, source_bytes: u64) -> Result<()> {
    if wish.size_bytes >= source_bytes {
        return Ok(());
    }
    Err(Fault::invalid(
        "size_bytes",
        format!("The volume {source} has {source_bytes} bytes; {} are too few.", wish.size_bytes),
        format!("Choose at least {source_bytes} bytes."),
    ))
}

/// A name somebody has already.
pub fn file_exists(path: &str) -> Fault {
    Fault::new(
        FaultCode::FileExists,
        format!("There is something at {path:?} already."),
        "Choose another name, or remove what is there first.",
    )
}

/// A file that volumes, images or the pool itself need.
pub fn file_in_use(path: &str) -> Fault {
    Fault::new(
        FaultCode::FileInUse,
        format!("{path:?} belongs to the pool and its volumes and images."),
        "Go by what it is: delete, clone or grow the volume or image itself.",
    )
}

/// What is not a plain file cannot be opened.
pub fn not_regular(path: &str, what: &str) -> Fault {
    Fault::new(
        FaultCode::FileNotRegular,
        format!("{path:?} is {what}, not a plain file."),
        "Choose a plain file.",
    )
}

/// A path nobody can use, wherever it leads.
pub fn path_invalid(path: &str) -> Fault {
    Fault::invalid(
        "path",
        format!("{path:?} cannot be a path in the pool."),
        "Give names between single slashes, each at most 255 bytes, none empty or a dot.",
    )
}

/// An image that is not finished or was never there.
pub fn image_not_there(id: ImageId) -> Fault {
    Fault::new(
        FaultCode::ImageNotReady,
        format!("The image {id} is not in the pool."),
        "Wait until its upload is finished, or upload it again.",
    )
}

/// An image that linked volumes read.
pub fn image_in_use(id: ImageId, volumes: &[VolumeId]) -> Fault {
    let are = if volumes.len() == 1 { "volume is" } else { "volumes are" };
    Fault::new(
        FaultCode::ImageInUse,
        format!("{} {are} linked to the image {id}: {}.", volumes.len(), some_of(volumes)),
        "Make those independent of it (flatten them), or delete them first.",
    )
}

/// An upload nobody opened.
pub fn upload_not_there(id: ImageId) -> Fault {
    Fault::new(
        FaultCode::FileNotFound,
        format!("There is no upload {id} in the pool."),
        "Start the upload from its beginning.",
    )
}

/// A piece that does not follow what is there.
pub fn offset(id: ImageId, offset: u64, there: u64) -> Fault {
    Fault::new(
        FaultCode::UploadOffsetMismatch,
        format!("The upload {id} has {there} bytes; a piece at {offset} does not follow."),
        format!("Go on at {there}."),
    )
}

/// An upload with bytes missing (or too many).
pub fn incomplete(there: u64, size_bytes: u64) -> Fault {
    Fault::new(
        FaultCode::UploadIncomplete,
        format!("The upload has {there} of {size_bytes} bytes."),
        format!("Go on at {there}."),
    )
}

/// The length of a finished image, when it is the one announced.
pub fn same_length(id: ImageId, size_bytes: u64, there: u64) -> Result<u64> {
    if size_bytes == there {
        return Ok(there);
    }
    Err(Fault::new(
        FaultCode::Conflict,
        format!("The image {id} is there already, with {there} bytes instead of {size_bytes}."),
        "Upload under a new id.",
    ))
}

/// Compares checksums in hex; none asked for is fine.
pub fn same_checksum(wanted: Option<&str>, found: &str) -> Result<()> {
    match wanted {
        Some(wanted) if !wanted.eq_ignore_ascii_case(found) => Err(Fault::new(
            FaultCode::ImageChecksumMismatch,
            "The image is not the one that was announced: its SHA-256 differs.",
            "Check the file and its checksum, then upload it again.",
        )
        .because(format!("announced {wanted}, received {found}"))),
        _ => Ok(()),
    }
}

/// A path that leaves the pool, or goes through a link.
pub fn outside(path: &str) -> Fault {
    Fault::new(
        FaultCode::PathOutsidePool,
        format!("The path {path:?} leads out of the pool."),
        "Give a path relative to the pool, without links.",
    )
}

/// A path to nothing.
pub fn file_not_found(path: &str) -> Fault {
    Fault::new(
        FaultCode::FileNotFound,
        format!("There is no {path:?} in the pool."),
        "Look at the folder above.",
    )
}
