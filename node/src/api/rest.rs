//! Faults over plain HTTP: `{"fault": …}` with the status a generic client understands.

use crate::server::Caller;
use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{Method, StatusCode, Uri, header};
use quantix_contract::fault::to_connect;
use quantix_model::{Fault, FaultCode};
use serde::Serialize;

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
