//! Step 1: may this request come in, and what exactly does it ask for?
//!
//! hyper has parsed the head. What it lets through and we do not is refused here: an absent or malformed Host, odd
//! Transfer-Encoding lists, hop-by-hop games, tunnels, loops. A refusal is a [`Reason`]; `respond` makes an answer of it
//! and closes the connection. What comes out is the request in one canonical form, on which route, key and the request
//! to the backend all work: they never see different bytes.

use std::net::{IpAddr, SocketAddr};

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Uri, Version};
use ipnet::IpNet;

use super::barrier::Barrier;
use super::settings::GatewaySettings;
use crate::policy::Target;
use crate::rfc::{self, Accepted, Reason, RequestFacts};

/// Who is at the other end of the connection.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    /// The address of the connection.
    pub address: SocketAddr,
    /// Whether the connection is TLS.
    pub secure: bool,
}

/// A request that was let in.
#[derive(Debug)]
pub struct Asked {
    /// The method.
    pub method: Method,
    /// The version it was received in.
    pub version: Version,
    /// What the caching rules need to know of the head.
    pub facts: RequestFacts,
    /// The fields, without hop-by-hop ones; Accept-Encoding in its normal form.
    pub headers: HeaderMap,
    /// What the client accepts as codings.
    pub accepted: Accepted,
    /// The address of the client itself, seen through trusted proxies.
    pub client: IpAddr,
    /// The address of the connection.
    pub peer: IpAddr,
    /// Whether the peer is a proxy that is believed about whom it forwards for.
    pub trusted: bool,
    /// An authorised demand for a fresh answer.
    pub forced: bool,
    /// The change that the client wants to see.
    pub barrier: Barrier,
    secure: bool,
    host: Host,
    uri: Uri,
}

/// The authority of the target, in its normal form.
#[derive(Debug)]
enum Host {
    /// It came in its normal form: no copy is needed.
    AsSent(HeaderValue),
    /// It had to be folded.
    Folded(String),
}

impl Host {
    fn text(&self) -> &str {
        match self {
            // Checked when it was made.
            Host::AsSent(value) => value.to_str().unwrap_or_default(),
            Host::Folded(text) => text,
        }
    }
}

impl Asked {
    /// The target, as route, key and backend all see it.
    pub fn target(&self) -> Target<'_> {
        Target::new(self.secure, self.host(), self.path_and_query())
    }

    /// The authority in its normal form: lower case, no default port, no trailing dot.
    pub fn host(&self) -> &str {
        self.host.text()
    }

    /// The path as received; never decoded.
    pub fn path(&self) -> &str {
        self.uri.path()
    }

    /// Path and query as received.
    pub fn path_and_query(&self) -> &str {
        self.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str)
    }

    /// `https` or `http`, as the client sees it.
    pub fn scheme(&self) -> &'static str {
        if self.secure { "https" } else { "http" }
    }

    /// Whether this is a WebSocket or another protocol's handshake.
    fn wants_websocket(&self) -> bool {
        self.headers.get(header::UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
    }
}

/// Lets a request in, or says why not. The body is judged by its framing only; it stays with the caller.
pub fn admit<B: http_body::Body>(
    settings: &GatewaySettings,
    client: Client,
    request: Request<B>,
) -> Result<(Asked, B), (Reason, B)> {
    let (parts, body) = request.into_parts();
    match check(settings, client, parts, &body) {
        Ok(asked) => Ok((asked, body)),
        Err(reason) => Err((reason, body)),
    }
}

fn check<B: http_body::Body>(
    settings: &GatewaySettings,
    client: Client,
    parts: http::request::Parts,
    body: &B,
) -> Result<Asked, Reason> {
    let http::request::Parts { method, uri, version, mut headers, .. } = parts;
    check_method(&method)?;
    check_target(settings, &method, &uri)?;
    check_framing(&headers, version)?;
    check_body(settings, &method, body)?;
    check_expect(&headers)?;

    let trusted = is_trusted(&settings.trusted_proxies, client.address.ip());
    let secure = if trusted { forwarded_proto(&headers).unwrap_or(client.secure) } else { client.secure };
    let host = host_of(&uri, &headers, version, secure, trusted)?;
    let uri = rooted(uri)?;
    let peer = client.address.ip().to_canonical();
    let address = if trusted { client_behind(settings, &headers, peer) } else { peer };

    if rfc::names_us(&headers, &settings.name) {
        return Err(Reason::LoopDetected);
    }
    let forced = take_refresh_token(settings, &mut headers);
    let barrier = Barrier::take(&mut headers);
    let accepted = normalise_accept_encoding(&mut headers);
    let facts = RequestFacts::read(&method, &headers);
    let mut asked = Asked {
        method,
        version,
        facts,
        headers,
        accepted,
        client: address,
        peer,
        trusted,
        forced,
        barrier,
        secure,
        host,
        uri,
    };
    if asked.wants_websocket() {
        return Err(Reason::UpgradeRefused);
    }
    rfc::strip_hop_by_hop_request(&mut asked.headers)?;
    Ok(asked)
}

