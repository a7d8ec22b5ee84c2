//! Who may call what: one table for every RPC and every route. What has no row is refused.

use connectrpc::{ConnectError, RequestContext};
use quantix_model::fault::{Fault, FaultCode};
use quantix_model::id::{HostId, SessionId, UserId};

/// A signed-in person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// Who.
    pub user_id: UserId,
    /// Name at sign-in.
    pub name: String,
    /// By which session.
    pub session_id: SessionId,
    /// Nothing but changing the password is allowed.
    pub must_change_password: bool,
}

/// Who calls; put into each request's extensions before it is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Not told; only on public calls.
    Nobody,
    /// A signed-in person.
    Person(Person),
    /// A registered host, by its certificate.
    Host(HostId),
}

/// The person who calls.
pub fn person(context: &RequestContext) -> Result<&Person, ConnectError> {
    match context.extensions().get::<Caller>() {
        Some(Caller::Person(person)) => Ok(person),
        _ => Err(crate::api::error::rpc(&not_signed_in())),
    }
}

/// The host that calls.
pub fn host(context: &RequestContext) -> Result<HostId, ConnectError> {
    match context.extensions().get::<Caller>() {
        Some(Caller::Host(id)) => Ok(*id),
        _ => Err(crate::api::error::rpc(&not_a_host())),
    }
}

/// The fault for calls without a session.
pub fn not_signed_in() -> Fault {
    Fault::new(FaultCode::NotSignedIn, "You are not signed in, or your session has ended.", "Sign in.")
}

/// The fault for calls that only hosts may make.
pub fn not_a_host() -> Fault {
    Fault::new(
        FaultCode::Forbidden,
        "Only registered hosts may call this, with the certificate they got at registration.",
        "Register the host.",
    )
}
