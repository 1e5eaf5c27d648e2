//! The store on trial: in every order of its actors' steps, and in long random lives beside a model that is too simple
//! to be wrong.

use std::collections::HashMap;
use std::sync::Arc;

use http::HeaderMap;
use proptest::prelude::*;

use super::samples::{at, interleave, key, ledger, parts, record, request, vary};
use super::*;

/// A backend that holds one value, a fill that caches it, a change that is announced, and who reads meanwhile.
struct World {
    store: Store,
    backend: u64,
    reported: bool,
    fills: [(Option<Born>, u64); 2],
}

impl World {
    fn new() -> Self {
        let store = Store::new(MemorySettings { capacity: 100_000, ..MemorySettings::default() }, ledger());
        Self { store, backend: 1, reported: false, fills: [(None, 0); 2] }
    }

    /// Note the birth; ask; keep. Says whether the answer was kept.
    fn fill(&mut self, which: usize, turn: usize) -> bool {
        let (birth, value) = &mut self.fills[which];
        match (turn, *birth) {
            (0, _) => *birth = Some(self.store.ledger().born(at(0))),
            (1, _) => *value = self.backend,
            (_, Some(birth)) => {
                let body = value.to_string().into();
                let entry = Entry::new(EntryParts { born: birth, body, ..parts("/a", 0) });
                return self.store.keep(Arc::new(entry)).is_ok();
            }
            (_, None) => unreachable!("turns come in order"),
        }
        false
    }

    /// The backend commits; the record is applied; the purge is reported.
    fn change(&mut self, turn: usize, grade: Grade) {
        match turn {
            0 => self.backend = 2,
            1 => assert_eq!(self.store.ledger().apply(1, &record(grade, &["tag:x"])), Applied::InOrder),
            _ => self.reported = true,
        }
    }

    /// What a reader would be served at once, and as what.
    fn read(&self) -> Option<(u64, Standing)> {
        match self.store.look_up(b"/a", &HeaderMap::new(), at(1)) {
            Found::Entry(entry, standing) => Some((std::str::from_utf8(&entry.body).ok()?.parse().ok()?, standing)),
            _ => None,
        }
    }
}

#[test]
fn after_a_reported_purge_nobody_is_served_what_was_fetched_before_it() {
    let mut seen = HashMap::new();
    // The change, a fill, another, and how often somebody reads.
    for (grade, steps) in [(Grade::Hard, [3, 3, 3, 1]), (Grade::Check, [3, 3, 0, 3]), (Grade::Soft, [3, 3, 0, 3])] {
        interleave(&steps, &mut |schedule| {
            let (mut world, mut turns) = (World::new(), [0; 4]);
            for actor in schedule {
                match *actor {
                    0 => world.change(turns[0], grade),
                    3 => {
                        let (reported, read) = (world.reported, world.read());
                        *seen.entry((grade, reported, read)).or_insert(0) += 1;
                        if reported {
                            let bad = match read {
                                Some((1, standing)) => match grade {
                                    Grade::Hard => true,
                                    Grade::Check => standing < Standing::Check,
                                    Grade::Soft => standing < Standing::Soft,
                                },
                                _ => false,
                            };
                            assert!(!bad, "{grade:?}: read {read:?} in {schedule:?}");
                        }
                    }
                    fill => {
                        let kept = world.fill(fill - 1, turns[fill]);
                        let early = world.fills[fill - 1].0.is_some_and(|born| born.number == 0);
                        let void = grade == Grade::Hard && early && world.store.ledger().applied() == 1;
                        assert!(!(kept && void), "kept what is void: {schedule:?}");
                    }
                }
                turns[*actor] += 1;
            }
            // Nor does it lie about for later, if it must be absent.
            assert!(grade != Grade::Hard || !matches!(world.read(), Some((1, _))), "{schedule:?}");
        });
    }
    // The search is worth something only if it meets the old value before, and the new one after.
    for grade in [Grade::Hard, Grade::Check, Grade::Soft] {
        assert!(seen.contains_key(&(grade, false, Some((1, Standing::Valid)))), "{grade:?}");
        assert!(seen.contains_key(&(grade, true, Some((2, Standing::Valid)))), "{grade:?}");
    }
    assert!(seen.contains_key(&(Grade::Check, true, Some((1, Standing::Check)))));
    assert!(seen.contains_key(&(Grade::Soft, true, Some((1, Standing::Soft)))));
}

