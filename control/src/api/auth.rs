//! Who may call what: one table for every RPC and every route. What has no row is refused.
//!
//! ```text
//!   request ─▶ row? ─no─▶ UNKNOWN_PATH
//!                │ Public ─────────────────────▶ served as Nobody
//!                │ Session, SessionAnyPassword ─▶ cookie or bearer ─▶ served as Person
//!                │ Scraper ────────────────────▶ scrape token as bearer ─▶ served as Nobody
//!                └ Host ────────────────────────▶ client certificate of a registered host ─▶ served as Host
//! ```
//! A request that names another `Origin` than its own host is refused whatever it carries: there are no friendly
//! foreign pages.

use crate::core::Core;
use crate::services::scraper;
use crate::services::session::Sessions;
use connectrpc::{ConnectError, PeerCerts, RequestContext};
use http::{HeaderMap, Method, header};
use quantix_client::tls::CertificateFacts;
use quantix_model::fault::{Fault, FaultCode};
use quantix_model::id::{HostId, SessionId, UserId};

/// Name of the session cookie.
pub const COOKIE: &str = "quantix_session";

/// What a call needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing.
    Public,
    /// A signed-in person who need not change the password first.
    Session,
    /// A signed-in person, also one who must change the password first.
    SessionAnyPassword,
    /// A registered host.
    Host,
    /// Who shows the scrape token.
    Scraper,
}

