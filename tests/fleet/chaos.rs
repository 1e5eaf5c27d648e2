//! A network that fails on demand: a proxy on TCP in front of an address, whose faults are switched while it runs.
//!
//! Each way of a connection has its own switches ([`Way`]). What is counted in bytes is counted for each connection and
//! from the moment of the switch: an offset of 0 is the next byte to arrive.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Sleep, sleep, timeout};

use super::redis::ports;

/// A proxy. It ends, with its connections, when it is dropped.
pub struct Proxy {
    pub address: SocketAddr,
    /// From those who connect to what is behind the proxy.
    pub up: Way,
    /// From what is behind the proxy to those who connect.
    pub down: Way,
    refuses: watch::Sender<bool>,
    listens: watch::Receiver<bool>,
    /// How often all connections were reset. Those that see it change reset themselves, and so do they when it is gone.
    resets: watch::Sender<usize>,
    accepted: Arc<AtomicUsize>,
}

/// The switches of one way. Clones are the same.
#[derive(Clone)]
pub struct Way(watch::Sender<Plan>);

/// What shall happen to what comes.
#[derive(Clone, Default)]
struct Plan {
    delay: Duration,
    /// What comes on top of the delay is between zero and this.
    jitter: Duration,
    seed: u64,
    stalled: bool,
    cut_after: Option<usize>,
    flip_at: Option<usize>,
    /// Raised by whatever counts in bytes, which then begins at zero.
    count_from: usize,
    /// How often the open connections were half closed.
    half_closes: usize,
}

impl Way {
    fn new() -> Self {
        Self(watch::Sender::new(Plan::default()))
    }

    /// Everything that comes from now on takes so much longer. It does not take turns: the throughput stays.
    pub fn delay(&self, delay: Duration) {
        self.change(|plan| plan.delay = delay);
    }

    /// What comes in one piece takes longer by some time below `most`: the same for the same seed. Order is kept.
    pub fn jitter(&self, most: Duration, seed: u64) {
        self.change(|plan| (plan.jitter, plan.seed) = (most, seed));
    }

    /// Holds everything, the end of a connection too, until it is released.
    pub fn stall(&self) {
        self.change(|plan| plan.stalled = true);
    }

    pub fn release(&self) {
        self.change(|plan| plan.stalled = false);
    }

    /// Closes each connection, both ways, when so many more bytes have passed.
    pub fn cut_after(&self, bytes: usize) {
        self.change(|plan| (plan.cut_after, plan.count_from) = (Some(bytes), plan.count_from + 1));
    }

    /// Inverts one byte on each connection: the one with this offset.
    pub fn flip_at(&self, offset: usize) {
        self.change(|plan| (plan.flip_at, plan.count_from) = (Some(offset), plan.count_from + 1));
    }

    /// Ends this way of all open connections; the other goes on. What comes later goes nowhere.
    pub fn half_close(&self) {
        self.change(|plan| plan.half_closes += 1);
    }

    /// Takes all faults back. What is closed stays closed.
    pub fn heal(&self) {
        self.change(|plan| {
            *plan = Plan { count_from: plan.count_from + 1, half_closes: plan.half_closes, ..Plan::default() };
        });
    }

    fn change(&self, change: impl FnOnce(&mut Plan)) {
        self.0.send_modify(change);
    }
}

impl Proxy {
    /// A proxy in front of `target`, without any fault.
    pub async fn start(target: SocketAddr) -> Self {
        let listener = ports::listener().await;
        let address = listener.local_addr().unwrap();
        let (listens, is_listening) = watch::channel(true);
        let this = Self {
            address,
            up: Way::new(),
            down: Way::new(),
            refuses: watch::Sender::new(false),
            listens: is_listening,
            resets: watch::Sender::new(0),
            accepted: Arc::default(),
        };
        let door = Door { target, refuses: this.refuses.subscribe(), listens, accepted: this.accepted.clone() };
        tokio::spawn(accept(listener, door, this.parts()));
        this
    }

