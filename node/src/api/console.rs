//! Screens: a WebSocket on one side, the hypervisor's stream on the other, raw RFB in binary messages.
//!
//! A screen that cannot be opened is refused before the upgrade, with the fault as JSON. One that ends later says
//! why in its close frame: `CODE: sentence`.

use super::Shared;
use super::rest::{Refusal, Who};
use crate::vm::Vms;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use bytes::{Bytes, BytesMut};
use futures::{SinkExt as _, StreamExt as _};
use quantix_model::id::VmId;
use quantix_model::{Fault, FaultCode};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::OwnedSemaphorePermit;

/// Read from the screen at once.
const READ_BYTES: usize = 32 << 10;
/// Keys, pointer moves and clipboard texts are far smaller.
const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// A viewer that takes nothing for so long is gone.
const SEND_DEADLINE: Duration = Duration::from_secs(30);
/// Opening a screen takes no longer.
const OPEN_DEADLINE: Duration = Duration::from_secs(15);
/// Quiet lines are kept alive, and dead ones found out, by pings.
const PING_INTERVAL: Duration = Duration::from_secs(20);

pub async fn open(
    State(shared): State<Shared>,
    Who(caller): Who,
    Path(id): Path<String>,
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
) -> Result<Response, Refusal> {
    shared.daemon.gate(Some(&caller))?;
    let id: VmId = id.parse()?;
    let upgrade = upgrade.map_err(|err| {
        Fault::new(FaultCode::InvalidRequest, "A console is a WebSocket.", "Open it as a WebSocket.")
            .because(err)
    })?;
    let permit = Arc::clone(&shared.consoles).try_acquire_owned().map_err(|_| {
        Fault::new(FaultCode::Busy, "Too many consoles are open on this host.", "Close one, then try again.")
    })?;
    let vms = Arc::clone(&shared.daemon.vms);
    let screen =
        tokio::time::timeout(OPEN_DEADLINE, vms.driver().console(id)).await.unwrap_or_else(|_| {
            Err(Fault::new(
                FaultCode::DeadlineExceeded,
                "The VM's screen did not open in time.",
                "Try again; if it comes back, look at libvirt on the host.",
            ))
        })?;
    let ready = |err: std::io::Error| Fault::internal(format!("the screen's stream cannot be used: {err}"));
    screen.set_nonblocking(true).map_err(ready)?;
    let screen = UnixStream::from_std(screen).map_err(ready)?;
    let upgrade = upgrade.max_message_size(MESSAGE_BYTES_MAX).max_frame_size(MESSAGE_BYTES_MAX);
    Ok(upgrade.on_upgrade(move |socket| bridge(vms, id, socket, screen, permit)).into_response())
}

/// What ended a session.
enum End {
    Viewer,
    Screen,
}

async fn bridge(
    vms: Arc<Vms>,
    id: VmId,
    socket: WebSocket,
    screen: UnixStream,
    _permit: OwnedSemaphorePermit,
) {
    tracing::debug!(vm = %id, "console opened");
    let (mut to_viewer, mut from_viewer) = socket.split();
    let (mut from_screen, mut to_screen) = screen.into_split();
    let inward = async {
        while let Some(Ok(message)) = from_viewer.next().await {
            match message {
                Message::Binary(bytes) => {
                    if to_screen.write_all(&bytes).await.is_err() {
                        return End::Screen;
                    }
                }
                Message::Close(_) => return End::Viewer,
                Message::Text(_) | Message::Ping(_) | Message::Pong(_) => {}
            }
        }
        End::Viewer
    };
    let outward = async {
        let mut buffer = BytesMut::with_capacity(READ_BYTES);
        loop {
            buffer.reserve(READ_BYTES);
            let message = match tokio::time::timeout(PING_INTERVAL, from_screen.read_buf(&mut buffer)).await {
                Ok(Ok(0)) | Ok(Err(_)) => return End::Screen,
                Ok(Ok(_)) => Message::Binary(buffer.split().freeze()),
                Err(_) => Message::Ping(Bytes::new()),
            };
            match tokio::time::timeout(SEND_DEADLINE, to_viewer.send(message)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return End::Viewer,
            }
        }
    };
    let end = tokio::select! {
        end = inward => end,
        end = outward => end,
    };
    let frame = match end {
        End::Viewer => CloseFrame { code: close_code::NORMAL, reason: "".into() },
        End::Screen => why(&vms, id).await,
    };
    tracing::debug!(vm = %id, reason = %frame.reason, "console closed");
    let close = to_viewer.send(Message::Close(Some(frame)));
    let _ = tokio::time::timeout(Duration::from_secs(5), close).await;
}

/// Why a screen ended: the machine stopped, the hypervisor did, or neither.
async fn why(vms: &Vms, id: VmId) -> CloseFrame {
    let look = tokio::time::timeout(Duration::from_secs(5), vms.driver().get(id)).await;
    let (code, text) = match look {
        Ok(Ok(Some(report))) if report.power_state.is_active() => {
            (close_code::AWAY, "The screen was closed by the hypervisor; open it again.".to_owned())
        }
        Ok(Ok(Some(report))) => {
            let state = report.power_state.as_str();
            (close_code::NORMAL, format!("{}: The VM is {state} now.", FaultCode::ConsoleNotRunning))
        }
        Ok(Ok(None)) => {
            (close_code::NORMAL, format!("{}: The VM is gone from the host.", FaultCode::VmMissingOnHost))
        }
        Ok(Err(fault)) => (close_code::ERROR, format!("{}: {}", fault.code, fault.message)),
        Err(_) => (
            close_code::ERROR,
            format!("{}: The hypervisor does not answer.", FaultCode::HypervisorUnavailable),
        ),
    };
    // A close reason has 123 bytes at most (RFC 6455, 5.5).
    let mut end = text.len().min(120);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    CloseFrame { code, reason: text[..end].into() }
}
