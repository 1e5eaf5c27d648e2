//! Vary: which stored answer fits which request ([RFC 9111 §4.1]).
//!
//! An answer names the request fields it was chosen by. Of the request that fetched it only those fields are kept, in a
//! normal form; a later request fits if its own fields have the same normal form. The normal form does what holds for
//! every field, known or not: several lines are one list, and whitespace around a list's commas means nothing. Inside
//! quoted strings and comments nothing is touched. Order and case stay, because for an unknown field they may matter.
//! Accept-Encoding needs more than that and is reduced to a small set before it gets here (see `coding.rs`).
//!
//! [RFC 9111 §4.1]: https://www.rfc-editor.org/rfc/rfc9111#section-4.1

use super::fields::{members, split_commas};
use http::header::{HeaderMap, HeaderName, HeaderValue, VARY};

/// What an answer says about the requests it fits. RFC 9110 §12.5.5.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Vary {
    /// No selecting fields: the answer fits every request for its URL.
    None,
    /// "*", or a member that is no field name: it fits no later request.
    Star,
    /// The selecting fields: lower-case, sorted, each once.
    Fields(Box<[HeaderName]>),
}

impl Vary {
    /// Reads all Vary lines of an answer; their union counts.
    ///
    /// A member that cannot be a field name counts as "*": whatever it meant, it cannot be compared.
    pub fn read(answer: &HeaderMap) -> Self {
        let mut names = Vec::new();
        for line in answer.get_all(VARY) {
            for member in split_commas(line.as_bytes()).filter(|member| !member.is_empty()) {
                // "A Vary field containing a list of field names and '*' ... always fails to match."
                match HeaderName::from_bytes(member) {
                    Ok(name) if member != b"*" => names.push(name),
                    _ => return Vary::Star,
                }
            }
        }
        if names.is_empty() {
            return Vary::None;
        }
        names.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        names.dedup();
        Vary::Fields(names.into_boxed_slice())
    }
}

/// The selecting fields of the request that fetched an answer, in normal form. Empty unless the answer has
/// [`Vary::Fields`]; for [`Vary::Star`] no key means anything, ask before you build one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct VaryKey {
    fields: Box<[Selecting]>,
}

/// A selecting field and its normal form; `None` is an absent field, which differs from an empty one.
type Selecting = (HeaderName, Option<Box<[u8]>>);

impl VaryKey {
    /// The key of `request` under `vary`.
    pub fn of(vary: &Vary, request: &HeaderMap) -> Self {
        let Vary::Fields(names) = vary else { return VaryKey::default() };
        let fields = names.iter().map(|name| (name.clone(), normal_form(request, name))).collect();
        VaryKey { fields }
    }

    /// Does `request` carry the same selecting fields? Allocates nothing: this is asked on every hit.
    ///
    /// RFC 9111 §4.1: "When a cache receives a request that can be satisfied by a stored response and that stored
    /// response contains a Vary header field, the cache MUST NOT use that stored response without revalidation unless
    /// all the presented request header fields nominated by that Vary field value match those fields in the original
    /// request".
    pub fn matches(&self, request: &HeaderMap) -> bool {
        self.fields.iter().all(|(name, kept)| {
            let all = request.get_all(name);
            let mut lines = all.iter();
            match (kept, lines.next()) {
                // "If (after any normalization that might take place) a header field is absent from a request, it can
                // only match another request if it is also absent there."
                (None, None) => true,
                (Some(kept), Some(first)) => {
                    // The usual request repeats the field byte by byte.
                    let repeated = **kept == *first.as_bytes() && lines.next().is_none();
                    repeated || is_normal_form(kept, all.iter())
                }
                _ => false,
            }
        })
    }

    /// The selecting fields, sorted.
    pub fn names(&self) -> impl Iterator<Item = &HeaderName> {
        self.fields.iter().map(|(name, _)| name)
    }

    /// True if every request fits.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// What the key costs in memory, in bytes: names, values and their slots.
    pub fn weight(&self) -> usize {
        let slots = std::mem::size_of_val(&*self.fields);
        self.fields
            .iter()
            .fold(slots, |sum, (name, value)| sum + name.as_str().len() + value.as_ref().map_or(0, |value| value.len()))
    }

    /// Reads what [`VaryKey::write_to`] wrote: all of `bytes`. `None` if they are no key, or one of more than `max_fields`
    /// fields; a number that lies is found out before anything is allocated for it.
    pub fn read(bytes: &[u8], max_fields: usize) -> Option<Self> {
        let mut rest = bytes;
        let count = take_length(&mut rest)?;
        // A field takes a length, a name and a mark.
        if count > max_fields || count > rest.len() / 6 {
            return None;
        }
        let mut fields: Vec<Selecting> = Vec::with_capacity(count);
        for _ in 0..count {
            let name = HeaderName::from_lowercase(take_sized(&mut rest)?).ok()?;
            let (mark, after) = rest.split_first()?;
            rest = after;
            let value = match mark {
                0 => None,
                1 => Some(take_sized(&mut rest)?.into()),
                _ => return None,
            };
            if fields.last().is_some_and(|(last, _)| last.as_str() >= name.as_str()) {
                return None;
            }
            fields.push((name, value));
        }
        rest.is_empty().then(|| VaryKey { fields: fields.into_boxed_slice() })
    }

