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
        let mut out = Self::new(settings, asked, forwarded)?;
        rfc::strip_conditionals(&mut out.headers);
        for name in UNKEYED_DANGERS {
            if !routed.rule.keys_header(&name) {
                out.headers.remove(&name);
            }
        }
        if let Some(strict) = &routed.rule.strict {
            out.keep_only(&strict.forward_headers, routed);
        }
        routed.rule.edit_request(&mut out.headers, &asked.target(), &routed.captures);
        out.method = Method::GET;
        Ok(out)
    }

    /// A request of one client, whose answer goes to it alone.
    pub fn pass(
        settings: &GatewaySettings,
        asked: &Asked,
        routed: &Routed<'_>,
        forwarded: &str,
    ) -> Result<Self, Reason> {
        let mut out = Self::new(settings, asked, forwarded)?;
        routed.rule.edit_request(&mut out.headers, &asked.target(), &routed.captures);
        Ok(out)
    }

    fn new(settings: &GatewaySettings, asked: &Asked, forwarded: &str) -> Result<Self, Reason> {
        let target = PathAndQuery::try_from(forwarded).map_err(|_| Reason::BadTarget)?;
        let mut headers = asked.headers.clone();
        for name in NEVER_FORWARDED {
            headers.remove(name);
        }
        let host = HeaderValue::from_str(asked.host()).map_err(|_| Reason::BadHost)?;
        headers.insert(header::HOST, host.clone());
        set_forwarded(&mut headers, asked, host);
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

    /// The strict profile: what is not listed, keyed or the gateway's own does not reach the backend.
    fn keep_only(&mut self, listed: &[HeaderName], routed: &Routed<'_>) {
        let strangers: Vec<HeaderName> = self
            .headers
            .keys()
            .filter(|name| !(listed.contains(name) || OWN.contains(name) || routed.rule.keys_header(name)))
            .cloned()
            .collect();
        for name in strangers {
            self.headers.remove(name);
        }
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

/// Sets X-Forwarded-For, -Proto, -Host and Forwarded. What a peer says of itself is kept only from a trusted one.
fn set_forwarded(headers: &mut HeaderMap, asked: &Asked, host: HeaderValue) {
    let (peer, trusted) = (asked.peer, asked.trusted);
    let mut chain = if trusted { joined(headers, &X_FORWARDED_FOR) } else { String::new() };
    let mut forwarded = if trusted { joined(headers, &header::FORWARDED) } else { String::new() };
    for list in [&mut chain, &mut forwarded] {
        if !list.is_empty() {
            list.push_str(", ");
        }
    }
    // Writing to a String cannot fail.
    let _ = write!(chain, "{peer}");
    let _ = match peer {
        IpAddr::V4(peer) => write!(forwarded, "for={peer};host=\"{}\";proto={}", asked.host(), asked.scheme()),
        IpAddr::V6(peer) => write!(forwarded, "for=\"[{peer}]\";host=\"{}\";proto={}", asked.host(), asked.scheme()),
    };
    for (name, text) in [(X_FORWARDED_FOR, chain), (header::FORWARDED, forwarded)] {
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(name, value);
        }
    }
    headers.insert(X_FORWARDED_HOST, host);
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(asked.scheme()));
}

fn joined(headers: &HeaderMap, name: &HeaderName) -> String {
    let lines: Vec<&str> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    lines.join(", ")
}

/// Framing is made anew for every hop, and the expectation was met by the gateway.
const NEVER_FORWARDED: [HeaderName; 3] = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::EXPECT];

/// What the gateway itself writes or the transfer needs.
const OWN: [HeaderName; 11] = [
    header::HOST,
    header::VIA,
    header::FORWARDED,
    header::ACCEPT,
    header::ACCEPT_ENCODING,
    X_FORWARDED_FOR,
    X_FORWARDED_HOST,
    X_FORWARDED_PROTO,
    HeaderName::from_static("cdn-loop"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
];

/// Fields by which some backends let a client change the URL, the method or the origin they see. None of them is in the
/// key, so on a lookup none reaches the backend, unless the rule keys it.
const UNKEYED_DANGERS: [HeaderName; 20] = [
    HeaderName::from_static("x-host"),
    HeaderName::from_static("x-forwarded-server"),
    HeaderName::from_static("x-forwarded-scheme"),
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-forwarded-prefix"),
    HeaderName::from_static("x-forwarded-path"),
    HeaderName::from_static("x-forwarded-uri"),
    HeaderName::from_static("x-forwarded-ssl"),
    HeaderName::from_static("x-original-host"),
    HeaderName::from_static("x-original-url"),
    HeaderName::from_static("x-original-uri"),
    HeaderName::from_static("x-rewrite-url"),
    HeaderName::from_static("x-http-method-override"),
    HeaderName::from_static("x-http-method"),
    HeaderName::from_static("x-method-override"),
    HeaderName::from_static("x-http-host-override"),
    HeaderName::from_static("x-http-destinationurl"),
    HeaderName::from_static("front-end-https"),
    HeaderName::from_static("x-url-scheme"),
    HeaderName::from_static("x-proxy-url"),
];
