//! How grave a line of a log is, and what never stands in one.

use serde::{Deserialize, Serialize};

/// Gravity, from the least to the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Every step.
    Trace,
    /// For whoever looks for a mistake.
    Debug,
    /// What happened.
    Info,
    /// What somebody should know.
    Warn,
    /// What failed.
    Error,
}

/// Parts of names of fields that no log prints.
const SECRETIVE: [&str; 5] = ["password", "secret", "token", "key", "authorization"];

/// Whether a field of this name is not printed, because what it holds may open something.
pub fn is_secretive(name: &str) -> bool {
    SECRETIVE.iter().any(|part| name.contains(part))
}
