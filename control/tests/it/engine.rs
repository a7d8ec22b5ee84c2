//! The task engine on a real store: order, cancelling, deadlines, panics, and life after a kill.

use async_trait::async_trait;
use quantix_control::bus::{Bus, Thing};
use quantix_control::clock::Clock;
use quantix_control::ids;
use quantix_control::tasks::{NewTask, TaskContext, TaskKind, Tasks};
use quantix_model::id::{TaskId, VmId};
use quantix_model::task::TaskState;
use quantix_model::{Fault, FaultCode};
use quantix_store::{Store, TaskRecord};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What happened, in order.
type Log = Arc<Mutex<Vec<String>>>;

/// A kind that does what its input says.
struct Scripted {
    log: Log,
    deadline: Duration,
}

#[async_trait]
impl TaskKind for Scripted {
    fn name(&self) -> &'static str {
        "scripted"
    }
    fn deadline(&self) -> Duration {
        self.deadline
    }
    async fn run(&self, task: &TaskContext) -> Result<(), Fault> {
        let script: String = task.input()?;
        self.log.lock().unwrap().push(format!("run {script}"));
        task.step(format!("begin {script}"))?;
        task.progress(1, 2, "bytes");
        match script.as_str() {
            "fail" => Err(Fault::new(FaultCode::PoolFull, "The pool is full.", "Free some.")),
            "panic" => panic!("oh no"),
            "hang" => std::future::pending().await,
            "wait" => {
                task.cancelled().await;
                task.step("never reached")
            }
            _ => {
                tokio::time::sleep(Duration::from_millis(30)).await;
                self.log.lock().unwrap().push(format!("end {script}"));
                Ok(())
            }
        }
    }
    async fn undo(&self, _task: &TaskContext, why: &Fault) {
        self.log.lock().unwrap().push(format!("undo {}", why.code));
    }
}

struct Bench {
    store: Store,
    tasks: Tasks,
    log: Log,
    stop: CancellationToken,
    tracker: TaskTracker,
}

impl Bench {
    async fn new(folder: &Path, deadline: Duration) -> Bench {
        let store = Store::open_file(&folder.join("store.sqlite")).await.unwrap();
        let (stop, tracker, log) = (CancellationToken::new(), TaskTracker::new(), Log::default());
        let tasks = Tasks::new(store.clone(), Clock::system(), Bus::default(), stop.clone(), tracker.clone());
        tasks.register(Arc::new(Scripted { log: log.clone(), deadline }));
        Bench { store, tasks, log, stop, tracker }
    }

    async fn begin(&self, script: &str, vm: VmId) -> TaskId {
        let task = self.tasks.draft(NewTask {
            kind: "scripted",
            title: script.to_owned(),
            object: Thing::Vm(vm),
            object_name: "x".into(),
            host: String::new(),
            user_name: "admin".into(),
            input: script.into(),
        });
        self.store.task_insert(&task).await.unwrap();
        let id = task.id;
        self.tasks.submit(task);
        id
    }

    /// Waits until the store has what is wanted.
    async fn until(&self, id: TaskId, wanted: impl Fn(&TaskRecord) -> bool) -> TaskRecord {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let task = self.store.task_get(id).await.unwrap();
            if wanted(&task) {
                return task;
            }
            assert!(Instant::now() < deadline, "{task:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn ended(&self, id: TaskId) -> TaskRecord {
        self.until(id, |task| task.state.is_final()).await
    }

    fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    async fn stop(self) {
        self.stop.cancel();
        self.tracker.close();
        tokio::time::timeout(Duration::from_secs(5), self.tracker.wait()).await.unwrap();
        self.store.close().await;
    }
}

#[tokio::test]
async fn one_at_a_time_per_thing_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::new(dir.path(), Duration::from_secs(20)).await;
    let (one, two) = (ids::vm(), ids::vm());
    let mut all = Vec::new();
    for script in ["a", "b", "c"] {
        all.push(bench.begin(script, one).await);
    }
    assert_eq!(bench.tasks.of(Thing::Vm(one)), Some(all[0]));
    let other = bench.begin("hang", two).await;
    for id in &all {
        let task = bench.ended(*id).await;
        assert_eq!(task.state, TaskState::Done);
        assert!(task.started_at.is_some() && task.ended_at >= task.started_at);
    }
    let mine: Vec<String> = bench.log().into_iter().filter(|l| !l.contains("hang")).collect();
    assert_eq!(mine, ["run a", "end a", "run b", "end b", "run c", "end c"]);
    assert_eq!(bench.store.task_get(other).await.unwrap().state, TaskState::Running, "others go on beside");
    bench.stop().await;
}

