//! Files of the authority: for the owner's eyes only, written whole or not at all.

use quantix_model::fault::{Fault, FaultCode};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

fn file_fault(path: &Path, err: &std::io::Error) -> Fault {
    Fault::new(
        FaultCode::StoreUnavailable,
        format!("{} cannot be used.", path.display()),
        "Check that the data folder exists, has free space and belongs to the user who runs the vDC.",
    )
    .because(err)
}

/// Makes the folder when it is not there.
pub(super) fn make_folder(folder: &Path) -> Result<(), Fault> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|err| file_fault(folder, &err))
}

/// A file's text; `None` when it is not there.
pub(super) fn read(folder: &Path, name: &str) -> Result<Option<String>, Fault> {
    let path = folder.join(name);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text)),
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(err) => Err(file_fault(&path, &err)),
    }
}

/// Writes a file that only its owner can read, and makes it durable. A cut leaves the old one or the new one.
pub(super) fn write(folder: &Path, name: &str, text: &str) -> Result<(), Fault> {
    let path = folder.join(name);
    let part = folder.join(format!(".{name}.part"));
    let written = (|| {
        let _ = std::fs::remove_file(&part);
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&part, &path)?;
        std::fs::File::open(folder)?.sync_all()
    })();
    written.map_err(|err| file_fault(&path, &err))
}

/// Removes a file; whether it was there.
pub(super) fn remove(folder: &Path, name: &str) -> Result<bool, Fault> {
    let path = folder.join(name);
    let removed = match std::fs::remove_file(&path) {
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        removed => removed.and_then(|()| std::fs::File::open(folder)?.sync_all()),
    };
    removed.map(|()| true).map_err(|err| file_fault(&path, &err))
}
