//! Every key of the file, once, for people: what form its value has, what holds without it, an example, a sentence.
//!
//! `docs/config.md` is printed from this table. Tests hold table and code together: each key that the code asks for is
//! listed, each example is accepted, and each default written here is the one that runs.

use std::fmt::Write;

/// One key of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The table it belongs in: `listen`; `route` for conditions of a `[[route]]`, `defaults` for options of routes,
    /// which may stand in `[defaults]` and in every `[[route]]`.
    pub section: &'static str,
    /// The key, dotted inside tables: `tls.ca`.
    pub key: &'static str,
    /// The form of its value, with bounds and units.
    pub form: &'static str,
    /// What holds without it, as it would be written; empty where nothing does.
    pub default: &'static str,
    /// A value that is accepted.
    pub example: &'static str,
    /// What it does.
    pub says: &'static str,
}

/// Keys that a later version will know. Until then they are refused with a word about why.
pub(super) const LATER: &[&str] =
    &["shared", "warm", "refresh", "write", "version", "cron", "cdn", "never_store_fields", "adapt"];

/// The tables of the file in the order of the reference: name, how it is written, what it is about.
const SECTIONS: &[(&str, &str, &str)] = &[
    ("listen", "[listen]", "The sockets for clients, and how much patience and memory one client gets."),
    ("tls", "[tls]", "The certificate for `https`."),
    ("admin", "[admin]", "The socket for operators: API, metrics, health."),
    (
        "origin",
        "[origin] or [origins.NAME]",
        "The backend. Several backends have a table each; a route chooses with `origin`.",
    ),
    ("memory", "[memory]", "The entries kept in memory."),
    (
        "redis",
        "[redis]",
        "The Redis that a fleet of gateways shares: entries, the log of changes, notifications. Without this table the gateway \
         works alone. docs/consistency.md says what it promises.",
    ),
    ("gateway", "[gateway]", "The gateway as one node among proxies, and what all keys have in common."),
    ("log", "[log]", "The log of requests and of the program."),
    (
        "route",
        "[[route]]",
        "When a route applies. The most specific path wins; among equal ones priority, then the one with more conditions, then \
         the order of the file.",
    ),
    (
        "defaults",
        "[[route]] or [defaults]",
        "What a route does. `[defaults]` says it for all routes and for requests that match none; a route replaces \
         key by key.",
    ),
    (
        "change",
        "[[change]]",
        "What a message of the backend changes. All rules that hold for a message count; a message that cannot be read, or \
         that no rule is about, changes nothing. `forebay explain --event FILE` shows what a message would do. Needs Redis; \
         whoever may PUBLISH there may empty the cache.",
    ),
];

const fn listed(
    section: &'static str,
    key: &'static str,
    form: &'static str,
    default: &'static str,
    example: &'static str,
    says: &'static str,
) -> Setting {
    Setting { section, key, form, default, example, says }
}

