//! The seal of shared records: whoever can read or write Redis, but has no key, learns nothing from a record and can
//! make none.
//!
//! AES-256-GCM. Each record is sealed with a key of its own, derived from the ring's key and the record's name, under a
//! random nonce of 96 bits: so the number of records that one key may seal before two nonces meet, about 2³², counts for
//! each name by itself and not for the life of the fleet. What is authenticated beside the payload is all that stands in
//! clear before it, the format version included, and the name: a record that was moved to another name does not open.
//!
//! **Rotation.** A ring holds one or two keys. The first seals, both open, and the last one keys the names of entries:
//! 1. `[old]` becomes `[new, old]`, node by node. A node that does not have `new` yet counts what the others sealed as
//!    absent, which costs fetches. Names do not change.
//! 2. When what `old` has sealed is past its use, `[new, old]` becomes `[new]`. Names change with it: the shared entries
//!    are then fetched once more.
//!
//! From each key of the ring three things are derived, so that none says anything about another: the keys of records,
//! the key of names, and the public id by which a reader picks the right one.

use std::fmt;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

use super::EntryName;

/// Bytes of a key.
const KEY: usize = 32;

/// Bytes of the tag that proves a sealed record.
pub(super) const TAG: usize = 16;

const FOR_RECORDS: &[u8] = b"forebay seal: record";
const FOR_NAMES: &[u8] = b"forebay seal: names";
const FOR_ID: &[u8] = b"forebay seal: id";

/// The keys of the seal: one, or two while they are being exchanged.
#[derive(Clone)]
pub struct SealKeys {
    first: RingKey,
    second: Option<RingKey>,
}

/// Why a text is no key of the seal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadKey {
    /// There is none.
    Missing,
    /// There are more than two.
    TooMany,
    /// Both are the same.
    Twice,
    /// It holds a character that neither hexadecimal nor base64 has.
    Alphabet,
    /// It has an odd number of hexadecimal digits.
    OddDigits,
    /// It stands for so many bytes, which are not 32.
    Length(usize),
}

impl fmt::Display for BadKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let advice = "a seal key is 32 random bytes, written as 64 hexadecimal digits or in base64; \
                      `openssl rand -hex 32` makes one";
        match self {
            BadKey::Missing => write!(out, "there is no seal key: {advice}"),
            BadKey::TooMany => write!(out, "there are more than two seal keys: name the new one and the one before it"),
            BadKey::Twice => write!(out, "both seal keys are the same: name the new one first, then the one before it"),
            BadKey::Alphabet => write!(out, "this is neither hexadecimal nor base64: {advice}"),
            BadKey::OddDigits => write!(out, "a hexadecimal digit is missing: {advice}"),
            BadKey::Length(bytes) => write!(out, "this key has {bytes} bytes: {advice}"),
        }
    }
}

impl std::error::Error for BadKey {}

/// What a reader needs beside the key to open a record. It stands in clear.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Which key.
    pub(super) id: [u8; 4],
    /// The nonce.
    pub(super) nonce: [u8; 12],
}

/// Why a sealed record does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotOpened {
    /// No key of the ring has the id.
    UnknownKey,
    /// It is not what was sealed, or not where it was.
    Broken,
}

impl SealKeys {
    /// A ring of one or two keys, each 32 bytes as 64 hexadecimal digits or in base64 (either alphabet, padded or not).
    /// The first seals, both open. Space around a key is none of it.
    ///
    /// # Errors
    /// [`BadKey`], which never repeats what was given.
    pub fn parse(keys: &[impl AsRef<str>]) -> Result<Self, BadKey> {
        let key = |text: &str| parse_key(text.trim()).map(RingKey::new);
        match keys {
            [] => Err(BadKey::Missing),
            [one] => Ok(Self { first: key(one.as_ref())?, second: None }),
            [first, second] => {
                let (first, second) = (key(first.as_ref())?, key(second.as_ref())?);
                if first.id == second.id {
                    return Err(BadKey::Twice);
                }
                Ok(Self { first, second: Some(second) })
            }
            _ => Err(BadKey::TooMany),
        }
    }

