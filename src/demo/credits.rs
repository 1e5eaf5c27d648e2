//! What operations cost, who can afford them, and the one that is really carried out.

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use axum::routing::{get, post};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Backend;
use super::answer::{Done, Freshness, Problem, View, check_preconditions, is_name};
use super::pages::{List, PagingQuery};
use super::world::{CreditConfig, Credits, admit};

pub(super) fn routes() -> Router<Backend> {
    Router::new()
        .route("/api/credit-configs", get(configs))
        .route("/api/credit-configs/{operationCode}", get(config).put(put_config).delete(delete_config))
        .route("/api/credits/validate", get(validate))
        .route("/api/operations/lead-create", post(create_lead))
}

/// What the one operation is called among the credit configurations.
const LEAD_CREATE: &str = "crm.leads.create";

async fn configs(State(backend): State<Backend>, query: PagingQuery, request: HeaderMap) -> Response {
    backend.read(&request, |world| {
        let table = &world.configs;
        let total = table.rows.len();
        List { tag: "credit-configs", stamp: table.stamp, freshness: Freshness::Critical, total }.page(
            query,
            table.rows.values(),
            |config| (tag(&config.operation_code), config.stamp),
        )
    })
}

async fn config(State(backend): State<Backend>, Path(code): Path<String>, request: HeaderMap) -> Response {
    backend.read(&request, |world| Ok(config_view(world.config(&code)?)))
}

fn config_view(config: &CreditConfig) -> View {
    View::new(config, Freshness::Critical).made_from(tag(&config.operation_code), config.stamp)
}

fn tag(operation_code: &str) -> String {
    format!("credit-config:{operation_code}")
}

/// A PUT leaves what it does not name as it was.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ConfigInput {
    credit_cost: Option<f64>,
    active: Option<bool>,
}

/// Alters an operation's configuration, or makes one; a new one needs a cost.
async fn put_config(
    State(backend): State<Backend>,
    Path(code): Path<String>,
    request: HeaderMap,
    body: Bytes,
) -> Response {
    backend.write("credit-config.updated", |world, change| {
        let before = world.config(&code).ok().cloned();
        check_preconditions(&request, before.as_ref().map(config_view).as_ref())?;
        let input: ConfigInput = serde_json::from_slice(&body)?;
        if before.is_none() {
            admit(&world.configs)?;
        }
        let credit_cost = match (input.credit_cost, &before) {
            (Some(cost), _) => Credits::from_decimal(cost),
            (None, Some(before)) => Some(before.credit_cost),
            (None, None) => None,
        };
        let credit_cost =
            credit_cost.ok_or_else(|| Problem::bad_request("creditCost is a number from 0 to 1000000"))?;
        if !is_name(&code) {
            return Err(Problem::bad_request("an operation code is made of letters, digits, . _ -"));
        }
        let active = input.active.or(before.as_ref().map(|before| before.active)).unwrap_or(true);
        let config = CreditConfig { operation_code: code.clone(), credit_cost, active, stamp: change.stamp };
        let view = config_view(&config);
        world.save_config(config, change);
        let place = format!("/api/credit-configs/{code}");
        Ok(if before.is_some() { Done::updated(&view) } else { Done::created(&view, place) })
    })
}

async fn delete_config(State(backend): State<Backend>, Path(code): Path<String>, request: HeaderMap) -> Response {
    backend.write("credit-config.deleted", |world, change| {
        check_preconditions(&request, world.config(&code).ok().map(config_view).as_ref())?;
        world.config(&code)?;
        world.remove_config(&code, change);
        Ok(Done::deleted())
    })
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ValidateQuery {
    operation: String,
    user_id: String,
}

/// A computed document: it changes with the price and with the user.
async fn validate(
    State(backend): State<Backend>,
    query: Result<Query<ValidateQuery>, QueryRejection>,
    request: HeaderMap,
) -> Response {
    backend.read(&request, |world| {
        let Query(asked) = query?;
        let config = world.config(&asked.operation)?;
        let user = world.user(&asked.user_id)?;
        let content = json!({
            "operation": config.operation_code,
            "userId": user.id,
            "creditCost": config.credit_cost,
            "availableCredits": user.credits,
            "canAfford": config.active && user.credits >= config.credit_cost,
        });
        Ok(View::new(content, Freshness::Critical)
            .made_from(tag(&config.operation_code), config.stamp)
            .made_from(format!("user:{}", user.id), user.stamp))
    })
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct LeadInput {
    /// A number, or the same as a string.
    user_id: Value,
    #[serde(default)]
    lead_data: Value,
}

/// Makes a lead (which nobody keeps) and takes its price from the user's credits.
async fn create_lead(State(backend): State<Backend>, body: Bytes) -> Response {
    backend.write("lead.created", |world, change| {
        let input: LeadInput = serde_json::from_slice(&body)?;
        let config = world.config(LEAD_CREATE)?;
        if !config.active {
            return Err(Problem { tag: None, ..Problem::unknown("credit-config", LEAD_CREATE) });
        }
        let cost = config.credit_cost;
        let id = input.user_id.as_str().map_or_else(|| input.user_id.to_string(), str::to_owned);
        let mut user = world.user(&id)?.clone();
        if user.credits < cost {
            return Err(Problem::new(StatusCode::PAYMENT_REQUIRED, "Insufficient credits")
                .with("creditCost", json!(cost))
                .with("availableCredits", json!(user.credits)));
        }
        user.credits = Credits(user.credits.0 - cost.0);
        let left = user.credits;
        world.save_user(user, change);
        Ok(Done::said(json!({
            "success": true,
            "leadId": format!("lead-{}", change.stamp.version),
            "leadData": input.lead_data,
            "creditCost": cost,
            "availableCredits": left,
            "version": change.stamp.version,
        })))
    })
}
