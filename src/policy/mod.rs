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
        let names = settings.routes.iter().map(|route| &route.name).enumerate();
        let twice = names.filter(|(at, name)| settings.routes.iter().take(*at).any(|earlier| &earlier.name == *name));
        let problems: Vec<_> = twice
            .map(|(at, name)| PolicyProblem {
                route: Some(at),
                key: "name",
                message: format!("two routes are called \"{name}\""),
                hint: None,
            })
            .collect();
        if problems.is_empty() { Ok(Policy) } else { Err(problems) }
    }
}
