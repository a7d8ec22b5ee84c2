//! The daemon's own door on this machine: `<state-dir>/node.sock`, for the daemon's user alone.
//!
//! One request line, one answer line in JSON: `token` → `{"ok":{"token":…,"expires_at_unix_ms":…}}` or
//! `{"fault":…}`, and `join {"vdc":…,"token":…}` → `{"ok":{"host_name":…,"vdc_url":…}}`. Lines are bounded, and so is the
//! time to send one.

use crate::daemon::Daemon;
use crate::join::{JoinWish, Joined};
use quantix_model::{Fault, FaultCode, UnixMs};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

/// Longest line either way.
const LINE_BYTES_MAX: u64 = 8 << 10;
/// One exchange takes no longer.
const DEADLINE: Duration = Duration::from_secs(30);

/// A token as it is handed out.
#[derive(Clone, Serialize, Deserialize)]
pub struct TokenAnswer {
    /// The whole token.
    pub token: String,
    /// Not accepted after that.
    pub expires_at_unix_ms: UnixMs,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer<T> {
    Ok(T),
    Fault(Box<Fault>),
}

fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("node.sock")
}

/// Opens the door. The state folder is locked, so a socket that is there is a dead daemon's.
pub fn listen(state_dir: &Path) -> Result<UnixListener, Fault> {
    let path = path(state_dir);
    let unusable = |err: io::Error| {
        Fault::new(
            FaultCode::InvalidArgument,
            format!("The socket {} cannot be made.", path.display()),
            "Give a state folder with a shorter path (108 bytes at most) that this user may write to.",
        )
        .because(err)
    };
    match std::fs::remove_file(&path) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(unusable(err)),
        _ => {}
    }
    // The folder is the user's alone (0700 when we made it); the mode and the peer check hold where it is not.
    let listener = UnixListener::bind(&path).map_err(unusable)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(unusable)?;
    Ok(listener)
}

/// Answers until told to stop.
pub async fn serve(
    listener: UnixListener,
    daemon: Arc<Daemon>,
    address: SocketAddr,
    stop: CancellationToken,
) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let daemon = Arc::clone(&daemon);
                tokio::spawn(async move {
                    if let Ok(Err(err)) =
                        tokio::time::timeout(DEADLINE, exchange(stream, &daemon, address)).await
                    {
                        tracing::debug!(%err, "local request broke off");
                    }
                });
            }
            Err(err) => {
                tracing::warn!(%err, "a local connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

async fn exchange(stream: UnixStream, daemon: &Daemon, address: SocketAddr) -> io::Result<()> {
    let peer = stream.peer_cred()?.uid();
    let (read, mut write) = stream.into_split();
    let answer = if peer == 0 || peer == rustix::process::getuid().as_raw() {
        let mut line = String::new();
        BufReader::new(read.take(LINE_BYTES_MAX)).read_line(&mut line).await?;
        answer(line.trim_end_matches('\n'), daemon, address).await
    } else {
        Err(Fault::new(FaultCode::Forbidden, "Only the daemon's own user may do that.", "Run it as root."))
    };
    let answer = answer.map_or_else(|fault| Answer::Fault(Box::new(fault)), Answer::Ok);
    let mut line = serde_json::to_vec(&answer)?;
    line.push(b'\n');
    write.write_all(&line).await?;
    write.shutdown().await
}

async fn answer(line: &str, daemon: &Daemon, address: SocketAddr) -> Result<serde_json::Value, Fault> {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    match (word, serde_json::from_str::<JoinWish>(rest)) {
        ("token", _) => {
            let (token, expires_at_unix_ms) = daemon.make_token().await?;
            let answer = TokenAnswer { token: token.to_string(), expires_at_unix_ms };
            serde_json::to_value(answer).map_err(Fault::internal)
        }
        ("join", Ok(wish)) => {
            serde_json::to_value(daemon.join(wish, address).await?).map_err(Fault::internal)
        }
        _ => Err(Fault::new(
            FaultCode::InvalidRequest,
            "The daemon does not know this request.",
            "Use the quantix-node program of the same release.",
        )),
    }
}

/// Asks the daemon that runs on this state folder for a new token.
pub async fn ask_token(state_dir: &Path) -> Result<TokenAnswer, Fault> {
    ask(state_dir, "token\n").await
}

/// Asks the daemon that runs on this state folder to join a vDC.
pub async fn ask_join(state_dir: &Path, wish: &JoinWish) -> Result<Joined, Fault> {
    let wish = serde_json::to_string(wish).map_err(Fault::internal)?;
    ask(state_dir, &format!("join {wish}\n")).await
}

async fn ask<T: DeserializeOwned>(state_dir: &Path, request: &str) -> Result<T, Fault> {
    let path = path(state_dir);
    let silent = |err: io::Error| {
        Fault::new(
            FaultCode::HostUnreachable,
            "The daemon does not answer on this machine.",
            format!(
                "Start quantix-node, run this as the same user, and name its state folder (now {}).",
                state_dir.display()
            ),
        )
        .because(format!("{}: {err}", path.display()))
    };
    let exchange = async {
        let stream = UnixStream::connect(&path).await?;
        let (read, mut write) = stream.into_split();
        write.write_all(request.as_bytes()).await?;
        let mut line = String::new();
        BufReader::new(read.take(LINE_BYTES_MAX)).read_line(&mut line).await?;
        Ok(line)
    };
    let line = match tokio::time::timeout(DEADLINE, exchange).await {
        Ok(line) => line.map_err(silent)?,
        Err(_) => return Err(silent(io::ErrorKind::TimedOut.into())),
    };
    match serde_json::from_str(&line) {
        Ok(Answer::Ok(answer)) => Ok(answer),
        Ok(Answer::Fault(fault)) => Err(*fault),
        Err(err) => Err(silent(io::Error::other(err))),
    }
}