/// All keys, by section.
#[rustfmt::skip]
pub const SETTINGS: &[Setting] = &[
    listed("listen", "http", "address", r#""127.0.0.1:8080""#, r#""0.0.0.0:8080""#, "HTTP in the clear. Without it, and without `https`, the default; with `https` alone, none."),
    listed("listen", "https", "address", "", r#""0.0.0.0:8443""#, "HTTP/1.1 and HTTP/2 on TLS. Needs `[tls]`."),
    listed("listen", "h2c", "true or false", "false", "true", "HTTP/2 with prior knowledge in the clear."),
    listed("listen", "max_connections", "1 to 1000000", "10000", "2000", "Connections open at once; beyond it, accepting pauses."),
    listed("listen", "max_connections_per_client", "0 to 1000000", "0", "100", "Connections open at once from one address; 0: no limit, right behind a CDN."),
    listed("listen", "client_limit_exempt", "list of networks", "[]", r#"["10.0.0.0/8"]"#, "Networks without that limit."),
    listed("listen", "first_byte_timeout", "duration, 10ms to 1h", r#""10s""#, r#""5s""#, "From accepting to the first byte; also for the TLS handshake."),
    listed("listen", "head_timeout", "duration, 10ms to 1h", r#""10s""#, r#""5s""#, "From the first byte of a request's head to its last."),
    listed("listen", "idle_timeout", "duration, 10ms to 1h", r#""60s""#, r#""75s""#, "How long a connection may stay open between requests."),
    listed("listen", "body_timeout", "duration, 10ms to 1h", r#""30s""#, r#""15s""#, "The longest pause in a request's body."),
    listed("listen", "min_body_rate", "size per second, 0 to 1GiB", "500", r#""1KiB""#, "How fast a request's body must arrive on average; 0: no minimum."),
    listed("listen", "min_body_rate_grace", "duration", r#""10s""#, r#""5s""#, "Waiting that `min_body_rate` does not count."),
    listed("listen", "write_timeout", "duration, 10ms to 1h", r#""30s""#, r#""1m""#, "How long a client may take no byte of an answer."),
    listed("listen", "max_head", "size, 1KiB to 1MiB", r#""32KiB""#, r#""16KiB""#, "The largest head of a request; larger ones get 431."),
    listed("listen", "max_headers", "8 to 1000", "100", "64", "The most fields in a request; more get 431."),
    listed("listen", "max_uri", "size, 256 to 64KiB", r#""8KiB""#, r#""4KiB""#, "The longest target of a request; longer ones get 414."),
    listed("listen", "h2_max_streams", "1 to 1000", "100", "250", "Requests under way at once on one HTTP/2 connection."),
    listed("listen", "h2_max_header_list", "bytes, 4096 to 1048576", "16384", "32768", "The largest field list of an HTTP/2 request."),
    listed("listen", "h2_ping_interval", "duration", r#""30s""#, r#""1m""#, "How often an HTTP/2 client is asked whether it is there; \"0s\": never."),
    listed("listen", "h2_ping_timeout", "duration, 10ms to 1h", r#""10s""#, r#""5s""#, "How long it may take to answer that."),
    listed("listen", "drain_delay", "duration, less than `grace`", r#""0s""#, r#""5s""#, "After SIGTERM: how long connections are still accepted, so that balancers can look away."),
    listed("listen", "grace", "duration", r#""10s""#, r#""25s""#, "From SIGTERM to the moment when whatever is still open is cut."),
    listed("listen", "backlog", "1 to 65535", "1024", "4096", "Connections that the kernel queues."),

    listed("tls", "cert", "file", "", r#""tls.crt""#, "The certificate chain, in PEM form."),
    listed("tls", "key", "file", "", r#""tls.key""#, "The private key, in PEM form."),

    listed("admin", "listen", "address or \"off\"", r#""127.0.0.1:9090""#, r#""127.0.0.1:9191""#, "Where the admin API listens. An address that others can reach needs a `token`."),
    listed("admin", "token", "secret", "", r#""env:ADMIN_TOKEN""#, "What requests must carry as `Authorization: Bearer …`."),

    listed("origin", "url", "URL, list of URLs, or \"demo\"", "", r#"["http://10.0.0.7:8080", "http://10.0.0.8:8080"]"#, "Where the backend answers; \"demo\" is the sample backend inside the program."),
    listed("origin", "weights", "list of 1 to 1000", "", "[1]", "The share of each endpoint in `url`, in the same order."),
    listed("origin", "host", "string", "", r#""api.internal""#, "The Host to send; without it, as the client sent it."),
    listed("origin", "connect_timeout", "duration, 10ms to 1h", r#""1s""#, r#""300ms""#, "For name, connection and TLS handshake together."),
    listed("origin", "first_byte_timeout", "duration, 10ms to 1h", r#""10s""#, r#""3s""#, "From the end of the request to the end of the answer's head."),
    listed("origin", "idle_body_timeout", "duration, 10ms to 1h", r#""10s""#, r#""30s""#, "The longest pause in an answer's body."),
    listed("origin", "max_concurrent", "1 to 100000", "256", "64", "Requests under way at once."),
    listed("origin", "max_queue", "0 to 1000000", "1024", "0", "Requests that may wait for one of those places."),
    listed("origin", "queue_timeout", "duration, 10ms to 1h", r#""1s""#, r#""500ms""#, "How long they may wait."),
    listed("origin", "http2", "true or false", "false", "true", "HTTP/2: by prior knowledge in the clear, by ALPN on TLS."),
    listed("origin", "tls.ca", "file", "", r#""ca.crt""#, "Authorities to trust instead of the system's, in PEM form."),
    listed("origin", "tls.server_name", "host", "", r#""api.internal""#, "The name to ask for and to verify; without it, the URL's host."),
    listed("origin", "tls.insecure", "true or false", "false", "true", "Accept any certificate. For experiments."),
    listed("origin", "retries", "0 to 10", "1", "2", "Further attempts for a request that may safely be repeated."),
    listed("origin", "retry_budget_percent", "0 to 100", "10", "20", "Retries as a share of all requests."),
    listed("origin", "pool_idle_timeout", "duration, 10ms to 1h", r#""4s""#, r#""55s""#, "How long an unused connection is kept; less than the backend keeps it."),
    listed("origin", "pool_max_idle", "0 to 100000", "128", "32", "Unused connections kept for each endpoint."),
    listed("origin", "max_response_head", "size, 8KiB to 1MiB", r#""64KiB""#, r#""16KiB""#, "The largest head of an answer."),
    listed("origin", "max_response_fields", "8 to 1000", "100", "200", "The most fields in an answer."),
    listed("origin", "health.path", "path", r#""/""#, r#""/health""#, "Ask each endpoint for this, at intervals. Any key of `health` switches the checks on."),
    listed("origin", "health.interval", "duration, 10ms to 1h", r#""5s""#, r#""2s""#, "Between two checks."),
    listed("origin", "health.timeout", "duration, 10ms to 1h", r#""2s""#, r#""1s""#, "For the head of the answer to arrive."),
    listed("origin", "health.healthy_after", "1 to 100", "2", "3", "Good answers in a row before an endpoint is used again."),
    listed("origin", "health.unhealthy_after", "1 to 100", "3", "5", "Bad answers in a row before it is left alone."),
    listed("origin", "health.expect", "status, class or range", r#""200-399""#, r#""2xx""#, "The statuses of a good answer."),
    listed("origin", "breaker.consecutive", "1 to 10000", "5", "10", "Failures in a row after which an endpoint is left alone."),
    listed("origin", "breaker.failure_percent", "1 to 101", "50", "25", "The share of failures that does the same; 101: never."),
    listed("origin", "breaker.min_outcomes", "1 to 100000", "20", "50", "How many requests that share must be a share of."),
    listed("origin", "breaker.window", "duration, 10ms to 1h", r#""10s""#, r#""30s""#, "How far back requests count."),
    listed("origin", "breaker.first_pause", "duration, 10ms to 1h", r#""1s""#, r#""500ms""#, "How long the endpoint is left alone; doubled each time it fails again."),
    listed("origin", "breaker.max_pause", "duration, 10ms to 1h", r#""30s""#, r#""1m""#, "The longest such pause."),
    listed("origin", "breaker.probes", "1 to 100", "3", "5", "Good answers before everything is admitted again."),

    listed("memory", "capacity", "size, 1MiB or more", r#""512MiB""#, r#""2GiB""#, "What all entries may weigh together: keys, fields, tags and bodies."),
    listed("memory", "max_object", "size, up to 4GiB", r#""8MiB""#, r#""1MiB""#, "The largest body kept; larger ones pass through."),
    listed("memory", "max_variants", "1 to 10000", "32", "8", "Variants kept of one URL (Vary); the oldest goes."),
    listed("memory", "max_ledger_tags", "1000 to 1000000000", "1000000", "100000", "Tags whose last change is remembered; beyond it, old entries are validated."),

    listed("redis", "url", "URL, or secret", "", r#""redis://10.0.0.5:6379""#, "Where Redis is: redis://, rediss:// for TLS, redis-cluster://…?node=…, redis-sentinel://…?sentinelServiceName=…, redis+unix:///path."),
    listed("redis", "ledger", "URL, or secret", "", r#""redis://10.0.0.6:6379""#, "Where the log of changes is, if it has a server of its own; one with maxmemory-policy noeviction."),
    listed("redis", "namespace", "1 to 64 characters", r#""forebay""#, r#""forebay-staging""#, "What all keys and channels begin with. Fleets with different ones do not see each other."),
    listed("redis", "node", "1 to 64 characters", "", r#""edge-1""#, "What this node is called when it lags; without it, the machine's name."),
    listed("redis", "username", "text", "", r#""forebay""#, "The ACL user; goes before one in the URL."),
    listed("redis", "password", "secret", "", r#""env:REDIS_PASSWORD""#, "The password; goes before one in the URL. One in a file is read anew for each connection."),
    listed("redis", "tls_ca", "file", "", r#""ca.pem""#, "The authority to trust for TLS, in place of the system's."),
    listed("redis", "read_timeout", "1ms to 10s", r#""50ms""#, r#""20ms""#, "How long a request waits for Redis at the most."),
    listed("redis", "command_timeout", "1ms to 1m", r#""500ms""#, r#""1s""#, "How long heartbeats, changes and writes wait for Redis."),
    listed("redis", "pool", "1 to 64", "2", "4", "Connections for entries."),
    listed("redis", "max_queue", "16 to 1000000", "4096", "1024", "Commands that may wait for one connection; more are refused."),
    listed("redis", "log_retention", "16 to 100000000", "16384", "100000", "Changes the log keeps at the least; a node that was away for longer validates everything."),
    listed("redis", "delta", "100ms to 1m", r#""2s""#, r#""1s""#, "How long a node that has lost the log from sight goes on by what it knows: the bound of staleness between nodes."),
    listed("redis", "on_blind", "revalidate or serve", r#""revalidate""#, r#""serve""#, "What a node does after that: ask the backend, each key once per delta; or serve what may have been purged."),
    listed("redis", "blind_lifetime", "0s to 1d", r#""30s""#, r#""10s""#, "With on_blind = serve: how long after it was fetched an answer is served while the log is out of sight."),
    listed("redis", "unverified", "serve or refuse", r#""serve""#, r#""refuse""#, "Whether what should have been validated is served when the backend fails, too; marked detail=blind."),

    listed("redis", "lease_wait", "0s to 1m", r#""300ms""#, r#""100ms""#, "How long a node waits for another one's fetch of the same key, beyond what is usual for the route, before it fetches for itself."),
    listed("redis", "max_object", "size, up to 64MiB", r#""1MiB""#, r#""256KiB""#, "The largest body that is shared; larger ones stay in the memory of the node that fetched them."),
    listed("redis", "max_ttl", "1s or more", r#""1d""#, r#""1h""#, "For how long an entry is shared at the most."),
    listed("redis", "compress_above", "size, up to 1GiB", r#""1KiB""#, r#""4KiB""#, "From which size on shared entries are compressed."),
    listed("redis", "max_waiting", "1 to 1000000", "1024", "256", "Entries that may wait to be written; more are dropped, and counted."),
    listed("redis", "max_waiting_bytes", "size, 1KiB to 16GiB", r#""32MiB""#, r#""8MiB""#, "Bytes of bodies that may wait to be written."),
    listed("redis", "seal", "one or two secrets", "", r#""0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0""#, "Seals shared entries with this key (64 hexadecimal digits); of two, the first seals and both open, so that keys can be changed."),

    listed("gateway", "name", "name", r#""forebay""#, r#""edge-1""#, "The gateway's name in Cache-Status, Via and CDN-Loop."),
    listed("gateway", "hosts", "list of hosts", "[]", r#"["api.example.com", "*.example.com"]"#, "The hosts served; others get 421. Empty: any."),
    listed("gateway", "trusted_proxies", "list of networks", "[]", r#"["10.0.0.0/8"]"#, "Proxies whose X-Forwarded-… and Forwarded are believed."),
    listed("gateway", "purge_method", "secret", "", r#""env:PURGE_TOKEN""#, "Accept the method PURGE from whoever carries this token."),
    listed("gateway", "refresh_token.header", "field name", "", r#""Forebay-Refresh""#, "The field by which a client forces a fresh answer."),
    listed("gateway", "refresh_token.token", "secret", "", r#""env:REFRESH_TOKEN""#, "What that field must hold."),
    listed("gateway", "expose_age", "true or false", "true", "false", "Whether answers carry Age."),
    listed("gateway", "cache_status", "true or false", "true", "false", "Whether answers carry Cache-Status."),
    listed("gateway", "via", "true or false", "true", "false", "Whether answers carry Via; requests always do."),
    listed("gateway", "max_request_body", "size", r#""64MiB""#, r#""1MiB""#, "The largest body of a request; larger ones get 413."),
    listed("gateway", "waiter_timeout", "duration, 1ms to 10m", r#""5s""#, r#""2s""#, "How long a request waits for another one's fetch before it asks by itself."),
    listed("gateway", "max_waiters", "1 to 1000000", "10000", "1000", "Requests that may wait for one fetch."),
    listed("gateway", "stale_after", "duration, 1ms to 10m", r#""900ms""#, r#""300ms""#, "How long a hung backend is waited for while a stale answer may be served."),
    listed("gateway", "scheme_in_key", "true or false", "true", "false", "Whether http and https are kept apart."),
    listed("gateway", "sensitive_query", "list of names", "", r#"["token", "sig"]"#, "Query parameters that make a URL one client's own: never stored. Without it, the usual names of signatures and tokens."),
    listed("gateway", "max_key", "size, 256 to 1MiB", r#""8KiB""#, r#""4KiB""#, "The longest cache key; beyond it a request passes by the cache."),

    listed("log", "format", "\"json\" or \"text\"", r#""json""#, r#""text""#, "How a line looks."),
    listed("log", "level", "level or filter", r#""info""#, r#""warn,forebay::upstream=debug""#, "What the program says of itself."),
    listed("log", "access", "\"all\", \"misses\", \"off\" or { sample = … }", "{ sample = 0.01 }", r#""misses""#, "Which requests get a line."),
    listed("log", "access.sample", "0 to 1", "0.01", "0.1", "This share of the requests answered from the cache, and all others."),
    listed("log", "to", "\"stdout\", \"stderr\" or file", r#""stdout""#, r#""access.log""#, "Where these lines go."),

    listed("route", "name", "string", "", r#""user profile""#, "Unique; labels metrics and log lines. Without it, the path."),
    listed("route", "path", "path pattern", "", r#""/api/users/{userId}""#, "`{name}` is one segment, `{*rest}` all that follow. Without it, any path."),
    listed("route", "host", "host or list of hosts", "", r#""*.example.com""#, "One of these hosts."),
    listed("route", "method", "method or list of methods", "", r#"["GET", "POST"]"#, "One of these methods; GET includes HEAD."),
    listed("route", "header", "table: field = true, \"value\" or \"start*\"", "", r#"{ X-Api-Version = "2" }"#, "All of these request fields. They become part of the key."),
    listed("route", "priority", "-1000 to 1000", "0", "10", "Among routes with the same path, higher ones are tried first."),

    listed("defaults", "class", "\"reference\"", "", r#""reference""#, "A label for readers of the file: data that lives by its ttl and by purges."),
    listed("defaults", "origin", "name of an origin", "", r#""default""#, "Where misses go."),
    listed("defaults", "pass", "true or false", "false", "true", "Neither look up nor store."),
    listed("defaults", "ttl", "duration", "", r#""5m""#, "How long an answer is fresh where the backend does not say; for 200, 203, 204, 300, 301, 308, 404 and 410."),
    listed("defaults", "ttl.memory", "duration", "", r#""1m""#, "The same, where `cdn` says something else for the CDN."),
    listed("defaults", "ttl.cdn", "duration", "", r#""30s""#, "How long the CDN may keep an answer."),
    listed("defaults", "ttl_override", "true or false", "false", "true", "`ttl` and `status_ttl` win over what the backend says; over private, no-store and Authorization only if `ttl_beats` names them."),
    listed("defaults", "ttl_beats", "list of \"private\", \"no-store\", \"authorization\"", "[]", r#"["no-store"]"#, "What an overriding `ttl` may beat. Risky: such answers may be meant for one client."),
    listed("defaults", "min_ttl", "duration", "", r#""1s""#, "The shortest lifetime, whoever gave it; a zero that the backend asked for stays zero."),
    listed("defaults", "max_ttl", "duration", "", r#""1h""#, "The longest lifetime, whoever gave it."),
    listed("defaults", "status_ttl", "table: status, class or range = duration", "{}", r#"{ 404 = "30s", "5xx" = "1s" }"#, "The same by status, for any status; the first that fits counts, and it counts before `ttl`."),
    listed("defaults", "storable_status", "list of statuses", "", r#"[200, "300-308", 404]"#, "Only these statuses are stored. Without it, what the RFC allows; in a strict profile 200, 203, 301, 308, 404 and 410."),
    listed("defaults", "store_set_cookie", "true or false", "false", "true", "Store answers that set cookies. Risky."),
    listed("defaults", "heuristic", "false", "", "false", "Do not guess lifetimes from Last-Modified."),
    listed("defaults", "heuristic.percent", "1 to 100", "10", "5", "The guess: this share of the time since Last-Modified."),
    listed("defaults", "heuristic.max", "duration", r#""1d""#, r#""1h""#, "The longest guess."),
    listed("defaults", "stale_while_revalidate", "duration", "", r#""30s""#, "How long a stale answer may be served while one refresh runs, where the backend does not say."),
    listed("defaults", "stale_if_error", "duration", "", r#""1h""#, "How long a stale answer may be served when the backend fails, where it does not say."),
    listed("defaults", "honour_request_directives", "true or false", "false", "true", "Obey Cache-Control of requests: any client may then force a fetch."),
    listed("defaults", "targets", "list of field names", r#"["CDN-Cache-Control"]"#, r#"["Forebay-Cache-Control", "CDN-Cache-Control"]"#, "Answer fields that speak to this cache rather than Cache-Control, first one first (RFC 9213)."),
    listed("defaults", "tags", "list of templates", "[]", r#"["user:{userId}"]"#, "Names to purge by, besides those the backend sends; from `{capture}`, `{query.NAME}`, `{header.NAME}`, `{host}`, `{path}`."),
    listed("defaults", "key.ignore_query", "list of names, `*` allowed", "[]", r#"["utm_*"]"#, "Query parameters that neither key nor backend sees."),
    listed("defaults", "key.only_query", "list of names, `*` allowed", "", r#"["page", "sort"]"#, "The only query parameters that key and backend see."),
    listed("defaults", "key.sort_query", "true or false", "false", "true", "Sort query parameters by name."),
    listed("defaults", "key.headers", "list of field names", "[]", r#"["Accept-Language"]"#, "Request fields that are part of the key."),
    listed("defaults", "key.cookies", "list of names", "[]", r#"["locale"]"#, "Cookies that are part of the key."),
    listed("defaults", "rewrite.strip_prefix", "path", "", r#""/api""#, "Taken off the path on its way to the backend."),
    listed("defaults", "rewrite.add_prefix", "path", "", r#""/v2""#, "Put in front of it."),
    listed("defaults", "rewrite.replace", "path template", "", r#""/v2/users""#, "The whole path, with captures of the route's path."),
    listed("defaults", "request_headers.set", "table: field = template", "{}", r#"{ X-Api-Version = "2" }"#, "Set on requests to the backend."),
    listed("defaults", "request_headers.remove", "list of field names", "[]", r#"["X-Debug"]"#, "Removed from requests to the backend."),
    listed("defaults", "response_headers.set", "table: field = value", "{}", r#"{ X-Content-Type-Options = "nosniff" }"#, "Set on answers to clients."),
    listed("defaults", "response_headers.remove", "list of field names", "[]", r#"["Server"]"#, "Removed from answers to clients."),
    listed("defaults", "allow", "list of networks", "[]", r#"["10.0.0.0/8"]"#, "Clients that may ask; empty: all."),
    listed("defaults", "deny", "list of networks", "[]", r#"["192.0.2.1"]"#, "Clients that may not; beats `allow`."),
    listed("defaults", "rate_limit", "rate or false", "false", r#""100/s""#, "Requests of one client; more get 429."),
    listed("defaults", "rate_limit.requests", "1 to 1000000", "", "100", "The long form: so many …"),
    listed("defaults", "rate_limit.per", "duration, 1ms to 1d", "", r#""1s""#, "… in this time (default 1s) …"),
    listed("defaults", "rate_limit.burst", "1 to 1000000", "", "200", "… and so many at once (default: as `requests`)."),
    listed("defaults", "max_concurrent", "1 to 1000000, or false", "false", "50", "Requests under way at once on the route."),
    listed("defaults", "max_concurrent_per_client", "1 to 1000000, or false", "false", "5", "The same for one client."),
    listed("defaults", "max_object", "size, up to 4GiB", "", r#""1MiB""#, "The largest body kept, where `[memory]` allows more."),
    listed("defaults", "compress", "true or false", "true", "false", "Compress once what the backend sent uncompressed (zstd, br, gzip)."),
    listed("defaults", "compress.min_size", "size, up to 1GiB", r#""1KiB""#, r#""512""#, "Shorter bodies stay as they are."),
    listed("defaults", "compress.types", "list of media types", "", r#"["text/*", "application/json"]"#, "Only these. Without it, what is text on the web."),
    listed("defaults", "sensitive", "true or false", "false", "true", "Never store, whatever the answer says."),
    listed("defaults", "profile", "\"standard\" or \"strict\"", r#""standard""#, r#""strict""#, "\"strict\": request fields that are not part of the key do not reach the backend, and few statuses are stored."),
    listed("defaults", "forward_headers", "list of field names", "", r#"["Accept"]"#, "Fields that a strict profile lets through all the same. An answer to a request with one of them is stored only if its Vary names it."),

    listed("change", "name", "string", "", r#""users""#, "Unique. Without it, the channel or stream and the event."),
    listed("change", "channel", "channel pattern", "", r#""tenant:{tenantId}:users""#, "Messages published there. `*` and `{name}` take one segment between colons, or a part of one."),
    listed("change", "stream", "string", "", r#""changes""#, "Records of this stream, in place of `channel`."),
    listed("change", "record_field", "string", r#""data""#, r#""payload""#, "The field of a record that holds the JSON. A record without it is a message by itself: its fields, as texts."),
    listed("change", "event", "string or list of strings", "", r#""user-profile-changed""#, "Only messages of this kind."),
    listed("change", "event_at", "JSON pointer", "", r#""/meta/kind""#, "Where a message names its kind. Without it, the first there is of `/eventType`, `/type` and `/event`."),
    listed("change", "where", "table: JSON pointer = string, number or boolean", "{}", r#"{ "/environment" = "prod" }"#, "Only messages in which all of these hold."),
    listed("change", "purge", "list of targets", "", r#"["tag:user:{data.userId}", "url:/api/users/{data.userId}"]"#, "What is gone: `tag:NAME`, `url:/PATH?QUERY`, `prefix:/PATH/`, `group:HOST/NAME`, `all`; URL and prefix also with `https://HOST`. `{data.userId}` is a value of the message, `{/a.b/c}` the same as JSON pointer, `{name}` what the channel captured. A list gives one target for each element; in paths, values are percent-encoded. More than 1000 targets of one message become everything its rule could name."),
    listed("change", "soften", "list of targets", "[]", r#"["prefix:/api/users/"]"#, "What is stale: served once more while it is refreshed."),
];

/// The reference as a page in Markdown: `docs/config.md`.
pub fn reference() -> String {
    let mut page = String::from(INTRODUCTION);
    for (section, written, says) in SECTIONS {
        let written = written.replace(" or ", "` or `");
        let _ = write!(page, "\n## `{written}`\n\n{says}\n\n| Key | Value | Default | Meaning |\n|---|---|---|---|\n");
        for Setting { key, form, default, says, .. } in SETTINGS.iter().filter(|setting| setting.section == *section) {
            let default = if default.is_empty() { String::new() } else { format!("`{default}`") };
            let _ = writeln!(page, "| `{key}` | {form} | {default} | {says} |");
        }
    }
    page
}

const INTRODUCTION: &str = "\
# config.toml, key by key

Printed from the program's own table; a test compares the two. An unknown key is an error, and `forebay check` shows
every problem of a file at once.

Durations are written `\"250ms\"`, `\"30s\"`, `\"5m\"`, `\"1h30m\"`, `\"1d\"`; sizes `\"512MiB\"` (powers of 1024), `\"8MB\"` (of
1000) or a number of bytes; rates `\"100/s\"`, `\"600/m\"`, `\"5000/h\"`; statuses `404`, `\"5xx\"` or `\"200-299\"`; secrets
`\"env:NAME\"` or `\"file:PATH\"`. Where a list is expected, one value alone will do. A dot in a key stands for a table:
`tls.ca` is `tls = { ca = … }`.
";

/// Where a key belongs, for someone who wrote it elsewhere: "[memory]".
pub(super) fn homes(key: &str) -> String {
    let holds = |section: &str| SETTINGS.iter().any(|setting| setting.section == section && setting.key == key);
    let homes = SECTIONS.iter().filter(|(section, ..)| holds(section)).map(|(_, written, _)| *written);
    homes.collect::<Vec<_>>().join(" or ")
}
