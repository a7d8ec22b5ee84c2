//! Console tickets and the line they open: browser ─WebSocket─▶ vDC ─mutual TLS─▶ host ─▶ QEMU.
//!
//! A ticket is 256 random bits, good once, for 60 seconds, for one session (or API token) and one VM. Only its hash is kept, in
//! memory. What goes wrong is said in the close frame: code 4000, reason `<CODE>: <sentence>`.

use crate::ids;
use crate::services::{App, lines, vm};
use axum::extract::ws::{CloseFrame, Message, WebSocket};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::{SinkExt as _, StreamExt as _};
use quantix_client::host::ConsoleStream;
use quantix_contract::quantix::vm::v1 as wire;
use quantix_contract::time;
use quantix_model::id::VmId;
use quantix_model::{Fault, FaultCode};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio_tungstenite::tungstenite::Message as HostMessage;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How long a ticket is good.
const TICKET_LIFE: Duration = Duration::from_secs(60);
/// Tickets of one session that may wait; the oldest goes first.
const TICKETS_MAX: usize = 1000;
/// Close code for a fault; 4000 to 4999 are for applications (RFC 6455, 7.4.2).
const CLOSE_FAULT: u16 = 4000;
/// A close reason's bytes (RFC 6455, 5.5: 125 less the code).
const REASON_BYTES_MAX: usize = 123;
/// Asks whether the browser is still there.
const PING_EVERY: Duration = Duration::from_secs(20);
/// One message takes no longer than this in either direction.
const SEND_DEADLINE: Duration = Duration::from_secs(30);

struct Ticket {
    vm: VmId,
    session: Uuid,
    made_at: Instant,
}

/// Tickets not used yet, by hash.
#[derive(Default)]
pub struct Tickets {
    tickets: Mutex<HashMap<[u8; 32], Ticket>>,
}

fn hash(text: &str) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    let mut hash = [0; 32];
    hash.copy_from_slice(digest.as_ref());
    hash
}

impl Tickets {
    fn make(&self, vm: VmId, session: Uuid) -> String {
        let text = URL_SAFE_NO_PAD.encode(ids::secret::<32>());
        let mut tickets = self.tickets.lock().unwrap_or_else(PoisonError::into_inner);
        tickets.retain(|_, t| t.made_at.elapsed() < TICKET_LIFE);
        if tickets.len() >= TICKETS_MAX {
            let oldest = tickets.iter().min_by_key(|(_, t)| t.made_at).map(|(hash, _)| *hash);
            oldest.and_then(|hash| tickets.remove(&hash));
        }
        tickets.insert(hash(&text), Ticket { vm, session, made_at: Instant::now() });
        text
    }

    /// Uses a ticket up; a wrong session uses it up too.
    fn take(&self, text: &str, session: Uuid) -> Option<VmId> {
        let taken = self.tickets.lock().unwrap_or_else(PoisonError::into_inner).remove(&hash(text));
        taken.filter(|t| t.made_at.elapsed() < TICKET_LIFE && t.session == session).map(|t| t.vm)
    }
}

/// A ticket for the console of a running VM.
pub async fn ticket(app: &App, session: Uuid, id: VmId) -> Result<wire::ConsoleTicket, Fault> {
    let record = app.core.store.vm_get(id).await?;
    vm::refuse_unless_allowed(app, &record, "console").await?;
    let text = app.tickets.make(id, session);
    Ok(wire::ConsoleTicket {
        websocket_path: format!("/api/v1/console/{text}"),
        expires_at: time::to_proto(app.core.clock.now().plus(TICKET_LIFE)).into(),
        ..Default::default()
    })
}

/// Opens the line a ticket is good for.
pub async fn open(app: &App, session: Uuid, text: &str) -> Result<ConsoleStream, Fault> {
    let id = app.tickets.take(text, session).ok_or_else(|| {
        Fault::new(
            FaultCode::ConsoleTicketInvalid,
            "This console ticket was used already, is older than a minute, or belongs to somebody else.",
            "Open the console again.",
        )
    })?;
    let record = app.core.store.vm_get(id).await?;
    lines::to_host(app, record.host_id).await?.console(id).await
}

