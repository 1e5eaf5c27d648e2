//! Which rules could ever name an entry.
//!
//! A notification that nobody heard may have named whatever its rules can name. So each rule has a tag of its own, which
//! every entry carries that the rule could name, and a lost subscription marks that tag. Whether it could is a matter of
//! the entry's other tags alone: one of them fits one of the rule's targets, with anything in place of its values.
//!
//! Entries are filled often, and there may be a thousand rules. The patterns are sorted by the text before their first
//! value. The texts that a tag begins with are then a chain: the last one at or before the tag in that order, or one that
//! this one itself begins with.

use smallvec::SmallVec;

/// The patterns of all rules.
#[derive(Clone, Debug, Default)]
pub(super) struct Governed {
    /// Sorted by `start`.
    patterns: Vec<Pattern>,
}

#[derive(Clone, Debug)]
struct Pattern {
    /// What a tag begins with; all of it, if `rest` is empty.
    start: Box<str>,
    /// What follows, each after any value; the last one at the end.
    rest: Box<[Box<str>]>,
    rule: usize,
    /// The nearest pattern before this one whose `start` this one begins with.
    parent: Option<usize>,
}

impl Governed {
    /// Each pattern with its rule: texts that stand in this order, any values between them.
    pub(super) fn new(patterns: impl IntoIterator<Item = (usize, Vec<Box<str>>)>) -> Self {
        let mut patterns: Vec<Pattern> = patterns
            .into_iter()
            .filter_map(|(rule, texts)| {
                let mut texts = texts.into_iter();
                Some(Pattern { start: texts.next()?, rest: texts.collect(), rule, parent: None })
            })
            .collect();
        patterns.sort_by(|one, other| one.start.cmp(&other.start));
        for index in 1..patterns.len() {
            let (before, from) = patterns.split_at_mut(index);
            let Some(this) = from.first_mut() else { break };
            let mut candidate = Some(index - 1);
            while let Some(at) = candidate {
                let Some(pattern) = before.get(at) else { break };
                if this.start.starts_with(&*pattern.start) {
                    this.parent = Some(at);
                    break;
                }
                candidate = pattern.parent;
            }
        }
        Self { patterns }
    }

    /// The rules that could name one of `tags`: their numbers, ascending, each once.
    pub(super) fn of(&self, tags: &[impl AsRef<str>]) -> SmallVec<[usize; 8]> {
        let mut rules = SmallVec::new();
        for tag in tags {
            let tag = tag.as_ref();
            let mut next = self.patterns.partition_point(|pattern| *pattern.start <= *tag).checked_sub(1);
            while let Some(pattern) = next.and_then(|at| self.patterns.get(at)) {
                if pattern.fits(tag) {
                    rules.push(pattern.rule);
                }
                next = pattern.parent;
            }
        }
        rules.sort_unstable();
        rules.dedup();
        rules
    }
}

impl Pattern {
    fn fits(&self, tag: &str) -> bool {
        let Some(behind) = tag.strip_prefix(&*self.start) else { return false };
        let Some((end, middle)) = self.rest.split_last() else { return behind.is_empty() };
        let Some(mut between) = behind.strip_suffix(&**end) else { return false };
        // The first place where a text stands leaves the most for those that follow.
        for text in middle {
            let Some(at) = between.find(&**text) else { return false };
            between = between.get(at + text.len()..).unwrap_or_default();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn patterns(texts: &[&str]) -> Governed {
        Governed::new(texts.iter().enumerate().map(|(rule, text)| (rule, text.split('…').map(Box::from).collect())))
    }

    #[test]
    fn a_rule_governs_what_fits_one_of_its_patterns() {
        let governed = patterns(&[
            "tag:user:…",
            "tag:user:7",
            "tag:…",
            "url:/api/users/…/profile",
            "prefix:/api/…/",
            "tag:user:…:posts:…:x",
            "tag:us",
            "a…b…c…d",
        ]);
        for (tags, expected) in [
            (&["tag:user:7"][..], &[0, 1, 2][..]),
            (&["tag:user:70"], &[0, 2]),
            (&["tag:user:", "tag:user:7"], &[0, 1, 2]),
            (&["tag:use"], &[2]),
            (&["tag:us"], &[2, 6]),
            (&["tag:user:1:posts:2:x"], &[0, 2, 5]),
            (&["tag:user:1:posts:2:xx"], &[0, 2]),
            (&["tag:user:posts:x"], &[0, 2]),
            (&["url:/api/users/7/profile"], &[3]),
            (&["url:/api/users/7/profile/x"], &[]),
            (&["url:/api/users//profile"], &[3]),
            (&["url:/api/users/profile"], &[]),
            (&["prefix:/api/"], &[]),
            (&["prefix:/api/users/"], &[4]),
            (&["a.b.c.b.d"], &[7]),
            (&["abcd"], &[7]),
            (&["acbd"], &[]),
            (&["tag"], &[]),
            (&[""], &[]),
            (&[], &[]),
        ] {
            assert_eq!(governed.of(tags)[..], *expected, "{tags:?}");
        }
        assert!(Governed::default().of(&["tag:x"]).is_empty());
    }

    proptest! {
        /// The chain finds what looking at every pattern finds.
        #[test]
        fn the_index_finds_what_a_walk_over_all_finds(
            texts in prop::collection::vec("[ab…]{0,5}", 0..30), tags in prop::collection::vec("[ab]{0,7}", 0..6),
        ) {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let governed = patterns(&texts);
            let mut every: Vec<usize> = governed
                .patterns
                .iter()
                .filter(|pattern| tags.iter().any(|tag| pattern.fits(tag)))
                .map(|pattern| pattern.rule)
                .collect();
            every.sort_unstable();
            prop_assert_eq!(governed.of(&tags).to_vec(), every);
        }
    }
}
