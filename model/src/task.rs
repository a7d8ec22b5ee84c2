//! Long work and its life.
//!
//! ```text
//!   Queued ──▶ Running ──▶ Done
//!      │          ├──────▶ Failed
//!      └──────────┴──────▶ Cancelled
//! ```
//! A task that was Running when the vDC died is run again from its first step: every step is idempotent by id.

use serde::{Deserialize, Serialize};

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// Waiting for its turn.
    Queued,
    /// At work.
    Running,
    /// Ended well.
    Done,
    /// Ended with a fault; what it had made is undone.
    Failed,
    /// Ended because somebody asked; what it had made is undone.
    Cancelled,
}

impl TaskState {
    /// Whether a task may go from this state to `next`.
    pub fn may_become(self, next: TaskState) -> bool {
        use TaskState::*;
        match (self, next) {
            (Queued, Running | Cancelled | Failed) | (Running, Running | Done | Failed | Cancelled) => true,
            (Queued, Queued | Done) | (Running, Queued) | (Done | Failed | Cancelled, _) => false,
        }
    }

    /// Whether it will never change again.
    pub fn is_final(self) -> bool {
        matches!(self, TaskState::Done | TaskState::Failed | TaskState::Cancelled)
    }
}
