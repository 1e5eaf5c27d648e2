//! How high the log has risen, per tag and per grade.
//!
//! A mark is the number of the latest change of one grade that names one tag. Change number N hits every entry born
//! before N and no other. The grades are kept apart: with one number of one kind, a soft change would hide the hard one
//! before it, and an entry that must be absent would be served.
//!
//! *Floors* are marks that hit every entry. The table is bounded: when it is full, the tag whose latest change is
//! oldest is dropped, and the floors take over what its marks said. Then more is hit than was named, never less.

use std::collections::{BTreeSet, HashMap};

use super::Standing;
use crate::fleet::{Grade, Newest};
use crate::policy::tags::TagHash;

/// What these marks permit of an entry born at `born`.
pub(super) fn judge(marks: Newest, born: u64) -> Standing {
    if born < marks.hard {
        return Standing::Void;
    }
    if born < marks.check {
        return Standing::Check;
    }
    if born < marks.soft {
        return Standing::Soft;
    }
    Standing::Valid
}

fn newest(marks: Newest) -> u64 {
    marks.hard.max(marks.check).max(marks.soft)
}

/// All marks of one node.
#[derive(Debug)]
pub(super) struct MarkTable {
    floors: Newest,
    by_tag: HashMap<TagHash, Newest, foldhash::fast::RandomState>,
    /// Each tag of `by_tag` once, by its newest mark: the first is the next to be dropped.
    by_age: BTreeSet<(u64, TagHash)>,
    max_tags: usize,
    /// The newest mark of a tag that was dropped.
    dropped: u64,
}

impl MarkTable {
    /// An empty table that keeps the marks of at most `max_tags` tags.
    pub(super) fn new(max_tags: usize) -> Self {
        Self { floors: Newest::default(), by_tag: HashMap::default(), by_age: BTreeSet::new(), max_tags, dropped: 0 }
    }

    /// What the table permits of an entry born at `born` under `tags`: the worst that any mark says.
    pub(super) fn judge(&self, born: u64, tags: &[TagHash]) -> Standing {
        let mut worst = judge(self.floors, born);
        for tag in tags {
            if worst == Standing::Void {
                break;
            }
            if let Some(marks) = self.by_tag.get(tag) {
                worst = worst.max(judge(*marks, born));
            }
        }
        worst
    }

    /// Change `number` hits what carries `tag`.
    pub(super) fn mark(&mut self, number: u64, grade: Grade, tag: TagHash) {
        let marks = self.by_tag.entry(tag).or_default();
        let before = newest(*marks);
        marks.raise(grade, number);
        let after = newest(*marks);
        if after != before {
            self.by_age.remove(&(before, tag));
            self.by_age.insert((after, tag));
        }
        while self.by_tag.len() > self.max_tags {
            self.drop_oldest();
        }
    }

    /// Change `number` hits everything.
    pub(super) fn mark_all(&mut self, number: u64, grade: Grade) {
        self.floors.raise(grade, number);
        // What is hit by a hard floor is hit by nothing worse: the marks beneath it say nothing more.
        // All at once, for there may be a million of them.
        if grade == Grade::Hard && self.by_age.last().is_none_or(|(newest, _)| *newest <= number) {
            self.by_tag.clear();
            self.by_age.clear();
        }
    }

    /// Forgets up to `limit` tags of which nothing was heard after `number`, for when no entry was born before it. Should
    /// one turn up after all, it is validated. Says whether there are more.
    pub(super) fn forget_until(&mut self, number: u64, limit: usize) -> bool {
        let due = |table: &Self| table.by_age.first().is_some_and(|(newest, _)| *newest <= number);
        for _ in 0..limit {
            if !due(self) {
                return false;
            }
            self.drop_oldest();
        }
        due(self)
    }

    /// Whether anything has been marked at all.
    pub(super) fn is_marked(&self) -> bool {
        !self.by_tag.is_empty() || self.floors != Newest::default()
    }

    /// Tags that have a mark.
    pub(super) fn len(&self) -> usize {
        self.by_tag.len()
    }

