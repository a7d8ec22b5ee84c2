//! The QEMU guest agent, as far as the lab needs it: run a program in a guest, look how it is, end it.
//!
//! Lines of JSON over the socket QEMU keeps for it; one question at a time. See "QEMU Guest Agent Protocol Reference"
//! for `guest-sync-delimited`, `guest-exec` and `guest-exec-status`. The agent hands out a program's output at its
//! end, 16 MiB of it at most.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Error, ErrorKind, Result, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Each answer comes at once; this is for a guest on a very busy machine.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);
const SYNC_DEADLINE: Duration = Duration::from_millis(500);
/// Stands before the answer to `guest-sync-delimited`, and nowhere else: it is no UTF-8.
const DELIMITER: u8 = 0xff;

static ATTEMPT: AtomicU32 = AtomicU32::new(0);

/// A connection to the agent of one guest.
pub struct Agent {
    write: UnixStream,
    read: BufReader<UnixStream>,
}

/// How a program in the guest is.
pub enum Running {
    /// Not ended.
    Still,
    /// Ended by itself or by a signal.
    Ended(Output),
}

/// What a program in the guest left.
#[derive(Debug, Default)]
pub struct Output {
    /// Its exit code; none when a signal or the deadline ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// What it wrote there, with replacements for what is no UTF-8.
    pub stdout: String,
    /// Likewise.
    pub stderr: String,
    /// Our deadline passed: it was killed, and what it wrote is lost.
    pub late: bool,
    /// From the question to the answer.
    pub took: Duration,
}

impl Output {
    /// It ended with code 0.
    pub fn success(&self) -> bool {
        self.code == Some(0)
    }
}

impl Agent {
    /// Connects, and waits until the agent answers: a guest may still be starting.
    pub fn connect(socket: &Path, deadline: Duration) -> Result<Agent> {
        let end = Instant::now() + deadline;
        loop {
            match Agent::try_connect(socket) {
                Ok(agent) => return Ok(agent),
                Err(error) if Instant::now() >= end => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    fn try_connect(socket: &Path) -> Result<Agent> {
        let write = UnixStream::connect(socket)?;
        let read = BufReader::new(write.try_clone()?);
        let mut agent = Agent { write, read };
        agent.write.set_read_timeout(Some(SYNC_DEADLINE))?;
        // Whatever an earlier connection left half-said ends here; late answers to it carry another number.
        let id = u64::from(std::process::id()) << 32 | u64::from(ATTEMPT.fetch_add(1, Ordering::Relaxed));
        agent.write.write_all(&[DELIMITER])?;
        agent.tell("guest-sync-delimited", json!({ "id": id }))?;
        loop {
            let mut before = Vec::new();
            agent.read.read_until(DELIMITER, &mut before)?;
            if agent.answer()?.as_u64() == Some(id) {
                break;
            }
        }
        agent.write.set_read_timeout(Some(ANSWER_DEADLINE))?;
        Ok(agent)
    }

    /// Starts `argv` in the guest with `env` (`NAME=value`) added; answers its process id there.
    pub fn exec(&mut self, argv: &[&str], env: &[String], input: &[u8]) -> Result<i64> {
        let [path, args @ ..] = argv else { return Err(Error::other("an empty command")) };
        let arguments = json!({
            "path": path, "arg": args, "env": env, "capture-output": true, "input-data": STANDARD.encode(input),
        });
        self.tell("guest-exec", arguments)?;
        let answer = self.answer()?;
        answer["pid"].as_i64().ok_or_else(|| Error::other(format!("no process id: {answer}")))
    }

    /// Looks at a program. Its end is told once; the agent forgets it then.
    pub fn status(&mut self, pid: i64) -> Result<Running> {
        self.tell("guest-exec-status", json!({ "pid": pid }))?;
        let answer = self.answer()?;
        if answer["exited"] != true {
            return Ok(Running::Still);
        }
        let number = |name: &str| answer[name].as_i64().and_then(|n| i32::try_from(n).ok());
        let text = |name: &str| {
            let bytes = STANDARD.decode(answer[name].as_str().unwrap_or_default()).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let (code, signal) = (number("exitcode"), number("signal"));
        let output =
            Output { code, signal, stdout: text("out-data"), stderr: text("err-data"), ..Output::default() };
        Ok(Running::Ended(output))
    }

    fn tell(&mut self, name: &str, arguments: Value) -> Result<()> {
        let line = json!({ "execute": name, "arguments": arguments }).to_string() + "\n";
        self.write.write_all(line.as_bytes())
    }

    fn answer(&mut self) -> Result<Value> {
        let mut line = String::new();
        if self.read.read_line(&mut line)? == 0 {
            return Err(Error::new(ErrorKind::UnexpectedEof, "the guest is gone"));
        }
        let mut answer: Value = serde_json::from_str(&line).map_err(Error::other)?;
        match answer.get("error") {
            Some(error) => Err(Error::other(format!("the guest agent refused: {}", error["desc"]))),
            None => Ok(answer["return"].take()),
        }
    }
}
