//! The backend behind every server that is measured: always the same 1 KiB, at once, on one thread.
//!
//! `backend ADDR` serves `/u/N` (may be kept for an hour), `/pass/N` (may not be kept) and `/_count`: how many requests of
//! the other two kinds have come in. The count proves that a hit was a hit, and that a pass was none.

mod answer;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

type Error = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Error> {
    let address: SocketAddr = std::env::args().nth(1).ok_or("usage: backend ADDR")?.parse()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(serve(address))
}

async fn serve(address: SocketAddr) -> Result<(), Error> {
    let listener = TcpListener::bind(address).await?;
    let (count, body) = (Arc::new(AtomicU64::new(0)), answer::body());
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(connection(stream, Arc::clone(&count), body.clone()));
    }
}

/// Answers what comes in on one connection. How it ends is the other side's business.
async fn connection(stream: TcpStream, count: Arc<AtomicU64>, body: Bytes) {
    let service = service_fn(|request| {
        let response = respond(&request, &count, &body);
        async move { Ok::<_, Infallible>(response) }
    });
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

fn respond(request: &Request<Incoming>, count: &AtomicU64, body: &Bytes) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    if path == "/_count" {
        return Response::new(Full::from(count.load(Ordering::Relaxed).to_string()));
    }
    count.fetch_add(1, Ordering::Relaxed);
    answer::answer(path, body.clone())
}
