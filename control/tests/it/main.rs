//! The vDC from outside: real ports, real TLS, a real database file; and the task engine on a real store.
#![allow(clippy::unwrap_used)]

mod engine;
mod house;
mod law;
mod paths;
mod pool;
mod protocols;
mod sign_in;
mod watch;
