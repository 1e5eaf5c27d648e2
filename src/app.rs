//! Wires the rooms: a validated configuration becomes a gateway, the gateway gets its listeners, and all of it runs until
//! it is told to stop and has drained.
//!
//! `build` binds nothing, so a configuration that does not work leaves nothing half-started; `bind` takes every address or
//! none; `run` serves. Draining: not ready any more, then no new connections, then what is in flight ends, then exit.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::admin::{Admin, Readiness};
use crate::changes::{Bus, BusSettings, ChangeRules, Hearing, RuleProblem, rules};
use crate::cli::say;
use crate::clock::Clock;
use crate::config::{AdminSettings, Config, OriginEntry, OriginKind};
use crate::demo;
use crate::fleet::{Fleet, Redis, Unusable};
use crate::listen::{Drain, ListenError, ListenSettings, Listeners};
use crate::policy::{Policy, PolicyProblem};
use crate::serve::{self, Gateway};
use crate::store::{Ledger, Sight, Store};
use crate::telemetry::{AccessLog, LogError, Metrics};
use crate::upstream::{HyperTransport, Origin, OriginSettings, Transport, TransportError};

mod doors;

use self::doors::{AdminDoor, DataDoor};

/// How often the store drops what can no longer be used.
const SWEEP: Duration = Duration::from_secs(1);
/// How long the log may take to be written out at the end.
const FLUSH: Duration = Duration::from_secs(1);
/// How many resources a sweep looks at.
const SWEEP_BUDGET: usize = 100_000;
/// How long a node waits for its fleet before it says that it is ready.
const ACQUAINTANCE: Duration = Duration::from_secs(3);
/// How often the wall clock is read again.
const RESYNC: Duration = Duration::from_mins(1);

/// A gateway, not listening yet.
pub struct App {
    gateway: Gateway,
    hearing: Arc<Hearing>,
    listen: ListenSettings,
    admin: AdminSettings,
    /// Whether the sample backend is behind it.
    demo: bool,
}

/// A gateway that has its addresses.
pub struct Bound {
    app: App,
    data: Listeners,
    admin: Option<Listeners>,
}

/// Why a gateway does not start.
#[derive(Debug)]
pub enum AppError {
    /// The routes do not compile. `check` says so earlier, with file and line.
    Policy(Vec<PolicyProblem>),
    /// The change rules do not compile. `check` says so earlier, with file and line.
    Changes(Vec<RuleProblem>),
    /// Redis cannot be used as configured. That it is not there is no error.
    Redis(Unusable),
    /// An origin cannot be used as configured.
    Origin(String, TransportError),
    /// The access log cannot be written.
    Log(LogError),
    /// An address cannot be listened on.
    Listen(ListenError),
}

impl AppError {
    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        if matches!(self, AppError::Listen(_)) { 2 } else { 1 }
    }
}

