//! What streams answer: records with an id and fields, in either version of the protocol.

use bytes::Bytes;
use fred::types::Value;

use super::scripts::bytes;
use crate::fleet::{Epoch, FleetError, Logged, Place};

const SHAPE: FleetError = FleetError::Garbled("records of a stream");

/// An id, and the fields in their order.
pub(super) type Record = (String, Vec<(String, Bytes)>);

/// The records of `XREAD` for one stream: nothing, or a map, or a list of pairs.
pub(super) fn of_one_stream(answer: Value) -> Result<Vec<Record>, FleetError> {
    let found = match answer {
        Value::Null => return Ok(Vec::new()),
        Value::Map(map) => map.inner().into_values().next(),
        Value::Array(items) => match items.into_iter().next() {
            Some(Value::Array(pair)) => pair.into_iter().nth(1),
            _ => None,
        },
        _ => return Err(SHAPE),
    };
    found.map_or(Ok(Vec::new()), of_range)
}

/// The records of `XRANGE`.
pub(super) fn of_range(answer: Value) -> Result<Vec<Record>, FleetError> {
    match answer {
        Value::Null => Ok(Vec::new()),
        Value::Array(items) => items.into_iter().map(record).collect(),
        _ => Err(SHAPE),
    }
}

fn record(item: Value) -> Result<Record, FleetError> {
    let Value::Array(pair) = item else { return Err(SHAPE) };
    let mut pair = pair.into_iter();
    let (Some(id), Some(Value::Array(fields))) = (pair.next().and_then(Value::into_string), pair.next()) else {
        return Err(SHAPE);
    };
    let mut fields = fields.into_iter();
    let mut held = Vec::with_capacity(fields.len() / 2);
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        let name = String::from_utf8_lossy(&bytes(name)?).into_owned();
        held.push((name, bytes(value)?));
    }
    Ok((id, held))
}

/// The number of an id of the log.
pub(super) fn number(id: &str) -> Option<u64> {
    id.strip_suffix("-0")?.parse().ok()
}

/// A record of the log.
pub(super) fn logged((id, fields): Record) -> Result<Logged, FleetError> {
    let field = |name: &str| fields.iter().find(|(held, _)| held == name).map(|(_, value)| value).ok_or(SHAPE);
    let hex = |name: &str| {
        let digits = field(name)?;
        std::str::from_utf8(digits).ok().and_then(|digits| u64::from_str_radix(digits, 16).ok()).ok_or(SHAPE)
    };
    let place = Place { epoch: Epoch(hex("e")?), number: number(&id).ok_or(SHAPE)?, nonce: hex("n")? };
    Ok(Logged { place, previous: hex("p")?, bytes: field("d")?.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(items: impl IntoIterator<Item = Value>) -> Value {
        Value::Array(items.into_iter().collect())
    }

    fn one(id: &str, fields: &[(&'static str, &'static str)]) -> Value {
        let fields = fields.iter().flat_map(|(name, value)| [Value::from(*name), Value::from(*value)]);
        array([Value::from(id.to_owned()), array(fields)])
    }

    #[test]
    fn records_are_read_in_either_version_of_the_protocol() {
        let records = || array([one("5-0", &[("a", "b"), ("c", "d")])]);
        let expected = vec![(
            "5-0".to_owned(),
            vec![("a".to_owned(), Bytes::from_static(b"b")), ("c".to_owned(), Bytes::from_static(b"d"))],
        )];
        let map = Value::Map(
            [("log", records())].into_iter().collect::<std::collections::HashMap<_, _>>().try_into().unwrap(),
        );
        for answer in [map, array([array([Value::from("log"), records()])])] {
            assert_eq!(of_one_stream(answer).as_ref(), Ok(&expected));
        }
        assert_eq!(of_range(records()), Ok(expected));
        assert_eq!(of_one_stream(Value::Null), Ok(Vec::new()));
    }

    #[test]
    fn what_makes_no_sense_is_an_error() {
        let good = [("e", "0a"), ("n", "0b"), ("p", "0c"), ("d", "says")];
        let read = |item: Value| of_range(array([item])).and_then(|mut records| logged(records.remove(0)));
        assert_eq!(read(one("7-0", &good)).unwrap().place.number, 7);
        for item in [
            Value::Null,
            Value::from(5),
            array([]),
            array([Value::from("7-0")]),
            one("7-1", &good),
            one("seven-0", &good),
            one("7-0", &good[1..]),
            one("7-0", &good[..3]),
            one("7-0", &[("e", "0a"), ("n", "nonsense"), ("p", "0c"), ("d", "says")]),
            one("7-0", &[("e", "10000000000000000"), ("n", "0b"), ("p", "0c"), ("d", "says")]),
        ] {
            assert!(read(item.clone()).is_err(), "{item:?}");
        }
    }
}
