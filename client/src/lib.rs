//! The door: how every room calls another. TLS identity, deadlines, and errors told apart.
//!
//! ```text
//!   vDC ──registration (pinned TLS)──▶ host      registration.rs
//!   vDC ──NodeService, uploads, console (mutual TLS)──▶ host      host.rs
//!   host ──ReportService (mutual TLS)──▶ vDC     vdc.rs
//!   tools and tests ──all services (bearer token)──▶ vDC          vdc.rs
//! ```
//! Nothing here decides; whatever goes wrong becomes a [`quantix_model::Fault`] that names who was asked.

pub mod bulk;
pub mod clock;
pub mod dial;
pub mod host;
pub mod registration;
mod rest;
pub mod tls;
pub mod token;
mod transport;
pub mod tries;
pub mod vdc;

pub use dial::HostUrl;
pub use host::HostClient;
pub use registration::Registration;
pub use token::{JoinToken, RegistrationToken};
pub use vdc::VdcClient;
