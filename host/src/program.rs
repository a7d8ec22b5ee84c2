//! Running host programs: argv only, a deadline always, output captured, secrets never in argv or errors.
//!
//! Each program gets a process group of its own. At the deadline the whole group is killed; the leader is reaped
//! only after its pipes closed, so that the group's number cannot belong to somebody else when it is killed.
//! [`SystemRunner`] is the real thing, in an async and a blocking form; tests use [`crate::fake::ScriptedRunner`].

use async_trait::async_trait;
use quantix_model::{Fault, FaultCode};
use rustix::process::{Pid, Signal, kill_process_group};
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

/// How long a killed program may take to vanish before we stop waiting for it (it may sit in the kernel).
const REAP_GRACE: Duration = Duration::from_secs(2);
/// How often the blocking form calls its tick.
const TICK: Duration = Duration::from_millis(100);

/// A program to run. There is no shell: arguments arrive as given.
#[derive(Clone)]
pub struct Program {
    /// Name or absolute path.
    pub name: String,
    /// Arguments.
    pub args: Vec<String>,
    /// Bytes for its standard input; this is where secrets go.
    pub stdin: Vec<u8>,
    /// Set beside what we have ourselves; never a secret.
    pub env: Vec<(&'static str, String)>,
    /// Working directory; `/` when `None`.
    pub cwd: Option<PathBuf>,
    /// Gets each piece of standard error as it comes (blocking form only): where some programs tell their progress.
    pub follow: Option<mpsc::Sender<Vec<u8>>>,
    /// Killed (SIGKILL, whole process group) after this.
    pub deadline: Duration,
    /// More output than this is cut, and said to be.
    pub output_bytes_max: usize,
}

/// Shows how much standard input there is, never what: it may be a secret.
impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Program")
            .field("name", &self.name)
            .field("args", &self.args)
            .field("stdin_bytes", &self.stdin.len())
            .field("cwd", &self.cwd)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

impl Program {
    /// A program with no input, 30 s and 1 MiB.
    pub fn new(name: impl Into<String>) -> Program {
        Program {
            name: name.into(),
            args: Vec::new(),
            stdin: Vec::new(),
            env: Vec::new(),
            cwd: None,
            follow: None,
            deadline: Duration::from_secs(30),
            output_bytes_max: 1 << 20,
        }
    }

    /// Adds one argument.
    pub fn arg(mut self, arg: impl Into<String>) -> Program {
        self.args.push(arg.into());
        self
    }

    /// Adds several arguments.
    pub fn args<I: IntoIterator<Item = S>, S: Into<String>>(mut self, args: I) -> Program {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets the bytes for standard input.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Program {
        self.stdin = bytes.into();
        self
    }

    /// Sets a variable of its environment.
    pub fn env(mut self, name: &'static str, value: impl Into<String>) -> Program {
        self.env.push((name, value.into()));
        self
    }

    /// Sends each piece of standard error there, too.
    pub fn follow(mut self, pieces: mpsc::Sender<Vec<u8>>) -> Program {
        self.follow = Some(pieces);
        self
    }

    /// Sets the working directory.
    pub fn cwd(mut self, dir: impl Into<PathBuf>) -> Program {
        self.cwd = Some(dir.into());
        self
    }

    /// Sets the deadline.
    pub fn deadline(mut self, deadline: Duration) -> Program {
        self.deadline = deadline;
        self
    }

    fn command(&self) -> std::process::Command {
        let mut command = std::process::Command::new(&self.name);
        command
            .args(&self.args)
            .current_dir(self.cwd.as_deref().unwrap_or("/".as_ref()))
            .env("LC_ALL", "C")
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .process_group(0)
            .stdin(if self.stdin.is_empty() { Stdio::null() } else { Stdio::piped() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn spawn_fault(&self, err: &std::io::Error) -> Fault {
        if err.kind() != std::io::ErrorKind::NotFound {
            return Fault::internal(format!("{}: {err}", self.name)).in_phase("start program");
        }
        missing(&self.name).because(err)
    }

    fn deadline_fault(&self, stderr: &Captured) -> Fault {
        let seconds = self.deadline.as_secs_f64();
        Fault::new(
            FaultCode::DeadlineExceeded,
            format!("{} did not end within {seconds} s and was killed.", self.name),
            "Look at the host's load, disks and kernel log, then try again.",
        )
        .because(stderr.text().trim())
    }
}

/// What a program said when it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Signal that ended it; `None` when it exited.
    pub signal: Option<i32>,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error, as text.
    pub stderr: String,
    /// There was more output than allowed; the rest was dropped.
    pub cut: bool,
}

impl Output {
    /// Exited with 0.
    pub fn succeeded(&self) -> bool {
        self.code == Some(0)
    }

    /// Standard error trimmed; how the program ended when it said nothing.
    pub fn complaint(&self) -> String {
        let text = self.stderr.trim();
        match (text.is_empty(), self.code, self.signal) {
            (false, _, _) => text.to_owned(),
            (true, Some(code), _) => format!("exit code {code}, nothing on standard error"),
            (true, None, Some(signal)) => format!("ended by signal {signal}"),
            (true, None, None) => "ended in an unknown way".to_owned(),
        }
    }
}

/// Runs host programs. A program that ran is an `Ok`, whatever its exit code.
#[async_trait]
pub trait Runner: Send + Sync + 'static {
    /// Runs to the end; dropping the future kills the program's group.
    async fn run(&self, program: Program) -> Result<Output, Fault>;
}

/// The same for code that may block, such as a pool worker.
pub trait BlockingRunner: Send + Sync + 'static {
    /// Runs to the end, calling `tick` about ten times a second meanwhile. An error from `tick` kills the program.
    fn run_blocking(
        &self,
        program: &Program,
        tick: &mut dyn FnMut() -> Result<(), Fault>,
    ) -> Result<Output, Fault>;
}

/// Runs real programs.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRunner;

/// Kills the group unless told that the program was reaped.
struct GroupGuard(Option<Pid>);

impl GroupGuard {
    fn of(id: Option<u32>) -> GroupGuard {
        GroupGuard(id.and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)))
    }

