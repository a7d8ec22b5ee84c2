//! Who calls, and whether they may. What each call needs stands in [`crate::api::table`].
//!
//! ```text
//!   request ─▶ row? ─no─▶ UNKNOWN_PATH
//!                │ Public ────────────▶ served as Nobody
//!                │ Newcomer, Own ─────▶ session (cookie or bearer) ─▶ served as Person
//!                │ Person ────────────▶ session or API token ───────▶ served as Person
//!                │ Right ─────────────▶ the same, who holds it on everything
//!                │ Within ────────────▶ the same, who holds it on something; the handler asks [`allow`] for each thing
//!                │ Scraper ───────────▶ scrape token as bearer ─────▶ served as Nobody
//!                └ Host ──────────────▶ client certificate of a registered host ─▶ served as Host
//! ```
//! A request that names another `Origin` than its own host is refused whatever it carries: there are no friendly
//! foreign pages.

use crate::api::table::Need;
use crate::bus::Thing;
use crate::core::Core;
use crate::services::session::Sessions;
use crate::services::{App, api_token, audit, right, scraper};
use connectrpc::{ConnectError, PeerCerts, RequestContext};
use http::{HeaderMap, header};
use quantix_client::tls::CertificateFacts;
use quantix_model::fault::{Fault, FaultCode};
use quantix_model::id::{ApiTokenId, HostId, SessionId, UserId};
use quantix_model::right::{Permission, Rights, Scope, Sight, refused};
use std::net::IpAddr;
use std::sync::Arc;
use uuid::Uuid;

/// Name of the session cookie.
pub const COOKIE: &str = "quantix_session";

/// A signed-in person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// Who.
    pub user_id: UserId,
    /// Name as it stands in the store.
    pub name: String,
    /// How it is known.
    pub by: By,
    /// Nothing but changing the password is allowed.
    pub must_change_password: bool,
    /// What they may do.
    pub rights: Arc<Rights>,
}

/// How it is known who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum By {
    /// They signed in.
    Session(SessionId),
    /// A program of theirs has a token.
    Token(ApiTokenId),
}

impl By {
    /// Tells callers apart: tickets and streams belong to one.
    pub fn id(self) -> Uuid {
        match self {
            By::Session(id) => id.0,
            By::Token(id) => id.0,
        }
    }
}

impl Person {
    /// The session they signed in with; a token has none.
    pub fn session(&self) -> Result<SessionId, Fault> {
        match self.by {
            By::Session(id) => Ok(id),
            By::Token(_) => Err(no_tokens()),
        }
    }
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

/// What the request came over; in each request's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// TLS.
    Tls,
    /// Plain HTTP on loopback.
    Plain,
}

/// Who calls, if the call may be made at all.
pub async fn authorise(
    need: Need,
    headers: &HeaderMap,
    certificates: Option<&PeerCerts>,
    address: IpAddr,
    sessions: &Sessions,
    core: &Core,
) -> Result<Caller, Fault> {
    let person = match need {
        Need::Public => return Ok(Caller::Nobody),
        Need::Host => return host_of(certificates, core).await.map(Caller::Host),
        // A bearer only: a cookie would be sent along by any page.
        Need::Scraper => return scraper::check(&core.store, bearer(headers)).await.map(|()| Caller::Nobody),
        _ => identify(headers, address, sessions, core).await?,
    };
    let kind = if matches!(person.by, By::Token(_)) { "token" } else { "person" };
    audit::actor(kind, person.user_id, &person.name);
    if matches!(need, Need::Newcomer | Need::Own) {
        person.session()?;
    }
    if person.must_change_password && need != Need::Newcomer {
        return Err(Fault::new(
            FaultCode::PasswordChangeRequired,
            "The one-time password must be changed first.",
            "Set a password of your own.",
        ));
    }
    match need {
        Need::Right(permission) if !person.rights.everywhere().has(permission) => Err(refused(permission)),
        Need::Within(permission) if !person.rights.somewhere(permission) => Err(refused(permission)),
        _ => Ok(Caller::Person(person)),
    }
}

async fn identify(
    headers: &HeaderMap,
    address: IpAddr,
    sessions: &Sessions,
    core: &Core,
) -> Result<Person, Fault> {
    let token = token(headers).ok_or_else(not_signed_in)?;
    let found = match api_token::is_one(token) {
        true => api_token::authenticate(core, token, address).await?,
        false => sessions.authenticate(token).await?,
    };
    found.ok_or_else(not_signed_in)
}

/// Refuses who may not do this to this thing; the audit log's row is about it from here on.
pub async fn allow(
    app: &App,
    context: &RequestContext,
    permission: Permission,
    thing: Thing,
) -> Result<(), Fault> {
    let caller = context.extensions().get::<Caller>();
    allow_caller(app, caller.unwrap_or(&Caller::Nobody), permission, thing).await
}

