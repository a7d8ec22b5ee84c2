//! The one app behind every port: puts RPC, REST, health and web app together and guards the whole of it.
//!
//! From the outside in: panics become faults, security headers, authorisation by the table, then the handler.

use crate::api::auth::{self, Caller, Line};
use crate::api::error::{json_response, rpc_response};
use crate::api::table::{self, Audit};
use crate::api::{Assembly, auth::authorise};
use crate::core::Core;
use crate::health::StoreHealth;
use crate::services::audit::{self, Note};
use crate::services::session::Sessions;
use crate::services::site::Site;
use crate::tasks::panic_text;
use crate::web;
use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use connectrpc::{ConnectRpcService, PeerAddr, PeerCerts};
use futures::FutureExt as _;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use http_body_util::BodyExt as _;
use quantix_model::fault::{Fault, FaultCode};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Until the head of an RPC's answer is there; streams go on after it.
const RPC_DEADLINE: Duration = Duration::from_secs(120);

/// No script but our own files; style attributes are PatternFly's; images from blobs are screenshots. WebSockets go
/// to the address the page came from: not every browser counts them among `'self'`.
fn policy(line: Line, own: Option<&str>) -> String {
    let scheme = if line == Line::Tls { "wss" } else { "ws" };
    let plain = |c: char| c.is_ascii_alphanumeric() || "-.:[]".contains(c);
    let sockets = match own {
        Some(host) if !host.is_empty() && host.chars().all(plain) => format!(" {scheme}://{host}"),
        _ => String::new(),
    };
    format!(
        "default-src 'self'; script-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; \
         connect-src 'self'{sockets}; object-src 'none'; base-uri 'none'; form-action 'self'; \
         frame-ancestors 'none'"
    )
}

#[derive(Clone)]
struct Guard {
    core: Arc<Core>,
    sessions: Arc<Sessions>,
    line: Line,
}

/// Everything that was assembled, without guard yet.
pub fn routes(assembly: Assembly, core: &Core) -> Result<Router, Fault> {
    let mut services: Vec<String> = assembly
        .rpc
        .methods()
        .filter_map(|method| method.trim_start_matches('/').split_once('/'))
        .map(|(service, _)| service.to_owned())
        .collect();
    services.sort();
    services.dedup();
    let rpc = ConnectRpcService::new(assembly.rpc);
    let mut app = Router::new()
        .route("/healthz", get(async || axum::Json(serde_json::json!({ "status": "ok" }))))
        .route("/readyz", get(ready).with_state(core.store_health.clone()))
        .route("/api/v1/openapi.json", get(openapi))
        .merge(assembly.http);
    for service in services {
        app = app.route_service(&format!("/{service}/{{*method}}"), rpc.clone());
    }
    Ok(app.merge(web::routes(core.config.web_dir.as_deref())?))
}

/// The routes under guard, for one kind of line.
pub fn guarded(routes: Router, core: &Arc<Core>, sessions: &Arc<Sessions>, line: Line) -> Router {
    let guard = Guard { core: core.clone(), sessions: sessions.clone(), line };
    routes.layer(axum::middleware::from_fn_with_state(guard, pass))
}

/// Whether work is taken. Says what is wrong also to those who cannot sign in because of it, but not in the database's own
/// words: these may name addresses and paths.
async fn ready(State(store): State<Arc<StoreHealth>>) -> Response {
    match store.fault() {
        None => axum::Json(serde_json::json!({ "status": "ready" })).into_response(),
        Some(fault) => json_response(&fault.because("")),
    }
}

async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], quantix_contract::OPENAPI_JSON).into_response()
}

