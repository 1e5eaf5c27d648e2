//! All that is known of one resource: its variants, and whether its answers could be shared at all.
//!
//! A shelf never changes; whoever keeps or drops something makes the next one and swaps it in. So a reader needs no lock
//! and sees one state, and a writer's rules are plain functions from shelf to shelf.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName};
use smallvec::SmallVec;

use super::Entry;
use crate::policy::key::CacheKey;
use crate::rfc::{Moment, Reason};

/// One resource's variants. Immutable.
#[derive(Clone, Debug)]
pub struct Shelf {
    key: CacheKey,
    /// The most recent first, by Date and then by arrival: the order in which RFC 9111 §4.1 prefers them.
    variants: SmallVec<[Arc<Entry>; 1]>,
    /// The last answer could not be shared, and until when (on the monotonic clock) that is worth remembering.
    uncacheable: Option<(Reason, Duration)>,
}

impl Shelf {
    /// Nothing is known of `key` yet.
    pub(super) fn empty(key: CacheKey) -> Self {
        Self { key, variants: SmallVec::new(), uncacheable: None }
    }

    /// The resource.
    pub fn key(&self) -> &CacheKey {
        &self.key
    }

    /// Its variants, the most recent first.
    pub fn variants(&self) -> &[Arc<Entry>] {
        &self.variants
    }

    /// Why its answers cannot be shared, if that was so lately.
    pub fn uncacheable(&self, now: Moment) -> Option<Reason> {
        self.uncacheable.filter(|(_, until)| now.mono < *until).map(|(reason, _)| reason)
    }

    /// Is there nothing on it?
    pub fn is_empty(&self) -> bool {
        self.variants.is_empty() && self.uncacheable.is_none()
    }

    /// The variants that `request` selects, the most recent first: "the stored response … selected" is the first of them
    /// that may be used ([RFC 9111 §4.1](https://www.rfc-editor.org/rfc/rfc9111#section-4.1)).
    pub fn matching<'s>(&'s self, request: &'s HeaderMap) -> impl Iterator<Item = &'s Arc<Entry>> {
        self.variants.iter().filter(|entry| entry.vary.matches(request))
    }

    /// The fields that any of its variants depends on.
    pub fn variant_names(&self) -> Vec<HeaderName> {
        let mut names: Vec<HeaderName> = self.variants.iter().flat_map(|entry| entry.vary.names().cloned()).collect();
        names.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
        names.dedup();
        names
    }

    /// Bytes held, in the map's unit.
    pub(super) fn weight(&self) -> u32 {
        if self.variants.is_empty() {
            return u32::try_from(self.key.bytes().len() + EMPTY_OVERHEAD).unwrap_or(u32::MAX);
        }
        self.variants.iter().map(|entry| entry.full_weight()).fold(0, u32::saturating_add)
    }

    /// Does it hold this very entry?
    pub(super) fn holds(&self, entry: &Arc<Entry>) -> bool {
        self.variants.iter().any(|held| Arc::ptr_eq(held, entry))
    }

    /// The same with `entry` on it, or nothing if what it would replace was born later.
    pub(super) fn with(&self, entry: Arc<Entry>, limits: &Limits) -> Option<Self> {
        let mut next = self.clone();
        if let Some(same) = next.variants.iter().position(|held| held.vary == entry.vary) {
            if outranks(&next.variants[same], &entry) {
                return None;
            }
            next.variants.remove(same);
        }
        // An answer that names more fields shows that those that named fewer were too coarse.
        next.variants.retain(|held| !coarser(held, &entry));
        let newcomer = Arc::as_ptr(&entry);
        let place = next.variants.partition_point(|held| recency(held) > recency(&entry));
        next.variants.insert(place, entry);
        next.uncacheable = None;
        while next.variants.len() > limits.max_variants.max(1)
            || (next.variants.len() > 1 && u64::from(next.weight()) > limits.max_weight)
        {
            next.drop_oldest_but(newcomer);
        }
        Some(next)
    }

    /// Is there an answer of the same variant and epoch that is more recent than `entry`?
    pub(super) fn has_newer(&self, entry: &Entry) -> bool {
        let same = |held: &&Arc<Entry>| held.vary == entry.vary && held.born.epoch == entry.born.epoch;
        self.variants.iter().filter(same).any(|held| recency(held) > recency(entry))
    }

    /// The same, remembered as not shareable.
    pub(super) fn with_uncacheable(&self, reason: Reason, until_mono: Duration) -> Self {
        Self { uncacheable: Some((reason, until_mono)), ..self.clone() }
    }

