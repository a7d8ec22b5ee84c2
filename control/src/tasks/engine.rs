//! Runs tasks: queues, deadlines, cancelling, and what of it reaches watchers and the store.

use crate::bus::{Bus, Thing};
use crate::clock::Clock;
use crate::ids;
use crate::tasks::context::{Live, TaskContext, cancelled};
use crate::tasks::kind::{NewTask, TaskKind};
use futures::FutureExt as _;
use quantix_model::fault::{Fault, FaultCode};
use quantix_model::id::TaskId;
use quantix_model::task::TaskState;
use quantix_store::{Store, StoreError, TaskRecord};
use std::collections::{HashMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Tasks at work at the same time.
const RUNNING_MAX: usize = 64;
/// How often watchers hear of progress.
const TELL_EVERY: Duration = Duration::from_millis(250);
/// How often progress reaches the store.
const KEEP_EVERY: Duration = Duration::from_secs(2);
/// What undoing may take.
const UNDO_DEADLINE: Duration = Duration::from_secs(60);
/// Wait before asking a store again that did not answer.
const STORE_RETRY: Duration = Duration::from_secs(1);
/// Finished tasks that are kept.
const FINISHED_MAX: u64 = 1000;
/// Finished tasks are counted down after so many ends.
const PRUNE_EVERY: u64 = 50;

/// The engine. Clones are the same engine.
#[derive(Clone)]
pub struct Tasks(Arc<Inner>);

struct Inner {
    store: Store,
    clock: Clock,
    bus: Bus,
    stop: CancellationToken,
    tracker: TaskTracker,
    slots: Semaphore,
    ended: AtomicU64,
    kinds: Mutex<HashMap<&'static str, Arc<dyn TaskKind>>>,
    table: Mutex<Table>,
}

/// Everything that is queued or running.
#[derive(Default)]
struct Table {
    live: HashMap<TaskId, Arc<Live>>,
    /// Per lane, which is mostly an object: the running task first, then those that wait.
    lines: HashMap<String, VecDeque<TaskId>>,
}

impl std::fmt::Debug for Tasks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tasks").field("live", &self.table().live.len()).finish_non_exhaustive()
    }
}

/// How a run came to its end.
enum End {
    Done,
    Failed(Box<Fault>),
    /// The vDC stops: the task stays as it is and runs again at the next start.
    Stopped,
}

impl End {
    fn failed(fault: Fault) -> End {
        End::Failed(Box::new(fault))
    }
}

impl Tasks {
    /// An engine without kinds; register them before [`Tasks::resume`].
    pub fn new(store: Store, clock: Clock, bus: Bus, stop: CancellationToken, tracker: TaskTracker) -> Tasks {
        Tasks(Arc::new(Inner {
            store,
            clock,
            bus,
            stop,
            tracker,
            slots: Semaphore::new(RUNNING_MAX),
            ended: AtomicU64::new(0),
            kinds: Mutex::default(),
            table: Mutex::default(),
        }))
    }

    /// Makes a kind known.
    pub fn register(&self, kind: Arc<dyn TaskKind>) {
        self.0.kinds.lock().unwrap_or_else(PoisonError::into_inner).insert(kind.name(), kind);
    }

    /// A task record for the store; pass it to [`Tasks::submit`] once it is there.
    pub fn draft(&self, new: NewTask) -> TaskRecord {
        let now = self.0.clock.now();
        let kind = self.kind(new.kind);
        TaskRecord {
            id: ids::task(),
            kind: new.kind.to_owned(),
            title: new.title,
            state: TaskState::Queued,
            fault: None,
            object_kind: new.object.kind().to_owned(),
            object_id: new.object.id().to_string(),
            object_name: new.object_name,
            host: new.host,
            user_name: new.user_name,
            step: String::new(),
            progress_done: 0,
            progress_total: 0,
            progress_unit: "steps".to_owned(),
            created_at: now,
            started_at: None,
            ended_at: None,
            deadline_at: now.plus(kind.as_ref().map_or(Duration::ZERO, |k| k.deadline())),
            cancellable: kind.is_some_and(|k| k.cancellable()),
            cancel_requested: false,
            input: new.input,
        }
    }

    /// Lines up a task that stands in the store.
    pub fn submit(&self, record: TaskRecord) {
        let (id, lane) = (record.id, self.lane(&record));
        let live = Arc::new(Live {
            dirty: AtomicBool::new(true),
            cancel: CancellationToken::new(),
            record: Mutex::new(record),
        });
        if live.lock().cancel_requested {
            live.cancel.cancel();
        }
        let mut table = self.table();
        if table.live.contains_key(&id) {
            return;
        }
        table.live.insert(id, live.clone());
        let line = table.lines.entry(lane).or_default();
        line.push_back(id);
        let first = line.len() == 1;
        drop(table);
        self.tell(&live);
        if first {
            self.begin(live);
        }
    }

