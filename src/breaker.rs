//! A breaker: leaves something that fails alone for a moment, so that it can recover and nobody waits for it in vain.
//!
//! Three states. *Admitting* lets everything through and watches the outcomes. Too many failures lead to *Refusing*,
//! which lets nothing through until a pause is over; the pause doubles each time, up to a cap. Then *Probing* lets one
//! through, then two, then four, until enough of them went well: back to Admitting. One failed probe: back to Refusing.
//!
//! ```text
//!              too many failures                 pause over
//!  Admitting ────────────────────▶ Refusing ────────────────────▶ Probing
//!      ▲                              ▲        a probe failed        │
//!      │                              └──────────────────────────────┤
//!      └─────────────────────────────────────────────────────────────┘
//!                              enough probes went well
//! ```
//!
//! Whoever is admitted holds a [`Ticket`] and hands it back with the outcome. A ticket that is dropped says nothing
//! about the backend (a caller went away) and only frees the place of its probe. A ticket from before a change of state
//! says nothing about the present, so its outcome is ignored.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Moment;

/// When to refuse, for how long, and when to trust again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakerSettings {
    /// This many attempts in a row that reached nobody open the breaker. 1 or more; 0 counts as 1. Default 5.
    pub consecutive: u32,
    /// This share of failures in the window opens it, in percent: 1 to 100; above 100 the share is ignored. Default 50.
    pub failure_percent: u32,
    /// … but only with at least this many outcomes in the window. Default 20.
    pub min_outcomes: u32,
    /// How far back outcomes count. Default 10 s.
    pub window: Duration,
    /// The first pause. Doubles with each failed probe, and when the breaker opens again within a window of having
    /// closed. Default 1 s.
    pub first_pause: Duration,
    /// The longest pause. Default 30 s.
    pub max_pause: Duration,
    /// This many probes must go well before everything is admitted again. 0 counts as 1. Default 3.
    pub probes: u32,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self {
            consecutive: 5,
            failure_percent: 50,
            min_outcomes: 20,
            window: Duration::from_secs(10),
            first_pause: Duration::from_secs(1),
            max_pause: Duration::from_secs(30),
            probes: 3,
        }
    }
}

/// What a breaker is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BreakerState {
    /// Everything passes.
    Admitting,
    /// Nothing passes until the pause is over and somebody asks.
    Refusing,
    /// A few pass, to see.
    Probing,
}

impl BreakerState {
    /// One word, for labels and pages.
    pub const fn name(self) -> &'static str {
        match self {
            BreakerState::Admitting => "admitting",
            BreakerState::Refusing => "refusing",
            BreakerState::Probing => "probing",
        }
    }
}

/// The answer to [`Breaker::admit`].
#[derive(Debug)]
pub enum Admission {
    /// Go ahead, and hand the ticket to [`Breaker::record`].
    Yes(Ticket),
    /// Not now.
    No {
        /// How long it is worth waiting before asking again. A guess while probes are under way.
        retry_after: Duration,
    },
}

/// How an attempt went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Well.
    Good,
    /// Badly, but somebody was there: an error, or an answer that broke off. One bad URL can bring about many of these in
    /// a row, so they count by their share only.
    Poor,
    /// Nobody was there. A few of these in a row are enough.
    Unreachable,
}

/// The right to try once.
#[derive(Debug)]
#[must_use = "a ticket that is dropped records no outcome"]
pub struct Ticket {
    shared: Arc<Shared>,
    era: u64,
    settled: bool,
}

/// One breaker, for one thing that can fail. Clones share its state.
#[derive(Clone, Debug)]
pub struct Breaker {
    shared: Arc<Shared>,
}

impl Breaker {
    /// A breaker that admits.
    pub fn new(settings: BreakerSettings) -> Self {
        let state = State { phase: Phase::admitting(), era: 0, openings: 0, closed_at: None };
        Self { shared: Arc::new(Shared { settings, state: Mutex::new(state) }) }
    }

