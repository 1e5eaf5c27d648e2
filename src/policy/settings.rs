//! What the operator wrote, as plain validated values. The config room fills these in; [`Policy::compile`] turns them
//! into what runs. Nothing here decides anything.
//!
//! [`Policy::compile`]: super::Policy::compile

use std::time::Duration;

use http::{HeaderName, Method};
use ipnet::IpNet;

use crate::rfc::Terms;

/// All routes, and what holds for all of them.
#[derive(Clone, Debug)]
pub struct PolicySettings {
    /// The `[[route]]` tables in the order of the file.
    pub routes: Vec<RouteSettings>,
    /// What applies when no route matches. It must not have conditions of its own.
    pub default_route: RouteSettings,
    /// The hosts this gateway answers for: `api.example.com`, `*.example.com`. Empty: any.
    pub hosts: Vec<String>,
    /// The origin of routes that name none.
    pub default_origin: String,
    /// Whether http and https are told apart in the cache key. On by default: a backend that sees
    /// X-Forwarded-Proto may answer them differently.
    pub scheme_in_key: bool,
    /// Names of query parameters whose presence makes an answer one client's own. Case does not matter.
    pub sensitive_query: Vec<String>,
    /// The longest cache key, in bytes, 256 to 1 MiB. A request with a longer one passes by the cache.
    pub max_key: usize,
}

impl Default for PolicySettings {
    fn default() -> Self {
        PolicySettings {
            routes: Vec::new(),
            default_route: RouteSettings { name: "default".to_owned(), ..RouteSettings::default() },
            hosts: Vec::new(),
            default_origin: "default".to_owned(),
            scheme_in_key: true,
            sensitive_query: SENSITIVE_QUERY.iter().map(|name| (*name).to_owned()).collect(),
            max_key: 8 * 1024,
        }
    }
}

/// One `[[route]]`: the conditions, then what is done when they hold.
#[derive(Clone, Debug, Default)]
pub struct RouteSettings {
    /// Unique; it labels metrics and log lines.
    pub name: String,
    /// `/api/users/{userId}`, `/files/{*rest}`. `None`: any path.
    pub path: Option<String>,
    /// `api.example.com`, `*.example.com`; without a port, any port. Empty: any host.
    pub hosts: Vec<String>,
    /// Empty: any method. GET includes HEAD, because a HEAD is answered from what a GET stored.
    pub methods: Vec<Method>,
    /// All of these must hold.
    pub headers: Vec<HeaderMatch>,
    /// The name of the origin; `None`: the default one.
    pub origin: Option<String>,
    /// Neither look up nor store.
    pub pass: bool,
    /// What the route adds to the RFC.
    pub terms: Terms,
    /// How long the CDN in front may keep an answer; `None`: as the answer says.
    pub cdn_ttl: Option<Duration>,
    /// What the cache key is made of, beyond origin, scheme, host and the forwarded URL.
    pub key: KeySettings,
    /// How the path changes on its way to the backend.
    pub rewrite: Option<Rewrite>,
    /// Edits of the request on its way to the backend.
    pub request_headers: HeaderEdits,
    /// Edits of the answer on its way to the client.
    pub response_headers: HeaderEdits,
    /// Templates: `user:{userId}`, also `{query.NAME}`, `{header.NAME}`, `{host}`, `{path}`.
    pub tags: Vec<String>,
    /// Client addresses that may ask. Empty: all that `deny` does not name.
    pub allow: Vec<IpNet>,
    /// Client addresses that may not ask; beats `allow`.
    pub deny: Vec<IpNet>,
    /// Requests per time and client.
    pub rate_limit: Option<RateLimit>,
    /// Requests under way on this route.
    pub max_concurrent: Option<u32>,
    /// Requests under way on this route for one client.
    pub max_concurrent_per_client: Option<u32>,
    /// Compression of what the backend sent uncompressed.
    pub compress: Compress,
    /// `profile = "strict"`.
    pub strict: Option<Strict>,
    /// Never stored, whatever the answer says.
    pub sensitive: bool,
    /// The largest body kept, in bytes; `None`: the store's own limit.
    pub max_object: Option<u64>,
    /// Among routes with the same path pattern, a higher one is tried first.
    pub priority: i32,
}

