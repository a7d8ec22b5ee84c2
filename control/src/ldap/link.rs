//! A connection to a directory: verified TLS before anything is said, one question at a time, one deadline.

use crate::ldap::ber::{self, Rubbish, SEQUENCE};
use crate::ldap::message::{self, Ask, Entry, Outcome, Search, Told};
use crate::ldap::trouble::{self, Trouble};
use crate::ldap::url::Url;
use quantix_client::dial::is_forbidden;
use quantix_client::tls;
use quantix_model::{Fault, UnixMs};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Longest answer; an entry with what we ask for has a few hundred bytes.
const MESSAGE_BYTES_MAX: usize = 256 << 10;
/// Most that is read over one connection.
const LINK_BYTES_MAX: usize = 8 << 20;
/// An address that does not answer leaves time for the next.
const TCP_DEADLINE: Duration = Duration::from_secs(3);
/// What a directory that breaks off says first (RFC 4511, 4.4.1) has this number.
const UNASKED: u32 = 0;

/// What can carry a connection.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// How the line is secured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secured {
    /// `TLS 1.3`.
    pub version: &'static str,
    /// Who signed the directory's certificate.
    pub issuer: String,
    /// When that certificate ends.
    pub ends_at: UnixMs,
}

/// When a connection must be done.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    /// Then.
    pub at: Instant,
    /// As a length, for people.
    pub limit: Duration,
}

impl Deadline {
    /// From now on, and no later than `end`.
    pub fn within(limit: Duration, end: Instant) -> Deadline {
        let at = (Instant::now() + limit).min(end);
        Deadline { at, limit: at.saturating_duration_since(Instant::now()) }
    }
}

/// See the module.
pub struct Link {
    url: Url,
    stream: Box<dyn Stream>,
    secured: Secured,
    deadline: Deadline,
    /// Read and not looked at yet.
    buffer: Vec<u8>,
    read_bytes: usize,
    last_id: u32,
}

/// Read before TLS: one message and nothing more.
struct Plain {
    stream: TcpStream,
}

impl Link {
    /// Connects and goes over to TLS.
    pub async fn open(url: &Url, tls: Arc<ClientConfig>, deadline: Deadline) -> Result<Link, Trouble> {
        let silent = |step| move |_| trouble::silent(url, step, deadline.limit);
        let tcp = timeout_at(deadline.at, connect(url)).await.map_err(silent("connecting"))??;
        let tcp = if url.tls_first {
            tcp
        } else {
            let plain = Plain { stream: tcp }.start_tls(url);
            timeout_at(deadline.at, plain).await.map_err(silent("StartTLS"))??
        };
        let name = ServerName::try_from(url.host.clone()).map_err(|err| trouble::no_address(url, err))?;
        let shake = timeout_at(deadline.at, TlsConnector::from(tls).connect(name, tcp));
        let stream = shake.await.map_err(silent("TLS handshake"))?.map_err(|err| trouble::tls(url, &err))?;
        Ok(Link {
            url: url.clone(),
            secured: secured(&stream),
            stream: Box::new(stream),
            deadline,
            buffer: Vec::new(),
            read_bytes: 0,
            last_id: 0,
        })
    }

    /// Where it leads.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// How it is secured.
    pub fn secured(&self) -> &Secured {
        &self.secured
    }

    /// Says who asks, and answers how that went.
    pub async fn bind(&mut self, dn: &str, password: &str, step: &str) -> Result<Outcome, Trouble> {
        let id = self.ask(Ask::Bind { dn, password }, step).await?;
        match self.told(id, step).await? {
            Told::Bound(outcome) => Ok(outcome),
            _ => Err(trouble::rubbish(&self.url, step, Rubbish("a bind was answered by something else"))),
        }
    }

    /// Looks for entries; answers those found, no more than asked for, and how it ended.
    pub async fn search(&mut self, what: &Search<'_>, step: &str) -> Result<(Vec<Entry>, Outcome), Trouble> {
        /// There is more (RFC 4511, A.1).
        const SIZE_LIMIT: u32 = 4;
        let id = self.ask(Ask::Search(what), step).await?;
        let max = usize::try_from(what.entries_max).unwrap_or(usize::MAX);
        let mut found = Vec::new();
        loop {
            match self.told(id, step).await? {
                Told::Entry(_) if found.len() >= max => {
                    // It does not keep to what was asked; nobody waits for the rest.
                    return Ok((found, Outcome { code: SIZE_LIMIT, ..Outcome::default() }));
                }
                Told::Entry(entry) => found.push(entry),
                Told::Elsewhere => {}
                Told::Found(outcome) => return Ok((found, outcome)),
                _ => {
                    let what = Rubbish("a search was answered by something else");
                    return Err(trouble::rubbish(&self.url, step, what));
                }
            }
        }
    }

    /// Says good-bye, as is polite; nobody waits for it.
    pub async fn close(mut self) {
        let bye = async {
            let _ = self.ask(Ask::Unbind, "").await;
            let _ = self.stream.shutdown().await;
        };
        let _ = tokio::time::timeout(Duration::from_millis(200), bye).await;
    }

    async fn ask(&mut self, what: Ask<'_>, step: &str) -> Result<u32, Trouble> {
        self.last_id += 1;
        let bytes = what.encode(self.last_id);
        let sent = async {
            self.stream.write_all(&bytes).await?;
            self.stream.flush().await
        };
        match timeout_at(self.deadline.at, sent).await {
            Ok(Ok(())) => Ok(self.last_id),
            Ok(Err(err)) => Err(trouble::closed(&self.url, step, err)),
            Err(_) => Err(trouble::silent(&self.url, step, self.deadline.limit)),
        }
    }