    /// May one attempt be made now?
    pub fn admit(&self, now: Moment) -> Admission {
        let mut state = self.shared.lock();
        if let Phase::Refusing { until } = state.phase {
            if now.mono < until {
                return Admission::No { retry_after: until.saturating_sub(now.mono) };
            }
            state.enter(Phase::Probing { under_way: 0, succeeded: 0 });
        }
        if let Phase::Probing { under_way, succeeded } = &mut state.phase {
            if *under_way >= room(*succeeded) {
                return Admission::No { retry_after: self.shared.settings.first_pause };
            }
            *under_way += 1;
        }
        Admission::Yes(Ticket { shared: Arc::clone(&self.shared), era: state.era, settled: false })
    }

    /// Would [`Breaker::admit`] say yes? Changes nothing.
    pub fn would_admit(&self, now: Moment) -> bool {
        match self.shared.lock().phase {
            Phase::Admitting { .. } => true,
            Phase::Refusing { until } => now.mono >= until,
            Phase::Probing { under_way, succeeded } => under_way < room(succeeded),
        }
    }

    /// How an admitted attempt went.
    pub fn record(&self, mut ticket: Ticket, outcome: Outcome, now: Moment) {
        ticket.settled = true;
        let ok = outcome == Outcome::Good;
        let settings = &self.shared.settings;
        let mut state = self.shared.lock();
        if ticket.era != state.era {
            return;
        }
        match &mut state.phase {
            Phase::Admitting { in_a_row, window } => {
                *in_a_row = match outcome {
                    Outcome::Good | Outcome::Poor => 0,
                    Outcome::Unreachable => in_a_row.saturating_add(1),
                };
                window.count(settings, now, ok);
                if *in_a_row >= settings.consecutive.max(1) || window.too_many_failures(settings) {
                    state.open(settings, now);
                }
            }
            Phase::Refusing { .. } => {} // Tickets are not given out while refusing, and older ones are of another era.
            Phase::Probing { under_way, succeeded } => {
                *under_way = under_way.saturating_sub(1);
                *succeeded = succeeded.saturating_add(1);
                if !ok {
                    state.open(settings, now);
                } else if *succeeded >= settings.probes.max(1) {
                    state.closed_at = Some(now);
                    state.enter(Phase::admitting());
                }
            }
        }
    }

    /// A failure that showed only after the outcome was recorded: an answer that began well and broke off.
    /// Counts in the window while admitting, and ends a probation.
    pub fn note_failure(&self, now: Moment) {
        let settings = &self.shared.settings;
        let mut state = self.shared.lock();
        match &mut state.phase {
            Phase::Admitting { window, .. } => {
                window.count(settings, now, false);
                if window.too_many_failures(settings) {
                    state.open(settings, now);
                }
            }
            Phase::Refusing { .. } => {}
            Phase::Probing { .. } => state.open(settings, now),
        }
    }

    /// What it is doing. A pause that is over still shows as [`BreakerState::Refusing`] until somebody asks.
    pub fn state(&self) -> BreakerState {
        match self.shared.lock().phase {
            Phase::Admitting { .. } => BreakerState::Admitting,
            Phase::Refusing { .. } => BreakerState::Refusing,
            Phase::Probing { .. } => BreakerState::Probing,
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        let mut state = self.shared.lock();
        if state.era != self.era {
            return;
        }
        if let Phase::Probing { under_way, .. } = &mut state.phase {
            *under_way = under_way.saturating_sub(1);
        }
    }
}

#[derive(Debug)]
struct Shared {
    settings: BreakerSettings,
    state: Mutex<State>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct State {
    phase: Phase,
    /// Grows with each change of phase, so that tickets can be told apart.
    era: u64,
    /// Times it opened without having stayed closed for a window in between.
    openings: u32,
    closed_at: Option<Moment>,
}

#[derive(Debug)]
enum Phase {
    Admitting { in_a_row: u32, window: Window },
    Refusing { until: Duration },
    Probing { under_way: u32, succeeded: u32 },
}

impl Phase {
    fn admitting() -> Self {
        Phase::Admitting { in_a_row: 0, window: Window::default() }
    }
}

impl State {
    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.era += 1;
    }

