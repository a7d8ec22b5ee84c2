//! Speaking to an LDAP directory that may be slow, silent, broken or somebody else.
//!
//! ```text
//!   URL ─▶ TCP ─▶ [StartTLS ─▶] TLS, verified ─▶ bind ─▶ search ─▶ … ─▶ unbind
//!    └──────────── one deadline over all of it; every answer has a largest size ────────────┘
//! ```
//! Filters are read by the crate `ldap3`; what a directory says is read here, because before StartTLS it may come from
//! anybody on the way, and that crate's reader trusts it: it recurses as deep as is asked for and takes what comes
//! (`docs/decisions/023-ldap.md`). What is asked and what an answer means to people stands in `services/ldap.rs`.

mod ber;
pub mod filter;
pub mod link;
mod message;
pub mod trouble;
mod url;

pub use filter::{Fill, Filter};
pub use link::{Link, Secured};
pub use message::{Entry, Outcome, Search};
pub use trouble::Trouble;
pub use url::Url;

#[cfg(test)]
mod tests;