    /// Takes up again what was not finished when the vDC went down.
    pub async fn resume(&self) -> Result<(), Fault> {
        for record in self.0.store.task_unfinished().await? {
            tracing::info!(task = %record.id, kind = record.kind, "taking up an unfinished task");
            self.submit(record);
        }
        Ok(())
    }

    /// Asks a task to stop at its next step.
    pub async fn cancel(&self, id: TaskId) -> Result<TaskRecord, Fault> {
        let refuse = |why: &str| {
            Err(Fault::new(FaultCode::TaskNotCancellable, why, "Wait for its end and undo it by hand."))
        };
        let Some(live) = self.table().live.get(&id).cloned() else {
            self.0.store.task_get(id).await?;
            return refuse("The task has ended already.");
        };
        if !live.lock().cancellable {
            return refuse("This kind of task cannot be stopped halfway.");
        }
        // Durable before it takes effect, so that a restart does not forget it.
        let kept = self.0.store.task_update::<StoreError>(id, |record| {
            record.cancel_requested = true;
            Ok(())
        });
        kept.await?;
        live.change(|record| record.cancel_requested = true);
        live.cancel.cancel();
        self.tell(&live);
        let record = live.lock().clone();
        Ok(record)
    }

    /// The task as it stands this moment, when it is queued or running.
    pub fn live(&self, id: TaskId) -> Option<TaskRecord> {
        let live = self.table().live.get(&id).cloned()?;
        let record = live.lock().clone();
        Some(record)
    }

    /// The task as it stands: from memory while it lives, else from the store.
    pub async fn get(&self, id: TaskId) -> Result<TaskRecord, Fault> {
        match self.live(id) {
            Some(record) => Ok(record),
            None => Ok(self.0.store.task_get(id).await?),
        }
    }

