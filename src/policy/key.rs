//! The cache key: the full tuple of what an answer may depend on, as bytes. Two keys are equal if and only if all
//! their parts are; no hash stands in for a key, and no byte of a part can pass for a border between parts.
//!
//! ```text
//! version  1 byte
//! scheme   1 byte    0 not part of the key, 1 http, 2 https
//! origin, host, forwarded path and query: each a length (4 bytes) and that many bytes
//! then for each keyed header or cookie, and for each field that the route sets on the request, in the order of the rule:
//!   kind   1 byte    1 header, 2 cookie, 3 set by the route
//!   name   length and bytes
//!   values each a 1, a length and bytes; then a 0. Absent is no value, which is not one empty value.
//! ```
//!
//! Names are in it so that a changed rule makes other keys. A change of this layout takes the next version.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use smallvec::SmallVec;

const VERSION: u8 = 1;
const HEADER: u8 = 1;
const COOKIE: u8 = 2;
const SET: u8 = 3;
const VALUE: u8 = 1;
const END: u8 = 0;

/// Where a key is put together: on the stack for all but the longest, so that a look-up allocates no key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyBuf(SmallVec<[u8; 256]>);

impl KeyBuf {
    /// An empty one.
    pub fn new() -> KeyBuf {
        KeyBuf::default()
    }

    /// Empties it; its room is kept.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// The bytes, for looking up.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// A copy to keep.
    pub fn to_key(&self) -> CacheKey {
        CacheKey(Arc::from(self.as_slice()))
    }

    /// Begins a key. `secure`: `None` if the scheme is no part of it.
    pub(super) fn begin(&mut self, origin: &str, secure: Option<bool>, host: &str, forwarded: &str) {
        self.clear();
        self.0.push(VERSION);
        self.0.push(secure.map_or(0, |secure| 1 + u8::from(secure)));
        self.sized(origin.as_bytes());
        self.sized(host.as_bytes());
        self.sized(forwarded.as_bytes());
    }

    /// Adds a header with all its values, or none.
    pub(super) fn header<'v>(&mut self, name: &str, values: impl Iterator<Item = &'v [u8]>) {
        self.part(HEADER, name, values);
    }

    /// Adds a cookie with all its values, or none.
    pub(super) fn cookie<'v>(&mut self, name: &str, values: impl Iterator<Item = &'v [u8]>) {
        self.part(COOKIE, name, values);
    }

    /// Adds a field that the route sets on the request, or that it has no value for.
    pub(super) fn set(&mut self, name: &str, value: Option<&[u8]>) {
        self.part(SET, name, value.into_iter());
    }

    fn part<'v>(&mut self, kind: u8, name: &str, values: impl Iterator<Item = &'v [u8]>) {
        self.0.push(kind);
        self.sized(name.as_bytes());
        for value in values {
            self.0.push(VALUE);
            self.sized(value);
        }
        self.0.push(END);
    }

    fn sized(&mut self, bytes: &[u8]) {
        // A key longer than a few KiB is refused, so the length always fits.
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.0.extend_from_slice(&length.to_be_bytes());
        self.0.extend_from_slice(bytes);
    }
}

/// A key to keep. Cheap to clone; equal, ordered and hashed by its bytes, so a `&[u8]` finds it in a map.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CacheKey(Arc<[u8]>);

impl CacheKey {
    /// Takes bytes as they are, such as those of a [`KeyBuf`] or of a record from elsewhere. Bytes that are no key are
    /// a key like others, with empty parts.
    pub fn new(bytes: impl Into<Arc<[u8]>>) -> CacheKey {
        CacheKey(bytes.into())
    }

    /// The whole key.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The name of the origin, or nothing.
    pub fn origin(&self) -> &str {
        self.parts().map_or("", |parts| parts.origin)
    }

    /// The host with its port, if it has one, or nothing.
    pub fn host(&self) -> &str {
        self.parts().map_or("", |parts| parts.host)
    }

