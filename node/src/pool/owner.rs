//! The task that owns one pool: keeps a worker for its definition, looks at it, and keeps the report.
//!
//! ```text
//!   apply ──▶ worker for this spec ──▶ look ──▶ report ──▶ beat, and whoever applied
//!                    │                  ▲ ▲
//!                    │   every 10 s ────┘ └──── worker Ready, Stalled or Failed (it restarts by itself)
//!                    └── new spec, or applied again after a failure: a new worker
//! ```
//! A look never holds up an order: stop and apply are heard while the pool hangs.

use crate::clock;
use crate::ledger::{Ledger, PoolEntry};
use futures::future::BoxFuture;
use quantix_model::id::PoolId;
use quantix_model::pool::{Capabilities, PoolHealth, PoolReport};
use quantix_model::{Fault, FaultCode, UnixMs};
use quantix_storage::backend::{PoolInfo, PoolSetup};
use quantix_storage::worker::{Limits, Observer, PoolLauncher, PoolWorker, WorkerState};
use rand::Rng as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::Instant;

/// How often a pool is looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// Two looks are at least so far apart, however often somebody asks.
const LOOK_PAUSE: Duration = Duration::from_millis(200);
/// How long somebody who applied a pool waits for the outcome of the first look.
const APPLY_DEADLINE: Duration = Duration::from_secs(30);
/// Worker and owner have this long to end.
const STOP_DEADLINE: Duration = Duration::from_secs(5);

/// A pool as others see it.
#[derive(Clone)]
pub struct View {
    /// What is known of it.
    pub report: PoolReport,
    /// Whom to ask; refuses by itself, and at once, while the pool is not usable.
    pub worker: PoolWorker,
}

/// What starts workers, and how patient we are with them.
#[derive(Clone)]
pub struct Workers {
    /// Starts them.
    pub launcher: Arc<dyn PoolLauncher>,
    /// Deadlines and back-off.
    pub limits: Limits,
    /// Hears of their calls.
    pub observer: Option<Observer>,
}

/// What is wanted of a pool.
#[derive(Clone)]
pub struct Wish {
    /// What it should be.
    pub entry: PoolEntry,
    /// Leave to make, in one attempt, what all hosts share. The vDC gives it to one host at a time.
    pub may_make: bool,
}

enum Order {
    Apply { wish: Box<Wish>, reply: Option<oneshot::Sender<PoolReport>> },
    Look,
    Stop { reply: oneshot::Sender<()> },
}

/// Handle to an owner.
#[derive(Clone)]
pub struct Owner {
    mailbox: mpsc::Sender<Order>,
    view: watch::Receiver<View>,
}

impl Owner {
    /// What is known, with whom to ask.
    pub fn view(&self) -> View {
        self.view.borrow().clone()
    }

    /// What is known.
    pub fn report(&self) -> PoolReport {
        self.view.borrow().report.clone()
    }

    /// Waits until the pool was looked at once, well or badly.
    pub async fn looked_at(&self) {
        let mut view = self.view.clone();
        // An owner that is gone looks no more.
        let _ = view.wait_for(|view| view.report.health != PoolHealth::Unknown).await;
    }

    /// Takes up a definition and waits for the first look at it; what is known, when that takes too long.
    pub async fn apply(&self, wish: Wish) -> PoolReport {
        let (reply, answer) = oneshot::channel();
        let order = Order::Apply { wish: Box::new(wish), reply: Some(reply) };
        let work = async {
            self.mailbox.send(order).await.ok()?;
            answer.await.ok()
        };
        tokio::time::timeout(APPLY_DEADLINE, work).await.ok().flatten().unwrap_or_else(|| self.report())
    }

    /// Takes up a definition; the report will tell.
    pub fn apply_later(&self, entry: PoolEntry) {
        let wish = Box::new(Wish { entry, may_make: false });
        if self.mailbox.try_send(Order::Apply { wish, reply: None }).is_err() {
            tracing::warn!("a pool's owner is too busy to take up its definition; the next beat repeats it");
        }
    }

    /// Looks soon.
    pub fn look_again(&self) {
        // A full mailbox has looks in it already.
        let _ = self.mailbox.try_send(Order::Look);
    }

    /// Looks now; answers once the pool is of use, or what is known after `patience`.
    pub async fn look_now(&self, patience: Duration) -> PoolReport {
        let since = clock::now();
        self.look_again();
        let mut view = self.view.clone();
        let fine = view.wait_for(|view| {
            let report = &view.report;
            let of_use = matches!(report.health, PoolHealth::Healthy | PoolHealth::Degraded);
            of_use && report.observed_at >= since
        });
        // Not in time, or the owner is gone: what is known is the answer.
        let _ = tokio::time::timeout(patience, fine).await;
        self.report()
    }

    /// Ends the worker and the owner.
    pub async fn stop(&self) {
        let (reply, done) = oneshot::channel();
        let work = async {
            if self.mailbox.send(Order::Stop { reply }).await.is_ok() {
                let _ = done.await;
            }
        };
        let _ = tokio::time::timeout(STOP_DEADLINE, work).await;
    }
}

