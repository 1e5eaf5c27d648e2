//! Compression of header block and body, and the way back for what may be a bomb.

use std::io::{Read, Write};

use bytes::Bytes;
use http::header;
use zstd::stream::read::Decoder;
use zstd::stream::write::Encoder;

use super::Refusal;
use crate::rfc::Coding;
use crate::store::Entry;

/// Fast: a shared hit waits for the way back only, and that is equally fast at each level.
const LEVEL: i32 = 1;

/// 512 KiB, what the level uses at most. A reader allocates as much as the frame asks for, so it says how much that may be.
const WINDOW_LOG: u32 = 19;

/// Room that is made before there is anything to put in it, in bytes.
const AT_FIRST: usize = 64 * 1024;

/// Could the answer become smaller? Not if it is compressed already, in its own way or by a content coding.
pub(super) fn worthwhile(entry: &Entry) -> bool {
    let kind = entry.headers.get(header::CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    let is = |prefix: &str| kind.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()));
    let packed = (is("image/") && !is("image/svg")) || is("video/") || is("audio/");
    entry.coding == Coding::Identity && !entry.headers.contains_key(header::CONTENT_ENCODING) && !packed
}

/// Both as one frame, if that is smaller.
pub(super) fn pack(fields: &[u8], body: &[u8]) -> Option<Vec<u8>> {
    let length = fields.len() + body.len();
    let mut encoder = Encoder::new(Vec::with_capacity(length / 2), LEVEL).ok()?;
    encoder.set_pledged_src_size(Some(length as u64)).ok()?;
    encoder.window_log(WINDOW_LOG).ok()?;
    encoder.write_all(fields).ok()?;
    encoder.write_all(body).ok()?;
    encoder.finish().ok().filter(|packed| packed.len() < length)
}

/// Both again, each in an allocation of its own. They have to be exactly as long as was promised, and the frame has to end
/// there. Memory is taken as bytes come out of the frame, not as they are promised.
pub(super) fn unpack(packed: &[u8], fields: usize, body: usize) -> Result<(Bytes, Bytes), Refusal> {
    let refused = |_| Refusal::Decompression;
    let mut decoder = Decoder::with_buffer(packed).map_err(refused)?.single_frame();
    decoder.window_log_max(WINDOW_LOG).map_err(refused)?;
    let fields = take(&mut decoder, fields)?;
    let body = take(&mut decoder, body)?;
    if decoder.read(&mut [0]).map_err(refused)? != 0 || !decoder.finish().is_empty() {
        return Err(Refusal::Decompression);
    }
    Ok((fields, body))
}

fn take(from: &mut impl Read, length: usize) -> Result<Bytes, Refusal> {
    let mut out = Vec::with_capacity(length.min(AT_FIRST));
    from.take(length as u64).read_to_end(&mut out).map_err(|_| Refusal::Decompression)?;
    if out.len() != length {
        return Err(Refusal::Decompression);
    }
    Ok(out.into_boxed_slice().into())
}
