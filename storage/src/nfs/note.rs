//! Remembers which mount on a folder people chose is ours: one they made themselves must stay when the pool goes.
//!
//! A note lies below /run, so it lives exactly as long as a mount can: past the worker and the daemon, not past a boot.

use quantix_host::mount::Line;
use quantix_model::id::PoolId;
use std::path::{Path, PathBuf};

const FOLDER: &str = "/run/quantix/nfs";

fn text(line: &Line) -> String {
    format!("{} {}", line.id, line.mount.target)
}

fn path(folder: &Path, id: PoolId) -> PathBuf {
    folder.join(id.to_string())
}

/// Notes that we made this mount. Without the note it stays mounted when the pool goes, which harms nobody.
pub fn keep(id: PoolId, line: &Line) {
    keep_in(Path::new(FOLDER), id, line);
}

fn keep_in(folder: &Path, id: PoolId, line: &Line) {
    let kept = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(path(folder, id), text(line)));
    if let Err(err) = kept {
        tracing::warn!(%err, pool = %id, "cannot note that the mount is ours");
    }
}

/// Whether we made this mount.
pub fn is_ours(id: PoolId, line: Option<&Line>) -> bool {
    is_ours_in(Path::new(FOLDER), id, line)
}

fn is_ours_in(folder: &Path, id: PoolId, line: Option<&Line>) -> bool {
    line.is_some_and(|line| std::fs::read_to_string(path(folder, id)).is_ok_and(|kept| kept == text(line)))
}

/// Forgets it.
pub fn forget(id: PoolId) {
    // There is none for a mount below our own folder.
    let _ = std::fs::remove_file(path(Path::new(FOLDER), id));
}

#[cfg(test)]
mod tests {
    use super::*;
    use quantix_host::mount::parse;
    use uuid::Uuid;

    #[test]
    fn only_the_very_mount_we_made_is_ours() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = dir.path().join("nfs");
        let id = PoolId(Uuid::nil());
        let line = |number: u32| parse(&format!("{number} 1 0:5 / /m rw - nfs4 nas:/x rw")).expect("a line");
        assert!(!is_ours_in(&folder, id, Some(&line(7))));
        keep_in(&folder, id, &line(7));
        assert!(is_ours_in(&folder, id, Some(&line(7))));
        assert!(!is_ours_in(&folder, id, Some(&line(8))), "somebody mounted it anew");
        assert!(!is_ours_in(&folder, id, None));
    }
}