#[test]
fn of_two_fills_the_one_born_later_stays() {
    interleave(&[3, 3, 3], &mut |schedule| {
        let (mut world, mut turns, mut kept) = (World::new(), [0; 3], [false; 2]);
        for actor in schedule {
            match *actor {
                // A change that names something else: both answers stay valid, but one may be older.
                0 if turns[0] == 1 => {
                    let _ = world.store.ledger().apply(1, &record(Grade::Hard, &["tag:other"]));
                }
                0 => world.change(turns[0], Grade::Hard),
                fill => kept[fill - 1] = world.fill(fill - 1, turns[fill]),
            }
            turns[*actor] += 1;
        }
        let births = world.fills.map(|(birth, _)| birth.expect("all steps taken").number);
        let latest = births.iter().max().copied().expect("two");
        let Found::Entry(entry, Standing::Valid) = world.store.look_up(b"/a", &HeaderMap::new(), at(1)) else {
            panic!("something valid is kept: {schedule:?}")
        };
        assert_eq!(entry.born.number, latest, "{schedule:?}");
        assert!(kept[usize::from(births[1] == latest)], "the one born later was kept: {schedule:?}");
    });
}

const PATHS: [&str; 4] = ["/a", "/b", "/c", "/d"];
const LANGUAGES: [Option<&str>; 3] = [None, Some("de"), Some("fr")];
const TAGS: [&str; 3] = ["tag:0", "tag:1", "tag:2"];

#[derive(Clone, Debug)]
enum Step {
    /// Keep an answer for a path, for a language or for all, under a tag, born so many changes ago, its Date so old.
    Keep {
        path: usize,
        language: usize,
        tag: usize,
        late: u64,
        date: u64,
    },
    /// Look a path up in a language.
    LookUp {
        path: usize,
        language: usize,
    },
    /// Change a tag; the one beyond the last is everything.
    Change {
        grade: Grade,
        tag: usize,
    },
    Uncacheable {
        path: usize,
        secs: u64,
    },
    Forget {
        path: usize,
    },
    Wait {
        secs: u64,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let grade = prop::sample::select(vec![Grade::Soft, Grade::Check, Grade::Hard]);
    let (path, language) = (0..PATHS.len(), 0..LANGUAGES.len());
    let step = prop_oneof![
        5 => (path.clone(), language.clone(), 0..TAGS.len(), 0u64..3, 0u64..3)
            .prop_map(|(path, language, tag, late, date)| Step::Keep { path, language, tag, late, date }),
        5 => (path.clone(), language).prop_map(|(path, language)| Step::LookUp { path, language }),
        2 => (grade, 0..=TAGS.len()).prop_map(|(grade, tag)| Step::Change { grade, tag }),
        1 => (path.clone(), 1u64..9).prop_map(|(path, secs)| Step::Uncacheable { path, secs }),
        1 => path.prop_map(|path| Step::Forget { path }),
        1 => (0u64..5).prop_map(|secs| Step::Wait { secs }),
    ];
    prop::collection::vec(step, 1..80)
}

/// What the model holds of one answer.
struct Held {
    serial: usize,
    language: Option<&'static str>,
    tag: usize,
    born: u64,
    date: u64,
}

#[derive(Default)]
struct Model {
    now: u64,
    held: HashMap<usize, Vec<Held>>,
    markers: HashMap<usize, u64>,
    changes: Vec<(Grade, usize)>,
}

impl Model {
    /// Reads the whole log each time.
    fn standing(&self, born: u64, tag: usize) -> Standing {
        let hits = (1..)
            .zip(&self.changes)
            .filter(|(number, (_, named))| born < *number && (*named == tag || *named == TAGS.len()));
        let standings = hits.map(|(_, (grade, _))| match grade {
            Grade::Soft => Standing::Soft,
            Grade::Check => Standing::Check,
            Grade::Hard => Standing::Void,
        });
        standings.max().unwrap_or(Standing::Valid)
    }

    fn keep(&mut self, path: usize, new: Held) -> bool {
        let void = self.standing(new.born, new.tag) == Standing::Void;
        let held = self.held.entry(path).or_default();
        if void || held.iter().any(|held| held.language == new.language && held.born > new.born) {
            return false;
        }
        held.retain(|held| held.language != new.language && !(held.language.is_none() && new.language.is_some()));
        held.push(new);
        self.markers.remove(&path);
        true
    }

