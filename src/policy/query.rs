//! Which parameters of a query count. What is left out of the key is left out of what the backend sees, too: a
//! parameter that the backend reads and the key ignores is how caches are poisoned.
//!
//! Parameters are split at `&` alone and compared as received. `%75tm_source` is not `utm_source`: it stays, in the
//! key and in the URL, which costs a second entry and never a wrong answer.

use foldhash::HashSet;
use smallvec::SmallVec;

use super::glob::Names;
use super::percent::decode_into;
use super::settings::KeySettings;

/// The rule's recipe for queries.
#[derive(Clone, Debug, Default)]
pub(super) struct QueryRecipe {
    ignore: Names,
    only: Option<Names>,
    sort: bool,
}

/// What became of a query.
#[allow(
    clippy::large_enum_variant,
    reason = "lives on the stack for one call; a box would be an allocation per request"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Query<'q> {
    /// Byte for byte as it was.
    Unchanged,
    /// Nothing is left; the question mark goes, too.
    Gone,
    /// These parameters, in this order.
    Changed(SmallVec<[&'q str; 16]>),
}

impl QueryRecipe {
    pub(super) fn new(key: &KeySettings) -> QueryRecipe {
        QueryRecipe {
            ignore: Names::new(&key.ignore_query),
            only: key.only_query.as_ref().map(Names::new),
            sort: key.sort_query,
        }
    }

    /// Whether a parameter of this name reaches key and backend.
    pub(super) fn keeps(&self, name: &str) -> bool {
        !self.ignore.contains(name) && self.only.as_ref().is_none_or(|only| only.contains(name))
    }

    pub(super) fn apply<'q>(&self, query: &'q str) -> Query<'q> {
        if self.ignore.is_empty() && self.only.is_none() && !self.sort {
            return Query::Unchanged;
        }
        let all = query.split('&');
        let mut kept: SmallVec<[&str; 16]> = all.clone().filter(|one| self.keeps(name_of(one))).collect();
        if self.sort {
            // Stable: `a=1&a=2` and `a=2&a=1` may mean different things.
            kept.sort_by_key(|parameter| name_of(parameter));
        }
        if kept.is_empty() {
            Query::Gone
        } else if kept.iter().copied().eq(all) {
            Query::Unchanged
        } else {
            Query::Changed(kept)
        }
    }
}

/// The raw value of the first parameter whose decoded name is this.
pub(super) fn value_of<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    let found = query.split('&').find(|parameter| super::percent::decode(name_of(parameter)) == name)?;
    Some(found.split_once('=').map_or("", |(_, value)| value))
}

fn name_of(parameter: &str) -> &str {
    parameter.split_once('=').map_or(parameter, |(name, _)| name)
}

/// Names of parameters that carry a signature or a token.
///
/// Here a parameter also ends at `;`, and its name is decoded and its case folded: what some backend reads as a token
/// counts as one. A mistake in this direction costs a backend request.
#[derive(Clone, Debug, Default)]
pub(super) struct Sensitive {
    names: HashSet<Box<[u8]>>,
}

impl Sensitive {
    pub(super) fn new(names: &[String]) -> Sensitive {
        Sensitive { names: names.iter().map(|name| name.to_ascii_lowercase().into_bytes().into()).collect() }
    }

    /// Whether the raw query carries one of the names. Linear; allocates only for a name longer than 64 bytes.
    pub(super) fn is_in(&self, query: &str) -> bool {
        !self.names.is_empty() && query.split(['&', ';', '?']).any(|one| self.names.contains(&*folded(name_of(one))))
    }
}

fn folded(name: &str) -> SmallVec<[u8; 64]> {
    let mut folded = SmallVec::new();
    decode_into(name.as_bytes(), |byte| folded.push(byte.to_ascii_lowercase()));
    folded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(recipe: &KeySettings, rows: &[(&str, &str)]) {
        let recipe = QueryRecipe::new(recipe);
        for (query, expected) in rows {
            let outcome = match recipe.apply(query) {
                Query::Unchanged => "=".to_owned(),
                Query::Gone => "-".to_owned(),
                Query::Changed(parameters) => parameters.join("&"),
            };
            assert_eq!(outcome, *expected, "{query}");
        }
    }

    fn strings(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn ignored_parameters_are_left_out_whole() {
        let recipe = KeySettings { ignore_query: strings(&["utm_*", "fbclid"]), ..KeySettings::default() };
        check(
            &recipe,
            &[
                ("a=1&b=2", "="),
                ("a=1&utm_source=x&b=2", "a=1&b=2"),
                ("utm_source=x", "-"),
                ("utm_a&fbclid=", "-"),
                ("fbclid=1&a=1&fbclid=2", "a=1"),
                // What hides behind a `;` goes with the parameter it hides in.
                ("a=1&utm_content=x;a=evil", "a=1"),
                ("%75tm_source=x", "="),
                ("UTM_source=x", "="),
                ("a=1?utm_source=x", "="),
                ("&&a=1", "="),
                ("", "="),
                ("utm_=&", ""),
            ],
        );
    }

    #[test]
    fn only_the_listed_parameters_stay() {
        let recipe = KeySettings {
            only_query: Some(strings(&["id", "p*"])),
            ignore_query: strings(&["pz"]),
            ..KeySettings::default()
        };
        check(
            &recipe,
            &[
                ("id=1", "="),
                ("x=1&id=2", "id=2"),
                ("id=1&id=2", "="),
                ("page=1&pz=3", "page=1"),
                ("x", "-"),
                ("", "-"),
                ("%69d=1", "-"),
                ("id[]=1", "-"),
            ],
        );
        let none = KeySettings { only_query: Some(Vec::new()), ..KeySettings::default() };
        check(&none, &[("a=1", "-")]);
    }

    #[test]
    fn sorting_goes_by_name_and_keeps_repeated_ones_in_order() {
        let recipe = KeySettings { sort_query: true, ..KeySettings::default() };
        check(
            &recipe,
            &[
                ("a=1&b=2", "="),
                ("b=2&a=1", "a=1&b=2"),
                ("b=1&a=2&b=0&a=1", "a=2&a=1&b=1&b=0"),
                ("b&a=", "a=&b"),
                ("", "="),
            ],
        );
    }

    #[test]
    fn signatures_are_found_in_any_spelling() {
        let sensitive = Sensitive::new(&strings(&["X-Amz-Signature", "token"]));
        for (query, expected) in [
            ("token=1", true),
            ("a=1&Token=1", true),
            ("token", true),
            ("x-amz-signature=abc", true),
            ("%74oken=1", true),
            ("a=1;token=2", true),
            ("a=1?token=2", true),
            ("tokens=1", false),
            ("a=token", false),
            ("", false),
        ] {
            assert_eq!(sensitive.is_in(query), expected, "{query}");
        }
        assert!(!Sensitive::new(&[]).is_in("token=1"));
    }

    #[test]
    fn a_value_is_the_first_one_under_its_name() {
        assert_eq!(value_of("a=1&b=2&b=3", "b"), Some("2"));
        assert_eq!(value_of("%62=x", "b"), Some("x"));
        assert_eq!(value_of("b", "b"), Some(""));
        assert_eq!(value_of("a=1", "b"), None);
    }
}
