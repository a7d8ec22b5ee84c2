//! The one place where a fault leaves the vDC: as an RPC error or as JSON over HTTP. Mistakes of ours are logged
//! here, once, with their cause.

use axum::body::Body;
use axum::response::Response;
use connectrpc::{ConnectError, ServiceResult};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use quantix_model::fault::{Fault, FaultCode};

/// The answer of a handler.
pub fn reply<T>(result: Result<T, Fault>) -> ServiceResult<T> {
    match result {
        Ok(body) => connectrpc::Response::ok(body),
        Err(fault) => Err(rpc(&fault)),
    }
}

/// A fault as an RPC error.
pub fn rpc(fault: &Fault) -> ConnectError {
    note(fault);
    quantix_contract::fault::to_connect(fault)
}

/// A fault as the HTTP answer that the request's protocol wants: Connect, gRPC, gRPC-Web, or plain JSON.
pub fn rpc_response(fault: &Fault, request: &HeaderMap) -> Response {
    rpc(fault).into_http_response(request).map(Body::new)
}

/// A fault as JSON `{"fault": …}`, for everything that is no RPC.
pub fn json_response(fault: &Fault) -> Response {
    note(fault);
    let status = quantix_contract::fault::to_connect(fault).http_status();
    let status = match fault.code {
        FaultCode::UploadOffsetMismatch => StatusCode::CONFLICT,
        FaultCode::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        _ => status,
    };
    let body = serde_json::json!({ "fault": fault }).to_string();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Tells the audit log and the trace of a fault that is answered.
pub(crate) fn note(fault: &Fault) {
    crate::services::audit::failed(fault);
    match fault.code {
        FaultCode::Internal => tracing::error!(cause = fault.cause, "a mistake of ours"),
        FaultCode::StoreUnavailable => tracing::error!(cause = fault.cause, "the store does not answer"),
        code => tracing::debug!(%code, message = fault.message, "refused"),
    }
}