/// Starts an owner.
pub fn start(id: PoolId, wish: Wish, workers: Workers, ledger: Ledger, changed: Arc<Notify>) -> Owner {
    let (mailbox, orders) = mpsc::channel(32);
    let Wish { entry, may_make } = wish;
    let worker = workers.start(id, &entry, may_make);
    let report = first_report(&entry, clock::now());
    let (publish, view) = watch::channel(View { report, worker: worker.clone() });
    let task = Task {
        id,
        must_exist: entry.was_healthy,
        may_make,
        entry,
        workers,
        ledger,
        changed,
        publish,
        worker,
        waiting: Vec::new(),
        looking: None,
        next: Instant::now(),
    };
    tokio::spawn(task.run(orders));
    Owner { mailbox, view }
}

impl Workers {
    fn start(&self, id: PoolId, entry: &PoolEntry, may_make: bool) -> PoolWorker {
        let setup = PoolSetup { id, spec: entry.spec.clone(), must_exist: entry.was_healthy, may_make };
        let worker = PoolWorker::start(setup, Arc::clone(&self.launcher), self.limits);
        worker.observed(self.observer.clone())
    }
}

type Look = BoxFuture<'static, Result<PoolInfo, Fault>>;

struct Task {
    id: PoolId,
    entry: PoolEntry,
    workers: Workers,
    ledger: Ledger,
    changed: Arc<Notify>,
    publish: watch::Sender<View>,
    worker: PoolWorker,
    /// What the worker was told: a pool that was healthy once is never started anew in an empty place.
    must_exist: bool,
    /// What the worker was told: leave to make what all hosts share. It ends with the first attempt that fails.
    may_make: bool,
    /// Who applied a definition and waits for the look after it.
    waiting: Vec<oneshot::Sender<PoolReport>>,
    looking: Option<Look>,
    next: Instant,
}

impl Task {
    async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        let mut status = self.worker.watch();
        loop {
            let (idle, next) = (self.looking.is_none(), self.next);
            let look = async {
                match self.looking.as_mut() {
                    Some(look) => look.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                order = orders.recv() => match order {
                    Some(Order::Apply { wish, reply }) => {
                        self.waiting.extend(reply);
                        if self.take(*wish).await {
                            status = self.worker.watch();
                        }
                        self.begin_look();
                    }
                    Some(Order::Look) => self.next = self.next.min(Instant::now() + LOOK_PAUSE),
                    Some(Order::Stop { reply }) => {
                        self.worker.stop().await;
                        let _ = reply.send(());
                        return;
                    }
                    None => return self.worker.stop().await,
                },
                result = look => {
                    self.looking = None;
                    self.next = Instant::now() + LOOK_INTERVAL.mul_f64(rand::rng().random_range(0.9..=1.1));
                    self.tell(result).await;
                    if self.end_leave().await {
                        status = self.worker.watch();
                    }
                }
                Ok(()) = status.changed() => {
                    let state = status.borrow_and_update().state;
                    if self.turn(state).await {
                        status = self.worker.watch();
                    }
                }
                () = tokio::time::sleep_until(next), if idle => self.begin_look(),
            }
        }
    }

    fn begin_look(&mut self) {
        let worker = self.worker.clone();
        self.looking = Some(Box::pin(async move { worker.info().await }));
    }

    /// Takes up a definition; answers whether there is a new worker for it.
    async fn take(&mut self, wish: Wish) -> bool {
        let Wish { entry, may_make } = wish;
        if entry.generation < self.entry.generation {
            return false;
        }
        let other = entry.spec != self.entry.spec;
        self.entry = entry;
        // Somebody waits for the outcome: a worker that failed is tried anew, not at its next turn. A stalled one
        // keeps its count of processes left in the kernel.
        let state = self.worker.status().state;
        let leave = may_make && !self.may_make && state != WorkerState::Ready;
        let anew = other || leave || state == WorkerState::Failed;
        if anew {
            self.replace_worker(may_make).await;
        }
        anew
    }

    /// The attempt that had leave to make the pool failed, and was told of: another host may have that leave by now.
    async fn end_leave(&mut self) -> bool {
        let ends = self.may_make && self.worker.status().state == WorkerState::Failed;
        if ends {
            self.replace_worker(false).await;
        }
        ends
    }

    async fn replace_worker(&mut self, may_make: bool) {
        self.looking = None;
        self.worker.stop().await;
        self.worker = self.workers.start(self.id, &self.entry, may_make);
        self.may_make = may_make;
        self.must_exist = self.entry.was_healthy;
        let worker = self.worker.clone();
        self.publish.send_modify(|view| view.worker = worker);
    }

    /// The worker came or went. Answers whether there is a new one.
    async fn turn(&mut self, state: WorkerState) -> bool {
        match state {
            WorkerState::Starting => false,
            WorkerState::Ready => {
                self.begin_look();
                false
            }
            WorkerState::Stalled | WorkerState::Failed => {
                self.begin_look();
                // The one that was let make its pool must not make it again where a disk went missing.
                let replace = self.entry.was_healthy && !self.must_exist && state == WorkerState::Failed;
                if replace {
                    self.replace_worker(false).await;
                    self.begin_look();
                }
                replace
            }
        }
    }

