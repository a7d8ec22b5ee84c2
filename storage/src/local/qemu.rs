//! qemu-img, always with explicit formats: QEMU must never guess from what a guest wrote.
//!
//! Files are named relative to a folder we hold open, so a link put in the way later changes nothing.

use crate::error::{self, Result, io};
use crate::local::LocalPool;
use quantix_host::program::{Output, Program};
use quantix_model::volume::{Allocation, VolumeFormat};
use quantix_model::{Fault, FaultCode};
use serde::Deserialize;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

/// For what only touches metadata.
const SHORT: Duration = Duration::from_secs(20);
/// For what rewrites much metadata.
const REWRITE: Duration = Duration::from_secs(110);
/// For what moves all the data; lack of progress is watched by the daemon.
const LONG: Duration = Duration::from_secs(24 * 3600);

/// What `qemu-img info` says, as far as we ask.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Info {
    /// As the guest sees it.
    pub virtual_size: u64,
    /// Set when the image reads another.
    #[serde(default)]
    pub backing_filename: Option<String>,
    #[serde(default)]
    encrypted: bool,
    #[serde(default)]
    format_specific: Option<FormatSpecific>,
}

#[derive(Debug, Deserialize)]
struct FormatSpecific {
    #[serde(default)]
    data: FormatData,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct FormatData {
    #[serde(default)]
    data_file: Option<String>,
    #[serde(default)]
    corrupt: bool,
}

impl Info {
    /// Reads another file for its data.
    pub fn has_data_file(&self) -> bool {
        self.format_specific.as_ref().is_some_and(|f| f.data.data_file.is_some())
    }

    /// Cannot be read without a key.
    pub fn is_encrypted(&self) -> bool {
        self.encrypted
    }

    /// Marked as damaged.
    pub fn is_corrupt(&self) -> bool {
        self.format_specific.as_ref().is_some_and(|f| f.data.corrupt)
    }
}

fn qemu_img(dir: &OwnedFd) -> Program {
    // Resolved by the child between fork and exec, when it still has the folder open.
    Program::new("qemu-img").cwd(format!("/proc/self/fd/{}", dir.as_raw_fd())).deadline(SHORT)
}

fn preallocation(allocation: Allocation) -> &'static str {
    match allocation {
        Allocation::Thin => "off",
        Allocation::Thick => "falloc",
    }
}

/// A name for an open file of ours that programs can open.
fn path_of(file: &File) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd())
}

/// What QEMU cannot open although it is there and nobody else has it, is damaged.
fn damaged(fault: Fault) -> Fault {
    let words = ["not in qcow2 format", "Could not open", "corrupt", "Could not read", "invalid", "Invalid"];
    if fault.code != FaultCode::PoolIoFailed || !words.iter().any(|word| fault.cause.contains(word)) {
        return fault;
    }
    Fault {
        code: FaultCode::VolumeDamaged,
        message: "QEMU cannot read the volume's file: it is damaged.".to_owned(),
        remedy: "Restore it from a snapshot or backup; `qemu-img check` on the host says more.".to_owned(),
        ..fault
    }
}

/// What a copy reads.
#[derive(Clone, Copy)]
pub enum Source<'a> {
    /// An open file that stands alone.
    File(&'a File),
    /// A file in the folder the program runs in, which may read others there; with the snapshot's id and name.
    Named(&'a str, Option<&'a (String, String)>),
}

fn failed(step: &str, output: &Output) -> Fault {
    let said = output.complaint();
    // QEMU's words since 2.10 (block/file-posix.c): "Failed to get "write" lock".
    if said.contains("Failed to get") && said.contains("lock") {
        return error::volume_in_use(said).in_phase(step);
    }
    let kind = if said.contains("No space left on device") || said.contains("Disk quota exceeded") {
        std::io::ErrorKind::StorageFull
    } else if said.contains("Read-only file system") {
        std::io::ErrorKind::ReadOnlyFilesystem
    } else {
        std::io::ErrorKind::Other
    };
    io(step, &std::io::Error::new(kind, said))
}

impl LocalPool {
    fn qemu_run(&self, step: &str, program: Program) -> Result<Output> {
        let output = self.runner.run_blocking(&program, &mut || Ok(()))?;
        if output.succeeded() { Ok(output) } else { Err(failed(step, &output)) }
    }

    /// Makes an empty qcow2 file.
    pub(super) fn qemu_create(
        &self,
        dir: &OwnedFd,
        name: &str,
        size_bytes: u64,
        allocation: Allocation,
    ) -> Result<()> {
        let option = format!("preallocation={}", preallocation(allocation));
        let args = ["create", "-q", "-f", "qcow2", "-o", option.as_str(), name];
        self.qemu_run("qemu-img create", qemu_img(dir).args(args).arg(size_bytes.to_string())).map(drop)
    }

