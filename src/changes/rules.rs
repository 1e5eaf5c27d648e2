//! Change rules: from a message of the backend to what it changes. Pure: the same message gives the same changes, however
//! often, in whatever order and on whichever node it arrives.
//!
//! ```text
//! message ──measure, read──▶ JSON object ──channel, event, where──▶ rules that hold ──targets──▶ changes
//!    └─────────── Dropped ───────┴──────────────── Dropped ───────────────┘
//! ```
//!
//! A rule is about a channel or about a stream, perhaps about one kind of event only, and names what has changed by
//! targets (`tag:user:{data.userId}`) with values of the message in them. All rules that hold for a message count.
//!
//! *What is wrong with a message costs a lifetime, so as little as possible is lost to it.* A target whose value is
//! missing is left out and the others count. What would be more than one message may name, or cannot be named exactly,
//! becomes everything that the rule governs: too much, never too little. The same tag serves when messages may have been
//! missed; see [`ChangeRules::governed_by`].
//!
//! *Nobody but the backend may speak here.* Whoever may PUBLISH on these channels may empty the cache; that is for the
//! ACLs of Redis to say. PUBLISH knows no database numbers and no namespaces either: where several environments share a
//! server, put the environment into the channel, or into a `where`.

mod channel;
mod compile;
mod field;
mod governed;
mod message;
mod outcome;
mod pieces;
mod rule;
mod target;
#[cfg(test)]
mod tests;

use foldhash::HashSet;

pub use compile::RuleProblem;
pub use message::{MAX_DEPTH, MAX_MESSAGE, Message, message_id};
pub use outcome::{Dropped, Mapped, Matched, Skip, Widened};
pub use rule::Miss;
pub use target::TARGET_KINDS;

use super::{Action, Change, Source};
use crate::policy::tags::governed_tag;
use crate::store::EVERYTHING;
use governed::Governed;
use message::read;
use rule::{Heard, Rule};

/// How much one message may change: a rule that would go beyond it changes everything it governs instead.
pub const MAX_CHANGES: usize = 1_000;

/// How many rules there may be. Each that holds may change something, so no more than [`MAX_CHANGES`].
pub const MAX_RULES: usize = 1_000;

/// One rule, as the operator wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeRuleSettings {
    /// Unique. Without it, the channel or stream and the event.
    pub name: Option<String>,
    /// A pattern of channels: `tenant:{tenantId}:users`; `*` and `{name}` take one segment.
    pub channel: Option<String>,
    /// The key of a stream. Either this or `channel`.
    pub stream: Option<String>,
    /// The field of a stream's record that holds the JSON. In a record without it, the fields themselves are the message.
    pub record_field: String,
    /// The kinds of events it is about; empty: all.
    pub event: Vec<String>,
    /// Where the message names its kind, as a JSON pointer. Without it, the first there is of `/eventType`, `/type` and
    /// `/event`.
    pub event_at: Option<String>,
    /// Further conditions: a JSON pointer, and the text, number or boolean that must stand there, as it is written.
    pub conditions: Vec<(String, String)>,
    /// Targets that are gone.
    pub purge: Vec<String>,
    /// Targets that are stale: served once more while one refresh runs.
    pub soften: Vec<String>,
}

impl Default for ChangeRuleSettings {
    fn default() -> Self {
        Self {
            name: None,
            channel: None,
            stream: None,
            record_field: String::from("data"),
            event: Vec::new(),
            event_at: None,
            conditions: Vec::new(),
            purge: Vec::new(),
            soften: Vec::new(),
        }
    }
}

/// All rules, ready to be asked. Immutable: a new config makes a new one.
#[derive(Clone, Debug, Default)]
pub struct ChangeRules {
    rules: Vec<Rule>,
    governed: Governed,
}

/// What has to be listened to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subscription {
    /// One channel, for SUBSCRIBE.
    Channel(String),
    /// A pattern of Redis, for PSUBSCRIBE. It may take more channels than the rules do.
    Pattern(String),
    /// The key of a stream, for XREAD.
    Stream(String),
}

impl ChangeRules {
    /// Checks the settings and builds what runs.
    ///
    /// # Errors
    /// All problems at once, in the order of the rules.
    pub fn compile(settings: &[ChangeRuleSettings]) -> Result<Self, Vec<RuleProblem>> {
        let rules = compile::compile(settings)?;
        let patterns = rules.iter().enumerate().flat_map(|(number, rule)| {
            rule.targets
                .iter()
                .filter(|(target, _)| !target.is_all())
                .map(move |(target, _)| (number, target.pattern()))
        });
        let governed = Governed::new(patterns);
        Ok(Self { rules, governed })
    }

    /// What `message` changes. Whatever its bytes are, the answer is bounded: at most [`MAX_CHANGES`] changes, each with a
    /// name of at most 8 KiB.
    pub fn map<'r>(&'r self, message: &Message<'_>) -> Mapped<'r> {
        let bytes = message.len();
        if bytes > MAX_MESSAGE {
            return Mapped { dropped: Some(Dropped::TooLarge { bytes }), ..Mapped::default() };
        }
        // Read once, or, of a record, once for each field that rules look into.
        let mut documents: Vec<(&str, Document)> = Vec::new();
        let heard: Vec<Heard<'_, '_>> = self.rules.iter().filter_map(|rule| rule.hears(message)).collect();
        for Heard { rule, .. } in &heard {
            if !documents.iter().any(|(field, _)| *field == rule.record_field()) {
                documents.push((rule.record_field(), rule.read(message)));
            }
        }
        let read =
            |rule: &Rule| documents.iter().find(|(field, _)| *field == rule.record_field()).map(|(_, read)| read);
        decide(heard, read, || message.id())
    }

