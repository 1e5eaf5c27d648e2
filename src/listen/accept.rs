//! The accept loop: lets clients in while there are places, bears a shortage of file descriptors, and stops.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;

use super::connection::House;
use super::crowd::Crowd;
use super::drain::{Drain, Stage};
use super::stats::ListenStats;
use super::tls::Tls;
use super::{Peer, Serve};

/// After a failed accept: the first pause, doubled each time, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// After the cut: how long the tasks may take to notice.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// One address and what is spoken there.
pub(super) struct Door {
    pub(super) listener: TcpListener,
    pub(super) tls: Option<Tls>,
}

/// Opens all doors and returns when the drain is over.
pub(super) async fn run<S: Serve>(doors: Vec<Door>, house: Arc<House<S>>, crowd: Arc<Crowd>) {
    for door in doors {
        house.tasks.spawn(accept(door, Arc::clone(&house), Arc::clone(&crowd)));
    }
    let (drain, settings) = (&house.drain, &house.settings);
    drain.begun().await;
    let began = house.clock.now().mono;
    tokio::select! {
        () = tokio::time::sleep(settings.drain_delay) => drain.advance(Stage::Stopping),
        () = drain.reached(Stage::Cut) => (),
    }
    house.tasks.close();
    tokio::select! {
        () = house.tasks.wait() => return,
        () = tokio::time::sleep_until(house.clock.instant(began + settings.grace)) => drain.advance(Stage::Cut),
        () = drain.reached(Stage::Cut) => (),
    }
    if tokio::time::timeout(LAST_WORDS, house.tasks.wait()).await.is_err() {
        tracing::warn!("{} connections or streams did not end when they were cut", house.tasks.len());
    }
}

async fn accept<S: Serve>(door: Door, house: Arc<House<S>>, crowd: Arc<Crowd>) {
    let mut trouble = Trouble::default();
    loop {
        let Some(Some(place)) = unless(&house.drain, crowd.place(&house.stats)).await else { break };
        let Some(accepted) = unless(&house.drain, door.listener.accept()).await else { break };
        match accepted {
            Ok((socket, address)) => {
                trouble.over();
                let_in(&door, socket, address, place, &house, &crowd);
            }
            Err(error) if concerns_one_connection(&error) => (),
            Err(error) => {
                ListenStats::count(&house.stats.accept_errors);
                let pause = trouble.pause(&error);
                drop(place);
                if unless(&house.drain, tokio::time::sleep(pause)).await.is_none() {
                    break;
                }
            }
        }
    }
    // Who stands in the kernel's queue believes to be connected, and closing the door would reset him.
    tokio::task::yield_now().await;
    while let Some(place) = crowd.try_place()
        && let Some((socket, address)) = waiting(&door.listener).await
    {
        let_in(&door, socket, address, place, &house, &crowd);
    }
}

/// `step`'s outcome, or none if accepting stops first.
async fn unless<O>(drain: &Drain, step: impl Future<Output = O>) -> Option<O> {
    tokio::select! {
        biased;
        () = drain.reached(Stage::Stopping) => None,
        outcome = step => Some(outcome),
    }
}

/// The next connection in the queue, if there is one now.
async fn waiting(listener: &TcpListener) -> Option<(TcpStream, SocketAddr)> {
    poll_fn(|cx| match listener.poll_accept(cx) {
        Poll::Ready(accepted) => Poll::Ready(accepted.ok()),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

fn let_in<S: Serve>(
    door: &Door,
    socket: TcpStream,
    address: SocketAddr,
    place: OwnedSemaphorePermit,
    house: &Arc<House<S>>,
    crowd: &Arc<Crowd>,
) {
    ListenStats::count(&house.stats.accepted);
    let Some(seat) = crowd.admit(address.ip()) else {
        ListenStats::count(&house.stats.refused_client);
        return;
    };
    // Answers are written whole; waiting for more would only delay them. It fails on a socket that is already gone.
    let _ = socket.set_nodelay(true);
    // On a socket for both families an IPv4 client comes as ::ffff:a.b.c.d, which no list of networks would match.
    let address = SocketAddr::new(address.ip().to_canonical(), address.port());
    let peer = Peer { address, secure: door.tls.is_some(), interim: None };
    let tls = door.tls.as_ref().map(Tls::acceptor);
    let connection = Arc::clone(house).welcome(socket, peer, tls);
    house.tasks.spawn(async move {
        connection.await;
        drop((place, seat));
    });
}

/// Errors of `accept` that are about the connection that was to be accepted, not about us.
fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// A spell of failing accepts.
#[derive(Default)]
struct Trouble {
    pause: Option<Duration>,
}

impl Trouble {
    /// Another failure: says so once per spell, and how long to pause.
    fn pause(&mut self, error: &io::Error) -> Duration {
        let pause = match self.pause {
            None => {
                tracing::error!(%error, "cannot accept connections; trying again");
                FIRST_PAUSE
            }
            Some(last) => (last * 2).min(LONGEST_PAUSE),
        };
        self.pause = Some(pause);
        pause
    }

    fn over(&mut self) {
        if self.pause.take().is_some() {
            tracing::info!("connections are accepted again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_begin_anew() {
        let mut trouble = Trouble::default();
        let mut pauses = || {
            let error = io::Error::other("too many open files");
            (0..6).map(|_| trouble.pause(&error).as_millis()).collect::<Vec<_>>()
        };
        assert_eq!(pauses(), [50, 100, 200, 400, 800, 1000]);
        trouble.over();
        assert_eq!(trouble.pause(&io::Error::other("again")), FIRST_PAUSE);
    }
}
