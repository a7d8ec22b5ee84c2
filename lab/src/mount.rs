//! Small file systems that fill up, mounted for one test and taken away with it.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A tmpfs of a fixed size.
pub struct Tmpfs(PathBuf);

impl Tmpfs {
    /// Mounts one at `path`, which is made.
    pub fn mount(path: &Path, size_bytes: u64) -> Tmpfs {
        std::fs::create_dir_all(path).expect("the mount point is made");
        let size = format!("size={size_bytes},mode=0755");
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(path).status();
        assert!(status.is_ok_and(|s| s.success()), "mount -t tmpfs needs root: run `./x test` as root");
        Tmpfs(path.to_owned())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Lazily: a process that was killed a moment ago may still hold it.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
