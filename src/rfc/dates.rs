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

/// 31 December 9999, 23:59:59.
const LAST_SECOND: u64 = 253_402_300_799;

const SECONDS_PER_DAY: u64 = 86_400;

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

/// The fields of a date as written; `month` counts from zero.
struct Written {
    year: u64,
    month: usize,
    day: u64,
    second_of_day: u64,
}

impl Written {
    /// `None` if the calendar has no such day.
    fn since_epoch(&self) -> Option<Duration> {
        let leap = is_leap(self.year);
        let length = MONTHS.get(self.month)?.1 + u64::from(leap && self.month == 1);
        if self.day == 0 || self.day > length {
            return None;
        }
        if self.year < 1970 {
            return Some(Duration::ZERO);
        }
        let whole_years = (self.year - 1970) * 365 + leap_days_before(self.year) - leap_days_before(1970);
        let whole_months: u64 = MONTHS.iter().take(self.month).map(|(_, days)| days).sum();
        let leap_day = u64::from(leap && self.month > 1);
        let days = whole_years + whole_months + leap_day + self.day - 1;
        Some(Duration::from_secs(days * SECONDS_PER_DAY + self.second_of_day))
    }
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

/// Leap days in all years before `year`, which is not 0.
fn leap_days_before(year: u64) -> u64 {
    let last = year - 1;
    last / 4 - last / 100 + last / 400
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`
fn imf_fixdate(text: &[u8]) -> Option<Written> {
    let [
        weekday @ ..,
        b',',
        b' ',
        d1,
        d2,
        b' ',
        m1,
        m2,
        m3,
        b' ',
        y1,
        y2,
        y3,
        y4,
        b' ',
        t0,
        t1,
        t2,
        t3,
        t4,
        t5,
        t6,
        t7,
        b' ',
        z1,
        z2,
        z3,
    ] = text
    else {
        return None;
    };
    if !is_gmt(&[*z1, *z2, *z3]) || !DAYS.iter().any(|day| weekday.eq_ignore_ascii_case(&day[..3])) {
        return None;
    }
    Some(Written {
        year: number(&[*y1, *y2, *y3, *y4])?,
        month: month(&[*m1, *m2, *m3])?,
        day: number(&[*d1, *d2])?,
        second_of_day: time_of_day([*t0, *t1, *t2, *t3, *t4, *t5, *t6, *t7])?,
    })
}

/// `Sunday, 06-Nov-94 08:49:37 GMT`
fn rfc850(text: &[u8]) -> Option<Written> {
    let [
        weekday @ ..,
        b',',
        b' ',
        d1,
        d2,
        b'-',
        m1,
        m2,
        m3,
        b'-',
        y1,
        y2,
        b' ',
        t0,
        t1,
        t2,
        t3,
        t4,
        t5,
        t6,
        t7,
        b' ',
        z1,
        z2,
        z3,
    ] = text
    else {
        return None;
    };
    if !is_gmt(&[*z1, *z2, *z3]) || !DAYS.iter().any(|day| weekday.eq_ignore_ascii_case(day)) {
        return None;
    }
    let year = number(&[*y1, *y2])?;
    Some(Written {
        year: if year < 70 { year + 2000 } else { year + 1900 },
        month: month(&[*m1, *m2, *m3])?,
        day: number(&[*d1, *d2])?,
        second_of_day: time_of_day([*t0, *t1, *t2, *t3, *t4, *t5, *t6, *t7])?,
    })
}

/// `Sun Nov  6 08:49:37 1994`
fn asctime(text: &[u8]) -> Option<Written> {
    let [w1, w2, w3, b' ', m1, m2, m3, b' ', d1, d2, b' ', t0, t1, t2, t3, t4, t5, t6, t7, b' ', y1, y2, y3, y4] = text
    else {
        return None;
    };
    if !DAYS.iter().any(|day| [*w1, *w2, *w3].eq_ignore_ascii_case(&day[..3])) {
        return None;
    }
    Some(Written {
        year: number(&[*y1, *y2, *y3, *y4])?,
        month: month(&[*m1, *m2, *m3])?,
        day: if *d1 == b' ' { number(&[*d2])? } else { number(&[*d1, *d2])? },
        second_of_day: time_of_day([*t0, *t1, *t2, *t3, *t4, *t5, *t6, *t7])?,
    })
}

fn is_gmt(zone: &[u8]) -> bool {
    zone.eq_ignore_ascii_case(b"GMT")
}

fn month(name: &[u8]) -> Option<usize> {
    MONTHS.iter().position(|(month, _)| name.eq_ignore_ascii_case(month))
}

/// `08:49:37`, in seconds; a leap second (`:60`) is allowed.
fn time_of_day(text: [u8; 8]) -> Option<u64> {
    let [h1, h2, b':', m1, m2, b':', s1, s2] = text else { return None };
    let (hour, minute, second) = (number(&[h1, h2])?, number(&[m1, m2])?, number(&[s1, s2])?);
    (hour < 24 && minute < 60 && second <= 60).then_some(hour * 3600 + minute * 60 + second)
}

/// Decimal digits and nothing else; at most four are ever passed.
fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + u64::from(digit - b'0')))
}

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
