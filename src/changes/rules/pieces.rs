//! Texts with places for values: where a host ends and a path begins, and how a value is written in either.

use crate::policy::Fault;

/// Part of a text with places for values in it.
#[derive(Clone, Debug)]
pub(super) enum Piece {
    Text(String),
    /// The value of the source with this index.
    Value(usize, Place),
}

/// Where a value stands, which decides how it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Plain,
    Host,
    Path,
    Query,
}

/// How values are written in paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spelling {
    /// With as few escapes as RFC 3986 permits.
    Lean,
    /// With those of `encodeURIComponent`.
    Component,
    /// Not at all.
    Bare,
}

/// The text with `values` in their places, by the sources' numbers.
pub(super) fn join(pieces: &[Piece], values: &[&str], spelling: Spelling) -> String {
    let mut text = String::new();
    for piece in pieces {
        match piece {
            Piece::Text(written) => text.push_str(written),
            Piece::Value(source, place) => write(values.get(*source).unwrap_or(&""), *place, spelling, &mut text),
        }
    }
    text
}

fn write(value: &str, place: Place, spelling: Spelling, out: &mut String) {
    if spelling == Spelling::Bare || matches!(place, Place::Plain | Place::Host) {
        return out.push_str(value);
    }
    let kept = |byte: u8| match byte {
        byte if byte.is_ascii_alphanumeric() => true,
        b'-' | b'.' | b'_' | b'~' | b'!' | b'\'' | b'(' | b')' | b'*' => true,
        b'$' | b',' | b':' | b'@' => spelling == Spelling::Lean,
        b'&' | b'+' | b';' | b'=' => spelling == Spelling::Lean && place == Place::Path,
        _ => false,
    };
    for byte in value.bytes() {
        if kept(byte) {
            out.push(char::from(byte));
        } else {
            let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0').to_ascii_uppercase();
            out.extend(['%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

/// Splits pieces at the first slash: what comes before it, and from it on.
fn split_slash(pieces: Vec<Piece>) -> (Vec<Piece>, Vec<Piece>) {
    let (mut host, mut rest) = (Vec::new(), Vec::new());
    for piece in pieces {
        match piece {
            piece if !rest.is_empty() => rest.push(piece),
            Piece::Text(text) if text.contains('/') => {
                let at = text.find('/').unwrap_or_default();
                let (before, from) = text.split_at(at);
                host.extend((!before.is_empty()).then(|| Piece::Text(before.to_owned())));
                rest.push(Piece::Text(from.to_owned()));
            }
            piece => host.push(piece),
        }
    }
    (host, rest)
}

/// `host/name`, with or without two slashes before it: the host, the name.
pub(super) fn split_group(pieces: Vec<Piece>) -> Result<(Vec<Piece>, Vec<Piece>), Fault> {
    let (host, mut name) = split_slash(strip(pieces, "//"));
    let named = match name.first_mut() {
        Some(Piece::Text(text)) => {
            text.remove(0);
            !text.is_empty() || name.len() > 1
        }
        _ => false,
    };
    if !named {
        return Err(Fault::new("a group is of one host").hint("write `group:HOST/NAME`"));
    }
    Ok((as_host(host, "")?, name))
}

/// A path, or a URL: the host, empty where there is none, and the path with the query.
pub(super) fn split_url(pieces: Vec<Piece>) -> Result<(Vec<Piece>, Vec<Piece>), Fault> {
    let begins = |start: &str| matches!(pieces.first(), Some(Piece::Text(text)) if text.starts_with(start));
    if begins("/") && !begins("//") {
        return Ok((Vec::new(), placed(pieces)));
    }
    let Some(scheme) = ["https://", "http://", "//"].into_iter().find(|scheme| begins(scheme)) else {
        return Err(
            Fault::new("it names neither a path nor a URL").hint("write `/api/users` or `https://host/api/users`")
        );
    };
    let port = if scheme == "https://" { ":443" } else { ":80" };
    let (host, mut path) = split_slash(strip(pieces, scheme));
    if path.is_empty() {
        path.push(Piece::Text("/".to_owned()));
    }
    Ok((as_host(host, if scheme == "//" { "" } else { port })?, placed(path)))
}

/// The pieces without this beginning.
fn strip(mut pieces: Vec<Piece>, start: &str) -> Vec<Piece> {
    if let Some(Piece::Text(text)) = pieces.first_mut()
        && let Some(rest) = text.strip_prefix(start)
    {
        *text = rest.to_owned();
    }
    pieces
}

/// The pieces of a host: in lower case and without its scheme's port, as requests are kept.
fn as_host(mut pieces: Vec<Piece>, port: &str) -> Result<Vec<Piece>, Fault> {
    if let Some(Piece::Text(text)) = pieces.last_mut() {
        let shorter = text.strip_suffix(port).unwrap_or(text);
        *text = shorter.strip_suffix('.').unwrap_or(shorter).to_owned();
    }
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':' | b'[' | b']');
    for piece in &mut pieces {
        match piece {
            Piece::Text(text) if text.bytes().all(good) => text.make_ascii_lowercase(),
            Piece::Text(text) => return Err(Fault::new(format!("`{}` is no host", text.escape_debug()))),
            Piece::Value(_, place) => *place = Place::Host,
        }
    }
    pieces.retain(|piece| !matches!(piece, Piece::Text(text) if text.is_empty()));
    if pieces.is_empty() { Err(Fault::new("the host is missing")) } else { Ok(pieces) }
}

/// Tells each value whether it stands in the path or in the query.
fn placed(mut pieces: Vec<Piece>) -> Vec<Piece> {
    let mut here = Place::Path;
    for piece in &mut pieces {
        match piece {
            Piece::Text(text) if text.contains('?') => here = Place::Query,
            Piece::Text(_) => {}
            Piece::Value(_, place) => *place = here,
        }
    }
    pieces
}
