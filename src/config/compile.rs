//! Puts the parts together, and checks what must hold between them.
//!
//! [`compile`] is the whole configuration at a glance: each part is read by the file that knows it; then each check
//! states its rule in its name and its reason in its message. No check stops another: it notes what it finds.

use std::net::SocketAddr;

use crate::admin::AdminSettings;
use crate::listen::ListenSettings;
use crate::policy::{Policy, PolicyProblem, PolicySettings, RouteSettings};
use crate::serve::GatewaySettings;
use crate::store::MemorySettings;

use super::origin::{self, OriginEntry};
use super::outside::Surroundings;
use super::problem::{Notes, Place, Problems, Wrong};
use super::reader::Reader;
use super::similar::most_similar;
use super::{Config, change, doors, node, redis, route};

/// Reads the whole file. What is wrong is in the notes; the result counts only if they hold no error.
pub(super) fn compile(file: &Reader<'_>, around: Surroundings<'_>) -> Config {
    let tables = Tables::of(file);

    let listen = doors::listen(&tables.listen, &tables.tls, around);
    let admin = doors::admin(&tables.admin, around);
    let origins = origin::origins(file, &own_addresses(&listen, &admin), around);
    let memory = node::memory(&tables.memory);
    let (redis, fleet) = redis::redis(&tables.redis, around);
    let gateway = node::gateway(&tables.gateway, listen.max_uri, around.outside);
    let gateway = GatewaySettings { fleet, ..gateway };
    let log = node::log(&tables.log);
    let (policy, intact) = policy(&tables, &origins, around.notes);
    let changes = change::changes(&tables.changes, around.notes);

    https_has_a_certificate(&tables, &listen);
    a_reachable_admin_needs_a_token(&tables, &admin, around);
    sockets_differ(&tables, &listen, &admin);
    the_drain_has_time_left(&tables, &listen);
    objects_fit_into_memory(&tables, &memory);
    routes_compile(&tables, &policy, &intact);
    changes_are_heard(&tables, redis.is_some());

    Config { listen, admin, origins, memory, policy, changes, redis, gateway, log, warnings: Problems::default() }
}

/// The tables of the file. They live until all checks are done, so that a late finding still has its place.
struct Tables<'a> {
    listen: Reader<'a>,
    tls: Reader<'a>,
    admin: Reader<'a>,
    memory: Reader<'a>,
    redis: Reader<'a>,
    gateway: Reader<'a>,
    log: Reader<'a>,
    defaults: Reader<'a>,
    routes: Vec<Reader<'a>>,
    changes: Vec<Reader<'a>>,
}

impl<'a> Tables<'a> {
    fn of(file: &Reader<'a>) -> Self {
        Self {
            listen: file.table("listen"),
            tls: file.table("tls"),
            admin: file.table("admin"),
            memory: file.table("memory"),
            redis: file.table("redis"),
            gateway: file.table("gateway"),
            log: file.table("log"),
            defaults: file.table("defaults"),
            routes: file.tables("route"),
            changes: file.tables("change"),
        }
    }
}

/// The policy's settings, and which of the routes were read without an error.
fn policy(tables: &Tables<'_>, origins: &[OriginEntry], notes: &Notes) -> (PolicySettings, Vec<bool>) {
    let keys = node::keys(&tables.gateway);
    let default_route = route::defaults(&tables.defaults, keys.default_route);
    the_origin_exists(&tables.defaults, &default_route, origins);

    let mut routes = Vec::new();
    let mut intact = Vec::new();
    for (index, table) in tables.routes.iter().enumerate() {
        let errors_before = notes.errors();
        let route = route::route(table, index + 1, &default_route);
        the_origin_exists(table, &route, origins);
        table.finish();
        intact.push(notes.errors() == errors_before);
        routes.push(route);
    }
    let default_origin = default_origin(tables, &default_route, origins).unwrap_or(keys.default_origin);
    (PolicySettings { routes, default_route, default_origin, ..keys }, intact)
}

/// The origin of routes that name none: the one in `[defaults]`, the one in `[origin]`, or the only one there is.
fn default_origin(tables: &Tables<'_>, default_route: &RouteSettings, origins: &[OriginEntry]) -> Option<String> {
    if let Some(named) = &default_route.origin {
        return Some(named.clone());
    }
    match origins {
        [] => None,
        [only] => Some(only.name.clone()),
        _ if origins.iter().any(|entry| entry.name == origin::DEFAULT) => Some(origin::DEFAULT.to_owned()),
        [first, ..] => {
            let wrong = Wrong::new("there are several origins and none of them is the default");
            tables.defaults.complain("origin", wrong.hint(format!("write [defaults] origin = \"{}\"", first.name)));
            None
        }
    }
}

fn the_origin_exists(table: &Reader<'_>, route: &RouteSettings, origins: &[OriginEntry]) {
    let names: Vec<&str> = origins.iter().map(|entry| entry.name.as_str()).collect();
    let Some(wanted) = route.origin.as_deref().filter(|_| table.holds("origin")) else { return };
    if !names.contains(&wanted) {
        let hint = match most_similar(wanted, &names) {
            Some(similar) => format!("did you mean \"{similar}\"?"),
            None => format!("add [origins.{wanted}]"),
        };
        table.complain("origin", Wrong::new(format!("there is no origin \"{wanted}\"")).hint(hint));
    }
}

