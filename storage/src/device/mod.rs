//! Disks of this machine: what is on them, whether one may become a pool, and making it one.
//!
//! ```text
//!   lsblk ─▶ tree of disks ─┬─▶ may it be used? (mounted, swap, held, read-only, a LUN, …)
//!                           └─▶ wipefs, cmp: what is on it ─▶ lines for people, fingerprint
//!
//!   initialise: look ─▶ checks ─▶ [begun] ─▶ wipefs ─▶ sfdisk (GPT) ─▶ settle ─▶ mkfs.xfs ─▶ look: is it ours?
//!                 └── it carries this pool's file system, whole: nothing to do
//! ```
//! Programs do all of it, each with a deadline: this process never opens a device, so a disk that hangs holds up only
//! a program. Two disks never wait for each other.
//!
//! The file system's UUID is made from the pool's id, so the disk itself says whose it is. What a cut run leaves no
//! longer looks as it was shown; whoever asks keeps a note from `begun` on, and the same wish with that note goes on.

pub mod contents;
pub mod fake;
mod look;
mod make;
pub mod refuse;

pub use look::Node;

use crate::local::Steps;
use quantix_host::program::{BlockingRunner, Output, Program, missing};
use quantix_model::id::PoolId;
use quantix_model::{Fault, FaultCode};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A disk that did not answer is not asked again for so long: each try may leave a process in the kernel.
const SILENT_PAUSE: Duration = Duration::from_secs(60);

/// A disk to become a pool.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Whose.
    pub pool: PoolId,
    /// `/dev/sdb`, as listed.
    pub device: String,
    /// As listed.
    pub fingerprint: String,
    /// What is on it may be destroyed.
    pub erase: bool,
    /// This very wish was begun before and cut: what it left may be destroyed.
    pub begun: bool,
}

/// The disks of this machine.
pub struct Disks {
    runner: Arc<dyn BlockingRunner>,
    steps: Steps,
    silent: Mutex<HashMap<String, Instant>>,
}

impl Disks {
    /// Asked by these programs.
    pub fn new(runner: Arc<dyn BlockingRunner>) -> Disks {
        Disks::with(runner, Arc::new(|_| Ok(())))
    }

    /// The same with a hook on every step; for tests.
    pub fn with(runner: Arc<dyn BlockingRunner>, steps: Steps) -> Disks {
        Disks { runner, steps, silent: Mutex::default() }
    }

    fn step(&self, name: &'static str) -> Result<(), Fault> {
        (self.steps)(name)
    }

    fn silent(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        self.silent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_silent(&self, path: &str) -> bool {
        self.silent().get(path).is_some_and(|since| since.elapsed() < SILENT_PAUSE)
    }

    /// Runs a program that dies with this thread, which waits for it: nothing goes on changing a disk by itself.
    fn run(&self, step: &'static str, name: &str, args: &[&str], rest: Rest<'_>) -> Result<Output, Fault> {
        let program = Program::new("setpriv")
            .args(["--pdeathsig", "KILL", name])
            .args(args.iter().copied())
            .stdin(rest.stdin)
            .deadline(rest.deadline);
        let output = self.runner.run_blocking(&program, &mut || Ok(())).map_err(|f| f.in_phase(step))?;
        // setpriv's word for a program that is not there (execvp(3), as shells say it).
        if output.code == Some(127) {
            return Err(missing(name).because(output.complaint()).in_phase(step));
        }
        Ok(output)
    }
}

/// What else a program is given.
#[derive(Clone, Copy)]
struct Rest<'a> {
    stdin: &'a [u8],
    deadline: Duration,
}

fn within(deadline: Duration) -> Rest<'static> {
    Rest { stdin: b"", deadline }
}

/// What devices and programs say, without what could break a line or a screen.
pub(crate) fn printable(text: &str) -> String {
    const CHARS_MAX: usize = 160;
    let odd = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let clean: String = text.chars().map(|c| if odd(c) { ' ' } else { c }).collect();
    clean.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(CHARS_MAX).collect()
}

/// An answer of a program that cannot be used.
fn unreadable(step: &'static str, program: &str, why: impl std::fmt::Display) -> Fault {
    Fault::new(
        FaultCode::InvalidResponse,
        format!("{program} gave an answer that cannot be used."),
        "Check that util-linux on the host is version 2.37 or later, and look at the kernel log.",
    )
    .because(printable(&why.to_string()))
    .in_phase(step)
}
