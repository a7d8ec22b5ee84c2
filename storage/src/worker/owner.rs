//! The task that owns a pool's worker: launches it, keeps deadlines, abandons it, launches the next.
//!
//! ```text
//!            ┌──────────── back-off ◀───────────┐
//!            ▼                                  │
//!   launch + hello ──ok──▶ serving ──deadline──▶ kill, count as abandoned, refuse all: POOL_STALLED
//!            │                └──socket closed─▶ refuse all: worker ended
//!            └─fault / deadline ────────────────▶ as above
//! ```
//! One call per lane is under way; the others wait here, where they can still be refused. Only pieces of uploads follow
//! each other without waiting for answers, so that worker and sender are at work at the same time. A letting go is never
//! refused for want of a worker: while there is none, one is launched that does that and nothing else.

use crate::backend::{LettingGo, PoolSetup, Progress};
use crate::error::Result;
use crate::explore::{Found, Question};
use crate::worker::client::{Limits, WorkerState, WorkerStatus, queue_full, stopped};
use crate::worker::frame;
use crate::worker::launch::{PoolLauncher, WorkerProcess};
use crate::worker::link::{Down, GONE_INTERVAL, Link, STREAM_WINDOW, Task, ended};
use crate::worker::message::{Answer, Call, Lane, Reply, Request, Said};
use bytes::Bytes;
use quantix_model::pool::PoolSpec;
use quantix_model::time::UnixMs;
use quantix_model::{Fault, FaultCode};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

/// A worker told to end may take this long.
const STOP_GRACE: Duration = Duration::from_secs(2);
/// How often abandoned workers are looked after.
const REAP_INTERVAL: Duration = Duration::from_millis(500);

/// A start that mounts or logs in waits for a server; added to the limit for starts.
const SERVER_GRACE: Duration = Duration::from_secs(10);

/// What handles ask of the owner.
pub(crate) enum Command {
    Call(Job),
    Retry,
    Stop(oneshot::Sender<()>),
}

/// A call on its way.
pub(crate) struct Job {
    pub(crate) call: Call,
    /// Sent one after the other, as one body.
    pub(crate) body: Vec<Bytes>,
    pub(crate) progress: Option<watch::Sender<Progress>>,
    pub(crate) answer: oneshot::Sender<Result<Answer>>,
}

impl Job {
    fn letting_go(&self) -> Option<LettingGo> {
        match self.call {
            Call::Destroy { how } => Some(how),
            _ => None,
        }
    }

    fn finish(self, answer: Result<Answer>) {
        // The asker may have gone.
        let _ = self.answer.send(answer);
    }
}

/// A call the worker has.
struct Flight {
    number: u64,
    job: Job,
    patience: Duration,
    last: Progress,
    deadline: Instant,
}

#[derive(Default)]
struct LaneQueue {
    waiting: VecDeque<Job>,
    /// The worker does them in this order; the deadline of the first counts.
    flights: VecDeque<Flight>,
}

impl LaneQueue {
    /// Whether the next call that waits may go to the worker now.
    fn may_send(&self) -> bool {
        let streams = |job: &Job| matches!(job.call, Call::UploadWrite { .. });
        self.flights.is_empty()
            || self.flights.len() < STREAM_WINDOW
                && self.flights.iter().all(|f| streams(&f.job))
                && self.waiting.front().is_some_and(streams)
    }
}

/// See the module.
pub(crate) struct Owner {
    setup: PoolSetup,
    launcher: Arc<dyn PoolLauncher>,
    limits: Limits,
    inbox: mpsc::Receiver<Command>,
    status: watch::Sender<WorkerStatus>,
    lanes: [LaneQueue; Lane::ALL.len()],
    abandoned: Vec<Box<dyn WorkerProcess>>,
    next_number: u64,
    /// Silent since, and doing what.
    stall: Option<(Instant, String)>,
}

