//! The rules: what things are, which states they may be in, and what follows from what was reported.
//!
//! Everything here is pure. Time and ids are arguments; there is no async, clock, randomness, SQL or wire
//! format, so each rule can be tested with nothing running.

pub mod alert;
pub mod device;
pub mod event;
pub mod fault;
pub mod file;
pub mod host;
pub mod id;
pub mod identity;
pub mod image;
pub mod list;
pub mod log;
pub mod name;
pub mod placement;
pub mod pool;
pub mod right;
pub mod secret;
pub mod task;
pub mod time;
pub mod user;
pub mod vm;
pub mod volume;

pub use fault::{Fault, FaultCode};
pub use secret::Secret;
pub use time::UnixMs;
