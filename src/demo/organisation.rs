//! The organisation's tree, the audit log, and the history of any one thing.

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::json;

use super::Backend;
use super::answer::{Done, Freshness, Problem, View, check_preconditions};
use super::pages::{List, PagingQuery};
use super::world::{AuditEntry, Entity, World};
use crate::telemetry::timestamp;

pub(super) fn routes() -> Router<Backend> {
    Router::new()
        .route("/api/hierarchy/{entityId}", get(entity).put(update_entity))
        .route("/api/audit-logs", get(audit_logs))
        .route("/api/audit-logs/{id}", get(audit_log))
        .route("/api/history/{key}", get(history))
}

async fn entity(State(backend): State<Backend>, Path(id): Path<String>, request: HeaderMap) -> Response {
    backend.read(&request, |world| entity_view(world, &id))
}

/// A computed document: the entity, the line up to the root, its children, and who belongs to it.
fn entity_view(world: &World, id: &str) -> Result<View, Problem> {
    let entity = world.entity(id)?;
    let line = world.line_of(id);
    let children: Vec<&Entity> =
        world.entities.rows.values().filter(|child| child.parent_id.as_deref() == Some(id)).collect();
    let members: Vec<u32> =
        world.users.rows.values().filter(|user| user.department == id).map(|user| user.id).collect();
    let content = json!({
        "id": entity.id,
        "name": entity.name,
        "parentId": entity.parent_id,
        "path": line.iter().rev().map(|entity| &entity.name).collect::<Vec<_>>(),
        "children": children.iter().map(|child| json!({ "id": child.id, "name": child.name })).collect::<Vec<_>>(),
        "members": members,
    });
    let view = View::new(content, Freshness::Hierarchy);
    let parts = line.into_iter().chain(children);
    Ok(parts.fold(view, |view, part| view.made_from(format!("hierarchy:{}", part.id), part.stamp)))
}

/// A PUT leaves what it does not name as it was.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct EntityInput {
    name: Option<String>,
    parent_id: Option<String>,
}

async fn update_entity(
    State(backend): State<Backend>,
    Path(id): Path<String>,
    request: HeaderMap,
    body: Bytes,
) -> Response {
    backend.write("hierarchy.updated", |world, change| {
        check_preconditions(&request, entity_view(world, &id).ok().as_ref())?;
        let mut entity = world.entity(&id)?.clone();
        let input: EntityInput = serde_json::from_slice(&body)?;
        entity.name = input.name.unwrap_or(entity.name);
        if entity.name.len() > 200 {
            return Err(Problem::bad_request("name is longer than 200 bytes"));
        }
        if let Some(parent) = input.parent_id {
            if !world.entities.rows.contains_key(&parent) {
                return Err(Problem::bad_request(format!("there is no entity {parent:?}")));
            }
            if world.line_of(&parent).iter().any(|above| above.id == id) {
                return Err(Problem::new(StatusCode::CONFLICT, "An entity cannot come to stand under itself"));
            }
            entity.parent_id = Some(parent);
        }
        world.save_entity(entity, change);
        Ok(Done::updated(&entity_view(world, &id)?))
    })
}

/// Newest first.
async fn audit_logs(State(backend): State<Backend>, query: PagingQuery, request: HeaderMap) -> Response {
    backend.read(&request, |world| {
        let (total, stamp) = (world.audit.len(), world.audit.back().map(|last| last.stamp).unwrap_or_default());
        List { tag: "audit-logs", stamp, freshness: Freshness::Record, total }.page(
            query,
            world.audit.iter().rev(),
            |entry| ("audit-logs".to_owned(), entry.stamp),
        )
    })
}

async fn audit_log(State(backend): State<Backend>, Path(id): Path<String>, request: HeaderMap) -> Response {
    backend.read(&request, |world| {
        let entry = world.audit.iter().find(|entry| entry.id.to_string() == id);
        let entry = entry.ok_or_else(|| Problem::unknown("audit-log", &id))?;
        Ok(View::new(entry, Freshness::Immutable).made_from(format!("audit-log:{}", entry.id), entry.stamp))
    })
}

/// What the audit log says about one thing, named as in tags: `/api/history/user:1`.
async fn history(State(backend): State<Backend>, Path(key): Path<String>, request: HeaderMap) -> Response {
    backend.read(&request, |world| {
        let entries: Vec<&AuditEntry> = world.audit.iter().filter(|entry| entry.subject == key).collect();
        if entries.is_empty() {
            return Err(Problem::new(StatusCode::NOT_FOUND, "Nothing is known of this key").with("key", json!(key)));
        }
        let changes = entries.iter().map(|entry| {
            let (version, at) = (entry.stamp.version, timestamp(entry.stamp.modified));
            json!({ "id": entry.id, "action": entry.action, "version": version, "at": at })
        });
        let content = json!({ "key": key, "changes": changes.collect::<Vec<_>>() });
        let view = View::new(content, Freshness::Record);
        Ok(entries.iter().fold(view, |view, entry| view.made_from(key.clone(), entry.stamp)))
    })
}
