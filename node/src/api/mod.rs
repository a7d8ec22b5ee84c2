//! The edge: REST for registration, RPC, uploads and consoles for the vDC. Checks who calls and what they send;
//! decides nothing.

mod console;
mod device;
mod download;
mod explore;
mod file;
mod host;
mod log;
mod metrics;
mod pool;
mod registration;
mod rest;
mod service;
mod snapshot;
mod upload;
mod vm;
mod volume;

use crate::daemon::Daemon;
use axum::Router;
use axum::routing::{get, post};
use connectrpc::{ConnectRpcService, DeadlinePolicy, Limits};
use quantix_contract::quantix::node::v1::NodeServiceExt as _;
use service::{Gate, Service};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Largest RPC request: a VM with all its disks is far below.
const REQUEST_BYTES_MAX: usize = 1 << 20;
/// A call that sets no deadline of its own has this one.
const CALL_DEADLINE: Duration = Duration::from_secs(90);
/// No call has a longer one: copying a whole disk is the longest.
const CALL_DEADLINE_MAX: Duration = Duration::from_secs(4 * 3600);
/// Screens that may be open at once.
const CONSOLES_MAX: usize = 128;

/// What the REST handlers share.
#[derive(Clone)]
struct Shared {
    daemon: Arc<Daemon>,
    consoles: Arc<Semaphore>,
    uploads: upload::Running,
}

/// Everything the daemon serves.
pub fn app(daemon: Arc<Daemon>) -> Router {
    let rpc = Arc::new(Service { daemon: Arc::clone(&daemon) }).register(connectrpc::Router::new());
    let limits = Limits::default()
        .with_max_request_body_size(REQUEST_BYTES_MAX)
        .with_max_message_size(REQUEST_BYTES_MAX);
    let deadlines = DeadlinePolicy::new().with_max(CALL_DEADLINE_MAX).with_default_timeout(CALL_DEADLINE);
    let rpc = ConnectRpcService::new(rpc)
        .with_limits(limits)
        .with_deadline_policy(deadlines)
        .with_interceptor(Gate { daemon: Arc::clone(&daemon) });
    let shared = Shared {
        daemon,
        consoles: Arc::new(Semaphore::new(CONSOLES_MAX)),
        uploads: upload::Running::default(),
    };
    Router::new()
        .route("/api/v1/registration/ping", get(registration::ping))
        .route("/api/v1/registration/token", get(registration::token))
        .route("/api/v1/registration/discovery", get(registration::discovery))
        .route("/api/v1/registration/complete", post(registration::complete))
        .route("/api/v1/uploads/{pool_id}/{image_id}", axum::routing::head(upload::head).patch(upload::patch))
        .route("/api/v1/pools/{pool_id}/files", get(download::get))
        .route("/api/v1/console/{vm_id}", get(console::open))
        .route("/metrics", get(metrics::get))
        .route_service("/quantix.node.v1.NodeService/{*method}", rpc)
        .method_not_allowed_fallback(rest::unknown_method)
        .fallback(rest::unknown_path)
        .with_state(shared)
        .layer(axum::middleware::from_fn(rest::whole_or_refused))
}