    async fn tell(&mut self, result: Result<PoolInfo, Fault>) {
        let before = self.publish.borrow().report.clone();
        let report = next_report(&before, self.entry.generation, result, clock::now());
        let news = before.health != report.health
            || before.generation != report.generation
            || before.volume_count != report.volume_count
            || before.fault.as_ref().map(|f| f.code) != report.fault.as_ref().map(|f| f.code)
            || before.capacity.is_some() != report.capacity.is_some();
        if before.health != report.health {
            let why = report.fault.as_ref().map(Fault::to_string).unwrap_or_default();
            tracing::info!(pool = %self.id, health = ?report.health, why, "pool");
        }
        if report.health == PoolHealth::Healthy && !self.entry.was_healthy {
            self.remember_health().await;
        }
        for reply in self.waiting.drain(..) {
            let _ = reply.send(report.clone());
        }
        self.publish.send_modify(|view| view.report = report);
        if news {
            self.changed.notify_one();
        }
    }

    async fn remember_health(&mut self) {
        let (id, generation) = (self.id, self.entry.generation);
        let written = self.ledger.update(move |book| {
            if let Some(entry) = book.pools.get_mut(&id).filter(|e| e.generation == generation) {
                entry.was_healthy = true;
            }
            Ok(())
        });
        match written.await {
            Ok(()) => self.entry.was_healthy = true,
            Err(fault) => {
                tracing::warn!(%fault, pool = %self.id, "the pool's health could not be written down")
            }
        }
    }
}

/// Whether a pool with this fault is of use all the same.
fn is_usable(fault: &Fault) -> bool {
    matches!(fault.code, FaultCode::PoolFull | FaultCode::PoolReadOnly | FaultCode::Busy)
}

fn first_report(entry: &PoolEntry, now: UnixMs) -> PoolReport {
    PoolReport {
        generation: entry.generation,
        health: PoolHealth::Unknown,
        fault: None,
        probe: "not looked at yet".into(),
        since: now,
        observed_at: now,
        capacity: None,
        mount_path: String::new(),
        volume_count: 0,
        capabilities: Capabilities::default(),
        facts: Vec::new(),
    }
}

/// The report after a look: pure.
fn next_report(
    before: &PoolReport,
    generation: u64,
    result: Result<PoolInfo, Fault>,
    now: UnixMs,
) -> PoolReport {
    let health = match &result {
        Ok(info) if info.fault.is_some() => PoolHealth::Degraded,
        Ok(_) => PoolHealth::Healthy,
        Err(fault) if is_usable(fault) => PoolHealth::Degraded,
        Err(_) => PoolHealth::Error,
    };
    let since = if health == before.health { before.since } else { now };
    match result {
        Ok(info) => PoolReport {
            generation,
            health,
            fault: info.fault,
            probe: info.probe,
            since,
            observed_at: now,
            capacity: Some(info.capacity),
            mount_path: info.mount_path,
            volume_count: info.volume_count,
            capabilities: info.capabilities,
            facts: info.facts,
        },
        Err(fault) => PoolReport {
            generation,
            health,
            probe: if fault.phase.is_empty() { before.probe.clone() } else { fault.phase.clone() },
            capacity: before.capacity.filter(|_| health == PoolHealth::Degraded),
            fault: Some(fault),
            since,
            observed_at: now,
            ..before.clone()
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quantix_model::pool::{Capacity, PoolSpec};

    fn entry() -> PoolEntry {
        let spec = PoolSpec::local("/a");
        PoolEntry { generation: 1, name: "main".into(), spec, applied_at: UnixMs(0), was_healthy: false }
    }

    fn info() -> PoolInfo {
        PoolInfo {
            capacity: Capacity { total_bytes: 3, used_bytes: 2, available_bytes: 1 },
            capabilities: Capabilities::default(),
            mount_path: "/a".into(),
            volume_count: 4,
            probe: "statfs, write".into(),
            fault: None,
            facts: Vec::new(),
        }
    }

    #[test]
    fn since_moves_with_health_only() {
        let first = first_report(&entry(), UnixMs(0));
        let good = next_report(&first, 1, Ok(info()), UnixMs(10));
        assert_eq!((good.health, good.since), (PoolHealth::Healthy, UnixMs(10)));
        let still = next_report(&good, 1, Ok(info()), UnixMs(20));
        assert_eq!((still.since, still.observed_at), (UnixMs(10), UnixMs(20)));
        let bad = next_report(&still, 1, Err(Fault::new(FaultCode::PoolStalled, "m", "r")), UnixMs(30));
        assert_eq!((bad.health, bad.since, bad.capacity), (PoolHealth::Error, UnixMs(30), None));
    }

    #[test]
    fn a_full_pool_stays_usable() {
        let good = next_report(&first_report(&entry(), UnixMs(0)), 1, Ok(info()), UnixMs(10));
        let full = next_report(&good, 1, Err(Fault::new(FaultCode::PoolFull, "m", "r")), UnixMs(11));
        assert_eq!(full.health, PoolHealth::Degraded);
        assert!(full.capacity.is_some());
    }
}
