//! Step 6 in a fleet: what another node has fetched, and whose turn it is to fetch.
//!
//! Before a fill asks the backend it looks among the shared entries, and then takes a *lease*: the one node that has it
//! fetches, the others wait for its answer to appear. Nobody waits for long: after the route's usual time and a little more
//! a node fetches for itself, and where the fleet does not answer it does so at once. When the answer has been shared the
//! lease is given back; if the node that has it dies, the lease ends by itself and the next one takes it.

use std::sync::Arc;
use std::time::Duration;

use super::Gateway;
use super::fill::Fill;
use super::flight::{Class, Leader};
use super::judge::{self, Verdict};
use crate::clock::Moment;
use crate::fleet::FleetError;
use crate::rfc::Reason;
use crate::store::{Entry, Found, Hold, Leased, Looked, Shared, Sight, Standing, Wanted};
use crate::telemetry::FleetWork;

/// What a fill needs to go about it together with the other nodes.
pub(super) struct Together {
    /// The gateway.
    pub(super) gateway: Gateway,
    /// The shared tier.
    pub(super) shared: Arc<Shared>,
    /// Whose answer it may be.
    pub(super) class: Class,
    /// Nobody waits: the client was given what is stale.
    pub(super) refresh: bool,
}

/// What is to be done.
pub(super) enum Turn {
    /// Serve this: another node has fetched it.
    Shared(Arc<Entry>),
    /// Ask the backend. With the lease, if there was one to be had.
    Fetch(Option<Hold>),
}

impl Together {
    /// Looks for what another node has fetched, and waits for it as long as that is the shorter way.
    pub(super) async fn turn(self, fill: &mut Fill, leader: &Leader) -> Turn {
        let mut selecting = self.gateway.store().variant_names(fill.key.bytes());
        let began = fill.clock.now();
        let turn = match self.find(fill, leader, &mut selecting, false).await {
            Ok(Some(entry)) => Ok(Turn::Shared(entry)),
            // One slow answer is enough to wait for: the request pays for Redis once.
            Ok(None) if fill.clock.now().since(began) > SLOW => Ok(Turn::Fetch(None)),
            Ok(None) => self.queue(fill, leader, &mut selecting).await,
            Err(error) => Err(error),
        };
        // Where the fleet does not answer: without the others.
        turn.unwrap_or(Turn::Fetch(None))
    }

    /// Takes the lease, or waits for what whoever has it will share.
    async fn queue(
        &self,
        fill: &mut Fill,
        leader: &Leader,
        selecting: &mut Vec<http::HeaderName>,
    ) -> Result<Turn, FleetError> {
        let usual = self.gateway.paces().usual(fill.rule);
        let deadline = fill.clock.now().after(usual.saturating_add(self.gateway.settings().fleet.lease_wait));
        let term = usual.saturating_mul(3).saturating_add(SHORTEST_TERM).min(LONGEST_TERM);
        let class = u8::from(self.class.authorization) | u8::from(self.class.cookie) << 1;
        let mut pause = FIRST_PAUSE;
        loop {
            let wanted = Wanted { key: &fill.key, request: &fill.request, selecting };
            let asked = fill.clock.now();
            let left = match self.shared.lease(wanted, class, term).await? {
                Leased::Granted(hold) if fill.clock.now().since(asked) > SLOW => return Ok(Turn::Fetch(Some(hold))),
                Leased::Granted(hold) => {
                    // Whoever had it before may have shared its answer between the look-up and now.
                    let found = self.find(fill, leader, selecting, true).await;
                    return Ok(match found {
                        Ok(Some(entry)) => {
                            let shared = Arc::clone(&self.shared);
                            tokio::spawn(async move { shared.release(hold, None).await });
                            Turn::Shared(entry)
                        }
                        _ => Turn::Fetch(Some(hold)),
                    });
                }
                Leased::Pointless => return Ok(Turn::Fetch(None)),
                Leased::Held(left) => left,
            };
            let patience = deadline.since(fill.clock.now());
            if patience.is_zero() {
                return Ok(Turn::Fetch(None));
            }
            tokio::time::sleep(pause.min(left.max(FIRST_PAUSE)).min(patience)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            if let Some(entry) = self.find(fill, leader, selecting, true).await? {
                return Ok(Turn::Shared(entry));
            }
        }
    }

    /// Looks among what is shared. What can be used as it is comes back, and is in memory by then; anything else may still
    /// spare the backend a body, or stand in for it.
    async fn find(
        &self,
        fill: &mut Fill,
        leader: &Leader,
        selecting: &mut Vec<http::HeaderName>,
        again: bool,
    ) -> Result<Option<Arc<Entry>>, FleetError> {
        let store = Arc::clone(self.gateway.store());
        let now = fill.clock.now();
        // The ledger's word is taken for what is found.
        if store.ledger().sight(now) != Sight::Clear {
            return Err(FleetError::Away);
        }
        let wanted = Wanted { key: &fill.key, request: &fill.request, selecting };
        let (ledger, timebase) = (store.ledger(), self.gateway.fleet_time(now));
        let looked = if again {
            self.shared.look_again(wanted, ledger, timebase, now).await
        } else {
            self.shared.look_up(wanted, ledger, timebase, now).await
        };
        self.gateway.metrics().shared(FleetWork::SharedRead, fill.clock.now().since(now));
        let looked = looked?;
        let Looked { found, known, selecting: learnt } = looked;
        if let Some(learnt) = learnt {
            *selecting = learnt.into_vec();
        }
        let Some((entry, standing)) = found else { return Ok(None) };
        let now = fill.clock.now();
        let outlook = self.gateway.outlook(now);
        let verdict =
            judge::judge(&Found::Entry(Arc::clone(&entry), standing), &fill.facts, fill.rule(), false, &outlook, now);
        let usable = match verdict {
            Verdict::Serve(_) => known,
            // Behind a client that has been given something stale only what is fresh is of use.
            Verdict::ServeAndRefresh(_, Reason::StaleWhileRevalidate) => known && !self.refresh,
            _ => false,
        };
        if !usable {
            self.adopt(fill, leader, entry, standing, known, verdict);
            return Ok(None);
        }
        match store.promote(Arc::clone(&entry)) {
            // A change has named it meanwhile, or something newer is there.
            Err(Reason::PurgedMeanwhile) => Ok(None),
            _ => Ok(Some(entry)),
        }
    }

    /// Makes the best of an answer that has to be confirmed.
    fn adopt(
        &self,
        fill: &mut Fill,
        leader: &Leader,
        entry: Arc<Entry>,
        standing: Standing,
        known: bool,
        verdict: Verdict,
    ) {
        let fallback = match verdict {
            Verdict::ServeAndRefresh(entry, _) => Some(entry),
            Verdict::Fetch(fetch) => fetch.fallback,
            _ => None,
        };
        if fill.stored.is_some() || standing == Standing::Void {
            return;
        }
        if known && self.gateway.store().promote(Arc::clone(&entry)).is_err() {
            return;
        }
        if let Some(fallback) = &fallback {
            leader.found(Arc::clone(fallback));
        }
        fill.validate = entry.facts.has_validator.then(|| Arc::clone(&entry));
        fill.fallback = fallback;
        fill.stored = Some(entry);
    }
}

/// What is owed to the other nodes once the backend has answered. Dropped without a word, it gives the lease back: the next
/// one may have more luck.
pub(super) struct Afterwards {
    gateway: Gateway,
    shared: Arc<Shared>,
    rule: usize,
    began: Moment,
    hold: Option<Hold>,
}

impl Afterwards {
    /// Of a fetch under `rule`; nothing for a node on its own.
    pub(super) fn of(gateway: &Gateway, rule: usize) -> Option<Self> {
        let shared = Arc::clone(gateway.shared()?);
        Some(Self { gateway: gateway.clone(), shared, rule, began: gateway.clock().now(), hold: None })
    }

