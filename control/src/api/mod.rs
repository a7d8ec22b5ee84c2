//! The edge: who may call what, what goes over the wire, and nothing else. Handlers convert, ask a service, convert.

pub mod assembly;
pub mod auth;
pub mod error;

pub use assembly::Assembly;
pub use auth::{Caller, Person};
