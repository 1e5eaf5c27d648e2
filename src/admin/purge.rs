//! `POST /v1/purge`.

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, Uri};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Admin;
use crate::changes::{Change, Purge, Selector, Source};
use crate::policy::{Policy, Target};
use crate::serve::admit::fold_host;

/// What is to be purged: exactly one of the four.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PurgeOrder {
    /// A URL with all its variants: `/api/users/1?full=1` on every host, or `https://host/api/users/1` on one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Everything that carries this tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Everything below this path, in whole segments; on one host if it is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Everything.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
    /// Soft: what is stored counts as stale instead of gone, and is refreshed behind the next reader.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub soft: bool,
    /// `fleet`: answer once every node has applied it. A gateway that runs alone is its fleet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait: Option<String>,
}

/// The answer: the purge is effective on this node.
#[derive(Debug, Deserialize, Serialize)]
pub struct PurgeReceipt {
    /// The change's number in the ledger.
    pub seq: u64,
    /// The life of the ledger in which it was given.
    pub epoch: String,
}

pub(super) async fn purge(State(admin): State<Admin>, order: Result<Json<PurgeOrder>, JsonRejection>) -> Response {
    let order = match order {
        Ok(Json(order)) => order,
        Err(rejection) => return refuse(rejection.status(), &rejection.body_text()),
    };
    let gateway = &admin.gateway;
    let changes = match changes(&order, &gateway.policy()) {
        Ok(changes) => changes,
        Err(problem) => return refuse(StatusCode::BAD_REQUEST, &problem),
    };
    match gateway.bus().publish(&changes, gateway.clock().now()).await {
        Ok(receipt) => Json(PurgeReceipt { seq: receipt.number, epoch: receipt.epoch.to_string() }).into_response(),
        Err(error) => refuse(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
    }
}

fn refuse(status: StatusCode, problem: &str) -> Response {
    (status, Json(json!({ "error": problem }))).into_response()
}

/// The changes that an order amounts to.
fn changes(order: &PurgeOrder, policy: &Policy) -> Result<Vec<Change>, String> {
    let PurgeOrder { url, tag, prefix, all, soft, wait } = order;
    if wait.as_deref().is_some_and(|wait| wait != "fleet" && wait != "node") {
        return Err(String::from("`wait` is \"fleet\" or \"node\""));
    }
    let selectors = match (url, tag, prefix, all) {
        (Some(url), None, None, false) => url_selectors(url, policy)?,
        (None, Some(tag), None, false) if !tag.trim().is_empty() => vec![Selector::Tag(tag.trim().to_owned())],
        (None, None, Some(prefix), false) => {
            let (host, path) = locate(prefix)?;
            vec![Selector::Prefix { host, prefix: path.split(['?', '#']).next().unwrap_or("/").to_owned() }]
        }
        (None, None, None, true) => vec![Selector::All],
        _ => return Err(String::from("name exactly one of `url`, `tag`, `prefix`, or `all`: true")),
    };
    let purge = if *soft { Purge::Soft } else { Purge::Hard };
    Ok(selectors.into_iter().map(|selector| Change::new(selector, purge, Source::Api)).collect())
}

/// The URL in every form in which a route may forward it: an ignored parameter is not part of what is stored.
fn url_selectors(url: &str, policy: &Policy) -> Result<Vec<Selector>, String> {
    let (host, path_and_query) = locate(url)?;
    let target = Target::new(false, host.as_deref().unwrap_or_default(), &path_and_query);
    let forms = policy.forwarded_forms(&target).into_iter();
    Ok(forms.map(|path_and_query| Selector::Url { host: host.clone(), path_and_query }).collect())
}

/// Splits what the operator named into host, where one is named, and path with query. A fragment is no part of it.
fn locate(text: &str) -> Result<(Option<String>, String), String> {
    let text = text.split('#').next().unwrap_or_default();
    let problem = || format!("`{text}` is neither a path (`/api/users/1`) nor a URL (`https://host/api/users/1`)");
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(problem() + "; write other characters percent-encoded, as clients send them");
    }
    if text.starts_with('/') && !text.starts_with("//") {
        return Ok((None, text.to_owned()));
    }
    let uri: Uri = text.parse().map_err(|_| problem())?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return Err(problem()) };
    let host = authority.as_str().as_bytes();
    let folded = fold_host(host, scheme == "https").map_err(|_| problem())?;
    let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    Ok((Some(folded.unwrap_or_else(|| authority.to_string())), path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_path_or_a_url() {
        type Located = Result<(Option<&'static str>, &'static str), ()>;
        let cases: &[(&str, Located)] = &[
            ("/a?b=1", Ok((None, "/a?b=1"))),
            ("https://Example.com:443/a", Ok((Some("example.com"), "/a"))),
            ("http://example.com", Ok((Some("example.com"), "/"))),
            ("/a#b", Ok((None, "/a"))),
            ("example.com/a", Err(())),
            ("/a b", Err(())),
            ("/ä", Err(())),
            ("//evil/a", Err(())),
            ("", Err(())),
        ];
        for (text, expected) in cases {
            let located = locate(text);
            match (&located, expected) {
                (Ok((host, path)), Ok((wanted_host, wanted_path))) => {
                    assert_eq!((host.as_deref(), path.as_str()), (*wanted_host, *wanted_path), "{text}");
                }
                (Err(_), Err(())) => {}
                _ => panic!("{text}: {located:?}"),
            }
        }
    }
}