    /// From now on nobody listens here; connections that are open stay. Returns when it is so.
    pub async fn refuse(&self) {
        self.refuses.send_replace(true);
        self.listens.clone().wait_for(|listens| !listens).await.expect("the proxy has ended");
    }

    /// Somebody listens here again. Returns when it is so.
    pub async fn admit(&self) {
        self.refuses.send_replace(false);
        self.listens.clone().wait_for(|listens| *listens).await.expect("the proxy has ended");
    }

    /// Resets all connections that are open, on both sides (RST).
    pub fn reset(&self) {
        self.resets.send_modify(|count| *count += 1);
    }

    /// How many connections it has accepted.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Takes all faults back.
    pub async fn heal(&self) {
        self.up.heal();
        self.down.heal();
        self.admit().await;
    }

    fn parts(&self) -> Parts {
        Parts { up: self.up.0.subscribe(), down: self.down.0.subscribe(), resets: self.resets.subscribe() }
    }
}

/// What a connection listens to.
#[derive(Clone)]
struct Parts {
    up: watch::Receiver<Plan>,
    down: watch::Receiver<Plan>,
    resets: watch::Receiver<usize>,
}

/// What the one who accepts has.
struct Door {
    target: SocketAddr,
    refuses: watch::Receiver<bool>,
    listens: watch::Sender<bool>,
    accepted: Arc<AtomicUsize>,
}

/// How a connection ends.
enum End {
    /// By itself: both ways have come to their end.
    Done,
    Cut,
    Reset,
}

/// Accepts connections until the proxy is dropped.
async fn accept(listener: TcpListener, door: Door, mut parts: Parts) {
    let Door { target, mut refuses, listens, accepted } = door;
    let address = listener.local_addr().unwrap();
    let mut listener = Some(listener);
    loop {
        let Some(open) = &listener else {
            if refuses.wait_for(|refuses| !refuses).await.is_err() {
                return;
            }
            listener = Some(TcpListener::bind(address).await.unwrap());
            listens.send_replace(true);
            continue;
        };
        tokio::select! {
            biased;
            refused = refuses.wait_for(|refuses| *refuses) => {
                if refused.is_err() {
                    return;
                }
                listener = None;
                listens.send_replace(false);
            }
            Ok((front, _)) = open.accept() => {
                let number = accepted.fetch_add(1, Ordering::Relaxed);
                parts.resets.mark_unchanged();
                tokio::spawn(connection(front, target, parts.clone(), number as u64));
            }
        }
    }
}

async fn connection(front: TcpStream, target: SocketAddr, parts: Parts, number: u64) {
    let Ok(back) = TcpStream::connect(target).await else {
        reset(&front);
        return;
    };
    let _ = (front.set_nodelay(true), back.set_nodelay(true));
    let Parts { up, down, mut resets } = parts;
    let (mut from_front, mut to_front) = front.into_split();
    let (mut from_back, mut to_back) = back.into_split();
    let end = {
        let upward = carry(&mut from_front, &mut to_back, up, number);
        let downward = carry(&mut from_back, &mut to_front, down, number);
        let both = async {
            tokio::pin!(upward, downward);
            // Whichever ends first: if it has not come to its end by itself, that is the end of both.
            tokio::select! {
                end = &mut upward => if let End::Done = end { downward.await } else { end },
                end = &mut downward => if let End::Done = end { upward.await } else { end },
            }
        };
        tokio::select! {
            end = both => end,
            _ = resets.changed() => End::Reset,
        }
    };
    match end {
        End::Done => {}
        End::Reset => {
            reset(to_front.as_ref());
            reset(to_back.as_ref());
            // Dropped, they would say FIN first.
            to_front.forget();
            to_back.forget();
        }
        End::Cut => {
            let _ = (to_front.shutdown().await, to_back.shutdown().await);
            // Sockets that are closed with something unread are reset, and that would overtake what has passed.
            let drained = async { tokio::join!(drain(&mut from_front), drain(&mut from_back)) };
            let _ = timeout(Duration::from_secs(1), drained).await;
        }
    }
}

