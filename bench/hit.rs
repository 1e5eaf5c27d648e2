//! The memory hit by itself, for callgrind: `hit N [--log]` builds a gateway in this process, fetches one URL, and then
//! asks for it N times more. No socket, no peer, one thread; what differs between two values of N is the hits.
//!
//! Each round makes the request (a clone of a browser's, as a parser would fill it), has it answered, and reads the body
//! to its end. The configuration is the default one but for the access log: off, so that its thread
//! does not blur the count, or with `--log` a line for every request on standard output.

mod answer;

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use forebay::app::App;
use forebay::clock::Clock;
use forebay::config::{self, Overrides};
use forebay::fleet::Fleet;
use forebay::serve::Gateway;
use forebay::serve::admit::Client;
use forebay::upstream::{Origin, OutBody, Transport};
use http::Request;
use http_body_util::{BodyExt as _, Empty};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// The backend is in this process; the URL only has to be one.
const ORIGIN: &str = "[origin]\nurl = \"http://backend.test\"\n";
const NO_LOG: &str = "[log]\naccess = \"off\"\n";
const LOG: &str = "[log]\naccess = \"all\"\n";

fn main() -> Result<(), Error> {
    let mut args = std::env::args().skip(1);
    let rounds: u32 = args.next().ok_or("usage: hit N [--log]")?.parse()?;
    let log = args.next().is_some_and(|arg| arg == "--log");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let gateway = gateway(if log { LOG } else { NO_LOG })?;
        let request = request()?;
        // The first fetches, the second may still find the first one's body on its way.
        for _ in 0..2 {
            ask(&gateway, request.clone()).await?;
            tokio::task::yield_now().await;
        }
        for round in 0..rounds {
            let status = ask(&gateway, request.clone()).await?;
            if !status.contains("hit") {
                return Err(format!("round {round} was no hit: {status}").into());
            }
        }
        Ok(())
    })
}

/// A gateway as it comes, in front of the fixed answer.
fn gateway(extra: &str) -> Result<Gateway, Error> {
    let config = config::parse(&format!("{extra}{ORIGIN}"), "bench", &Overrides::default())
        .map_err(|problems| problems.to_string())?;
    let clock = Clock::starting_at(answer::MADE);
    let body = answer::body();
    let backend = tower::service_fn(move |request: Request<OutBody>| {
        let response = answer::with_framing(answer::answer(request.uri().path(), body.clone()));
        async move { Ok::<_, Infallible>(response) }
    });
    let origins = config
        .origins
        .iter()
        .map(|entry| Origin::new(entry.settings(), Transport::service(backend.clone()), clock.clone()))
        .collect();
    let app = App::assemble(config, clock, origins, Fleet::in_process())?;
    Ok(app.gateway().clone())
}

/// What a browser behind a CDN sends.
fn request() -> Result<Request<Empty<Bytes>>, http::Error> {
    Request::get("/u/1")
        .header("host", "example.com")
        .header("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
        .header("accept", "application/json, text/plain, */*")
        .header("accept-language", "en-GB,en;q=0.7")
        .header("accept-encoding", "identity")
        .header("x-forwarded-for", "192.0.2.7")
        .body(Empty::new())
}

/// Asks, reads the answer to its end, and returns its Cache-Status.
async fn ask(gateway: &Gateway, request: Request<Empty<Bytes>>) -> Result<String, Error> {
    let client = Client { address: SocketAddr::from(([192, 0, 2, 1], 40_000)), secure: false };
    let (parts, body) = gateway.handle(client, &|| None, request).await.into_parts();
    let read = body.collect().await?.to_bytes();
    if read.len() != answer::SIZE {
        return Err(format!("{} bytes of body", read.len()).into());
    }
    let status = parts.headers.get("cache-status").ok_or("no Cache-Status")?;
    Ok(status.to_str()?.to_owned())
}