fn https_has_a_certificate(tables: &Tables<'_>, listen: &ListenSettings) {
    if listen.https.is_some() && !tables.tls.exists() {
        let wrong = Wrong::new("`https` needs a certificate");
        tables.listen.complain("https", wrong.hint("add [tls] with cert = \"FILE\" and key = \"FILE\""));
    }
    if listen.https.is_none() && listen.tls.is_some() && !tables.listen.holds("https") {
        let wrong = Wrong::new("[tls] has no effect without `https`");
        tables.tls.warn("cert", wrong.hint("add https = \"0.0.0.0:8443\" to [listen]"));
    }
}

fn a_reachable_admin_needs_a_token(tables: &Tables<'_>, admin: &AdminSettings, around: Surroundings<'_>) {
    let Some(address) = admin.listen.filter(|address| !address.ip().is_loopback()) else { return };
    if admin.token.is_some() || tables.admin.holds("token") {
        return;
    }
    let wrong = Wrong::new(format!("whoever reaches {address} could purge the cache: an admin token is needed"))
        .hint("add token = \"env:NAME\" to [admin], or listen on 127.0.0.1");
    match &around.overrides.admin {
        Some(given) => around.notes.error(Place::Flag(given.source), "admin.listen", wrong),
        None => tables.admin.complain("listen", wrong),
    }
}

fn sockets_differ(tables: &Tables<'_>, listen: &ListenSettings, admin: &AdminSettings) {
    let clash =
        |a: Option<SocketAddr>, b: Option<SocketAddr>| a.is_some() && a == b && a.is_some_and(|a| a.port() != 0);
    if clash(listen.http, listen.https) {
        tables.listen.complain("https", Wrong::new("`http` and `https` need different ports"));
    }
    if clash(listen.http, admin.listen) || clash(listen.https, admin.listen) {
        let wrong = Wrong::new("the admin listener needs an address of its own");
        tables.admin.complain("listen", wrong.hint("clients must not reach the admin API"));
    }
}

fn the_drain_has_time_left(tables: &Tables<'_>, listen: &ListenSettings) {
    if listen.drain_delay >= listen.grace {
        let key = if tables.listen.holds("drain_delay") { "drain_delay" } else { "grace" };
        let wrong = Wrong::new("`drain_delay` is part of `grace` and must be shorter");
        tables.listen.complain(key, wrong.hint("what is left after the delay is for the answers under way"));
    }
}

fn objects_fit_into_memory(tables: &Tables<'_>, memory: &MemorySettings) {
    if memory.max_object > memory.capacity {
        let key = if tables.memory.holds("max_object") { "max_object" } else { "capacity" };
        tables
            .memory
            .complain(key, Wrong::new("`max_object` is larger than `capacity`: such a body could never be kept"));
    }
}

/// Lets the policy judge the routes as a whole. A route with errors is replaced by one that is in nobody's way: what is
/// left of it could seem to shadow another.
fn routes_compile(tables: &Tables<'_>, policy: &PolicySettings, intact: &[bool]) {
    let mut policy = policy.clone();
    for (index, (route, intact)) in policy.routes.iter_mut().zip(intact).enumerate() {
        if !intact {
            let unread = format!("/unread-route-{}", index + 1);
            *route = RouteSettings { name: unread.clone(), path: Some(unread), ..RouteSettings::default() };
        }
    }
    let Err(problems) = Policy::compile(policy) else { return };
    let inherited = |problem: &PolicyProblem| {
        problems
            .iter()
            .any(|other| other.route.is_none() && other.key == problem.key && other.message == problem.message)
    };
    for problem in &problems {
        let table = match problem.route {
            Some(route) => tables.routes.get(route).unwrap_or(&tables.defaults),
            None if tables.gateway.holds(problem.key) => &tables.gateway,
            None => &tables.defaults,
        };
        let key = written(problem);
        if problem.route.is_none() || table.holds(key) || !inherited(problem) {
            let wrong = Wrong::new(problem.message.clone()).maybe(problem.hint.clone());
            table.complain(key, wrong);
        }
    }
}

fn changes_are_heard(tables: &Tables<'_>, shared: bool) {
    if let Some(first) = tables.changes.first().filter(|_| !shared && !tables.redis.exists()) {
        let wrong = Wrong::new("[[change]] has no effect without [redis]: nothing is listened to");
        first.warn("", wrong.hint("add [redis] with url = \"redis://HOST:6379\""));
    }
}

/// The key as it is written in the file: the conditions of a route are in the singular there.
fn written(problem: &PolicyProblem) -> &'static str {
    match (problem.route, problem.key) {
        (Some(_), "hosts") => "host",
        (Some(_), "methods") => "method",
        (Some(_), "headers") => "header",
        (_, key) => key,
    }
}

fn own_addresses(listen: &ListenSettings, admin: &AdminSettings) -> Vec<SocketAddr> {
    [listen.http, listen.https, admin.listen].into_iter().flatten().collect()
}
