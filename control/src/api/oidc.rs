//! Signing in at a provider, as pages the browser goes to.
//!
//! The session cookie is `SameSite=Strict`: a browser does not send it along on a way that began on another site, and the
//! way back from a provider is one. So the callback does not redirect into the app but answers a small page of our own
//! that goes on by itself (a meta refresh: no script is let in by our policy). What that page opens, our own site opens.

use crate::api::Assembly;
use crate::api::auth::Line;
use crate::api::error::{json_response, note};
use crate::api::session::cookie as session_cookie;
use crate::services::browser;
use crate::services::oidc::{Oidc, Returned, no_page, safe_next};
use crate::services::oidc_state::{LIFE, cookie_name};
use crate::services::session::{Sessions, Visitor};
use axum::body::Body;
use axum::extract::{ConnectInfo, Path, RawQuery, State};
use axum::response::Response;
use axum::routing::get;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use openidconnect::url::{Url, form_urlencoded};
use quantix_model::fault::{Fault, FaultCode};
use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// The cookie of a sign-in under way is sent nowhere else.
const PATH: &str = "/api/v1/sign-in/oidc";
/// Where the browser goes when nothing comes of it.
const SIGN_IN_PAGE: &str = "/login";

/// Serves signing in at providers.
pub fn mount(assembly: &mut Assembly, sessions: &Arc<Sessions>) {
    let routes = axum::Router::new()
        .route("/api/v1/sign-in/oidc/callback", get(callback))
        .route("/api/v1/sign-in/oidc/{source_id}", get(begin));
    assembly.routes(routes.with_state(Arc::new(Oidc::new(sessions.clone()))));
}

/// What a request says beside its path.
struct Asked {
    method: Method,
    headers: HeaderMap,
    line: Option<Line>,
    /// Under which name we are asked.
    host: String,
    query: String,
    visitor: Visitor,
}

impl Asked {
    fn of(request: axum::extract::Request, query: Option<String>) -> Asked {
        let info = request.extensions().get::<ConnectInfo<SocketAddr>>();
        let address = info.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |ConnectInfo(address)| address.ip());
        let agent = request.headers().get(header::USER_AGENT).and_then(|value| value.to_str().ok());
        // Nobody shows a passkey on this way.
        let visitor = Visitor { address, browser: browser::in_words(agent.unwrap_or_default()), site: None };
        // HTTP/2 has no Host of its own.
        let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
        let host = host.or(request.uri().authority().map(http::uri::Authority::as_str));
        Asked {
            host: host.unwrap_or_default().to_owned(),
            line: request.extensions().get::<Line>().copied(),
            query: query.unwrap_or_default(),
            visitor,
            method: request.method().clone(),
            headers: request.headers().clone(),
        }
    }

    fn word(&self, name: &str) -> Option<Cow<'_, str>> {
        form_urlencoded::parse(self.query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value)
    }

    fn cookie(&self, name: &str) -> Option<&str> {
        let lines = self.headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        lines.flat_map(|line| line.split(';')).find_map(|pair| {
            let (key, value) = pair.trim().split_once('=')?;
            (key == name).then_some(value)
        })
    }

    /// Browsers say so themselves, in headers that scripts cannot set; others may leave it out.
    fn is_page(&self) -> bool {
        let mode = self.headers.get("sec-fetch-mode");
        self.method == Method::GET && mode.is_none_or(|mode| mode == "navigate")
    }

    fn state_cookie(&self, name: &str, value: &str, seconds: u64) -> String {
        let secure = if self.line == Some(Line::Plain) { "" } else { "; Secure" };
        format!("{name}={value}; Path={PATH}; HttpOnly; SameSite=Lax; Max-Age={seconds}{secure}")
    }
}

async fn begin(
    State(oidc): State<Arc<Oidc>>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    request: axum::extract::Request,
) -> Response {
    let asked = Asked::of(request, query);
    if !asked.is_page() {
        return json_response(&no_page());
    }
    let next = safe_next(&asked.word("next").unwrap_or_default());
    if let Some(there) = own_address(&oidc, &asked, &id, &next) {
        return redirect(&there, &[]);
    }
    let work = async { oidc.begin(id.parse()?, next.clone(), &asked.visitor).await };
    match work.await {
        Ok((url, begun)) => {
            let cookie = asked.state_cookie(&begun.cookie_name, &begun.cookie, LIFE.as_secs());
            redirect(url.as_str(), &[cookie])
        }
        Err(fault) => failed(&oidc, fault, &next, &[]),
    }
}

