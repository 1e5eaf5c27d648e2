//! What may legally be served, said once more and without a cache: by looking at all that happened.

use std::time::Duration;

use http::{HeaderMap, Method};

use super::world::{Answer, Fetch, Kind, Outcome, PATHS, Point, Purged, Record, What, body};

/// # Errors
/// The first thing that must not have happened.
pub fn judge(record: &Record) -> Result<(), String> {
    for answer in &record.answers {
        judge_answer(record, answer).map_err(|why| format!("{why}\n{answer:#?}"))?;
    }
    for (index, fetch) in record.fetches.iter().enumerate() {
        if let Some(other) = record.fetches[..index].iter().find(|other| could_have_been_shared(record, other, fetch)) {
            return Err(format!("two fetches where one would have done\n{other:#?}\n{fetch:#?}"));
        }
    }
    Ok(())
}

fn judge_answer(record: &Record, answer: &Answer) -> Result<(), String> {
    if !answer.whole {
        return Err("a body broke off, and no backend's did".into());
    }
    let Some(version) = answer.version else { return judge_error(record, answer) };
    // What it is: an answer of the backend, as it was given.
    let expected = if answer.kind == Kind::Range { 206 } else { 200 };
    if answer.status != expected {
        return Err(format!("status {} and not {expected}", answer.status));
    }
    if answer.kind != Kind::Head && answer.body != body(answer.path, answer.language, version) {
        return Err("not what the backend says of this path in this language at this version".into());
    }
    let same = |fetch: &&Fetch| is_about(fetch, answer) && fetch.version == version && fetch.sent < answer.ended;
    let sources: Vec<&Fetch> = record.fetches.iter().filter(same).collect();
    if answer.kind == Kind::Head && sources.iter().any(|fetch| fetch.method == "HEAD" && fetch.sent > answer.began) {
        return Ok(());
    }
    let answers = |fetch: &&&Fetch| matches!(fetch.outcome, Outcome::Whole | Outcome::Confirmed);
    let Some(latest) = sources.iter().filter(answers).max_by_key(|fetch| fetch.sent.number) else {
        return Err("the backend never said this to this gateway".into());
    };
    judge_purges(record, answer, &sources, latest)?;
    judge_age(record, answer, &sources)
}

/// Nothing that was fetched before an acknowledged purge is given to who asks after it.
fn judge_purges(record: &Record, answer: &Answer, sources: &[&Fetch], latest: &Fetch) -> Result<(), String> {
    let binding = |soft: bool| {
        let names =
            move |purge: &&Purged| purge.soft == soft && purge.what.names(answer.path) && purge.done < answer.began;
        record
            .purges
            .iter()
            .filter(names)
            .map(|purge| purge.began)
            .reduce(|one, other| if one > other { one } else { other })
    };
    let born_whole = |fetch: &&&Fetch| fetch.outcome == Outcome::Whole && fetch.method == "GET";
    if let Some(purge) = binding(false)
        && !sources.iter().filter(born_whole).any(|fetch| fetch.sent > purge)
    {
        return Err("it was fetched before a hard purge that was acknowledged before the request".into());
    }
    if let Some(purge) = binding(true)
        && latest.sent < purge
    {
        if PATHS[answer.path].must_revalidate {
            return Err("softly purged, and not to be served stale".into());
        }
        if !has_detail(answer, &["soft-purged", "sie"]) {
            return Err("softly purged, and served as if it were not".into());
        }
    }
    Ok(())
}

