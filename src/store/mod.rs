//! Entries, variants, the ledger.

/// How much is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemorySettings {
    /// Bytes, of everything. Default 512 MiB.
    pub capacity: u64,
    /// Bytes of one body. Default 8 MiB.
    pub max_object: u64,
    /// Variants of one URL. Default 32.
    pub max_variants: usize,
    /// Tags the ledger remembers. Default one million.
    pub max_ledger_tags: usize,
}

impl Default for MemorySettings {
    fn default() -> Self {
        Self { capacity: 512 << 20, max_object: 8 << 20, max_variants: 32, max_ledger_tags: 1_000_000 }
    }
}
