//! Lists, a page at a time: `?page=2&limit=20`.

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::answer::{Freshness, Problem, View};
use super::world::Stamp;

/// What was asked of a list.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Paging {
    page: Option<usize>,
    limit: Option<usize>,
}

/// The query of a request for a list, still to be read.
pub type PagingQuery = Result<Query<Paging>, QueryRejection>;

/// A list: its name as a tag, when its set of members last changed, and how long it may be kept.
#[derive(Clone, Copy, Debug)]
pub struct List {
    pub tag: &'static str,
    pub stamp: Stamp,
    pub freshness: Freshness,
    pub total: usize,
}

/// Members of a page when `limit` is not given.
const DEFAULT_LIMIT: usize = 20;
/// The longest page.
const MAX_LIMIT: usize = 100;

impl List {
    /// The page that was asked for. A page past the end is empty; a page or limit of zero, or a limit above 100, is the
    /// client's mistake. `name` gives a member's tag and stamp: the page is made from the members it shows.
    pub fn page<'a, T: Serialize + 'a>(
        self,
        query: PagingQuery,
        members: impl Iterator<Item = &'a T>,
        name: impl Fn(&T) -> (String, Stamp),
    ) -> Result<View, Problem> {
        let Query(paging) = query?;
        let (page, limit) = (paging.page.unwrap_or(1), paging.limit.unwrap_or(DEFAULT_LIMIT));
        if page == 0 || !(1..=MAX_LIMIT).contains(&limit) {
            return Err(Problem::bad_request(format!("page counts from 1, limit is 1 to {MAX_LIMIT}")));
        }
        let shown: Vec<&T> = members.skip((page - 1).saturating_mul(limit)).take(limit).collect();
        let content = json!({ "items": shown, "page": page, "limit": limit, "total": self.total });
        let view = View::new(content, self.freshness).made_from(self.tag, self.stamp);
        Ok(shown.into_iter().map(name).fold(view, |view, (tag, stamp)| view.made_from(tag, stamp)))
    }
}