    /// The same without what `keep` turns away and without a marker that has run out; nothing if that changes nothing.
    pub(super) fn without(&self, now: Moment, keep: impl Fn(&Entry) -> bool) -> Option<Self> {
        let mut next = self.clone();
        next.variants.retain(|entry| keep(entry));
        next.uncacheable = self.uncacheable.filter(|(_, until)| now.mono < *until);
        let same = next.variants.len() == self.variants.len() && next.uncacheable == self.uncacheable;
        (!same).then_some(next)
    }

    /// The same without `entry`; nothing if it is not there.
    pub(super) fn without_entry(&self, entry: &Arc<Entry>) -> Option<Self> {
        let mut next = self.clone();
        next.variants.retain(|held| !Arc::ptr_eq(held, entry));
        (next.variants.len() < self.variants.len()).then_some(next)
    }

    /// Drops the variant that arrived first, but never the one just kept, whatever its Date.
    fn drop_oldest_but(&mut self, kept: *const Entry) {
        let others = self.variants.iter().enumerate().filter(|(_, entry)| Arc::as_ptr(entry) != kept);
        if let Some((oldest, _)) = others.min_by_key(|(_, entry)| entry.facts.received.mono) {
            self.variants.remove(oldest);
        }
    }
}

/// How much one resource may take up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Variants.
    pub(super) max_variants: usize,
    /// Bytes; a single variant may be heavier.
    pub(super) max_weight: u64,
}

/// What a shelf without variants costs.
const EMPTY_OVERHEAD: usize = 400;

/// RFC 9111 §4.1: "the most recent response (as determined by the Date header field)".
fn recency(entry: &Entry) -> (Duration, Duration) {
    (entry.facts.date, entry.facts.received.mono)
}

/// Was `held` born later than `entry`, so that `entry` may know less? Births of two epochs do not compare; the one that
/// arrives last is as good as any, and both will be validated.
fn outranks(held: &Entry, entry: &Entry) -> bool {
    held.born.epoch == entry.born.epoch && held.born.number > entry.born.number
}

/// Does `held` depend on fewer of the fields that `entry` depends on, and on no other?
fn coarser(held: &Entry, entry: &Entry) -> bool {
    held.vary.names().count() < entry.vary.names().count()
        && held.vary.names().all(|name| entry.vary.names().any(|other| other == name))
}

#[cfg(test)]
mod tests {
    use super::super::samples::{born, epoch, key, parts, vary};
    use super::super::{Born, EntryParts, Epoch};
    use super::*;

    const LIMITS: Limits = Limits { max_variants: 3, max_weight: 1 << 20 };

    /// An entry with the given Vary fields, of which `date` and arrival are given in seconds.
    fn variant(
        name: &'static str,
        fields: &[(&'static str, &'static str)],
        number: u64,
        date: u64,
        arrived: u64,
    ) -> Arc<Entry> {
        let mut parts = EntryParts { vary: vary(fields), ..parts("/a", number) };
        parts.body = name.into();
        parts.facts.date = Duration::from_secs(date);
        parts.facts.received.mono = Duration::from_secs(arrived);
        Arc::new(Entry::new(parts))
    }

    fn names(shelf: &Shelf) -> Vec<&str> {
        shelf.variants().iter().map(|entry| std::str::from_utf8(&entry.body).expect("a name")).collect()
    }

    /// Keeps `entries` one after the other and compares what the shelf then holds.
    fn check(what: &str, entries: &[Arc<Entry>], expected: &[&str]) {
        let mut shelf = Shelf::empty(key("/a"));
        for entry in entries {
            shelf = shelf.with(Arc::clone(entry), &LIMITS).unwrap_or(shelf);
        }
        assert_eq!(names(&shelf), expected, "{what}");
    }

    #[test]
    fn an_entry_takes_the_place_of_its_own_variant_only() {
        let de = |name, number, date| variant(name, &[("accept-language", "de")], number, date, date);
        let fr = |name, number, date| variant(name, &[("accept-language", "fr")], number, date, date);
        check("the same variant", &[de("old", 0, 1), de("new", 0, 2)], &["new"]);
        check("two variants", &[de("de", 0, 1), fr("fr", 0, 2)], &["fr", "de"]);
        check("the later birth stays", &[de("late", 5, 1), de("early", 4, 2)], &["late"]);
        check("equal births: the later answer", &[de("one", 5, 1), de("two", 5, 2)], &["two"]);
        check("another variant's birth does not matter", &[de("late", 5, 1), fr("early", 4, 2)], &["early", "late"]);
        let plain = |name, date| variant(name, &[], 0, date, date);
        check("no Vary", &[plain("old", 1), plain("new", 2)], &["new"]);
    }

    #[test]
    fn births_of_two_epochs_do_not_compare() {
        let elsewhere = Born { epoch: Epoch(epoch().0 + 1), ..born(9) };
        let foreign = Arc::new(Entry::new(EntryParts { born: elsewhere, body: "foreign".into(), ..parts("/a", 0) }));
        check("the last one kept", &[Arc::clone(&foreign), variant("ours", &[], 1, 0, 0)], &["ours"]);
        check("also the other way round", &[variant("ours", &[], 1, 0, 0), foreign], &["foreign"]);
        assert_eq!(born(1).epoch, epoch());
    }