    /// The task at work on this thing, or first in its line.
    pub fn of(&self, thing: Thing) -> Option<TaskId> {
        let table = self.table();
        let line = table.lines.get(&thing.id().to_string())?;
        // One that has ended and not yet left its line holds nobody up: whoever saw its end may go on.
        let at_work = |id: &&TaskId| table.live.get(*id).is_some_and(|live| !live.lock().state.is_final());
        line.iter().find(at_work).copied()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kind(&self, name: &str) -> Option<Arc<dyn TaskKind>> {
        self.0.kinds.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// The line a task waits in: that of its object, or one of its own.
    fn lane(&self, record: &TaskRecord) -> String {
        match self.kind(&record.kind) {
            Some(kind) if kind.beside() => record.id.to_string(),
            _ => record.object_id.clone(),
        }
    }

    /// Tells watchers of the task and of its object, whose allowed actions depend on it.
    fn tell(&self, live: &Live) {
        live.dirty.store(false, Ordering::Release);
        let (id, object) = {
            let record = live.lock();
            (record.id, Thing::parse(&record.object_kind, &record.object_id))
        };
        self.0.bus.changed(Thing::Task(id));
        if let Some(object) = object {
            self.0.bus.changed(object);
        }
    }

    fn begin(&self, live: Arc<Live>) {
        let engine = self.clone();
        self.0.tracker.spawn(async move {
            let mut next = Some(live);
            while let Some(live) = next {
                if matches!(engine.work(&live).await, End::Stopped) {
                    return;
                }
                next = engine.leave(&live);
            }
        });
    }

    /// Takes an ended task out of its line; the next of that object, if one waits.
    fn leave(&self, live: &Live) -> Option<Arc<Live>> {
        let (id, lane) = {
            let record = live.lock();
            (record.id, self.lane(&record))
        };
        let mut table = self.table();
        table.live.remove(&id);
        let line = table.lines.get_mut(&lane)?;
        line.retain(|waiting| *waiting != id);
        let next = line.front().copied();
        if next.is_none() {
            table.lines.remove(&lane);
        }
        let next = next.and_then(|id| table.live.get(&id).cloned());
        drop(table);
        self.tell(live);
        next
    }

    async fn work(&self, live: &Arc<Live>) -> End {
        let _slot = tokio::select! {
            slot = self.0.slots.acquire() => slot,
            () = self.0.stop.cancelled() => return End::Stopped,
        };
        let name = live.lock().kind.clone();
        let context = TaskContext { live: live.clone(), clock: self.0.clock.clone() };
        let end = match self.kind(&name) {
            None => End::failed(Fault::internal(format!("no kind of task is called {name}"))),
            Some(kind) => self.attempt(live, &context, kind.as_ref()).await,
        };
        let (state, fault) = match end {
            End::Stopped => return End::Stopped,
            End::Done => (TaskState::Done, None),
            End::Failed(fault) if fault.code == FaultCode::TaskCancelled => {
                (TaskState::Cancelled, Some(*fault))
            }
            End::Failed(fault) => {
                tracing::warn!(task = %context.id(), kind = name, %fault, "a task failed");
                (TaskState::Failed, Some(*fault))
            }
        };
        let now = self.0.clock.now();
        live.change(|record| {
            record.state = state;
            record.fault = fault;
            record.ended_at = Some(now);
        });
        if !self.keep(live, true).await {
            return End::Stopped;
        }
        if self.0.ended.fetch_add(1, Ordering::Relaxed).is_multiple_of(PRUNE_EVERY)
            && let Err(err) = self.0.store.task_prune(FINISHED_MAX).await
        {
            tracing::warn!(%err, "finished tasks could not be counted down");
        }
        End::Done
    }

    /// Runs a task and, when that fails, undoes it.
    async fn attempt(&self, live: &Arc<Live>, context: &TaskContext, kind: &dyn TaskKind) -> End {
        let now = self.0.clock.now();
        live.change(|record| {
            record.state = TaskState::Running;
            // A task that is taken up again keeps its first start and deadline.
            if record.started_at.is_none() {
                record.started_at = Some(now);
                record.deadline_at = now.plus(kind.deadline());
            }
        });
        if !self.keep(live, true).await {
            return End::Stopped;
        }
        self.tell(live);
        let end = match context.check() {
            Err(fault) => End::failed(fault),
            Ok(()) => self.drive(live, context.remaining(), kind.run(context)).await,
        };
        let End::Failed(fault) = end else { return end };
        let undoing = async {
            kind.undo(context, &fault).await;
            Ok(())
        };
        match self.drive(live, UNDO_DEADLINE, undoing).await {
            End::Stopped => return End::Stopped,
            End::Done => {}
            End::Failed(undo) => tracing::error!(task = %context.id(), %undo, "undoing did not end well"),
        }
        End::Failed(fault)
    }

    /// Polls the work until it ends, its time is up, or the vDC stops; tells of progress meanwhile.
    async fn drive(
        &self,
        live: &Arc<Live>,
        time: Duration,
        work: impl Future<Output = Result<(), Fault>>,
    ) -> End {
        let mut work = std::pin::pin!(AssertUnwindSafe(work).catch_unwind());
        let mut tick = tokio::time::interval(TELL_EVERY);
        let mut kept_at = Instant::now();
        let mut unkept = false;
        let end = tokio::time::sleep(time);
        tokio::pin!(end);
        loop {
            tokio::select! {
                biased;
                () = self.0.stop.cancelled() => return End::Stopped,
                done = &mut work => return match done {
                    Ok(Ok(())) => End::Done,
                    Ok(Err(fault)) => End::failed(fault),
                    Err(panic) => End::failed(Fault::internal(panic_text(panic.as_ref()))),
                },
                () = &mut end => {
                    if live.cancel.is_cancelled() {
                        return End::failed(cancelled());
                    }
                    let step = live.lock().step.clone();
                    let fault = Fault::new(
                        FaultCode::DeadlineExceeded,
                        "The task did not end in time.",
                        "Look at the host it works on, then start it again.",
                    );
                    return End::failed(fault.in_phase(step));
                }
                _ = tick.tick() => {
                    if live.dirty.load(Ordering::Acquire) {
                        unkept = true;
                        self.tell(live);
                    }
                    if unkept && kept_at.elapsed() >= KEEP_EVERY {
                        unkept = false;
                        kept_at = Instant::now();
                        self.keep(live, false).await;
                    }
                }
            }
        }
    }

    /// Writes the task to the store. `must`: tries again until it is there, false only when the vDC stops.
    async fn keep(&self, live: &Live, must: bool) -> bool {
        loop {
            let now = live.lock().clone();
            let written = self.0.store.task_update::<StoreError>(now.id, |record| {
                // Asking to stop is written by `cancel` alone.
                let cancel_requested = record.cancel_requested;
                *record = TaskRecord { cancel_requested, ..now.clone() };
                Ok(())
            });
            match written.await {
                Ok(_) => return true,
                Err(err) if must && err.may_pass() => {
                    tracing::error!(%err, task = %now.id, "the store does not take a task's state; trying again");
                    tokio::select! {
                        () = tokio::time::sleep(STORE_RETRY) => {}
                        () = self.0.stop.cancelled() => return false,
                    }
                }
                Err(err) => {
                    tracing::error!(%err, task = %now.id, "a task's state was not kept");
                    return true;
                }
            }
        }
    }
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "panicked".to_owned())
}
