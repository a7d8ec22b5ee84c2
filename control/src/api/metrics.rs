//! `GET /metrics`, and a host's own figures through the vDC.

use crate::api::Assembly;
use crate::api::error::json_response;
use crate::metrics::{CONTENT_TYPE, scrape};
use crate::services::{App, lines};
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::header;
use quantix_model::Fault;
use quantix_model::id::HostId;
use std::sync::Arc;

/// Serves figures.
pub fn mount(assembly: &mut Assembly, app: &Arc<App>) {
    let routes = axum::Router::new()
        .route("/metrics", get(own))
        .route("/api/v1/hosts/{host_id}/metrics", get(of_host))
        .with_state(app.clone());
    assembly.routes(routes);
}

async fn own(State(app): State<Arc<App>>) -> Response {
    answer(scrape(&app).await)
}

async fn of_host(State(app): State<Arc<App>>, Path(id): Path<String>) -> Response {
    let ask = async {
        let id: HostId = id.parse()?;
        lines::to_host(&app, id).await?.metrics().await
    };
    answer(ask.await)
}

fn answer(text: Result<String, Fault>) -> Response {
    match text {
        Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(fault) => json_response(&fault),
    }
}
