//! The forms that values take: durations, sizes, rates, addresses, names. Each form is a function from a value of the
//! file to the thing it says, or to what is wrong with it; [`Reader`](super::reader::Reader) adds the place.
//!
//! A form with bounds is a function that returns a form: `whole(1..=64)`. Every duration is bounded, also where nobody
//! asked, so that adding one to a moment can never overflow.

use std::fmt::{Display, Write};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};
use ipnet::IpNet;
use toml::de::DeValue;

use crate::policy::RateLimit;
use crate::rfc::StatusRange;

use super::problem::Wrong;

type Read<T> = Result<T, Wrong>;

/// The longest duration that may be configured: ten years.
pub(super) const LONGEST: Duration = Duration::from_hours(24 * 3650);

/// A string.
pub(super) fn text(value: &DeValue<'_>) -> Read<String> {
    string(value, "a string, in quotes").map(str::to_owned)
}

/// `true` or `false`.
pub(super) fn flag(value: &DeValue<'_>) -> Read<bool> {
    value.as_bool().ok_or_else(|| expected("true or false", value))
}

/// Only `false`: for settings that can be switched off as a whole.
pub(super) fn off<T>(form: impl Fn(&DeValue<'_>) -> Read<T>) -> impl Fn(&DeValue<'_>) -> Read<Option<T>> {
    move |value| if value.as_bool() == Some(false) { Ok(None) } else { form(value).map(Some) }
}

/// A whole number within bounds.
pub(super) fn whole<T>(bounds: RangeInclusive<T>) -> impl Fn(&DeValue<'_>) -> Read<T>
where
    T: TryFrom<i64> + PartialOrd + Display,
{
    move |value| {
        let number = value.as_integer().ok_or_else(|| expected("a whole number", value))?;
        let number =
            i64::from_str_radix(number.as_str(), number.radix()).ok().and_then(|number| T::try_from(number).ok());
        within(number, &bounds, T::to_string)
    }
}

/// A fraction from 0 to 1.
pub(super) fn fraction(value: &DeValue<'_>) -> Read<f64> {
    let number = match value {
        DeValue::Float(number) => number.as_str().parse().ok(),
        DeValue::Integer(number) => number.as_str().parse().ok(),
        _ => return Err(expected("a number from 0 to 1", value)),
    };
    match number {
        Some(number) if (0.0..=1.0).contains(&number) => Ok(number),
        _ => Err(Wrong::new("must be from 0 to 1").hint("0.01 is one in a hundred")),
    }
}

/// A duration such as "30s" or "1h30m".
pub(super) fn duration(value: &DeValue<'_>) -> Read<Duration> {
    duration_in(Duration::ZERO..=LONGEST)(value)
}

/// A duration within bounds.
pub(super) fn duration_in(bounds: RangeInclusive<Duration>) -> impl Fn(&DeValue<'_>) -> Read<Duration> {
    move |value| {
        let duration = parse_duration(string(value, "a duration such as \"30s\"")?)?;
        within(Some(duration), &bounds, |bound| format_duration(*bound))
    }
}

/// A number of bytes such as "8MiB", "500kB" or 1024, within bounds.
pub(super) fn size_in(bounds: RangeInclusive<u64>) -> impl Fn(&DeValue<'_>) -> Read<u64> {
    move |value| {
        let bytes = match value {
            DeValue::Integer(number) => {
                u64::from_str_radix(number.as_str(), number.radix()).map_err(|_| Wrong::new("is no number of bytes"))?
            }
            _ => parse_size(string(value, "a size such as \"8MiB\"")?)?,
        };
        within(Some(bytes), &bounds, |bound| format_size(*bound))
    }
}

/// A size that is held in a `usize`.
pub(super) fn length_in(bounds: RangeInclusive<u64>) -> impl Fn(&DeValue<'_>) -> Read<usize> {
    let size = size_in(bounds);
    move |value| usize::try_from(size(value)?).map_err(|_| Wrong::new("is more than this machine can address"))
}

/// A rate such as "100/s": so many requests in one second, minute or hour, and as many at once.
pub(super) fn rate(value: &DeValue<'_>) -> Read<RateLimit> {
    let written = string(value, "a rate such as \"100/s\"")?;
    let wrong = || Wrong::new(format!("\"{written}\" is no rate")).hint("write \"100/s\", \"600/m\" or \"5000/h\"");
    let (requests, unit) = written.split_once('/').ok_or_else(wrong)?;
    let seconds = match unit.trim() {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(wrong()),
    };
    let requests: u32 = requests.trim().parse().map_err(|_| wrong())?;
    if requests == 0 {
        return Err(Wrong::new("a rate of 0 admits nothing").hint("to refuse clients, use `deny`"));
    }
    Ok(RateLimit { requests, per: Duration::from_secs(seconds), burst: requests })
}

/// An address with a port: "127.0.0.1:8080".
pub(super) fn address(value: &DeValue<'_>) -> Read<SocketAddr> {
    parse_address(string(value, "an address such as \"127.0.0.1:8080\"")?)
}

/// An address with a port, or "off".
pub(super) fn address_or_off(value: &DeValue<'_>) -> Read<Option<SocketAddr>> {
    parse_address_or_off(string(value, "an address such as \"127.0.0.1:9090\", or \"off\"")?)
}

/// A network such as "10.0.0.0/8", or one address.
pub(super) fn network(value: &DeValue<'_>) -> Read<IpNet> {
    let written = string(value, "a network such as \"10.0.0.0/8\"")?;
    let network = written.parse::<IpNet>().ok().or_else(|| written.parse::<IpAddr>().ok().map(IpNet::from));
    let wrong = || Wrong::new(format!("\"{written}\" is no network")).hint("write \"10.0.0.0/8\" or \"192.0.2.1\"");
    let network = network.ok_or_else(wrong)?;
    if network.addr() != network.network() && network.prefix_len() != network.max_prefix_len() {
        let meant = network.trunc();
        return Err(
            Wrong::new(format!("\"{written}\" has bits set beyond its mask")).hint(format!("write \"{meant}\""))
        );
    }
    Ok(network)
}

/// A status, a class of them or a range: 404, "5xx", "200-299".
pub(super) fn statuses(value: &DeValue<'_>) -> Read<StatusRange> {
    match value {
        DeValue::Integer(number) => parse_statuses(number.as_str()),
        _ => parse_statuses(string(value, "a status such as 404, \"5xx\" or \"200-299\"")?),
    }
}

/// The name of a field.
pub(super) fn field_name(value: &DeValue<'_>) -> Read<HeaderName> {
    parse_field_name(string(value, "the name of a header field")?)
}

/// The value of a field: no control characters.
pub(super) fn field_value(value: &DeValue<'_>) -> Read<String> {
    let written = string(value, "the value of a header field")?;
    match HeaderValue::from_str(written) {
        Ok(_) => Ok(written.to_owned()),
        Err(_) => Err(Wrong::new("a header field cannot hold control characters")),
    }
}

/// A method, in capitals.
pub(super) fn method(value: &DeValue<'_>) -> Read<Method> {
    let written = string(value, "a method such as \"GET\"")?;
    let capitals = written.to_ascii_uppercase();
    if capitals != written {
        return Err(Wrong::new("methods are case-sensitive").hint(format!("write \"{capitals}\"")));
    }
    Method::from_bytes(written.as_bytes()).map_err(|_| Wrong::new(format!("\"{written}\" is no method")))
}

/// A name that is safe in header fields, labels and paths: letters, digits, `-`, `_` and `.`.
pub(super) fn name(value: &DeValue<'_>) -> Read<String> {
    parse_name(string(value, "a name")?)
}

/// A path on the server: begins with a slash.
pub(super) fn url_path(value: &DeValue<'_>) -> Read<String> {
    let written = string(value, "a path such as \"/api\"")?;
    if written.starts_with('/') {
        return Ok(written.to_owned());
    }
    Err(Wrong::new("a path begins with a slash").hint(format!("write \"/{written}\"")))
}

/// The name of a file.
pub(super) fn file(value: &DeValue<'_>) -> Read<PathBuf> {
    match string(value, "the name of a file")? {
        "" => Err(Wrong::new("the name of a file is missing")),
        name => Ok(PathBuf::from(name)),
    }
}

/// One of a few words.
pub(super) fn one_of<T: Copy>(words: &'static [(&'static str, T)]) -> impl Fn(&DeValue<'_>) -> Read<T> {
    move |value| {
        let list = || words.iter().map(|(word, _)| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
        let written = string(value, &format!("one of {}", list()))?;
        let found = words.iter().find(|(word, _)| *word == written);
        found.map(|(_, meaning)| *meaning).ok_or_else(|| {
            Wrong::new(format!("\"{written}\" is none of the words that may stand here"))
                .hint(format!("write {}", list()))
        })
    }
}

/// "30s", "5m", "1h30m", "250ms", "1d", "2w", or "0".
pub(super) fn parse_duration(written: &str) -> Read<Duration> {
    let wrong = || {
        let hint = match written.parse::<u64>() {
            Ok(number) => format!("a unit is missing: write \"{number}s\" for seconds"),
            Err(_) => "write \"250ms\", \"30s\", \"5m\", \"1h30m\" or \"1d\"".to_owned(),
        };
        Wrong::new(format!("\"{written}\" is no duration")).hint(hint)
    };
    if written == "0" {
        return Ok(Duration::ZERO);
    }
    let mut total = Duration::ZERO;
    let mut rest = written;
    while !rest.is_empty() {
        let (number, tail) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?);
        let (unit, tail) = tail.split_at(tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len()));
        let milliseconds: u64 = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 604_800_000,
            _ => return Err(wrong()),
        };
        let part = number.parse::<u64>().ok().and_then(|number| number.checked_mul(milliseconds)).ok_or_else(wrong)?;
        total = total.checked_add(Duration::from_millis(part)).ok_or_else(wrong)?;
        rest = tail;
    }
    if written.is_empty() { Err(wrong()) } else { Ok(total) }
}

