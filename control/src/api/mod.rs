//! The edge: who may call what, what goes over the wire, and nothing else. Handlers convert, ask a service, convert.

pub mod api_token;
pub mod assembly;
pub mod audit;
pub mod auth;
pub mod certificate;
pub mod console;
pub mod error;
pub mod event;
pub mod factor;
pub mod file;
pub mod host;
pub mod identity;
pub mod image;
pub mod join_token;
pub mod metrics;
pub mod oidc;
pub mod pool;
pub mod reach;
pub mod report;
pub mod role;
pub mod session;
pub mod system;
pub mod table;
pub mod task;
pub mod user;
pub mod vm;
pub mod volume;
pub mod watch;

pub use assembly::Assembly;
pub use auth::{Caller, Person};

use quantix_contract::quantix::list::v1 as wire;
use quantix_model::fault::{Fault, FaultCode};
use quantix_model::list::Order;
use quantix_store::PageRequest;
use std::str::FromStr;

/// The page a list call asks for.
fn page(filter: &str, limit: u32, token: &str, order: Option<&wire::Order>) -> Result<PageRequest, Fault> {
    let order = order.map(Order::try_from).transpose()?;
    Ok(PageRequest { filter: filter.to_owned(), limit, token: token.to_owned(), order })
}

/// An id that may be left out.
fn optional<T: FromStr<Err = Fault>>(text: &str) -> Result<Option<T>, Fault> {
    if text.is_empty() { Ok(None) } else { text.parse().map(Some) }
}

/// A view, or none when the thing is gone.
fn if_there<T>(view: Result<T, Fault>) -> Result<Option<T>, Fault> {
    match view {
        Err(fault) if fault.code == FaultCode::NotFound => Ok(None),
        view => view.map(Some),
    }
}