/// The same at the address that the provider sends people back to: cookies of another name do not come along. Once; who
/// comes by a proxy that hides the name goes on as they are.
fn own_address(oidc: &Oidc, asked: &Asked, id: &str, next: &str) -> Option<String> {
    let own = &oidc.sessions.core.public_url;
    let scheme = if asked.line == Some(Line::Plain) { "http" } else { "https" };
    let here = Url::parse(&format!("{scheme}://{}", asked.host)).ok()?;
    let there = Url::parse(own).ok()?;
    if here.origin() == there.origin() || asked.word("here").is_some() {
        return None;
    }
    let id: quantix_model::id::IdentitySourceId = id.parse().ok()?;
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("next", next).append_pair("here", "1");
    Some(format!("{own}{PATH}/{id}?{}", query.finish()))
}

async fn callback(
    State(oidc): State<Arc<Oidc>>,
    RawQuery(query): RawQuery,
    request: axum::extract::Request,
) -> Response {
    let asked = Asked::of(request, query);
    if !asked.is_page() {
        return json_response(&no_page());
    }
    let state = asked.word("state").unwrap_or_default();
    let name = cookie_name(&state);
    let (code, issuer, error) = (asked.word("code"), asked.word("iss"), asked.word("error"));
    let description = asked.word("error_description").unwrap_or_default();
    let returned = Returned {
        state: &state,
        cookie: asked.cookie(&name),
        code: code.as_deref(),
        error: error.as_deref().map(|error| (error, description.as_ref())),
        issuer: issuer.as_deref(),
    };
    let (done, next) = oidc.finish(&returned, &asked.visitor).await;
    let next = next.unwrap_or_else(|| "/".into());
    let over = asked.state_cookie(&name, "", 0);
    let life = async { Ok((done?, oidc.sessions.settings().await?.life())) };
    match life.await {
        Ok((signed_in, life)) => {
            let session = session_cookie(asked.line, &signed_in.token, life.as_secs());
            onward(&next, &[over, session])
        }
        Err(fault) => failed(&oidc, fault, &next, &[over]),
    }
}

/// To the sign-in page, with the number of what went wrong.
fn failed(oidc: &Oidc, fault: Fault, next: &str, cookies: &[String]) -> Response {
    note(&fault);
    let code = fault.code;
    let id = oidc.sessions.faults.keep(match code {
        // Mistakes of ours are for the log.
        FaultCode::Internal => fault.because(""),
        _ => fault,
    });
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("fault", &id);
    if next != "/" {
        query.append_pair("next", next);
    }
    redirect(&format!("{SIGN_IN_PAGE}?{}", query.finish()), cookies)
}

fn redirect(to: &str, cookies: &[String]) -> Response {
    let mut response = with_cookies(Body::empty(), cookies);
    *response.status_mut() = StatusCode::SEE_OTHER;
    if let Ok(to) = HeaderValue::try_from(to) {
        response.headers_mut().insert(header::LOCATION, to);
    }
    response
}

/// A page of our own that goes on by itself.
fn onward(next: &str, cookies: &[String]) -> Response {
    let to = escaped(next);
    let page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Quantix</title>\
         <meta http-equiv=\"refresh\" content=\"0; url={to}\"></head>\
         <body><p>You are signed in. <a href=\"{to}\">Go on</a></p></body></html>"
    );
    let mut response = with_cookies(Body::from(page), cookies);
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, html);
    response
}

fn with_cookies(body: Body, cookies: &[String]) -> Response {
    let mut response = Response::new(body);
    for cookie in cookies {
        if let Ok(mut value) = HeaderValue::try_from(cookie) {
            value.set_sensitive(true);
            response.headers_mut().append(header::SET_COOKIE, value);
        }
    }
    response
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn nothing_gets_out_of_an_attribute() {
        assert_eq!(escaped("/a?b='&c=\"><script>"), "/a?b=&#39;&amp;c=&quot;&gt;&lt;script&gt;");
    }
}