/// Methods are upper-case tokens (RFC 9110 §9.1). Tunnels and echoes are not for a gateway: CONNECT, TRACE.
fn check_method(method: &Method) -> Result<(), Reason> {
    match *method {
        Method::GET | Method::HEAD => Ok(()),
        Method::CONNECT | Method::TRACE => Err(Reason::MethodRefused),
        _ => {
            let name = method.as_str();
            let plain = name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-' || byte == b'_');
            let echo = matches!(name, "TRACK" | "DEBUG" | "PRI");
            if plain && !echo && name.len() <= 32 { Ok(()) } else { Err(Reason::MethodRefused) }
        }
    }
}

fn check_target(settings: &GatewaySettings, method: &Method, uri: &Uri) -> Result<(), Reason> {
    let length = uri.path_and_query().map_or(0, |target| target.as_str().len());
    if length > settings.max_uri {
        return Err(Reason::UriTooLong);
    }
    // `host:port` alone is for CONNECT (RFC 9112 §3.2.3): elsewhere it would name an authority that nobody checks.
    if uri.authority().is_some() && uri.scheme().is_none() {
        return Err(Reason::BadTarget);
    }
    let path = uri.path();
    // `*` is for OPTIONS alone (RFC 9112 §3.2.4); a path starts with a slash; two would name an authority.
    if path == "*" {
        return if *method == Method::OPTIONS { Ok(()) } else { Err(Reason::BadTarget) };
    }
    let absolute_without_path = path.is_empty() && uri.authority().is_some();
    if !(path.starts_with('/') || absolute_without_path) || path.starts_with("//") {
        return Err(Reason::BadTarget);
    }
    if uri.scheme_str().is_some_and(|scheme| scheme != "http" && scheme != "https") {
        return Err(Reason::BadTarget);
    }
    let target = uri.path_and_query().map_or("", http::uri::PathAndQuery::as_str);
    if target.bytes().any(|byte| !(0x21..0x7f).contains(&byte)) {
        return Err(Reason::BadTarget);
    }
    Ok(())
}

/// "If the target URI's path component is empty, the client MUST send "/" as the path within the origin-form"
/// (RFC 9112 §3.2.1). A target in absolute form may leave it out even before a query, and no backend is to see that.
fn rooted(uri: Uri) -> Result<Uri, Reason> {
    match uri.path_and_query().map(http::uri::PathAndQuery::as_str) {
        Some(target) if target.starts_with('?') => format!("/{target}").parse().map_err(|_| Reason::BadTarget),
        _ => Ok(uri),
    }
}

/// hyper has chosen the framing; here the fields that could be read differently by somebody else are refused.
fn check_framing(headers: &HeaderMap, version: Version) -> Result<(), Reason> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        let exactly_chunked = coding.as_bytes().eq_ignore_ascii_case(b"chunked");
        if !exactly_chunked || codings.next().is_some() || version < Version::HTTP_11 {
            return Err(Reason::BadFraming);
        }
    }
    // Names that some servers take for the real ones.
    let look_alike = |name: &HeaderName| matches!(name.as_str(), "transfer_encoding" | "content_length");
    if headers.keys().any(look_alike) {
        return Err(Reason::BadFraming);
    }
    Ok(())
}

/// Content in a GET has no defined meaning (RFC 9110 §9.3.1), and what it means to the backend could not be in the key.
fn check_body<B: http_body::Body>(settings: &GatewaySettings, method: &Method, body: &B) -> Result<(), Reason> {
    let safe = matches!(*method, Method::GET | Method::HEAD);
    if safe && !body.is_end_stream() {
        return Err(Reason::RequestBody);
    }
    if body.size_hint().lower() > settings.max_request_body {
        return Err(Reason::BodyTooLarge);
    }
    Ok(())
}