    fn open(&mut self, settings: &BreakerSettings, now: Moment) {
        // A breaker that stayed closed for a whole window has earned a short pause; one that flaps has not.
        let stayed_closed = match (&self.phase, self.closed_at) {
            (Phase::Admitting { .. }, Some(closed_at)) => now.since(closed_at) >= settings.window,
            (Phase::Admitting { .. }, None) => true,
            _ => false,
        };
        self.openings = if stayed_closed { 0 } else { self.openings.saturating_add(1) };
        let factor = 2_u32.saturating_pow(self.openings);
        let pause = settings.first_pause.saturating_mul(factor).min(settings.max_pause);
        self.enter(Phase::Refusing { until: now.mono.saturating_add(pause) });
    }
}

/// How many probes may be under way at once: 1, 2, 4, … as they succeed.
fn room(succeeded: u32) -> u32 {
    2_u32.saturating_pow(succeeded)
}

const SLICES: usize = 10;

/// Outcomes of the recent past, in slices of a tenth of the window. A slice is cleared when its time comes round again.
#[derive(Debug, Default)]
struct Window {
    slices: [Slice; SLICES],
    newest: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slice {
    failed: u32,
    all: u32,
}

impl Window {
    fn count(&mut self, settings: &BreakerSettings, now: Moment, ok: bool) {
        let width = (settings.window.as_nanos() / SLICES as u128).max(1);
        let current = u64::try_from(now.mono.as_nanos() / width).unwrap_or(u64::MAX).max(self.newest);
        let passed = current - self.newest;
        if passed >= SLICES as u64 {
            self.slices = [Slice::default(); SLICES];
        } else {
            for number in self.newest + 1..=current {
                *self.slice(number) = Slice::default();
            }
        }
        self.newest = current;
        let slice = self.slice(current);
        slice.all = slice.all.saturating_add(1);
        slice.failed = slice.failed.saturating_add(u32::from(!ok));
    }

    fn slice(&mut self, number: u64) -> &mut Slice {
        let index = usize::try_from(number % SLICES as u64).unwrap_or_default();
        &mut self.slices[index]
    }