async fn pass(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let headers = request.headers().clone();
    let path = request.uri().path().to_owned();
    let own = headers.get(header::HOST).and_then(|h| h.to_str().ok());
    let own = own.or(request.uri().authority().map(http::uri::Authority::as_str));
    let policy = policy(guard.line, own);
    let method = &request.method().clone();
    let refuse = |fault: &Fault| {
        if path.starts_with("/api") || ["/healthz", "/readyz", "/metrics"].contains(&path.as_str()) {
            json_response(fault)
        } else {
            rpc_response(fault, &headers)
        }
    };
    let began = Instant::now();
    let row = table::row(request.method(), &path);
    let mut writing = Writing::begin(&guard.core, row.map(|(_, audit)| audit), &request);
    let note = writing.note.clone();
    // Frameworks call a body that cannot be read a mistake of the server.
    let broken = Arc::new(AtomicBool::new(false));
    let noted = Arc::clone(&broken);
    let note_error = move |err| {
        noted.store(true, Ordering::Relaxed);
        err
    };
    let request = request.map(|body| Body::new(body.map_err(note_error)));
    let served = audit::noting(note, async {
        match AssertUnwindSafe(admit(&guard, row.map(|(need, _)| need), request, next)).catch_unwind().await {
            Ok(Ok(response)) => response,
            Ok(Err(fault)) => refuse(&fault),
            Err(panic) => refuse(&Fault::internal(panic_text(panic.as_ref()))),
        }
    });
    let mut response = served.await;
    if broken.load(Ordering::Relaxed) && response.status().is_server_error() {
        response = refuse(&Fault::new(
            FaultCode::InvalidRequest,
            "The body of the request broke off, or is not framed as its headers say.",
            "Send it again, whole.",
        ));
    }
    if table::is_api(&path) && *method != Method::HEAD && is_bare(&response) {
        response = worded(response, refuse);
    }
    writing.end(response.status()).await;
    let status = response.status().as_u16();
    if response.status() == StatusCode::SERVICE_UNAVAILABLE {
        guard.core.store_health.suspect();
    }
    guard.core.metrics.request(table::call_name(&path), status, began.elapsed());
    // A download has a stricter one already.
    if let Ok(policy) = HeaderValue::try_from(policy)
        && !response.headers().contains_key(header::CONTENT_SECURITY_POLICY)
    {
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    secure(&mut response, guard.line, table::is_api(&path));
    response
}

/// A refusal without a word: frameworks answer so what never came to a handler of ours.
fn is_bare(response: &Response) -> bool {
    response.status().is_client_error() && !response.headers().contains_key(header::CONTENT_TYPE)
}

/// The same refusal with a code, a sentence and a remedy.
fn worded(bare: Response, refuse: impl Fn(&Fault) -> Response) -> Response {
    let (text, remedy) = match bare.status() {
        StatusCode::UNSUPPORTED_MEDIA_TYPE => (
            "The body is of a type that this call does not take.",
            "Send application/json or application/proto, as /api/v1/openapi.json says.",
        ),
        StatusCode::METHOD_NOT_ALLOWED => {
            ("This call is not made with this method.", "See /api/v1/openapi.json for what there is.")
        }
        _ => ("The request cannot be read.", "See /api/v1/openapi.json for what there is."),
    };
    let mut response = refuse(&Fault::new(FaultCode::InvalidRequest, text, remedy));
    *response.status_mut() = bare.status();
    for (name, value) in bare.headers() {
        if *name != header::CONTENT_LENGTH && *name != header::CONTENT_TYPE {
            response.headers_mut().append(name, value.clone());
        }
    }
    response
}

/// Where a request came from; a listener that does not tell is this machine's own.
fn address(request: &Request) -> IpAddr {
    let info = request.extensions().get::<ConnectInfo<SocketAddr>>();
    info.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |ConnectInfo(address)| address.ip())
}

/// The row of the audit log that a call leaves behind, also when nobody waits for its answer any more.
struct Writing {
    core: Arc<Core>,
    audit: Option<Audit>,
    note: Arc<Note>,
    is_over: bool,
}

impl Writing {
    fn begin(core: &Arc<Core>, audit: Option<Audit>, request: &Request) -> Writing {
        let action = table::call_name(request.uri().path());
        let note = Arc::new(Note::of(action, &address(request).to_string()));
        Writing { core: core.clone(), audit, note, is_over: false }
    }

