//! Which content codings a client takes ([RFC 9110 §12.5.3]).
//!
//! Accept-Encoding comes in thousands of spellings, and an answer that varies by it would be stored once for each. So
//! it is reduced to which of three codings are acceptable: eight values, whatever was sent. The client's preferences
//! among them are left aside, as the clause permits: ours is br, then zstd, then gzip, by size of a compressed answer
//! that is sent many times.
//!
//! [RFC 9110 §12.5.3]: https://www.rfc-editor.org/rfc/rfc9110#section-12.5.3

use super::fields::{split_commas, trim};
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderMap, HeaderValue};

/// A content coding that the gateway knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Coding {
    /// As it is.
    Identity,
    /// RFC 1952, also as `x-gzip`.
    Gzip,
    /// Brotli, RFC 7932.
    Br,
    /// Zstandard, RFC 8878.
    Zstd,
}

impl Coding {
    /// Its name in Content-Encoding and Accept-Encoding.
    pub const fn token(self) -> &'static str {
        match self {
            Coding::Identity => "identity",
            Coding::Gzip => "gzip",
            Coding::Br => "br",
            Coding::Zstd => "zstd",
        }
    }

    /// The coding of that name; case does not count. `None` if it is not one we know.
    pub fn parse(name: &[u8]) -> Option<Self> {
        let is = |token: &str| name.eq_ignore_ascii_case(token.as_bytes());
        // "A recipient SHOULD consider 'x-gzip' to be equivalent to 'gzip'." (§8.4.1.3)
        if is("x-gzip") {
            return Some(Coding::Gzip);
        }
        [Coding::Identity, Coding::Gzip, Coding::Br, Coding::Zstd].into_iter().find(|coding| is(coding.token()))
    }

    /// The coding of an answer; identity if it names none, `None` if it names one we do not know, or several.
    pub fn of(answer: &HeaderMap) -> Option<Self> {
        let lines = answer.get_all(CONTENT_ENCODING).iter();
        let mut names = lines.flat_map(|line| split_commas(line.as_bytes())).filter(|name| !name.is_empty());
        match (names.next(), names.next()) {
            (None, _) => Some(Coding::Identity),
            (Some(name), None) => Coding::parse(name),
            (Some(_), Some(_)) => None,
        }
    }

    const fn bit(self) -> u8 {
        match self {
            Coding::Identity => 1,
            Coding::Gzip => 2,
            Coding::Zstd => 4,
            Coding::Br => 8,
        }
    }
}

/// The codings that a client takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Accepted(u8);

impl Accepted {
    /// Reads Accept-Encoding, all lines, in time linear in its length.
    ///
    /// Without the field identity alone is taken. The clause would permit any coding then, but clients that do not ask
    /// mostly cannot decode. A member whose weight is malformed counts as refused, and of two members of one name the
    /// refusal wins: identity is always right, a body that the client cannot read never.
    pub fn read(request: &HeaderMap) -> Self {
        let (mut taken, mut refused) = (0, 0);
        let mut any_other = None;
        let lines = request.get_all(ACCEPT_ENCODING).iter();
        for member in lines.flat_map(|line| split_commas(line.as_bytes())) {
            let mut parts = member.split(|&byte| byte == b';').map(trim);
            let name = parts.next().unwrap_or_default();
            let wanted = parts.find_map(weight).unwrap_or(true);
            if name == b"*" {
                any_other = Some(wanted && any_other != Some(false));
            } else if let Some(coding) = Coding::parse(name) {
                *(if wanted { &mut taken } else { &mut refused }) |= coding.bit();
            }
        }
        let named = taken | refused;
        let mut accepted = taken & !refused;
        // "The asterisk '*' symbol in an Accept-Encoding field matches any available content coding not explicitly
        // listed in the field."
        if any_other == Some(true) {
            accepted |= ALL & !named;
        }
        // "If the representation has no content coding, then it is acceptable by default unless specifically excluded by
        // the Accept-Encoding header field stating either 'identity;q=0' or '*;q=0' without a more specific entry for
        // 'identity'."
        if named & Coding::Identity.bit() == 0 && any_other != Some(false) {
            accepted |= Coding::Identity.bit();
        }
        Accepted(accepted)
    }