    /// The path as it goes to the backend, without query, or nothing.
    pub fn path(&self) -> &str {
        let whole = self.path_and_query();
        whole.split_once('?').map_or(whole, |(path, _)| path)
    }

    /// Path and query as they go to the backend, or nothing.
    pub fn path_and_query(&self) -> &str {
        self.parts().map_or("", |parts| parts.forwarded)
    }

    fn parts(&self) -> Option<Parts<'_>> {
        let mut bytes = Reader(&self.0);
        if bytes.byte()? != VERSION {
            return None;
        }
        let scheme = match bytes.byte()? {
            0 => "-",
            1 => "http",
            2 => "https",
            _ => return None,
        };
        let (origin, host, forwarded) = (bytes.text()?, bytes.text()?, bytes.text()?);
        Some(Parts { scheme, origin, host, forwarded, rest: bytes })
    }
}

impl Borrow<[u8]> for CacheKey {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for CacheKey {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<&KeyBuf> for CacheKey {
    fn from(buffer: &KeyBuf) -> CacheKey {
        buffer.to_key()
    }
}

/// For people: `api https example.com /api/users/1 accept-language=de cookie:theme=dark !x-tenant`. A `!` marks what
/// the request did not carry, `set:` what the route sets on it; `-` stands for a scheme that is no part of the key.
impl fmt::Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(parts) = self.parts() else {
            return write!(f, "{}", self.0.escape_ascii());
        };
        let Parts { scheme, origin, host, forwarded, mut rest } = parts;
        write!(f, "{} {scheme} {} {}", origin.escape_debug(), host.escape_debug(), forwarded.escape_debug())?;
        while let Some((kind, name)) = rest.heading() {
            let prefix = match kind {
                COOKIE => "cookie:",
                SET => "set:",
                _ => "",
            };
            let mut absent = true;
            while let Some(value) = rest.value() {
                absent = false;
                write!(f, " {prefix}{}={}", name.escape_debug(), value.escape_ascii())?;
            }
            if absent {
                write!(f, " !{prefix}{}", name.escape_debug())?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CacheKey({self})")
    }
}

struct Parts<'k> {
    scheme: &'static str,
    origin: &'k str,
    host: &'k str,
    forwarded: &'k str,
    rest: Reader<'k>,
}

/// Reads what [`KeyBuf`] wrote; `None` where the bytes end too early.
struct Reader<'k>(&'k [u8]);

impl<'k> Reader<'k> {
    fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    fn sized(&mut self) -> Option<&'k [u8]> {
        let (length, rest) = self.0.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (bytes, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    fn text(&mut self) -> Option<&'k str> {
        std::str::from_utf8(self.sized()?).ok()
    }

    fn heading(&mut self) -> Option<(u8, &'k str)> {
        Some((self.byte()?, self.text()?))
    }

