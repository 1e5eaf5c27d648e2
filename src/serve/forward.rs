//! The request as it goes to the backend.
//!
//! Two kinds go out. A *fill* asks for what will be kept for everybody: the client's own conditions and ranges stay behind,
//! and so do the fields by which a client could make the backend answer something else than the key says. A *pass* is one
//! client's own request and keeps all that is end to end.

use std::fmt::Write;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, Request, Uri, Version};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};

use super::admit::{Asked, X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO};
use super::body::{BoxError, ClientStalled};
use super::settings::GatewaySettings;
use crate::policy::Routed;
use crate::rfc::{self, Reason, Validators};
use crate::upstream::OutBody;

/// The head of a request to the backend, which can be sent more than once.
#[derive(Clone, Debug)]
pub struct Outbound {
    /// The method.
    pub method: Method,
    /// Path and query, as the rule forwards them.
    pub target: PathAndQuery,
    /// The fields, complete but for framing.
    pub headers: HeaderMap,
}

impl Outbound {
    /// A request whose answer is to be kept.
    pub fn fill(
        settings: &GatewaySettings,
        asked: &Asked,
        routed: &Routed<'_>,
        forwarded: &str,
    ) -> Result<Self, Reason> {
        Ok(Self { method: Method::GET, ..Self::for_all(settings, asked, routed, forwarded)? })
    }

    /// A HEAD whose answer may change what is kept, so it is asked in everybody's name as well.
    pub fn head(
        settings: &GatewaySettings,
        asked: &Asked,
        routed: &Routed<'_>,
        forwarded: &str,
    ) -> Result<Self, Reason> {
        Ok(Self { method: Method::HEAD, ..Self::for_all(settings, asked, routed, forwarded)? })
    }

    /// A request of one client, whose answer goes to it alone.
    pub fn pass(
        settings: &GatewaySettings,
        asked: &Asked,
        routed: &Routed<'_>,
        forwarded: &str,
    ) -> Result<Self, Reason> {
        let mut headers = asked.headers.clone();
        let told = |name: &HeaderName| if asked.trusted { joined(&asked.headers, name) } else { String::new() };
        let (chain, told_forwarded) = (told(&X_FORWARDED_FOR), told(&header::FORWARDED));
        if !asked.trusted {
            remove(&mut headers, |name| is_forwarding(name.as_str()));
        }
        let mut out = Self::new(settings, asked, headers, forwarded, [chain, told_forwarded])?;
        routed.rule.edit_request(&mut out.headers, &asked.target(), &routed.captures);
        Ok(out)
    }

    /// What is asked in everybody's name: nothing of one client's by which it could choose what all others get.
    fn for_all(
        settings: &GatewaySettings,
        asked: &Asked,
        routed: &Routed<'_>,
        forwarded: &str,
    ) -> Result<Self, Reason> {
        let rule = routed.rule;
        let mut headers = asked.headers.clone();
        rfc::strip_conditionals(&mut headers);
        remove(&mut headers, |name| is_danger(name.as_str()) && !rule.keys_header(name));
        // Of what trusted proxies say about the way here, only what they vouch for: the rest is the client's invention.
        let behind = asked.client != asked.peer;
        let chain = if behind { asked.client.to_string() } else { String::new() };
        let told_forwarded = if behind { format!("for={}", node(asked.client)) } else { String::new() };
        let mut out = Self::new(settings, asked, headers, forwarded, [chain, told_forwarded])?;
        if let Some(strict) = &rule.strict {
            remove(&mut out.headers, |name| {
                !(strict.forward_headers.contains(name) || OWN.contains(name) || rule.keys_header(name))
            });
            if !strict.forward_headers.contains(&header::COOKIE) {
                rule.trim_cookies(&mut out.headers);
            }
        }
        rule.edit_request(&mut out.headers, &asked.target(), &routed.captures);
        Ok(out)
    }

    /// `headers` with what the gateway says of itself; `before` is what X-Forwarded-For and Forwarded begin with.
    fn new(
        settings: &GatewaySettings,
        asked: &Asked,
        mut headers: HeaderMap,
        forwarded: &str,
        before: [String; 2],
    ) -> Result<Self, Reason> {
        let target = PathAndQuery::try_from(forwarded).map_err(|_| Reason::BadTarget)?;
        for name in NEVER_FORWARDED {
            headers.remove(name);
        }
        let host = HeaderValue::from_str(asked.host()).map_err(|_| Reason::BadHost)?;
        headers.insert(header::HOST, host.clone());
        set_forwarded(&mut headers, asked, host, before);
        rfc::append_via(&mut headers, asked.version, &settings.name);
        rfc::append_cdn_loop(&mut headers, &settings.name);
        Ok(Self { method: asked.method.clone(), target, headers })
    }

