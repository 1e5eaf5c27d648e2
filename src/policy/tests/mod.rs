//! The policy as the rest of the house uses it: compile, route, key.

mod compiling;
mod keys;
mod routing;
mod rules;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{Policy, PolicySettings, RouteSettings};

/// A policy of these routes.
fn policy(routes: Vec<RouteSettings>) -> Policy {
    compile(PolicySettings { routes, ..PolicySettings::default() })
}

/// A policy whose default route is this one.
fn only(route: RouteSettings) -> Policy {
    let default_route = RouteSettings { name: "default".to_owned(), ..route };
    compile(PolicySettings { default_route, ..PolicySettings::default() })
}

fn compile(settings: PolicySettings) -> Policy {
    Policy::compile(settings).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|one| (*one).to_owned()).collect()
}

/// Header fields from `name: value` lines.
fn fields(lines: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap();
        headers.append(HeaderName::try_from(name).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    headers
}

/// A route in one line: `name | /path | host=a,b | method=GET | header=x=1 | priority=1`, all but the name optional.
fn route(line: &str) -> RouteSettings {
    use super::{HeaderMatch, HeaderTest};
    let mut route = RouteSettings::default();
    for part in line.split('|').map(str::trim) {
        match part.split_once('=') {
            _ if part.starts_with('/') => route.path = Some(part.to_owned()),
            Some(("host", hosts)) => route.hosts = hosts.split(',').map(str::to_owned).collect(),
            Some(("method", methods)) => {
                route.methods = methods.split(',').map(|method| method.parse().unwrap()).collect();
            }
            Some(("priority", priority)) => route.priority = priority.parse().unwrap(),
            Some(("header", test)) => {
                let (name, value) = match test.split_once('=') {
                    None => (test, HeaderTest::Present),
                    Some((name, value)) => match value.strip_suffix('*') {
                        Some(prefix) => (name, HeaderTest::Prefix(prefix.to_owned())),
                        None => (name, HeaderTest::Exact(value.to_owned())),
                    },
                };
                route.headers.push(HeaderMatch { name: name.parse().unwrap(), value });
            }
            _ => route.name = part.to_owned(),
        }
    }
    route
}
