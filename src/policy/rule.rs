//! A rule: one route, compiled. It answers the questions that a request's path asks of the operator, each with one
//! function: may it pass the cache by, what goes to the backend, what is the key, which tags, which header edits.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use ipnet::IpNet;

use super::dots::has_dot_segments;
use super::edits::Edits;
use super::key::KeyBuf;
use super::query::{Query, QueryRecipe, Sensitive};
use super::rewrite::PathRewrite;
use super::settings::{Compress, RateLimit, Strict};
use super::tags::named_tag;
use super::target::{Captures, Target};
use super::template::{Form, Sources, Template};
use crate::rfc::{Reason, Terms};

/// One route, compiled; also the default one. The public fields mean what they mean in [`RouteSettings`].
///
/// [`RouteSettings`]: super::RouteSettings
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its place in [`Policy::rules`](super::Policy::rules): the order of the file, the default route last.
    pub id: usize,
    /// Unique among the rules.
    pub name: Arc<str>,
    /// The path pattern as written.
    pub path: Option<Arc<str>>,
    /// The name of the origin, never empty.
    pub origin: Arc<str>,
    /// What the route adds to the RFC.
    pub terms: Terms,
    /// Neither look up nor store.
    pub pass: bool,
    /// How long the CDN in front may keep an answer.
    pub cdn_ttl: Option<Duration>,
    /// What is compressed.
    pub compress: Compress,
    /// Requests per time and client.
    pub rate_limit: Option<RateLimit>,
    /// Requests under way on this route.
    pub max_concurrent: Option<u32>,
    /// Requests under way on this route for one client.
    pub max_concurrent_per_client: Option<u32>,
    /// `profile = "strict"`.
    pub strict: Option<Strict>,
    /// Never stored.
    pub sensitive: bool,
    /// The largest body kept, in bytes.
    pub max_object: Option<u64>,
    pub(super) captures: Vec<Box<str>>,
    pub(super) recipe: Recipe,
    pub(super) rewrite: PathRewrite,
    pub(super) tags: Vec<Template>,
    pub(super) request_headers: Edits,
    pub(super) response_headers: Edits,
    pub(super) allow: Vec<IpNet>,
    pub(super) deny: Vec<IpNet>,
}

/// What the key is made of.
#[derive(Clone, Debug)]
pub(super) struct Recipe {
    pub(super) query: QueryRecipe,
    pub(super) headers: Vec<HeaderName>,
    pub(super) cookies: Vec<Box<str>>,
    pub(super) shared: Arc<SharedRecipe>,
}

/// What all rules have in common.
#[derive(Debug)]
pub(super) struct SharedRecipe {
    pub(super) scheme: bool,
    pub(super) max_key: usize,
    pub(super) sensitive: Sensitive,
}

impl Rule {
    /// Why the target must neither be answered from the cache nor stored, if so. The hit path asks this: it is linear
    /// in the target and does not allocate.
    pub fn bypass(&self, target: &Target<'_>) -> Option<Reason> {
        if self.pass {
            return Some(Reason::RoutePass);
        }
        if has_dot_segments(target.path) {
            return Some(Reason::DotSegments);
        }
        if target.query.is_some_and(|query| self.recipe.shared.sensitive.is_in(query)) {
            return Some(Reason::SignedUrl);
        }
        if self.sensitive {
            return Some(Reason::SensitivePath);
        }
        None
    }

