//! Small file systems that fill up or fail, mounted for one test and taken away with it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A program that was ended a moment ago has files open for so long at most.
const LET_GO: Duration = Duration::from_secs(30);

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

/// An ext4 on a file, which goes read-only when the kernel meets an error on it, as most systems mount it.
pub struct Ext4 {
    image: PathBuf,
    path: PathBuf,
}

impl Ext4 {
    /// Makes one of a fixed size in the file `image`, and mounts it at `path`, which is made.
    pub fn mount(image: &Path, path: &Path, size_bytes: u64) -> Ext4 {
        std::fs::create_dir_all(path).expect("the mount point is made");
        let file = std::fs::File::create(image).expect("a new file");
        file.set_len(size_bytes).expect("a sparse file");
        run("mkfs.ext4", &[OsStr::new("-qF"), image.as_os_str()]);
        let disk = Ext4 { image: image.to_owned(), path: path.to_owned() };
        disk.attach();
        disk
    }

    fn attach(&self) {
        let options = [OsStr::new("-o"), OsStr::new("loop,errors=remount-ro")];
        run("mount", &[&options[..], &[self.image.as_os_str(), self.path.as_os_str()]].concat());
    }

    /// The kernel meets an error on it (the file system's own hook for tests); from now on nothing can be written.
    pub fn fail(&self) {
        let mounts = std::fs::read_to_string("/proc/self/mounts").expect("Linux");
        let place = format!(" {} ", self.path.display());
        let line = mounts.lines().find(|line| line.contains(&place)).expect("it is mounted");
        let device =
            line.split(' ').next().and_then(|path| path.strip_prefix("/dev/")).expect("a loop device");
        let hook = format!("/sys/fs/ext4/{device}/trigger_fs_error");
        std::fs::write(&hook, "1").unwrap_or_else(|err| panic!("{hook}: {err}"));
    }

    /// Mends it as an administrator does, once nobody uses it any more.
    pub fn mend(&self) {
        let until = Instant::now() + LET_GO;
        while !Command::new("umount").arg(&self.path).status().is_ok_and(|status| status.success()) {
            assert!(Instant::now() < until, "{} is still in use", self.path.display());
            std::thread::sleep(Duration::from_millis(100));
        }
        // It ends with 1 when it mended something (its manual page).
        let status = Command::new("e2fsck").arg("-fy").arg(&self.image).stdout(Stdio::null()).status();
        assert!(status.is_ok_and(|s| s.code().is_some_and(|code| code <= 1)), "e2fsck");
        self.attach();
    }
}

impl Drop for Ext4 {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}

fn run(program: &str, args: &[&OsStr]) {
    let status = Command::new(program).args(args).stderr(Stdio::inherit()).status();
    assert!(
        status.is_ok_and(|s| s.success()),
        "{program} failed; it needs root and Debian's e2fsprogs, mount"
    );
}
