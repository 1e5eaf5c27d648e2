//! A wall time for log lines and JSON: RFC 3339, UTC, milliseconds.

use std::time::Duration;

/// `2026-11-21T06:42:40.123Z`, from wall time since the Unix epoch. Stops at the end of the year 9999, where the form
/// does.
pub fn timestamp(wall: Duration) -> String {
    const END_OF_9999: u64 = 253_402_300_799;
    let seconds = wall.as_secs().min(END_OF_9999);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", wall.subsec_millis())
}

/// Year, month and day of a number of days since 1 January 1970.
///
/// Counts in years that begin in March, so that the leap day is the last of its year, and in cycles of 400 years
/// (146,097 days), after which the calendar repeats.
fn date(days: u64) -> (u64, u64, u64) {
    // 719,468 days lie between 1 March of the year 0 and 1 January 1970.
    let since_march = days + 719_468;
    let (cycle, day_of_cycle) = (since_march / 146_097, since_march % 146_097);
    // Take out the leap days (one per 1,460 days, but for the last day of a century, but for the last of the cycle).
    let year_of_cycle = (day_of_cycle - day_of_cycle / 1_460 + day_of_cycle / 36_524 - day_of_cycle / 146_096) / 365;
    let day_of_year = day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    // From March on, five months are 153 days, whichever five they are.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = cycle * 400 + year_of_cycle + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn known_moments_are_written_as_known() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_000_000_000, "2001-09-09T01:46:40.000Z"),
            (4_107_542_399, "2100-02-28T23:59:59.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
            (253_402_300_799, "9999-12-31T23:59:59.000Z"),
            (u64::MAX, "9999-12-31T23:59:59.000Z"),
        ] {
            assert_eq!(timestamp(Duration::from_secs(seconds)), expected);
        }
        assert_eq!(timestamp(Duration::from_millis(1_007)), "1970-01-01T00:00:01.007Z");
    }

    #[test]
    fn every_day_of_five_centuries_agrees_with_the_http_date() {
        for day in 0..182_622 {
            let wall = Duration::from_secs(day * 86_400);
            let http = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + wall);
            let ours = timestamp(wall);
            let (_, month, day) = date(day);
            let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
            let name = months[usize::try_from(month).unwrap() - 1];
            assert_eq!(&http[5..16], format!("{day:02} {name} {}", &ours[..4]));
        }
    }
}