/// The only expectation there is (RFC 9110 §10.1.1). hyper answers it when the body is first read.
fn check_expect(headers: &HeaderMap) -> Result<(), Reason> {
    let met = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    if headers.get_all(header::EXPECT).iter().all(met) { Ok(()) } else { Err(Reason::BadExpect) }
}

/// The authority the client asks for (RFC 9112 §3.2): that of the target if it has one, else Host.
fn host_of(uri: &Uri, headers: &HeaderMap, version: Version, secure: bool, trusted: bool) -> Result<Host, Reason> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(Reason::BadHost);
    }
    let host = host.map(|host| as_host(host, secure)).transpose()?;
    if trusted && let Some(forwarded) = headers.get(&X_FORWARDED_HOST) {
        return as_host(forwarded, secure);
    }
    let Some(authority) = uri.authority().map(http::uri::Authority::as_str) else {
        return host.ok_or(Reason::BadHost);
    };
    let folded = fold_host(authority.as_bytes(), secure)?.unwrap_or_else(|| authority.to_owned());
    // HTTP/2 may carry both; they must not differ (RFC 9113 §8.3.1). In HTTP/1.1 the target wins, but Host must be there
    // all the same (RFC 9112 §3.2).
    let agrees = match host {
        Some(host) => version < Version::HTTP_2 || host.text() == folded,
        None => version >= Version::HTTP_2,
    };
    if agrees { Ok(Host::Folded(folded)) } else { Err(Reason::BadHost) }
}

fn as_host(value: &HeaderValue, secure: bool) -> Result<Host, Reason> {
    Ok(match fold_host(value.as_bytes(), secure)? {
        None => Host::AsSent(value.clone()),
        Some(folded) => Host::Folded(folded),
    })
}

/// Checks `host[:port]` and brings it into its normal form; `None` when it is in it already.
///
/// Host decides where a request goes and what it is kept under, so only what every server reads alike is accepted: names
/// of letters, digits, `-`, `.`, `_`, or an IPv6 literal, and a port of digits.
pub fn fold_host(host: &[u8], secure: bool) -> Result<Option<String>, Reason> {
    let text = std::str::from_utf8(host).map_err(|_| Reason::BadHost)?;
    let (name, port) = split_port(text)?;
    let literal = name.starts_with('[');
    let in_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    let well_formed = if literal {
        name.trim_start_matches('[').trim_end_matches(']').parse::<std::net::Ipv6Addr>().is_ok()
    } else {
        name.bytes().all(in_name) && !name.trim_matches('.').is_empty() && !name.contains("..")
    };
    if !well_formed || name.len() > 255 {
        return Err(Reason::BadHost);
    }
    let default_port = if secure { 443 } else { 80 };
    let port = port.filter(|port| *port != default_port);
    let trimmed = name.strip_suffix('.').unwrap_or(name);
    let written = trimmed.len() + port.map_or(0, |port| 1 + digits(port));
    if written == text.len() && !text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Ok(None);
    }
    let mut folded = trimmed.to_ascii_lowercase();
    if let Some(port) = port {
        folded.push(':');
        folded.push_str(itoa::Buffer::new().format(port));
    }
    Ok(Some(folded))
}

fn split_port(text: &str) -> Result<(&str, Option<u16>), Reason> {
    let end_of_name = if text.starts_with('[') { text.find(']').map(|at| at + 1) } else { text.find(':') };
    let (name, rest) = text.split_at(end_of_name.unwrap_or(text.len()));
    if rest.is_empty() {
        return if text.starts_with('[') && end_of_name.is_none() { Err(Reason::BadHost) } else { Ok((name, None)) };
    }
    let digits = rest.strip_prefix(':').ok_or(Reason::BadHost)?;
    if digits.is_empty() || digits.len() > 5 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Reason::BadHost);
    }
    digits.parse().map(|port| (name, Some(port))).map_err(|_| Reason::BadHost)
}

fn digits(port: u16) -> usize {
    itoa::Buffer::new().format(port).len()
}

fn is_trusted(trusted: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    trusted.iter().any(|net| net.contains(&address))
}