    fn too_many_failures(&self, settings: &BreakerSettings) -> bool {
        let all: u64 = self.slices.iter().map(|slice| u64::from(slice.all)).sum();
        let failed: u64 = self.slices.iter().map(|slice| u64::from(slice.failed)).sum();
        all >= u64::from(settings.min_outcomes)
            && failed > 0
            && failed.saturating_mul(100) >= all.saturating_mul(u64::from(settings.failure_percent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A breaker and a clock of its own, driven by a script: `ok`, `poor`, `bad`, `refused`, `+N` (seconds), a state's name.
    fn check(settings: &BreakerSettings, script: &str) {
        let breaker = Breaker::new(settings.clone());
        let mut now = at(100);
        for (index, step) in script.split_whitespace().enumerate() {
            let place = format!("step {index} ({step}) of {script:?}");
            match step {
                "ok" | "poor" | "bad" => match breaker.admit(now) {
                    Admission::Yes(ticket) => {
                        let outcome = match step {
                            "ok" => Outcome::Good,
                            "poor" => Outcome::Poor,
                            _ => Outcome::Unreachable,
                        };
                        breaker.record(ticket, outcome, now);
                    }
                    Admission::No { .. } => panic!("refused at {place}"),
                },
                "refused" => {
                    assert!(!breaker.would_admit(now), "{place}");
                    assert!(matches!(breaker.admit(now), Admission::No { .. }), "admitted at {place}");
                }
                "late" => breaker.note_failure(now),
                "admitting" | "refusing" | "probing" => assert_eq!(breaker.state().name(), step, "{place}"),
                _ => match step.strip_prefix('+').and_then(|seconds| seconds.parse().ok()) {
                    Some(seconds) => now = now.after(Duration::from_secs(seconds)),
                    None => panic!("no such step: {place}"),
                },
            }
        }
    }

    fn at(seconds: u64) -> Moment {
        Moment { wall: Duration::from_secs(1_000_000 + seconds), mono: Duration::from_secs(seconds) }
    }

    #[test]
    fn it_opens_after_failures_in_a_row_and_closes_after_probes() {
        let settings = BreakerSettings { consecutive: 3, probes: 2, ..BreakerSettings::default() };
        for script in [
            "bad bad ok bad bad admitting",
            "bad bad poor bad bad admitting",
            "poor poor poor poor poor admitting",
            "bad bad bad refusing refused +1 ok probing ok admitting ok bad bad admitting",
            "bad bad bad +1 bad refusing refused",
        ] {
            check(&settings, script);
        }
    }

    #[test]
    fn each_failed_probe_doubles_the_pause_up_to_the_cap() {
        let settings =
            BreakerSettings { consecutive: 1, max_pause: Duration::from_secs(5), ..BreakerSettings::default() };
        check(&settings, "bad refused +1 bad +1 refused +1 bad +3 refused +1 bad +4 refused +1 bad +4 refused +1 ok");
    }

    #[test]
    fn one_that_flaps_pauses_longer_and_one_that_was_well_does_not() {
        let settings = BreakerSettings { consecutive: 1, probes: 1, ..BreakerSettings::default() };
        check(&settings, "bad +1 ok admitting bad +1 refused +1 ok bad +3 refused +1 ok");
        check(&settings, "bad +1 ok admitting +10 bad refused +1 ok");
    }

    #[test]
    fn half_of_twenty_in_the_window_opens_it() {
        let settings = BreakerSettings::default();
        let pairs = |n: usize| "ok bad ".repeat(n);
        check(&settings, &format!("{} admitting ok bad refusing", pairs(9)));
        check(&settings, &format!("{} +11 ok bad admitting", pairs(9)));
        check(&settings, &format!("{} +9 ok bad refusing", pairs(9)));
        check(&settings, &format!("{} ok ok bad admitting", "ok ok bad ".repeat(20)));
    }

    #[test]
    fn answers_that_break_off_later_count() {
        check(&BreakerSettings::default(), &format!("{} refusing", "ok late ".repeat(10)));
        let settings = BreakerSettings { consecutive: 1, ..BreakerSettings::default() };
        check(&settings, "bad +1 ok probing late refusing refused");
    }

    #[test]
    fn probes_ramp_up_and_a_dropped_ticket_frees_its_place() {
        let breaker = Breaker::new(BreakerSettings { consecutive: 1, probes: 9, ..BreakerSettings::default() });
        let admitted = |now| match breaker.admit(now) {
            Admission::Yes(ticket) => Some(ticket),
            Admission::No { .. } => None,
        };
        breaker.record(admitted(at(0)).unwrap(), Outcome::Unreachable, at(0));

        let first = admitted(at(1)).unwrap();
        assert!(admitted(at(1)).is_none(), "one probe at a time at first");
        drop(first);
        let first = admitted(at(1)).expect("the dropped ticket freed the place");
        breaker.record(first, Outcome::Good, at(1));

        let pair = (admitted(at(1)).unwrap(), admitted(at(1)).unwrap());
        assert!(admitted(at(1)).is_none(), "two after one success");
        breaker.record(pair.0, Outcome::Good, at(1));
        breaker.record(pair.1, Outcome::Unreachable, at(1));
        assert_eq!(breaker.state(), BreakerState::Refusing);
    }

    #[test]
    fn outcomes_from_before_a_change_of_state_are_ignored() {
        let breaker = Breaker::new(BreakerSettings { consecutive: 1, probes: 1, ..BreakerSettings::default() });
        let tickets: Vec<_> = (0..3).map(|_| breaker.admit(at(0))).collect();
        let mut tickets = tickets.into_iter().map(|admission| match admission {
            Admission::Yes(ticket) => ticket,
            Admission::No { .. } => panic!("refused"),
        });
        breaker.record(tickets.next().unwrap(), Outcome::Unreachable, at(0));
        breaker.record(tickets.next().unwrap(), Outcome::Good, at(0));
        assert_eq!(breaker.state(), BreakerState::Refusing, "a late success does not close it");
        let Admission::Yes(probe) = breaker.admit(at(1)) else { panic!("no probe") };
        breaker.record(tickets.next().unwrap(), Outcome::Unreachable, at(1));
        assert_eq!(breaker.state(), BreakerState::Probing, "a late failure does not end the probation");
        breaker.record(probe, Outcome::Good, at(1));
        assert_eq!(breaker.state(), BreakerState::Admitting);
    }

    #[test]
    fn odd_settings_do_no_harm() {
        let zero = BreakerSettings {
            consecutive: 0,
            failure_percent: 0,
            min_outcomes: 0,
            window: Duration::ZERO,
            first_pause: Duration::MAX,
            max_pause: Duration::MAX,
            probes: 0,
        };
        check(&zero, "ok ok admitting bad refusing refused +1000 refused");
    }
}
