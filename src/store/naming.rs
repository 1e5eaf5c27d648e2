//! The names that shared entries and marks go by in Redis: 128 bits of a digest, whatever the key holds.
//!
//! ```text
//! primary    digest of 1, namespace, key                  the resource: its one answer, or a directory of what selects
//! variant    digest of 2, namespace, key, vary            one of its answers: the request's values of what selects
//! tag        digest of 3, namespace, tag                  a tag's marks
//! ```
//!
//! Each part has its length before it, so no byte of a part can pass for a border. A key with spaces, line ends, NULs or
//! 64 KiB makes a name like any other, and nothing of it can be read from the name.
//!
//! What is sealed must not be betrayed by its name either. A plain digest of a guessable URL can be guessed, so with a
//! seal the names of entries are keyed: HMAC instead of a digest, under a key derived from the last one of the ring (see
//! `seal.rs`). The names of tags never are. A mark is found by all nodes or it is no mark, also while a new seal key is
//! being brought to one node after the other, and the log of changes spells tags out anyway.

use std::fmt;

use ring::{digest, hmac};

use super::SealKeys;
use crate::policy::key::CacheKey;
use crate::rfc::VaryKey;

/// What a record is stored under.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryName([u8; NAME]);

/// What a tag's marks are stored under.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TagName([u8; NAME]);

/// Bytes of a name.
const NAME: usize = 16;

const PRIMARY: u8 = 1;
const VARIANT: u8 = 2;
const TAG: u8 = 3;

/// Gives names within one namespace. All nodes of a fleet have to be given the same namespace and naming key.
#[derive(Clone)]
pub struct Names {
    namespace: Box<str>,
    /// What entries' names are keyed with.
    key: Option<hmac::Key>,
}

impl Names {
    /// The names of `namespace`; keyed if records are sealed.
    pub fn new(namespace: &str, seal: Option<&SealKeys>) -> Self {
        Self { namespace: namespace.into(), key: seal.map(SealKeys::naming_key) }
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Where to look first for `key`: its one answer, or the directory of the fields that select among several.
    pub fn primary(&self, key: &CacheKey) -> EntryName {
        EntryName(self.entry(PRIMARY, &[key.bytes()]))
    }

    /// Where the answer is that `vary` selects among those for `key`: the request's values of the fields that the directory
    /// names.
    pub fn variant(&self, key: &CacheKey, vary: &VaryKey) -> EntryName {
        let mut selecting = Vec::with_capacity(vary.weight());
        vary.write_to(&mut selecting);
        EntryName(self.entry(VARIANT, &[key.bytes(), &selecting]))
    }

    /// Where the marks of a tag are, given its full name.
    pub fn tag(&self, tag: &str) -> TagName {
        TagName(self.digest(TAG, &[tag.as_bytes()]))
    }

    fn entry(&self, domain: u8, parts: &[&[u8]]) -> [u8; NAME] {
        let Some(key) = &self.key else { return self.digest(domain, parts) };
        let mut keyed = hmac::Context::with_key(key);
        self.feed(domain, parts, |bytes| keyed.update(bytes));
        cut(keyed.sign().as_ref())
    }

    fn digest(&self, domain: u8, parts: &[&[u8]]) -> [u8; NAME] {
        let mut plain = digest::Context::new(&digest::SHA256);
        self.feed(domain, parts, |bytes| plain.update(bytes));
        cut(plain.finish().as_ref())
    }

    fn feed(&self, domain: u8, parts: &[&[u8]], mut update: impl FnMut(&[u8])) {
        update(&[domain]);
        for part in std::iter::once(self.namespace.as_bytes()).chain(parts.iter().copied()) {
            update(&(part.len() as u64).to_be_bytes());
            update(part);
        }
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keyed = self.key.is_some();
        out.debug_struct("Names").field("namespace", &self.namespace).field("keyed", &keyed).finish()
    }
}

/// The first 128 bits of a digest of 256.
fn cut(digest: &[u8]) -> [u8; NAME] {
    digest.first_chunk().copied().unwrap_or_default()
}

macro_rules! names {
    ($($name:ident),*) => {$(
        impl $name {
            /// The bytes.
            pub fn bytes(&self) -> &[u8; NAME] {
                &self.0
            }
        }

        /// As 32 hexadecimal digits, lower case.
        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(out, "{:032x}", u128::from_be_bytes(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(out, concat!(stringify!($name), "({})"), self)
            }
        }
    )*};
}

names!(EntryName, TagName);

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::super::samples::vary;
    use super::*;

