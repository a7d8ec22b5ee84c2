//! Unmounting: in order, or from a server that will never answer. The kernel may hold whoever asks it, so a thread
//! asks, and the mount table tells whether it worked.

use crate::error::{Result, io};
use crate::nfs::mounted;
use quantix_model::pool::NfsSpec;
use quantix_model::{Fault, FaultCode};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// For an unmount in order: what is not written yet goes to the server.
const ORDERLY: Duration = Duration::from_secs(10);
/// For a forced one, which waits for nobody.
const FORCED: Duration = Duration::from_secs(2);
/// Mounts on top of each other that are taken away; more is not our doing.
const LAYERS_MAX: usize = 4;
/// Users of a mount that are named.
const USERS_MAX: usize = 3;

/// Unmounts the export from `path`. Nothing of it there is a success.
pub fn orderly(spec: &NfsSpec, path: &str) -> Result<()> {
    take_away(spec, path, UnmountFlags::NOFOLLOW, ORDERLY)
}

/// Takes the mount away whoever uses it, and ends what waits for the server with an error.
pub fn forced(spec: &NfsSpec, path: &str) -> Result<()> {
    take_away(spec, path, UnmountFlags::FORCE | UnmountFlags::DETACH | UnmountFlags::NOFOLLOW, FORCED)
}

fn take_away(spec: &NfsSpec, path: &str, flags: UnmountFlags, patience: Duration) -> Result<()> {
    for _ in 0..LAYERS_MAX {
        let table = mounted::table()?;
        let Some(line) = mounted::at(&table, path) else { return Ok(()) };
        if !mounted::is_export(line, spec) {
            return Err(mounted::foreign(line, spec));
        }
        let id = line.id;
        match ask(path, flags, patience)? {
            Some(Ok(()) | Err(Errno::INVAL)) => {}
            Some(Err(Errno::BUSY)) => return Err(in_use(path)),
            Some(Err(err)) => return Err(io("unmount", &err.into())),
            // It may wait for the server with the mount gone already.
            None if mounted::table()?.iter().all(|line| line.id != id) => {}
            None => {
                return Err(Fault::new(
                    FaultCode::PoolStalled,
                    format!(
                        "The server {} did not answer for {} s, so {path} is still mounted.",
                        spec.server,
                        patience.as_secs()
                    ),
                    "Start the server, or let go of the pool by force: what was not yet written is then lost.",
                ));
            }
        }
    }
    let table = mounted::table()?;
    mounted::at(&table, path).map_or(Ok(()), |line| Err(mounted::foreign(line, spec)))
}

/// `None`: no answer in time; the thread is left behind, and ends with the worker.
pub fn ask(path: &str, flags: UnmountFlags, patience: Duration) -> Result<Option<rustix::io::Result<()>>> {
    let (sender, answer) = mpsc::channel();
    let path = path.to_owned();
    let work = move || {
        // Nobody listens after the deadline.
        let _ = sender.send(unmount(path.as_str(), flags));
    };
    std::thread::Builder::new()
        .name("unmount".into())
        .stack_size(64 << 10)
        .spawn(work)
        .map_err(Fault::internal)?;
    Ok(answer.recv_timeout(patience).ok())
}

/// Who has a file or folder of the mount open, as far as can be seen without touching it.
pub fn users(path: &str) -> Vec<String> {
    let end = Instant::now() + Duration::from_millis(500);
    let mut users = Vec::new();
    let Ok(processes) = std::fs::read_dir("/proc") else { return users };
    for process in processes.flatten() {
        let name = process.file_name();
        let Some(pid) = name.to_str().filter(|name| name.bytes().all(|b| b.is_ascii_digit())) else {
            continue;
        };
        if uses(&process.path(), Path::new(path)) {
            let command = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            users.push(format!("{} (process {pid})", super::classify::printable(&command)));
        }
        if users.len() >= USERS_MAX || Instant::now() > end {
            break;
        }
    }
    users
}

fn uses(process: &Path, mount: &Path) -> bool {
    // Reading a link of /proc asks the kernel for a name; the file behind it is not looked at.
    let is_in = |link: &Path| std::fs::read_link(link).is_ok_and(|target| target.starts_with(mount));
    if is_in(&process.join("cwd")) || is_in(&process.join("root")) {
        return true;
    }
    let Ok(open) = std::fs::read_dir(process.join("fd")) else { return false };
    open.flatten().any(|file| is_in(&file.path()))
}

/// Why it cannot be unmounted.
pub fn in_use(path: &str) -> Fault {
    let users = users(path);
    let message = match users.is_empty() {
        true => format!("Something on the host uses {path}."),
        false => format!("{path} is used by {}.", users.join(", ")),
    };
    Fault::new(
        FaultCode::PoolInUse,
        message,
        format!("Stop the VMs that use the pool; `fuser -vm {path}` shows everybody."),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_an_open_file_is_named() {
        let dir = tempfile::tempdir().expect("a folder");
        let root = dir.path().canonicalize().expect("a real path");
        let path = root.to_str().expect("text");
        assert!(users(path).is_empty());
        let _open = std::fs::File::create(root.join("x")).expect("a file");
        let fault = in_use(path);
        assert!(fault.message.contains(&format!("(process {})", std::process::id())), "{fault}");
        assert!(users(&format!("{path}-other")).is_empty());
    }
}
