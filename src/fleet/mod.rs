//! What the nodes of a fleet share: a log of changes in which every record has a number, the entries that one of them
//! fetched for all, leases for what only one of them is to do, and messages.
//!
//! The room carries bytes and knows nothing of what they mean. Whoever changes something appends; every node, the
//! appender too, reads the records in order and acts upon them. Numbers belong to an [`Epoch`], one life of one log: a
//! log that was lost and begun again would give old numbers to other records, so numbers of different epochs are never
//! compared.
//!
//! ```text
//! log      append · read_after · changed          numbered records, each naming the nonce of the one before it
//! sight    beat · members                         who is there, and how far each has applied the log
//! entries  get · put · newest                     bytes by name, with the birth they may not be older than
//! leases   lease · release                        one node at a time
//! messages publish · listen · read_stream         what the backend announces
//! ```
//!
//! [`Fleet`] is an enum and not a trait: the ways to share are few and known. `InProcess` serves a node on its own, and
//! is the network of the conversations; `Redis` is the real one. One contract test runs against both.

mod error;
mod in_process;
mod redis;
mod timebase;

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

pub use self::error::FleetError;
pub use self::in_process::{InProcess, LinkState};
pub use self::redis::{Credential, FleetStats, Redis, RedisSettings, Unusable};
pub use self::timebase::Timebase;

/// One life of one log. Random, so that no two are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:016x}", self.0)
    }
}

/// A place in the log: behind the record of this number. The nonce is that record's own, so that two logs which happen to
/// be of one length are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The life of the log in which `number` counts.
    pub epoch: Epoch,
    /// The record's number; the first record is 1, and 0 is the place before it.
    pub number: u64,
    /// The record's nonce; of place 0, the epoch.
    pub nonce: u64,
}

/// A record as it stands in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// Where it stands.
    pub place: Place,
    /// The nonce of the record before it, as its appender saw it.
    pub previous: u64,
    /// What it says.
    pub bytes: Bytes,
}

/// What the first record of an epoch says: nothing is marked by it.
pub const NEW_EPOCH: &[u8] = br#"{"type":"epoch","tags":[]}"#;

/// Records of the log handed out at once: fewer are the end of it.
pub const PAGE: usize = 1_024;

/// How hard a change hits what it names. In the order of what may still be done with an entry that was hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Grade {
    /// Stale: it may be served while one refresh runs behind it.
    Soft,
    /// Usable only after the backend confirmed it; not served meanwhile, not even stale. For lost history.
    Check,
    /// Absent.
    Hard,
}

impl Grade {
    /// As written in records and listings.
    pub fn as_str(self) -> &'static str {
        match self {
            Grade::Soft => "soft",
            Grade::Check => "check",
            Grade::Hard => "hard",
        }
    }
}

/// The number of the latest change of each grade; zero: there was none, for the first change is number 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Newest {
    /// Of those that void.
    pub hard: u64,
    /// Of those that ask for validation.
    pub check: u64,
    /// Of those that make stale.
    pub soft: u64,
}

impl Newest {
    /// Notes change `number` of `grade`, unless a later one is known.
    pub fn raise(&mut self, grade: Grade, number: u64) {
        let mark = match grade {
            Grade::Hard => &mut self.hard,
            Grade::Check => &mut self.check,
            Grade::Soft => &mut self.soft,
        };
        *mark = number.max(*mark);
    }
}

/// A name by which something is found in what is shared: a digest, so that no secret shows and no length matters.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(pub [u8; 16]);

impl fmt::Display for Name {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Name({self})")
    }
}

/// What is to be appended.
#[derive(Clone, Debug)]
pub struct Append {
    /// What the record says.
    pub record: Bytes,
    /// The tags that it marks, for those who meet an entry older than their own view of the log.
    pub tags: Vec<Name>,
    /// How hard.
    pub grade: Grade,
    /// It marks everything, whatever the tags.
    pub everything: bool,
    /// Append only if this node is the fleet's scribe at that moment.
    pub as_scribe: Option<String>,
    /// Also notes that the stream of that name has been read up to that id.
    pub read_up_to: Option<(String, String)>,
}

impl Append {
    /// A record that marks `tags`, on no condition.
    pub fn new(record: Bytes, grade: Grade, tags: Vec<Name>, everything: bool) -> Self {
        Self { record, tags, grade, everything, as_scribe: None, read_up_to: None }
    }
}

/// Where a record came to stand, and who else keeps a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Its place.
    pub place: Place,
    /// Replicas connected to the master that took it.
    pub replicas: usize,
}