    #[test]
    fn the_most_recent_by_date_comes_first() {
        let of = |name: &'static str, date, arrived| variant(name, &[("a", name)], 0, date, arrived);
        check("by Date", &[of("x", 3, 1), of("y", 1, 2), of("z", 2, 3)], &["x", "z", "y"]);
        check("then by arrival", &[of("x", 1, 1), of("y", 1, 3), of("z", 1, 2)], &["y", "z", "x"]);
    }

    #[test]
    fn beyond_the_cap_the_first_to_arrive_goes_and_never_the_newcomer() {
        let of = |name: &'static str, date, arrived| variant(name, &[("a", name)], 0, date, arrived);
        let three = [of("x", 9, 1), of("y", 8, 2), of("z", 7, 3)];
        let with = |last: Arc<Entry>| three.iter().cloned().chain([last]).collect::<Vec<_>>();
        check("oldest arrival out", &with(of("new", 10, 4)), &["new", "y", "z"]);
        check("an old Date does not put the newcomer out", &with(of("new", 0, 4)), &["y", "z", "new"]);
        check("nor does an arrival out of order", &with(of("new", 10, 0)), &["new", "y", "z"]);
    }

    #[test]
    fn variants_too_heavy_together_make_room_for_the_newest() {
        let limits = Limits { max_variants: 9, max_weight: 10_000 };
        let heavy = |value: &'static str, arrived| {
            let mut parts = EntryParts { vary: vary(&[("a", value)]), ..parts("/a", 0) };
            parts.body = vec![0; 6_000].into();
            parts.facts.received.mono = Duration::from_secs(arrived);
            Arc::new(Entry::new(parts))
        };
        let shelf = Shelf::empty(key("/a")).with(heavy("x", 1), &limits).expect("kept");
        let shelf = shelf.with(heavy("y", 2), &limits).expect("kept");
        assert_eq!(shelf.variants().len(), 1);
        assert_eq!(shelf.variants()[0].facts.received.mono, Duration::from_secs(2));
        let alone = Limits { max_variants: 9, max_weight: 10 };
        assert_eq!(shelf.with(heavy("z", 3), &alone).expect("kept").variants().len(), 1, "one may be heavier");
    }

    #[test]
    fn an_answer_that_names_more_fields_replaces_the_coarser_ones() {
        let plain = || variant("plain", &[], 0, 1, 1);
        let language = || variant("language", &[("accept-language", "de")], 0, 2, 2);
        let coding = || variant("coding", &[("accept-encoding", "br")], 0, 3, 3);
        let both = || variant("both", &[("accept-encoding", "br"), ("accept-language", "de")], 0, 4, 4);
        check("none, then one", &[plain(), language()], &["language"]);
        check("one, then another", &[language(), coding()], &["coding", "language"]);
        check("each of both is coarser", &[language(), coding(), both()], &["both"]);
        check("a coarser one that comes later is kept beside", &[language(), plain()], &["language", "plain"]);
    }

    #[test]
    fn a_marker_lasts_until_its_time_or_until_something_is_kept() {
        let at = |secs| Moment { wall: Duration::from_secs(1_000), mono: Duration::from_secs(secs) };
        let empty = Shelf::empty(key("/a"));
        assert!(empty.is_empty());
        let marked = empty.with_uncacheable(Reason::SetCookie, Duration::from_secs(10));
        assert!(!marked.is_empty());
        assert_eq!(marked.uncacheable(at(9)), Some(Reason::SetCookie));
        assert_eq!(marked.uncacheable(at(10)), None);
        assert!(marked.without(at(9), |_| true).is_none());
        assert!(marked.without(at(10), |_| true).expect("changed").is_empty());
        let kept = marked.with(variant("x", &[], 0, 1, 1), &LIMITS).expect("kept");
        assert_eq!(kept.uncacheable(at(0)), None);
        assert_eq!(kept.with_uncacheable(Reason::SetCookie, Duration::from_secs(10)).variants().len(), 1);
    }

    #[test]
    fn the_names_are_those_of_all_variants() {
        let shelf = Shelf::empty(key("/a"));
        assert!(shelf.variant_names().is_empty());
        let shelf = shelf.with(variant("x", &[("b", "1"), ("a", "1")], 0, 1, 1), &LIMITS).expect("kept");
        let shelf = shelf.with(variant("y", &[("b", "1"), ("c", "1")], 0, 1, 1), &LIMITS).expect("kept");
        assert_eq!(shelf.variant_names(), ["a", "b", "c"]);
    }
}
