//! Nodes of one fleet, over a network whose links can be cut: what a bus promises when the log is out of reach, begins
//! another life, or is not what it was.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{
    Bus, BusSettings, Change, ChangeRuleSettings, ChangeRules, Everywhere, Hearing, Published, Purge, Selector, Source,
};
use crate::clock::Clock;
use crate::fleet::{Append, Epoch, Fleet, Grade, InProcess, LinkState};
use crate::policy::tags::hash_tag;
use crate::policy::{Policy, PolicySettings};
use crate::store::{Born, Ledger, LedgerSettings, Sight, Standing};

const DELTA: Duration = Duration::from_secs(2);

/// One node.
struct Node {
    bus: Arc<Bus>,
    ledger: Arc<Ledger>,
    link: InProcess,
    clock: Clock,
}

impl Node {
    fn new(name: &str, link: InProcess) -> Self {
        let ledger = Arc::new(Ledger::adrift(LedgerSettings::default()));
        let settings = BusSettings { node: name.to_owned(), delta: DELTA, ..BusSettings::default() };
        let bus = Bus::new(Fleet::InProcess(link.clone()), Arc::clone(&ledger)).on(settings);
        Self { bus: Arc::new(bus), ledger, link, clock: Clock::starting_at(Duration::from_secs(1_000)) }
    }

    /// Two nodes that have made themselves known.
    async fn pair() -> (Self, Self) {
        let link = InProcess::network();
        let (a, b) = (Self::new("a", link.clone()), Self::new("b", link.another()));
        a.beat().await;
        b.beat().await;
        (a, b)
    }

    async fn beat(&self) {
        self.bus.beat(&self.clock).await;
    }

    fn born(&self) -> Born {
        self.ledger.born(self.clock.now())
    }

    async fn purge(&self, tag: &str, purge: Purge) -> Published {
        self.bus.publish(&[change(tag, purge)], self.clock.now()).await.expect("a tag")
    }

    fn standing(&self, born: Born, tag: &str) -> Standing {
        self.ledger.standing_of(born, &[hash_tag(&format!("tag:{tag}"))])
    }

    fn sees(&self) -> bool {
        self.ledger.sight(self.clock.now()) == Sight::Clear
    }

    /// Listens by one rule in the background: what `thing-changed` names on the channel `things` is purged.
    fn listens(&self) -> Arc<Hearing> {
        let hearing = Arc::new(Hearing::new(Arc::clone(&self.bus), Arc::new(rules()), Arc::new(policy())));
        for streams in [true, false] {
            let (hearing, clock) = (Arc::clone(&hearing), self.clock.clone());
            if streams {
                tokio::spawn(async move { hearing.read_streams(&clock, std::future::pending()).await });
            } else {
                tokio::spawn(async move { hearing.listen(&clock, std::future::pending()).await });
            }
        }
        hearing
    }

    /// Does in the background what a running node does.
    fn runs(&self) {
        for follows in [true, false] {
            let (bus, clock) = (Arc::clone(&self.bus), self.clock.clone());
            if follows {
                tokio::spawn(async move { bus.follow(&clock, std::future::pending()).await });
            } else {
                tokio::spawn(async move { bus.keep_in_sight(&clock, std::future::pending()).await });
            }
        }
    }

    async fn purge_everywhere(&self, tag: &str) -> Everywhere {
        let changes = [change(tag, Purge::Hard)];
        self.bus.publish_everywhere(&changes, &self.clock, DELTA * 3).await.expect("a tag")
    }
}

fn change(tag: &str, purge: Purge) -> Change {
    Change::new(Selector::Tag(tag.to_owned()), purge, Source::Api)
}

fn rules() -> ChangeRules {
    let rule = ChangeRuleSettings {
        name: Some(String::from("things")),
        event: vec![String::from("thing-changed")],
        purge: vec![String::from("tag:thing:{id}")],
        ..ChangeRuleSettings::default()
    };
    let on_channel = ChangeRuleSettings { channel: Some(String::from("things")), ..rule.clone() };
    let on_stream =
        ChangeRuleSettings { name: Some(String::from("stream")), stream: Some(String::from("log")), ..rule };
    ChangeRules::compile(&[on_channel, on_stream]).expect("rules")
}