/// What a node says of itself with each heartbeat, and when it starts.
#[derive(Clone, Debug)]
pub struct Beating {
    /// The node's name: unlike any other's, and the same while it runs.
    pub node: String,
    /// How far it has applied the log; `None` before its first reply.
    pub applied: Option<Place>,
    /// How long it may go on without another heartbeat. Counted by the fleet's clock from when the heartbeat arrives, so
    /// it never ends before the node's own count, which began when it was sent.
    pub lease: Duration,
}

/// The answer to a heartbeat: where the log is. Comes from the master, so nothing acknowledged before is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beat {
    /// The end of the log.
    pub place: Place,
    /// Whether this node is the fleet's scribe until its next heartbeat is due.
    pub scribe: bool,
    /// What the fleet's clock says: the time base of everything that nodes tell one another.
    pub time: Duration,
}

/// Who is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members {
    /// The log's life.
    pub epoch: Epoch,
    /// For how long it has been. Nodes of the life before may not have noticed its end yet.
    pub epoch_age: Duration,
    /// All nodes whose lease had not run out long ago.
    pub nodes: Vec<Member>,
}

/// One node, as the others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub node: String,
    /// The number up to which it has said to have applied the log.
    pub applied: u64,
    /// What is left of its lease; zero once it has run out.
    pub lease_left: Duration,
    /// For how long it has been out.
    pub lapsed: Duration,
}

/// An entry to be shared.
#[derive(Clone, Debug)]
pub struct Put {
    /// What it is found by.
    pub name: Name,
    /// The life of the log in which `born` counts.
    pub epoch: Epoch,
    /// The number at which it was born: it never takes the place of one that was born later in the same epoch.
    pub born: u64,
    /// When it goes, by the fleet's clock. Counted from the answer's time, so a late write lives no longer.
    pub expires: Duration,
    /// The record.
    pub bytes: Bytes,
    /// The tags it carries. Where entries and log share a server, an entry that a change has voided since is refused.
    pub tags: Vec<Name>,
}

/// What became of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It is there.
    Yes,
    /// One that was born later is there.
    Outranked,
    /// A change has voided it.
    Void,
    /// Its time is over.
    Expired,
}

/// What the log says about some tags, all at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagMarks {
    /// The end of the log at that moment.
    pub place: Place,
    /// The marks on everything.
    pub floors: Newest,
    /// The marks of the tags asked for, in their order.
    pub tags: Vec<Newest>,
}

/// What came of asking for a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lease {
    /// It is the caller's, until released or until its time is over.
    Granted,
    /// Another has it, for so long at the most.
    Held(Duration),
    /// It is of no use: what was fetched under it could not be shared.
    Pointless,
}

/// What a subscription brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Somebody published this.
    Message {
        /// The channel.
        channel: String,
        /// What was said.
        payload: Bytes,
    },
    /// Messages may have been missed until now: on all channels. From here on it is proven to work.
    Gap,
}

/// A record of a stream that others write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamRecord {
    /// Its id, which orders it.
    pub id: String,
    /// Its fields.
    pub fields: Vec<(String, Bytes)>,
}

/// What the fleet shares. Cheap to clone; clones share.
#[derive(Clone, Debug)]
pub enum Fleet {
    /// Shared within this process: a node on its own, or several in one test.
    InProcess(InProcess),
    /// Shared by all who reach the same Redis.
    Redis(Redis),
}

/// Calls the same function of whichever it is.
macro_rules! ask {
    ($self:ident, $fleet:ident => $call:expr) => {
        match $self {
            Fleet::InProcess($fleet) => $call,
            Fleet::Redis($fleet) => $call,
        }
    };
}

impl Fleet {
    /// A fleet within this process: clones of it are its nodes.
    pub fn in_process() -> Self {
        Fleet::InProcess(InProcess::new())
    }

    /// Where the log is, if it cannot be lost sight of: it is in this process. Else a node sees nothing before its first
    /// [`Fleet::beat`].
    pub fn in_sight(&self) -> Option<Place> {
        match self {
            Fleet::InProcess(log) => log.in_sight(),
            Fleet::Redis(_) => None,
        }
    }

    /// Whether entries are shared. Where not, there is no point in looking for one.
    pub fn shares_entries(&self) -> bool {
        match self {
            Fleet::InProcess(log) => log.shares_entries(),
            Fleet::Redis(_) => true,
        }
    }

    /// What has been counted on the way to what is shared; `None` where there is no way.
    pub fn stats(&self) -> Option<FleetStats> {
        match self {
            Fleet::InProcess(_) => None,
            Fleet::Redis(redis) => Some(redis.stats()),
        }
    }

    /// Says that this node is there, and learns where the log is. One script on the master: a node that joins is counted
    /// by everyone who appends after it.
    ///
    /// # Errors
    /// [`FleetError`]: the lease goes on as it was.
    pub async fn beat(&self, beating: &Beating) -> Result<Beat, FleetError> {
        ask!(self, fleet => fleet.beat(beating).await)
    }