impl fmt::Display for AppError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AppError::Policy(problems) => problems.iter().try_for_each(|problem| writeln!(f, "{problem}")),
            AppError::Changes(problems) => problems
                .iter()
                .try_for_each(|problem| writeln!(f, "change rule {}: {}", problem.rule + 1, problem.message)),
            AppError::Redis(error) => write!(f, "redis: {error}"),
            AppError::Origin(name, error) => write!(f, "origin {name}: {error}"),
            AppError::Log(error) => write!(f, "the access log cannot be written: {error}"),
            AppError::Listen(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for AppError {}

/// When to stop.
pub struct Stop(CancellationToken);

impl Stop {
    /// At SIGTERM or SIGINT; at the second one at once.
    pub fn signals() -> Self {
        let token = CancellationToken::new();
        let told = token.clone();
        tokio::spawn(async move {
            signal().await;
            told.cancel();
            signal().await;
            tracing::warn!("told to stop twice: stopping without draining");
            std::process::exit(130);
        });
        Self(token)
    }

    /// When `token` is cancelled.
    pub fn when(token: CancellationToken) -> Self {
        Self(token)
    }
}

impl App {
    /// Puts a gateway together. Nothing listens yet, no backend has been asked; connections to Redis, if there is one, are
    /// made in the background. Needs a tokio runtime.
    pub fn build(config: Config, clock: Clock) -> Result<Self, AppError> {
        let origins = config.origins.iter().map(|entry| origin(entry, &clock)).collect::<Result<Vec<_>, _>>()?;
        let fleet = match &config.redis {
            Some(entry) => {
                let redis = Redis::start(entry.settings.clone(), &clock).map_err(AppError::Redis)?;
                Fleet::Redis(redis)
            }
            None => Fleet::in_process(),
        };
        Self::assemble(config, clock, origins, fleet)
    }

    /// The same with backends and a fleet of the caller's: for tests, and for those who embed it.
    pub fn assemble(config: Config, clock: Clock, origins: Vec<Arc<Origin>>, fleet: Fleet) -> Result<Self, AppError> {
        // Nobody listens for messages yet: `forebay explain --event` is what asks for the rules.
        let Config { listen, admin, origins: entries, memory, policy, changes, redis, gateway, log, warnings: _ } =
            config;
        let demo = entries.iter().any(|entry| matches!(entry.kind, OriginKind::Demo));
        let redacted = policy.sensitive_query.clone();
        let edition = rules::message_id("edition", format!("{policy:?}{changes:?}").as_bytes());
        let policy = Policy::compile(policy).map_err(AppError::Policy)?;
        let ledger = Arc::new(match fleet.in_sight() {
            Some(place) => Ledger::new(place.epoch, memory.ledger()),
            None => Ledger::adrift(memory.ledger()),
        });
        let store = Arc::new(Store::new(memory, Arc::clone(&ledger)));
        let routes: Vec<String> = policy.rules().iter().map(|rule| rule.name.to_string()).collect();
        let names: Vec<String> = origins.iter().map(|origin: &Arc<Origin>| origin.name().to_owned()).collect();
        let metrics = Arc::new(Metrics::new(&routes, &names));
        let settings = BusSettings {
            node: node_name(redis.as_ref().and_then(|entry| entry.node.as_deref())),
            delta: redis.as_ref().map_or(BusSettings::default().delta, |entry| entry.delta),
            namespace: redis.map(|entry| entry.settings.namespace).unwrap_or_default(),
        };
        let bus = Arc::new(Bus::new(fleet, ledger).on(settings).counted_by(Arc::clone(&metrics)));
        let rules = Arc::new(ChangeRules::compile(&changes).map_err(AppError::Changes)?);
        let gateway = Gateway::new(serve::Parts {
            settings: gateway,
            policy,
            edition,
            rules: Arc::clone(&rules),
            origins,
            store,
            bus,
            clock,
            metrics,
            access: AccessLog::open(&log, &redacted).map_err(AppError::Log)?,
        });
        let hearing = Hearing::new(Arc::clone(gateway.bus()), rules, gateway.policy());
        Ok(Self { gateway, hearing: Arc::new(hearing), listen, admin, demo })
    }

    /// The gateway.
    pub fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// Takes every address, or none.
    pub fn bind(self) -> Result<Bound, AppError> {
        let data = Listeners::bind(&self.listen).map_err(AppError::Listen)?;
        let admin = match self.admin.listen {
            Some(address) => Some(Listeners::bind(&admin_listen(address)).map_err(AppError::Listen)?),
            None => None,
        };
        Ok(Bound { app: self, data, admin })
    }
}

impl Bound {
    /// The addresses of the data listener.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.data.addresses()
    }

    /// The address of the admin listener.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().and_then(|admin| admin.addresses().first().copied())
    }

    /// Says on standard output where it listens, and what to try.
    pub fn announce(&self) {
        for address in self.addresses() {
            say(format_args!("forebay listens on {address}"));
        }
        if let Some(address) = self.admin_address() {
            say(format_args!("admin on http://{address}"));
        }
        if let (true, Some(data), Some(admin)) = (self.app.demo, self.addresses().first(), self.admin_address()) {
            say(format_args!(
                "\nThe sample backend takes 50 to 100 ms. Ask twice, change something, ask again:\n\n  \
                 curl -i http://{data}/api/users/1\n  \
                 curl -X PUT http://{data}/api/users/1 -H 'content-type: application/json' -d '{{\"title\":\"Captain\"}}'\n  \
                 curl 'http://{admin}/v1/explain?url=http://{data}/api/users/1'\n"
            ));
        }
    }

    /// Serves until told to stop, and then until what is in flight has ended or the grace period is over.
    pub async fn run(self, stop: Stop) {
        let Bound { app: App { gateway, hearing, admin: settings, .. }, data, admin } = self;
        let ended = CancellationToken::new();
        let (ready, drain, admin_drain) = (Readiness::default(), Drain::new(), Drain::new());
        let stats = data.stats();
        background(&gateway, &ended);
        hear(&gateway, &hearing, &ended);
        let door = DataDoor::new(gateway.clone());
        let serving = tokio::spawn(data.run(door, gateway.clock().clone(), drain.clone()));
        let admin_serving = admin.map(|listeners| {
            let admin = Admin {
                gateway: gateway.clone(),
                hearing: Arc::clone(&hearing),
                listeners: stats,
                token: settings.token,
                ready: ready.clone(),
            };
            tokio::spawn(listeners.run(AdminDoor::new(admin.router()), gateway.clock().clone(), admin_drain.clone()))
        });
        tokio::select! {
            () = stop.0.cancelled() => {}
            () = acquainted(&gateway, &hearing) => {
                ready.set(true);
                stop.0.cancelled().await;
            }
        }
        tracing::info!("draining");
        ready.set(false);
        drain.begin();
        if let Err(error) = serving.await {
            tracing::error!(%error, "the data listener ended unexpectedly");
        }
        // The admin listener goes last: readiness and metrics are wanted while the rest drains.
        admin_drain.begin();
        admin_drain.begin();
        if let Some(serving) = admin_serving {
            let _ = serving.await;
        }
        hand_over(&gateway).await;
        ended.cancel();
        gateway.access_log().flush(FLUSH).await;
        tracing::info!("drained");
    }
}