/// The clock, as the rest of the house counts.
pub(crate) fn now() -> UnixMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMs(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

impl Owner {
    pub(crate) fn new(
        setup: PoolSetup,
        launcher: Arc<dyn PoolLauncher>,
        limits: Limits,
        inbox: mpsc::Receiver<Command>,
        status: watch::Sender<WorkerStatus>,
    ) -> Owner {
        Owner {
            setup,
            launcher,
            limits,
            inbox,
            status,
            lanes: Default::default(),
            abandoned: Vec::new(),
            next_number: 1,
            stall: None,
        }
    }

    pub(crate) async fn run(mut self) {
        let mut backoff = self.limits.backoff_min;
        loop {
            let down = match self.connect().await {
                Ok(mut link) => {
                    backoff = self.limits.backoff_min;
                    self.stall = None;
                    self.become_state(WorkerState::Ready, None, link.process.id());
                    let down = self.serve(&mut link).await;
                    self.part(link, down).await
                }
                Err(down) => down,
            };
            match down {
                Down::Stopped(done) => {
                    self.refuse_all(&stopped());
                    // The asker may have gone.
                    done.map(|done| done.send(()));
                    return;
                }
                Down::Failed(fault) => {
                    self.stall = None;
                    self.refuse_all(&fault);
                    self.become_state(WorkerState::Failed, Some(fault), 0);
                }
                Down::Stalled { what, silent, process } => {
                    self.abandoned.extend(process.map(|mut process| {
                        process.kill();
                        process
                    }));
                    self.stall.get_or_insert_with(|| (Instant::now() - silent, what));
                    let fault = self.refusal();
                    tracing::warn!(pool = %self.setup.id, %fault, "pool worker abandoned");
                    self.refuse_all(&fault);
                    self.become_state(WorkerState::Stalled, Some(fault), 0);
                }
            }
            if let Some(Down::Stopped(done)) = self.pause(backoff).await {
                done.map(|done| done.send(()));
                return;
            }
            backoff = (backoff * 2).min(self.limits.backoff_max);
        }
    }

    fn become_state(&self, state: WorkerState, fault: Option<Fault>, worker_id: u32) {
        let abandoned = u32::try_from(self.abandoned.len()).unwrap_or(u32::MAX);
        self.status.send_if_modified(|status| {
            let since = if status.state == state { status.since } else { now() };
            let next = WorkerStatus { state, since, fault, abandoned, worker_id };
            let changed = *status != next;
            *status = next;
            changed
        });
    }

    /// Why a call is refused now, in words of now.
    fn refusal(&self) -> Fault {
        match &self.stall {
            Some((since, what)) => Fault::new(
                FaultCode::PoolStalled,
                format!("The pool does not answer: {what} has got no answer for {} s.", since.elapsed().as_secs()),
                "Check the storage behind the pool. It is tried again by itself; running VMs and other pools go on.",
            )
            .because(match self.abandoned.len() {
                0 => String::new(),
                n => format!("{n} worker process(es) wait in the kernel"),
            }),
            None => self.status.borrow().fault.clone().unwrap_or_else(stopped),
        }
    }

    fn refuse_all(&mut self, fault: &Fault) {
        for lane in &mut self.lanes {
            let flights = lane.flights.drain(..).map(|f| f.job);
            let (letting_go, others): (VecDeque<Job>, VecDeque<Job>) =
                lane.waiting.drain(..).partition(|job| job.letting_go().is_some());
            lane.waiting = letting_go;
            for job in flights.chain(others) {
                job.finish(Err(fault.clone()));
            }
        }
    }

    fn reap(&mut self) {
        let before = self.abandoned.len();
        self.abandoned.retain_mut(|process| !process.is_gone());
        if self.abandoned.len() != before {
            let left = u32::try_from(self.abandoned.len()).unwrap_or(u32::MAX);
            self.status.send_modify(|status| status.abandoned = left);
        }
    }

    /// Refuses what comes until the next try is due.
    async fn pause(&mut self, backoff: Duration) -> Option<Down> {
        let waiting = self.lanes.iter_mut().flat_map(|lane| lane.waiting.drain(..));
        for job in waiting.collect::<Vec<_>>() {
            self.farewell(job).await;
        }
        let mut due = Instant::now() + backoff;
        let mut tick = tokio::time::interval(REAP_INTERVAL);
        loop {
            self.reap();
            let may_start = self.abandoned.len() < self.limits.abandoned_max as usize;
            if may_start && Instant::now() >= due {
                return None;
            }
            tokio::select! {
                command = self.inbox.recv() => match command {
                    Some(Command::Call(job)) if job.letting_go().is_some() => self.farewell(job).await,
                    Some(Command::Call(job)) => job.finish(Err(self.refusal())),
                    Some(Command::Retry) => due = Instant::now(),
                    Some(Command::Stop(done)) => return Some(Down::Stopped(Some(done))),
                    None => return Some(Down::Stopped(None)),
                },
                () = tokio::time::sleep_until(due), if may_start => {}
                _ = tick.tick() => {}
            }
        }
    }

    /// Launches a worker and says hello. At the first start calls wait meanwhile, later they are refused.
    async fn connect(&mut self) -> std::result::Result<Link, Down> {
        let first = self.status.borrow().state == WorkerState::Starting;
        let grace = match &self.setup.spec {
            PoolSpec::Local { file_system_uuid, .. } if file_system_uuid.is_empty() => Duration::ZERO,
            // A disk may have to spin up and to read its log first.
            PoolSpec::Local { .. } | PoolSpec::Nfs(_) | PoolSpec::Ceph(_) | PoolSpec::Iscsi(_) => {
                SERVER_GRACE
            }
        };
        let patience = self.limits.start.saturating_add(grace);
        let work = Link::open(self.setup.clone(), Arc::clone(&self.launcher), patience, Task::Serve);
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done.map(|(link, _)| link),
                command = self.inbox.recv() => match command {
                    Some(Command::Call(job)) if first || job.letting_go().is_some() => self.enqueue(job),
                    Some(Command::Call(job)) => job.finish(Err(self.refusal())),
                    Some(Command::Retry) => {}
                    Some(Command::Stop(done)) => return Err(Down::Stopped(Some(done))),
                    None => return Err(Down::Stopped(None)),
                },
            }
        }
    }

    /// Lets go of the pool by a worker that does only that, because none serves now. Nobody else is heard meanwhile:
    /// a new worker would take hold of what is let go of.
    async fn farewell(&mut self, job: Job) {
        let patience = job.call.patience().min(self.limits.patience_max);
        let task = job.letting_go().map_or(Task::Serve, Task::LetGo);
        let done = Link::open(self.setup.clone(), Arc::clone(&self.launcher), patience, task).await;
        job.finish(match done {
            // The worker ends by itself; dropping it makes sure.
            Ok(_) => Ok(Answer::Done),
            Err(Down::Failed(fault)) => Err(fault),
            Err(Down::Stalled { .. } | Down::Stopped(_)) => Err(Fault::new(
                FaultCode::PoolStalled,
                format!("Letting go of the pool has got no answer for {} s.", patience.as_secs()),
                "Let go of it by force; what was not written is then lost.",
            )),
        });
    }

    fn enqueue(&mut self, job: Job) {
        let lane = &mut self.lanes[lane_index(job.call.lane())];
        if lane.waiting.len() >= self.limits.waiting_max {
            job.finish(Err(queue_full()));
        } else {
            lane.waiting.push_back(job);
        }
    }

    /// Passes calls and answers until something ends it.
    async fn serve(&mut self, link: &mut Link) -> Down {
        let mut tick = tokio::time::interval(REAP_INTERVAL);
        loop {
            if let Err(down) = self.dispatch(link) {
                return down;
            }
            let flights = self.lanes.iter().filter_map(|lane| lane.flights.front());
            let due = flights.map(|f| f.deadline).min();
            tokio::select! {
                command = self.inbox.recv() => match command {
                    Some(Command::Call(job)) => self.enqueue(job),
                    Some(Command::Retry) => {}
                    Some(Command::Stop(done)) => return Down::Stopped(Some(done)),
                    None => return Down::Stopped(None),
                },
                reply = link.replies.recv() => match reply {
                    Some(reply) => self.hear(reply),
                    None => return Down::Failed(link.why_ended().await),
                },
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    if let Some(down) = self.overdue() {
                        return down;
                    }
                }
                _ = tick.tick(), if !self.abandoned.is_empty() => self.reap(),
            }
        }
    }

    /// Gives each lane what it may have.
    fn dispatch(&mut self, link: &Link) -> std::result::Result<(), Down> {
        for lane in &mut self.lanes {
            while lane.may_send() {
                let Some(mut job) = lane.waiting.pop_front() else { break };
                if job.answer.is_closed() {
                    continue;
                }
                let number = self.next_number;
                self.next_number += 1;
                let request = Request { number, call: job.call.clone() };
                let body = std::mem::take(&mut job.body);
                match frame::encode(&request, body.iter().map(Bytes::len).sum()) {
                    // All that may be under way fits the channel: it is full only when the writer is stuck beyond deadline.
                    Ok(head) => link.frames.try_send((head, body)).map_err(|_| Down::Failed(ended()))?,
                    Err(fault) => {
                        job.finish(Err(fault));
                        continue;
                    }
                }
                let patience = job.call.patience().min(self.limits.patience_max);
                let deadline = Instant::now() + patience;
                lane.flights.push_back(Flight { number, job, patience, last: Progress::default(), deadline });
            }
        }
        Ok(())
    }

    fn hear(&mut self, reply: Reply) {
        for lane in &mut self.lanes {
            let Some(flight) = lane.flights.front_mut().filter(|f| f.number == reply.number) else {
                continue;
            };
            let answer = match reply.said {
                Said::Progress(progress) => {
                    // Only bytes that moved earn more time.
                    if progress != flight.last {
                        flight.deadline = Instant::now() + flight.patience;
                        flight.last = progress;
                    }
                    flight.job.progress.as_ref().map(|sender| sender.send_replace(progress));
                    return;
                }
                Said::Done(answer) => Ok(answer),
                Said::Failed(fault) => Err(*fault),
            };
            if let Some(done) = lane.flights.pop_front() {
                done.job.finish(answer);
            }
            if let Some(next) = lane.flights.front_mut() {
                next.deadline = Instant::now() + next.patience;
            }
            return;
        }
    }

    fn overdue(&mut self) -> Option<Down> {
        let now = Instant::now();
        let flights = self.lanes.iter().filter_map(|lane| lane.flights.front());
        let late = flights.filter(|f| f.deadline <= now).min_by_key(|f| f.deadline)?;
        Some(Down::Stalled { what: late.job.call.what().to_owned(), silent: late.patience, process: None })
    }

    /// Ends the link in the way the reason asks for.
    async fn part(&mut self, link: Link, down: Down) -> Down {
        let Link { mut process, frames, replies, tasks, .. } = link;
        drop((frames, replies, tasks));
        match down {
            Down::Stalled { what, silent, .. } => Down::Stalled { what, silent, process: Some(process) },
            down => {
                // The closed socket ends a healthy worker by itself.
                let end = Instant::now() + STOP_GRACE;
                while !process.is_gone() && Instant::now() < end {
                    tokio::time::sleep(GONE_INTERVAL).await;
                }
                if !process.is_gone() {
                    process.kill();
                    self.abandoned.push(process);
                }
                down
            }
        }
    }
}

fn lane_index(lane: Lane) -> usize {
    match lane {
        Lane::Short => 0,
        Lane::Change => 1,
        Lane::Long => 2,
        Lane::Sync => 3,
    }
}

/// Has a worker answer a question about what pools could be made of, and end.
pub async fn explore(
    question: &Question,
    launcher: Arc<dyn PoolLauncher>,
    patience: Duration,
) -> Result<Found> {
    match Link::open(question.setup()?, launcher, patience, Task::Explore).await {
        Ok((_, Answer::Found(found))) => Ok(found),
        Ok((_, other)) => Err(Fault::internal(format!("the worker answered a question with {other:?}"))),
        Err(Down::Failed(fault)) => Err(fault),
        Err(Down::Stalled { .. } | Down::Stopped(_)) => Err(Fault::new(
            FaultCode::PoolStalled,
            format!("There was no answer for {} s.", patience.as_secs()),
            "Look at the server and the network between, then ask again.",
        )),
    }
}