    fn kill(&self) {
        if let Some(pid) = self.0 {
            // The only failure is that everybody in the group is gone already.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }

    fn disarm(&mut self) {
        self.0 = None;
    }
}

impl Drop for GroupGuard {
    fn drop(&mut self) {
        self.kill();
    }
}

#[derive(Debug, Default)]
struct Captured {
    bytes: Vec<u8>,
    cut: bool,
}

impl Captured {
    fn push(&mut self, piece: &[u8], max: usize) {
        let take = piece.len().min(max.saturating_sub(self.bytes.len()));
        self.bytes.extend_from_slice(&piece[..take]);
        self.cut |= take < piece.len();
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

fn output(status: ExitStatus, stdout: Captured, stderr: Captured) -> Output {
    Output {
        code: status.code(),
        signal: status.signal(),
        cut: stdout.cut || stderr.cut,
        stderr: stderr.text(),
        stdout: stdout.bytes,
    }
}

async fn drain(pipe: Option<impl AsyncRead + Unpin>, into: &mut Captured, max: usize) {
    let Some(mut pipe) = pipe else { return };
    let mut buffer = vec![0; 16 << 10];
    while let Ok(n) = pipe.read(&mut buffer).await {
        if n == 0 {
            break;
        }
        into.push(&buffer[..n], max);
    }
}

#[async_trait]
impl Runner for SystemRunner {
    async fn run(&self, program: Program) -> Result<Output, Fault> {
        let mut command = tokio::process::Command::from(program.command());
        let mut child = command.kill_on_drop(true).spawn().map_err(|e| program.spawn_fault(&e))?;
        let mut guard = GroupGuard::of(child.id());
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (mut out, mut err) = (Captured::default(), Captured::default());
        let max = program.output_bytes_max;
        let feed = async {
            if let Some(mut stdin) = stdin {
                // A program that does not read its input to the end is free to do so.
                let _ = stdin.write_all(&program.stdin).await;
            }
        };
        let work = async {
            tokio::join!(feed, drain(stdout, &mut out, max), drain(stderr, &mut err, max));
            child.wait().await
        };
        let ended = tokio::time::timeout(program.deadline, work).await;
        match ended {
            Ok(Ok(status)) => {
                guard.disarm();
                Ok(output(status, out, err))
            }
            Ok(Err(e)) => Err(Fault::internal(format!("{}: {e}", program.name)).in_phase("wait for program")),
            Err(_) => {
                guard.kill();
                if tokio::time::timeout(REAP_GRACE, child.wait()).await.is_ok() {
                    guard.disarm();
                }
                Err(program.deadline_fault(&err))
            }
        }
    }
}

fn drain_blocking(
    pipe: Option<impl Read + Send + 'static>,
    max: usize,
    follow: Option<mpsc::Sender<Vec<u8>>>,
) -> std::io::Result<mpsc::Receiver<Captured>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::Builder::new().name("program-output".into()).stack_size(128 << 10).spawn(move || {
        let mut captured = Captured::default();
        if let Some(mut pipe) = pipe {
            let mut buffer = vec![0; 16 << 10];
            while let Ok(n) = pipe.read(&mut buffer) {
                if n == 0 {
                    break;
                }
                captured.push(&buffer[..n], max);
                if let Some(follow) = &follow {
                    // Who follows may have seen enough.
                    let _ = follow.send(buffer[..n].to_vec());
                }
            }
        }
        // Nobody listens after the deadline.
        let _ = sender.send(captured);
    })?;
    Ok(receiver)
}

impl BlockingRunner for SystemRunner {
    fn run_blocking(
        &self,
        program: &Program,
        tick: &mut dyn FnMut() -> Result<(), Fault>,
    ) -> Result<Output, Fault> {
        let thread_fault = |e: std::io::Error| Fault::internal(format!("{}: {e}", program.name));
        let mut child = program.command().spawn().map_err(|e| program.spawn_fault(&e))?;
        let mut guard = GroupGuard::of(Some(child.id()));
        let end = Instant::now() + program.deadline;
        let max = program.output_bytes_max;
        if let Some(mut stdin) = child.stdin.take() {
            let bytes = program.stdin.clone();
            std::thread::Builder::new()
                .name("program-input".into())
                .spawn(move || stdin.write_all(&bytes))
                .map_err(thread_fault)?;
        }
        let stdout = drain_blocking(child.stdout.take(), max, None).map_err(thread_fault)?;
        let stderr =
            drain_blocking(child.stderr.take(), max, program.follow.clone()).map_err(thread_fault)?;
        let mut out: Option<Captured> = None;
        let mut err: Option<Captured> = None;
        let mut pause = Duration::from_millis(1);
        loop {
            let left = end.saturating_duration_since(Instant::now()).min(TICK);
            match (&out, &err) {
                (None, _) => out = stdout.recv_timeout(left).ok(),
                (Some(_), None) => err = stderr.recv_timeout(left).ok(),
                (Some(_), Some(_)) => {
                    let status = child.try_wait().map_err(thread_fault)?;
                    if let Some(status) = status {
                        guard.disarm();
                        return Ok(output(status, out.unwrap_or_default(), err.unwrap_or_default()));
                    }
                    std::thread::sleep(pause.min(left));
                    pause = (pause * 2).min(TICK);
                }
            }
            let cancelled = tick().err();
            if cancelled.is_some() || Instant::now() >= end {
                guard.kill();
                reap(child, &mut guard);
                let said = err.or_else(|| stderr.recv_timeout(TICK).ok()).unwrap_or_default();
                return Err(cancelled.unwrap_or_else(|| program.deadline_fault(&said)));
            }
        }
    }
}

/// Waits a little for a killed child. One that does not go is left to the kernel and a thread that waits for it.
fn reap(mut child: std::process::Child, guard: &mut GroupGuard) {
    let end = Instant::now() + REAP_GRACE;
    while Instant::now() < end {
        if !matches!(child.try_wait(), Ok(None)) {
            guard.disarm();
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    // When no thread can be had, the zombie stays until the process ends: harmless.
    let _ = std::thread::Builder::new().name("program-reaper".into()).spawn(move || child.wait());
}

/// The fault for a program that is not there.
pub fn missing(name: &str) -> Fault {
    let remedy = match package_of(name) {
        Some(package) => format!("Install it on the host: apt-get install {package}"),
        None => "Install it on the host, or check the PATH of the quantix-node service.".to_owned(),
    };
    let message = format!("The program {name} is not installed on the host.");
    Fault::new(FaultCode::HostProgramMissing, message, remedy)
}

/// The Debian package that brings a program we use.
fn package_of(name: &str) -> Option<&'static str> {
    Some(match name.rsplit('/').next().unwrap_or(name) {
        "qemu-img" | "qemu-nbd" | "qemu-io" => "qemu-utils",
        "qemu-system-x86_64" => "qemu-system-x86",
        "libvirtd" => "libvirt-daemon-system",
        "virsh" => "libvirt-clients",
        "mount.nfs" | "mount.nfs4" | "showmount" => "nfs-common",
        "iscsiadm" => "open-iscsi",
        "rbd" | "rados" | "ceph" => "ceph-common",
        "lsblk" | "mount" | "umount" | "blkid" | "wipefs" | "setpriv" => "util-linux",
        "mkfs.xfs" | "xfs_db" => "xfsprogs",
        "sfdisk" => "fdisk",
        "udevadm" => "udev",
        "cmp" => "diffutils",
        "lvm" | "pvcreate" | "vgcreate" | "lvcreate" => "lvm2",
        "dmsetup" => "dmsetup",
        "nft" => "nftables",
        "ip" => "iproute2",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Program {
        Program::new("/bin/sh").args(["-c", script]).deadline(Duration::from_secs(20))
    }

    async fn both(program: Program) -> [Result<Output, Fault>; 2] {
        let blocking = {
            let program = program.clone();
            tokio::task::spawn_blocking(move || SystemRunner.run_blocking(&program, &mut || Ok(())))
        };
        [SystemRunner.run(program).await, blocking.await.unwrap()]
    }

    #[tokio::test]
    async fn output_input_and_exit_code_come_back() {
        for got in both(sh("cat; echo bad >&2; exit 3").stdin("secret")).await {
            let got = got.unwrap();
            assert_eq!((got.code, got.signal, got.cut), (Some(3), None, false));
            assert_eq!((got.stdout.as_slice(), got.stderr.as_str()), (b"secret".as_slice(), "bad\n"));
            assert_eq!(got.complaint(), "bad");
        }
    }

    #[tokio::test]
    async fn a_signal_is_told() {
        for got in both(sh("kill -9 $$")).await {
            let got = got.unwrap();
            assert_eq!((got.code, got.signal), (None, Some(9)));
            assert_eq!(got.complaint(), "ended by signal 9");
        }
    }

    #[tokio::test]
    async fn the_deadline_kills_the_whole_group() {
        for round in 0..2 {
            let dir = tempfile::tempdir().unwrap();
            let file = dir.path().join("grandchild");
            let script = format!("sleep 600 & echo $! > {}; wait", file.display());
            let program = sh(&script).deadline(Duration::from_millis(500));
            let began = Instant::now();
            let fault = if round == 0 {
                SystemRunner.run(program).await.unwrap_err()
            } else {
                tokio::task::spawn_blocking(move || SystemRunner.run_blocking(&program, &mut || Ok(())))
                    .await
                    .unwrap()
                    .unwrap_err()
            };
            assert_eq!(fault.code, FaultCode::DeadlineExceeded);
            assert!(began.elapsed() < Duration::from_secs(10));
            let pid = std::fs::read_to_string(&file).unwrap();
            let stat = format!("/proc/{}/stat", pid.trim());
            let gone = || {
                // Nobody may have reaped an orphan yet; a zombie is dead too.
                std::fs::read_to_string(&stat).map_or(true, |s| s.contains(") Z "))
            };
            let end = Instant::now() + Duration::from_secs(10);
            while !gone() && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(5));
            }
            assert!(gone(), "the grandchild lives on");
        }
    }

    #[tokio::test]
    async fn too_much_output_is_cut_and_said_so() {
        let mut program = sh("head -c 3000000 /dev/zero; echo end >&2");
        program.output_bytes_max = 1000;
        for got in both(program).await {
            let got = got.unwrap();
            assert_eq!((got.stdout.len(), got.cut, got.code), (1000, true, Some(0)));
        }
    }

    #[tokio::test]
    async fn a_missing_program_names_its_package() {
        for got in both(Program::new("/nonexistent/qemu-img")).await {
            let fault = got.unwrap_err();
            assert_eq!(fault.code, FaultCode::HostProgramMissing);
            assert!(fault.remedy.ends_with("qemu-utils"), "{}", fault.remedy);
        }
    }

    #[test]
    fn standard_error_can_be_followed() {
        let (sender, pieces) = mpsc::channel();
        let program = sh("echo $ONE >&2").env("ONE", "1%").follow(sender);
        SystemRunner.run_blocking(&program, &mut || Ok(())).unwrap();
        drop(program);
        assert_eq!(pieces.iter().flatten().collect::<Vec<u8>>(), b"1%\n");
    }

    #[test]
    fn a_tick_can_stop_the_program() {
        let stop = Fault::new(FaultCode::TaskCancelled, "Stopped.", "Nothing.");
        let got = SystemRunner.run_blocking(&sh("sleep 600"), &mut || Err(stop.clone()));
        assert_eq!(got.unwrap_err(), stop);
    }

    #[test]
    fn secrets_are_not_shown() {
        let shown = format!("{:?}", Program::new("x").stdin("hunter2"));
        assert!(!shown.contains("hunter2") && shown.contains("stdin_bytes: 7"), "{shown}");
    }
}
