//! The vDC from outside: real ports, real TLS, a real database file; and the task engine on a real store.
#![allow(clippy::unwrap_used)]

mod authenticator;
mod backup;
mod engine;
mod factor;
mod house;
mod identity;
mod law;
mod oidc;
mod passkey;
mod paths;
mod pool;
#[path = "../../../store/tests/it/postgres.rs"]
mod postgres;
mod protocols;
mod provider;
mod rights;
mod sign_in;
mod user;
mod watch;