    /// May the answer be in this coding?
    pub fn allows(self, coding: Coding) -> bool {
        self.0 & coding.bit() != 0
    }

    /// The field to key by and to send to the backend: one of seven values. `None`, which is no field, if identity alone
    /// is left.
    pub fn normalised(self) -> Option<HeaderValue> {
        let text = match (self.allows(Coding::Br), self.allows(Coding::Zstd), self.allows(Coding::Gzip)) {
            (false, false, false) => return None,
            (false, false, true) => "gzip",
            (false, true, false) => "zstd",
            (false, true, true) => "zstd, gzip",
            (true, false, false) => "br",
            (true, false, true) => "br, gzip",
            (true, true, false) => "br, zstd",
            (true, true, true) => "br, zstd, gzip",
        };
        Some(HeaderValue::from_static(text))
    }

    /// The best of what is offered: br, then zstd, then gzip. Identity if none of them is taken, also if the client
    /// refuses identity: "If ... none of the available codings is acceptable, the origin server SHOULD send a response
    /// without any content coding".
    pub fn best(self, offered: &[Coding]) -> Coding {
        let preferred = [Coding::Br, Coding::Zstd, Coding::Gzip].into_iter();
        preferred
            .filter(|&coding| self.allows(coding))
            .find(|coding| offered.contains(coding))
            .unwrap_or(Coding::Identity)
    }
}

/// Every coding's bit.
const ALL: u8 = 15;

/// Does this parameter take the coding or refuse it? `None` if it is not a weight. RFC 9110 §12.4.2:
/// `qvalue = ( "0" [ "." 0*3DIGIT ] ) / ( "1" [ "." 0*3("0") ] )`.
fn weight(parameter: &[u8]) -> Option<bool> {
    let [b'q' | b'Q', b'=', value @ ..] = parameter else { return None };
    let (digits, nought) = match value {
        [b'0'] | [b'0', b'.'] => return Some(false),
        [b'1'] | [b'1', b'.'] => return Some(true),
        [b'0', b'.', digits @ ..] => (digits, true),
        [b'1', b'.', digits @ ..] => (digits, false),
        _ => return Some(false),
    };
    let valid =
        digits.len() <= 3 && digits.iter().all(|digit| if nought { digit.is_ascii_digit() } else { *digit == b'0' });
    Some(valid && (!nought || digits.iter().any(|&digit| digit != b'0')))
}

#[cfg(test)]
mod tests {
    use super::super::fields::tests::head;
    use super::*;
    use proptest::prelude::*;

    /// The normal form, and `!` if identity is refused.
    fn check(rows: &[(&str, &str)]) {
        for (field, expected) in rows {
            let accepted = Accepted::read(&head(field));
            let normal = accepted.normalised();
            let mut text = normal.as_ref().map_or("", |value| value.to_str().expect("visible")).to_owned();
            if !accepted.allows(Coding::Identity) {
                text.push('!');
            }
            assert_eq!(text, *expected, "{field}");
        }
    }

    #[test]
    fn section_12_5_3_what_is_acceptable() {
        check(&[
            ("", ""),
            ("accept-encoding: ", ""),
            ("accept-encoding: gzip", "gzip"),
            ("accept-encoding: X-GZIP", "gzip"),
            ("accept-encoding: gzip, deflate, br, zstd", "br, zstd, gzip"),
            ("accept-encoding: br,gzip", "br, gzip"),
            ("accept-encoding: zstd | accept-encoding: gzip", "zstd, gzip"),
            ("accept-encoding: deflate, compress, foo", ""),
            ("accept-encoding: *", "br, zstd, gzip"),
            ("accept-encoding: *, br;q=0", "zstd, gzip"),
            ("accept-encoding: gzip;q=1.0, identity; q=0.5, *;q=0", "gzip"),
            ("accept-encoding: gzip;q=0", ""),
            ("accept-encoding: identity", ""),
            ("accept-encoding: identity;q=0, br", "br!"),
            ("accept-encoding: *;q=0", "!"),
            ("accept-encoding: *;q=0, gzip", "gzip!"),
            ("accept-encoding: *, *;q=0", "!"),
            ("accept-encoding: identity;q=0, *", "br, zstd, gzip!"),
        ]);
    }