    /// The backend is about to be asked.
    pub(super) fn begins(&mut self, hold: Option<Hold>) {
        self.began = self.gateway.clock().now();
        self.hold = hold;
    }

    /// The answer is kept.
    pub(super) fn kept(mut self, entry: &Arc<Entry>) {
        let now = self.gateway.clock().now();
        self.gateway.paces().note(self.rule, now.since(self.began));
        if !self.shared.takes(entry) {
            return self.pointless();
        }
        let ledger = self.gateway.store().ledger();
        // Out of sight of the log, and across two of its lives, nothing is known of what an entry is worth to others.
        let born_here = entry.born.epoch == ledger.epoch() && ledger.sight(now) == Sight::Clear;
        if born_here && ledger.standing(entry) != Standing::Void {
            // What has to be confirmed before each use spares the others nothing but its body: they need not wait for it.
            let facts = &entry.facts;
            let waited_for = !facts.no_cache && !(facts.lifetime + facts.stale_while_revalidate).is_zero();
            let hold = if waited_for { self.hold.take() } else { None };
            self.shared.write(Arc::clone(entry), self.gateway.fleet_time(now), hold);
            if !waited_for {
                self.pointless();
            }
        }
    }

    /// The answer is not for everybody.
    pub(super) fn unshared(self, reason: Reason) {
        // What was odd about this request says nothing about the next one.
        if !matches!(reason, Reason::RequestNoStore | Reason::UnkeyedInput) {
            self.pointless();
        }
    }

    fn pointless(mut self) {
        if let Some(hold) = self.hold.take() {
            let shared = Arc::clone(&self.shared);
            tokio::spawn(async move { shared.release(hold, Some(POINTLESS_FOR)).await });
        }
    }
}

impl Drop for Afterwards {
    fn drop(&mut self) {
        if let Some(hold) = self.hold.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let shared = Arc::clone(&self.shared);
            runtime.spawn(async move { shared.release(hold, None).await });
        }
    }
}

/// What takes Redis longer than this is not asked twice for one request. A healthy one needs a tenth of it.
const SLOW: Duration = Duration::from_millis(20);

/// A lease never ends sooner.
const SHORTEST_TERM: Duration = Duration::from_secs(1);

/// A lease never lasts longer.
const LONGEST_TERM: Duration = Duration::from_secs(30);

/// Who waits looks again after this long, and then after twice as long each time …
const FIRST_PAUSE: Duration = Duration::from_millis(5);

/// … up to this.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// For how long the other nodes are told that waiting for each other is of no use.
const POINTLESS_FOR: Duration = Duration::from_secs(10);