    /// What the names of entries are keyed with: it stays while a new key comes in before the old one.
    pub(super) fn naming_key(&self) -> hmac::Key {
        let last = self.second.as_ref().unwrap_or(&self.first);
        hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&last.secret, FOR_NAMES).as_ref())
    }

    /// What to seal the next record with. `None` if the system has no randomness to give.
    pub(super) fn stamp(&self) -> Option<Stamp> {
        let mut nonce = [0; 12];
        SystemRandom::new().fill(&mut nonce).ok()?;
        Some(Stamp { id: self.first.id, nonce })
    }

    /// Seals `payload` in place for `name`; `clear` is what stands before it. `None` never happens for payloads that fit
    /// into memory.
    pub(super) fn seal(&self, stamp: Stamp, name: EntryName, clear: &[u8], payload: &mut [u8]) -> Option<[u8; TAG]> {
        let nonce = Nonce::assume_unique_for_key(stamp.nonce);
        let tag =
            self.first.for_record(name)?.seal_in_place_separate_tag(nonce, bound_to(name, clear), payload).ok()?;
        tag.as_ref().try_into().ok()
    }

    /// Opens `sealed`, the payload and its tag, and leaves the payload.
    pub(super) fn open(
        &self,
        stamp: Stamp,
        name: EntryName,
        clear: &[u8],
        mut sealed: Vec<u8>,
    ) -> Result<Vec<u8>, NotOpened> {
        let mut keys = std::iter::once(&self.first).chain(&self.second);
        let key = keys.find(|key| key.id == stamp.id).ok_or(NotOpened::UnknownKey)?;
        let nonce = Nonce::assume_unique_for_key(stamp.nonce);
        let key = key.for_record(name).ok_or(NotOpened::Broken)?;
        let length = key.open_in_place(nonce, bound_to(name, clear), &mut sealed).map_err(|_| NotOpened::Broken)?.len();
        sealed.truncate(length);
        Ok(sealed)
    }
}

/// Shows the ids of the keys, and nothing of the keys.
impl fmt::Debug for SealKeys {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids =
            std::iter::once(&self.first).chain(&self.second).map(|key| format!("{:08x}", u32::from_be_bytes(key.id)));
        out.debug_tuple("SealKeys").field(&ids.collect::<Vec<_>>()).finish()
    }
}

/// One key of the ring.
#[derive(Clone)]
struct RingKey {
    id: [u8; 4],
    secret: hmac::Key,
}

impl RingKey {
    fn new(secret: [u8; KEY]) -> Self {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        let id = hmac::sign(&secret, FOR_ID).as_ref().first_chunk().copied().unwrap_or_default();
        Self { id, secret }
    }

    /// The key of the record of that name.
    fn for_record(&self, name: EntryName) -> Option<LessSafeKey> {
        let mut derived = hmac::Context::with_key(&self.secret);
        derived.update(FOR_RECORDS);
        derived.update(name.bytes());
        UnboundKey::new(&AES_256_GCM, derived.sign().as_ref()).ok().map(LessSafeKey::new)
    }
}

fn bound_to(name: EntryName, clear: &[u8]) -> Aad<Vec<u8>> {
    Aad::from([clear, name.bytes()].concat())
}

fn parse_key(text: &str) -> Result<[u8; KEY], BadKey> {
    let digits: Option<Vec<u32>> = text.bytes().map(|byte| char::from(byte).to_digit(16)).collect();
    let bytes: Vec<u8> = match digits {
        // No 32 random bytes are written in base64 with none but hexadecimal digits.
        Some(digits) if digits.len() % 2 == 1 => return Err(BadKey::OddDigits),
        Some(digits) => digits.chunks_exact(2).filter_map(|pair| u8::try_from(pair[0] << 4 | pair[1]).ok()).collect(),
        None => from_base64(text).ok_or(BadKey::Alphabet)?,
    };
    bytes.try_into().map_err(|bytes: Vec<u8>| BadKey::Length(bytes.len()))
}