#[tokio::test]
async fn what_fails_or_panics_is_undone_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::new(dir.path(), Duration::from_secs(20)).await;
    let failed = bench.begin("fail", ids::vm()).await;
    let failed = bench.ended(failed).await;
    assert_eq!((failed.state, failed.fault.unwrap().code), (TaskState::Failed, FaultCode::PoolFull));
    assert_eq!(failed.step, "begin fail");
    let panicked = bench.begin("panic", ids::vm()).await;
    let fault = bench.ended(panicked).await.fault.unwrap();
    assert_eq!((fault.code, fault.cause.as_str()), (FaultCode::Internal, "oh no"));
    assert_eq!(bench.log(), ["run fail", "undo POOL_FULL", "run panic", "undo INTERNAL"]);
    bench.stop().await;
}

#[tokio::test]
async fn nothing_waits_longer_than_its_deadline() {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::new(dir.path(), Duration::from_millis(200)).await;
    let id = bench.begin("hang", ids::vm()).await;
    let task = bench.ended(id).await;
    let fault = task.fault.unwrap();
    assert_eq!((fault.code, fault.phase.as_str()), (FaultCode::DeadlineExceeded, "begin hang"));
    assert_eq!(bench.log(), ["run hang", "undo DEADLINE_EXCEEDED"]);
    bench.stop().await;
}

#[tokio::test]
async fn cancelling_stops_at_the_next_step_and_undoes() {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::new(dir.path(), Duration::from_secs(20)).await;
    let vm = ids::vm();
    let (running, waiting) = (bench.begin("wait", vm).await, bench.begin("b", vm).await);
    bench.until(running, |task| task.state == TaskState::Running).await;
    assert!(bench.tasks.cancel(waiting).await.unwrap().cancel_requested);
    bench.tasks.cancel(running).await.unwrap();
    for id in [running, waiting] {
        assert_eq!(bench.ended(id).await.state, TaskState::Cancelled);
    }
    assert_eq!(bench.log(), ["run wait", "undo TASK_CANCELLED", "undo TASK_CANCELLED"]);
    assert_eq!(bench.tasks.cancel(running).await.unwrap_err().code, FaultCode::TaskNotCancellable);
    assert_eq!(bench.tasks.cancel(ids::task()).await.unwrap_err().code, FaultCode::NotFound);
    bench.stop().await;
}

#[test]
fn what_a_kill_cut_short_is_done_again_after_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let (hung, waiting, cancelled);
    {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        (hung, waiting, cancelled) = runtime.block_on(async {
            let bench = Bench::new(dir.path(), Duration::from_secs(20)).await;
            let vm = ids::vm();
            let hung = bench.begin("hang", vm).await;
            let waiting = bench.begin("b", vm).await;
            bench.until(hung, |task| task.state == TaskState::Running).await;
            let other = ids::vm();
            let blocker = bench.begin("hang", other).await;
            let cancelled = bench.begin("c", other).await;
            bench.until(blocker, |task| task.state == TaskState::Running).await;
            bench.tasks.cancel(cancelled).await.unwrap();
            bench.tasks.cancel(hung).await.unwrap();
            (hung, waiting, cancelled)
        });
        // No stop, no close: everything is dropped where it stands, as a kill would.
        runtime.shutdown_background();
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let bench = Bench::new(dir.path(), Duration::from_secs(20)).await;
        bench.tasks.resume().await.unwrap();
        assert_eq!(bench.ended(hung).await.state, TaskState::Cancelled, "the wish to stop survived");
        assert_eq!(bench.ended(waiting).await.state, TaskState::Done);
        let order = bench.log();
        assert!(order.contains(&"run b".to_owned()) && order.contains(&"undo TASK_CANCELLED".to_owned()));
        assert_eq!(order.iter().filter(|l| *l == "run c").count(), 0, "{order:?}");
        assert!(!bench.store.task_get(cancelled).await.unwrap().state.is_final(), "its turn has not come");
        bench.stop().await;
    });
}
