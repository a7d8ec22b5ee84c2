//! The console's WebSocket: a ticket in the path, raw RFB in binary messages.

use crate::api::Assembly;
use crate::api::auth::{Caller, not_signed_in};
use crate::api::error::json_response;
use crate::services::{App, console};
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use axum::{Extension, Router};
use std::sync::Arc;

/// RFB's largest client message is a clipboard.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// Serves consoles.
pub fn mount(assembly: &mut Assembly, app: &Arc<App>) {
    assembly.routes(Router::new().route("/api/v1/console/{ticket}", get(open)).with_state(app.clone()));
}

/// Upgrades always, because a browser can read a close frame but no refusal of an upgrade.
async fn open(
    State(app): State<Arc<App>>,
    Path(ticket): Path<String>,
    Extension(caller): Extension<Caller>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let Caller::Person(person) = caller else { return json_response(&not_signed_in()) };
    let upgrade = upgrade.protocols(["binary"]).max_message_size(MESSAGE_BYTES_MAX);
    upgrade.on_upgrade(async move |browser| {
        let host = console::open(&app, person.by.id(), &ticket).await;
        console::pump(browser, host, app.core.stop.clone()).await;
    })
}
