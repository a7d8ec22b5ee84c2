//! Running host programs: argv only, a deadline always, output captured, secrets never in argv or errors.

use std::time::Duration;

/// A program to run. There is no shell: arguments arrive as given.
#[derive(Clone, Debug)]
pub struct Program {
    /// Name or absolute path.
    pub name: String,
    /// Arguments.
    pub args: Vec<String>,
    /// Bytes for its standard input; this is where secrets go.
    pub stdin: Vec<u8>,
    /// Killed (SIGKILL, whole process group) after this.
    pub deadline: Duration,
    /// More output than this is cut, and said to be.
    pub output_bytes_max: usize,
}

impl Program {
    /// A program with no input, 30 s and 1 MiB.
    pub fn new(name: impl Into<String>) -> Program {
        Program {
            name: name.into(),
            args: Vec::new(),
            stdin: Vec::new(),
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

    /// Sets the deadline.
    pub fn deadline(mut self, deadline: Duration) -> Program {
        self.deadline = deadline;
        self
    }
}

/// What a program said when it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error, as text.
    pub stderr: String,
}