    /// Appends the key to `out` so that different keys give different bytes, whatever follows them: the number of
    /// fields, then for each its name and 0, or 1 and its value. Lengths and the number are 32 bits, little endian.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        write_length(self.fields.len(), out);
        for (name, value) in &self.fields {
            write_length(name.as_str().len(), out);
            out.extend_from_slice(name.as_str().as_bytes());
            match value {
                None => out.push(0),
                Some(value) => {
                    out.push(1);
                    write_length(value.len(), out);
                    out.extend_from_slice(value);
                }
            }
        }
    }
}

/// Splits what [`write_length`] and the bytes after it wrote off the front of `rest`.
fn take_sized<'b>(rest: &mut &'b [u8]) -> Option<&'b [u8]> {
    let length = take_length(rest)?;
    let (bytes, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(bytes)
}

fn take_length(rest: &mut &[u8]) -> Option<usize> {
    let (length, after) = rest.split_first_chunk::<4>()?;
    *rest = after;
    usize::try_from(u32::from_le_bytes(*length)).ok()
}

/// Fields are limited to far less than 4 GiB long before they get here; a longer one would be cut to that length.
fn write_length(length: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
}

/// The members of all lines, trimmed, with a bare comma between them; `None` if there is no line.
fn normal_form(request: &HeaderMap, name: &HeaderName) -> Option<Box<[u8]>> {
    let mut form: Option<Vec<u8>> = None;
    for member in request.get_all(name).iter().flat_map(|line| members(line.as_bytes())) {
        match &mut form {
            None => form = Some(member.to_vec()),
            Some(form) => {
                form.push(b',');
                form.extend_from_slice(member);
            }
        }
    }
    form.map(Vec::into_boxed_slice)
}