/// Moves bytes between browser and host until either ends, and says why in the close frame.
pub async fn pump(browser: WebSocket, host: Result<ConsoleStream, Fault>, stop: CancellationToken) {
    let (mut to_browser, mut from_browser) = browser.split();
    let host = match host {
        Ok(host) => host,
        Err(fault) => {
            let _ = to_browser.send(Message::Close(Some(close_frame(&fault)))).await;
            return;
        }
    };
    let (mut to_host, mut from_host) = host.split();
    let up = async {
        while let Some(Ok(message)) = from_browser.next().await {
            let sent = match message {
                Message::Binary(bytes) => to_host.send(HostMessage::Binary(bytes)),
                Message::Close(_) => break,
                Message::Text(_) | Message::Ping(_) | Message::Pong(_) => continue,
            };
            if !matches!(tokio::time::timeout(SEND_DEADLINE, sent).await, Ok(Ok(()))) {
                break;
            }
        }
        let _ = to_host.send(HostMessage::Close(None)).await;
    };
    let down = async {
        // Not at once: the first word on a new line is the screen's greeting.
        let mut ping = tokio::time::interval_at(tokio::time::Instant::now() + PING_EVERY, PING_EVERY);
        loop {
            let message = tokio::select! {
                message = from_host.next() => message,
                _ = ping.tick() => {
                    if to_browser.send(Message::Ping(bytes::Bytes::new())).await.is_err() {
                        return None;
                    }
                    continue;
                }
                () = stop.cancelled() => return Some(going_away()),
            };
            let sent = match message {
                Some(Ok(HostMessage::Binary(bytes))) => to_browser.send(Message::Binary(bytes)),
                Some(Ok(HostMessage::Close(frame))) => return Some(from_host_frame(frame)),
                Some(Ok(_)) => continue,
                Some(Err(err)) => return Some(lost(&err.to_string())),
                None => return Some(from_host_frame(None)),
            };
            if !matches!(tokio::time::timeout(SEND_DEADLINE, sent).await, Ok(Ok(()))) {
                return None;
            }
        }
    };
    let end = tokio::select! {
        () = up => None,
        end = down => end,
    };
    let _ = to_browser.send(Message::Close(end)).await;
}

/// A fault as a close frame: its code, its sentence, as much as fits.
fn close_frame(fault: &Fault) -> CloseFrame {
    CloseFrame { code: CLOSE_FAULT, reason: fit(&format!("{}: {}", fault.code, fault.message)).into() }
}

fn fit(text: &str) -> String {
    let mut end = text.len().min(REASON_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

fn lost(cause: &str) -> CloseFrame {
    let fault = Fault::new(FaultCode::HostUnreachable, "The line to the host broke.", "Open it again.");
    tracing::debug!(cause, "a console line broke");
    close_frame(&fault)
}

fn going_away() -> CloseFrame {
    CloseFrame { code: 1001, reason: "The vDC is stopping.".into() }
}

/// The host's reason goes on as it is; an end without one means that the screen is gone.
fn from_host_frame(frame: Option<tokio_tungstenite::tungstenite::protocol::CloseFrame>) -> CloseFrame {
    match frame {
        Some(frame) if !frame.reason.is_empty() => {
            CloseFrame { code: u16::from(frame.code).max(1000), reason: fit(&frame.reason).into() }
        }
        _ => {
            let gone =
                Fault::new(FaultCode::ConsoleNotRunning, "The VM's screen ended: it is off.", "Start it.");
            close_frame(&gone)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn a_ticket_is_good_once_and_for_its_session_only() {
        let tickets = Tickets::default();
        let (vm, me) = (VmId(Uuid::from_u128(1)), Uuid::from_u128(2));
        let other = Uuid::from_u128(3);
        let text = tickets.make(vm, me);
        assert_eq!(tickets.take(&text, me), Some(vm));
        assert_eq!(tickets.take(&text, me), None);
        let text = tickets.make(vm, me);
        assert_eq!(tickets.take(&text, other), None);
        assert_eq!(tickets.take(&text, me), None);
    }

    #[test]
    fn reasons_fit_into_a_close_frame() {
        let fault = Fault::new(FaultCode::ConsoleNotRunning, "ä".repeat(200), "");
        let frame = close_frame(&fault);
        assert!(frame.reason.len() <= REASON_BYTES_MAX);
        assert!(frame.reason.starts_with("CONSOLE_NOT_RUNNING: ä"));
    }
}
