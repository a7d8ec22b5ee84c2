//! The one port of the daemon: TLS in front, the app behind, and who is calling in between.
//!
//! The TLS configuration may change at any moment (registration, leaving); each new connection takes the current
//! one. Whether a caller is the vDC is found once per connection and holds only as long as that vDC is ours.

use crate::identity::is_vdc;
use axum::Router;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use quantix_client::bulk::{Gather, ReadAhead};
use rustls::ServerConfig;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

/// Connections at once; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 256;
/// A caller that has not agreed on TLS by then is dropped.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// Headers of one request, and the idle time between two on HTTP/1.1.
const HEADER_DEADLINE: Duration = Duration::from_secs(30);
/// Of a body on HTTP/1.1, given on at once.
const READ_BYTES_MAX: usize = 64 << 10;
/// Idle HTTP/2 connections are asked for a sign of life so often.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// Requests at once on one HTTP/2 connection.
const STREAMS_MAX: u32 = 64;
/// What is under way has this long when the daemon ends.
const DRAIN_DEADLINE: Duration = Duration::from_secs(3);

/// TLS as it is to be now, and the number of the enrolment it belongs to.
#[derive(Clone)]
pub struct Tls {
    /// For new connections.
    pub config: Arc<ServerConfig>,
    /// Counts up with each change.
    pub epoch: u64,
}

/// Who is calling; an extension of every request.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// From where.
    pub address: IpAddr,
    /// It showed the vDC's certificate, under the enrolment of this number.
    pub vdc_epoch: Option<u64>,
}

/// Serves until told to stop, then lets what is under way end.
pub async fn serve(listener: TcpListener, app: Router, tls: watch::Receiver<Tls>, stop: CancellationToken) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let graceful = GracefulShutdown::new();
    loop {
        let permit = tokio::select! {
            () = stop.cancelled() => break,
            permit = Arc::clone(&permits).acquire_owned() => permit.expect("the semaphore is never closed"),
        };
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, from)) => {
                let tls = tls.borrow().clone();
                let watcher = graceful.watcher();
                tokio::spawn(connection(stream, from, app.clone(), tls, watcher, permit));
            }
            Err(err) => pause_after(&err).await,
        }
    }
    drop(listener);
    let _ = tokio::time::timeout(DRAIN_DEADLINE, graceful.shutdown()).await;
}

async fn pause_after(err: &std::io::Error) {
    if !matches!(err.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) {
        tracing::warn!(%err, "a connection could not be accepted");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn connection(
    stream: TcpStream,
    from: SocketAddr,
    app: Router,
    tls: Tls,
    watcher: hyper_util::server::graceful::Watcher,
    _permit: OwnedSemaphorePermit,
) {
    let _ = stream.set_nodelay(true);
    let handshake = TlsAcceptor::from(tls.config).accept(ReadAhead::new(stream));
    let stream = match tokio::time::timeout(HANDSHAKE_DEADLINE, handshake).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(err)) => return tracing::debug!(%from, %err, "no TLS agreed"),
        Err(_) => return tracing::debug!(%from, "TLS handshake took too long"),
    };
    let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let vdc_epoch = certificate.filter(|der| is_vdc(der)).map(|_| tls.epoch);
    let caller = Caller { address: from.ip().to_canonical(), vdc_epoch };
    let service = hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(caller);
        app.clone().oneshot(request.map(axum::body::Body::new))
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_DEADLINE)
        .max_buf_size(READ_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE)
        .max_concurrent_streams(STREAMS_MAX);
    let conn =
        builder.serve_connection_with_upgrades(TokioIo::new(Gather::new(stream)), service).into_owned();
    if let Err(err) = watcher.watch(conn).await {
        tracing::debug!(%from, err, "connection ended");
    }
}
