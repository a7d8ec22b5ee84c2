//! Durable long work. A service writes intent and task in one transaction, then hands the task over here.
//!
//! ```text
//!   draft ─(store, with the object)─▶ queued ─(its object is free)─▶ running ─▶ done
//!                                       │                               ├────▶ failed    after undo
//!                                       └──────── cancel ───────────────┴────▶ cancelled after undo
//! ```
//! - One task at a time per object; others of that object wait, oldest first.
//! - What was queued or running when the vDC died is run again from its first step: kinds are idempotent.
//! - Each kind has a deadline; at its end the work is dropped, undone and failed.
//! - Progress lives in memory: watchers hear of it each 250 ms, the store each 2 s.

mod context;
mod engine;
mod kind;

pub use context::TaskContext;
pub use engine::Tasks;
pub(crate) use engine::panic_text;
pub use kind::{NewTask, TaskKind};