/// The nearest address in X-Forwarded-For that is not one of ours; if all are, the one it begins with.
fn client_behind(settings: &GatewaySettings, headers: &HeaderMap, peer: IpAddr) -> IpAddr {
    let lines = headers.get_all(&X_FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok());
    let mut hops: Vec<&str> = lines.flat_map(|line| line.split(',')).map(str::trim).collect();
    let mut nearest = peer;
    while let Some(Ok(address)) = hops.pop().map(str::parse::<IpAddr>) {
        nearest = address.to_canonical();
        if !is_trusted(&settings.trusted_proxies, nearest) {
            break;
        }
    }
    nearest
}

fn forwarded_proto(headers: &HeaderMap) -> Option<bool> {
    let field = headers.get(&CLOUDFRONT_FORWARDED_PROTO).or_else(|| headers.get(&X_FORWARDED_PROTO))?;
    match field.as_bytes() {
        b"https" => Some(true),
        b"http" => Some(false),
        _ => None,
    }
}

/// Removes the field that forces a refresh, so that it goes nowhere, and says whether it held the secret.
fn take_refresh_token(settings: &GatewaySettings, headers: &mut HeaderMap) -> bool {
    let Some((name, secret)) = &settings.refresh_token else { return false };
    headers.remove(name).is_some_and(|given| secret.is(given.as_bytes()))
}

/// Replaces Accept-Encoding by one of a small closed set, so that variants and backends see few values.
fn normalise_accept_encoding(headers: &mut HeaderMap) -> Accepted {
    if !headers.contains_key(header::ACCEPT_ENCODING) {
        return Accepted::read(headers);
    }
    let accepted = Accepted::read(headers);
    match accepted.normalised() {
        Some(value) => headers.insert(header::ACCEPT_ENCODING, value),
        None => headers.remove(header::ACCEPT_ENCODING),
    };
    accepted
}

/// Field names that the http crate has no constants for.
pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// See [`X_FORWARDED_FOR`].
pub const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// See [`X_FORWARDED_FOR`].
pub const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const CLOUDFRONT_FORWARDED_PROTO: HeaderName = HeaderName::from_static("cloudfront-forwarded-proto");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_path_or_a_url() {
        let settings = GatewaySettings::default();
        for (target, expected) in [
            ("/p?q", Ok(())),
            ("http://t/p", Ok(())),
            ("http://t", Ok(())),
            ("t:80", Err(Reason::BadTarget)),
            ("t", Err(Reason::BadTarget)),
            ("ftp://t/p", Err(Reason::BadTarget)),
            ("//t/p", Err(Reason::BadTarget)),
            ("*", Err(Reason::BadTarget)),
        ] {
            assert_eq!(check_target(&settings, &Method::GET, &target.parse().unwrap()), expected, "{target}");
        }
    }

    #[test]
    fn a_host_is_folded_or_refused() {
        let cases: &[(&str, Result<Option<&str>, Reason>)] = &[
            ("example.com", Ok(None)),
            ("Example.COM", Ok(Some("example.com"))),
            ("example.com.", Ok(Some("example.com"))),
            ("example.com:80", Ok(Some("example.com"))),
            ("example.com:8080", Ok(None)),
            ("example.com:08080", Ok(Some("example.com:8080"))),
            ("[::1]", Ok(None)),
            ("[::1]:80", Ok(Some("[::1]"))),
            ("127.0.0.1:8080", Ok(None)),
            ("", Err(Reason::BadHost)),
            ("a, b", Err(Reason::BadHost)),
            ("a b", Err(Reason::BadHost)),
            ("u@a", Err(Reason::BadHost)),
            ("a/b", Err(Reason::BadHost)),
            ("a#b", Err(Reason::BadHost)),
            ("a?b", Err(Reason::BadHost)),
            ("a:", Err(Reason::BadHost)),
            ("a:99999", Err(Reason::BadHost)),
            ("a:+1", Err(Reason::BadHost)),
            ("[::1", Err(Reason::BadHost)),
            ("[::1]x", Err(Reason::BadHost)),
            ("a\0.b", Err(Reason::BadHost)),
            ("a..b", Err(Reason::BadHost)),
            (".", Err(Reason::BadHost)),
        ];
        for (host, expected) in cases {
            let folded = fold_host(host.as_bytes(), false);
            assert_eq!(folded.as_ref().map(Option::as_deref), expected.as_ref().map(|text| *text), "{host:?}");
        }
    }
}
