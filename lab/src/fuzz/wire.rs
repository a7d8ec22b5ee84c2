//! A case over a real connection, and what came back.

use super::case::Case;
use super::{Target, Targets};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A whole request is answered by then, also on a busy machine.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);
/// Anything else is waited for so long: it may be waited for rightly.
const QUIET: Duration = Duration::from_millis(250);
/// Of an answer that is looked at.
const ANSWER_BYTES_MAX: usize = 8 << 20;
/// Callers come from so many addresses: fewer than the tables of guesses hold.
const ADDRESSES: u64 = 60;

/// What came of a case.
#[derive(Clone, Debug)]
pub enum Got {
    /// An answer, whole.
    Answer(Answer),
    /// The connection ended before one.
    Closed,
    /// Nothing, until nobody waited any longer.
    Silent,
}

/// One answer.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// Without its framing.
    pub body: Vec<u8>,
}

impl Answer {
    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// TLS that trusts anybody, with the protocol wanted.
pub fn tls(protocol: &[u8]) -> Arc<ClientConfig> {
    let mut config =
        ClientConfig::clone(&quantix_client::tls::unpinned().expect("our own settings are good"));
    config.alpn_protocols = vec![protocol.to_vec()];
    Arc::new(config)
}

/// Sends a case and reads what comes.
pub async fn exchange(targets: &Targets, case: &Case) -> Got {
    let deadline = Instant::now() + ANSWER_DEADLINE;
    let connected = tokio::time::timeout(ANSWER_DEADLINE, connect(targets, case)).await;
    let Ok(Ok(stream)) = connected else { return Got::Silent };
    let (mut reader, mut writer) = tokio::io::split(stream);
    let write = async {
        // Who refuses need not read it all.
        let _ = writer.write_all(&case.bytes).await;
        let _ = writer.flush().await;
    };
    let read = async {
        let (mut bytes, mut piece) = (Vec::new(), vec![0; 64 << 10]);
        loop {
            let patience =
                if case.is_whole { deadline.saturating_duration_since(Instant::now()) } else { QUIET };
            match tokio::time::timeout(patience, reader.read(&mut piece)).await {
                Err(_) => {
                    return if case.is_http2 {
                        Got::Closed
                    } else {
                        parse(&bytes, case, true).unwrap_or(Got::Silent)
                    };
                }
                Ok(Ok(0) | Err(_)) => return parse(&bytes, case, true).unwrap_or(Got::Closed),
                Ok(Ok(count)) => bytes.extend_from_slice(&piece[..count]),
            }
            if let Some(got) = parse(&bytes, case, false) {
                return got;
            }
            if bytes.len() > ANSWER_BYTES_MAX {
                return parse(&bytes, case, true).unwrap_or(Got::Closed);
            }
        }
    };
    // An answer ends it, also while the rest of the request is still on its way.
    tokio::select! {
        got = read => got,
        () = async { write.await; std::future::pending().await } => Got::Silent,
    }
}

async fn connect(targets: &Targets, case: &Case) -> std::io::Result<TlsStream<TcpStream>> {
    let to = match case.at {
        Target::Vdc => targets.vdc,
        Target::Node => targets.node,
    };
    let socket = TcpSocket::new_v4()?;
    let last = u8::try_from(2 + case.number % ADDRESSES).unwrap_or(2);
    socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 7, last), 0)))?;
    let stream = socket.connect(to).await?;
    let config = if case.is_http2 { &targets.tls_http2 } else { &targets.tls };
    let name = ServerName::try_from("localhost").map_err(std::io::Error::other)?;
    TlsConnector::from(Arc::clone(config)).connect(name, stream).await
}

/// The answer in these bytes, if it is all there; `ended`: no more will come.
fn parse(bytes: &[u8], case: &Case, ended: bool) -> Option<Got> {
    if case.is_http2 {
        return None;
    }
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let status: u16 = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let rest = &bytes[end + 4..];
    if (100..200).contains(&status) && status != 101 {
        return parse(rest, case, ended);
    }
    let split = |line: &str| line.split_once(':').map(|(n, v)| (n.to_lowercase(), v.trim().to_owned()));
    let mut answer = Answer { status, headers: lines.filter_map(split).collect(), body: Vec::new() };
    let length = answer.header("content-length").and_then(|n| n.parse::<usize>().ok());
    if case.is_head || status == 101 || status == 204 || status == 304 {
        return Some(Got::Answer(answer));
    }
    let body = if answer.header("transfer-encoding").is_some_and(|v| v.contains("chunked")) {
        unchunk(rest)
    } else {
        length.and_then(|length| rest.get(..length).map(<[u8]>::to_vec))
    };
    match body {
        Some(body) => answer.body = body,
        None if ended => answer.body = rest.to_vec(),
        None => return None,
    }
    Some(Got::Answer(answer))
}

fn unchunk(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    loop {
        let end = bytes.windows(2).position(|two| two == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).ok()?.trim(), 16).ok()?;
        let rest = &bytes[end + 2..];
        if size == 0 {
            return Some(out);
        }
        out.extend_from_slice(rest.get(..size)?);
        bytes = rest.get(size + 2..)?;
    }
}
