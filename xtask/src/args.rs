//! Reads the command line. By hand: a parser crate would double the time before `./x` says its first word.

use crate::failure::{Failure, Result};
use std::path::PathBuf;
use std::str::FromStr;

/// The words after the task's name.
pub struct Args {
    task: &'static str,
    words: Vec<String>,
}

impl Args {
    /// Takes over the words that follow `task`.
    pub fn new(task: &'static str, words: impl Iterator<Item = String>) -> Self {
        Self { task, words: words.collect() }
    }

    /// True when `--name` stands there; takes it away.
    pub fn flag(&mut self, name: &str) -> bool {
        let found = self.words.iter().position(|word| word == name);
        found.map(|at| self.words.remove(at)).is_some()
    }

    /// The value of `--name VALUE` or `--name=VALUE`; takes both away.
    pub fn value<T: FromStr>(&mut self, name: &str) -> Result<Option<T>> {
        let prefix = format!("{name}=");
        let Some(at) = self.words.iter().position(|word| word == name || word.starts_with(&prefix)) else {
            return Ok(None);
        };
        let word = self.words.remove(at);
        let text = match word.strip_prefix(&prefix) {
            Some(value) => value.to_owned(),
            None if at < self.words.len() => self.words.remove(at),
            None => return Err(Failure::new(format!("{name} needs a value")).remedy(self.help())),
        };
        let parsed = text
            .parse()
            .map_err(|_| Failure::new(format!("{name}: `{text}` is not understood")).remedy(self.help()))?;
        Ok(Some(parsed))
    }

    /// A path that must be given, made absolute.
    pub fn path(&mut self, name: &str) -> Result<PathBuf> {
        let given: Option<PathBuf> = self.value(name)?;
        let given =
            given.ok_or_else(|| Failure::new(format!("{name} DIR is missing")).remedy(self.help()))?;
        std::path::absolute(&given).map_err(|error| Failure::new(format!("{}: {error}", given.display())))
    }

    /// The words that are no options.
    pub fn rest(self) -> Result<Vec<String>> {
        match self.words.iter().find(|word| word.starts_with('-')) {
            Some(unknown) => {
                Err(Failure::new(format!("`{unknown}` is no option of `./x {}`", self.task))
                    .remedy(self.help()))
            }
            None => Ok(self.words),
        }
    }

    /// Refuses words nobody asked for.
    pub fn done(self) -> Result<()> {
        let (task, help) = (self.task, self.help());
        match self.rest()?.first() {
            Some(word) => Err(Failure::new(format!("`./x {task}` does not know `{word}`")).remedy(help)),
            None => Ok(()),
        }
    }

    fn help(&self) -> String {
        "`./x help` lists the tasks and their options".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &str) -> Args {
        Args::new("try", line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn values_and_flags_are_taken_away() {
        let mut args = args("--port 90 --yes --name=a=b tidy");
        assert_eq!(args.value::<u16>("--port").unwrap(), Some(90));
        assert_eq!(args.value::<String>("--name").unwrap().as_deref(), Some("a=b"));
        assert!(args.flag("--yes"));
        assert!(!args.flag("--yes"));
        assert_eq!(args.rest().unwrap(), ["tidy"]);
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(args("--port x").value::<u16>("--port").is_err());
        assert!(args("--port").value::<u16>("--port").is_err());
        assert!(args("--what").rest().is_err());
        assert!(args("word").done().is_err());
    }
}
