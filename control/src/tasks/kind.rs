//! What a kind of task must bring along.

use crate::bus::Thing;
use crate::tasks::TaskContext;
use async_trait::async_trait;
use quantix_model::Fault;
use std::time::Duration;

/// A kind of long work, registered under its name.
#[async_trait]
pub trait TaskKind: Send + Sync + 'static {
    /// `vm.create`, `image.upload`, …
    fn name(&self) -> &'static str;

    /// From the first step to the end, restarts of the vDC included.
    fn deadline(&self) -> Duration;

    /// Whether it may be asked to stop.
    fn cancellable(&self) -> bool {
        true
    }

    /// Whether it works beside other tasks of its object instead of after them: on a pool's files, say.
    fn beside(&self) -> bool {
        false
    }

    /// Does the work. Runs again from the start after a restart, so every step must bear being repeated.
    /// Call [`TaskContext::step`] before each step: it ends the work when somebody asked for that.
    async fn run(&self, task: &TaskContext) -> Result<(), Fault>;

    /// Removes what a failed or cancelled run made, and marks its object. Repeatable as well.
    async fn undo(&self, task: &TaskContext, why: &Fault) {
        let _ = (task, why);
    }
}

/// A task to be.
#[derive(Clone, Debug)]
pub struct NewTask {
    /// Name of a registered kind.
    pub kind: &'static str,
    /// Sentence: "Create VM web-1".
    pub title: String,
    /// What it works on.
    pub object: Thing,
    /// That thing's name.
    pub object_name: String,
    /// Host it works on; empty when none.
    pub host: String,
    /// Who asked.
    pub user_name: String,
    /// What `run` reads back with [`TaskContext::input`].
    pub input: serde_json::Value,
}
