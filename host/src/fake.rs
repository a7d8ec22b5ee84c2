//! A runner that plays a script instead of running programs: the host boundary is where tests cut the house.

use crate::program::{BlockingRunner, Output, Program, Runner};
use async_trait::async_trait;
use quantix_model::{Fault, FaultCode};
use std::sync::{Mutex, MutexGuard, PoisonError};

type Answer = Box<dyn Fn(&Program) -> Result<Output, Fault> + Send + Sync>;

/// Answers programs by name, and remembers what was asked.
#[derive(Default)]
pub struct ScriptedRunner {
    answers: Vec<(String, Answer)>,
    calls: Mutex<Vec<Program>>,
}

impl ScriptedRunner {
    /// Knows no program yet.
    pub fn new() -> ScriptedRunner {
        ScriptedRunner::default()
    }

    /// Answers a program of this name; the latest answer for a name wins.
    pub fn on(
        mut self,
        name: &str,
        answer: impl Fn(&Program) -> Result<Output, Fault> + Send + Sync + 'static,
    ) -> ScriptedRunner {
        self.answers.push((name.to_owned(), Box::new(answer)));
        self
    }

    /// All programs asked for, in order.
    pub fn calls(&self) -> Vec<Program> {
        self.locked().clone()
    }

    fn locked(&self) -> MutexGuard<'_, Vec<Program>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, program: &Program) -> Result<Output, Fault> {
        self.locked().push(program.clone());
        match self.answers.iter().rev().find(|(name, _)| *name == program.name) {
            Some((_, answer)) => answer(program),
            None => Err(Fault::new(
                FaultCode::HostProgramMissing,
                format!("The program {} is not installed on the host.", program.name),
                "Add it to the script.",
            )),
        }
    }
}

#[async_trait]
impl Runner for ScriptedRunner {
    async fn run(&self, program: Program) -> Result<Output, Fault> {
        self.answer(&program)
    }
}

impl BlockingRunner for ScriptedRunner {
    fn run_blocking(
        &self,
        program: &Program,
        tick: &mut dyn FnMut() -> Result<(), Fault>,
    ) -> Result<Output, Fault> {
        tick()?;
        self.answer(program)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn plays_and_remembers() {
        let runner = ScriptedRunner::new().on("ls", |_| Ok(Output { code: Some(0), ..Output::default() }));
        assert!(runner.run(Program::new("ls").arg("-l")).await.unwrap().succeeded());
        assert_eq!(runner.run(Program::new("rm")).await.unwrap_err().code, FaultCode::HostProgramMissing);
        let names: Vec<_> = runner.calls().iter().map(|p| p.name.clone()).collect();
        assert_eq!(names, ["ls", "rm"]);
    }
}
