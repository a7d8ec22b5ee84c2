//! What tests inside the lab VM share: the question whether this is one, and file systems on loop devices.
#![allow(dead_code)]

use crate::pools::run_program;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// Ends the test unless it runs in the lab VM: outside it would mount, format and log in on somebody's machine.
pub fn require() {
    let name = std::env::current_exe().ok().and_then(|path| path.file_name().map(|n| n.to_os_string()));
    let name = name.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let name = name.rsplit_once('-').map_or(name.as_str(), |(name, _)| name);
    assert!(
        Path::new("/etc/quantix-lab").exists() && rustix::process::geteuid().is_root(),
        "{name} mounts, formats and logs in, so it runs as root in the lab VM only: ./x lab {name}"
    );
}

/// A file system in an image file, mounted for one test.
pub struct LoopFs {
    mount: PathBuf,
    dir: TempDir,
}

impl LoopFs {
    /// Makes one of `size_bytes` with `mkfs` (`["mkfs.xfs", "-q"]`) and mounts it.
    pub fn make(mkfs: &[&str], size_bytes: u64) -> LoopFs {
        LoopFs::make_with(mkfs, size_bytes, "defaults")
    }

    /// The same with mount options.
    pub fn make_with(mkfs: &[&str], size_bytes: u64, options: &str) -> LoopFs {
        let dir = crate::pools::scratch();
        let (image, mount) = (dir.path().join("image"), dir.path().join("mount"));
        std::fs::File::create(&image).unwrap().set_len(size_bytes).unwrap();
        std::fs::create_dir(&mount).unwrap();
        let (image, place) = (image.to_str().unwrap(), mount.to_str().unwrap());
        run_program(mkfs[0], &[&mkfs[1..], &[image]].concat());
        run_program("mount", &["-o", &format!("loop,{options}"), image, place]);
        LoopFs { mount, dir }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.mount
    }
}

impl Drop for LoopFs {
    fn drop(&mut self) {
        let done = Command::new("umount").arg(&self.mount).status();
        // Also while the test fails already: a leak is worth a word, not an abort.
        if !done.is_ok_and(|status| status.success()) {
            eprintln!("{} is still in use", self.mount.display());
        }
    }
}
