//! Cache keys.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// The identity of a stored resource, apart from its variants.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CacheKey(Arc<[u8]>);

impl CacheKey {
    /// A key of these bytes.
    pub fn new(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The host.
    pub fn host(&self) -> &str {
        ""
    }

    /// The path and query.
    pub fn path_and_query(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl Borrow<[u8]> for CacheKey {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for CacheKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.path_and_query())
    }
}
