//! Host patterns: `api.example.com`, `*.example.com`, either with or without a port.
//!
//! A pattern without a port matches any port, since a port rarely tells sites apart; the cache key holds it anyway.
//! `*.` stands for one or more labels, so `*.example.com` does not match `example.com`. Both kinds live in one hash map:
//! a host is looked up as itself and once per label, however many patterns there are.

use super::problem::Fault;

/// A pattern, read: the host in lower case, or `.example.com` for `*.example.com`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HostPattern(pub(super) Box<str>);

impl HostPattern {
    pub(super) fn parse(text: &str) -> Result<HostPattern, Fault> {
        let lower = text.to_ascii_lowercase();
        if lower.contains("://") || lower.contains('/') {
            return Err(Fault::new(format!("`{text}` is no host")).hint("without scheme and path: `api.example.com`"));
        }
        let (wild, rest) = lower.strip_prefix("*.").map_or((false, &*lower), |rest| (true, rest));
        if rest.contains('*') {
            return Err(Fault::new(format!("`{text}`: a star stands only for the first labels"))
                .hint("`*.example.com`; for any host, leave the list out"));
        }
        let (name, port) = rest.split_at(without_port(rest).len());
        let name = name.strip_suffix('.').unwrap_or(name);
        if name.is_empty() || name.starts_with('.') || !rest.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Fault::new(format!("`{text}` is no host")).hint("write international names as `xn--…`"));
        }
        if port == ":80" || port == ":443" {
            return Err(Fault::new(format!("`{text}`: a default port is dropped before hosts are compared"))
                .hint(format!("write `{name}`")));
        }
        Ok(HostPattern(format!("{}{name}{port}", if wild { "." } else { "" }).into()))
    }

    /// Whether every host of `other` is one of this pattern's, too.
    pub(super) fn covers(&self, other: &HostPattern) -> bool {
        lookups(&other.0).any(|key| key == &*self.0)
    }

    /// Names go before wildcards, longer wildcards before shorter ones, with port before without.
    pub(super) fn precision(&self) -> usize {
        let name = if self.0.starts_with('.') { 0 } else { usize::MAX / 2 };
        name + self.0.len()
    }
}

/// All patterns that would match this host.
pub(super) fn lookups(host: &str) -> impl Iterator<Item = &str> {
    let bare = without_port(host);
    let bare = (bare.len() < host.len()).then_some(bare);
    [Some(host), bare].into_iter().flatten().flat_map(|form| {
        let under = form.match_indices('.').filter_map(|(at, _)| form.get(at..));
        std::iter::once(form).chain(under)
    })
}

/// The host without `:8080`. An IPv6 literal keeps its colons.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) && !unclosed(name) => name,
        _ => host,
    }
}

fn unclosed(name: &str) -> bool {
    name.starts_with('[') && !name.ends_with(']')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, host: &str) -> bool {
        let pattern = HostPattern::parse(pattern).unwrap();
        lookups(host).any(|key| key == &*pattern.0)
    }

    #[test]
    fn a_host_is_matched_by_name_by_wildcard_and_by_port() {
        for (pattern, host, expected) in [
            ("api.example.com", "api.example.com", true),
            ("API.Example.com.", "api.example.com", true),
            ("api.example.com", "api.example.com:8080", true),
            ("api.example.com:8080", "api.example.com:8080", true),
            ("api.example.com:8080", "api.example.com", false),
            ("api.example.com:8080", "api.example.com:9090", false),
            ("*.example.com", "api.example.com", true),
            ("*.example.com", "a.b.example.com", true),
            ("*.example.com", "api.example.com:8080", true),
            ("*.example.com:8080", "api.example.com:8080", true),
            ("*.example.com:8080", "api.example.com", false),
            ("*.example.com", "example.com", false),
            ("*.example.com", "badexample.com", false),
            ("example.com", "api.example.com", false),
            ("[::1]", "[::1]:8080", true),
            ("[::1]", "[::1]", true),
            ("10.0.0.1", "10.0.0.1:81", true),
        ] {
            assert_eq!(matches(pattern, host), expected, "{pattern} {host}");
        }
    }

    #[test]
    fn what_no_host_can_be_is_refused() {
        for pattern in ["", "https://a.example", "a.example/x", "*", "a.*.example", "*.", "a b", "é.example", "a:443"]
        {
            assert!(HostPattern::parse(pattern).is_err(), "{pattern}");
        }
    }
}
