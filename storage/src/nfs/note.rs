//! Remembers which mount on a folder people chose is ours: one they made themselves must stay when the pool goes. And
//! with which options of the pool a mount was made: when they are changed, it keeps the old ones until it is made anew,
//! because nothing is unmounted beneath a VM.
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

fn options_path(folder: &Path, id: PoolId) -> PathBuf {
    folder.join(format!("{id}.options"))
}

/// Notes the pool's options at the time of this mount.
pub fn keep_options(id: PoolId, line: &Line, options: &str) {
    keep_options_in(Path::new(FOLDER), id, line, options);
}

fn keep_options_in(folder: &Path, id: PoolId, line: &Line, options: &str) {
    let text = format!("{}\n{options}", text(line));
    let kept = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(options_path(folder, id), text));
    if let Err(err) = kept {
        tracing::warn!(%err, pool = %id, "cannot note how the pool was mounted");
    }
}

/// The pool's options at the time of this very mount; nothing for one that an older release or somebody else made.
pub fn options(id: PoolId, line: &Line) -> Option<String> {
    options_in(Path::new(FOLDER), id, line)
}

fn options_in(folder: &Path, id: PoolId, line: &Line) -> Option<String> {
    let kept = std::fs::read_to_string(options_path(folder, id)).ok()?;
    let (mount, options) = kept.split_once('\n')?;
    (mount == text(line)).then(|| options.to_owned())
}

/// Forgets it.
pub fn forget(id: PoolId) {
    let _ = std::fs::remove_file(options_path(Path::new(FOLDER), id));
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

    #[test]
    fn only_the_very_mount_has_the_options_it_was_made_with() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = dir.path().join("nfs");
        let id = PoolId(Uuid::nil());
        let line = |number: u32| parse(&format!("{number} 1 0:5 / /m rw - nfs4 nas:/x rw")).expect("a line");
        assert_eq!(options_in(&folder, id, &line(7)), None);
        keep_options_in(&folder, id, &line(7), "hard,nconnect=2");
        assert_eq!(options_in(&folder, id, &line(7)).as_deref(), Some("hard,nconnect=2"));
        assert_eq!(options_in(&folder, id, &line(8)), None, "somebody mounted it anew");
    }
}
