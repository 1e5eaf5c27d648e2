//! What the operator wants.

mod settings;

pub use settings::{
    Compress, HeaderEdits, HeaderMatch, HeaderTest, KeySettings, PolicySettings, RateLimit, Rewrite, RouteSettings,
    Strict,
};

/// The compiled rules.
#[derive(Debug)]
pub struct Policy;

/// What is wrong with the routes.
#[derive(Clone, Debug)]
pub struct PolicyProblem {
    /// Index into `PolicySettings::routes`; `None`: the default route or a setting of all.
    pub route: Option<usize>,
    /// The key of the route.
    pub key: &'static str,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Policy {
    /// Compiles the settings.
    pub fn compile(settings: PolicySettings) -> Result<Policy, Vec<PolicyProblem>> {
        let mut problems = Vec::new();
        let mut report = |route, key, message, hint: Option<&str>| {
            problems.push(PolicyProblem { route, key, message, hint: hint.map(str::to_owned) });
        };
        for (at, route) in settings.routes.iter().enumerate() {
            if let Some(first) = settings.routes.iter().take(at).position(|earlier| earlier.name == route.name) {
                let message = format!("`{}` is already the name of route {}", route.name, first + 1);
                report(Some(at), "name", message, None);
            }
        }
        let all = settings.routes.iter().enumerate().map(|(at, route)| (Some(at), route));
        for (at, route) in all.chain([(None, &settings.default_route)]) {
            if route.terms.min_ttl.zip(route.terms.max_ttl).is_some_and(|(min, max)| min > max) {
                report(at, "min_ttl", "`min_ttl` is above `max_ttl`".to_owned(), Some("swap them"));
            }
        }
        if problems.is_empty() { Ok(Policy) } else { Err(problems) }
    }
}