    fn value(&mut self) -> Option<&'k [u8]> {
        if self.byte()? == VALUE { self.sized() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(origin: &str, secure: Option<bool>, host: &str, forwarded: &str) -> KeyBuf {
        let mut buffer = KeyBuf::new();
        buffer.begin(origin, secure, host, forwarded);
        buffer
    }

    #[test]
    fn a_key_reads_well_and_gives_its_parts_back() {
        let mut buffer = key("api", Some(true), "example.com", "/api/users/1?a=b c");
        buffer.header("accept-language", [b"de".as_slice()].into_iter());
        buffer.header("x-tenant", std::iter::empty());
        buffer.cookie("theme", [b"dark".as_slice(), b"a\n"].into_iter());
        let key = buffer.to_key();
        assert_eq!(
            key.to_string(),
            "api https example.com /api/users/1?a=b c accept-language=de !x-tenant cookie:theme=dark cookie:theme=a\\n"
        );
        assert_eq!((key.origin(), key.host()), ("api", "example.com"));
        assert_eq!((key.path(), key.path_and_query()), ("/api/users/1", "/api/users/1?a=b c"));
    }

    #[test]
    fn a_border_inside_a_part_is_no_border() {
        let pairs = [
            (key("a__b", None, "c", "/"), key("a", None, "b__c", "/")),
            (key("a", None, "bc", "/"), key("ab", None, "c", "/")),
            (key("a", None, "h", "/\0\0\0\u{1}x"), key("a", None, "h\0\0\0\u{1}/", "x")),
            (key("a", None, "h", "/"), key("a", Some(false), "h", "/")),
            (key("a", Some(true), "h", "/"), key("a", Some(false), "h", "/")),
        ];
        for (left, right) in pairs {
            assert_ne!(left, right);
        }
    }

    /// Lists of at most two of these.
    fn lists<T: Clone>(of: &[T]) -> Vec<Vec<T>> {
        let pairs = of.iter().flat_map(|left| of.iter().map(|right| vec![left.clone(), right.clone()]));
        std::iter::once(Vec::new()).chain(of.iter().map(|one| vec![one.clone()])).chain(pairs).collect()
    }

    #[test]
    fn in_a_small_world_every_tuple_has_a_key_of_its_own() {
        // Texts that hold what the layout is made of, so that a missing length or end would be mistaken for another.
        let texts = ["", "b", "bb", "\0", "\0\0\0\u{1}b", "\u{1}b", "\u{1}\0\0\0\u{1}b"];
        let mut seen = std::collections::HashSet::new();
        for secure in [None, Some(false), Some(true)] {
            for (origin, host) in texts.iter().flat_map(|origin| texts.map(|host| (origin, host))) {
                for forwarded in texts {
                    let fresh = seen.insert(key(origin, secure, host, forwarded).to_key());
                    assert!(fresh, "{secure:?} {origin:?} {host:?} {forwarded:?}");
                }
            }
        }
        let values = lists(&texts);
        let one = [HEADER, COOKIE].into_iter().flat_map(|kind| ["a", "b"].map(|name| (kind, name)));
        let parts: Vec<_> = one.flat_map(|(kind, name)| values.iter().map(move |list| (kind, name, list))).collect();
        let mut seen = std::collections::HashSet::new();
        for tuple in lists(&parts) {
            let mut buffer = key("o", None, "h", "/");
            for (kind, name, list) in &tuple {
                buffer.part(*kind, name, list.iter().map(|value| value.as_bytes()));
            }
            assert!(seen.insert(buffer.to_key()), "{tuple:?}");
        }
    }

    #[test]
    fn absent_empty_and_doubled_values_differ() {
        let of = |values: &[&'static [u8]]| {
            let mut buffer = key("a", None, "h", "/");
            buffer.header("x", values.iter().copied());
            buffer.to_key()
        };
        let all = [of(&[]), of(&[b""]), of(&[b"", b""]), of(&[b"ab"]), of(&[b"a", b"b"]), of(&[b"a,b"])];
        for (at, left) in all.iter().enumerate() {
            for right in all.iter().skip(at + 1) {
                assert_ne!(left, right);
            }
        }
    }

    #[test]
    fn bytes_that_are_no_key_have_no_parts_and_do_no_harm() {
        let whole = key("api", Some(true), "h", "/x").to_key();
        for end in 0..whole.bytes().len() {
            let cut = CacheKey::new(&whole.bytes()[..end]);
            assert_eq!((cut.host(), cut.path()), ("", ""));
            assert_eq!(cut.to_string(), whole.bytes()[..end].escape_ascii().to_string());
        }
        assert_eq!(CacheKey::new(vec![9, 9]).host(), "");
    }

    #[test]
    fn a_slice_finds_a_key_in_a_map() {
        let buffer = key("a", None, "h", "/");
        let map: std::collections::HashMap<CacheKey, u8> = [(CacheKey::from(&buffer), 7)].into();
        assert_eq!(map.get(buffer.as_slice()), Some(&7));
    }
}