fn policy() -> Policy {
    Policy::compile(PolicySettings::default()).expect("no routes")
}

fn message(id: u64) -> Bytes {
    Bytes::from(format!("{{\"eventType\":\"thing-changed\",\"id\":{id}}}"))
}

/// How many records of the log name the tag.
fn named(node: &Node, tag: &str) -> usize {
    node.bus.audit(usize::MAX).iter().filter(|line| line.tags == [format!("tag:{tag}")]).count()
}

async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_is_blind_before_its_first_heartbeat_and_when_its_lease_has_run_out() {
    let (a, _) = Node::pair().await;
    let stranger = Node::new("c", a.link.another());
    assert!(!stranger.sees() && a.sees());
    let early = stranger.born();
    stranger.beat().await;
    assert!(stranger.sees());
    assert_eq!(stranger.standing(early, "x"), Standing::Check, "what it kept before it had heard is validated");
    a.link.connection(LinkState::Down);
    pass(Duration::from_millis(1_999)).await;
    assert!(a.sees());
    pass(Duration::from_millis(1)).await;
    assert_eq!(a.ledger.sight(a.clock.now()), Sight::Blind { since: DELTA });
    a.beat().await;
    assert!(!a.sees());
    a.link.connection(LinkState::Up);
    a.beat().await;
    assert!(a.sees());
}

#[tokio::test(start_paused = true)]
async fn the_lease_counts_from_when_the_heartbeat_was_sent() {
    let (a, _) = Node::pair().await;
    pass(Duration::from_secs(1)).await;
    a.link.connection(LinkState::Silent);
    let beating = tokio::spawn({
        let (bus, clock) = (Arc::clone(&a.bus), a.clock.clone());
        async move { bus.beat(&clock).await }
    });
    pass(Duration::from_millis(40)).await;
    a.link.connection(LinkState::Up);
    beating.await.expect("ends");
    pass(Duration::from_millis(1_959)).await;
    assert!(a.sees());
    pass(Duration::from_millis(1)).await;
    assert!(!a.sees(), "the 40 ms on the way are not given twice");
}

#[tokio::test(start_paused = true)]
async fn what_another_node_has_purged_holds_after_the_next_heartbeat_at_the_latest() {
    let (a, b) = Node::pair().await;
    let before = b.born();
    assert!(matches!(a.purge("x", Purge::Hard).await, Published::Logged(_)));
    assert_eq!((a.standing(before, "x"), b.standing(before, "x")), (Standing::Void, Standing::Valid));
    b.beat().await;
    assert_eq!((b.standing(before, "x"), b.standing(before, "y")), (Standing::Void, Standing::Valid));
}

#[tokio::test(start_paused = true)]
async fn p_09_a_purge_without_the_log_holds_here_and_is_appended_when_the_log_is_back() {
    let (a, b) = Node::pair().await;
    let (here, there) = (a.born(), b.born());
    a.link.connection(LinkState::Down);
    assert!(matches!(a.purge("x", Purge::Soft).await, Published::Queued(_)));
    assert!(matches!(a.purge("y", Purge::Hard).await, Published::Queued(_)));
    assert_eq!((a.standing(here, "x"), a.standing(here, "y")), (Standing::Soft, Standing::Void));
    let later = a.born();
    assert_eq!(a.standing(later, "y"), Standing::Valid, "what is fetched afterwards is not hit");
    assert!(!a.ledger.admits(here, later), "and nobody who came afterwards is given the old answer");
    // Meanwhile somebody else changes something.
    assert!(matches!(b.purge("z", Purge::Hard).await, Published::Logged(_)));
    a.link.connection(LinkState::Up);
    assert!(matches!(a.purge("w", Purge::Hard).await, Published::Queued(_)), "in the order of their announcement");
    a.beat().await;
    b.beat().await;
    for tag in ["x", "y", "z", "w"] {
        assert_eq!((tag, a.standing(here, tag), b.standing(there, tag)), (tag, Standing::Void, Standing::Void));
    }
    assert!(!a.ledger.is_pending() && a.bus.queued() == 0);
    let tags: Vec<String> = b.bus.audit(9).into_iter().flat_map(|line| line.tags).collect();
    assert_eq!(
        tags,
        ["tag:w", "tag:x", "tag:y", "tag:z"],
        "what was queued goes into one record, behind what was missed"
    );
}