    /// What was born before this number may be hit by marks that are no longer known, and is held to a floor instead.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// The floors rise first, then the tag goes. A hard mark leaves a *check* floor behind: what it does not name need
    /// not be absent, and what it does name is confirmed by the backend before it is used.
    fn drop_oldest(&mut self) {
        let Some((_, tag)) = self.by_age.first().copied() else { return };
        let marks = self.by_tag.get(&tag).copied().unwrap_or_default();
        self.floors.raise(Grade::Check, marks.hard.max(marks.check));
        self.floors.raise(Grade::Soft, marks.soft);
        self.dropped = newest(marks).max(self.dropped);
        self.by_age.pop_first();
        self.by_tag.remove(&tag);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Standing::{Check, Soft, Valid, Void};
    use super::*;

    const A: TagHash = TagHash(1);
    const B: TagHash = TagHash(2);
    const C: TagHash = TagHash(3);

    /// Applies `changes` (no tag: everything), then asks what becomes of an entry born at `born` under tag A.
    fn check(name: &str, max_tags: usize, changes: &[(u64, Grade, Option<TagHash>)], rows: &[(u64, Standing)]) {
        let mut table = MarkTable::new(max_tags);
        for (number, grade, tag) in changes {
            match tag {
                Some(tag) => table.mark(*number, *grade, *tag),
                None => table.mark_all(*number, *grade),
            }
            assert!(table.len() <= max_tags, "{name}: bounded");
            assert_eq!(table.by_age.len(), table.by_tag.len(), "{name}: both sides of the table agree");
        }
        for (born, standing) in rows {
            assert_eq!(table.judge(*born, &[A]), *standing, "{name}: born {born}");
        }
    }

    #[test]
    fn a_change_hits_what_was_born_before_it() {
        use Grade::{Check as C_, Hard, Soft as S_};
        check("nothing happened", 9, &[], &[(0, Valid), (7, Valid)]);
        check("hard", 9, &[(5, Hard, Some(A))], &[(0, Void), (4, Void), (5, Valid), (6, Valid)]);
        check("soft", 9, &[(5, S_, Some(A))], &[(4, Soft), (5, Valid)]);
        check("check", 9, &[(5, C_, Some(A))], &[(4, Check), (5, Valid)]);
        check("another tag", 9, &[(5, Hard, Some(B))], &[(0, Valid)]);
        check("everything", 9, &[(5, Hard, None)], &[(4, Void), (5, Valid)]);
        check("everything, softly", 9, &[(5, S_, None)], &[(4, Soft), (5, Valid)]);
        check("everything, to be checked", 9, &[(5, C_, None)], &[(4, Check), (5, Valid)]);
    }

    #[test]
    fn no_grade_hides_another() {
        use Grade::{Check as C_, Hard, Soft as S_};
        let rows = &[(2, Void), (3, Soft), (6, Soft), (7, Valid)];
        check("soft after hard", 9, &[(3, Hard, Some(A)), (7, S_, Some(A))], rows);
        check("soft floor after hard mark", 9, &[(3, Hard, Some(A)), (7, S_, None)], rows);
        check("soft mark after hard floor", 9, &[(3, Hard, None), (7, S_, Some(A))], rows);
        let rows = &[(2, Void), (3, Check), (6, Check), (7, Valid)];
        check("check after hard", 9, &[(3, Hard, Some(A)), (7, C_, Some(A))], rows);
        let rows = &[(2, Check), (3, Soft), (6, Soft), (7, Valid)];
        check("soft after check", 9, &[(3, C_, Some(A)), (7, S_, Some(A))], rows);
        let rows = &[(2, Void), (6, Void), (7, Valid)];
        check("hard after soft", 9, &[(3, S_, Some(A)), (7, Hard, Some(A))], rows);
    }

    #[test]
    fn a_full_table_raises_the_floor_before_it_drops_a_tag() {
        use Grade::{Check as C_, Hard, Soft as S_};
        let rows = &[(0, Check), (1, Valid)];
        check("the hard mark of A becomes a check floor", 1, &[(1, Hard, Some(A)), (2, Hard, Some(B))], rows);
        check("so does its check mark", 1, &[(1, C_, Some(A)), (2, Hard, Some(B))], rows);
        check("its soft mark stays soft", 1, &[(1, S_, Some(A)), (2, Hard, Some(B))], &[(0, Soft), (1, Valid)]);
        let changes = &[(1, Hard, Some(A)), (2, S_, Some(A)), (3, Hard, Some(B))];
        check("each grade by itself", 1, changes, &[(0, Check), (1, Soft), (2, Valid)]);
        let changes = &[(1, Hard, Some(B)), (2, Hard, Some(A)), (3, Hard, Some(C))];
        check("the oldest goes, the others stay", 2, changes, &[(0, Void), (1, Void), (2, Valid)]);
        let changes = &[(1, Hard, Some(A)), (2, Hard, Some(B)), (3, Hard, Some(A)), (4, Hard, Some(C))];
        check("a tag that is named again is young again", 2, changes, &[(1, Void), (2, Void), (3, Valid)]);
        check("no room at all", 0, &[(4, Hard, Some(A))], &[(3, Check), (4, Valid)]);
    }

    #[test]
    fn forgetting_costs_a_validation_and_never_a_wrong_answer() {
        let mut table = MarkTable::new(9);
        table.mark(2, Grade::Hard, A);
        table.mark(5, Grade::Hard, B);
        assert!(!table.forget_until(4, 9));
        assert_eq!(table.len(), 1);
        assert_eq!((table.judge(1, &[A]), table.judge(1, &[C]), table.judge(2, &[A])), (Check, Check, Valid));
        assert_eq!(table.judge(4, &[B]), Void);
    }

    proptest! {
        /// However small the table, it is never milder than one without a bound.
        #[test]
        fn a_bounded_table_is_never_milder_where_it_matters(
            changes in prop::collection::vec((0u8..3, 0u64..9), 1..40), max_tags in 0usize..5, born in 0u64..40, tag in 0u64..8,
        ) {
            let (mut bounded, mut whole) = (MarkTable::new(max_tags), MarkTable::new(usize::MAX));
            for (number, (grade, tag)) in (1..).zip(&changes) {
                let grade = [Grade::Soft, Grade::Check, Grade::Hard][usize::from(*grade)];
                for table in [&mut bounded, &mut whole] {
                    // Tag 8 stands for everything.
                    if *tag == 8 { table.mark_all(number, grade) } else { table.mark(number, grade, TagHash(*tag)) }
                }
            }
            let (got, right) = (bounded.judge(born, &[TagHash(tag)]), whole.judge(born, &[TagHash(tag)]));
            // Void may become Check, which is never served unconfirmed either; nothing else may get milder.
            prop_assert!(got >= right.min(Check), "{got:?} where {right:?} is right");
        }
    }
}
