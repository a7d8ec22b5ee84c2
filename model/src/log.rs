//! How grave a line of a log is.

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
