//! A gateway with the echo backend behind it and a victim's page in its cache, and the judgement of attacks on it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::{interval, timeout};

use super::backend::{Backend, Seen};
use super::client::{Answer, Client};
use super::gateway::{Gateway, SOON};

/// Short enough that a test can wait for them, long enough for a busy machine to do what is asked before.
pub const IMPATIENT: &str = "\
[listen]
first_byte_timeout = \"1s\"
head_timeout = \"1s\"
idle_timeout = \"3s\"
body_timeout = \"500ms\"
";

/// The backend is not left alone for failing, because failing is what it is here for.
pub const FORGIVING: &str = "\
[origin]
breaker.consecutive = 10000
pool_idle_timeout = \"1m\"
breaker.failure_percent = 101
";

/// A gateway in front of a backend.
pub struct House {
    pub backend: Backend,
    pub gateway: Gateway,
    /// What a bystander gets for `/victim`.
    baseline: Answer,
    questions: AtomicUsize,
}

/// Bytes, and what shall come of them.
pub struct Attack {
    pub what: String,
    pub bytes: Vec<u8>,
    pub wants: Wants,
}

/// What shall come of an attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wants {
    /// One of these statuses and the end of the connection; the backend hears nothing.
    Refused(&'static [u16]),
    /// The end of the connection, with or without such an answer; the backend may have heard the beginning of one request.
    Broken(&'static [u16]),
    /// Answers with success, and as many canonical requests at the backend; those first, then refused or not.
    Served(usize),
    /// `Refused` with 400 or else `Served(1)`: both are right, so long as the backend's view is canonical.
    Either,
}

pub fn attack(what: impl Into<String>, bytes: impl AsRef<[u8]>, wants: Wants) -> Attack {
    Attack { what: what.into(), bytes: bytes.as_ref().to_vec(), wants }
}

impl House {
    pub async fn start() -> Self {
        Self::with(&format!("{IMPATIENT}{FORGIVING}")).await
    }

    pub async fn with(config: &str) -> Self {
        let backend = Backend::start().await;
        let gateway = Gateway::start(config, backend.address).await;
        let mut client = Client::connect(gateway.address()).await;
        assert!(!client.get("/victim").await.is_hit());
        let baseline = client.get("/victim").await;
        assert!(baseline.is_hit() && baseline.text() == "GET /victim", "{baseline:?}");
        Self { backend, gateway, baseline, questions: AtomicUsize::new(0) }
    }

    pub async fn connect(&self) -> Client {
        Client::connect(self.gateway.address()).await
    }

    /// The answer to a GET on a connection of its own.
    pub async fn get(&self, target: &str) -> Answer {
        self.connect().await.get(target).await
    }

    /// A path that nobody has asked for.
    pub fn fresh(&self, what: &str) -> String {
        format!("/{what}-{}", self.questions.fetch_add(1, Ordering::Relaxed))
    }

    /// O2: a bystander gets what was always there.
    pub async fn victim_is_unharmed(&self, what: &str) {
        let now = self.get("/victim").await;
        assert!(now.is_hit(), "{what}: the victim's page is gone: {now:?}");
        assert_eq!(timeless(&now), timeless(&self.baseline), "{what}: the victim's page has changed");
    }

    /// Waits until whatever came before has reached the backend, by asking something new on a connection of its own.
    pub async fn fence(&self, what: &str) {
        let path = self.fresh("fence");
        let answer = self.get(&path).await;
        assert_eq!((answer.status, answer.text()), (200, format!("GET {path}")), "{what}: a bystander gets {answer:?}");
    }

    /// O1 for everything since `before`: each request is canonical; those that are neither fences nor follow-ups.
    pub fn heard_since(&self, before: usize, what: &str) -> Vec<Seen> {
        let all = self.backend.since(before);
        for seen in &all {
            assert_eq!(seen.oddity(), None, "{what}");
            assert!(!seen.head.contains("evil") && !seen.head.contains("smuggled"), "{what}: {seen:?}");
        }
        self.backend.has_no_junk();
        all.into_iter()
            .filter(|seen| !(seen.target().starts_with("/fence-") || seen.target().starts_with("/next-")))
            .collect()
    }

    /// The gateway's metrics.
    pub async fn metrics(&self) -> String {
        let mut client = Client::connect(self.gateway.admin).await;
        client.send("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        client.answer().await.text()
    }

    /// Reads one number of the metrics until it is as wanted.
    pub async fn number_becomes(&self, name: &str, wanted: impl Fn(f64) -> bool) {
        let mut ticks = interval(Duration::from_millis(20));
        let watching = async {
            loop {
                ticks.tick().await;
                let text = self.metrics().await;
                let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
                if wanted(line.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().unwrap()) {
                    return;
                }
            }
        };
        assert!(timeout(SOON, watching).await.is_ok(), "{name} is never as wanted");
    }

    /// Sends an attack and applies all oracles.
    pub async fn withstands(&self, attack: &Attack) {
        let Attack { what, bytes, wants } = attack;
        let before = self.backend.count();
        let mut client = self.connect().await;
        client.send(bytes).await;
        let heard = match wants {
            Wants::Refused(statuses) => {
                let answer = client.answer().await;
                refusal(what, &answer, statuses);
                assert!(client.is_closed().await, "{what}: it says more than {answer:?}");
                0..=0
            }
            Wants::Broken(statuses) => {
                if let Some(answer) = client.next("GET").await {
                    refusal(what, &answer, statuses);
                }
                assert!(client.is_closed().await, "{what}: it says more");
                0..=1
            }
            Wants::Served(requests) => {
                for _ in 0..*requests {
                    let answer = client.answer().await;
                    assert!(answer.status == 200 && answer.complete, "{what}: {answer:?}");
                }
                self.goes_on_or_closes(what, &mut client).await;
                *requests..=*requests
            }
            Wants::Either => {
                let answer = client.answer().await;
                if answer.status == 200 {
                    self.goes_on_or_closes(what, &mut client).await;
                    1..=1
                } else {
                    refusal(what, &answer, &[400, 501]);
                    assert!(client.is_closed().await, "{what}: it says more");
                    0..=0
                }
            }
        };
        self.fence(what).await;
        let seen = self.heard_since(before, what);
        assert!(heard.contains(&seen.len()), "{what}: the backend heard {seen:#?}");
        self.victim_is_unharmed(what).await;
        self.gateway.is_well();
    }

    /// All of them, one after the other.
    pub async fn withstands_all(&self, attacks: impl IntoIterator<Item = Attack>) {
        for attack in attacks {
            self.withstands(&attack).await;
        }
    }

    /// O4: the next question on the same connection gets its own answer, or finds it closed.
    pub async fn goes_on_or_closes(&self, what: &str, client: &mut Client) {
        let path = self.fresh("next");
        client.ask("GET", &path).await;
        if let Some(answer) = client.next("GET").await {
            assert_eq!((answer.status, answer.text()), (200, format!("GET {path}")), "{what}: {answer:?}");
        } else {
            assert_eq!(client.rest().await, "", "{what}");
        }
    }
}

/// Fails unless `answer` refuses with one of these statuses, closes, and is not to be kept.
#[track_caller]
pub fn refusal(what: &str, answer: &Answer, statuses: &[u16]) {
    assert!(statuses.contains(&answer.status) && answer.complete, "{what}: not {statuses:?} but {answer:?}");
    assert_eq!(answer.field("connection").as_deref(), Some("close"), "{what}: {answer:?}");
    // hyper's own answers to heads it cannot parse are empty, and of statuses that no cache may keep unasked.
    let hypers_own = answer.body.is_empty() && matches!(answer.status, 400 | 431);
    assert!(hypers_own || answer.field("cache-control").as_deref() == Some("no-store"), "{what}: {answer:?}");
}

/// An answer without what changes with time.
fn timeless(answer: &Answer) -> (u16, Vec<String>, String) {
    let changes = |line: &&str| {
        let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
        !matches!(&*name, "age" | "date" | "cache-status")
    };
    (answer.status, answer.head.split("\r\n").filter(changes).map(str::to_owned).collect(), answer.text())
}
