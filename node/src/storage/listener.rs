//! Accepts connections and serves them.
//!
//! Invariant: at most `STORAGE_CONNECTIONS_MAX` connections are open, each of
//! them ends if its peer is silent for long, and none outlives the listener.

use std::{io, pin::pin, sync::Arc, time::Duration};

use ::env::Clock;
use hyper::{
    Method,
    body::Incoming,
    header::{CONNECTION, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use protocol::limits::{STORAGE_CONNECTIONS_MAX, STORE_STALL_SECS_MAX};
use s3s::{HttpError, HttpResponse, service::S3Service};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use super::gate;

/// How long a connection may wait for its next request, or for the rest of a
/// request's head: longer than clients keep theirs, so that they close first.
const IDLE: Duration = Duration::from_secs(120);
/// How long the rest of a refused body is awaited, so that the refusal arrives.
const LINGER: Duration = Duration::from_secs(5);
/// How long a connection may take to become one of TLS.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Pause after the system gave no connection for want of resources.
const PAUSE: Duration = Duration::from_millis(100);

/// Owns the listening socket.
pub struct Listener {
    /// The socket.
    pub listener: TcpListener,
    /// What makes a connection one of TLS, if it is to be.
    pub tls: Option<TlsAcceptor>,
    /// What answers.
    pub service: S3Service,
    /// For pauses.
    pub clock: Arc<dyn Clock>,
    /// Becomes true when the storage is to stop.
    pub stopping: watch::Receiver<bool>,
}

impl Listener {
    /// Serves until it is to stop, then lets the connections finish for `grace`.
    pub async fn serve(self, grace: Duration) {
        let Self { listener, tls, service, clock, mut stopping } = self;
        let slots = Arc::new(Semaphore::new(STORAGE_CONNECTIONS_MAX));
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                _ = stopping.wait_for(|stop| *stop) => break,
                accepted = accept(&listener, &slots) => accepted,
            };
            while connections.try_join_next().is_some() {}
            match accepted {
                Ok((stream, slot)) => {
                    let (tls, service, stopping) = (tls.clone(), service.clone(), stopping.clone());
                    connections.spawn(async move {
                        welcome(stream, tls, service, stopping).await;
                        drop(slot);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    clock.sleep(PAUSE).await;
                }
            }
        }
        // No new connections from here on.
        drop(listener);
        // Whatever is not done then is cut off with the set.
        let _ = timeout(grace, async { while connections.join_next().await.is_some() {} }).await;
    }
}

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let slot = slots.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, slot))
}

/// Prepares a connection, and serves it.
async fn welcome(stream: TcpStream, tls: Option<TlsAcceptor>, service: S3Service, mut stopping: watch::Receiver<bool>) {
    if let Err(error) = prepare(&stream) {
        tracing::debug!(%error, "a connection's options stay as they are");
    }
    let Some(tls) = tls else { return serve_one(stream, service, stopping).await };
    let shaken = tokio::select! {
        _ = stopping.wait_for(|stop| *stop) => return,
        shaken = timeout(HANDSHAKE, tls.accept(stream)) => shaken,
    };
    match shaken {
        Ok(Ok(stream)) => serve_one(stream, service, stopping).await,
        Ok(Err(error)) => tracing::debug!(%error, "a connection did not become one of TLS"),
        Err(_) => tracing::debug!("a connection did not become one of TLS in time"),
    }
}

async fn serve_one<S>(stream: S, service: S3Service, mut stopping: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let answer = service_fn(move |request| Box::pin(answer(service.clone(), request)));
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .serve_connection(TokioIo::new(stream), answer);
    let served = {
        let mut stopped = pin!(stopping.wait_for(|stop| *stop));
        let mut told = false;
        std::future::poll_fn(|context| {
            if !told && stopped.as_mut().poll(context).is_ready() {
                told = true;
                std::pin::Pin::new(&mut connection).graceful_shutdown();
            }
            connection.poll_without_shutdown(context)
        })
        .await
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a connection ended early");
        return;
    }
    let stream = connection.into_parts().io.into_inner();
    // A storage that stops waits for nobody.
    tokio::select! {
        _ = stopping.wait_for(|stop| *stop) => {}
        () = linger(stream) => {}
    }
}

/// Small answers go out at once, and a peer that takes nothing is given up.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let millis = u32::try_from(STORE_STALL_SECS_MAX * 1000).unwrap_or(u32::MAX);
    Ok(rustix::net::sockopt::set_tcp_user_timeout(stream, millis)?)
}

async fn answer(service: S3Service, request: hyper::Request<Incoming>) -> Result<HttpResponse, HttpError> {
    let (parts, body) = request.into_parts();
    let uploads = parts.method == Method::PUT;
    let mut response = match gate::check(&parts) {
        Ok(()) => service.call(hyper::Request::from_parts(parts, s3s::Body::from(body))).await?,
        Err(refusal) => refusal.to_http_response().map_err(|error| HttpError::new(Box::new(error)))?,
    };
    if uploads && !response.status().is_success() {
        // The body may not have been read, and then the connection is of no further use.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

/// Closes in the order that lets the last answer arrive: closing with unread bytes
/// of a refused body would make the system throw it away at the other end.
async fn linger(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let rest = async {
        stream.shutdown().await?;
        let mut waste = vec![0; 64 << 10];
        while stream.read(&mut waste).await? > 0 {}
        io::Result::Ok(())
    };
    // How it ends is all the same: the connection is over.
    let _ = timeout(LINGER, rest).await;
}