    /// What a message with this payload changes on whichever channel or stream it may arrive. What a channel's pattern
    /// captures is then its own name in braces.
    pub fn map_anywhere<'r>(&'r self, payload: &[u8]) -> Mapped<'r> {
        let document = read(payload);
        decide(self.rules.iter().map(Rule::hears_all).collect(), |_| Some(&document), || message_id("", payload))
    }

    /// Why each rule that does not hold for a message does not, by the rule's name. With no channel, as in
    /// [`ChangeRules::map_anywhere`]. Nothing, if the message cannot be read.
    pub fn misses(&self, channel: Option<&str>, payload: &[u8]) -> Vec<(&str, Miss)> {
        let Ok(document) = read(payload) else { return Vec::new() };
        let heard =
            |rule: &Rule| channel.is_none_or(|channel| rule.hears(&Message::Published { channel, payload }).is_some());
        let miss = |rule: &Rule| if heard(rule) { rule.fits(&document).err() } else { Some(Miss::Channel) };
        self.rules.iter().filter_map(|rule| Some((rule.name(), miss(rule)?))).collect()
    }

    /// Appends to `out` the tag of each rule that could name an entry with these `tags` (full names). An entry must carry
    /// them, so that a change of everything a rule governs hits it. Rules that name `all` need no tag for that: what hits
    /// them is `*`, which every entry answers to.
    ///
    /// What was stored under other rules carries the tags of those: whoever swaps the rules marks what is stored, as after a
    /// gap. Costs a binary search per tag and a look at the few patterns that begin as the tag does.
    pub fn governed_by(&self, tags: &[impl AsRef<str>], out: &mut Vec<String>) {
        let rules = self.governed.of(tags);
        out.extend(rules.iter().filter_map(|number| self.rules.get(*number)).map(|rule| governed_tag(rule.name())));
    }

    /// What has to be subscribed to, each once, in a stable order. A message on a channel that several of them take is
    /// delivered several times; it changes the same each time.
    pub fn subscriptions(&self) -> Vec<Subscription> {
        self.listened(|subscription| !matches!(subscription, Subscription::Stream(_)))
    }

    /// The streams that have to be read, each once, in a stable order.
    pub fn streams(&self) -> Vec<Subscription> {
        self.listened(|subscription| matches!(subscription, Subscription::Stream(_)))
    }

    /// The tags (full names) of everything that a message missed on `subscription` could have named; `*` if one of its
    /// rules names everything.
    pub fn governed_through(&self, subscription: &Subscription) -> Vec<String> {
        let through = || self.rules.iter().filter(|rule| rule.subscription() == *subscription);
        if through().any(|rule| rule.targets.iter().any(|(target, _)| target.is_all())) {
            return vec![EVERYTHING.to_owned()];
        }
        through().map(|rule| governed_tag(rule.name())).collect()
    }

    /// The rules' names, in the order of the file.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().map(Rule::name)
    }

    fn listened(&self, wanted: impl Fn(&Subscription) -> bool) -> Vec<Subscription> {
        let mut all: Vec<Subscription> = self.rules.iter().map(Rule::subscription).filter(wanted).collect();
        all.sort();
        all.dedup();
        all
    }
}

/// A message as an object, or why it is none.
type Document = Result<serde_json::Value, Dropped<'static>>;

/// Of the rules that hear a message, those that hold for it, and what they name. `read`: the message as that rule reads it.
fn decide<'r, 'd>(
    heard: Vec<Heard<'r, '_>>,
    read: impl Fn(&Rule) -> Option<&'d Document>,
    id: impl FnOnce() -> String,
) -> Mapped<'r> {
    let mut unread = None;
    let mut fitting = Vec::new();
    for heard in heard {
        match read(heard.rule) {
            Some(Ok(document)) if heard.rule.fits(document).is_ok() => fitting.push((heard, document)),
            Some(Err(dropped)) => unread = unread.or(Some(dropped)),
            _ => {}
        }
    }
    if fitting.is_empty() {
        return Mapped { dropped: Some(unread.cloned().unwrap_or(Dropped::NoRule)), ..Mapped::default() };
    }
    draw(&fitting, &id())
}

/// What these rules name in the message, as each of them reads it. `id`: the message's own.
fn draw<'r>(fitting: &[(Heard<'r, '_>, &serde_json::Value)], id: &str) -> Mapped<'r> {
    let mut mapped = Mapped::default();
    let mut seen = HashSet::default();
    for (later, (heard, document)) in (0..fitting.len()).rev().zip(fitting) {
        // Each of the rules that follow can change at least one thing, if only everything it governs.
        let room = MAX_CHANGES.saturating_sub(mapped.changes.len() + later);
        let named = heard.draw(document, room);
        let before = mapped.changes.len();
        for (selector, purge) in named.selectors {
            if seen.insert((selector.clone(), purge)) {
                let (action, source) = (Action::Purge(purge), Source::Event);
                mapped.changes.push(Change { selector, action, source, id: id.to_owned() });
            }
        }
        let changes = mapped.changes.len() - before;
        let (widened, skipped) = (named.widened, named.skipped);
        mapped.matched.push(Matched { rule: heard.rule.name(), changes, widened, skipped });
    }
    if mapped.changes.is_empty() {
        let skip = mapped.matched.iter().find_map(|matched| matched.skipped.first());
        mapped.dropped = Some(skip.copied().map_or(Dropped::NothingNamed, Dropped::Skipped));
    }
    mapped
}
