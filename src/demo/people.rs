//! Users, their profiles and sessions, roles, and who may do what.

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{ACCEPT_LANGUAGE, CACHE_CONTROL, SET_COOKIE};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::json;

use super::Backend;
use super::answer::{Done, Freshness, Problem, View, check_preconditions, is_name, json_response, put};
use super::pages::{List, PagingQuery};
use super::sample::STATUSES;
use super::world::{Credits, Role, User, World, admit};

pub(super) fn routes() -> Router<Backend> {
    Router::new()
        .route("/api/users", get(users).post(create_user))
        .route("/api/users/{id}", get(user).put(update_user).delete(delete_user))
        .route("/api/users/{id}/profile", get(profile))
        .route("/api/users/{id}/session", get(session))
        .route("/api/roles", get(roles))
        .route("/api/roles/{id}", get(role).put(put_role).delete(delete_role))
        .route("/api/permissions/check", get(check_permission))
}

async fn users(State(backend): State<Backend>, query: PagingQuery, request: HeaderMap) -> Response {
    backend.read(&request, |world| {
        let table = &world.users;
        let total = table.rows.len();
        List { tag: "users", stamp: table.stamp, freshness: Freshness::Critical, total }.page(
            query,
            table.rows.values(),
            |user| (format!("user:{}", user.id), user.stamp),
        )
    })
}

async fn user(State(backend): State<Backend>, Path(id): Path<String>, request: HeaderMap) -> Response {
    backend.read(&request, |world| Ok(user_view(world.user(&id)?)))
}

fn user_view(user: &User) -> View {
    View::new(user, Freshness::Critical).made_from(format!("user:{}", user.id), user.stamp)
}

/// What may be said of a user in a write. A PUT leaves what it does not name as it was.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct UserInput {
    name: Option<String>,
    email: Option<String>,
    title: Option<String>,
    department: Option<String>,
    roles: Option<Vec<String>>,
    status: Option<String>,
    credits: Option<f64>,
}

impl UserInput {
    /// The user with what the input says, if all of it makes sense in this world.
    fn apply(self, user: &mut User, world: &World) -> Result<(), Problem> {
        user.name = self.name.unwrap_or_else(|| user.name.clone());
        user.email = self.email.unwrap_or_else(|| user.email.clone());
        user.title = self.title.unwrap_or_else(|| user.title.clone());
        user.department = self.department.unwrap_or_else(|| user.department.clone());
        user.roles = self.roles.unwrap_or_else(|| user.roles.clone());
        user.status = self.status.unwrap_or_else(|| user.status.clone());
        if let Some(credits) = self.credits {
            user.credits = Credits::from_decimal(credits)
                .ok_or_else(|| Problem::bad_request("credits are a number from 0 to 1000000"))?;
        }
        if let Some((field, _)) = [("name", &user.name), ("email", &user.email), ("title", &user.title)]
            .into_iter()
            .find(|(_, text)| text.len() > 200)
        {
            return Err(Problem::bad_request(format!("{field} is longer than 200 bytes")));
        }
        if !world.entities.rows.contains_key(&user.department) {
            return Err(Problem::bad_request(format!("there is no department {:?}", user.department)));
        }
        if let Some(role) = user.roles.iter().find(|role| !world.roles.rows.contains_key(*role)) {
            return Err(Problem::bad_request(format!("there is no role {role:?}")));
        }
        if !STATUSES.contains(&user.status.as_str()) {
            return Err(Problem::bad_request(format!("a status is one of {}", STATUSES.join(", "))));
        }
        user.roles.sort();
        user.roles.dedup();
        Ok(())
    }
}

async fn create_user(State(backend): State<Backend>, body: Bytes) -> Response {
    backend.write("user.created", |world, change| {
        let input: UserInput = serde_json::from_slice(&body)?;
        if input.name.is_none() {
            return Err(Problem::bad_request("a user needs a name"));
        }
        let mut user = User {
            id: 0,
            name: String::new(),
            email: String::new(),
            title: String::new(),
            department: "acme".to_owned(),
            roles: Vec::new(),
            status: "invited".to_owned(),
            credits: Credits(0),
            stamp: change.stamp,
        };
        input.apply(&mut user, world)?;
        user.id = world.new_user_id()?;
        world.save_user(user.clone(), change);
        Ok(Done::created(&user_view(&user), format!("/api/users/{}", user.id)))
    })
}

