//! Dates on the wire: RFC 9110 §5.6.7, the three formats that a recipient must understand.
//!
//! The parser is strict about the shape (every space, colon and digit in its place) and lenient in two things that
//! change no meaning: letters may be in either case, and the name of the weekday is not compared with the calendar. A
//! strict shape matters, because a date that cannot be read means "already past" to a cache (RFC 9111 §5.3): guessing at
//! a malformed one would keep an answer that its author may not have meant to be kept.
//!
//! A date before 1970 is read as 1970: for every use in this room that is the same thing, long past.

use std::time::{Duration, SystemTime};

use http::HeaderValue;
use httpdate::HttpDate;

/// Reads an HTTP date, in seconds since the Unix epoch; `None` if it has none of the three formats of [RFC 9110 §5.6.7].
///
/// A two-digit year below 70 is of this century. Dates before 1970 give zero.
///
/// [RFC 9110 §5.6.7]: https://www.rfc-editor.org/rfc/rfc9110.html#section-5.6.7
pub fn parse_http_date(text: &[u8]) -> Option<Duration> {
    let date = imf_fixdate(text).or_else(|| rfc850(text)).or_else(|| asctime(text))?;
    date.since_epoch()
}

/// Writes a date as an IMF-fixdate, the only format that may be generated. `since_epoch` is cut to whole seconds; what
/// lies beyond the year 9999 is written as its last second.
pub fn format_http_date(since_epoch: Duration) -> HeaderValue {
    let seconds = since_epoch.as_secs().min(LAST_SECOND);
    let date = HttpDate::from(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
    HeaderValue::try_from(date.to_string())
        .unwrap_or_else(|_| HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT"))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`
fn imf_fixdate(text: &[u8]) -> Option<Written> {
    Written::read(b"___, dd bbb yyyy hh:mm:ss gmt", text).filter(|_| is_weekday(text.get(..3)))
}

/// `Sunday, 06-Nov-94 08:49:37 GMT`
fn rfc850(text: &[u8]) -> Option<Written> {
    let comma = text.iter().position(|byte| *byte == b',')?;
    if !DAYS.iter().any(|day| text.get(..comma).is_some_and(|name| name.eq_ignore_ascii_case(day))) {
        return None;
    }
    let date = Written::read(b", dd-bbb-yy hh:mm:ss gmt", text.get(comma..)?)?;
    Some(Written { year: date.year + if date.year < 70 { 2000 } else { 1900 }, ..date })
}

/// `Sun Nov  6 08:49:37 1994`
fn asctime(text: &[u8]) -> Option<Written> {
    let date =
        Written::read(b"___ bbb dd hh:mm:ss yyyy", text).or_else(|| Written::read(b"___ bbb  d hh:mm:ss yyyy", text));
    date.filter(|_| is_weekday(text.get(..3)))
}

fn is_weekday(name: Option<&[u8]>) -> bool {
    name.is_some_and(|name| DAYS.iter().any(|day| day.get(..3).is_some_and(|short| short.eq_ignore_ascii_case(name))))
}

/// The fields of a date as written; `month` counts from one.
#[derive(Default)]
struct Written {
    year: u64,
    month: u64,
    day: u64,
    hour: u64,
    minute: u64,
    second: u64,
}

impl Written {
    /// Reads `text` by a pattern of the same length: `y`, `d`, `h`, `m`, `s` stand for a digit of year, day, hour, minute
    /// and second, `bbb` for the month's name, `_` for anything, `gmt` for the time zone; the rest for itself.
    fn read(pattern: &[u8], text: &[u8]) -> Option<Self> {
        if pattern.len() != text.len() {
            return None;
        }
        let mut date = Self::default();
        let pattern = if let Some(clock_end) = pattern.strip_suffix(b" gmt") {
            text.get(clock_end.len()..).filter(|zone| zone.eq_ignore_ascii_case(b" GMT"))?;
            clock_end
        } else {
            pattern
        };
        for (at, (symbol, byte)) in pattern.iter().zip(text).enumerate() {
            match symbol {
                b'y' => push_digit(&mut date.year, *byte)?,
                b'd' => push_digit(&mut date.day, *byte)?,
                b'h' => push_digit(&mut date.hour, *byte)?,
                b'm' => push_digit(&mut date.minute, *byte)?,
                b's' => push_digit(&mut date.second, *byte)?,
                b'b' if date.month == 0 => date.month = month(text.get(at..at + 3)?)?,
                b'b' | b'_' => {}
                literal if literal == byte => {}
                _ => return None,
            }
        }
        Some(date)
    }

    /// `None` if the calendar has no such day or the day no such time. A leap second (`:60`) is allowed.
    fn since_epoch(&self) -> Option<Duration> {
        let earlier_months = usize::try_from(self.month.checked_sub(1)?).ok()?;
        let leap = is_leap(self.year);
        let length = MONTHS.get(earlier_months)?.1 + u64::from(leap && self.month == 2);
        if self.day == 0 || self.day > length || self.hour > 23 || self.minute > 59 || self.second > 60 {
            return None;
        }
        if self.year < 1970 {
            return Some(Duration::ZERO);
        }
        let years = (self.year - 1970) * 365 + leap_days_before(self.year) - leap_days_before(1970);
        let months: u64 = MONTHS.iter().take(earlier_months).map(|(_, days)| days).sum();
        let days = years + months + u64::from(leap && self.month > 2) + self.day - 1;
        Some(Duration::from_secs(((days * 24 + self.hour) * 60 + self.minute) * 60 + self.second))
    }
}

fn push_digit(number: &mut u64, byte: u8) -> Option<()> {
    *number = *number * 10 + u64::from(byte.is_ascii_digit().then(|| byte - b'0')?);
    Some(())
}

/// The month of this name, counted from one.
fn month(name: &[u8]) -> Option<u64> {
    let earlier = MONTHS.iter().position(|(month, _)| name.eq_ignore_ascii_case(month))?;
    u64::try_from(earlier + 1).ok()
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

/// Leap days in all years before `year`, which is 1970 or later.
fn leap_days_before(year: u64) -> u64 {
    let last = year - 1;
    last / 4 - last / 100 + last / 400
}

/// 31 December 9999, 23:59:59.
const LAST_SECOND: u64 = 253_402_300_799;

const DAYS: [&[u8]; 7] = [b"Monday", b"Tuesday", b"Wednesday", b"Thursday", b"Friday", b"Saturday", b"Sunday"];

const MONTHS: [(&[u8], u64); 12] = [
    (b"Jan", 31),
    (b"Feb", 28),
    (b"Mar", 31),
    (b"Apr", 30),
    (b"May", 31),
    (b"Jun", 30),
    (b"Jul", 31),
    (b"Aug", 31),
    (b"Sep", 30),
    (b"Oct", 31),
    (b"Nov", 30),
    (b"Dec", 31),
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(rows: &[(&str, Option<u64>)]) {
        for (text, expected) in rows {
            let read = parse_http_date(text.as_bytes()).map(|date| date.as_secs());
            assert_eq!(read, *expected, "{text:?}");
        }
    }

    #[test]
    fn the_three_formats_are_read() {
        check(&[
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(784_111_777)),
            ("Sun Nov  6 08:49:37 1994", Some(784_111_777)),
            ("Sun Nov 06 08:49:37 1994", Some(784_111_777)),
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("Thu, 29 Feb 2024 00:00:00 GMT", Some(1_709_164_800)),
            ("Tue, 19 Jan 2038 14:14:08 GMT", Some(2_147_523_248)),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(LAST_SECOND)),
            ("Thursday, 18-Aug-50 02:01:18 GMT", Some(2_544_400_878)),
            ("Sat, 31 Dec 2016 23:59:60 GMT", Some(1_483_228_800)),
        ]);
    }

    #[test]
    fn letters_may_be_in_either_case_and_the_weekday_may_be_wrong() {
        check(&[
            ("THU, 18 Aug 2050 02:01:18 GMT", Some(2_544_400_878)),
            ("Thu, 18 AUG 2050 02:01:18 GMT", Some(2_544_400_878)),
            ("Thu, 18 Aug 2050 02:01:18 gMT", Some(2_544_400_878)),
            ("Mon, 18 Aug 2050 02:01:18 GMT", Some(2_544_400_878)),
            ("Thu Aug  8 02:01:18 2050", Some(2_543_536_878)),
        ]);
    }

    #[test]
    fn before_1970_is_long_past() {
        check(&[
            ("Wed, 31 Dec 1969 23:59:59 GMT", Some(0)),
            ("Mon, 01 Jan 0001 00:00:00 GMT", Some(0)),
            ("Sat, 01 Jan 0000 00:00:00 GMT", Some(0)),
        ]);
    }

    #[test]
    fn anything_else_is_no_date() {
        check(&[
            ("", None),
            ("0", None),
            ("-1", None),
            ("foo", None),
            ("Thu, 18 Aug 2050 02:01:18 UTC", None),
            ("Thu, 18 Aug 2050 02:01:18 AEST", None),
            ("Thu, 18 Aug 50 02:01:18 GMT", None),
            ("Thu 18 Aug 2050 02:01:18 GMT", None),
            ("Thu, 18  Aug  2050 02:01:18 GMT", None),
            ("Thu, 18-Aug-2050 02:01:18 GMT", None),
            ("Thu, 18 Aug 2050 02.01.18 GMT", None),
            ("Thu, 18 Aug 2050 2:01:18 GMT", None),
            ("Thu, 18 Aug 2050 24:01:18 GMT", None),
            ("Thu, 18 Aug 2050 02:60:18 GMT", None),
            ("Thu, 18 Aug 2050 02:01:61 GMT", None),
            ("Thu, 31 Feb 2050 02:01:18 GMT", None),
            ("Thu, 29 Feb 2023 02:01:18 GMT", None),
            ("Thu, 00 Aug 2050 02:01:18 GMT", None),
            ("Thu, 18 Foo 2050 02:01:18 GMT", None),
            ("Thu, 18 Jan 2050 02:01:18  GMT", None),
            ("Thu, +8 Aug 2050 02:01:18 GMT", None),
            ("Thursday, 18 Aug 2050 02:01:18 GMT", None),
            ("Thu, 18-Aug-50 02:01:18 GMT", None),
            ("Thu Aug 8 02:01:18 2050", None),
            ("Xyz Aug  8 02:01:18 2050", None),
            ("Xyz, 18 Aug 2050 02:01:18 GMT", None),
            ("Thu, 18 Aug 2050 02:01:18 GMT ", None),
            ("Thu, 18 Aug 2050 02:01:18 GMT, Thu, 18 Aug 2050 02:01:18 GMT", None),
        ]);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(seconds in 0..=LAST_SECOND) {
            let written = format_http_date(Duration::from_secs(seconds));
            prop_assert_eq!(parse_http_date(written.as_bytes()), Some(Duration::from_secs(seconds)));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = parse_http_date(&bytes);
        }
    }

    #[test]
    fn a_date_beyond_the_calendar_is_written_as_its_end() {
        assert_eq!(format_http_date(Duration::MAX), "Fri, 31 Dec 9999 23:59:59 GMT");
    }
}
