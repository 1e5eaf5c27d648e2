//! Step 7: the stored answer in the form that this request asked for.
//!
//! Preconditions first (304), then ranges (206, 416), then HEAD; then the fields that are the cache's own to write: Age,
//! Cache-Status, Via, and what the CDN is told.

use std::collections::VecDeque;
use std::hash::BuildHasher as _;
use std::sync::OnceLock;
use std::time::Duration;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Response, StatusCode, Version};

use super::admit::Asked;
use super::body::{Body, Source};
use super::settings::GatewaySettings;
use crate::policy::Rule;
use crate::rfc::{self, CacheStatus, Moment, Multipart, Precondition, Ranges};
use crate::store::Entry;

/// What an answer is made for.
#[derive(Clone, Copy)]
pub struct Occasion<'a> {
    /// The gateway's settings.
    pub settings: &'a GatewaySettings,
    /// The request.
    pub asked: &'a Asked,
    /// Its rule.
    pub rule: &'a Rule,
    /// When it is answered.
    pub now: Moment,
}

/// Answers with `entry`; the body comes from `source`, which is the entry's own or one that is still growing.
///
/// A request for ranges is answered whole while the body is growing: the caller waits first if it wants parts.
pub fn shape(occasion: Occasion<'_>, entry: &Entry, source: Source, status: CacheStatus) -> Response<Body> {
    let Occasion { settings, asked, rule, now } = occasion;
    let age = entry.facts.age(now);
    let mut response = if not_modified(asked, entry) {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        *response.headers_mut() = rfc::not_modified_headers(&entry.headers);
        response
    } else if let Some(parts) = parts(asked, entry, &source, now) {
        parts
    } else {
        whole(asked, entry, source)
    };
    let refused = response.status() == StatusCode::RANGE_NOT_SATISFIABLE;
    let headers = response.headers_mut();
    if settings.expose_age && (status.hit || age.as_secs() > 0) {
        headers.insert(header::AGE, HeaderValue::from(age.as_secs()));
    }
    if let Some(ttl) = rule.cdn_ttl.filter(|_| !refused) {
        tell_cdn(headers, if settings.expose_age { age + ttl } else { ttl });
    }
    finish(settings, rule, headers, status);
    response
}

/// The fields that every answer of a route gets: the operator's edits, Via, Cache-Status.
pub fn finish(settings: &GatewaySettings, rule: &Rule, headers: &mut HeaderMap, status: CacheStatus) {
    rule.edit_response(headers);
    if settings.via {
        rfc::append_via(headers, Version::HTTP_11, &settings.name);
    }
    if settings.cache_status {
        status.append(headers, &settings.name);
    }
}

fn not_modified(asked: &Asked, entry: &Entry) -> bool {
    asked.facts.conditional
        && rfc::precondition(&asked.method, &asked.headers, entry.status, &entry.headers) == Precondition::NotModified
}

fn whole(asked: &Asked, entry: &Entry, source: Source) -> Response<Body> {
    let body = Body::from(source);
    let length = body.exact_length();
    let is_head = asked.method == Method::HEAD;
    let mut response = Response::new(if is_head { Body::empty() } else { body });
    *response.status_mut() = entry.status;
    *response.headers_mut() = entry.headers.clone();
    if let (true, Some(length)) = (is_head, length) {
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    response
}

/// The parts that were asked for, if this answer can be given in parts (RFC 9110 §14.2).
fn parts(asked: &Asked, entry: &Entry, source: &Source, now: Moment) -> Option<Response<Body>> {
    let Source::Whole(whole) = source else { return None };
    if !asked.facts.range || asked.method != Method::GET || entry.status != StatusCode::OK {
        return None;
    }
    let field = asked.headers.get(header::RANGE)?;
    if asked.headers.contains_key(header::IF_RANGE) && !rfc::if_range_matches(&asked.headers, &entry.headers) {
        return None;
    }
    let length = whole.len() as u64;
    let mut response = Response::new(Body::empty());
    *response.headers_mut() = entry.headers.clone();
    match rfc::ranges(field, length) {
        Ranges::Ignore => return None,
        Ranges::Unsatisfiable => {
            *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
            *response.headers_mut() = refusal(&entry.headers, length);
        }
        Ranges::Parts(parts) => {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            if let [part] = &parts[..] {
                response.headers_mut().insert(header::CONTENT_RANGE, rfc::content_range(part, length));
                // Parts lie within the length of something that is in memory.
                #[allow(clippy::cast_possible_truncation)]
                let slice = whole.slice(part.start as usize..part.end as usize);
                *response.body_mut() = Body::from(slice);
            } else {
                let kind = entry.headers.get(header::CONTENT_TYPE);
                let multipart = Multipart::new(boundary_seed(now), kind, whole, &parts);
                response.headers_mut().insert(header::CONTENT_TYPE, multipart.content_type());
                let pieces: VecDeque<_> = multipart.into_chunks().into();
                *response.body_mut() = Body::from(Source::Pieces(pieces));
            }
        }
    }
    Some(response)
}

/// The fields of a 416. It is about one client's wish: a cache in front that took the stored answer's lifetime for its own
/// could keep it in place of the answer.
fn refusal(stored: &HeaderMap, length: u64) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in stored {
        if name == header::DATE || name == header::VARY || name.as_str().starts_with("access-control-") {
            headers.append(name, value.clone());
        }
    }
    headers.insert(header::CONTENT_RANGE, rfc::unsatisfied_range(length));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers
}

/// Something that whoever wrote the body could not know: the process's own secret and the time.
fn boundary_seed(now: Moment) -> u64 {
    static SECRET: OnceLock<foldhash::quality::RandomState> = OnceLock::new();
    SECRET.get_or_init(Default::default).hash_one(now.mono)
}

/// Sets how long the cache in front may keep the answer. It subtracts Age from what it is told, so Age is added.
fn tell_cdn(headers: &mut HeaderMap, lifetime: Duration) {
    let mut directives: Vec<String> = headers
        .get_all(header::CACHE_CONTROL)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .filter(|directive| !directive.is_empty() && !directive.to_ascii_lowercase().starts_with("s-maxage"))
        .map(str::to_owned)
        .collect();
    directives.push(format!("s-maxage={}", lifetime.as_secs()));
    if let Ok(value) = HeaderValue::from_str(&directives.join(", ")) {
        headers.insert(header::CACHE_CONTROL, value);
    }
}

/// Fields that are never stored: they speak of one connection, or are the cache's own to write.
pub const NEVER_STORED: [HeaderName; 3] = [header::AGE, header::CONTENT_LENGTH, header::TRAILER];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cdn_is_told_a_lifetime_that_survives_the_age() {
        let mut headers = HeaderMap::new();
        headers.append(header::CACHE_CONTROL, HeaderValue::from_static("max-age=300, S-MaxAge=9"));
        headers.append(header::CACHE_CONTROL, HeaderValue::from_static("public"));
        tell_cdn(&mut headers, Duration::from_secs(45 + 30));
        let lines: Vec<_> = headers.get_all(header::CACHE_CONTROL).iter().collect();
        assert_eq!(lines, ["max-age=300, public, s-maxage=75"]);
    }
}