/// A duration as it would be written in the file.
pub(super) fn format_duration(duration: Duration) -> String {
    let mut left = duration.as_millis();
    let mut written = String::new();
    for (unit, milliseconds) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)] {
        if left >= milliseconds {
            let _ = write!(written, "{}{unit}", left / milliseconds);
            left %= milliseconds;
        }
    }
    if written.is_empty() { "0s".to_owned() } else { written }
}

/// "1024", "8MB" (powers of 1000) or "8MiB" (powers of 1024).
pub(super) fn parse_size(written: &str) -> Read<u64> {
    let wrong = || {
        Wrong::new(format!("\"{written}\" is no size"))
            .hint("write \"512MiB\" (powers of 1024), \"8MB\" (of 1000) or 4096")
    };
    let (number, unit) = written.split_at(written.find(|c: char| !c.is_ascii_digit()).unwrap_or(written.len()));
    let bytes: u64 = match unit.trim() {
        "" | "B" => 1,
        "kB" | "KB" => 1000,
        "MB" => 1000 * 1000,
        "GB" => 1000 * 1000 * 1000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TB" => 1000 * 1000 * 1000 * 1000,
        "TiB" => 1 << 40,
        _ => return Err(wrong()),
    };
    number.parse::<u64>().ok().and_then(|number| number.checked_mul(bytes)).ok_or_else(wrong)
}