/// Base64 with either alphabet of RFC 4648, padded or not.
fn from_base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_suffix("==").or_else(|| text.strip_suffix('=')).unwrap_or(text);
    let (mut held, mut bits) = (0_u32, 0);
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3 + 3);
    for digit in digits.bytes() {
        let six = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        held = (held << 6 | u32::from(six)) & 0xffff;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(held >> bits & 0xff).ok()?);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::Names;
    use super::super::samples::key;
    use super::*;

    const OLD: &str = "0f0e0d0c0b0a090807060504030201000f0e0d0c0b0a09080706050403020100";

    fn new() -> String {
        "ab".repeat(KEY)
    }

    fn ring(keys: &[&str]) -> SealKeys {
        SealKeys::parse(keys).expect("a ring")
    }

    fn name(path: &str) -> EntryName {
        Names::new("n", None).primary(&key(path))
    }

    /// Something sealed for `/a` by `ring`, with its stamp.
    fn sealed(ring: &SealKeys) -> (Stamp, Vec<u8>) {
        let stamp = ring.stamp().expect("randomness");
        let mut bytes = b"the payload".to_vec();
        let tag = ring.seal(stamp, name("/a"), b"clear", &mut bytes).expect("sealed");
        bytes.extend_from_slice(&tag);
        (stamp, bytes)
    }

    #[test]
    fn a_key_is_64_digits_or_base64_of_32_bytes() {
        let hex = ring(&[OLD]);
        let base64 = "Dw4NDAsKCQgHBgUEAwIBAA8ODQwLCgkIBwYFBAMCAQA=";
        for same in [base64, base64.trim_end_matches('='), &OLD.to_uppercase(), &format!(" {OLD}\n")] {
            assert_eq!(ring(&[same]).first.id, hex.first.id, "{same}");
        }
        let both = "-_".repeat(21) + "8";
        assert_eq!(
            ring(&[&both]).first.id,
            ring(&["+/".repeat(21).as_str().to_owned() + "8="].each_ref().map(|s| &**s)).first.id
        );
        for (keys, expected) in [
            (&[][..], BadKey::Missing),
            (&[""], BadKey::Length(0)),
            (&[&OLD[2..]], BadKey::Length(31)),
            (&[&OLD[1..]], BadKey::OddDigits),
            (&["c2hvcnQ="], BadKey::Length(5)),
            (&["pass phrase"], BadKey::Alphabet),
            (&["\u{fc}"], BadKey::Alphabet),
            (&[OLD, OLD], BadKey::Twice),
            (&[OLD, base64], BadKey::Twice),
            (&[OLD, "x"], BadKey::Length(0)),
            (&[OLD, OLD, OLD], BadKey::TooMany),
        ] {
            assert_eq!(SealKeys::parse(keys).map(|_| ()), Err(expected), "{keys:?}");
        }
        assert!(BadKey::Length(46).to_string().contains("46 bytes"));
    }

    #[test]
    fn nothing_of_a_key_is_shown() {
        let shown = format!("{:?}", ring(&[&new(), OLD]));
        assert!(!shown.contains("abab") && !shown.contains("0f0e"), "{shown}");
        assert_eq!(shown.matches('"').count(), 4, "two ids: {shown}");
    }

    #[test]
    fn what_the_old_key_sealed_opens_while_it_is_in_the_ring() {
        let (stamp, bytes) = sealed(&ring(&[OLD]));
        let open = |ring: &SealKeys| ring.open(stamp, name("/a"), b"clear", bytes.clone());
        assert_eq!(open(&ring(&[OLD])).as_deref(), Ok(&b"the payload"[..]));
        assert_eq!(open(&ring(&[&new(), OLD])).as_deref(), Ok(&b"the payload"[..]));
        assert_eq!(open(&ring(&[OLD, &new()])).as_deref(), Ok(&b"the payload"[..]));
        assert_eq!(open(&ring(&[&new()])), Err(NotOpened::UnknownKey));
    }

    #[test]
    fn a_sealed_payload_opens_only_as_it_was_and_where_it_was() {
        let ring = ring(&[OLD]);
        let (stamp, bytes) = sealed(&ring);
        assert_eq!(ring.open(stamp, name("/b"), b"clear", bytes.clone()), Err(NotOpened::Broken));
        assert_eq!(ring.open(stamp, name("/a"), b"cleaR", bytes.clone()), Err(NotOpened::Broken));
        let other = Stamp { nonce: [7; 12], ..stamp };
        assert_eq!(ring.open(other, name("/a"), b"clear", bytes.clone()), Err(NotOpened::Broken));
        for at in 0..bytes.len() {
            let mut touched = bytes.clone();
            touched[at] ^= 1;
            assert_eq!(ring.open(stamp, name("/a"), b"clear", touched), Err(NotOpened::Broken), "{at}");
            assert_eq!(ring.open(stamp, name("/a"), b"clear", bytes[..at].to_vec()), Err(NotOpened::Broken), "{at}");
        }
    }

    #[test]
    fn no_two_records_are_sealed_alike() {
        let ring = ring(&[OLD]);
        let ((one, first), (other, second)) = (sealed(&ring), sealed(&ring));
        assert_ne!(one.nonce, other.nonce);
        assert_ne!(first, second);
    }
}