/// Carries what comes one way, as the plan says.
async fn carry(from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf, mut plan: watch::Receiver<Plan>, number: u64) -> End {
    // Reading goes on while what was read before is on its way, up to a limit.
    let (sender, mut pieces) = mpsc::channel(256);
    let when = plan.clone();
    let reading = async move {
        let mut jitter = Jitter::default();
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let length = from.read(&mut buffer).await?;
            let due = {
                let plan = when.borrow();
                sleep(plan.delay + jitter.next(plan.seed.wrapping_add(number), plan.jitter))
            };
            if sender.send((Box::pin(due), buffer[..length].to_vec())).await.is_err() || length == 0 {
                return std::io::Result::Ok(());
            }
        }
    };
    let writing = write(&mut pieces, to, &mut plan);
    tokio::pin!(reading, writing);
    tokio::select! {
        end = &mut writing => end,
        read = &mut reading => match read {
            Ok(()) => writing.await,
            Err(_) => End::Reset,
        },
    }
}

type Piece = (std::pin::Pin<Box<Sleep>>, Vec<u8>);

async fn write(pieces: &mut mpsc::Receiver<Piece>, to: &mut OwnedWriteHalf, plan: &mut watch::Receiver<Plan>) -> End {
    let before = plan.borrow().half_closes;
    let (mut passed, mut count_from) = (0, 0);
    let mut half_closing = plan.clone();
    loop {
        let piece = tokio::select! {
            biased;
            closed = half_closing.wait_for(|plan| plan.half_closes > before) => match closed {
                Ok(_) => break,
                Err(_) => return End::Reset,
            },
            piece = pieces.recv() => piece,
        };
        let Some((due, mut bytes)) = piece else { break };
        due.await;
        let now = match plan.wait_for(|plan| !plan.stalled || plan.half_closes > before).await {
            Ok(now) => now.clone(),
            Err(_) => return End::Reset,
        };
        if now.half_closes > before || bytes.is_empty() {
            break;
        }
        if count_from != now.count_from {
            (passed, count_from) = (0, now.count_from);
        }
        if let Some(byte) = now.flip_at.and_then(|at| bytes.get_mut(at.checked_sub(passed)?)) {
            *byte = !*byte;
        }
        let left = now.cut_after.map_or(usize::MAX, |after| after.saturating_sub(passed));
        let cut = bytes.len() >= left;
        bytes.truncate(left);
        if to.write_all(&bytes).await.is_err() {
            return End::Reset;
        }
        passed += bytes.len();
        if cut {
            return End::Cut;
        }
    }
    let _ = to.shutdown().await;
    // Whoever still sends finds an open ear.
    while pieces.recv().await.is_some() {}
    End::Done
}

/// A socket that is closed with lingering of zero sends RST.
fn reset(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

async fn drain(from: &mut OwnedReadHalf) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(1..) = from.read(&mut buffer).await {}
}

/// Numbers that look random, the same for the same seed (splitmix64).
#[derive(Default)]
struct Jitter {
    seed: u64,
    state: u64,
}

impl Jitter {
    /// The next one, below `most`; the first one for a seed, if it is another than before.
    fn next(&mut self, seed: u64, most: Duration) -> Duration {
        if self.seed != seed {
            *self = Self { seed, state: seed };
        }
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let micros = u64::try_from(most.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros((mixed ^ (mixed >> 31)) % micros.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_is_the_same_for_the_same_seed_and_below_its_limit() {
        let most = Duration::from_millis(50);
        let of = |seed| {
            let mut jitter = Jitter::default();
            (0..100).map(|_| jitter.next(seed, most)).collect::<Vec<_>>()
        };
        assert_eq!(of(7), of(7));
        assert_ne!(of(7), of(8));
        assert!(of(7).iter().all(|&one| one < most) && of(7).iter().any(|&one| one > most / 2));
        assert_eq!(Jitter::default().next(7, Duration::ZERO), Duration::ZERO);
    }
}
