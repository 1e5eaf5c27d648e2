//! From what the operator wrote to rules. All problems are found in one go.

use std::fmt;

use foldhash::{HashMap, HashSet};

use super::channel::ChannelPattern;
use super::field::FieldPath;
use super::rule::{Condition, EVENT_AT, Feed, Rule};
use super::target::Target;
use super::{ChangeRuleSettings, MAX_RULES};
use crate::changes::Purge;
use crate::policy::Fault;

/// The longest name of a rule or of a stream, in bytes.
const MAX_NAME: usize = 1024;

/// Targets of one rule, events and conditions: more of each are refused.
const MAX_LIST: usize = 100;

/// One thing the operator has to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleProblem {
    /// Which of the rules, from 0.
    pub rule: usize,
    /// The key that holds the mistake: `channel`, `purge`; empty for what concerns the whole rule.
    pub key: &'static str,
    /// What is wrong.
    pub message: String,
    /// What to write instead, where that can be said.
    pub hint: Option<String>,
}

impl fmt::Display for RuleProblem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "change {}: {}", self.rule + 1, self.message)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(out, " ({hint})"))
    }
}

pub(super) fn compile(settings: &[ChangeRuleSettings]) -> Result<Vec<Rule>, Vec<RuleProblem>> {
    if settings.len() > MAX_RULES {
        let message = format!("there are {} change rules; the limit is {MAX_RULES}", settings.len());
        return Err(vec![RuleProblem { rule: MAX_RULES, key: "", message, hint: None }]);
    }
    let mut problems = Problems::default();
    let names = names(settings, &mut problems);
    let mut rules = Vec::with_capacity(settings.len());
    for (number, (settings, name)) in settings.iter().zip(names).enumerate() {
        problems.rule = number;
        rules.extend(rule(name, settings, &mut problems));
    }
    if problems.list.is_empty() {
        return Ok(rules);
    }
    problems.list.sort_by_key(|problem| problem.rule);
    Err(problems.list)
}

/// The rule; `None` only if there was something to report.
fn rule(name: String, settings: &ChangeRuleSettings, problems: &mut Problems) -> Option<Rule> {
    let ChangeRuleSettings { name: _, channel, stream, record_field, event, event_at, conditions, purge, soften } =
        settings;
    let feed = feed(channel.as_deref(), stream.as_deref(), record_field, problems);
    let conditions: Vec<Option<Condition>> = conditions
        .iter()
        .map(|(written, value)| {
            let at = problems.keep("where", FieldPath::pointer(written))?;
            Some(Condition { written: written.as_str().into(), at, value: value.clone() })
        })
        .collect();
    let places: Vec<&str> = event_at.as_deref().map_or(EVENT_AT.to_vec(), |at| vec![at]);
    let places = places.into_iter().map(|at| problems.keep("event_at", FieldPath::pointer(at)));
    let event_at_read: Option<Vec<FieldPath>> = places.collect();

    problems.report_if(
        event.iter().any(String::is_empty),
        "event",
        "no event has an empty name",
        "name one, or leave out `event`",
    );
    if event.is_empty() && event_at.is_some() {
        problems
            .report("event_at", Fault::new("`event_at` needs `event`").hint("name the event, or leave out `event_at`"));
    }
    never(event, event_at_read.as_deref(), &conditions, problems);

    if purge.is_empty() && soften.is_empty() {
        let fault = Fault::new("a change rule needs `purge` or `soften`");
        problems.report("", fault.hint("write purge = [\"tag:user:{data.userId}\"]"));
    }
    for (key, length) in [("event", event.len()), ("where", conditions.len()), ("purge", purge.len() + soften.len())] {
        let message = format!("a change rule has at most {MAX_LIST} of these");
        problems.report_if(length > MAX_LIST, key, &message, "make several rules of it");
    }
    // Without a readable channel, what its captures are called is not known.
    let feed = feed?;
    let captures = match &feed {
        Feed::Channel { pattern, .. } => &pattern.names[..],
        Feed::Stream { .. } => &[],
    };
    let mut targets = Vec::with_capacity(purge.len() + soften.len());
    for (key, list, grade) in [("purge", purge, Purge::Hard), ("soften", soften, Purge::Soft)] {
        for text in list {
            targets.extend(problems.keep(key, Target::parse(text, captures)).map(|target| (target, grade)));
        }
    }
    let conditions = conditions.into_iter().collect::<Option<_>>()?;
    Some(Rule { name: name.into(), feed, events: event.clone(), event_at: event_at_read?, conditions, targets })
}

