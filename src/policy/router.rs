//! Which route a request belongs to, at a cost that does not grow with the number of routes.
//!
//! The patterns form a tree with one level per segment. At each level the more specific branch is tried first: fixed
//! text, then text around a parameter (the longest first; of two as long, the one with more in front), then a parameter, then the rest of the path. At the
//! end of a branch is a *slot*: the routes that share this pattern. In a slot the order is:
//!
//! 1. higher `priority`;
//! 2. more conditions (host, method, each header);
//! 3. a host's name before a wildcard, a longer wildcard before a shorter one;
//! 4. the order of the file.
//!
//! A slot is indexed by host, so a thousand tenants on one path cost no more than one. If no route of a slot accepts
//! the request, the search goes on with the next less specific pattern, and at last with the routes without a path.

use std::cmp::Reverse;

use foldhash::HashMap;
use http::{HeaderMap, Method};

use super::hosts::{HostPattern, lookups};
use super::pattern::{Pattern, Shape};
use super::settings::{HeaderMatch, HeaderTest};
use super::target::{Captures, Target};

/// When a route applies. `id` is its place in the file.
#[derive(Clone, Debug)]
pub(super) struct Matcher {
    pub(super) id: usize,
    pub(super) pattern: Option<Pattern>,
    pub(super) hosts: Vec<HostPattern>,
    pub(super) methods: Vec<Method>,
    pub(super) headers: Vec<HeaderMatch>,
    pub(super) priority: i32,
}

/// All matchers, arranged for finding.
#[derive(Debug, Default)]
pub(super) struct Router {
    nodes: Vec<Node>,
    slots: Vec<Slot>,
    /// The routes without a path.
    anywhere: Slot,
    matchers: Vec<Matcher>,
}

impl Router {
    pub(super) fn new(matchers: Vec<Matcher>) -> Router {
        let mut router = Router { nodes: vec![Node::default()], ..Router::default() };
        for (index, matcher) in matchers.iter().enumerate() {
            let slot = match &matcher.pattern {
                Some(pattern) => router.slot_of(&pattern.segments),
                None => Some(&mut router.anywhere),
            };
            if let Some(slot) = slot {
                slot.add(index, matcher);
            }
        }
        router.slots.iter_mut().chain([&mut router.anywhere]).for_each(Slot::sort);
        router.matchers = matchers;
        router
    }

    /// The id of the route, and what its path captured.
    pub(super) fn find(&self, method: &Method, target: &Target<'_>, headers: &HeaderMap) -> Option<(usize, Captures)> {
        let asked = Asked { method, host: target.host, headers };
        let mut captures = Captures::default();
        let start = target.path.starts_with('/').then_some(1);
        let found = start.and_then(|_| self.walk(0, target.path, start, &asked, &mut captures));
        let index = found.or_else(|| self.pick(&self.anywhere, &asked))?;
        Some((self.matchers.get(index)?.id, captures))
    }

    /// The ids of all routes whose path fits, with what it captures: whatever the host, the method and the fields.
    pub(super) fn fitting(&self, path: &str) -> impl Iterator<Item = (usize, Captures)> {
        self.matchers.iter().filter_map(move |matcher| {
            let captures = matcher.pattern.as_ref().map_or_else(|| Some(Captures::default()), |one| one.capture(path));
            Some((matcher.id, captures?))
        })
    }

    /// The ids of routes that can never match, each with one that always comes first.
    pub(super) fn shadowed(&self) -> Vec<(usize, usize)> {
        let slots = self.slots.iter().chain([&self.anywhere]);
        let mut pairs: Vec<_> = slots.flat_map(|slot| self.shadowed_in(slot)).collect();
        pairs.sort_unstable();
        pairs
    }