/// Fresh, or stale within a window that somebody opened.
fn judge_age(record: &Record, answer: &Answer, sources: &[&Fetch]) -> Result<(), String> {
    let path = &PATHS[answer.path];
    let ended = sources.iter().filter(|fetch| matches!(fetch.outcome, Outcome::Whole | Outcome::Confirmed));
    let confirmed =
        ended.filter_map(|fetch| fetch.ended).filter(|at| at.number < answer.ended.number).map(|at| at.time);
    // The youngest it can be, when it was decided upon at the earliest.
    let age = confirmed.max().map_or(0, |at| answer.began.time.saturating_sub(at).as_millis());
    let within = |seconds: u64| age < u128::from(seconds) * 1_000;
    if within(path.lifetime) || (has_detail(answer, &["swr", "soft-purged"]) && within(path.lifetime + path.revalidate))
    {
        return Ok(());
    }
    if !has_detail(answer, &["sie"]) {
        return Err(format!("{age} ms old, stale, and Cache-Status does not say why"));
    }
    let trouble = |wanted: &[Outcome]| record.fetches.iter().any(|fetch| troubles(fetch, answer, wanted));
    let permitted = match path.on_error {
        None => trouble(&[Outcome::Nothing, Outcome::Pending]),
        Some(window) => {
            within(path.lifetime + window.max(path.revalidate))
                && trouble(&[Outcome::Nothing, Outcome::Error, Outcome::Pending])
        }
    };
    if permitted { Ok(()) } else { Err(format!("{age} ms old, and nothing permits to serve it")) }
}

/// An answer of the gateway's own, or an error of the backend's.
fn judge_error(record: &Record, answer: &Answer) -> Result<(), String> {
    if answer.status < 500 {
        return Err(format!("status {} of the gateway's own", answer.status));
    }
    let failed = |fetch: &Fetch| troubles(fetch, answer, &[Outcome::Nothing, Outcome::Error]);
    if record.fetches.iter().any(failed) { Ok(()) } else { Err("an error, and no fetch failed meanwhile".into()) }
}

/// Did this fetch fail, or fail to end, while `answer` was being waited for?
fn troubles(fetch: &Fetch, answer: &Answer, outcomes: &[Outcome]) -> bool {
    let was_there = fetch.sent < answer.ended && fetch.ended.is_none_or(|at| at > answer.began);
    // One that ended well, but only after the answer was given, had not ended then.
    let outcome = if fetch.ended.is_some_and(|at| at > answer.ended) { Outcome::Pending } else { fetch.outcome };
    (fetch.node, fetch.path) == (answer.node, answer.path) && was_there && outcomes.contains(&outcome)
}

fn is_about(fetch: &Fetch, answer: &Answer) -> bool {
    (fetch.node, fetch.path, fetch.language) == (answer.node, answer.path, answer.language)
}

fn has_detail(answer: &Answer, details: &[&str]) -> bool {
    let status = answer.fields["cache-status"].to_str().unwrap_or_default();
    details.iter().any(|detail| status.ends_with(&format!("detail={detail}")))
}

/// Was `first` still under way when `second` was sent for the same, with nothing between them that made its answer void?
///
/// Requests are told apart by the fields that stored answers name in Vary. Before there is any answer they all wait for
/// the first one; when what was learned went with a purge, some know of it and some do not, and may fetch beside each
/// other.
fn could_have_been_shared(record: &Record, first: &Fetch, second: &Fetch) -> bool {
    let alike = |fetch: &Fetch| (fetch.node, fetch.path, fetch.language);
    let under_way = first.ended.is_none_or(|at| at > second.sent);
    let voided = |purge: &Purged| purge.what.names(first.path) && purge.done > first.sent && purge.began < second.sent;
    let answered = |fetch: &Fetch| of_resource(fetch, second) && fetch.ended.is_some_and(|at| at < second.sent);
    let same_knowledge =
        (knows_variants(record, first) && knows_variants(record, second)) || !record.fetches.iter().any(answered);
    alike(first) == alike(second)
        && first.method == "GET"
        && second.method == "GET"
        && under_way
        && same_knowledge
        && !record.purges.iter().any(voided)
}

