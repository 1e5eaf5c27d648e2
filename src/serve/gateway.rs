//! The gateway itself: what its rooms share, and the tower service it is.

use std::convert::Infallible;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Request, Response};

use super::admit::Client;
use super::body::{Body, BoxError};
use super::flight::Flights;
use super::limits::Limits;
use super::outlook::{Arrival, Outlook};
use super::pace::Paces;
use super::settings::GatewaySettings;
use crate::changes::{Bus, ChangeRules};
use crate::clock::{Clock, Moment};
use crate::policy::Policy;
use crate::store::codec::Timebase;
use crate::store::{self, Store};
use crate::telemetry::{AccessLog, FetchResult, Metrics};
use crate::upstream::{FetchError, Fetched, InterimSink, Origin, OutBody};

/// A caching gateway. Cheap to clone; all clones are the same one.
///
/// It is a `tower::Service` of any HTTP request, and knows no socket: the listener calls it directly, tests call it
/// without one, and [`Gateway::into_router`] hands it to an axum application.
#[derive(Clone)]
pub struct Gateway {
    shared: Arc<Shared>,
}

/// What a gateway is made of.
pub struct Parts {
    /// The data path's settings.
    pub settings: GatewaySettings,
    /// The routes.
    pub policy: Policy,
    /// Tells configurations apart whose entries are not good for each other: other routes give other tags and lifetimes.
    pub edition: String,
    /// What the backend's announcements change.
    pub rules: Arc<ChangeRules>,
    /// The backends, by name.
    pub origins: Vec<Arc<Origin>>,
    /// What is kept.
    pub store: Arc<Store>,
    /// How changes are announced.
    pub bus: Arc<Bus>,
    /// The time.
    pub clock: Clock,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Where requests are logged.
    pub access: AccessLog,
}

struct Shared {
    settings: GatewaySettings,
    policy: ArcSwap<Policy>,
    rules: Arc<ChangeRules>,
    origins: Vec<Arc<Origin>>,
    store: Arc<Store>,
    bus: Arc<Bus>,
    clock: Clock,
    metrics: Arc<Metrics>,
    access: AccessLog,
    flights: Arc<Flights>,
    limits: Arc<Limits>,
    /// What the nodes of a fleet share; a node on its own has none.
    fleet: Option<Arc<store::Shared>>,
    paces: Paces,
}

impl Gateway {
    /// Puts a gateway together.
    pub fn new(parts: Parts) -> Self {
        let Parts { settings, policy, edition, rules, origins, store, bus, clock, metrics, access } = parts;
        let fleet = bus.fleet();
        let fleet = fleet.shares_entries().then(|| {
            let (namespace, settings) = (&bus.settings().namespace, settings.fleet.shared.clone());
            store::Shared::new(fleet.clone(), namespace, &edition, settings)
        });
        let shared = Shared {
            fleet,
            paces: Paces::new(policy.rules().len()),
            settings,
            policy: ArcSwap::from_pointee(policy),
            rules,
            origins,
            store,
            bus,
            clock,
            metrics,
            access,
            flights: Flights::new(),
            limits: Arc::new(Limits::default()),
        };
        Self { shared: Arc::new(shared) }
    }

    /// The gateway as an axum router, for an application that mounts it beside its own routes.
    pub fn into_router(self) -> axum::Router {
        axum::Router::new().fallback_service(self)
    }

    /// The data path's settings.
    pub fn settings(&self) -> &GatewaySettings {
        &self.shared.settings
    }

    /// The routes in force.
    pub fn policy(&self) -> Arc<Policy> {
        self.shared.policy.load_full()
    }

    /// What the backend's announcements change.
    pub fn rules(&self) -> &Arc<ChangeRules> {
        &self.shared.rules
    }

    /// What is kept.
    pub fn store(&self) -> &Arc<Store> {
        &self.shared.store
    }

    /// How changes are announced.
    pub fn bus(&self) -> &Arc<Bus> {
        &self.shared.bus
    }

    /// The time.
    pub fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// What is counted.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.shared.metrics
    }

    /// The backends.
    pub fn origins(&self) -> &[Arc<Origin>] {
        &self.shared.origins
    }

    /// The backend of that name.
    pub fn origin(&self, name: &str) -> Option<&Arc<Origin>> {
        self.shared.origins.iter().find(|origin| origin.name() == name)
    }

    /// The backend of that name, with what counts its answers.
    pub(super) fn backend(&self, name: &str) -> Option<Backend> {
        let index = self.shared.origins.iter().position(|origin| origin.name() == name)?;
        let origin = Arc::clone(self.shared.origins.get(index)?);
        Some(Backend { origin, index, clock: self.shared.clock.clone(), metrics: Arc::clone(&self.shared.metrics) })
    }

    /// How many fetches are under way.
    pub fn flights_under_way(&self) -> usize {
        self.shared.flights.count()
    }

    pub(super) fn flights(&self) -> &Arc<Flights> {
        &self.shared.flights
    }

    /// What the nodes of the fleet share of their entries; `None` for a node on its own.
    pub fn shared(&self) -> Option<&Arc<store::Shared>> {
        self.shared.fleet.as_ref()
    }

    /// The fleet's clock, as far as this node knows it.
    pub(super) fn fleet_time(&self, now: Moment) -> Timebase {
        Timebase::new(self.bus().timebase().shared(now.mono), now.mono)
    }

    /// How long fetches usually take.
    pub(super) fn paces(&self) -> &Paces {
        &self.shared.paces
    }

    pub(super) fn limits(&self) -> &Arc<Limits> {
        &self.shared.limits
    }

    /// What is known of the log of changes at `now`, a moment read after the request's head had arrived.
    pub(super) fn outlook(&self, now: Moment) -> Outlook<'_> {
        Outlook {
            sight: self.store().ledger().sight(now),
            barred: false,
            delta: self.bus().settings().delta,
            settings: &self.settings().fleet,
        }
    }

    /// The arrival of a request at `now`.
    pub(super) fn arrival(&self, outlook: &Outlook<'_>, now: Moment) -> Arrival {
        Arrival { place: self.store().ledger().born(now), strict: outlook.wants_later() }
    }

    /// Where requests are logged.
    pub fn access_log(&self) -> &AccessLog {
        &self.shared.access
    }
}

/// A backend, and what counts its answers.
pub(super) struct Backend {
    origin: Arc<Origin>,
    index: usize,
    clock: Clock,
    metrics: Arc<Metrics>,
}

impl Backend {
    /// As [`Origin::fetch`], counted.
    pub(super) async fn fetch(
        &self,
        request: Request<OutBody>,
        replayable: bool,
        interim: Option<InterimSink>,
    ) -> Result<Fetched, FetchError> {
        let began = self.clock.now();
        let fetched = self.origin.fetch(request, replayable, interim).await;
        let result = if fetched.is_ok() { FetchResult::Answered } else { FetchResult::Failed };
        self.metrics.fetched(self.index, result, self.clock.now().since(began));
        fetched
    }
}

impl<B> tower::Service<Request<B>> for Gateway
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    /// Takes the client's address from a `Client` in the request's extensions; without one it is unspecified.
    fn call(&mut self, request: Request<B>) -> Self::Future {
        let nobody = Client { address: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)), secure: false };
        let client = request.extensions().get::<Client>().copied().unwrap_or(nobody);
        let gateway = self.clone();
        Box::pin(async move { Ok(gateway.handle(client, &|| None, request).await) })
    }
}
