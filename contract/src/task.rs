//! Tasks on the wire.

use crate::quantix::task::v1 as wire;
use crate::twin::twins;
use quantix_model::task::TaskState;

twins!(TaskState => wire::TaskState, "state" {
    Queued = TASK_STATE_QUEUED,
    Running = TASK_STATE_RUNNING,
    Done = TASK_STATE_DONE,
    Failed = TASK_STATE_FAILED,
    Cancelled = TASK_STATE_CANCELLED,
});

#[cfg(test)]
mod tests {
    #[test]
    fn tables() {
        crate::twin::check_table::<super::TaskState>();
    }
}
