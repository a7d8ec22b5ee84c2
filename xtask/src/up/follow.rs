//! What the started programs say: kept while they start, then printed line by line, each with its name in colour.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, IsTerminal as _, Read, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

const KEPT_LINES: usize = 200;
const LAST_LINES: usize = 15;

/// Which program speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// A libvirt of our own.
    Libvirt,
    /// The control plane.
    Vdc,
    /// The host daemon.
    Node,
}

impl Look {
    /// By the program's name.
    pub fn of(name: &str) -> Self {
        match name {
            "vdc" => Self::Vdc,
            "node" => Self::Node,
            _ => Self::Libvirt,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Libvirt => "libvirt",
            Self::Vdc => "vdc",
            Self::Node => "node",
        }
    }

    fn colour(self) -> &'static str {
        match self {
            Self::Libvirt => "\x1b[33m",
            Self::Vdc => "\x1b[36m",
            Self::Node => "\x1b[35m",
        }
    }
}

/// Collects and prints.
pub struct Follower {
    sender: Sender<(Look, String)>,
    lines: Receiver<(Look, String)>,
    kept: VecDeque<(Look, String)>,
    speaks: bool,
    coloured: bool,
}

impl Follower {
    /// Silent at first.
    pub fn new() -> Self {
        let (sender, lines) = channel();
        let coloured = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { sender, lines, kept: VecDeque::new(), speaks: false, coloured }
    }

    /// Sends the program's output to us.
    pub fn pipes(&self, command: &mut Command) {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        if !self.coloured {
            command.env("NO_COLOR", "1");
        }
    }

    /// Reads both outputs of a started program, each on a thread that ends with it.
    pub fn attach(&self, look: Look, child: &mut Child) {
        let outputs = [
            child.stdout.take().map(|out| Box::new(out) as Box<dyn Read + Send>),
            child.stderr.take().map(|err| Box::new(err) as _),
        ];
        for output in outputs.into_iter().flatten() {
            let sender = self.sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(output).split(b'\n') {
                    let Ok(line) = line else { break };
                    if sender.send((look, String::from_utf8_lossy(&line).into_owned())).is_err() {
                        break;
                    }
                }
            });
        }
    }

    /// From now on every line is printed as it comes.
    pub fn speak(&mut self) {
        self.speaks = true;
    }

    /// Takes in lines for at most `pause`.
    pub fn wait(&mut self, pause: Duration) {
        let Ok(first) = self.lines.recv_timeout(pause) else { return };
        let mut next = Some(first);
        while let Some((look, line)) = next {
            if self.speaks {
                self.print(look, &line);
            }
            if self.kept.len() == KEPT_LINES {
                self.kept.pop_front();
            }
            self.kept.push_back((look, line));
            next = self.lines.try_recv().ok();
        }
    }

    /// All that is kept of what one program said.
    pub fn said(&self, look: Look) -> Vec<String> {
        self.kept.iter().filter(|(who, _)| *who == look).map(|(_, line)| line.clone()).collect()
    }

    /// The end of what one program said.
    pub fn last_words(&self, look: Look) -> String {
        let said = self.said(look);
        let from = said.len().saturating_sub(LAST_LINES);
        said[from..].iter().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
    }

    /// Our own words.
    pub fn say(&self, text: &str) {
        let _ = writeln!(std::io::stdout(), "{text}");
    }

    fn print(&self, look: Look, line: &str) {
        let name = look.name();
        // A reader that went away is no reason to stop what runs.
        let _ = if self.coloured {
            writeln!(std::io::stdout(), "{}{name:>7} │\x1b[0m {line}", look.colour())
        } else {
            writeln!(std::io::stdout(), "{name:>7} │ {line}")
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::child::{Running, tied, wait_until};

    #[test]
    fn both_outputs_are_kept_apart_by_program() {
        let mut follower = Follower::new();
        let mut programs = Vec::new();
        for (name, look) in [("vdc", Look::Vdc), ("node", Look::Node)] {
            let mut command = tied("sh");
            command.args(["-c", &format!("echo {name} out; echo {name} err >&2")]);
            follower.pipes(&mut command);
            let mut running = Running::start(name, &mut command).unwrap();
            follower.attach(look, running.child());
            programs.push(running);
        }
        let seen = wait_until(Duration::from_secs(10), || {
            follower.wait(Duration::from_millis(10));
            follower.said(Look::Vdc).len() == 2 && follower.said(Look::Node).len() == 2
        });
        assert!(seen.is_some(), "{:?}", follower.kept);
        assert!(follower.last_words(Look::Node).contains("node err"));
    }
}