/// A size as it would be written in the file.
pub(super) fn format_size(bytes: u64) -> String {
    for (unit, size) in [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if bytes >= size && bytes.is_multiple_of(size) {
            return format!("{}{unit}", bytes / size);
        }
    }
    bytes.to_string()
}

/// An address with a port.
pub(super) fn parse_address(written: &str) -> Read<SocketAddr> {
    if let Ok(address) = written.parse() {
        return Ok(address);
    }
    let hint = match written.rsplit_once(':') {
        Some(("", port)) if port.parse::<u16>().is_ok() => {
            format!("write \"127.0.0.1:{port}\" for this machine, \"0.0.0.0:{port}\" or \"[::]:{port}\" for all")
        }
        Some(("localhost", port)) => format!("write \"127.0.0.1:{port}\" or \"[::1]:{port}\""),
        Some((host, port)) if host.parse::<IpAddr>().is_ok() && port.parse::<u16>().is_err() => {
            "a port is a number from 0 to 65535".to_owned()
        }
        _ if written.parse::<IpAddr>().is_ok() => "the port is missing".to_owned(),
        _ => "an address is a number and a port: \"127.0.0.1:8080\" or \"[::1]:8080\"".to_owned(),
    };
    Err(Wrong::new(format!("\"{written}\" is no address to listen at")).hint(hint))
}

/// An address with a port, or "off".
pub(super) fn parse_address_or_off(written: &str) -> Read<Option<SocketAddr>> {
    if written == "off" { Ok(None) } else { parse_address(written).map(Some) }
}

/// "404", "5xx" or "200-299".
pub(super) fn parse_statuses(written: &str) -> Read<StatusRange> {
    let wrong = || Wrong::new(format!("\"{written}\" is no status")).hint("write 404, \"5xx\" or \"200-299\"");
    let one =
        |written: &str| written.parse::<u16>().ok().filter(|status| (200..=599).contains(status)).ok_or_else(wrong);
    if let Some(class) = written.strip_suffix("xx") {
        let first = one(&format!("{class}00"))?;
        return Ok(StatusRange { first, last: first + 99 });
    }
    let (first, last) = written.split_once('-').unwrap_or((written, written));
    let (first, last) = (one(first.trim())?, one(last.trim())?);
    if first > last { Err(wrong().hint(format!("write \"{last}-{first}\""))) } else { Ok(StatusRange { first, last }) }
}

