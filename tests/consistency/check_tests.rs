//! The checker finds what it is for: small histories, each with one fault, and the same without it.

use std::time::Duration;

use super::check::{Findings, Rules, check};
use super::history::{Got, History, Observation, Past, Promise, Purge, Trail};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn rules() -> Rules {
    Rules {
        fleet: Duration::ZERO,
        here: Duration::ZERO,
        elsewhere: ms(100),
        event: ms(200),
        monotonic: Duration::ZERO,
        freshness: Duration::ZERO,
        backend_fails: false,
        validations: 0,
        repeats: 1,
    }
}

/// One key on two nodes: version 2 since 1 s, version 3 since 5 s, fresh for 10 s and stale for 2 more.
fn history() -> History {
    let past = Past {
        current_from: vec![ms(0), ms(1_000), ms(5_000)],
        fetches: 1,
        fresh: ms(10_000),
        revalidate: ms(2_000),
        if_error: ms(60_000),
    };
    History { keys: vec![past], lives: 2, length: ms(20_000), ..History::default() }
}

fn got(life: u16, started: u64, version: u32) -> Observation {
    Observation {
        key: 0,
        life,
        started: ms(started),
        ended: ms(started + 10),
        got: Got::Version(version),
        blind: false,
    }
}

fn purge(promise: Promise, sent: u64, answered: u64, floor: u32) -> Purge {
    Purge {
        floors: vec![(0, floor)],
        sent: ms(sent),
        answered: ms(answered),
        life: 0,
        promise,
        seq: Some(7),
        why: String::new(),
    }
}

/// What the checker finds in the purges and observations of this history.
fn find(purges: &[Purge], observations: &[Observation]) -> Findings {
    let history = History { purges: purges.to_vec(), observations: observations.to_vec(), ..history() };
    check(&history, &rules())
}

#[test]
fn time_travel_after_a_purge_is_found_where_the_promise_holds() {
    let cases: &[(&str, Promise, Observation, u64)] = &[
        ("all nodes, at once", Promise::Fleet, got(1, 1_101, 1), 1),
        ("not before the acknowledgement", Promise::Fleet, got(1, 1_099, 1), 0),
        ("not what is current", Promise::Fleet, got(1, 1_101, 2), 0),
        ("the node that was asked", Promise::Logged, got(0, 1_101, 1), 1),
        ("another node, in time", Promise::Logged, got(1, 1_199, 1), 0),
        ("another node, too late", Promise::Logged, got(1, 1_201, 1), 1),
        ("queued: the node that was asked", Promise::Queued, got(0, 1_101, 1), 1),
        ("queued: no other", Promise::Queued, got(1, 9_000, 1), 0),
        ("an event, in time", Promise::Heard, got(1, 1_299, 1), 0),
        ("an event, too late", Promise::Heard, got(1, 1_301, 1), 1),
        ("nothing was promised", Promise::Nothing, got(0, 9_000, 1), 0),
    ];
    for (what, promise, observation, violations) in cases {
        let found = find(&[purge(*promise, 1_050, 1_100, 2)], &[*observation]);
        // Whoever breaks the promise to the fleet may break the one of a node, too.
        assert_eq!(u64::from(found.violations() > 0), *violations, "{what}: {found:?}");
    }
}

#[test]
fn staleness_is_counted_from_the_first_acknowledgement_that_was_broken() {
    let purges = [purge(Promise::Fleet, 5_100, 5_200, 3), purge(Promise::Fleet, 1_050, 1_100, 2)];
    let found = find(&purges, &[got(1, 2_200, 1), got(1, 6_900, 2), got(0, 5_250, 2)]);
    assert_eq!(found.fleet.worst, ms(1_700));
    assert_eq!((found.fleet.violations, found.fleet.beyond), (3, [3, 2, 2, 0]));
}

#[test]
fn acknowledgements_out_of_order_count_each_for_itself() {
    // The later purge was acknowledged first: what it names is bound from then on, also below.
    let purges = [purge(Promise::Fleet, 1_050, 8_000, 2), purge(Promise::Fleet, 5_100, 5_200, 3)];
    assert_eq!(find(&purges, &[got(1, 5_300, 1)]).fleet.worst, ms(100));
    assert_eq!(find(&purges, &[got(1, 8_100, 2)]).fleet.worst, ms(2_900));
    assert_eq!(find(&purges[..1], &[got(1, 5_300, 1)]).fleet.worst, ms(0));
}

#[test]
fn a_node_that_goes_back_is_found_and_two_nodes_are_two() {
    let back = [got(0, 2_000, 2), got(0, 2_500, 1)];
    assert_eq!(find(&[], &back).monotonic.violations, 1);
    assert_eq!(find(&[], &back).monotonic.worst, ms(490));
    assert_eq!(find(&[], &[got(0, 2_000, 2), got(1, 2_500, 1)]).violations(), 0);
    // Two requests at the same time may get either.
    assert_eq!(find(&[], &[got(0, 2_000, 2), got(0, 2_005, 1)]).violations(), 0);
}

