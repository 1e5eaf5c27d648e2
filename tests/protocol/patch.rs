//! Patches: messages that carry the new value, written into the stored body.
//!
//! The backend goes from version 1 to 3; message 2 carries the value that version 2 changed, message 3 that of version 3: the
//! same field of the body, or one each. The scribe appends each once, as a patch; each may be appended once more, as early or
//! as late as it likes: by a holder, from a queue, or by a scribe that has lost its token. One node keeps the resource, refreshes it,
//! and validates it.
//!
//! Promised: no field is older than what the applied records carry, so that a patch leaves nothing older than a purge
//! would; only where patches have no version and messages may pass one another, a soft entry may be.

use crate::rules::{Rule, Rules};
use crate::search::{Label, Model};
use crate::{breaks, cannot_promise, holds};

const OLDER: &str = "a patch leaves a value older than a purge would";

const LOG: usize = 3;
const VERSIONS: u8 = 3;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Record {
    message: u8,
    is_patch: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Kept {
    /// Per field the message that it reflects.
    fields: [u8; 2],
    /// The version that the body says it has, and the one it was fetched at.
    version: u8,
    fetched: u8,
    born: u8,
    soft: bool,
}

/// A request on its way: what it validates, if it does, and what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Fetch {
    validated: Option<Kept>,
    born: u8,
    answer: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    version: u8,
    log: [Record; LOG + 1],
    top: u8,
    /// Bits of the messages appended by the scribe, and of those appended again.
    appended: u8,
    again: u8,
    applied: u8,
    mark: u8,
    entry: Option<Kept>,
    fetch: Option<Fetch>,
    bound: [u8; 2],
}

struct Patch {
    rules: Rules,
    versioned: bool,
    one_field: bool,
    in_order: bool,
    soft_may_be_old: bool,
}

type To<'a> = dyn FnMut(&'static str, usize, State) + 'a;

impl Model for Patch {
    type State = State;

    fn initial(&self) -> State {
        let entry = Kept { fields: [1; 2], version: 1, fetched: 1, born: 0, soft: false };
        State {
            version: 1,
            log: [Record::default(); LOG + 1],
            top: 0,
            appended: 0,
            again: 0,
            applied: 0,
            mark: 0,
            entry: Some(entry),
            fetch: None,
            bound: [1; 2],
        }
    }

    fn steps(&self, state: &State, next: &mut Vec<(Label, State)>) {
        let mut to = |text, number, after: State| next.push((Label(text, number), after));
        if state.version < VERSIONS {
            let version = state.version + 1;
            to("the backend commits version #", version as usize, State { version, ..*state });
        }
        self.append(state, &mut to);
        if state.applied < state.top {
            to("the node applies #", state.applied as usize + 1, self.applied(state));
        }
        self.fetch(state, &mut to);
    }

    fn violates(&self, state: &State) -> Option<&'static str> {
        let kept = state.entry.filter(|kept| kept.born >= state.mark && !(kept.soft && self.soft_may_be_old))?;
        (0..2).any(|field| kept.fields[field] < state.bound[field]).then_some(OLDER)
    }
}

impl Patch {
    fn field(&self, message: u8) -> usize {
        usize::from(message == 2 && !self.one_field)
    }

    /// The fields of what the backend answers at this version.
    fn body(&self, version: u8) -> [u8; 2] {
        let mut fields = [1; 2];
        for message in 2..=version {
            fields[self.field(message)] = message;
        }
        fields
    }

    fn append(&self, state: &State, to: &mut To) {
        for message in 2..=state.version {
            let bit = 1 << message;
            let mut append = |text, is_patch, before: State| {
                let mut after = before;
                if (after.top as usize) < LOG {
                    after.top += 1;
                    after.log[after.top as usize] = Record { message, is_patch };
                    to(text, message as usize, after);
                }
            };
            let turn = !self.in_order || (2..message).all(|earlier| state.appended & (1 << earlier) != 0);
            if state.appended & bit == 0 && turn {
                // Somebody's copy of it, or of a later one, has come first: the scribe's value may be old by now.
                let is_late = state.again >> message != 0 && self.rules.has(Rule::OvertakenPatchPurges);
                let is_patch = self.versioned || !is_late;
                append("the scribe appends message #", is_patch, State { appended: state.appended | bit, ..*state });
            }
            if state.again & bit == 0 {
                let again = State { again: state.again | bit, ..*state };
                let holder = !self.rules.has(Rule::HoldersAppendPurges);
                append("a holder appends message #, late", holder, again);
                append("a node flushes message # from its queue", !self.rules.has(Rule::FlushAsPurges), again);
                if !self.rules.has(Rule::ScribeTokenChecked) {
                    append("a scribe that has lost its token appends message # as a patch", true, again);
                }
            }
        }
    }

    fn applied(&self, state: &State) -> State {
        let number = state.applied + 1;
        let record = state.log[number as usize];
        let field = self.field(record.message);
        let mut after = State { applied: number, mark: number, ..*state };
        after.bound[field] = after.bound[field].max(record.message);
        if record.is_patch {
            after.entry = state.entry.and_then(|kept| self.patched(state, kept, record.message, number));
        }
        after
    }