async fn update_user(
    State(backend): State<Backend>,
    Path(id): Path<String>,
    request: HeaderMap,
    body: Bytes,
) -> Response {
    backend.write("user.updated", |world, change| {
        check_preconditions(&request, world.user(&id).ok().map(user_view).as_ref())?;
        let mut user = world.user(&id)?.clone();
        let input: UserInput = serde_json::from_slice(&body)?;
        input.apply(&mut user, world)?;
        world.save_user(user, change);
        Ok(Done::updated(&user_view(world.user(&id)?)))
    })
}

async fn delete_user(State(backend): State<Backend>, Path(id): Path<String>, request: HeaderMap) -> Response {
    backend.write("user.deleted", |world, change| {
        check_preconditions(&request, world.user(&id).ok().map(user_view).as_ref())?;
        let id = world.user(&id)?.id;
        world.remove_user(id, change);
        Ok(Done::deleted())
    })
}

/// The greetings on a profile, the default first.
const GREETINGS: [(&str, &str); 4] = [("en", "Hello"), ("de", "Hallo"), ("fr", "Bonjour"), ("sv", "Hej")];

async fn profile(State(backend): State<Backend>, Path(id): Path<String>, request: HeaderMap) -> Response {
    backend.read(&request, |world| {
        let user = world.user(&id)?;
        let (language, greeting) = preferred_greeting(&request);
        let department = world.entity(&user.department)?;
        let content = json!({
            "id": user.id,
            "name": user.name,
            "title": user.title,
            "department": department.name,
            "greeting": format!("{greeting}, {}!", user.name),
        });
        Ok(View::new(content, Freshness::Profile)
            .made_from(format!("user:{}", user.id), user.stamp)
            .made_from(format!("hierarchy:{}", department.id), department.stamp)
            .in_language(language))
    })
}

/// The greeting whose language the client weighs highest ([RFC 9110 §12.5.4]); of equals the one named first.
///
/// [RFC 9110 §12.5.4]: https://www.rfc-editor.org/rfc/rfc9110.html#section-12.5.4
fn preferred_greeting(request: &HeaderMap) -> (&'static str, &'static str) {
    let mut best = (0.0, GREETINGS[0]);
    let asked = request.get_all(ACCEPT_LANGUAGE).iter().filter_map(|value| value.to_str().ok());
    for range in asked.flat_map(|list| list.split(',')) {
        let (range, weight) = range.split_once(";q=").unwrap_or((range, "1"));
        let primary = range.trim().split('-').next().unwrap_or_default();
        let weight: f32 = weight.trim().parse().unwrap_or(0.0);
        let known = GREETINGS.iter().find(|(language, _)| language.eq_ignore_ascii_case(primary));
        if let Some(greeting) = known
            && weight > best.0
        {
            best = (weight, *greeting);
        }
    }
    best.1
}

/// Private by its nature: a token in a cookie, another one each time.
async fn session(State(backend): State<Backend>, Path(id): Path<String>) -> Response {
    let user = backend.lock().user(&id).map(|user| user.id);
    let id = match user {
        Ok(id) => id,
        Err(problem) => return problem.into_response(),
    };
    let token = format!("{:016x}", backend.traffic().draw());
    let mut response = json_response(StatusCode::OK, json!({ "userId": id, "session": token }).to_string());
    let headers = response.headers_mut();
    put(headers, CACHE_CONTROL, "private, no-store");
    put(headers, SET_COOKIE, format!("session={token}; Path=/; HttpOnly; SameSite=Lax"));
    response
}

async fn roles(State(backend): State<Backend>, query: PagingQuery, request: HeaderMap) -> Response {
    backend.read(&request, |world| {
        let table = &world.roles;
        let total = table.rows.len();
        List { tag: "roles", stamp: table.stamp, freshness: Freshness::Critical, total }.page(
            query,
            table.rows.values(),
            |role| (format!("role:{}", role.id), role.stamp),
        )
    })
}

