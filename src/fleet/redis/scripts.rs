//! What is done on the server in one step: the scripts, and the reading of their answers.
//!
//! Scripts are called by their digest; a server that does not know one (it was restarted, or it is another) is given the
//! text. Numbers travel as decimal text, epochs and nonces as sixteen hexadecimal digits: neither fits a number of Lua.

use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use fred::clients::{Client, WithOptions};
use fred::error::Error;
use fred::interfaces::ClientLike;
use fred::types::{ClusterHash, CustomCommand, Key, Value};

use crate::fleet::{Epoch, FleetError, Newest, Place};

/// A script, and the digest it is known by.
pub(super) struct Script {
    text: &'static str,
    digest: String,
}

// A server that is full of entries still takes changes and heartbeats: they are small, and without them every node would
// be blind. Flags of scripts are known to Redis 7 and to Valkey.
macro_rules! of_the_ledger {
    ($file:literal) => {
        LazyLock::new(|| {
            Script::new(concat!("#!lua flags=allow-oom", "\n", include_str!("life.lua"), "\n", include_str!($file)))
        })
    };
}

pub(super) static APPEND: LazyLock<Script> = of_the_ledger!("append.lua");
pub(super) static BEAT: LazyLock<Script> = of_the_ledger!("beat.lua");
pub(super) static MEMBERS: LazyLock<Script> = of_the_ledger!("members.lua");
pub(super) static NEWEST: LazyLock<Script> = of_the_ledger!("newest.lua");
pub(super) static STREAM: LazyLock<Script> = of_the_ledger!("stream.lua");
pub(super) static PUT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("put.lua")));
pub(super) static LEASE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lease.lua")));
pub(super) static RELEASE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("release.lua")));

impl Script {
    fn new(text: &'static str) -> Self {
        Self { text, digest: fred::util::sha1_hash(text) }
    }

    /// Runs it.
    ///
    /// Not through fred's own `evalsha`: what `with_options` returns has none, so that the one of the client beneath is
    /// called, without a word, and without time-out, failing fast and all the rest.
    pub(super) async fn run(
        &self,
        client: WithOptions<Client>,
        keys: Vec<Key>,
        arguments: Vec<Value>,
    ) -> Result<Value, Error> {
        // All keys are in one slot.
        let slot = keys.first().map_or(0, Key::cluster_hash);
        let call = |command: &'static str, script: Value| {
            let count = Value::Integer(i64::try_from(keys.len()).unwrap_or(i64::MAX));
            let keys = keys.iter().map(|key| Value::Bytes(key.inner().clone()));
            let arguments: Vec<Value> = [script, count].into_iter().chain(keys).chain(arguments.clone()).collect();
            client.custom::<Value, _>(CustomCommand::new_static(command, ClusterHash::Custom(slot), false), arguments)
        };
        match call("EVALSHA", self.digest.as_str().into()).await {
            Err(error) if error.details().starts_with("NOSCRIPT") => call("EVAL", self.text.into()).await,
            answer => answer,
        }
    }
}

/// An answer, read from the front.
pub(super) struct Answer(std::vec::IntoIter<Value>);

const SHAPE: FleetError = FleetError::Garbled("the answer of a script");

impl Answer {
    pub(super) fn of(value: Value) -> Result<Self, FleetError> {
        match value {
            Value::Array(items) => Ok(Self(items.into_iter())),
            _ => Err(SHAPE),
        }
    }

    fn next(&mut self) -> Result<Value, FleetError> {
        self.0.next().ok_or(SHAPE)
    }

    pub(super) fn text(&mut self) -> Result<String, FleetError> {
        self.next()?.into_string().ok_or(SHAPE)
    }

    /// A number, or its digits.
    pub(super) fn number(&mut self) -> Result<u64, FleetError> {
        match self.next()? {
            Value::Integer(number) => u64::try_from(number).map_err(|_| SHAPE),
            other => other.as_str().and_then(|digits| digits.parse().ok()).ok_or(SHAPE),
        }
    }

    pub(super) fn hex(&mut self) -> Result<u64, FleetError> {
        u64::from_str_radix(&self.text()?, 16).map_err(|_| SHAPE)
    }

    pub(super) fn millis(&mut self) -> Result<Duration, FleetError> {
        self.number().map(Duration::from_millis)
    }

    /// Epoch, number, nonce.
    pub(super) fn place(&mut self) -> Result<Place, FleetError> {
        let place = Place { epoch: Epoch(self.hex()?), number: self.number()?, nonce: self.hex()? };
        // No epoch is called that.
        if place.epoch.0 == 0 { Err(FleetError::Garbled("an epoch")) } else { Ok(place) }
    }

    /// Hard, check, soft.
    pub(super) fn marks(&mut self) -> Result<Newest, FleetError> {
        let mut marks = self.list()?;
        Ok(Newest { hard: marks.number()?, check: marks.number()?, soft: marks.number()? })
    }

    pub(super) fn list(&mut self) -> Result<Self, FleetError> {
        Self::of(self.next()?)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.len() == 0
    }
}

/// A string's bytes, of their own: what fred hands out holds on to the whole buffer that was read.
pub(super) fn bytes(value: Value) -> Result<Bytes, FleetError> {
    let bytes = value.into_bytes().ok_or(FleetError::Garbled("a string"))?;
    Ok(if bytes.len() < 64 * 1024 { Bytes::copy_from_slice(&bytes) } else { bytes })
}

/// Sixteen digits.
pub(super) fn hex(number: u64) -> String {
    format!("{number:016x}")
}
