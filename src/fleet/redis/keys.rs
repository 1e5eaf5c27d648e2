//! The names of what is kept. The ledger is under one hash tag, so that all of it is in one slot of a cluster and a script
//! sees it whole; entries and leases are in slots of their own.

use fred::types::Key;

use crate::fleet::Name;

/// The names of what is kept.
pub(super) struct Keys {
    pub(super) namespace: String,
    /// Of the ledger, in the order in which its scripts take them.
    pub(super) ledger: [String; 9],
}

impl Keys {
    pub(super) fn new(namespace: &str) -> Self {
        let names = ["epoch", "rid", "seq", "log", "nodes", "floor", "scribe", "since", "read"];
        Self { namespace: namespace.to_owned(), ledger: names.map(|name| format!("{{{namespace}:inv}}:{name}")) }
    }

    pub(super) fn entry(&self, name: Name) -> String {
        format!("{}:e:{name}", self.namespace)
    }

    pub(super) fn lease(&self, name: Name) -> String {
        format!("{}:l:{name}", self.namespace)
    }

    pub(super) fn mark(&self, tag: Name) -> String {
        format!("{{{}:inv}}:t:{tag}", self.namespace)
    }

    /// The keys of the ledger, and behind them the marks of these tags.
    pub(super) fn with_marks(&self, tags: &[Name]) -> Vec<Key> {
        self.ledger.iter().map(Key::from).chain(tags.iter().map(|tag| Key::from(self.mark(*tag)))).collect()
    }
}