async fn role(State(backend): State<Backend>, Path(id): Path<String>, request: HeaderMap) -> Response {
    backend.read(&request, |world| Ok(role_view(world.role(&id)?)))
}

fn role_view(role: &Role) -> View {
    View::new(role, Freshness::Critical).made_from(format!("role:{}", role.id), role.stamp)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RoleInput {
    name: Option<String>,
    permissions: Option<Vec<String>>,
}

/// Alters a role, or makes one of this name.
async fn put_role(State(backend): State<Backend>, Path(id): Path<String>, request: HeaderMap, body: Bytes) -> Response {
    backend.write("role.updated", |world, change| {
        let before = world.role(&id).ok().cloned();
        check_preconditions(&request, before.as_ref().map(role_view).as_ref())?;
        let input: RoleInput = serde_json::from_slice(&body)?;
        if before.is_none() {
            admit(&world.roles)?;
        }
        let permissions = input.permissions.or_else(|| before.as_ref().map(|role| role.permissions.clone()));
        let permissions = permissions.unwrap_or_default();
        let name = input.name.or_else(|| before.as_ref().map(|role| role.name.clone())).unwrap_or_else(|| id.clone());
        if !is_name(&id) || name.len() > 200 || permissions.len() > 100 {
            return Err(Problem::bad_request(
                "a role has an id of letters, digits, . _ -, and at most 100 permissions",
            ));
        }
        if let Some(permission) = permissions.iter().find(|permission| *permission != "*" && !is_name(permission)) {
            return Err(Problem::bad_request(format!("{permission:?} is no permission")));
        }
        world.save_role(Role { id: id.clone(), name, permissions, stamp: change.stamp }, change);
        let view = role_view(world.role(&id)?);
        Ok(if before.is_some() { Done::updated(&view) } else { Done::created(&view, format!("/api/roles/{id}")) })
    })
}

async fn delete_role(State(backend): State<Backend>, Path(id): Path<String>, request: HeaderMap) -> Response {
    backend.write("role.deleted", |world, change| {
        check_preconditions(&request, world.role(&id).ok().map(role_view).as_ref())?;
        world.role(&id)?;
        world.remove_role(&id, change);
        Ok(Done::deleted())
    })
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PermissionQuery {
    user_id: String,
    permission: String,
}

/// A computed document: it changes with the user and with each of the user's roles. `*` permits everything; a
/// suspended user may do nothing.
async fn check_permission(
    State(backend): State<Backend>,
    query: Result<Query<PermissionQuery>, QueryRejection>,
    request: HeaderMap,
) -> Response {
    backend.read(&request, |world| {
        let Query(asked) = query?;
        let user = world.user(&asked.user_id)?;
        let roles: Vec<&Role> = user.roles.iter().filter_map(|id| world.role(id).ok()).collect();
        let granted = roles.iter().flat_map(|role| &role.permissions).any(|one| one == "*" || *one == asked.permission);
        let content = json!({
            "userId": user.id,
            "permission": asked.permission,
            "authorized": granted && user.status == "active",
            "roles": user.roles,
        });
        let view = View::new(content, Freshness::Critical).made_from(format!("user:{}", user.id), user.stamp);
        Ok(roles.into_iter().fold(view, |view, role| view.made_from(format!("role:{}", role.id), role.stamp)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heaviest_known_language_is_spoken() {
        for (asked, expected) in [
            ("", "en"),
            ("de", "de"),
            ("DE-at", "de"),
            ("ja, fr;q=0.5, de;q=0.8", "de"),
            ("fr, de", "fr"),
            ("de;q=0", "en"),
            ("de;q=x", "en"),
            ("*", "en"),
            ("ja", "en"),
        ] {
            let mut request = HeaderMap::new();
            put(&mut request, ACCEPT_LANGUAGE, asked);
            assert_eq!(preferred_greeting(&request).0, expected, "{asked}");
        }
    }
}
