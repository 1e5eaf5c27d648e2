//! What was asked for, in the bytes it was asked in.

use std::ops::Range;

use smallvec::SmallVec;

/// The target of a request: where it goes, before any rule has touched it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// Whether the client came over TLS.
    pub secure: bool,
    /// Lower case, without the scheme's default port and without a trailing dot.
    pub host: &'a str,
    /// As received, never decoded.
    pub path: &'a str,
    /// As received, without the question mark. `Some("")` for a bare one.
    pub query: Option<&'a str>,
}

impl<'a> Target<'a> {
    /// `host` must be normalised already; `path_and_query` is taken as it is.
    pub fn new(secure: bool, host: &'a str, path_and_query: &'a str) -> Target<'a> {
        let (path, query) = match path_and_query.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (path_and_query, None),
        };
        Target { secure, host, path, query }
    }
}

/// What a route's path captured: places in the target's path, in the order of the pattern. The names are the rule's.
///
/// Only meaningful together with the [`Target`] that was routed; with another one, values may be missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Captures(SmallVec<[(usize, usize); 4]>);

impl Captures {
    /// The raw value of the capture with this index.
    pub fn get<'a>(&self, index: usize, target: &Target<'a>) -> Option<&'a str> {
        let &(start, end) = self.0.get(index)?;
        target.path.get(start..end)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn push(&mut self, range: Range<usize>) {
        self.0.push((range.start, range.end));
    }

    pub(super) fn pop(&mut self) {
        self.0.pop();
    }
}