    /// Goes down the tree, as deep as the longest pattern. `at`: where the next segment begins, `None` at the end.
    fn walk(
        &self,
        node: usize,
        path: &str,
        at: Option<usize>,
        asked: &Asked<'_>,
        captures: &mut Captures,
    ) -> Option<usize> {
        let node = self.nodes.get(node)?;
        let Some(start) = at else {
            return self.pick(self.slots.get(node.slot?)?, asked);
        };
        let rest = path.get(start..)?;
        let length = rest.find('/').unwrap_or(rest.len());
        let segment = rest.get(..length)?;
        let next = (length < rest.len()).then_some(start + length + 1);

        if let Some(&child) = node.fixed.get(segment)
            && let Some(found) = self.walk(child, path, next, asked, captures)
        {
            return Some(found);
        }
        for (before, after, child) in &node.between {
            let (from, to) = (before.len(), length.saturating_sub(after.len()));
            if from < to && segment.starts_with(&**before) && segment.ends_with(&**after) {
                captures.push(start + from..start + to);
                if let Some(found) = self.walk(*child, path, next, asked, captures) {
                    return Some(found);
                }
                captures.pop();
            }
        }
        if let Some(child) = node.any
            && !segment.is_empty()
        {
            captures.push(start..start + length);
            if let Some(found) = self.walk(child, path, next, asked, captures) {
                return Some(found);
            }
            captures.pop();
        }
        let found = self.pick(self.slots.get(node.rest?)?, asked)?;
        captures.push(start..path.len());
        Some(found)
    }

    /// The first route of the slot that accepts the request.
    fn pick(&self, slot: &Slot, asked: &Asked<'_>) -> Option<usize> {
        let accepted = |list: &'_ Vec<Ranked>| {
            list.iter().find(|ranked| self.matchers.get(ranked.matcher).is_some_and(|one| one.accepts(asked))).copied()
        };
        let anywhere = accepted(&slot.any_host);
        if slot.by_host.is_empty() {
            return anywhere.map(|ranked| ranked.matcher);
        }
        let here = lookups(asked.host).filter_map(|host| slot.by_host.get(host)).filter_map(accepted);
        here.chain(anywhere).min().map(|ranked| ranked.matcher)
    }

    /// The slot at the end of these segments; the way there is built if need be.
    fn slot_of(&mut self, segments: &[Shape]) -> Option<&mut Slot> {
        let mut at = 0;
        for shape in segments {
            if *shape == Shape::Rest {
                let fresh = self.slots.len();
                let slot = *self.nodes.get_mut(at)?.rest.get_or_insert(fresh);
                return self.slot_at(slot);
            }
            let fresh = self.nodes.len();
            at = self.nodes.get_mut(at)?.child(shape, fresh);
            if at == fresh {
                self.nodes.push(Node::default());
            }
        }
        let fresh = self.slots.len();
        let slot = *self.nodes.get_mut(at)?.slot.get_or_insert(fresh);
        self.slot_at(slot)
    }

    fn slot_at(&mut self, index: usize) -> Option<&mut Slot> {
        if index == self.slots.len() {
            self.slots.push(Slot::default());
        }
        self.slots.get_mut(index)
    }

    fn shadowed_in(&self, slot: &Slot) -> Vec<(usize, usize)> {
        let of = |index: usize| self.matchers.get(index);
        let members: Vec<&Matcher> = slot.members.iter().filter_map(|&index| of(index)).collect();
        let pairs = members.iter().filter_map(|late| {
            let early = members.iter().find(|early| early.shadows(late))?;
            Some((late.id, early.id))
        });
        pairs.collect()
    }
}

/// A place in the tree: what may come next, and what ends here.
#[derive(Debug, Default)]
struct Node {
    fixed: HashMap<Box<str>, usize>,
    /// Text before and behind a parameter, in the order in which they are tried.
    between: Vec<(Box<str>, Box<str>, usize)>,
    any: Option<usize>,
    /// The slot of patterns that end with `{*rest}` here.
    rest: Option<usize>,
    /// The slot of patterns that end here.
    slot: Option<usize>,
}

impl Node {
    /// The child for this shape, or `fresh` as the child it will have.
    fn child(&mut self, shape: &Shape, fresh: usize) -> usize {
        match shape {
            Shape::Fixed(text) => *self.fixed.entry(text.clone()).or_insert(fresh),
            Shape::Between(before, after) => {
                let known = self.between.iter().find(|(b, a, _)| b == before && a == after);
                if let Some((_, _, child)) = known {
                    return *child;
                }
                self.between.push((before.clone(), after.clone(), fresh));
                self.between.sort_by_key(|(before, after, _)| Reverse((before.len() + after.len(), before.len())));
                fresh
            }
            // A rest has no child; it never gets here.
            Shape::Any | Shape::Rest => *self.any.get_or_insert(fresh),
        }
    }
}