/// Was an answer stored, and not purged again, when this was sent? A HEAD may drop it as well.
fn knows_variants(record: &Record, fetch: &Fetch) -> bool {
    let purged = |since: Point| {
        let names = |purge: &Purged| !purge.soft && purge.what.names(fetch.path);
        record.purges.iter().any(|purge| names(purge) && purge.done > since && purge.began < fetch.sent)
            || record.fetches.iter().any(|head| {
                of_resource(head, fetch) && head.method == "HEAD" && head.sent > since && head.sent < fetch.sent
            })
    };
    let known = |earlier: &Fetch| {
        let ended = earlier.ended.is_some_and(|at| at < fetch.sent);
        of_resource(earlier, fetch) && earlier.outcome == Outcome::Whole && ended && !purged(earlier.sent)
    };
    record.fetches.iter().any(|earlier| earlier.method == "GET" && known(earlier))
}

fn of_resource(fetch: &Fetch, other: &Fetch) -> bool {
    (fetch.node, fetch.path) == (other.node, other.path)
}

/// Tells the oracle of a good course of events, and then of what may not be, one thing at a time.
pub fn notices() {
    assert_eq!(judge(&good()), Ok(()));
    let cases: &[(&str, fn(&mut Record))] = &[
        ("a body that broke off", |record| record.answers[0].whole = false),
        ("another status", |record| record.answers[0].status = 206),
        ("another body", |record| record.answers[0].body = body(0, 1, 1)),
        ("a version nobody sent", |record| {
            record.answers[0].version = Some(2);
            record.answers[0].body = body(0, 0, 2);
        }),
        ("another gateway's", |record| record.answers[0].node = 1),
        ("an error without a cause", |record| {
            record.answers[0].version = None;
            record.answers[0].status = 502;
        }),
        ("a hit past its lifetime", |record| record.answers[0].began.time = Duration::from_secs(11)),
        ("an excuse that is none", |record| {
            record.answers[0].began.time = Duration::from_secs(11);
            says(record, "hit; ttl=-1; detail=sie");
        }),
        ("an excuse of another path", |record| {
            record.answers[0].began.time = Duration::from_secs(11);
            says(record, "hit; ttl=-1; detail=swr");
        }),
        ("what was purged", |record| purge(record, false)),
        ("what was softly purged, as if it were not", |record| purge(record, true)),
        ("two fetches at once", |record| {
            let mut second = record.fetches[0].clone();
            second.sent.number = 2;
            record.fetches.push(second);
        }),
    ];
    for (name, change) in cases {
        let mut record = good();
        change(&mut record);
        assert!(judge(&record).is_err(), "{name}");
    }
    let mut excused = good();
    purge(&mut excused, true);
    says(&mut excused, "hit; ttl=9; detail=soft-purged");
    assert_eq!(judge(&excused), Ok(()));
}

/// Fetched at once, and a hit a second later.
fn good() -> Record {
    let point = |number, seconds| Point { number, time: Duration::from_secs(seconds) };
    let (node, path, language, version) = (0, 0, 0, 1);
    let (sent, ended, outcome) = (point(1, 0), Some(point(3, 0)), Outcome::Whole);
    let fetch = Fetch { node, path, language, method: Method::GET, version, sent, ended, outcome };
    let answer = Answer {
        node,
        path,
        language,
        kind: Kind::Get,
        began: point(10, 1),
        ended: point(11, 1),
        status: 200,
        version: Some(version),
        fields: HeaderMap::new(),
        body: body(path, language, version),
        whole: true,
    };
    let mut record = Record { fetches: vec![fetch], answers: vec![answer], purges: Vec::new() };
    says(&mut record, "hit; ttl=9; detail=memory");
    record
}

fn says(record: &mut Record, status: &str) {
    let status = format!("forebay; {status}").parse().unwrap();
    record.answers[0].fields.insert("cache-status", status);
}

fn purge(record: &mut Record, soft: bool) {
    let at = |number| Point { number, time: Duration::ZERO };
    record.purges.push(Purged { what: What::All, soft, began: at(5), done: at(6) });
}
