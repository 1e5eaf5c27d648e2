//! Commands that ask a running gateway, through its admin listener.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value;

use super::{ExplainArgs, Failure, PurgeArgs, Remote, StatArgs, What, block_on, say};
use crate::admin::PurgeOrder;

pub(super) fn purge(args: PurgeArgs) -> Result<(), Failure> {
    let PurgeArgs { remote, what: What { url, tag, prefix, all }, soft, wait } = args;
    let order = PurgeOrder { url, tag, prefix, all, soft, wait };
    let receipt = block_on(async {
        let request = client()?.post(address(&remote, "/v1/purge")).json(&order);
        answer(&remote, request).await
    })??;
    say(format_args!("{}", outcome(&receipt)));
    Ok(())
}

pub(super) fn explain(args: &ExplainArgs, url: &str) -> Result<(), Failure> {
    let remote = Remote { admin: args.run.admin.clone(), token: None };
    let header = args.headers.join("\n");
    let query = [("url", url), ("method", &args.method), ("header", &header), ("ask", "true")];
    let said = block_on(async {
        let request = client()?.get(with_query(&address(&remote, "/v1/explain"), &query)?);
        answer(&remote, request).await
    })??;
    say(format_args!("{}", serde_json::to_string_pretty(&said).map_err(Failure::new)?));
    Ok(())
}

pub(super) fn stat(args: &StatArgs) -> Result<(), Failure> {
    block_on(async {
        loop {
            let request = client()?.get(address(&args.remote, "/v1/stat"));
            let stat = answer(&args.remote, request).await?;
            if args.watch {
                // Clears the screen and goes home.
                print!("\u{1b}[2J\u{1b}[H");
            }
            if args.json {
                say(format_args!("{}", serde_json::to_string_pretty(&stat).map_err(Failure::new)?));
            } else {
                say(format_args!("{}", outline(&stat)));
            }
            if !args.watch {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    })?
}

fn client() -> Result<reqwest::Client, Failure> {
    let builder = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    builder.timeout(Duration::from_secs(30)).build().map_err(Failure::new)
}

fn address(remote: &Remote, path: &str) -> String {
    let address = remote.address();
    if address.contains("://") { format!("{address}{path}") } else { format!("http://{address}{path}") }
}

fn with_query(url: &str, query: &[(&str, &str)]) -> Result<reqwest::Url, Failure> {
    reqwest::Url::parse_with_params(url, query).map_err(Failure::new)
}

async fn answer(remote: &Remote, request: reqwest::RequestBuilder) -> Result<Value, Failure> {
    let request = match remote.token() {
        Some(token) => request.bearer_auth(token),
        None => request,
    };
    let unreachable = |error: reqwest::Error| {
        Failure::new(format!(
            "no gateway answers at {}: {error}\n  hint: `forebay run` prints its admin address; name it with --admin",
            remote.address()
        ))
    };
    let response = request.send().await.map_err(unreachable)?;
    let status = response.status();
    let value: Value = response.json().await.map_err(Failure::new)?;
    if status.is_success() {
        return Ok(value);
    }
    Err(Failure::new(format!("{status}: {}", value["error"].as_str().unwrap_or("refused"))))
}

/// What became of a purge, in one line.
fn outcome(receipt: &Value) -> String {
    if let Some(reason) = receipt["queued"].as_str() {
        return format!("purged on this node only, queued for the others: {reason}");
    }
    let purged =
        format!("purged, change {} of epoch {}", receipt["seq"], receipt["epoch"].as_str().unwrap_or_default());
    if let Some(reason) = receipt["unconfirmed"].as_str() {
        return format!("{purged}; whether all nodes have applied it is not known: {reason}");
    }
    match receipt["laggards"].as_array() {
        Some(nodes) if !nodes.is_empty() => {
            let names: Vec<&str> = nodes.iter().filter_map(Value::as_str).collect();
            format!("{purged}; not applied yet by {}", names.join(", "))
        }
        _ => purged,
    }
}

/// Nested values as indented lines, numbers as they are: enough for eyes and for `grep`.
fn outline(value: &Value) -> String {
    fn walk(value: &Value, depth: usize, out: &mut String) {
        let indent = "  ".repeat(depth);
        let mut each = |name: &str, value: &Value| match value {
            Value::Object(_) | Value::Array(_) => {
                let _ = writeln!(out, "{indent}{name}");
                walk(value, depth + 1, out);
            }
            Value::String(text) => {
                let _ = writeln!(out, "{indent}{name:<24} {text}");
            }
            other => {
                let _ = writeln!(out, "{indent}{name:<24} {other}");
            }
        };
        match value {
            Value::Object(fields) => fields.iter().for_each(|(name, value)| each(name, value)),
            Value::Array(items) => items.iter().for_each(|item| {
                let name = item["name"].as_str().unwrap_or("-").to_owned();
                each(&name, item);
            }),
            _ => {}
        }
    }
    let mut out = String::new();
    walk(value, 0, &mut out);
    out.truncate(out.trim_end().len());
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_stat_is_an_outline() {
        let text = outline(&json!({ "hits": 3, "routes": [{ "name": "users", "hits": 2 }] }));
        let words: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(words, [vec!["hits", "3"], vec!["routes"], vec!["users"], vec!["hits", "2"], vec!["name", "users"]]);
    }
}