    /// Path and query as they go to the backend: rewritten, without the parameters that are left out, sorted if the
    /// route says so. What nothing changes is byte-exact; without a query it is borrowed.
    pub fn forward_path<'t>(&self, target: &Target<'t>, captures: &Captures) -> Cow<'t, str> {
        let path = self.rewrite.apply(target, captures);
        let Some(query) = target.query else { return path };
        match self.recipe.query.apply(query) {
            Query::Gone => path,
            Query::Unchanged => join(&path, &[query]),
            Query::Changed(parameters) => join(&path, &parameters),
        }
    }

    /// Writes the cache key into `out`. `forwarded` is what [`Rule::forward_path`] gave. Two keys are equal if and only
    /// if origin, scheme (where it counts), host, forwarded bytes, all keyed headers and cookies and all fields that the
    /// route sets are.
    ///
    /// # Errors
    /// A reason to pass the cache by; `out` is empty then. [`Reason::KeyTooLong`] above the policy's `max_key`,
    /// [`Reason::DotSegments`] if a rewrite put together what the client could not have asked for.
    pub fn key(
        &self,
        target: &Target<'_>,
        captures: &Captures,
        forwarded: &str,
        request: &HeaderMap,
        out: &mut KeyBuf,
    ) -> Result<(), Reason> {
        let Recipe { headers, cookies, shared, .. } = &self.recipe;
        out.begin(&self.origin, shared.scheme.then_some(target.secure), target.host, forwarded);
        for name in headers {
            out.header(name.as_str(), request.get_all(name).iter().map(HeaderValue::as_bytes));
        }
        for name in cookies {
            out.cookie(name, cookie_values(request, name));
        }
        // A rewrite may send two clients' paths to one URL; what the route tells the backend of them apart from it is as
        // much a part of the question as the URL is.
        let sources = Sources { request: Some((target, captures)), headers: Some(request) };
        for (name, value) in self.request_headers.values(sources) {
            out.set(name.as_str(), value.as_ref().map(HeaderValue::as_bytes));
        }
        let refused = if out.as_slice().len() > shared.max_key {
            Reason::KeyTooLong
        } else if !self.rewrite.keeps() && has_dot_segments(path_of(forwarded)) {
            Reason::DotSegments
        } else {
            return Ok(());
        };
        out.clear();
        Err(refused)
    }

    /// Appends the ledger names (`tag:user:1`) of the route's own tags. A tag with a missing value is left out. Escapes
    /// in the path and the query are decoded, so that every spelling of a URL carries the tag that an event names.
    pub fn tags(&self, target: &Target<'_>, captures: &Captures, request: &HeaderMap, out: &mut Vec<String>) {
        let sources = Sources { request: Some((target, captures)), headers: Some(request) };
        let names = self.tags.iter().filter_map(|template| template.render(&sources, Form::Decoded));
        out.extend(names.map(|name| named_tag(&name)));
    }

    /// Edits the request on its way to the backend.
    pub fn edit_request(&self, headers: &mut HeaderMap, target: &Target<'_>, captures: &Captures) {
        self.request_headers.apply(headers, &Sources { request: Some((target, captures)), headers: None });
    }

    /// Edits the answer on its way to the client.
    pub fn edit_response(&self, headers: &mut HeaderMap) {
        self.response_headers.apply(headers, &Sources { request: None, headers: None });
    }

    /// Whether a client at this address may ask. `deny` beats `allow`; an IPv4 address in IPv6 clothing is IPv4.
    pub fn admits_address(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let listed = |nets: &[IpNet]| nets.iter().any(|net| net.contains(&address));
        !listed(&self.deny) && (self.allow.is_empty() || listed(&self.allow))
    }

    /// Whether the key holds this request field, or, of Cookie, some part.
    pub fn keys_header(&self, name: &HeaderName) -> bool {
        let some_cookie = *name == header::COOKIE && !self.recipe.cookies.is_empty();
        some_cookie || self.recipe.headers.contains(name)
    }

    /// Leaves only the cookies of the key, in its order and spelling, unless it holds the whole field. The strict profile
    /// needs it: the key names single cookies, and their neighbours must not reach the backend unkeyed.
    pub fn trim_cookies(&self, headers: &mut HeaderMap) {
        if self.recipe.headers.contains(&header::COOKIE) {
            return;
        }
        let mut kept: Vec<u8> = Vec::new();
        for name in &self.recipe.cookies {
            for value in cookie_values(headers, name) {
                let separator: &[u8] = if kept.is_empty() { b"" } else { b"; " };
                for part in [separator, name.as_bytes(), b"=", value] {
                    kept.extend_from_slice(part);
                }
            }
        }
        headers.remove(header::COOKIE);
        if !kept.is_empty()
            && let Ok(value) = HeaderValue::try_from(kept)
        {
            headers.insert(header::COOKIE, value);
        }
    }

    /// The request fields that are part of the key.
    pub fn key_headers(&self) -> &[HeaderName] {
        &self.recipe.headers
    }

    /// What the path captured, by name, for `explain`.
    pub fn captured<'r, 't: 'r>(
        &'r self,
        target: &'r Target<'t>,
        captures: &'r Captures,
    ) -> impl Iterator<Item = (&'r str, &'t str)> {
        let names = self.captures.iter().enumerate();
        names.filter_map(|(index, name)| Some((&**name, captures.get(index, target)?)))
    }
}

/// All values of the cookie, in order: which of two a backend takes is its own affair. `a` without `=` is an empty `a`.
fn cookie_values<'r>(request: &'r HeaderMap, name: &str) -> impl Iterator<Item = &'r [u8]> {
    cookie_pairs(request).filter(move |pair| names(pair, name)).map(|pair| halves(pair).1)
}

/// `name=value`, one by one, without the space around.
fn cookie_pairs(request: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let lines = request.get_all(header::COOKIE).iter();
    lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';')).map(<[u8]>::trim_ascii)
}

fn names(pair: &[u8], name: &str) -> bool {
    halves(pair).0 == name.as_bytes()
}

fn halves(pair: &[u8]) -> (&[u8], &[u8]) {
    let mut halves = pair.splitn(2, |byte| *byte == b'=').map(<[u8]>::trim_ascii);
    (halves.next().unwrap_or_default(), halves.next().unwrap_or_default())
}

fn join<'t>(path: &str, parameters: &[&str]) -> Cow<'t, str> {
    let length = path.len() + parameters.iter().map(|parameter| parameter.len() + 1).sum::<usize>();
    let mut joined = String::with_capacity(length);
    joined.push_str(path);
    for (at, parameter) in parameters.iter().enumerate() {
        joined.push(if at == 0 { '?' } else { '&' });
        joined.push_str(parameter);
    }
    Cow::Owned(joined)
}

fn path_of(forwarded: &str) -> &str {
    forwarded.split_once('?').map_or(forwarded, |(path, _)| path)
}
