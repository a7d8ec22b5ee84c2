//! What goes wrong on a pool.

use quantix_model::{Fault, FaultCode};

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