    /// Appends a record. When this returns a place, every reader will find it there.
    ///
    /// # Errors
    /// [`FleetError::NotScribe`] if it was for the scribe to append. After any other error it is not known whether the
    /// record was appended: append it again, for what it says may be said twice.
    pub async fn append(&self, append: Append) -> Result<Appended, FleetError> {
        ask!(self, fleet => fleet.append(append).await)
    }

    /// Waits until a replica has what was appended so far, for at most `patience`. How many have it; 0 if there are none.
    ///
    /// # Errors
    /// [`FleetError`] if the master does not answer; [`FleetError::Timeout`] if it has replicas, and none has it.
    pub async fn replicated(&self, patience: Duration) -> Result<usize, FleetError> {
        ask!(self, fleet => fleet.replicated(patience).await)
    }

    /// The records that follow `number`, in order: a bounded page of them. Empty when there are none. Whoever reads checks
    /// that the first one follows: what the log no longer holds is not in it, and it may be the log of another epoch.
    ///
    /// # Errors
    /// [`FleetError`] if they cannot be had now.
    pub async fn read_after(&self, number: u64) -> Result<Vec<Logged>, FleetError> {
        ask!(self, fleet => fleet.read_after(number).await)
    }

    /// Returns once the log may hold a record later than `after`: at once if it does, else within about a second even if
    /// it does not. Dropping it loses nothing.
    ///
    /// # Errors
    /// [`FleetError`] if the log cannot be watched now.
    pub async fn changed(&self, after: u64) -> Result<(), FleetError> {
        ask!(self, fleet => fleet.changed(after).await)
    }

    /// The nodes, and how far each has applied the log.
    ///
    /// # Errors
    /// [`FleetError`] if the master does not answer.
    pub async fn members(&self) -> Result<Members, FleetError> {
        ask!(self, fleet => fleet.members().await)
    }

    /// The shared entry of that name, if it is no larger than `limit` bytes; a longer one is cut off after `limit` + 1.
    ///
    /// # Errors
    /// [`FleetError`]: it is not known whether there is one.
    pub async fn get(&self, name: Name, limit: usize) -> Result<Option<Bytes>, FleetError> {
        ask!(self, fleet => fleet.get(name, limit).await)
    }

    /// Shares an entry.
    ///
    /// # Errors
    /// [`FleetError`]: it may or may not be there, and does no harm if it is.
    pub async fn put(&self, put: Put) -> Result<Kept, FleetError> {
        ask!(self, fleet => fleet.put(put).await)
    }

    /// The marks of `tags`, from the master: for an entry that was born before this node's own view of the log begins.
    ///
    /// # Errors
    /// [`FleetError`]: nothing is known of them.
    pub async fn newest(&self, tags: &[Name]) -> Result<TagMarks, FleetError> {
        ask!(self, fleet => fleet.newest(tags).await)
    }

    /// Asks for the lease of that name, for `term` at the most. `token` is unlike any other's.
    ///
    /// # Errors
    /// [`FleetError`]: nobody can say who has it.
    pub async fn lease(&self, name: Name, token: u64, term: Duration) -> Result<Lease, FleetError> {
        ask!(self, fleet => fleet.lease(name, token, term).await)
    }

    /// Gives the lease back, if it is still the caller's. With `pointless_for`, the next ones who ask are told for so long
    /// that it is of no use.
    ///
    /// # Errors
    /// [`FleetError`]: it ends by itself.
    pub async fn release(&self, name: Name, token: u64, pointless_for: Option<Duration>) -> Result<(), FleetError> {
        ask!(self, fleet => fleet.release(name, token, pointless_for).await)
    }

    /// Publishes a message to whoever listens.
    ///
    /// # Errors
    /// [`FleetError`] if nobody may have heard it.
    pub async fn publish(&self, channel: &str, payload: Bytes) -> Result<(), FleetError> {
        ask!(self, fleet => fleet.publish(channel, payload).await)
    }

    /// Listens to these channels (Redis glob patterns) from now on, for as long as the receiver lives. The first thing
    /// heard is a [`Heard::Gap`], when the subscription has been proven to work.
    pub fn listen(&self, patterns: Vec<String>) -> mpsc::Receiver<Heard> {
        ask!(self, fleet => fleet.listen(patterns))
    }

    /// The records of a stream that others write, after the one up to which it has been read ([`Append::read_up_to`]),
    /// waiting about a second for the first. A stream that has never been read is read from its end.
    ///
    /// # Errors
    /// [`FleetError`] if it cannot be read now.
    pub async fn read_stream(&self, stream: &str) -> Result<Vec<StreamRecord>, FleetError> {
        ask!(self, fleet => fleet.read_stream(stream).await)
    }
}
