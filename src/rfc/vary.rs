//! Which request fields select an answer: [RFC 9111 §4.1](https://www.rfc-editor.org/rfc/rfc9111#section-4.1).

use http::{HeaderMap, HeaderName, header};

/// What an answer's Vary names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Vary {
    /// Nothing.
    None,
    /// Everything: matches no later request.
    Star,
    /// These fields, sorted.
    Fields(Box<[HeaderName]>),
}

impl Vary {
    /// The union of all Vary lines.
    pub fn read(headers: &HeaderMap) -> Self {
        let mut names = Vec::new();
        for line in headers.get_all(header::VARY) {
            for item in line.to_str().unwrap_or("*").split(',').map(str::trim).filter(|item| !item.is_empty()) {
                match HeaderName::from_bytes(item.as_bytes()) {
                    Ok(name) if item != "*" => names.push(name),
                    _ => return Vary::Star,
                }
            }
        }
        names.sort_by(|one, other| one.as_str().cmp(other.as_str()));
        names.dedup();
        if names.is_empty() { Vary::None } else { Vary::Fields(names.into()) }
    }
}

/// The request's values of the fields that Vary names. Two answers with equal keys are the same variant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct VaryKey(Box<[(HeaderName, Option<Box<[u8]>>)]>);

impl VaryKey {
    /// What `request` says in the fields of `vary`.
    pub fn of(vary: &Vary, request: &HeaderMap) -> Self {
        let Vary::Fields(names) = vary else { return Self::default() };
        Self(names.iter().map(|name| (name.clone(), request.get(name).map(|value| value.as_bytes().into()))).collect())
    }

    /// Does `request` select this variant?
    pub fn matches(&self, request: &HeaderMap) -> bool {
        self.0.iter().all(|(name, value)| request.get(name).map(http::HeaderValue::as_bytes) == value.as_deref())
    }

    /// The fields named.
    pub fn names(&self) -> impl Iterator<Item = &HeaderName> {
        self.0.iter().map(|(name, _)| name)
    }

    /// Is this the only variant there can be?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes held.
    pub fn weight(&self) -> usize {
        self.0.iter().map(|(_, value)| 48 + value.as_deref().map_or(0, <[u8]>::len)).sum()
    }
}