    /// The entry with the value written into it; `None` if the patch is a purge of it.
    fn patched(&self, state: &State, kept: Kept, message: u8, number: u8) -> Option<Kept> {
        let is_valid = kept.born >= state.mark && !kept.soft;
        if !is_valid && self.rules.has(Rule::PatchOnlyValid) {
            return None;
        }
        let mut written = Kept { born: number, soft: !self.versioned, ..kept };
        if self.versioned && self.rules.has(Rule::PatchOnlyNewer) && message <= kept.version {
            // A body fetched at a newer version has this change; one patched to it may not.
            let has_it = message <= kept.fetched || !self.rules.has(Rule::PatchBehindPatchPurges);
            return has_it.then_some(Kept { soft: false, ..written });
        }
        written.fields[self.field(message)] = message;
        written.version = message;
        Some(written)
    }

    fn fetch(&self, state: &State, to: &mut To) {
        let Some(fetch) = state.fetch else {
            let sent = Fetch { validated: None, born: state.applied, answer: 0 };
            to("the node asks the backend", 0, State { fetch: Some(sent), ..*state });
            // A patched entry has no validator that the backend knows.
            if let Some(kept) =
                state.entry.filter(|kept| kept.fields == self.body(kept.fetched) && kept.version == kept.fetched)
            {
                let sent = Fetch { validated: Some(kept), ..sent };
                to("the node asks the backend to validate the entry", 0, State { fetch: Some(sent), ..*state });
            }
            return;
        };
        if fetch.answer == 0 {
            let answer = Some(Fetch { answer: state.version, ..fetch });
            to("the backend answers, at version #", state.version as usize, State { fetch: answer, ..*state });
            return;
        }
        let confirmed = fetch.validated.filter(|kept| kept.fetched == fetch.answer);
        let fetched = fetch.answer;
        let new = Kept { fields: self.body(fetched), version: fetched, fetched, born: fetch.born, soft: false };
        let entry = match (confirmed, state.entry) {
            (Some(_), Some(kept)) if !self.rules.has(Rule::ValidatedEntryOnly) => {
                Some(Kept { born: kept.born.max(fetch.born), soft: false, ..kept })
            }
            (Some(kept), _) => Some(Kept { born: fetch.born, soft: false, ..kept }),
            (None, _) => Some(new),
        };
        // What comes too late does not displace what is there and valid.
        let is_void = fetch.born < state.mark && self.rules.has(Rule::ValidatedEntryOnly);
        let entry = if is_void { state.entry } else { entry };
        let text = if confirmed.is_some() { "the 304 arrives" } else { "the answer arrives" };
        to(text, 0, State { entry, fetch: None, ..*state });
    }
}

fn versioned(rules: Rules) -> Patch {
    Patch { rules, versioned: true, one_field: false, in_order: false, soft_may_be_old: false }
}

fn versioned_one_field(rules: Rules) -> Patch {
    Patch { one_field: true, ..versioned(rules) }
}

fn unversioned_in_order(rules: Rules) -> Patch {
    Patch { rules, versioned: false, one_field: true, in_order: true, soft_may_be_old: false }
}

fn unversioned(rules: Rules) -> Patch {
    Patch { in_order: false, soft_may_be_old: true, ..unversioned_in_order(rules) }
}

#[test]
fn a_patch_leaves_nothing_older_than_a_purge_would() {
    holds("patch, versioned, a field each", versioned);
    holds("patch, versioned, one field", versioned_one_field);
    holds("patch, without versions, in order", unversioned_in_order);
    holds("patch, without versions", unversioned);
}

/// Without a version, a message that was overtaken writes its old value over a newer one until the refresh has come.
#[test]
fn without_versions_a_message_that_was_overtaken_shows_its_old_value_until_the_refresh() {
    let strict = |rules| Patch { soft_may_be_old: false, ..unversioned(rules) };
    cannot_promise("that patches without versions may come in any order", strict, OLDER);
}

#[test]
fn without_the_comparison_of_versions_an_overtaken_patch_writes_an_old_value() {
    breaks(Rule::PatchOnlyNewer, versioned_one_field, OLDER);
}

#[test]
fn without_validity_a_patch_revives_an_entry_that_was_purged() {
    breaks(Rule::PatchOnlyValid, versioned, OLDER);
}

#[test]
fn without_the_purge_behind_a_patch_an_overtaken_patch_of_another_field_is_forgotten() {
    breaks(Rule::PatchBehindPatchPurges, versioned, OLDER);
}

#[test]
fn without_the_purge_for_an_overtaken_patch_a_stalled_scribe_writes_an_old_value() {
    breaks(Rule::OvertakenPatchPurges, unversioned_in_order, OLDER);
}

#[test]
fn without_purges_from_holders_a_late_copy_writes_an_old_value() {
    breaks(Rule::HoldersAppendPurges, unversioned_in_order, OLDER);
}

#[test]
fn without_purges_from_queues_a_flushed_copy_writes_an_old_value() {
    breaks(Rule::FlushAsPurges, unversioned_in_order, OLDER);
}

#[test]
fn without_the_token_in_the_script_a_scribe_of_yesterday_writes_an_old_value() {
    breaks(Rule::ScribeTokenChecked, unversioned_in_order, OLDER);
}

#[test]
fn without_the_validated_entry_a_304_confirms_what_a_patch_has_written() {
    breaks(Rule::ValidatedEntryOnly, unversioned, OLDER);
}
