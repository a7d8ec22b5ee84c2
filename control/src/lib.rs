//! The brain: identity, intent, placement, tasks; serves the API and the web app.
//!
//! `api` is the edge, `services` decide, `reconcilers` put right, `tasks` do long work, `bus` tells who changed.
//! Actual state comes from hosts only; nothing here invents any.
#![allow(refining_impl_trait_internal)]

pub mod api;
pub mod backup;
pub mod bus;
pub mod clock;
pub mod config;
pub mod core;
pub mod health;
pub mod http;
pub mod ids;
pub mod ldap;
pub mod metrics;
pub mod pki;
mod port;
pub mod reconcilers;
pub mod roster;
pub mod seal;
pub mod serve;
pub mod services;
mod shown;
pub mod tasks;
mod web;

pub use config::Config;
pub use core::Core;
pub use serve::{Vdc, VdcHandle, VdcOptions};

/// Version of this vDC.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
