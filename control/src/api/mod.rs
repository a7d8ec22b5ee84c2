//! The edge: who may call what, what goes over the wire, and nothing else. Handlers convert, ask a service, convert.

pub mod assembly;
pub mod auth;
pub mod error;
pub mod session;
pub mod system;
pub mod task;
pub mod watch;

pub use assembly::Assembly;
pub use auth::{Caller, Person};
