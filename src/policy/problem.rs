//! What is wrong with a policy, in words for the operator. All problems are reported at once.

use std::fmt;

/// One thing the operator has to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyProblem {
    /// Which of [`PolicySettings::routes`]; `None` for the default route and for what all routes share.
    ///
    /// [`PolicySettings::routes`]: super::PolicySettings::routes
    pub route: Option<usize>,
    /// The key that holds the mistake, dotted inside tables: `path`, `rewrite.replace`.
    pub key: &'static str,
    /// What is wrong.
    pub message: String,
    /// What to write instead, where that can be said.
    pub hint: Option<String>,
}

impl fmt::Display for PolicyProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.message)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, " ({hint})"))
    }
}

/// A mistake in one value, before it is known whose value it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl Fault {
    pub(crate) fn new(message: impl Into<String>) -> Fault {
        Fault { message: message.into(), hint: None }
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> Fault {
        Fault { hint: Some(hint.into()), ..self }
    }
}

/// Collects problems, remembering which route is being read.
#[derive(Debug, Default)]
pub(super) struct Problems {
    route: Option<usize>,
    list: Vec<PolicyProblem>,
}

impl Problems {
    /// From here on, problems belong to this route.
    pub(super) fn at(&mut self, route: Option<usize>) {
        self.route = route;
    }

    pub(super) fn report(&mut self, key: &'static str, fault: Fault) {
        let Fault { message, hint } = fault;
        self.list.push(PolicyProblem { route: self.route, key, message, hint });
    }

    /// Reports if `wrong`.
    pub(super) fn report_if(&mut self, wrong: bool, key: &'static str, message: &str, hint: &str) {
        if wrong {
            self.report(key, Fault::new(message).hint(hint));
        }
    }

    /// The value, or a report and nothing.
    pub(super) fn keep<T>(&mut self, key: &'static str, result: Result<T, Fault>) -> Option<T> {
        result.map_err(|fault| self.report(key, fault)).ok()
    }

    /// `done` if nothing was reported; else the problems in the order of the file.
    pub(super) fn into_result<T>(mut self, done: T) -> Result<T, Vec<PolicyProblem>> {
        if self.list.is_empty() {
            return Ok(done);
        }
        self.list.sort_by_key(|problem| (problem.route.is_none(), problem.route));
        Err(self.list)
    }
}