/// Every RPC the vDC serves.
pub const RPCS: &[(&str, Need)] = &[
    ("/quantix.session.v1.SessionService/Login", Need::Public),
    ("/quantix.session.v1.SessionService/Logout", Need::SessionAnyPassword),
    ("/quantix.session.v1.SessionService/GetSession", Need::SessionAnyPassword),
    ("/quantix.session.v1.SessionService/ChangePassword", Need::SessionAnyPassword),
    ("/quantix.system.v1.SystemService/GetSummary", Need::Session),
    ("/quantix.watch.v1.WatchService/Look", Need::Session),
    ("/quantix.watch.v1.WatchService/Watch", Need::Session),
    ("/quantix.task.v1.TaskService/ListTasks", Need::Session),
    ("/quantix.task.v1.TaskService/GetTask", Need::Session),
    ("/quantix.task.v1.TaskService/CancelTask", Need::Session),
    ("/quantix.event.v1.EventService/ListEvents", Need::Session),
    ("/quantix.alert.v1.AlertService/ListAlerts", Need::Session),
    ("/quantix.alert.v1.AlertService/AcknowledgeAlert", Need::Session),
    ("/quantix.vm.v1.VmService/ListDiscoveredVms", Need::Session),
    ("/quantix.vm.v1.VmService/AdoptVm", Need::Session),
    ("/quantix.host.v1.HostService/ListHosts", Need::Session),
    ("/quantix.host.v1.HostService/GetHost", Need::Session),
    ("/quantix.host.v1.HostService/ListHostOffers", Need::Session),
    ("/quantix.host.v1.HostService/ProbeHost", Need::Session),
    ("/quantix.host.v1.HostService/AddHost", Need::Session),
    ("/quantix.host.v1.HostService/RemoveHost", Need::Session),
    ("/quantix.host.v1.HostService/ListDevices", Need::Session),
    ("/quantix.host.v1.HostService/InitialiseDevice", Need::Session),
    ("/quantix.host.v1.HostService/ListLogs", Need::Session),
    ("/quantix.pool.v1.PoolService/ListPools", Need::Session),
    ("/quantix.pool.v1.PoolService/GetPool", Need::Session),
    ("/quantix.pool.v1.PoolService/CreatePool", Need::Session),
    ("/quantix.pool.v1.PoolService/AssignPool", Need::Session),
    ("/quantix.pool.v1.PoolService/UnassignPool", Need::Session),
    ("/quantix.pool.v1.PoolService/UpdatePool", Need::Session),
    ("/quantix.pool.v1.PoolService/DeletePool", Need::Session),
    ("/quantix.pool.v1.PoolService/RetryPool", Need::Session),
    ("/quantix.pool.v1.PoolService/DiscoverTargets", Need::Session),
    ("/quantix.pool.v1.PoolService/ListExports", Need::Session),
    ("/quantix.pool.v1.PoolService/ListCephPools", Need::Session),
    ("/quantix.pool.v1.PoolService/ListFiles", Need::Session),
    ("/quantix.file.v1.FileService/GetFile", Need::Session),
    ("/quantix.file.v1.FileService/MakeFolder", Need::Session),
    ("/quantix.file.v1.FileService/MoveFile", Need::Session),
    ("/quantix.file.v1.FileService/CopyFile", Need::Session),
    ("/quantix.file.v1.FileService/DeleteFile", Need::Session),
    ("/quantix.file.v1.FileService/CreateUpload", Need::Session),
    ("/quantix.image.v1.ImageService/ListImages", Need::Session),
    ("/quantix.image.v1.ImageService/GetImage", Need::Session),
    ("/quantix.image.v1.ImageService/CreateImage", Need::Session),
    ("/quantix.image.v1.ImageService/DeleteImage", Need::Session),
    ("/quantix.volume.v1.VolumeService/ListVolumes", Need::Session),
    ("/quantix.volume.v1.VolumeService/GetVolume", Need::Session),
    ("/quantix.volume.v1.VolumeService/CreateVolume", Need::Session),
    ("/quantix.volume.v1.VolumeService/DeleteVolume", Need::Session),
    ("/quantix.volume.v1.VolumeService/GrowVolume", Need::Session),
    ("/quantix.volume.v1.VolumeService/FlattenVolume", Need::Session),
    ("/quantix.volume.v1.VolumeService/CloneVolume", Need::Session),
    ("/quantix.volume.v1.VolumeService/AttachVolume", Need::Session),
    ("/quantix.volume.v1.VolumeService/DetachVolume", Need::Session),
    ("/quantix.volume.v1.VolumeService/ListSnapshots", Need::Session),
    ("/quantix.volume.v1.VolumeService/CreateSnapshot", Need::Session),
    ("/quantix.volume.v1.VolumeService/RevertSnapshot", Need::Session),
    ("/quantix.volume.v1.VolumeService/DeleteSnapshot", Need::Session),
    ("/quantix.volume.v1.VolumeService/ListOrphans", Need::Session),
    ("/quantix.volume.v1.VolumeService/AdoptOrphan", Need::Session),
    ("/quantix.volume.v1.VolumeService/DeleteOrphan", Need::Session),
    ("/quantix.vm.v1.VmService/ListVms", Need::Session),
    ("/quantix.vm.v1.VmService/GetVm", Need::Session),
    ("/quantix.vm.v1.VmService/ListPlacements", Need::Session),
    ("/quantix.vm.v1.VmService/CreateVm", Need::Session),
    ("/quantix.vm.v1.VmService/PowerVm", Need::Session),
    ("/quantix.vm.v1.VmService/DeleteVm", Need::Session),
    ("/quantix.vm.v1.VmService/CreateConsoleTicket", Need::Session),
    ("/quantix.node.v1.ReportService/Beat", Need::Host),
    ("/quantix.node.v1.ReportService/RenewCertificate", Need::Host),
    ("/quantix.certificate.v1.CertificateService/GetCertificates", Need::Session),
    ("/quantix.certificate.v1.CertificateService/UploadCertificate", Need::Session),
    ("/quantix.certificate.v1.CertificateService/RemoveCertificate", Need::Session),
    ("/quantix.certificate.v1.CertificateService/RotateAuthority", Need::Session),
    ("/quantix.join_token.v1.JoinTokenService/CreateJoinToken", Need::Session),
    ("/quantix.join_token.v1.JoinTokenService/ListJoinTokens", Need::Session),
    ("/quantix.join_token.v1.JoinTokenService/RevokeJoinToken", Need::Session),
    // It shows a join token.
    ("/quantix.join_token.v1.JoinTokenService/Join", Need::Public),
];

/// Every other route but the web app's files: methods, path, need. `{…}` stands for one segment.
pub const ROUTES: &[(&[Method], &str, Need)] = &[
    (&[Method::GET], "/healthz", Need::Public),
    (&[Method::GET], "/readyz", Need::Public),
    (&[Method::GET], "/api/v1/openapi.json", Need::Session),
    (&[Method::HEAD, Method::PATCH, Method::OPTIONS], "/api/v1/uploads/{image_id}", Need::Session),
    (&[Method::GET], "/api/v1/pools/{pool_id}/files", Need::Session),
    (&[Method::GET], "/api/v1/console/{ticket}", Need::Session),
    (&[Method::GET], "/metrics", Need::Scraper),
    (&[Method::GET], "/api/v1/hosts/{host_id}/metrics", Need::Scraper),
];