/// The sample backend by itself.
pub async fn backend_only(address: SocketAddr) -> Result<(), AppError> {
    let clock = Clock::system();
    let listeners = Listeners::bind(&ListenSettings { http: Some(address), ..ListenSettings::default() })
        .map_err(AppError::Listen)?;
    for address in listeners.addresses() {
        say(format_args!("sample backend on http://{address}"));
    }
    let drain = Drain::new();
    let stop = Stop::signals();
    let router = demo::backend(demo::DemoSettings::default(), clock.clone());
    let serving = tokio::spawn(listeners.run(AdminDoor::new(router), clock, drain.clone()));
    stop.0.cancelled().await;
    drain.begin();
    let _ = serving.await;
    Ok(())
}

fn origin(entry: &OriginEntry, clock: &Clock) -> Result<Arc<Origin>, AppError> {
    let OriginEntry { name, kind } = entry.clone();
    let (settings, transport) = match kind {
        OriginKind::Demo => {
            let backend = demo::backend(demo::DemoSettings::default(), clock.clone());
            (Box::new(OriginSettings { name, ..OriginSettings::default() }), Transport::service(backend))
        }
        OriginKind::Http(settings) => {
            let transport = HyperTransport::new(&settings, clock).map_err(|error| AppError::Origin(name, error))?;
            (settings, Transport::Hyper(transport))
        }
    };
    Ok(Origin::new(*settings, transport, clock.clone()))
}