#[tokio::test(start_paused = true)]
async fn r_05_a_log_that_comes_back_empty_is_another_life_and_everything_older_is_validated() {
    let (a, b) = Node::pair().await;
    assert!(matches!(a.purge("x", Purge::Hard).await, Published::Logged(_)));
    let before = (a.born(), b.born());
    a.link.restart_empty();
    for node in [&a, &b] {
        node.beat().await;
        assert!(node.sees());
    }
    assert_eq!((a.standing(before.0, "y"), b.standing(before.1, "y")), (Standing::Check, Standing::Check));
    assert_eq!(a.standing(a.born(), "x"), Standing::Valid);
}

#[tokio::test(start_paused = true)]
async fn r_07_what_a_failover_lost_is_appended_again_by_whoever_has_seen_it() {
    let (a, b) = Node::pair().await;
    assert!(matches!(a.purge("x", Purge::Hard).await, Published::Logged(_)));
    a.link.fail_over(1);
    // The other node joins the new life first, and keeps something in it.
    b.beat().await;
    let there = b.born();
    assert_eq!(b.standing(there, "x"), Standing::Valid);
    a.beat().await;
    b.beat().await;
    assert_eq!((b.standing(there, "x"), b.standing(there, "y")), (Standing::Void, Standing::Valid));
    assert!(!a.ledger.is_pending());
}

#[tokio::test(start_paused = true)]
async fn numbers_that_a_failover_gave_to_other_records_are_not_mistaken_for_the_old_ones() {
    let (a, b) = Node::pair().await;
    for tag in ["x", "y"] {
        assert!(matches!(a.purge(tag, Purge::Hard).await, Published::Logged(_)));
    }
    b.beat().await;
    let (before, number) = (b.born(), b.ledger.applied());
    a.link.fail_over(2);
    a.beat().await;
    while a.ledger.applied() < number + 1 {
        assert!(matches!(a.purge("z", Purge::Hard).await, Published::Logged(_)));
    }
    assert_eq!(b.standing(before, "z"), Standing::Valid, "it has not heard yet");
    b.beat().await;
    assert_eq!(b.standing(before, "z"), Standing::Check);
    assert_ne!(b.born().epoch, before.epoch);
}

#[tokio::test(start_paused = true)]
async fn a_record_that_does_not_follow_makes_a_node_begin_anew() {
    let (a, b) = Node::pair().await;
    let before = b.born();
    // A log of the same epoch that holds something else at the same number.
    let place = b.ledger.place();
    b.ledger.begin(crate::fleet::Place { nonce: place.nonce ^ 1, ..place });
    let _ = before;
    let kept = b.born();
    assert!(matches!(a.purge("x", Purge::Hard).await, Published::Logged(_)));
    b.beat().await;
    assert_eq!(b.standing(kept, "y"), Standing::Check);
    assert_eq!((b.bus.lost() > 0, b.sees(), b.ledger.applied()), (true, true, a.ledger.applied()));
}

#[tokio::test(start_paused = true)]
async fn falling_off_the_log_costs_validations_and_nothing_else() {
    let log = InProcess::with_retention(3);
    let place = log.in_sight().expect("in this process");
    let ledger = Arc::new(Ledger::new(place.epoch, LedgerSettings::default()));
    let bus = Bus::new(Fleet::InProcess(log.clone()), Arc::clone(&ledger));
    let now = Clock::starting_at(Duration::ZERO).now();
    let before = ledger.born(now);
    for number in 0..9 {
        let record = Bytes::from(format!("{{\"type\":\"mark\",\"grade\":\"hard\",\"tags\":[\"tag:{number}\"]}}"));
        log.append(Append::new(record, Grade::Hard, Vec::new(), false)).await.expect("appended");
    }
    bus.catch_up(now).await.expect("read");
    assert_eq!((ledger.applied(), bus.lost()), (9, 6));
    assert_eq!(ledger.standing_of(before, &[hash_tag("tag:0")]), Standing::Check);
    assert_eq!(ledger.standing_of(before, &[hash_tag("tag:8")]), Standing::Void);
}