/// A condition on a request header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderMatch {
    /// The field.
    pub name: HeaderName,
    /// What one of its values must be.
    pub value: HeaderTest,
}

/// What a value must be. Case matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderTest {
    /// Exactly this.
    Exact(String),
    /// Begins with this.
    Prefix(String),
    /// Anything, as long as the field is there.
    Present,
}

/// The recipe of the cache key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeySettings {
    /// Query parameters left out of the key *and* of what the backend sees. `*` stands for any characters.
    pub ignore_query: Vec<String>,
    /// If given, all other parameters are left out in the same way. `*` as above.
    pub only_query: Option<Vec<String>>,
    /// Sort parameters by name, for key and backend; parameters of one name keep their order.
    pub sort_query: bool,
    /// Request fields that are part of the key.
    pub headers: Vec<HeaderName>,
    /// Cookies that are part of the key. Case matters.
    pub cookies: Vec<String>,
}

/// How the path changes. `strip_prefix` comes before `add_prefix`; `replace` stands alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewrite {
    /// Taken off where the path begins with it, by whole segments: `/api` turns `/api/users` into `/users`.
    pub strip_prefix: Option<String>,
    /// Put in front: `/v2` turns `/users` into `/v2/users`.
    pub add_prefix: Option<String>,
    /// The whole new path, with captures of the route's path: `/v2/users/{userId}`.
    pub replace: Option<String>,
}

/// Header fields to set and to remove.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderEdits {
    /// Field and template. What was there is replaced, also when the template's value is missing.
    pub set: Vec<(HeaderName, String)>,
    /// Fields taken out.
    pub remove: Vec<HeaderName>,
}

/// A token bucket: `requests` per `per`, at most `burst` at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// At least 1.
    pub requests: u32,
    /// More than zero.
    pub per: Duration,
    /// At least 1.
    pub burst: u32,
}

/// What is compressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compress {
    /// Whether anything is.
    pub enabled: bool,
    /// Bodies shorter than this, in bytes, stay as they are.
    pub min_size: u64,
    /// Media types: `application/json`, `text/*`, `+json`.
    pub types: Vec<String>,
}

impl Default for Compress {
    fn default() -> Self {
        let types = COMPRESSIBLE.iter().map(|kind| (*kind).to_owned()).collect();
        Compress { enabled: true, min_size: 1024, types }
    }
}

/// `profile = "strict"`: nothing unkeyed reaches the backend, or at least nothing of what it shapes is stored; and without
/// a list of its own the route stores only statuses that speak of the resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Strict {
    /// Request fields that reach the backend besides those of the key. An answer to a request that carries one is stored
    /// only if its Vary names the field.
    pub forward_headers: Vec<HeaderName>,
}

/// Parameters by which signed and token-bearing URLs are known: cloud storage, CDNs, OAuth.
const SENSITIVE_QUERY: &[&str] = &[
    "X-Amz-Signature",
    "X-Amz-Security-Token",
    "X-Goog-Signature",
    "X-Oss-Signature",
    "Signature",
    "sig",
    "hdnea",
    "hdnts",
    "token",
    "access_token",
    "id_token",
    "refresh_token",
    "jwt",
    "api_key",
    "apikey",
    "client_secret",
    "password",
];

/// What is text on the web. Images, fonts and archives are compressed already.
const COMPRESSIBLE: &[&str] = &[
    "text/*",
    "application/json",
    "application/javascript",
    "application/xml",
    "application/wasm",
    "application/x-ndjson",
    "image/svg+xml",
    "+json",
    "+xml",
];
