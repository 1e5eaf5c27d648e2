//! The 64 bytes that every record begins with: what can be judged before anything is believed.

use ring::digest;

use super::super::seal::{Stamp, TAG};
use super::reading::Reader;
use super::{Limits, OLDEST, Refusal, VERSION, headers, metadata};

/// Bytes of the head.
pub(super) const HEAD: usize = 64;

/// Bytes of the proof at the end: the seal's tag, or a checksum.
pub(super) const CHECK: usize = TAG;

const MAGIC: [u8; 4] = *b"FBAY";
const PACKED: u8 = 1;
const SEALED: u8 = 2;

/// What a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Entry,
    Directory,
}

/// How a record is wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flags {
    /// Header block and body are one zstd frame.
    pub(super) packed: bool,
    /// The payload is ciphertext.
    pub(super) sealed: bool,
}

/// Lengths in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lengths {
    pub(super) metadata: usize,
    /// Before compression.
    pub(super) fields: usize,
    /// Before compression.
    pub(super) body: usize,
    /// As it stands in the record.
    pub(super) payload: usize,
}

/// The head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// One that is read. There is one layout so far, so nobody asks.
    pub(super) version: u8,
    pub(super) flags: Flags,
    pub(super) kind: Kind,
    pub(super) epoch: u64,
    pub(super) number: u64,
    pub(super) lengths: Lengths,
    pub(super) stamp: Stamp,
}

impl Head {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let Self { version, flags, kind, epoch, number, lengths, stamp } = self;
        out.extend_from_slice(&MAGIC);
        let flags = u8::from(flags.packed) * PACKED + u8::from(flags.sealed) * SEALED;
        let kind = match kind {
            Kind::Entry => 1,
            Kind::Directory => 2,
        };
        out.extend_from_slice(&[*version, flags, kind, 0]);
        out.extend_from_slice(&epoch.to_be_bytes());
        out.extend_from_slice(&number.to_be_bytes());
        super::reading::put_count(out, lengths.metadata);
        super::reading::put_count(out, lengths.fields);
        out.extend_from_slice(&(lengths.body as u64).to_be_bytes());
        out.extend_from_slice(&(lengths.payload as u64).to_be_bytes());
        out.extend_from_slice(&stamp.id);
        out.extend_from_slice(&stamp.nonce);
    }

    /// The head of `record`, if it is one that this node reads, if what it promises is within `limits`, and if the record
    /// is as long as it says.
    pub(super) fn read(record: &[u8], limits: &Limits) -> Result<Self, Refusal> {
        if record.is_empty() {
            return Err(Refusal::Empty);
        }
        if record.len() as u64 > limits.max_record() {
            return Err(Refusal::TooLarge);
        }
        let (magic, rest) = record.split_first_chunk::<4>().ok_or(Refusal::Truncated)?;
        if *magic != MAGIC {
            return Err(Refusal::Magic);
        }
        // Before anything else: of another version nothing but this byte is known.
        let version = *rest.first().ok_or(Refusal::Truncated)?;
        match version {
            0..OLDEST => return Err(Refusal::Older),
            OLDEST..=VERSION => {}
            _ => return Err(Refusal::Newer),
        }
        let payload = record.len().checked_sub(HEAD + CHECK).ok_or(Refusal::Truncated)?;
        let head = Self::read_rest(version, &mut Reader::new(&rest[1..]), limits)?;
        match payload.cmp(&head.lengths.payload) {
            std::cmp::Ordering::Less => Err(Refusal::Truncated),
            std::cmp::Ordering::Greater => Err(Refusal::Trailing),
            std::cmp::Ordering::Equal => Ok(head),
        }
    }

    fn read_rest(version: u8, rest: &mut Reader<'_>, limits: &Limits) -> Result<Self, Refusal> {
        let flags = match rest.byte()? {
            bits @ 0..=3 => Flags { packed: bits & PACKED != 0, sealed: bits & SEALED != 0 },
            _ => return Err(Refusal::Malformed),
        };
        let kind = match rest.byte()? {
            1 => Kind::Entry,
            2 => Kind::Directory,
            _ => return Err(Refusal::Malformed),
        };
        if rest.byte()? != 0 {
            return Err(Refusal::Malformed);
        }
        let (epoch, number) = (rest.u64()?, rest.u64()?);
        let within = |length: u64, most: u64| match usize::try_from(length) {
            Ok(fits) if length <= most => Ok(fits),
            _ => Err(Refusal::TooLarge),
        };
        let lengths = Lengths {
            metadata: within(rest.array().map(u32::from_be_bytes)?.into(), metadata::MAX_LENGTH as u64)?,
            fields: within(rest.array().map(u32::from_be_bytes)?.into(), headers::MAX_LENGTH as u64)?,
            body: within(rest.u64()?, limits.max_object)?,
            payload: within(rest.u64()?, limits.max_record())?,
        };
        let stamp = Stamp { id: rest.array()?, nonce: rest.array()? };
        let promised = lengths.body.saturating_add(lengths.metadata + lengths.fields);
        if !flags.packed && lengths.payload != promised || !flags.sealed && stamp != Stamp::default() {
            return Err(Refusal::Malformed);
        }
        Ok(Self { version, flags, kind, epoch, number, lengths, stamp })
    }
}

/// Of a record without a seal: all that is before it.
pub(super) fn checksum(covered: &[u8]) -> [u8; CHECK] {
    digest::digest(&digest::SHA256, covered).as_ref().first_chunk().copied().unwrap_or_default()
}
