//! Why a record from elsewhere is not believed: one vocabulary for metric, log and tests.

use std::fmt;

/// Defines [`Refusal`] once: variant, code, sentence.
macro_rules! refusals {
    ($($variant:ident, $code:literal, $sentence:literal;)*) => {
        /// Why a record counts as absent, or why an entry is not written as one.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Refusal { $(#[doc = $sentence] $variant,)* }

        impl Refusal {
            /// All of them, in the order of this table.
            pub const ALL: &'static [Refusal] = &[$(Refusal::$variant,)*];

            /// Short, stable, fit for a metric label.
            pub const fn code(self) -> &'static str { match self { $(Refusal::$variant => $code,)* } }

            /// One sentence for people.
            pub const fn sentence(self) -> &'static str { match self { $(Refusal::$variant => $sentence,)* } }
        }
    };
}

refusals! {
    // The bytes.
    Empty, "empty", "The record is empty.";
    TooLarge, "too-large", "The record, or what it says it holds, is larger than the limits allow.";
    Truncated, "truncated", "The record is shorter than it says.";
    Trailing, "trailing", "The record is longer than it says.";
    Magic, "magic", "The value is no record of this gateway.";
    Older, "older", "The record is of a version that is no longer read.";
    Newer, "newer", "The record is of a version that is not known yet: a newer node wrote it.";
    Checksum, "checksum", "The record is damaged: its checksum does not match.";
    Malformed, "malformed", "The record does not follow the layout.";
    Decompression, "decompression", "The compressed part is broken, or not as long as the record says.";

    // The seal.
    Unsealed, "unsealed", "The record is not sealed, and this node believes sealed ones only.";
    NoKey, "no-key", "The record is sealed with a key that this node does not have.";
    Seal, "seal", "The seal is broken: the record was changed, or moved from another name.";
    Randomness, "randomness", "The system gave no random bytes to seal with; the entry is not shared.";

    // Whose it is.
    Namespace, "namespace", "The record belongs to another namespace.";
    Key, "key", "The record belongs to another key or variant.";

    // What it says.
    Status, "status", "The status is not one that is stored.";
    Field, "field", "A field's name or value is malformed, or there are too many.";
    Framing, "framing", "A field speaks of one connection or of the framing, which a stored answer never does.";
    SetCookie, "set-cookie", "The answer sets a cookie; such answers are never shared.";
    Future, "future", "The record says that it was received in the future.";
    TooOld, "too-old", "The answer is past all use, within the limits on lifetimes.";
    Directory, "directory", "The directory of variants is malformed.";
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.sentence())
    }
}

impl std::error::Error for Refusal {}
