//! Pooled HTTP over our own dialling, and what becomes of a failed call.

use crate::dial::{Dial, DialError};
use connectrpc::client::{ClientBody, ServiceTransport};
use connectrpc::{ConnectError, ErrorCode};
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use quantix_model::{Fault, FaultCode};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// A line for reports is closed when nothing was said on it for so long: twice the longest interval.
const REPORT_IDLE: Duration = Duration::from_secs(600);

/// HTTP client that reaches exactly one machine.
pub(crate) type Pool<B> = Client<Connector, B>;
/// What generated RPC clients run on.
pub type Transport = ServiceTransport<Pool<ClientBody>>;

/// Opens connections for a pool.
#[derive(Clone)]
pub struct Connector {
    dial: Dial,
    alpn: &'static [&'static [u8]],
}

/// For calls: HTTP/2, so that a slow call holds up no other.
pub(crate) fn rpc(dial: Dial) -> Transport {
    let mut builder = Client::builder(TokioExecutor::new());
    // A machine that lost power sends no reset: pings find out.
    builder
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(Duration::from_secs(120))
        .http2_keep_alive_interval(Duration::from_secs(10))
        .http2_keep_alive_timeout(Duration::from_secs(10));
    ServiceTransport::new(builder.build(Connector { dial, alpn: &[b"h2", b"http/1.1"] }))
}

/// For reports, one after the other: HTTP/1.1, which holds a third of the memory on the other side. It is kept from one
/// report to the next, however long that takes.
pub(crate) fn reports(dial: Dial) -> Transport {
    let mut builder = Client::builder(TokioExecutor::new());
    builder.pool_timer(TokioTimer::new()).pool_idle_timeout(REPORT_IDLE).pool_max_idle_per_host(1);
    ServiceTransport::new(builder.build(Connector { dial, alpn: &[b"http/1.1"] }))
}

/// For bulk: HTTP/1.1, where TCP alone does the flow control.
pub(crate) fn bulk<B>(dial: Dial) -> Pool<B>
where
    B: http_body_util::BodyExt<Data: Send> + Send,
{
    let mut builder = Client::builder(TokioExecutor::new());
    builder.pool_timer(TokioTimer::new()).pool_idle_timeout(Duration::from_secs(30));
    builder.build(Connector { dial, alpn: &[b"http/1.1"] })
}

impl tower::Service<Uri> for Connector {
    type Response = Line;
    type Error = DialError;
    type Future = Pin<Box<dyn Future<Output = Result<Line, DialError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let (dial, alpn) = (self.dial.clone(), self.alpn);
        Box::pin(async move { Ok(Line(TokioIo::new(dial.connect(alpn).await?))) })
    }
}

/// A TLS connection as hyper wants it.
pub struct Line(TokioIo<TlsStream<TcpStream>>);

impl Connection for Line {
    fn connected(&self) -> Connected {
        let connected = Connected::new();
        match self.0.inner().get_ref().1.alpn_protocol() {
            Some(b"h2") => connected.negotiated_h2(),
            _ => connected,
        }
    }
}

impl Read for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl Write for Line {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    // Without these two, bodies are copied together before they are encrypted.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        Write::is_write_vectored(&self.0)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// All the words of an error and its sources, once each.
pub(crate) fn chain(err: &(dyn std::error::Error + 'static)) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut next = Some(err);
    while let Some(err) = next {
        let text = err.to_string();
        if !words.iter().any(|w| w.contains(&text)) {
            words.push(text);
        }
        next = err.source();
    }
    words.join(": ")
}

/// The fault for a failed call to `peer`: the other side's own fault when it sent one.
pub(crate) fn rpc_fault(err: &ConnectError, peer: &str) -> Fault {
    if let Some(fault) = quantix_contract::fault::from_connect(err) {
        return fault;
    }
    match err.code {
        ErrorCode::DeadlineExceeded => Fault::new(
            FaultCode::DeadlineExceeded,
            format!("{peer} did not finish in time."),
            "Try again; if it comes back, look at the load of that machine and its storage.",
        )
        .because(chain(err)),
        ErrorCode::Unavailable | ErrorCode::Canceled => unreachable_fault(peer, &chain(err)),
        _ => Fault::new(
            FaultCode::HostApiNotAvailable,
            format!("{peer} gave an answer that cannot be used."),
            "Check that both sides run the same release.",
        )
        .because(chain(err)),
    }
}

/// Nobody there.
pub(crate) fn unreachable_fault(peer: &str, cause: &str) -> Fault {
    Fault::new(
        FaultCode::HostUnreachable,
        format!("{peer} could not be reached."),
        "Check that machine's power, network and the quantix service on it.",
    )
    .because(cause)
}