#[test]
fn what_the_backend_never_said_is_found() {
    let invented = Observation { got: Got::Invented, ..got(0, 2_000, 1) };
    for observation in [invented, got(0, 900, 2), got(0, 9_000, 4), got(0, 9_000, 0)] {
        let found = find(&[], &[observation]);
        assert_eq!((found.invented, found.violations()), (1, 1), "{observation:?}");
    }
    // The update may have come while the request was under way.
    assert_eq!(find(&[], &[got(0, 995, 2)]).violations(), 0);
    // An unverified answer has to be true all the same.
    assert_eq!(find(&[], &[Observation { blind: true, ..got(0, 900, 2) }]).invented, 1);
}

#[test]
fn what_outlives_its_lifetime_is_found() {
    assert_eq!(find(&[], &[got(0, 12_999, 1)]).violations(), 0);
    let found = find(&[], &[got(0, 13_500, 1)]);
    assert_eq!((found.freshness.violations, found.freshness.worst), (1, ms(500)));
    // The current version may be of any age, and a failing backend permits more.
    assert_eq!(find(&[], &[got(0, 19_000, 3)]).violations(), 0);
    let failing = Rules { backend_fails: true, ..rules() };
    let history = History { observations: vec![got(0, 19_000, 1), got(0, 71_500, 1)], ..history() };
    assert_eq!(check(&history, &failing).freshness.violations, 1);
}

#[test]
fn unverified_answers_are_counted_apart() {
    let purges = [purge(Promise::Fleet, 1_050, 1_100, 2)];
    let found = find(&purges, &[Observation { blind: true, ..got(1, 3_000, 1) }]);
    assert_eq!((found.blind, found.violations()), (1, 0));
    // But what a node has acknowledged itself it knows.
    let found = find(&purges, &[Observation { blind: true, ..got(0, 3_000, 1) }]);
    assert_eq!((found.blind, found.here.violations), (1, 1));
}

#[test]
fn too_many_questions_to_the_backend_are_found() {
    // Two lives: each starts once, has one change that may come twice, two lifetimes and three validations.
    for (fetches, over) in [(11, 0), (20, 0), (21, 1)] {
        let mut history = History { purges: vec![purge(Promise::Fleet, 1_050, 1_100, 2)], ..history() };
        history.keys[0].fetches = fetches;
        let allowing = Rules { validations: 3, repeats: 2, ..rules() };
        assert_eq!(check(&history, &allowing).overasked, over, "{fetches}");
        assert_eq!(check(&history, &rules()).overasked, u64::from(fetches > 11), "{fetches}");
    }
}

#[test]
fn purges_that_are_not_in_the_audit_trail_are_found() {
    for (numbers, missing) in [(&[6, 7, 8][..], 0), (&[6, 8], 1), (&[8, 9], 0), (&[], 0)] {
        let mut trail = Trail::default();
        trail.read(numbers);
        let purges = vec![purge(Promise::Logged, 1_050, 1_100, 2)];
        let history = History { purges, trails: [(0, trail)].into(), ..history() };
        assert_eq!(check(&history, &rules()).unaudited, missing, "{numbers:?}");
    }
}

#[test]
fn errors_are_found_where_something_stored_could_have_been_served() {
    type Case<'a> = (&'a str, &'a Rules, &'a [Purge], &'a [Observation], u64);
    let error = |started| Observation { got: Got::Status(502), ..got(0, started, 1) };
    let failing = Rules { backend_fails: true, ..rules() };
    let cases: &[Case] = &[
        ("the backend is well", &rules(), &[], &[error(3_000)], 1),
        ("the backend fails, and nothing is stored", &failing, &[], &[error(3_000)], 0),
        ("something was served before", &failing, &[], &[got(0, 2_000, 2), error(3_000)], 1),
        ("on another node", &failing, &[], &[got(1, 2_000, 2), error(3_000)], 0),
        ("it was too old", &failing, &[], &[got(0, 2_000, 2), error(62_001)], 0),
        (
            "it was purged in between",
            &failing,
            &[purge(Promise::Logged, 2_500, 2_600, 2)],
            &[got(0, 2_000, 2), error(3_000)],
            0,
        ),
        (
            "it was purged before",
            &failing,
            &[purge(Promise::Logged, 1_500, 1_600, 2)],
            &[got(0, 2_000, 2), error(3_000)],
            1,
        ),
    ];
    for (what, rules, purges, observations, avoidable) in cases {
        let history = History { purges: purges.to_vec(), observations: observations.to_vec(), ..history() };
        let found = check(&history, rules);
        assert_eq!((found.errors, found.avoidable), (1, *avoidable), "{what}: {found:?}");
    }
    let nothing = find(&[], &[Observation { got: Got::Nothing, ..got(0, 2_000, 1) }]);
    assert_eq!((nothing.aborted, nothing.violations()), (1, 0));
}

#[test]
fn what_is_as_it_should_be_is_not_found() {
    let purges = [purge(Promise::Fleet, 1_050, 1_100, 2), purge(Promise::Logged, 5_100, 5_200, 3)];
    let observations: Vec<_> = (0..2)
        .flat_map(|life| [(100, 1), (1_050, 1), (1_150, 2), (5_010, 2), (5_400, 3)].map(|(at, v)| got(life, at, v)))
        .collect();
    let found = find(&purges, &observations);
    assert_eq!((found.violations(), found.observations, found.acknowledged), (0, 10, 2), "{found:?}");
}