/// The row of a request, or `None`.
pub fn need(method: &Method, path: &str) -> Option<Need> {
    if is_web(path) {
        // The web app's files: nothing in them is secret.
        return matches!(*method, Method::GET | Method::HEAD).then_some(Need::Public);
    }
    if let Some((_, need)) = RPCS.iter().find(|(rpc, _)| *rpc == path) {
        return matches!(*method, Method::GET | Method::POST).then_some(*need);
    }
    let row = ROUTES.iter().find(|(methods, pattern, _)| {
        let read = *method == Method::HEAD && methods.contains(&Method::GET);
        (read || methods.contains(method)) && fits(pattern, path)
    });
    row.map(|(_, _, need)| *need)
}

/// Paths that are never the web app's.
pub fn is_api(path: &str) -> bool {
    path == "/api" || path.starts_with("/api/") || path.starts_with("/quantix.")
}

fn is_web(path: &str) -> bool {
    !is_api(path) && !["/healthz", "/readyz", "/metrics"].contains(&path)
}

/// What a request is counted under: one of the tables' rows, `web` for the web app's files, `unknown` for the rest.
pub fn call_name(path: &str) -> &'static str {
    if is_web(path) {
        return "web";
    }
    let rpc = RPCS.iter().find(|(rpc, _)| *rpc == path).map(|(rpc, _)| rpc.trim_start_matches("/quantix."));
    let route = || ROUTES.iter().find(|(_, pattern, _)| fits(pattern, path)).map(|(_, pattern, _)| *pattern);
    rpc.or_else(route).unwrap_or("unknown")
}

fn fits(pattern: &str, path: &str) -> bool {
    let (mut pattern, mut path) = (pattern.split('/'), path.split('/'));
    loop {
        match (pattern.next(), path.next()) {
            (None, None) => return true,
            (Some(p), Some(s)) if p.starts_with('{') && !s.is_empty() => {}
            (Some(p), Some(s)) if p == s => {}
            _ => return false,
        }
    }
}

/// A signed-in person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// Who.
    pub user_id: UserId,
    /// Name as it stands in the store.
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
    sessions: &Sessions,
    core: &Core,
) -> Result<Caller, Fault> {
    match need {
        Need::Public => Ok(Caller::Nobody),
        Need::Host => host_of(certificates, core).await.map(Caller::Host),
        // A bearer only: a cookie would be sent along by any page.
        Need::Scraper => scraper::check(&core.store, bearer(headers)).await.map(|()| Caller::Nobody),
        Need::Session | Need::SessionAnyPassword => {
            let token = token(headers).ok_or_else(not_signed_in)?;
            let person = sessions.authenticate(token).await?.ok_or_else(not_signed_in)?;
            if person.must_change_password && need == Need::Session {
                return Err(Fault::new(
                    FaultCode::PasswordChangeRequired,
                    "The one-time password must be changed first.",
                    "Set a password of your own.",
                ));
            }
            Ok(Caller::Person(person))
        }
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
    fn what_has_no_row_is_refused() {
        for (method, path) in [
            (Method::GET, "/api"),
            (Method::GET, "/api/v1"),
            (Method::GET, "/api/v1/uploads"),
            (Method::GET, "/api/v1/uploads/"),
            (Method::PATCH, "/api/v1/uploads/a/b"),
            (Method::POST, "/quantix.session.v1.SessionService/Nothing"),
            (Method::POST, "/quantix.node.v1.NodeService/DeleteVm"),
            (Method::DELETE, "/quantix.session.v1.SessionService/Login"),
            (Method::POST, "/"),
            (Method::POST, "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"),
            (Method::POST, "/healthz"),
            (Method::POST, "/metrics"),
        ] {
            assert_eq!(need(&method, path), None, "{method} {path}");
        }
        assert_eq!(need(&Method::HEAD, "/api/v1/uploads/x"), Some(Need::Session));
        assert_eq!(need(&Method::GET, "/vms"), Some(Need::Public));
    }

    #[test]
    fn requests_are_counted_under_few_names() {
        assert_eq!(call_name("/quantix.pool.v1.PoolService/ListPools"), "pool.v1.PoolService/ListPools");
        assert_eq!(call_name("/api/v1/uploads/0190"), "/api/v1/uploads/{image_id}");
        assert_eq!(call_name("/quantix.pool.v1.PoolService/Hostile"), "unknown");
        assert_eq!(call_name("/api/v1/anything/else"), "unknown");
        assert_eq!(call_name("/metrics"), "/metrics");
        assert_eq!(call_name("/hosts/1"), "web");
    }

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
