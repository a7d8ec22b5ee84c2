//! Programs the workshop starts: each is ended by its own id, after its deadline by force, and dies with us.

use crate::failure::{Context, Failure, Result};
use rustix::process::{Pid, Signal, kill_process};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

/// This program's path. A build may have replaced it since it was started; its successor lies in the same place.
pub fn own() -> Result<PathBuf> {
    let found = std::env::current_exe().doing("finding this program")?;
    let text = found.to_string_lossy();
    Ok(text.strip_suffix(" (deleted)").map_or_else(|| found.clone(), PathBuf::from))
}

/// How often a condition is looked at.
pub const TICK: Duration = Duration::from_millis(25);

/// A command that the kernel ends with `SIGTERM` when the thread that started it is gone, however it went.
/// Start it from a thread that lives as long as the program should.
pub fn tied(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", "--"]).arg(program).stdin(Stdio::null());
    command
}

/// A running program with a name for people.
pub struct Running {
    /// What people call it.
    pub name: &'static str,
    child: Child,
}

impl Running {
    /// Starts `command`.
    pub fn start(name: &'static str, command: &mut Command) -> Result<Self> {
        let child = command.spawn().doing(format!("starting {name}"))?;
        Ok(Self { name, child })
    }

    /// The child, for its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Asks it to end, and insists when `deadline` has passed.
    pub fn stop(&mut self, deadline: Duration) {
        if self.ended().is_some() {
            return;
        }
        if let Some(pid) = Pid::from_raw(self.child.id() as i32) {
            let _ = kill_process(pid, Signal::TERM);
        }
        if wait_until(deadline, || self.ended().is_some()).is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop(Duration::from_secs(5));
    }
}

/// Says how a program ended, in words.
pub fn ending(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "an unknown reason".to_owned(),
    }
}

/// Looks at `condition` until it holds; `None` when the deadline passes first.
pub fn wait_until(deadline: Duration, mut condition: impl FnMut() -> bool) -> Option<()> {
    let end = Instant::now() + deadline;
    loop {
        if condition() {
            return Some(());
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(TICK);
    }
}

/// Runs a short program to its end under a deadline, with its output caught.
pub fn capture(command: &mut Command, deadline: Duration) -> Result<Output> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| missing(&name, &error))?;
    let pid = Pid::from_raw(child.id() as i32);
    let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let seen = done.clone();
    let watch = std::thread::spawn(move || {
        let ended = wait_until(deadline, || seen.load(std::sync::atomic::Ordering::Acquire));
        if let (None, Some(pid)) = (ended, pid) {
            let _ = kill_process(pid, Signal::KILL);
        }
        ended.is_none()
    });
    let mut stdout = Vec::new();
    let mut stderr = Vec::new();
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let reader = std::thread::spawn(move || {
        if let Some(mut err) = err {
            let _ = std::io::Read::read_to_end(&mut err, &mut stderr);
        }
        stderr
    });
    if let Some(mut out) = out {
        let _ = std::io::Read::read_to_end(&mut out, &mut stdout);
    }
    let stderr = reader.join().unwrap_or_default();
    // The pid stays ours until `wait`, so the watcher must finish first.
    done.store(true, std::sync::atomic::Ordering::Release);
    let late = watch.join().unwrap_or(false);
    let status = child.wait().doing(format!("waiting for {name}"))?;
    if late {
        return Err(Failure::new(format!("{name} did not end within {} s", deadline.as_secs())));
    }
    Ok(Output { status, stdout, stderr })
}

/// Runs a program with our own output, and fails when it fails.
pub fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command.status().map_err(|error| missing(&name, &error))?;
    if status.success() {
        Ok(())
    } else {
        Err(Failure::new(format!("{} ended with {}", shown(command), ending(status))))
    }
}

fn shown(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|arg| arg.to_string_lossy().into_owned()));
    let line = words.join(" ");
    if line.chars().count() > 120 {
        format!("{}…", line.chars().take(119).collect::<String>())
    } else {
        line
    }
}

/// A program that could not be started, with where it comes from.
pub fn missing(program: &str, error: &std::io::Error) -> Failure {
    let failure = Failure::new(format!("{program} cannot be started: {error}"));
    let package = match Path::new(program).file_name().and_then(|name| name.to_str()) {
        Some("npm" | "node") => "nodejs npm",
        Some("virsh") => "libvirt-clients",
        Some("libvirtd" | "virtlogd") => "libvirt-daemon-system",
        Some("setpriv" | "unshare") => "util-linux",
        Some("cargo") => {
            return failure.remedy("curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh");
        }
        Some(other) => other,
        None => program,
    };
    failure.remedy(format!("apt-get install -y {package}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_program_is_ended() {
        let began = Instant::now();
        let error = capture(Command::new("sleep").arg("30"), Duration::from_millis(100)).unwrap_err();
        assert!(error.to_string().contains("did not end"), "{error}");
        assert!(began.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn a_program_that_ignores_us_is_ended_by_force() {
        let mut stubborn = tied("sh");
        stubborn.args(["-c", "trap '' TERM; while :; do sleep 0.05; done"]);
        let mut running = Running::start("stubborn", &mut stubborn).unwrap();
        running.stop(Duration::from_millis(300));
        assert!(running.ended().is_some());
    }

    #[test]
    fn a_missing_program_names_its_package() {
        let error = capture(&mut Command::new("/nowhere/virsh"), TICK).unwrap_err();
        assert!(error.to_string().contains("libvirt-clients"), "{error}");
    }
}