/// The routes that share a pattern.
#[derive(Debug, Default)]
struct Slot {
    by_host: HashMap<Box<str>, Vec<Ranked>>,
    any_host: Vec<Ranked>,
    members: Vec<usize>,
}

impl Slot {
    fn add(&mut self, index: usize, matcher: &Matcher) {
        self.members.push(index);
        if matcher.hosts.is_empty() {
            self.any_host.push(Ranked { rank: matcher.rank(None), matcher: index });
        }
        for host in &matcher.hosts {
            let list = self.by_host.entry(host.0.clone()).or_default();
            list.push(Ranked { rank: matcher.rank(Some(host)), matcher: index });
        }
    }

    fn sort(&mut self) {
        self.any_host.sort_unstable();
        self.by_host.values_mut().for_each(|list| list.sort_unstable());
    }
}

/// Smaller comes first: priority, conditions, precision of the host, order of the file.
type Rank = (Reverse<i32>, Reverse<usize>, Reverse<usize>, usize);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Ranked {
    rank: Rank,
    matcher: usize,
}

/// What a route may ask of a request besides its path.
struct Asked<'a> {
    method: &'a Method,
    host: &'a str,
    headers: &'a HeaderMap,
}

impl Matcher {
    fn accepts(&self, asked: &Asked<'_>) -> bool {
        let method = self.methods.is_empty() || self.takes(asked.method);
        method && self.headers.iter().all(|one| one.holds(asked.headers))
    }

    /// GET takes HEAD, too: a HEAD is answered from what a GET stored.
    fn takes(&self, method: &Method) -> bool {
        self.methods.iter().any(|one| one == method || (*one == Method::GET && *method == Method::HEAD))
    }

    fn rank(&self, host: Option<&HostPattern>) -> Rank {
        let conditions =
            usize::from(!self.hosts.is_empty()) + usize::from(!self.methods.is_empty()) + self.headers.len();
        let precision = host.map_or(0, HostPattern::precision);
        (Reverse(self.priority), Reverse(conditions), Reverse(precision), self.id)
    }

    /// Whether this one comes first wherever `late` would match.
    fn shadows(&self, late: &Matcher) -> bool {
        if self.id == late.id {
            return false;
        }
        let methods = self.methods.is_empty()
            || (!late.methods.is_empty() && late.methods.iter().all(|method| self.takes(method)));
        let headers = self.headers.iter().all(|mine| late.headers.iter().any(|theirs| theirs.implies(mine)));
        methods && headers && self.is_before_on_all_hosts_of(late)
    }

    fn is_before_on_all_hosts_of(&self, late: &Matcher) -> bool {
        if late.hosts.is_empty() {
            return self.hosts.is_empty() && self.rank(None) < late.rank(None);
        }
        late.hosts.iter().all(|theirs| {
            let rank = late.rank(Some(theirs));
            let mine = self.hosts.iter().filter(|mine| mine.covers(theirs)).any(|mine| self.rank(Some(mine)) < rank);
            mine || (self.hosts.is_empty() && self.rank(None) < rank)
        })
    }
}

impl HeaderMatch {
    fn holds(&self, headers: &HeaderMap) -> bool {
        headers.get_all(&self.name).iter().any(|value| match &self.value {
            HeaderTest::Exact(wanted) => value.as_bytes() == wanted.as_bytes(),
            HeaderTest::Prefix(wanted) => value.as_bytes().starts_with(wanted.as_bytes()),
            HeaderTest::Present => true,
        })
    }

    /// Whether whatever meets this meets `other`, too.
    fn implies(&self, other: &HeaderMatch) -> bool {
        let value = match (&self.value, &other.value) {
            (_, HeaderTest::Present) => true,
            (HeaderTest::Exact(mine), HeaderTest::Exact(theirs)) => mine == theirs,
            (HeaderTest::Exact(mine) | HeaderTest::Prefix(mine), HeaderTest::Prefix(theirs)) => {
                mine.starts_with(theirs.as_str())
            }
            _ => false,
        };
        value && self.name == other.name
    }
}