/// The same for routes.
pub async fn allow_caller(
    app: &App,
    caller: &Caller,
    permission: Permission,
    thing: Thing,
) -> Result<(), Fault> {
    let Caller::Person(person) = caller else { return Err(not_signed_in()) };
    audit::about(thing.kind(), thing.id(), "");
    if may(app, &person.rights, permission, thing).await? { Ok(()) } else { Err(refused(permission)) }
}

/// Whether these rights reach a thing.
pub async fn may(app: &App, rights: &Rights, permission: Permission, thing: Thing) -> Result<bool, Fault> {
    if rights.everywhere().has(permission) {
        return Ok(true);
    }
    // What was given for this very thing needs no look at what it is part of.
    let itself = match thing {
        Thing::Host(id) => Some(Scope::Host(id)),
        Thing::Pool(id) => Some(Scope::Pool(id)),
        Thing::Vm(id) => Some(Scope::Vm(id)),
        _ => None,
    };
    if itself.is_some_and(|scope| rights.allows(permission, &[scope])) {
        return Ok(true);
    }
    Ok(rights.allows(permission, &right::part_of(app, thing).await?))
}

/// What of a list the caller may see.
pub fn sight(context: &RequestContext, permission: Permission) -> Result<Sight, Fault> {
    match context.extensions().get::<Caller>() {
        Some(Caller::Person(person)) => Ok(person.rights.sight(permission)),
        _ => Err(not_signed_in()),
    }
}

/// What the caller may do; nobody may nothing.
pub fn rights(context: &RequestContext) -> Arc<Rights> {
    match context.extensions().get::<Caller>() {
        Some(Caller::Person(person)) => person.rights.clone(),
        _ => Arc::default(),
    }
}

/// Refuses what another site's page sends.
pub fn check_origin(headers: &HeaderMap, authority: Option<&str>) -> Result<(), Fault> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let own = headers.get(header::HOST).and_then(|h| h.to_str().ok()).or(authority);
    let named = origin.to_str().ok().and_then(|o| o.split_once("://")).map(|(_, host)| host);
    // Browsers leave the usual port out of `Origin` and of `Host` alike.
    if named.is_some() && named == own {
        return Ok(());
    }
    Err(Fault::new(
        FaultCode::Forbidden,
        "The request comes from a page of another site.",
        "Open the vDC's own address in the browser.",
    ))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn token(headers: &HeaderMap) -> Option<&str> {
    if headers.contains_key(header::AUTHORIZATION) {
        return bearer(headers);
    }
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    cookies.flat_map(|line| line.split(';')).find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (name == COOKIE).then_some(value)
    })
}

async fn host_of(certificates: Option<&PeerCerts>, core: &Core) -> Result<HostId, Fault> {
    // rustls has verified the chain against our CA; here only the name and the key count.
    let leaf = certificates.and_then(|chain| chain.0.first()).ok_or_else(not_a_host)?;
    let facts = CertificateFacts::read(leaf)?;
    let id = facts.host_id().ok_or_else(not_a_host)?;
    // A line may live longer than the certificate it was opened with.
    if facts.not_after < core.clock.now() {
        return Err(Fault::new(
            FaultCode::CertificateExpired,
            "The host's certificate has expired.",
            "Run `quantix-node token` on it and add it again here.",
        ));
    }
    match core.rosters.by_key(&facts.key_fingerprint.0).await? {
        Some(host) if host == id => Ok(id),
        _ => Err(not_a_host()),
    }
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

/// The fault for calls that a token may not make.
fn no_tokens() -> Fault {
    Fault::new(
        FaultCode::Forbidden,
        "This is for people only: an API token cannot do it.",
        "Sign in with name and password, and do it there.",
    )
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

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn origins() {
        let ask = |origin: Option<&'static str>, host: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static(host));
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            }
            check_origin(&headers, None).is_ok()
        };
        assert!(ask(None, "a:1"));
        assert!(ask(Some("https://a:1"), "a:1"));
        assert!(!ask(Some("https://b:1"), "a:1"));
        assert!(!ask(Some("https://a:2"), "a:1"));
        assert!(!ask(Some("null"), "a:1"));
        assert!(!ask(Some("https://a:1.evil"), "a:1"));
    }

    #[test]
    fn tokens() {
        let read = |name: header::HeaderName, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static(value));
            token(&headers).map(str::to_owned)
        };
        assert_eq!(read(header::AUTHORIZATION, "Bearer qxs_a").as_deref(), Some("qxs_a"));
        assert_eq!(read(header::AUTHORIZATION, "Basic x"), None);
        assert_eq!(read(header::COOKIE, "a=b; quantix_session=qxs_b; c=d").as_deref(), Some("qxs_b"));
        assert_eq!(read(header::COOKIE, "xquantix_session=qxs_b"), None);
    }
}