/// Listens for what the backend announces, until `ended`.
fn hear(gateway: &Gateway, hearing: &Arc<Hearing>, ended: &CancellationToken) {
    for streams in [true, false] {
        let (hearing, clock, end) = (Arc::clone(hearing), gateway.clock().clone(), ended.clone().cancelled_owned());
        if streams {
            tokio::spawn(async move { hearing.read_streams(&clock, end).await });
        } else {
            tokio::spawn(async move { hearing.listen(&clock, end).await });
        }
    }
}

/// Returns when this node has heard from its fleet and listens to what is announced; after a while also if not. A Redis
/// that is away keeps no node from serving.
async fn acquainted(gateway: &Gateway, hearing: &Hearing) {
    let known = async {
        let sees = || gateway.store().ledger().sight(gateway.clock().now()) == Sight::Clear;
        // Else the first purge could come before the connection that it needs.
        let connected = || gateway.bus().fleet().stats().is_none_or(|stats| stats.connected && stats.evicts.is_some());
        while !(sees() && hearing.is_proven() && connected()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    if tokio::time::timeout(ACQUAINTANCE, known).await.is_err() {
        tracing::warn!("serving without the fleet: Redis cannot be reached; stored answers are validated before use");
    }
}

/// Changes that hold on this node only go into the log, if it can be reached.
async fn hand_over(gateway: &Gateway) {
    let bus = gateway.bus();
    if bus.queued() == 0 {
        return;
    }
    let (asked, clock) = (Arc::clone(bus), gateway.clock().clone());
    let beat = tokio::spawn(async move { asked.beat(&clock).await });
    let _ = tokio::time::timeout(FLUSH, beat).await;
    if bus.queued() > 0 {
        tracing::warn!(changes = bus.queued(), "purges that were answered with 202 are lost: Redis cannot be reached");
    }
}

/// What this node is called among the others: a name that a person knows, and something that no other node has.
fn node_name(given: Option<&str>) -> String {
    let name = rustix::system::uname();
    let machine = given.unwrap_or_else(|| name.nodename().to_str().unwrap_or("node"));
    // The standard library seeds this anew each time: randomness enough for a name.
    let unlike = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), machine);
    format!("{machine}-{:06x}", unlike & 0xff_ffff)
}

/// What goes on behind the requests, until `ended`.
fn background(gateway: &Gateway, ended: &CancellationToken) {
    for origin in gateway.origins() {
        tokio::spawn(Arc::clone(origin).watch(ended.clone().cancelled_owned()));
    }
    for follows in [true, false] {
        let (bus, clock, end) = (Arc::clone(gateway.bus()), gateway.clock().clone(), ended.clone().cancelled_owned());
        if follows {
            tokio::spawn(async move { bus.follow(&clock, end).await });
        } else if bus.fleet().in_sight().is_none() {
            tokio::spawn(async move { bus.keep_in_sight(&clock, end).await });
        }
    }
    let (gateway, end) = (gateway.clone(), ended.clone());
    tokio::spawn(async move {
        let mut sweep = tokio::time::interval(SWEEP);
        let mut resync = tokio::time::interval(RESYNC);
        loop {
            tokio::select! {
                () = end.cancelled() => return,
                _ = sweep.tick() => {
                    gateway.store().sweep(gateway.clock().now(), SWEEP_BUDGET);
                }
                _ = resync.tick() => gateway.clock().resync(),
            }
        }
    });
}

fn admin_listen(address: SocketAddr) -> ListenSettings {
    ListenSettings {
        http: Some(address),
        max_connections: 256,
        grace: Duration::from_secs(1),
        ..ListenSettings::default()
    }
}

#[cfg(unix)]
async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        tracing::error!("signals cannot be listened for; stop the process with SIGKILL");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}

#[cfg(not(unix))]
async fn signal() {
    let _ = tokio::signal::ctrl_c().await;
}