    fn look_up(&mut self, path: usize, language: Option<&str>) -> String {
        let standings: HashMap<usize, Standing> =
            self.held.values().flatten().map(|held| (held.serial, self.standing(held.born, held.tag))).collect();
        let standing = |held: &Held| standings[&held.serial];
        let held = self.held.entry(path).or_default();
        let matches = |held: &&Held| held.language.is_none() || held.language == language;
        // By Date, then by arrival; of those that arrived in the same second the last one.
        let best = held.iter().filter(matches).filter(|held| standing(held) != Standing::Void);
        if let Some(best) = best.max_by_key(|held| (held.date, held.serial)) {
            return format!("{} {:?}", best.serial, standing(best));
        }
        let (purged, some) = (held.iter().any(|held| matches(&held)), !held.is_empty());
        if purged {
            held.retain(|held| standing(held) != Standing::Void);
        }
        match self.markers.get(&path) {
            Some(until) if self.now < *until => "uncacheable".into(),
            _ if purged => "purged".into(),
            _ if some => "others".into(),
            _ => "nothing".into(),
        }
    }
}

fn keep(store: &Store, path: usize, held: &Held, now: u64) -> bool {
    let mut parts = parts(PATHS[path], held.born);
    parts.body = held.serial.to_string().into();
    parts.tags = [Arc::from(TAGS[held.tag])].into();
    if let Some(language) = held.language {
        parts.vary = vary(&[("accept-language", language)]);
    }
    parts.facts.received = at(now);
    parts.facts.date = at(held.date).wall;
    store.keep(Arc::new(Entry::new(parts))).is_ok()
}

fn look_up(store: &Store, path: usize, language: Option<&'static str>, now: u64) -> String {
    let fields: Vec<_> = language.iter().map(|language| ("accept-language", *language)).collect();
    match store.look_up(PATHS[path].as_bytes(), &request(&fields), at(now)) {
        Found::Entry(entry, standing) => format!("{} {standing:?}", String::from_utf8_lossy(&entry.body)),
        Found::OtherVariants => "others".into(),
        Found::KnownUncacheable(_) => "uncacheable".into(),
        Found::Nothing => "nothing".into(),
        Found::Purged => "purged".into(),
    }
}

proptest! {
    #[test]
    fn the_store_says_what_a_plain_map_and_a_list_of_changes_say(steps in steps()) {
        let store = Store::new(MemorySettings::default(), ledger());
        let mut model = Model { now: 10, ..Model::default() };
        for (serial, step) in steps.into_iter().enumerate() {
            match step {
                Step::Keep { path, language, tag, late, date } => {
                    let born = store.ledger().born(at(0)).number.saturating_sub(late);
                    let held = Held { serial, language: LANGUAGES[language], tag, born, date: model.now - date };
                    prop_assert_eq!(keep(&store, path, &held, model.now), model.keep(path, held));
                }
                Step::LookUp { path, language } => {
                    let found = look_up(&store, path, LANGUAGES[language], model.now);
                    prop_assert_eq!(found, model.look_up(path, LANGUAGES[language]));
                }
                Step::Change { grade, tag } => {
                    model.changes.push((grade, tag));
                    let name = TAGS.get(tag).copied().unwrap_or(EVERYTHING);
                    let applied = store.ledger().apply(model.changes.len() as u64, &record(grade, &[name]));
                    prop_assert_eq!(applied, Applied::InOrder);
                }
                Step::Uncacheable { path, secs } => {
                    model.markers.insert(path, model.now + secs);
                    store.remember_uncacheable(key(PATHS[path]), Reason::SetCookie, at(model.now + secs).mono);
                }
                Step::Forget { path } => {
                    model.held.remove(&path);
                    model.markers.remove(&path);
                    store.forget(PATHS[path].as_bytes());
                }
                Step::Wait { secs } => model.now += secs,
            }
        }
    }

    /// Whatever is put in, in whatever order, the books and what is really held stay within the ceiling.
    #[test]
    fn memory_stays_within_its_bytes(
        capacity in 20_000u64..200_000, bodies in prop::collection::vec((0u8..30, 0u8..5, 0usize..20_000), 1..80),
    ) {
        let store = Store::new(MemorySettings { capacity, ..MemorySettings::default() }, ledger());
        let names: Vec<String> = (0..30).map(|name| format!("/{name}")).collect();
        for (path, language, size) in bodies {
            let mut parts = parts(&names[usize::from(path)], 0);
            parts.vary = vary(&[("accept-language", ["a", "b", "c", "d", "e"][usize::from(language)])]);
            parts.body = vec![0; size].into();
            let entry = Arc::new(Entry::new(parts));
            let heavy = u64::from(entry.weight()) > capacity;
            prop_assert_eq!(store.keep(Arc::clone(&entry)), if heavy { Err(Reason::NotAdmitted) } else { Ok(()) });
            let coded = EntryParts { coding: Coding::Br, body: vec![0; size / 2].into(), ..entry.parts() };
            store.keep_encoded(&entry, Arc::new(Entry::new(coded)));
            // Every write may have settled the books; none may leave them above the ceiling for long.
            store.memory.settle();
            let held: u64 = store.memory.shelves().map(|shelf| u64::from(shelf.weight())).sum();
            prop_assert!(held <= capacity, "{held} of {capacity}");
            prop_assert!(store.weight() <= capacity, "{} of {capacity}", store.weight());
            prop_assert_eq!(held, store.weight());
        }
    }
}