    #[test]
    fn weights_take_or_refuse() {
        check(&[
            ("accept-encoding: br;q=0.001", "br"),
            ("accept-encoding: br ; Q=0.5", "br"),
            ("accept-encoding: br;x=y;q=0", ""),
            ("accept-encoding: br;x=y", "br"),
            ("accept-encoding: br;q=1.000", "br"),
            ("accept-encoding: br;q=1., gzip;q=0.", "br"),
            ("accept-encoding: br;q=0.000", ""),
            ("accept-encoding: br;q=0.0001", ""),
            ("accept-encoding: br;q=1.5", ""),
            ("accept-encoding: br;q=-1", ""),
            ("accept-encoding: br;q=", ""),
            ("accept-encoding: br;q=cow", ""),
            ("accept-encoding: br, br;q=0", ""),
            ("accept-encoding: br;q=0, br", ""),
            ("accept-encoding: ,,;,;q=1,=, br", "br"),
        ]);
    }

    #[test]
    fn ten_thousand_members_come_to_the_same_few_values() {
        check(&[(&format!("accept-encoding: {}br", "gzip;q=0.5, x,".repeat(5000)), "br, gzip")]);
        check(&[(&format!("accept-encoding: {}", ",".repeat(10_000)), "")]);
    }

    #[test]
    fn the_best_of_what_is_offered() {
        let all = [Coding::Gzip, Coding::Zstd, Coding::Br];
        for (field, offered, expected) in [
            ("br, zstd, gzip", &all[..], Coding::Br),
            ("zstd, gzip", &all[..], Coding::Zstd),
            ("gzip", &all[..], Coding::Gzip),
            ("br, gzip", &[Coding::Gzip, Coding::Identity][..], Coding::Gzip),
            ("br", &[Coding::Gzip][..], Coding::Identity),
            ("identity;q=0", &all[..], Coding::Identity),
            ("br", &[][..], Coding::Identity),
        ] {
            assert_eq!(Accepted::read(&head(&format!("accept-encoding: {field}"))).best(offered), expected, "{field}");
        }
    }

    #[test]
    fn section_8_4_the_coding_of_an_answer() {
        for (answer, expected) in [
            ("", Some(Coding::Identity)),
            ("content-encoding: BR", Some(Coding::Br)),
            ("content-encoding: x-gzip", Some(Coding::Gzip)),
            ("content-encoding: identity,", Some(Coding::Identity)),
            ("content-encoding: deflate", None),
            ("content-encoding: gzip, br", None),
            ("content-encoding: gzip | content-encoding: gzip", None),
        ] {
            assert_eq!(Coding::of(&head(answer)), expected, "{answer}");
        }
    }

    proptest! {
        #[test]
        fn the_normal_form_is_read_back_as_itself(bytes in any::<Vec<u8>>(), text in "([*;=,. q01]|br|gzip|zstd|identity){0,20}") {
            for bytes in [&bytes[..], text.as_bytes()] {
                let Ok(value) = HeaderValue::from_bytes(bytes) else { continue };
                let mut request = HeaderMap::new();
                request.append(ACCEPT_ENCODING, value);
                let normal = Accepted::read(&request).normalised();
                let mut again = HeaderMap::new();
                if let Some(normal) = &normal {
                    again.append(ACCEPT_ENCODING, normal.clone());
                }
                prop_assert_eq!(Accepted::read(&again).normalised(), normal);
            }
        }
    }
}