    /// Makes a qcow2 file that reads another where it has no data itself.
    pub(super) fn qemu_link(
        &self,
        dir: &OwnedFd,
        name: &str,
        (base, format): (&str, VolumeFormat),
        size_bytes: u64,
    ) -> Result<()> {
        let args = ["create", "-q", "-f", "qcow2", "-F", format.as_str(), "-b", base, name];
        self.qemu_run("qemu-img create", qemu_img(dir).args(args).arg(size_bytes.to_string()))
            .map(drop)
            .map_err(damaged)
    }

    /// Grows a file that no VM uses.
    pub(super) fn qemu_grow(
        &self,
        dir: &OwnedFd,
        (name, format): (&str, VolumeFormat),
        size_bytes: u64,
        allocation: Allocation,
    ) -> Result<()> {
        let option = format!("--preallocation={}", preallocation(allocation));
        let args = ["resize", "-q", "-f", format.as_str(), option.as_str(), name];
        self.qemu_run("qemu-img resize", qemu_img(dir).args(args).arg(size_bytes.to_string()))
            .map(drop)
            .map_err(damaged)
    }

    /// Makes (`-c`), goes back to (`-a`) or forgets (`-d`) a snapshot inside a qcow2 file.
    pub(super) fn qemu_snapshot(&self, dir: &OwnedFd, name: &str, verb: &str, snapshot: &str) -> Result<()> {
        // `snapshot` has no -f; with all said here, QEMU guesses nothing.
        let image = format!("driver=qcow2,file.driver=file,file.filename={name}");
        let args = ["snapshot", "-q", verb, snapshot, "--image-opts", image.as_str()];
        let program = qemu_img(dir).args(args).deadline(REWRITE);
        self.qemu_run("qemu-img snapshot", program).map(drop).map_err(damaged)
    }

    /// Lets QEMU look for damage in a qcow2 file that names no other file.
    pub(super) fn qemu_check(&self, dir: &OwnedFd, name: &str) -> Result<()> {
        let args = ["check", "-q", "-U", "-f", "qcow2", name];
        self.qemu_run("qemu-img check", qemu_img(dir).args(args)).map(drop)
    }

    /// The size a guest sees of a disk in a format of others that cannot name further files.
    pub(super) fn qemu_foreign_size(&self, file: &File, driver: &str) -> Result<u64> {
        let path = path_of(file);
        let args = ["info", "--output=json", "-U", "-f", driver, path.as_str()];
        let program = Program::new("qemu-img").args(args).deadline(SHORT);
        let output = self.qemu_run("qemu-img info", program)?;
        serde_json::from_slice::<Info>(&output.stdout).map(|info| info.virtual_size).map_err(Fault::internal)
    }

    /// Reads a qcow2 header, also of a file in use.
    pub(super) fn qemu_info(&self, dir: &OwnedFd, name: &str) -> Result<Info> {
        let args = ["info", "--output=json", "-U", "-f", "qcow2", name];
        let output = self.qemu_run("qemu-img info", qemu_img(dir).args(args))?;
        serde_json::from_slice(&output.stdout).map_err(|e| {
            let code = FaultCode::PoolIoFailed;
            Fault::new(
                code,
                "qemu-img gave an answer nobody can read.",
                "Check the QEMU version on the host.",
            )
            .because(e)
            .in_phase("qemu-img info")
        })
    }

    /// Copies what a guest sees into a new file, in another format or out of a chain of files.
    pub(super) fn qemu_convert(
        &self,
        (source, from): (Source<'_>, VolumeFormat),
        dir: &OwnedFd,
        (name, format, allocation): (&str, VolumeFormat, Allocation),
        tick: &mut dyn FnMut() -> Result<()>,
    ) -> Result<()> {
        let option = format!("preallocation={}", preallocation(allocation));
        let mut args = vec!["--pdeathsig", "KILL", "qemu-img", "convert", "-q", "-t", "writeback"];
        args.extend(["-f", from.as_str(), "-O", format.as_str(), "-o", option.as_str()]);
        let (path, snapshot);
        match source {
            Source::File(file) => {
                path = path_of(file);
                args.push(&path);
            }
            Source::Named(name, None) => args.push(name),
            Source::Named(name, Some((id, title))) => {
                snapshot = format!("snapshot.id={id},snapshot.name={title}");
                args.extend(["-l", snapshot.as_str(), name]);
            }
        }
        let mut program = qemu_img(dir).args(args).arg(name).deadline(LONG);
        // A copy of an hour must not go on after a killed worker.
        program.name = "setpriv".to_owned();
        let output = self.runner.run_blocking(&program, tick)?;
        if output.succeeded() { Ok(()) } else { Err(damaged(failed("qemu-img convert", &output))) }
    }
}
