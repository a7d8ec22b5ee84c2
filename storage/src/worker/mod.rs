//! One process per pool, so that storage which hangs can never hang the daemon.
//!
//! ```text
//!   daemon                                        worker process (may sit in the kernel for ever)
//!   PoolWorker ──queue──▶ owner task ══socketpair══▶ serve ──▶ short lane: look, list, write   ──▶ Backend
//!    (handles)            deadlines      frames          └──▶ long lane: copy, verify, convert ──▶ Backend
//! ```
//! * [`frame`] cuts the socket into messages, [`message`] says what they mean, [`serve`] is the worker's side,
//!   [`client`] the daemon's side, [`launch`] starts workers.
//! * The owner task owns the process. A worker that misses a deadline is killed, counted as abandoned until the kernel
//!   lets it go, and replaced with back-off; meanwhile every call is refused at once with `POOL_STALLED`.
//! * What the worker writes to standard error is the daemon's to log, and why it ended if it did ([`words`]).
//! * The worker owns nothing but the pool: it dies with the daemon.

pub mod client;
pub mod frame;
pub mod launch;
mod link;
pub mod message;
mod owner;
pub mod serve;
mod words;

pub use client::{Limits, Observer, PoolWorker, WorkerState, WorkerStatus};
pub use launch::{FakeLauncher, Launched, PoolLauncher, ProcessLauncher, WorkerProcess};
pub use owner::explore;
pub use serve::{main, serve};
