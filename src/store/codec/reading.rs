//! Numbers and sized bytes: how they are written, and how they are read from something that may lie.

use super::Refusal;

/// Appends the length of `bytes` and the bytes.
pub(super) fn put_sized(out: &mut Vec<u8>, bytes: &[u8]) {
    put_count(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// Appends a number of things. What is written is limited to far less than 2³².
pub(super) fn put_count(out: &mut Vec<u8>, count: usize) {
    out.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes());
}

/// Reads from the front of what is left; whatever is missing is [`Refusal::Malformed`].
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Refusal> {
        let (array, rest) = self.0.split_first_chunk::<N>().ok_or(Refusal::Malformed)?;
        self.0 = rest;
        Ok(*array)
    }

    pub(super) fn byte(&mut self) -> Result<u8, Refusal> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Refusal> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Refusal> {
        self.array().map(u64::from_be_bytes)
    }

    pub(super) fn sized(&mut self) -> Result<&'a [u8], Refusal> {
        let length = self.length()?;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(Refusal::Malformed)?;
        self.0 = rest;
        Ok(bytes)
    }

    /// A number of things, each of which takes at least `each` bytes: `None` if it is more than `max`, or more than could
    /// follow. Ask before you allocate for them.
    pub(super) fn count(&mut self, max: usize, each: usize) -> Result<Option<usize>, Refusal> {
        let count = self.length()?;
        Ok((count <= max && count <= self.0.len() / each).then_some(count))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn length(&mut self) -> Result<usize, Refusal> {
        usize::try_from(self.array().map(u32::from_be_bytes)?).map_err(|_| Refusal::Malformed)
    }
}
