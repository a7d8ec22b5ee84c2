//! qemu-img, always with explicit formats: QEMU must never guess from what a guest wrote.
//!
//! Files are named relative to a folder we hold open, so a link put in the way later changes nothing.

use crate::error::{Result, io};
use crate::local::LocalPool;
use quantix_host::program::{Output, Program};
use quantix_model::volume::VolumeFormat;
use quantix_model::{Fault, FaultCode};
use serde::Deserialize;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

/// For what only touches metadata.
const SHORT: Duration = Duration::from_secs(20);
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

fn failed(step: &str, output: &Output) -> Fault {
    let said = output.complaint();
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

    /// Makes an empty thin qcow2 file.
    pub(super) fn qemu_create(&self, dir: &OwnedFd, name: &str, size_bytes: u64) -> Result<()> {
        let args = ["create", "-q", "-f", "qcow2", "-o", "preallocation=off", name];
        self.qemu_run("qemu-img create", qemu_img(dir).args(args).arg(size_bytes.to_string())).map(drop)
    }

    /// Grows a file that no VM uses.
    pub(super) fn qemu_grow(&self, dir: &OwnedFd, name: &str, size_bytes: u64) -> Result<()> {
        let args = ["resize", "-q", "-f", "qcow2", name];
        self.qemu_run("qemu-img resize", qemu_img(dir).args(args).arg(size_bytes.to_string())).map(drop)
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

    /// Copies an image into another format. `source` is read through our own open file.
    pub(super) fn qemu_convert(
        &self,
        source: &File,
        from: VolumeFormat,
        dir: &OwnedFd,
        to: (&str, VolumeFormat),
        tick: &mut dyn FnMut() -> Result<()>,
    ) -> Result<()> {
        let source = format!("/proc/{}/fd/{}", std::process::id(), source.as_raw_fd());
        let mut program = qemu_img(dir)
            .args(["--pdeathsig", "KILL", "qemu-img", "convert", "-q", "-t", "writeback"])
            .args(["-f", from.as_str(), "-O", to.1.as_str(), source.as_str(), to.0])
            .deadline(LONG);
        // A copy of an hour must not go on after a killed worker.
        program.name = "setpriv".to_owned();
        let output = self.runner.run_blocking(&program, tick)?;
        if output.succeeded() { Ok(()) } else { Err(failed("qemu-img convert", &output)) }
    }
}