    /// Written before the answer goes out. A store that takes nothing keeps the row waiting, not the answer.
    async fn end(&mut self, status: StatusCode) {
        self.is_over = true;
        let mut row = self.note.row();
        if row.result.is_empty() {
            row.result = if status.is_client_error() || status.is_server_error() {
                format!("HTTP_{}", status.as_u16())
            } else {
                "OK".into()
            };
        }
        if !self.is_wanted(&row.result) {
            return;
        }
        if let Err(fault) = self.core.audit.write(&self.core.seal, row).await {
            tracing::error!(%fault, "the audit log cannot be written; its rows wait in memory");
        }
    }

    fn is_wanted(&self, result: &str) -> bool {
        // Whoever guesses is slowed down; what is refused for that alone would only fill the log.
        let throttled = result == FaultCode::TooManyAttempts.as_str();
        match self.audit {
            Some(Audit::Yes) => !throttled && result != FaultCode::NotSignedIn.as_str(),
            Some(Audit::Refusals(_)) => result == FaultCode::Forbidden.as_str(),
            Some(Audit::No(_)) | None => false,
        }
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        if self.is_over || self.audit != Some(Audit::Yes) {
            return;
        }
        let (core, mut row) = (self.core.clone(), self.note.row());
        (row.result, row.detail) = ("UNKNOWN".into(), "The caller left before the answer.".into());
        self.core.spawn(async move {
            if let Err(fault) = core.audit.write(&core.seal, row).await {
                tracing::error!(%fault, "the audit log cannot be written; its rows wait in memory");
            }
        });
    }
}

/// Lets a request through to its handler when the table and its caller allow it.
async fn admit(
    guard: &Guard,
    need: Option<table::Need>,
    mut request: Request,
    next: Next,
) -> Result<Response, Fault> {
    let path = request.uri().path();
    let Some(need) = need else {
        let text = format!("There is no {} {}.", request.method(), printable(path));
        return Err(Fault::new(FaultCode::UnknownPath, text, "See /api/v1/openapi.json for what there is."));
    };
    let is_rpc = path.starts_with("/quantix.");
    guard.core.audit.check_room()?;
    auth::check_origin(request.headers(), request.uri().authority().map(http::uri::Authority::as_str))?;
    let certificates = request.extensions().get::<PeerCerts>().cloned();
    let (sessions, core) = (&guard.sessions, &guard.core);
    let from = address(&request);
    let caller = authorise(need, request.headers(), certificates.as_ref(), from, sessions, core).await?;
    if let Some(ConnectInfo(address)) = request.extensions().get::<ConnectInfo<SocketAddr>>().copied() {
        request.extensions_mut().insert(PeerAddr(address));
    }
    request.extensions_mut().insert(guard.line);
    let authority = request.uri().authority().map(http::uri::Authority::as_str);
    if let Some(site) = Site::of(request.headers(), authority, guard.line) {
        request.extensions_mut().insert(site);
    }
    request.extensions_mut().insert::<Caller>(caller);
    if !is_rpc {
        return Ok(next.run(request).await);
    }
    tokio::time::timeout(RPC_DEADLINE, next.run(request)).await.map_err(|_| {
        let text = "The vDC did not answer in time.";
        Fault::new(FaultCode::DeadlineExceeded, text, "Try again; look at the tasks for what came of it.")
    })
}

/// Hostile paths appear in answers and logs: letters only, and not many.
fn printable(path: &str) -> String {
    path.chars().filter(|c| c.is_ascii_graphic()).take(128).collect()
}

fn secure(response: &mut Response, line: Line, api: bool) {
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value: &'static str| {
        headers.insert(name, HeaderValue::from_static(value));
    };
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::X_FRAME_OPTIONS, "DENY");
    set(header::REFERRER_POLICY, "no-referrer");
    set(HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    set(HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    set(HeaderName::from_static("permissions-policy"), "camera=(), microphone=(), geolocation=()");
    if line == Line::Tls {
        set(header::STRICT_TRANSPORT_SECURITY, "max-age=31536000");
    }
    if api {
        set(header::CACHE_CONTROL, "no-store");
    }
}

/// A bare status, for files.
pub(crate) fn status(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}
