//! A process under test: its words are kept, it may be killed, and it never outlives us.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Asked to end, it has this long.
const STOP_WITHIN: Duration = Duration::from_secs(20);

/// Everything said so far, and who waits for more.
type Lines = Arc<(Mutex<Vec<String>>, Condvar)>;

/// A running program.
pub struct Process {
    name: &'static str,
    child: Child,
    lines: Lines,
}

impl Process {
    /// Starts `command`; the kernel ends it when this thread's process is gone.
    pub fn start(name: &'static str, command: Command) -> Process {
        let mut tied = Command::new("setpriv");
        tied.args(["--pdeathsig", "TERM", "--"]).arg(command.get_program()).args(command.get_args());
        tied.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = tied.spawn().unwrap_or_else(|err| panic!("{name} cannot be started: {err}"));
        let lines = Lines::default();
        follow(child.stdout.take().expect("stdout is piped"), lines.clone());
        follow(child.stderr.take().expect("stderr is piped"), lines.clone());
        Process { name, child, lines }
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The first line so far that holds `text`.
    pub fn said(&self, text: &str) -> Option<String> {
        let lines = self.lines.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().find(|line| line.contains(text)).cloned()
    }

    /// Waits for a line that holds `text`.
    ///
    /// # Panics
    /// When the deadline passes, with everything the process said.
    pub fn wait_for(&self, text: &str, deadline: Duration) -> String {
        let end = Instant::now() + deadline;
        let mut lines = self.lines.0.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(line) = lines.iter().find(|line| line.contains(text)) {
                return line.clone();
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{} did not say {text:?}. It said:\n{}", self.name, lines.join("\n"));
            lines = self.lines.1.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Resident memory in bytes, from `/proc/<pid>/status`.
    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let kib = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.split_whitespace().next().and_then(|number| number.parse::<u64>().ok()));
        kib.unwrap_or(0) * 1024
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        let _ = Command::new("kill").args(["-TERM", &self.pid().to_string()]).status();
        let end = Instant::now() + STOP_WITHIN;
        while Instant::now() < end {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn follow(stream: impl std::io::Read + Send + 'static, lines: Lines) {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            lines.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            lines.1.notify_all();
        }
    });
}

/// A port nobody listens on now.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    listener.local_addr().expect("a bound socket has an address").port()
}
