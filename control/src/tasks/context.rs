//! What a task at work holds in its hand.

use crate::clock::Clock;
use quantix_model::fault::{Fault, FaultCode};
use quantix_model::id::TaskId;
use quantix_store::TaskRecord;
use serde::de::DeserializeOwned;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The live state of one task; the engine and the kind share it.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) record: Mutex<TaskRecord>,
    /// Changed since watchers last heard.
    pub(super) dirty: std::sync::atomic::AtomicBool,
    pub(super) cancel: CancellationToken,
}

impl Live {
    pub(super) fn lock(&self) -> MutexGuard<'_, TaskRecord> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut TaskRecord)) {
        change(&mut self.lock());
        self.dirty.store(true, std::sync::atomic::Ordering::Release);
    }
}

/// Handed to [`crate::tasks::TaskKind::run`].
#[derive(Clone, Debug)]
pub struct TaskContext {
    pub(super) live: Arc<Live>,
    pub(super) clock: Clock,
}

impl TaskContext {
    /// The task's id.
    pub fn id(&self) -> TaskId {
        self.live.lock().id
    }

    /// Who asked for it.
    pub fn user_name(&self) -> String {
        self.live.lock().user_name.clone()
    }

    /// The id of what it works on.
    pub fn object_id<T: FromStr<Err = Fault>>(&self) -> Result<T, Fault> {
        self.live.lock().object_id.parse()
    }

    /// What it was given.
    pub fn input<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        serde_json::from_value(self.live.lock().input.clone()).map_err(Fault::internal)
    }

    /// Says what comes next. Fails with `TASK_CANCELLED` when somebody asked the task to stop.
    pub fn step(&self, step: impl Into<String>) -> Result<(), Fault> {
        self.check()?;
        let step = step.into();
        self.live.change(|record| record.step = step);
        Ok(())
    }

    /// Fails with `TASK_CANCELLED` when somebody asked the task to stop.
    pub fn check(&self) -> Result<(), Fault> {
        if self.live.cancel.is_cancelled() { Err(cancelled()) } else { Ok(()) }
    }

    /// Says how far it is. `total` 0: cannot be known. `unit`: `bytes` or `steps`.
    pub fn progress(&self, done: u64, total: u64, unit: &'static str) {
        self.live.change(|record| {
            record.progress_done = done;
            record.progress_total = total;
            if record.progress_unit != unit {
                record.progress_unit = unit.to_owned();
            }
        });
    }

    /// Says which host it works on.
    pub fn on_host(&self, name: &str) {
        self.live.change(|record| record.host = name.to_owned());
    }

    /// Resolves when somebody asks the task to stop; for waiting on something else at the same time.
    pub async fn cancelled(&self) {
        self.live.cancel.cancelled().await;
    }

    /// What is left until its deadline.
    pub fn remaining(&self) -> Duration {
        self.clock.now().age(self.live.lock().deadline_at)
    }
}

/// The fault of a task that was asked to stop.
pub(super) fn cancelled() -> Fault {
    Fault::new(FaultCode::TaskCancelled, "The task was cancelled.", "Start it again if you still want it.")
}
