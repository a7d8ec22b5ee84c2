//! Whether root may really write there, and stays root: a file is made, written, synced, looked at and removed.

use crate::error::{Result, io};
use crate::nfs::classify;
use quantix_model::Fault;
use quantix_model::pool::NfsSpec;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, fstat, fsync, openat, unlinkat};
use rustix::io::{Errno, write};
use rustix::process::{geteuid, getpid};
use std::path::Path;

/// What was found.
#[derive(Debug)]
pub struct Probe {
    /// What was tried, for people.
    pub what: &'static str,
    /// Usable, with this wrong.
    pub fault: Option<Fault>,
}

/// A word no other process has: this host's name and our process id.
pub fn name_of_this_process() -> String {
    let host = rustix::system::uname();
    let host = host.nodename().to_string_lossy();
    let host: String = host.chars().filter(char::is_ascii_alphanumeric).take(64).collect();
    format!("{host}-{}", getpid().as_raw_pid())
}

/// Tries. Other hosts do the same in the same folder, so the file bears this host's name.
pub fn probe(spec: &NfsSpec, root: &Path) -> Result<Probe> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = openat(CWD, root, flags, Mode::empty()).map_err(|e| refused(spec, "open the export", e))?;
    let name = format!(".quantix-probe-{}", name_of_this_process());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = match openat(&root, &name, flags, Mode::from_raw_mode(0o600)) {
        Ok(file) => file,
        Err(Errno::NOSPC | Errno::DQUOT) => return Ok(too_full()),
        Err(e) => return Err(refused(spec, "write probe", e)),
    };
    let wrote = write(&file, b"quantix").and_then(|_| fsync(&file));
    let owner = fstat(&file);
    drop(file);
    let removed = unlinkat(&root, &name, AtFlags::empty());
    match wrote {
        Ok(()) => {}
        Err(Errno::NOSPC | Errno::DQUOT) => return Ok(too_full()),
        Err(e) => return Err(refused(spec, "write probe", e)),
    }
    removed.map_err(|e| refused(spec, "write probe", e))?;
    let owner = owner.map_err(|e| refused(spec, "write probe", e))?.st_uid;
    let squashed = owner != geteuid().as_raw();
    Ok(Probe {
        what: "wrote and synced a file as root",
        fault: squashed.then(|| classify::renamed_owner(spec, owner).in_phase("write probe")),
    })
}

/// A full pool still reads, and its capacity says that it is full.
fn too_full() -> Probe {
    Probe { what: "the server is too full for a test file", fault: None }
}

fn refused(spec: &NfsSpec, step: &str, err: Errno) -> Fault {
    let fault = match err {
        Errno::ACCESS | Errno::PERM => classify::squashed(spec),
        Errno::ROFS => classify::read_only(spec),
        Errno::STALE => classify::stale(spec),
        other => return io(step, &other.into()),
    };
    fault.because(std::io::Error::from(err)).in_phase(step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use quantix_model::FaultCode;
    use quantix_model::pool::NfsVersion;

    fn spec() -> NfsSpec {
        NfsSpec {
            server: "nas".into(),
            export: "/x".into(),
            version: NfsVersion::V41,
            options: String::new(),
            mount_path: String::new(),
        }
    }

    #[test]
    fn leaves_nothing_behind() {
        let dir = tempfile::tempdir().expect("a folder");
        let got = probe(&spec(), dir.path()).expect("our own folder");
        assert!(got.fault.is_none() && got.what.contains("synced"), "{got:?}");
        assert_eq!(std::fs::read_dir(dir.path()).expect("listed").count(), 0);
    }

    #[test]
    fn causes() {
        for (err, code) in [
            (Errno::ACCESS, FaultCode::PoolAccessDenied),
            (Errno::ROFS, FaultCode::PoolReadOnly),
            (Errno::STALE, FaultCode::PoolMountFailed),
            (Errno::IO, FaultCode::PoolIoFailed),
        ] {
            let fault = refused(&spec(), "write probe", err);
            assert_eq!(fault.code, code);
            assert!(fault.cause.contains("os error") && !fault.remedy.is_empty(), "{fault}");
        }
        let denied = refused(&spec(), "write probe", Errno::ACCESS);
        assert!(denied.remedy.contains("no_root_squash") && denied.remedy.contains("chown"), "{denied}");
    }
}