/// The name of a field.
pub(super) fn parse_field_name(written: &str) -> Read<HeaderName> {
    HeaderName::from_bytes(written.as_bytes())
        .map_err(|_| Wrong::new(format!("\"{written}\" is no name of a header field")))
}

/// A name that is safe in header fields, labels and paths.
pub(super) fn parse_name(written: &str) -> Read<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if (1..=64).contains(&written.len()) && written.chars().all(plain) {
        return Ok(written.to_owned());
    }
    Err(Wrong::new(format!("\"{written}\" is no name")).hint("use up to 64 letters, digits, `-`, `_` and `.`"))
}

fn string<'v>(value: &'v DeValue<'_>, form: &str) -> Read<&'v str> {
    value.as_str().ok_or_else(|| expected(form, value))
}

fn expected(form: &str, value: &DeValue<'_>) -> Wrong {
    let kind = value.type_str();
    let wrong = Wrong::new(format!("expected {form}, found a value of type {kind}"));
    match value {
        DeValue::Integer(number) if form.starts_with("a duration") => {
            wrong.hint(format!("write \"{}s\" for seconds", number.as_str()))
        }
        _ => wrong,
    }
}

fn within<T: PartialOrd>(value: Option<T>, bounds: &RangeInclusive<T>, show: impl Fn(&T) -> String) -> Read<T> {
    match value {
        Some(value) if bounds.contains(&value) => Ok(value),
        _ => Err(Wrong::new(format!("must be from {} to {}", show(bounds.start()), show(bounds.end())))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: PartialEq + std::fmt::Debug>(parse: impl Fn(&str) -> Read<T>, rows: &[(&str, Option<T>)]) {
        for (written, expected) in rows {
            assert_eq!(parse(written).ok().as_ref(), expected.as_ref(), "{written:?}");
        }
    }

    #[test]
    fn durations_are_numbers_with_units() {
        let ms = |milliseconds| Some(Duration::from_millis(milliseconds));
        check(
            parse_duration,
            &[
                ("250ms", ms(250)),
                ("30s", ms(30_000)),
                ("5m", ms(300_000)),
                ("1h30m", ms(5_400_000)),
                ("1d", ms(86_400_000)),
                ("2w", ms(1_209_600_000)),
                ("0", ms(0)),
                ("0s", ms(0)),
                ("", None),
                ("30", None),
                ("s", None),
                ("1.5s", None),
                ("-1s", None),
                ("1 s", None),
                ("30S", None),
                ("1h30", None),
                ("99999999999999999999s", None),
                ("18446744073709551615w", None),
                ("18446744073709551615ms18446744073709551615ms", Some(Duration::from_millis(u64::MAX) * 2)),
            ],
        );
    }

    #[test]
    fn durations_are_shown_as_they_are_written() {
        for written in ["0s", "250ms", "1m30s", "1h", "3650d", "1d1h1m1s1ms"] {
            assert_eq!(parse_duration(written).map(format_duration), Ok(written.to_owned()));
        }
    }

    #[test]
    fn sizes_tell_powers_of_1000_from_powers_of_1024() {
        check(
            parse_size,
            &[
                ("1024", Some(1024)),
                ("8MB", Some(8_000_000)),
                ("8MiB", Some(8 << 20)),
                ("8 MiB", Some(8 << 20)),
                ("1kB", Some(1000)),
                ("1KB", Some(1000)),
                ("0", Some(0)),
                ("", None),
                ("8M", None),
                ("8mb", None),
                ("MiB", None),
                ("1.5GiB", None),
                ("99999999999GiB", None),
            ],
        );
        for written in ["1023", "1KiB", "512MiB", "1024TiB"] {
            assert_eq!(parse_size(written).map(format_size), Ok(written.to_owned()));
        }
    }

    #[test]
    fn statuses_are_one_a_class_or_a_range() {
        let range = |first, last| Some(StatusRange { first, last });
        check(
            parse_statuses,
            &[
                ("404", range(404, 404)),
                ("5xx", range(500, 599)),
                ("200-299", range(200, 299)),
                ("200 - 299", range(200, 299)),
                ("1xx", None),
                ("6xx", None),
                ("99", None),
                ("299-200", None),
                ("xx", None),
                ("4x4", None),
            ],
        );
    }
}
