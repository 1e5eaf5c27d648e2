//! `POST /v1/purge`.

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, Uri};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Admin;
use crate::changes::{BusError, Change, Everywhere, Published, Purge, Receipt, Selector, Source};
use crate::fleet::FleetError;
use crate::policy::{Policy, Target};
use crate::serve::Gateway;
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

/// The answer. The purge is effective on this node in any case; with status 200 it is in the log, and with `wait: "fleet"`
/// it is effective on all nodes. With 202 the rest is still to come, and the answer says what.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct PurgeReceipt {
    /// The change's number in the ledger; absent while it is queued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// The life of the ledger in which it was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<String>,
    /// Why it is not in the log yet. It is appended when the log is back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued: Option<String>,
    /// Nodes that have not applied it. One that is cut off asks the backend once its lease has run out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub laggards: Vec<String>,
    /// Why it is not known which nodes have applied it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unconfirmed: Option<String>,
}

impl PurgeReceipt {
    fn logged(receipt: Receipt) -> Self {
        Self { seq: Some(receipt.number), epoch: Some(receipt.epoch.to_string()), ..Self::default() }
    }

    fn queued(error: &FleetError) -> Self {
        Self { queued: Some(error.to_string()), ..Self::default() }
    }
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
    let published = if order.wait.as_deref() == Some("fleet") {
        everywhere(gateway, &changes).await
    } else {
        here(gateway, &changes).await
    };
    match published {
        Ok((status, receipt)) => (status, Json(receipt)).into_response(),
        Err(error) => refuse(StatusCode::BAD_REQUEST, &error.to_string()),
    }
}

async fn here(gateway: &Gateway, changes: &[Change]) -> Result<(StatusCode, PurgeReceipt), BusError> {
    Ok(match gateway.bus().publish(changes, gateway.clock().now()).await? {
        Published::Logged(receipt) => (StatusCode::OK, PurgeReceipt::logged(receipt)),
        Published::Queued(error) => (StatusCode::ACCEPTED, PurgeReceipt::queued(&error)),
    })
}

async fn everywhere(gateway: &Gateway, changes: &[Change]) -> Result<(StatusCode, PurgeReceipt), BusError> {
    let bus = gateway.bus();
    // A lease runs out within Δ, and the margin is a tenth of that; the rest is for a log that has just begun anew.
    let patience = bus.settings().delta * 3;
    Ok(match bus.publish_everywhere(changes, gateway.clock(), patience).await? {
        Everywhere::Applied(receipt) => (StatusCode::OK, PurgeReceipt::logged(receipt)),
        Everywhere::Lagging(receipt, laggards) => {
            (StatusCode::ACCEPTED, PurgeReceipt { laggards, ..PurgeReceipt::logged(receipt) })
        }
        Everywhere::Unconfirmed(receipt, error) => {
            let unconfirmed = Some(error.to_string());
            (StatusCode::ACCEPTED, PurgeReceipt { unconfirmed, ..PurgeReceipt::logged(receipt) })
        }
        Everywhere::Queued(error) => (StatusCode::ACCEPTED, PurgeReceipt::queued(&error)),
    })
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