    /// Asks for `validators` to be confirmed instead of for the whole.
    #[must_use]
    pub fn validating(mut self, validators: &Validators) -> Self {
        validators.apply(&mut self.headers);
        self
    }

    /// The request, without content.
    pub fn empty(&self) -> Request<OutBody> {
        self.with(Empty::<Bytes>::new().map_err(BoxError::from).boxed_unsync())
    }

    /// The request with a client's content, of which at most `limit` bytes are read. If the content fails, `fault` is told
    /// what the client did.
    pub fn with_body<B>(&self, body: B, limit: u64, fault: &Arc<OnceLock<Reason>>) -> Request<OutBody>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let fault = Arc::clone(fault);
        let watched = Limited::new(body, limit).map_err(move |error| {
            let _ = fault.set(fault_of(&error));
            error
        });
        self.with(watched.boxed_unsync())
    }

    fn with(&self, body: OutBody) -> Request<OutBody> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = Uri::from(self.target.clone());
        *request.version_mut() = Version::HTTP_11;
        *request.headers_mut() = self.headers.clone();
        request
    }
}

/// What a client did whose body failed.
fn fault_of(error: &BoxError) -> Reason {
    if error.is::<LengthLimitError>() {
        Reason::BodyTooLarge
    } else if error.is::<ClientStalled>() {
        Reason::RequestStalled
    } else {
        Reason::BadFraming
    }
}

/// Sets X-Forwarded-For, -Proto, -Host and Forwarded. `before`: the hops before the peer, as far as they are believed.
fn set_forwarded(headers: &mut HeaderMap, asked: &Asked, host: HeaderValue, before: [String; 2]) {
    let peer = asked.peer;
    let [mut chain, mut forwarded] = before;
    for list in [&mut chain, &mut forwarded] {
        if !list.is_empty() {
            list.push_str(", ");
        }
    }
    // Writing to a String cannot fail.
    let _ = write!(chain, "{peer}");
    let _ = write!(forwarded, "for={};host=\"{}\";proto={}", node(peer), asked.host(), asked.scheme());
    for (name, text) in [(X_FORWARDED_FOR, chain), (header::FORWARDED, forwarded)] {
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(name, value);
        }
    }
    headers.insert(X_FORWARDED_HOST, host);
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(asked.scheme()));
}

/// An address as Forwarded writes it (RFC 7239 §6).
fn node(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("\"[{address}]\""),
    }
}

fn remove(headers: &mut HeaderMap, unwanted: impl Fn(&HeaderName) -> bool) {
    while let Some(name) = headers.keys().find(|name| unwanted(name)).cloned() {
        headers.remove(name);
    }
}

fn joined(headers: &HeaderMap, name: &HeaderName) -> String {
    let lines: Vec<&str> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    lines.join(", ")
}

/// Framing is made anew for every hop, and the expectation was met by the gateway.
const NEVER_FORWARDED: [HeaderName; 3] = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::EXPECT];

/// What the gateway itself writes or the transfer needs.
const OWN: [HeaderName; 8] = [
    header::HOST,
    header::VIA,
    header::FORWARDED,
    header::ACCEPT_ENCODING,
    X_FORWARDED_FOR,
    X_FORWARDED_HOST,
    X_FORWARDED_PROTO,
    HeaderName::from_static("cdn-loop"),
];

/// What proxies say about the way a request has taken. From others it is an invention.
fn is_forwarding(name: &str) -> bool {
    name.starts_with("x-forwarded") || name == "forwarded"
}

/// Fields by which some backends let a client change the URL, the method, the origin or the address they see. None of
/// them is in the key, so on a lookup none reaches the backend, unless the rule keys it.
fn is_danger(name: &str) -> bool {
    is_forwarding(name)
        || ["x-original-", "x-rewrite-", "x-http-", "x-proxy"].iter().any(|family| name.starts_with(family))
        || matches!(
            name,
            "x-host"
                | "x-method-override"
                | "x-url-scheme"
                | "x-scheme"
                | "front-end-https"
                | "base-url"
                | "http-url"
                | "request-uri"
                | "uri"
                | "url"
                | "proxy-host"
                | "proxy-url"
                | "x-amz-website-redirect-location"
                | "x-real-ip"
                | "x-client-ip"
                | "x-cluster-client-ip"
                | "x-originating-ip"
                | "x-remote-ip"
                | "x-remote-addr"
                | "client-ip"
                | "true-client-ip"
        )
}