    fn key(bytes: &[u8]) -> CacheKey {
        CacheKey::new(bytes)
    }

    fn sealed() -> SealKeys {
        SealKeys::parse(&["ab".repeat(32)]).expect("a key")
    }

    #[test]
    fn a_name_of_today_is_the_name_of_tomorrow() {
        let names = Names::new("forebay", None);
        let selecting = vary(&[("accept-language", "de")]);
        for (name, expected) in [
            (names.primary(&key(b"/a")).to_string(), PRIMARY_OF_A),
            (names.variant(&key(b"/a"), &selecting).to_string(), VARIANT_OF_A),
            (names.tag("tag:x").to_string(), TAG_X),
            (Names::new("forebay", Some(&sealed())).primary(&key(b"/a")).to_string(), KEYED_OF_A),
        ] {
            assert_eq!(name, expected);
        }
    }

    const PRIMARY_OF_A: &str = "d9dce4502464af4f0f4375ce61070ab1";
    const VARIANT_OF_A: &str = "d093542a8caf79035ddde12db2e44d57";
    const TAG_X: &str = "07a133b45a576b006a46ae6cd1c5415a";
    const KEYED_OF_A: &str = "25622d20ca8babb6c2bb4cccdaaedc26";

    #[test]
    fn l2_03_each_namespace_has_names_of_its_own_and_no_border_can_be_moved() {
        let mut seen = HashSet::new();
        // Pairs that run together to the same bytes, and texts that hold what lengths are made of.
        for namespace in ["", "a", "ab", "a\0\0\0\0\0\0\0\u{1}b"] {
            let names = Names::new(namespace, None);
            for bytes in ["", "b", "c", "bc", "\0\0\0\0\0\0\0\u{1}b"] {
                let key = key(bytes.as_bytes());
                assert!(seen.insert(*names.primary(&key).bytes()), "{namespace:?} {bytes:?}");
                assert!(seen.insert(*names.tag(bytes).bytes()), "{namespace:?} {bytes:?}");
                for selecting in [&[][..], &[("a", "b")], &[("a", "bc")], &[("a", "b"), ("c", "")]] {
                    let fresh = seen.insert(*names.variant(&key, &vary(selecting)).bytes());
                    assert!(fresh, "{namespace:?} {bytes:?} {selecting:?}");
                }
            }
        }
    }

    #[test]
    fn l2_09_any_key_makes_a_name_of_32_digits() {
        let long = vec![b'x'; 64 * 1024];
        let names = Names::new("forebay", None);
        for bytes in [&b"a b"[..], b"a\r\nDEL x\r\n", b"a\0b", b"", b"\xff{}*?[", &long] {
            let name = names.primary(&key(bytes)).to_string();
            assert_eq!(name.len(), 32);
            assert!(name.bytes().all(|byte| byte.is_ascii_hexdigit()), "{name}");
        }
    }

    #[test]
    fn l2_10_with_a_seal_an_entrys_name_cannot_be_computed_by_who_knows_the_url() {
        let (plain, keyed) = (Names::new("n", None), Names::new("n", Some(&sealed())));
        let other = Names::new("n", Some(&SealKeys::parse(&["cd".repeat(32)]).expect("a key")));
        let key = key(b"/a");
        let all = [plain.primary(&key), keyed.primary(&key), other.primary(&key)];
        assert_eq!(all.into_iter().collect::<HashSet<_>>().len(), 3);
        assert_eq!(plain.tag("tag:x"), keyed.tag("tag:x"), "all nodes find a mark, whatever their seal");
        assert_eq!(format!("{keyed:?}"), "Names { namespace: \"n\", keyed: true }");
    }

    #[test]
    fn names_stay_while_a_new_key_comes_in() {
        let (old, new) = ("ab".repeat(32), "cd".repeat(32));
        let before = Names::new("n", Some(&sealed()));
        let during = Names::new("n", Some(&SealKeys::parse(&[new, old]).expect("two keys")));
        assert_eq!(before.primary(&key(b"/a")), during.primary(&key(b"/a")));
    }

    proptest! {
        #[test]
        fn names_are_equal_only_for_equal_keys(one: Vec<u8>, other: Vec<u8>, keyed: bool) {
            let seal = sealed();
            let names = Names::new("n", keyed.then_some(&seal));
            prop_assert_eq!(names.primary(&key(&one)) == names.primary(&key(&other)), one == other);
        }
    }
}
