//! The HTTPS port: TLS in front, the app behind, and who is calling in between.
//!
//! Connections are read in large pieces while they carry an image ([`quantix_client::bulk`]).

use crate::core::Core;
use axum::Router;
use connectrpc::{PeerAddr, PeerCerts};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use quantix_client::bulk::{Gather, ReadAhead};
use quantix_model::Fault;
use rustls::ServerConfig;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncBufReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

/// A caller that has not agreed on TLS by then is dropped.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// Headers of one request, and the idle time between two on HTTP/1.1.
const HEADER_DEADLINE: Duration = Duration::from_secs(30);
/// The same on the line of a host: it says nothing between two beats.
const HOST_IDLE: Duration = Duration::from_secs(660);
/// Of a body on HTTP/1.1, given on at once.
const READ_BYTES_MAX: usize = 64 << 10;
/// The same on the line of a host: it is kept for as long as the line, and there are thousands.
const HOST_READ_BYTES_MAX: usize = 8 << 10;

/// TLS as it is to be now: made anew when a certificate or an authority changed.
pub struct Tls {
    core: Arc<Core>,
    epoch: watch::Receiver<u64>,
    config: Arc<ServerConfig>,
}

impl Tls {
    /// As it is to be now.
    pub fn new(core: &Arc<Core>) -> Result<Tls, Fault> {
        Ok(Tls { epoch: core.pki.epoch(), config: core.pki.server()?, core: Arc::clone(core) })
    }

    /// For the next connection. What cannot be used leaves what was.
    fn acceptor(&mut self) -> TlsAcceptor {
        if self.epoch.has_changed().unwrap_or(false) {
            self.epoch.mark_unchanged();
            match self.core.pki.server() {
                Ok(config) => self.config = config,
                Err(fault) => tracing::error!(%fault, "the new certificate cannot be served"),
            }
        }
        TlsAcceptor::from(Arc::clone(&self.config))
    }
}

/// Serves until told to stop, then lets what is under way end.
pub async fn serve(listener: TcpListener, app: Router, mut tls: Tls, stop: CancellationToken) {
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, from)) => {
                let (app, acceptor, watcher) = (app.clone(), tls.acceptor(), graceful.watcher());
                tokio::spawn(connection(stream, from, app, acceptor, watcher));
            }
            Err(err) if matches!(err.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) => {}
            Err(err) => {
                tracing::warn!(%err, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
    drop(listener);
    graceful.shutdown().await;
}

async fn connection(
    stream: TcpStream,
    from: SocketAddr,
    app: Router,
    acceptor: TlsAcceptor,
    watcher: Watcher,
) {
    let _ = stream.set_nodelay(true);
    let handshake = acceptor.accept(ReadAhead::new(stream));
    let mut stream = match tokio::time::timeout(HANDSHAKE_DEADLINE, handshake).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(err)) => return tracing::debug!(%from, %err, "no TLS agreed"),
        Err(_) => return tracing::debug!(%from, "TLS handshake took too long"),
    };
    // Who says nothing after that is not waited for either.
    if !matches!(tokio::time::timeout(HEADER_DEADLINE, stream.fill_buf()).await, Ok(Ok(first)) if !first.is_empty())
    {
        return;
    }
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let certificates = stream.get_ref().1.peer_certificates();
    let certificates =
        certificates.map(|chain| PeerCerts(chain.iter().map(|c| c.clone().into_owned()).collect()));
    let is_host = certificates.is_some();
    let service = hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(PeerAddr(from));
        if let Some(certificates) = &certificates {
            request.extensions_mut().insert(certificates.clone());
        }
        app.clone().oneshot(request.map(axum::body::Body::new))
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(if is_host { HOST_IDLE } else { HEADER_DEADLINE })
        .max_buf_size(if is_host { HOST_READ_BYTES_MAX } else { READ_BYTES_MAX });
    builder.http2().timer(TokioTimer::new());
    let builder = if is_http2 { builder.http2_only() } else { builder.http1_only() };
    let io = TokioIo::new(Gather::new(stream));
    let conn = builder.serve_connection_with_upgrades(io, service).into_owned();
    if let Err(err) = watcher.watch(conn).await {
        tracing::debug!(%from, err, "connection ended");
    }
}