fn feed(channel: Option<&str>, stream: Option<&str>, record_field: &str, problems: &mut Problems) -> Option<Feed> {
    match (channel, stream) {
        (Some(channel), None) => {
            let pattern = problems.keep("channel", ChannelPattern::parse(channel))?;
            let sample = pattern.names.iter().map(|name| format!("{{{name}}}")).collect();
            Some(Feed::Channel { pattern, sample })
        }
        (None, Some(key)) => {
            let bad = key.is_empty() || key.len() > MAX_NAME || key.contains(|c: char| c == '*' || c.is_control());
            let message = format!("a stream is one key of 1 to {MAX_NAME} bytes");
            problems.report_if(bad, "stream", &message, "write one rule for each stream");
            problems.report_if(
                record_field.is_empty(),
                "record_field",
                "a field has a name",
                "the default is \"data\"",
            );
            Some(Feed::Stream { key: key.to_owned(), record_field: record_field.to_owned() })
        }
        (None, None) => {
            let fault = Fault::new("a change rule needs `channel` or `stream`");
            problems.report("", fault.hint("write channel = \"tenant:*:users\""));
            None
        }
        (Some(_), Some(_)) => {
            problems.report(
                "stream",
                Fault::new("`channel` and `stream` exclude each other").hint("write a rule for each"),
            );
            None
        }
    }
}

/// Reports a rule that contradicts itself: its event must be one thing, and its `where` says that it is another.
fn never(events: &[String], event_at: Option<&[FieldPath]>, conditions: &[Option<Condition>], problems: &mut Problems) {
    // Of several places the first counts, if it is there; and if a condition holds, it is.
    let Some(decides) = event_at.and_then(<[FieldPath]>::first).filter(|_| !events.is_empty()) else { return };
    for condition in conditions.iter().flatten().filter(|condition| condition.at == *decides) {
        if !events.contains(&condition.value) {
            let message = format!(
                "the rule can never match: `event` and the condition at `{}` exclude each other",
                condition.written
            );
            problems.report("where", Fault::new(message).hint("leave out one of them"));
        }
    }
}

/// The rules' names: as given, or made of channel and event. One that is taken gets a number.
fn names(settings: &[ChangeRuleSettings], problems: &mut Problems) -> Vec<String> {
    let mut taken: HashMap<&str, usize> = HashMap::default();
    for (number, name) in settings.iter().enumerate().filter_map(|(n, rule)| Some((n, rule.name.as_deref()?))) {
        problems.rule = number;
        let bad = name.is_empty() || name.len() > MAX_NAME || name.contains(char::is_control);
        problems.report_if(
            bad,
            "name",
            &format!("a name has 1 to {MAX_NAME} bytes, none of them a control character"),
            "leave it out",
        );
        if let Some(first) = taken.insert(name, number) {
            problems.report("name", Fault::new(format!("`{name}` is already the name of change rule {}", first + 1)));
        }
    }
    let mut taken: HashSet<String> = taken.into_keys().map(str::to_owned).collect();
    let name = |rule: &ChangeRuleSettings| {
        rule.name.clone().unwrap_or_else(|| {
            let plain = plain_name(rule);
            let numbered = (2..=MAX_RULES + 1).map(|number| format!("{plain} ({number})"));
            let free = std::iter::once(plain.clone()).chain(numbered).find(|name| taken.insert(name.clone()));
            free.unwrap_or(plain)
        })
    };
    settings.iter().map(name).collect()
}

fn plain_name(rule: &ChangeRuleSettings) -> String {
    let stream = rule.stream.as_ref().map(|key| format!("stream {key}"));
    let feed = rule.channel.clone().or(stream).unwrap_or_default();
    let events = rule.event.join(" or ");
    if events.is_empty() { feed } else { format!("{feed} {events}") }
}

/// Collects problems, remembering which rule is being read.
#[derive(Debug, Default)]
struct Problems {
    rule: usize,
    list: Vec<RuleProblem>,
}

impl Problems {
    fn report(&mut self, key: &'static str, fault: Fault) {
        let Fault { message, hint } = fault;
        self.list.push(RuleProblem { rule: self.rule, key, message, hint });
    }

    fn report_if(&mut self, wrong: bool, key: &'static str, message: &str, hint: &str) {
        if wrong {
            self.report(key, Fault::new(message).hint(hint));
        }
    }

    fn keep<T>(&mut self, key: &'static str, result: Result<T, Fault>) -> Option<T> {
        result.map_err(|fault| self.report(key, fault)).ok()
    }
}