#[tokio::test(start_paused = true)]
async fn a_purge_of_the_fleet_is_acknowledged_when_every_node_has_applied_it() {
    let (a, b) = Node::pair().await;
    pass(DELTA * 2).await;
    a.runs();
    b.runs();
    pass(Duration::from_millis(10)).await;
    let (before, began) = (b.born(), a.clock.now());
    assert!(matches!(a.purge_everywhere("x").await, Everywhere::Applied(_)));
    assert_eq!(b.standing(before, "x"), Standing::Void);
    let took = a.clock.now().since(began);
    assert!(took < Duration::from_millis(20), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_cut_off_is_waited_for_until_its_lease_has_run_out() {
    let (a, b) = Node::pair().await;
    pass(DELTA * 2).await;
    a.runs();
    b.beat().await;
    b.link.connection(LinkState::Down);
    let began = a.clock.now();
    assert!(matches!(a.purge_everywhere("x").await, Everywhere::Applied(_)));
    assert!(!b.sees(), "it does not go on by what it knows");
    let took = a.clock.now().since(began);
    assert!(took >= DELTA && took < DELTA + DELTA / 5, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_lives_and_does_not_apply_is_named() {
    let (a, b) = Node::pair().await;
    pass(DELTA * 2).await;
    a.runs();
    // It sends heartbeats, and says each time that it is where it was.
    let stuck = crate::fleet::Beating { node: String::from("b"), applied: Some(b.ledger.place()), lease: DELTA };
    let link = b.link.clone();
    tokio::spawn(async move {
        loop {
            link.beat(&stuck).await.expect("connected");
            tokio::time::sleep(DELTA / 4).await;
        }
    });
    pass(Duration::from_millis(10)).await;
    match a.purge_everywhere("x").await {
        Everywhere::Lagging(_, nodes) => assert_eq!(nodes, ["b"]),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn in_a_new_life_the_nodes_of_the_last_one_are_given_the_time_of_their_leases() {
    let (a, b) = Node::pair().await;
    pass(DELTA * 2).await;
    b.beat().await;
    a.link.fail_over(0);
    // The old life's node is not known to the new one, and still goes on by what it knows.
    b.link.connection(LinkState::Down);
    a.beat().await;
    a.runs();
    assert!(matches!(a.purge_everywhere("x").await, Everywhere::Applied(_)));
    assert!(!b.sees());
}

#[tokio::test(start_paused = true)]
async fn an_acknowledgement_that_an_epoch_came_between_is_not_given_for_the_old_one() {
    let (a, b) = Node::pair().await;
    pass(DELTA * 2).await;
    a.runs();
    b.beat().await;
    b.link.connection(LinkState::Down);
    let waiting = tokio::spawn({
        let (bus, clock) = (Arc::clone(&a.bus), a.clock.clone());
        async move { bus.publish_everywhere(&[change("x", Purge::Hard)], &clock, DELTA * 4).await }
    });
    pass(Duration::from_millis(500)).await;
    let old = a.ledger.epoch();
    a.link.fail_over(1);
    let receipt = match waiting.await.expect("ends").expect("a tag") {
        Everywhere::Applied(receipt) => receipt,
        other => panic!("{other:?}"),
    };
    assert_ne!(receipt.epoch, old);
    assert_eq!(receipt.epoch, a.ledger.epoch());
    let named = a.bus.audit(9).iter().filter(|line| line.tags == ["tag:x"]).count();
    assert!(named >= 2, "said again: {named}");
}

#[tokio::test(start_paused = true)]
async fn without_the_log_a_purge_of_the_fleet_is_never_acknowledged() {
    let (a, _) = Node::pair().await;
    a.link.connection(LinkState::Down);
    assert!(matches!(a.purge_everywhere("x").await, Everywhere::Queued(_)));
    assert_ne!(a.born().epoch, Epoch(0));
}

#[tokio::test(start_paused = true)]
async fn ps_08_a_message_that_every_node_hears_becomes_one_record() {
    let (a, b) = Node::pair().await;
    let hears = [a.listens(), b.listens()];
    a.runs();
    b.runs();
    pass(DELTA * 2).await;
    assert!(hears.iter().all(|hearing| hearing.is_proven()));
    // For the channel and for the stream.
    assert_eq!(hears.iter().map(|hearing| hearing.stats().gaps).collect::<Vec<_>>(), [2, 0], "the scribe's beginning");
    let before = b.born();
    for id in [7, 8, 7] {
        a.link.publish("things", message(id)).await.expect("connected");
    }
    pass(Duration::from_millis(20)).await;
    assert_eq!((b.standing(before, "thing:7"), b.standing(before, "thing:9")), (Standing::Void, Standing::Valid));
    pass(Duration::from_secs(1)).await;
    assert_eq!((named(&b, "thing:7"), named(&b, "thing:8")), (2, 1), "one record for one message");
    assert_eq!(hears.map(|hearing| hearing.stats().taken_over), [0, 0]);
}

#[tokio::test(start_paused = true)]
async fn what_a_deaf_scribe_does_not_append_another_node_does() {
    let (a, b) = Node::pair().await;
    let hearing = b.listens();
    a.runs();
    b.runs();
    pass(DELTA * 2).await;
    assert!(a.bus.is_scribe() && !b.bus.is_scribe());
    let before = a.born();
    a.link.publish("things", message(7)).await.expect("connected");
    pass(Duration::from_millis(99)).await;
    assert_eq!(a.standing(before, "thing:7"), Standing::Valid);
    pass(Duration::from_millis(20)).await;
    assert_eq!(a.standing(before, "thing:7"), Standing::Void);
    assert_eq!((hearing.stats().taken_over, named(&a, "thing:7")), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn after_a_gap_everything_that_the_rules_could_name_is_validated() {
    let (a, b) = Node::pair().await;
    let hears = [a.listens(), b.listens()];
    a.runs();
    b.runs();
    pass(DELTA * 2).await;
    let governed = Ledger::standing_of;
    let before = a.born();
    b.link.connection(LinkState::Down);
    a.link.publish("things", message(7)).await.expect("connected");
    pass(Duration::from_millis(200)).await;
    b.link.connection(LinkState::Up);
    pass(DELTA).await;
    assert_eq!(hears.map(|hearing| hearing.stats().gaps), [2, 1]);
    let marks = |tag: &str| governed(&a.ledger, before, &[hash_tag(tag)]);
    assert_eq!((marks("governed:things"), marks("tag:x")), (Standing::Check, Standing::Valid));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_begins_to_listen_alone_cannot_know_what_was_said_before() {
    let link = InProcess::network();
    let a = Node::new("a", link);
    a.beat().await;
    let before = a.born();
    let hearing = a.listens();
    a.runs();
    pass(DELTA * 2).await;
    assert_eq!(hearing.stats().gaps, 2);
    assert_eq!(a.ledger.standing_of(before, &[hash_tag("governed:things")]), Standing::Check);
}

#[tokio::test(start_paused = true)]
async fn ps_01_what_is_no_message_is_dropped_counted_and_harms_nobody() {
    let (a, _) = Node::pair().await;
    let hearing = a.listens();
    a.runs();
    pass(DELTA * 2).await;
    let bad: [&'static [u8]; 5] =
        [b"", b"\xff", b"[]", b"{\"eventType\":\"other\"}", b"{\"eventType\":\"thing-changed\"}"];
    for payload in bad {
        a.link.publish("things", Bytes::from_static(payload)).await.expect("connected");
    }
    a.link.publish("things", message(7)).await.expect("connected");
    pass(Duration::from_millis(20)).await;
    let stats = hearing.stats();
    assert_eq!((stats.mapped, named(&a, "thing:7")), (1, 1));
    assert_eq!(stats.dropped.iter().map(|(_, count)| count).sum::<u64>(), 5, "{:?}", stats.dropped);
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_read_by_the_scribe_and_goes_on_where_it_was_left() {
    let (a, b) = Node::pair().await;
    for node in [&a, &b] {
        node.listens();
        node.runs();
    }
    pass(DELTA * 2).await;
    let before = b.born();
    a.link.write_stream("log", vec![(String::from("data"), message(1))]);
    pass(Duration::from_secs(3)).await;
    assert_eq!(b.standing(before, "thing:1"), Standing::Void);
    // The scribe is cut off; what comes meanwhile is read by the next one, once.
    assert!(a.bus.is_scribe());
    a.link.connection(LinkState::Down);
    b.link.write_stream("log", vec![(String::from("data"), message(2))]);
    pass(DELTA * 3).await;
    assert!(b.bus.is_scribe());
    assert_eq!((named(&b, "thing:1"), named(&b, "thing:2")), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn whoever_becomes_the_scribe_has_everything_validated_that_the_last_one_may_have_died_with() {
    let (a, b) = Node::pair().await;
    let hears = [a.listens(), b.listens()];
    a.runs();
    b.runs();
    pass(DELTA * 2).await;
    let before = b.born();
    a.link.connection(LinkState::Down);
    pass(DELTA * 2).await;
    assert!(b.bus.is_scribe());
    assert_eq!(hears[1].stats().gaps, 2);
    assert_eq!(b.ledger.standing_of(before, &[hash_tag("governed:things")]), Standing::Check);
}

#[tokio::test(start_paused = true)]
async fn what_a_node_saw_before_it_was_cut_off_is_appended_again_however_long_that_lasts() {
    let (a, b) = Node::pair().await;
    assert!(matches!(a.purge("x", Purge::Hard).await, Published::Logged(_)));
    a.beat().await;
    a.link.connection(LinkState::Down);
    pass(DELTA * 9).await;
    a.link.fail_over(1);
    b.beat().await;
    let there = b.born();
    a.link.connection(LinkState::Up);
    a.beat().await;
    b.beat().await;
    assert_eq!(b.standing(there, "x"), Standing::Void);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_joins_has_applied_nothing_until_it_says_so() {
    let (a, b) = Node::pair().await;
    let applied = |name: &'static str| {
        let link = a.link.clone();
        async move {
            let members = link.members().await.expect("connected");
            members.nodes.iter().find(|member| member.node == name).map(|member| member.applied)
        }
    };
    assert_eq!(applied("b").await, Some(0));
    b.beat().await;
    assert_eq!(applied("b").await, Some(b.ledger.applied()));
    a.link.fail_over(0);
    b.beat().await;
    assert_eq!(applied("b").await, Some(0), "it may still go on by what it knew of the last life");
}

#[tokio::test(start_paused = true)]
async fn what_means_nothing_in_a_stream_is_read_past() {
    let (a, _) = Node::pair().await;
    let hearing = a.listens();
    a.runs();
    pass(DELTA * 2).await;
    let before = a.born();
    for _ in 0..=crate::fleet::PAGE {
        a.link.write_stream("log", vec![(String::from("data"), Bytes::from_static(b"{\"eventType\":\"other\"}"))]);
    }
    a.link.write_stream("log", vec![(String::from("data"), message(7))]);
    a.link.write_stream("log", vec![(String::from("data"), Bytes::from_static(b"no message"))]);
    pass(Duration::from_secs(9)).await;
    assert_eq!(a.standing(before, "thing:7"), Standing::Void);
    let dropped: u64 = hearing.stats().dropped.iter().map(|(_, count)| count).sum();
    assert_eq!(dropped, crate::fleet::PAGE as u64 + 2, "each of them once");
}

#[tokio::test(start_paused = true)]
async fn the_beginning_of_a_stream_that_nobody_has_read_is_a_gap() {
    let (a, _) = Node::pair().await;
    let before = a.born();
    a.link.write_stream("log", vec![(String::from("data"), message(7))]);
    a.listens();
    a.runs();
    pass(DELTA * 2).await;
    assert_eq!(a.ledger.standing_of(before, &[hash_tag("governed:stream")]), Standing::Check);
}