    async fn told(&mut self, id: u32, step: &str) -> Result<Told, Trouble> {
        let read = timeout_at(self.deadline.at, self.message(step)).await;
        let (found, told) = read.map_err(|_| trouble::silent(&self.url, step, self.deadline.limit))??;
        match (found, told) {
            (UNASKED, Told::Extended(outcome)) => {
                Err(trouble::closed(&self.url, step, trouble::said(&outcome)))
            }
            (found, told) if found == id => Ok(told),
            _ => Err(trouble::rubbish(&self.url, step, Rubbish("an answer to another question"))),
        }
    }

    async fn message(&mut self, step: &str) -> Result<(u32, Told), Trouble> {
        loop {
            let whole = whole(&self.buffer).map_err(|what| trouble::rubbish(&self.url, step, what))?;
            if let Some((start, end)) = whole {
                let told = message::read(&self.buffer[start..end]);
                self.buffer.drain(..end);
                return told.map_err(|what| trouble::rubbish(&self.url, step, what));
            }
            if self.read_bytes > LINK_BYTES_MAX {
                let what = Rubbish("it says far more than was asked");
                return Err(trouble::rubbish(&self.url, step, what));
            }
            self.buffer.reserve(8 << 10);
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(0) => return Err(trouble::closed(&self.url, step, "it said nothing before")),
                Ok(count) => self.read_bytes += count,
                Err(err) => return Err(trouble::closed(&self.url, step, err)),
            }
        }
    }
}

impl Plain {
    async fn start_tls(mut self, url: &Url) -> Result<TcpStream, Trouble> {
        const STEP: &str = "StartTLS";
        let rubbish = |what| trouble::rubbish(url, STEP, what);
        let ended = |err| trouble::closed(url, STEP, err);
        self.stream.write_all(&Ask::StartTls.encode(1)).await.map_err(ended)?;
        let mut buffer = Vec::new();
        loop {
            if let Some((start, end)) = whole(&buffer).map_err(rubbish)? {
                // What comes in the clear behind the answer would be taken for what came over TLS.
                if end != buffer.len() {
                    return Err(rubbish(Rubbish("it goes on after the answer")));
                }
                return match message::read(&buffer[start..end]).map_err(rubbish)? {
                    (1, Told::Extended(outcome)) if outcome.code == 0 => Ok(self.stream),
                    (1 | UNASKED, Told::Extended(outcome)) => Err(trouble::no_start_tls(url, &outcome)),
                    _ => Err(rubbish(Rubbish("an answer to another question"))),
                };
            }
            if self.stream.read_buf(&mut buffer).await.map_err(ended)? == 0 {
                return Err(trouble::closed(url, STEP, "it said nothing before"));
            }
        }
    }
}

/// Where the first message's content begins and ends; `None` while bytes are missing.
fn whole(buffer: &[u8]) -> Result<Option<(usize, usize)>, Rubbish> {
    match buffer.first() {
        None => return Ok(None),
        Some(&SEQUENCE) => {}
        Some(_) => return Err(Rubbish("no message begins so")),
    }
    let Some((len, rest)) = ber::length(&buffer[1..])? else { return Ok(None) };
    if len > MESSAGE_BYTES_MAX {
        return Err(Rubbish("a message that is far too long"));
    }
    let start = buffer.len() - rest.len();
    Ok((rest.len() >= len).then_some((start, start + len)))
}

async fn connect(url: &Url) -> Result<TcpStream, Trouble> {
    let found = tokio::net::lookup_host((url.host.as_str(), url.port)).await;
    let mut last = trouble::no_address(url, "nobody knows it");
    for address in found.map_err(|err| trouble::no_address(url, err))? {
        if is_forbidden(address.ip()) {
            last =
                trouble::no_address(url, format!("it leads to {}, where no directory can be", address.ip()));
            continue;
        }
        match tokio::time::timeout(TCP_DEADLINE, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(err)) => last = trouble::unreachable(url, &err),
            Err(_) => last = trouble::silent(url, "connecting", TCP_DEADLINE),
        }
    }
    Err(last)
}

fn secured(stream: &TlsStream<TcpStream>) -> Secured {
    let line = stream.get_ref().1;
    let version = match line.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLS 1.2",
        Some(rustls::ProtocolVersion::TLSv1_3) => "TLS 1.3",
        _ => "TLS",
    };
    let leaf = line.peer_certificates().and_then(|chain| chain.first());
    let facts = leaf.and_then(|leaf| tls::CertificateFacts::read(leaf).ok());
    let issuer = leaf.and_then(|leaf| tls::issuer_of(leaf).ok()).unwrap_or_default();
    Secured {
        version,
        issuer: message::printable(issuer.as_bytes()),
        ends_at: facts.map_or(UnixMs(0), |facts| facts.not_after),
    }
}

/// How a directory's certificate is verified: by these authorities, or by the system's when there are none.
pub async fn trust(ca_pem: &str) -> Result<Arc<ClientConfig>, Fault> {
    if !ca_pem.trim().is_empty() {
        return tls::client(ca_pem).map_err(|fault| Fault { field: "ldap.ca_pem".into(), ..fault });
    }
    // Files are read; what was added to them since the start counts.
    tokio::task::spawn_blocking(tls::client_of_system).await.map_err(Fault::internal)?
}
