//! A client that wants to see what it has written, on whichever node it asks.
//!
//! The answer to a write carries Forebay-Seq, the place of the write's changes in the log. A request that carries the same
//! text in Forebay-Barrier is looked up only when this node has applied the log up to there: what it is given cannot be
//! older than the write. Where that cannot be shown within Δ the backend is asked.

use http::{HeaderMap, HeaderName, HeaderValue, Response};

use super::account::Trail;
use super::body::Body;
use super::{Gateway, Journey};
use crate::changes::{Reached, Receipt};
use crate::fleet::Epoch;
use crate::rfc::Reason;

/// The field's name.
const FOREBAY_BARRIER: HeaderName = HeaderName::from_static("forebay-barrier");

/// What a request says about the changes it wants to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Barrier {
    /// Nothing.
    None,
    /// All up to this one.
    At(Receipt),
    /// Something that cannot be read. It is ignored, and counted.
    Malformed,
}

impl Barrier {
    /// Takes the field away, so that it reaches neither a key nor the backend, and reads it.
    pub(super) fn take(headers: &mut HeaderMap) -> Self {
        // One look at each name is cheaper than a search; mostly it is not there.
        if !headers.keys().any(|name| *name == FOREBAY_BARRIER) {
            return Barrier::None;
        }
        let read = {
            let mut lines = headers.get_all(&FOREBAY_BARRIER).iter();
            lines.next().filter(|_| lines.next().is_none()).and_then(read)
        };
        headers.remove(&FOREBAY_BARRIER);
        read.map_or(Barrier::Malformed, Barrier::At)
    }
}

/// Exactly as [`Receipt`] is written: 16 hexadecimal digits in lower case, a hyphen, and a number without leading zeros.
fn read(value: &HeaderValue) -> Option<Receipt> {
    let text = std::str::from_utf8(value.as_bytes()).ok()?;
    let (epoch, number) = text.split_once('-')?;
    let receipt = Receipt { epoch: Epoch(u64::from_str_radix(epoch, 16).ok()?), number: number.parse().ok()? };
    // Signs, capitals and leading zeros are not what would be written.
    (receipt.to_string() == text).then_some(receipt)
}

impl Gateway {
    /// Looks the request up when this node has applied what the client wants to see.
    pub(super) async fn behind_barrier(&self, mut journey: Journey<'_>, trail: &mut Trail) -> Response<Body> {
        let barred = match journey.asked.barrier {
            Barrier::None => false,
            Barrier::Malformed => {
                self.metrics().reason(Reason::BadBarrier);
                false
            }
            Barrier::At(receipt) => self.bus().follow_to(receipt, self.clock()).await == Reached::Unknown,
        };
        // Time has passed: the request is looked up as if it had arrived now, which asks for more and never for less.
        let now = self.clock().now();
        journey.outlook = self.outlook(now);
        journey.outlook.barred = barred;
        journey.arrival = self.arrival(&journey.outlook, now);
        self.answer(&journey, trail, now).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_barrier_is_read_strictly_and_always_taken_away() {
        let at = |epoch, number| Barrier::At(Receipt { epoch: Epoch(epoch), number });
        let rows: &[(&[&str], Barrier)] = &[
            (&[], Barrier::None),
            (&["00000000000000ab-12"], at(0xab, 12)),
            (&["ffffffffffffffff-18446744073709551615"], at(u64::MAX, u64::MAX)),
            (&["00000000000000ab-0"], at(0xab, 0)),
            (&["ab-12"], Barrier::Malformed),
            (&["00000000000000AB-12"], Barrier::Malformed),
            (&["00000000000000ab-012"], Barrier::Malformed),
            (&["00000000000000ab-+12"], Barrier::Malformed),
            (&["+0000000000000ab-12"], Barrier::Malformed),
            (&["00000000000000ab--12"], Barrier::Malformed),
            (&["00000000000000ab-18446744073709551616"], Barrier::Malformed),
            (&["00000000000000ab-"], Barrier::Malformed),
            (&["-12"], Barrier::Malformed),
            (&["00000000000000ab12"], Barrier::Malformed),
            (&["00000000000000ab-12, 00000000000000ab-13"], Barrier::Malformed),
            (&["00000000000000ab-12", "00000000000000ab-12"], Barrier::Malformed),
            (&[""], Barrier::Malformed),
        ];
        for (lines, expected) in rows {
            let mut headers = HeaderMap::new();
            for line in *lines {
                headers.append(FOREBAY_BARRIER, HeaderValue::from_static(line));
            }
            assert_eq!(Barrier::take(&mut headers), *expected, "{lines:?}");
            assert!(headers.is_empty(), "{lines:?}");
        }
        let mut headers = HeaderMap::new();
        headers.append(FOREBAY_BARRIER, HeaderValue::from_bytes(b"\xff").expect("a value"));
        assert_eq!(Barrier::take(&mut headers), Barrier::Malformed);
    }
}
