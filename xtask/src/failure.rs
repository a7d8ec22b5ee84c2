//! The workshop's one error: what went wrong, and what to type about it.

use std::fmt;

/// A sentence for a person, with a remedy when there is one.
#[derive(Debug)]
pub struct Failure {
    what: String,
    remedy: Option<String>,
}

/// What every task returns.
pub type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    /// A failure that says what happened.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), remedy: None }
    }

    /// Adds what to do about it.
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        match &self.remedy {
            Some(remedy) => write!(f, "\n  → {remedy}"),
            None => Ok(()),
        }
    }
}

/// Says what was being done when the system refused.
pub trait Context<T> {
    /// Turns an error into a failure that begins with `doing`.
    fn doing(self, doing: impl fmt::Display) -> Result<T>;
}

impl<T, E: fmt::Display> Context<T> for std::result::Result<T, E> {
    fn doing(self, doing: impl fmt::Display) -> Result<T> {
        self.map_err(|error| Failure::new(format!("{doing}: {error}")))
    }
}