/// Is `kept` what [`normal_form`] would make of `lines`?
fn is_normal_form<'a>(kept: &[u8], lines: impl Iterator<Item = &'a HeaderValue>) -> bool {
    let mut rest = kept;
    let mut separator: &[u8] = b"";
    for member in lines.flat_map(|line| members(line.as_bytes())) {
        match rest.strip_prefix(separator).and_then(|rest| rest.strip_prefix(member)) {
            Some(after) => rest = after,
            None => return false,
        }
        separator = b",";
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::super::fields::tests::head;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn vary_is_the_union_of_its_lines() {
        let fields = |names: &[&'static str]| Vary::Fields(names.iter().map(|n| HeaderName::from_static(n)).collect());
        let rows = [
            ("", Vary::None),
            ("vary: ", Vary::None),
            ("vary: , ,", Vary::None),
            ("vary: Foo", fields(&["foo"])),
            ("vary: foo, Bar,baz", fields(&["bar", "baz", "foo"])),
            ("vary: b | vary: a, B", fields(&["a", "b"])),
            ("vary: a, , b", fields(&["a", "b"])),
            ("vary: *", Vary::Star),
            ("vary: *, *", Vary::Star),
            ("vary: * | vary: *", Vary::Star),
            ("vary: , *", Vary::Star),
            ("vary:  | vary: *", Vary::Star),
            ("vary: *, foo", Vary::Star),
            ("vary: foo, *", Vary::Star),
            ("vary: foo bar", Vary::Star),
            ("vary: f\u{fc}r", Vary::Star),
        ];
        for (answer, expected) in rows {
            assert_eq!(Vary::read(&head(answer)), expected, "{answer}");
        }
    }

    fn check(vary: &str, stored: &str, asked: &str, fits: bool) {
        let vary = Vary::read(&head(vary));
        let (stored, asked) = (head(stored), head(asked));
        let key = VaryKey::of(&vary, &stored);
        assert_eq!(key.matches(&asked), fits, "{vary:?}: {stored:?} and {asked:?}");
        assert_eq!(key == VaryKey::of(&vary, &asked), fits, "key and match disagree: {stored:?} and {asked:?}");
        assert!(key.matches(&stored), "a request fits itself: {stored:?}");
    }

    #[test]
    fn section_4_1() {
        check("", "foo: 1", "foo: 2", true);
        check("vary: foo", "foo: 1", "foo: 1", true);
        check("vary: foo", "foo: 1", "foo: 2", false);
        check("vary: foo", "foo: 1", "foo: 12", false);
        check("vary: foo", "foo: 12", "foo: 1", false);
        check("vary: foo", "foo: 1", "", false);
        check("vary: foo", "", "foo: 1", false);
        check("vary: foo", "", "foo: ", false);
        check("vary: foo", "", "", true);
        check("vary: foo", "foo: 1 | other: 2", "foo: 1 | other: 3", true);
        check("vary: foo, bar", "foo: 1 | bar: abc", "bar: abc | foo: 1", true);
        check("vary: foo, bar", "foo: 1 | bar: abc", "foo: 1", false);
        check("vary: foo, bar, baz", "foo: 1 | baz: 789", "foo: 1 | baz: 789", true);
        check("vary: foo, bar, baz", "foo: 1 | bar: abc | baz: 789", "foo: 1 | baz: 789 | bar: abcde", false);
    }

    #[test]
    fn lines_are_one_list_and_space_around_commas_is_nothing() {
        check("vary: foo", "foo: 1, 2", "foo: 1 | foo: 2", true);
        check("vary: foo", "foo: 1,2", "foo: 1 ,\t 2", true);
        check("vary: foo", "foo: 1, 2", "foo: 2 | foo: 1", false);
        check("vary: foo", "foo: a b", "foo: ab", false);
        check("vary: foo", "foo: a  b", "foo: a b", false);
        check("vary: foo", "foo: 1,,2", "foo: 1,2", false);
        check("vary: foo", "foo: ", "foo:  | foo: ", false);
    }

    #[test]
    fn quoted_strings_and_comments_are_left_alone() {
        check("vary: foo", "foo: \"a, b\"", "foo: \"a,b\"", false);
        check("vary: foo", "foo: \"a, b\",  c", "foo: \"a, b\" | foo: c", true);
        check("vary: foo", "foo: x (a, b)", "foo: x (a,b)", false);
        check("vary: foo", "foo: \"a\\\", b\"", "foo: \"a\\\",b\"", false);
    }

    #[test]
    fn star_makes_no_key() {
        assert!(VaryKey::of(&Vary::Star, &head("foo: 1")).is_empty());
    }

    #[test]
    fn names_are_sorted_and_weighed() {
        let key = VaryKey::of(&Vary::read(&head("vary: b, a")), &head("a: 12345"));
        assert_eq!(key.names().map(HeaderName::as_str).collect::<Vec<_>>(), ["a", "b"]);
        assert!(!key.is_empty());
        assert!(key.weight() >= 7);
    }

    #[test]
    fn bytes_that_are_no_key_are_refused() {
        let sized =
            |text: &str| [&u32::try_from(text.len()).expect("short").to_le_bytes()[..], text.as_bytes()].concat();
        let absent = |name: &str| [&sized(name)[..], &[0]].concat();
        let fields = |count: u32, fields: &[Vec<u8>]| [&count.to_le_bytes()[..], &fields.concat()].concat();
        assert!(VaryKey::read(&fields(2, &[absent("a"), absent("b")]), 2).is_some());
        for (why, bytes) in [
            ("more than permitted", fields(3, &[absent("a"), absent("b"), absent("c")])),
            ("a number that lies", fields(u32::MAX, &[absent("a")])),
            ("too few", fields(2, &[absent("a")])),
            ("out of order", fields(2, &[absent("b"), absent("a")])),
            ("twice the same", fields(2, &[absent("a"), absent("a")])),
            ("an upper-case name", fields(1, &[absent("A")])),
            ("no name", fields(1, &[absent("")])),
            ("another mark", fields(1, &[[&sized("a")[..], &[2]].concat()])),
            ("something behind it", [fields(1, &[absent("a")]), vec![0]].concat()),
            ("nothing", Vec::new()),
        ] {
            assert_eq!(VaryKey::read(&bytes, 2), None, "{why}");
        }
    }

    fn request() -> impl Strategy<Value = HeaderMap> {
        let line = ("[ab]", proptest::collection::vec(any::<u8>(), 0..6));
        proptest::collection::vec(line, 0..4).prop_map(|lines| {
            let mut request = HeaderMap::new();
            for (name, bytes) in lines {
                if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_bytes(&bytes)) {
                    request.append(name, value);
                }
            }
            request
        })
    }

    proptest! {
        #[test]
        fn matching_written_bytes_and_equality_agree(
            (one, other) in (request(), request()),
            vary in prop_oneof!["vary: a", "vary: a, b", ""],
        ) {
            let vary = Vary::read(&head(&vary));
            let (key, twin) = (VaryKey::of(&vary, &one), VaryKey::of(&vary, &other));
            let (mut bytes, mut twins) = (Vec::new(), Vec::new());
            key.write_to(&mut bytes);
            twin.write_to(&mut twins);
            prop_assert!(key.matches(&one));
            prop_assert_eq!(key.matches(&other), key == twin);
            prop_assert_eq!(bytes == twins, key == twin);
            prop_assert!(key == twin || !twins.starts_with(&bytes));
            prop_assert_eq!(VaryKey::read(&bytes, 2), Some(key));
            for end in 0..bytes.len() {
                prop_assert_eq!(VaryKey::read(&bytes[..end], 2), None);
            }
        }
    }
}
