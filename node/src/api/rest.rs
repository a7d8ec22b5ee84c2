//! Faults over plain HTTP: `{"fault": …}` with the status a generic client understands.

use crate::server::Caller;
use axum::body::Body;
use axum::extract::{FromRequestParts, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{Method, StatusCode, Uri, header};
use http_body_util::BodyExt as _;
use quantix_contract::fault::to_connect;
use quantix_model::{Fault, FaultCode};
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A fault as an HTTP answer.
pub struct Refusal(pub Fault);

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Refusal {
        Refusal(fault)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Body<'a> {
            fault: &'a Fault,
        }
        let body = serde_json::to_vec(&Body { fault: &self.0 }).unwrap_or_default();
        (status(&self.0), [(header::CONTENT_TYPE, "application/json")], body).into_response()
    }
}

fn status(fault: &Fault) -> StatusCode {
    match fault.code {
        FaultCode::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        FaultCode::PoolFull => StatusCode::INSUFFICIENT_STORAGE,
        FaultCode::ConsoleNotRunning | FaultCode::Busy | FaultCode::UploadIncomplete => StatusCode::CONFLICT,
        _ => to_connect(fault).http_status(),
    }
}

/// Who calls, as the connection found out.
pub struct Who(pub Caller);

impl<S: Sync> FromRequestParts<S> for Who {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Who, Refusal> {
        let caller = parts.extensions.get::<Caller>().copied();
        caller.map(Who).ok_or_else(|| Refusal(Fault::internal("a request without a connection")))
    }
}

/// A body that breaks off, or is not framed as its headers say, is the caller's mistake; frameworks call it the server's.
/// Refusals without a word get one.
pub async fn whole_or_refused(request: Request, next: Next) -> Response {
    let broken = Arc::new(AtomicBool::new(false));
    let (noted, is_head) = (Arc::clone(&broken), *request.method() == Method::HEAD);
    let note_error = move |err| {
        noted.store(true, Ordering::Relaxed);
        err
    };
    let response = next.run(request.map(|body| Body::new(body.map_err(note_error)))).await;
    if broken.load(Ordering::Relaxed) && response.status().is_server_error() {
        let text = "The body of the request broke off, or is not framed as its headers say.";
        return Refusal(Fault::new(FaultCode::InvalidRequest, text, "Send it again, whole.")).into_response();
    }
    let status = response.status();
    if is_head || !status.is_client_error() || response.headers().contains_key(header::CONTENT_TYPE) {
        return response;
    }
    let text = "The host does not take this request.";
    let fault = Fault::new(FaultCode::InvalidRequest, text, "Compare the releases of vDC and host.");
    let mut worded = Refusal(fault).into_response();
    *worded.status_mut() = status;
    worded
}

/// Any path nobody serves.
pub async fn unknown_path(uri: Uri) -> Refusal {
    let path: String = uri.path().chars().take(200).collect();
    Refusal(Fault::new(
        FaultCode::UnknownPath,
        format!("This host has nothing at {path:?}."),
        "Check the path; a newer vDC may need a newer host.",
    ))
}

/// A known path with another method.
pub async fn unknown_method(method: Method, uri: Uri) -> Response {
    let path: String = uri.path().chars().take(200).collect();
    let fault = Fault::new(
        FaultCode::UnknownPath,
        format!("This host does not take {method} at {path:?}."),
        "Check the method; a newer vDC may need a newer host.",
    );
    let mut answer = Refusal(fault).into_response();
    *answer.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    answer
}
