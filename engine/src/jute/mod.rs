//! Jute, ZooKeeper's serialisation: a codec over slices, and the records in the order of
//! ZooKeeper's own schema (`records`). Integers are big-endian; strings, buffers and vectors carry
//! a length of four bytes, where −1 is null.
//!
//! What is read here and there of every request is inlined: a value that goes through memory in parts, and is
//! taken from there as a whole, waits for its stores.
//!
//! Decoding is total: no byte can make it panic, loop, or allocate more than the input's length
//! justifies. Decoded records borrow from the input.

pub mod records;

use std::borrow::Cow;
use std::fmt;

/// Why bytes are not the record that they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The input ends before the field does.
    Truncated {
        /// Offset of the field from the start of the record.
        at: usize,
        /// Bytes that the field needs.
        needed: usize,
    },
    /// A length below −1.
    Negative {
        /// Offset of the length.
        at: usize,
        /// What it says.
        length: i32,
    },
    /// A field that must not be null is.
    Null {
        /// Offset of its length.
        at: usize,
    },
    /// A type or flag that has no meaning where it stands.
    Unknown {
        /// Offset just after it.
        at: usize,
        /// What it says.
        value: i32,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            DecodeError::Truncated { at, needed } => {
                write!(f, "input ends at offset {at} where {needed} more bytes are needed")
            }
            DecodeError::Negative { at, length } => write!(f, "negative length {length} at offset {at}"),
            DecodeError::Null { at } => write!(f, "null at offset {at} where a value is needed"),
            DecodeError::Unknown { at, value } => write!(f, "unknown type {value} before offset {at}"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// Result of decoding.
pub type Result<T> = std::result::Result<T, DecodeError>;

/// Reads fields off a slice, front to back.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    null_as_empty: bool,
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    #[inline]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Reader { bytes, at: 0, null_as_empty: false }
    }

    /// Starts at the first byte, and reads a null string as an empty one.
    pub const fn with_null_as_empty(bytes: &'a [u8]) -> Self {
        Reader { bytes, at: 0, null_as_empty: true }
    }

    /// Offset of the next byte.
    #[inline]
    pub const fn position(&self) -> usize {
        self.at
    }

    /// What has not been read.
    #[inline]
    pub fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    /// The next `count` bytes.
    #[inline]
    pub fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        if rest.len() < count {
            return Err(DecodeError::Truncated { at: self.at, needed: count - rest.len() });
        }
        self.at += count;
        Ok(&rest[..count])
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// A length: `None` is jute's null.
    #[inline]
    fn length(&mut self) -> Result<Option<usize>> {
        let at = self.at;
        match i32::read(self)? {
            -1 => Ok(None),
            length if length < 0 => Err(DecodeError::Negative { at, length }),
            length => Ok(Some(length as usize)),
        }
    }

    /// A record of type `T`.
    #[inline]
    pub fn read<T: Read<'a>>(&mut self) -> Result<T> {
        T::read(self)
    }

    /// A field that must not be null.
    #[inline]
    pub fn require<T>(&self, value: Option<T>) -> Result<T> {
        value.ok_or(DecodeError::Null { at: self.at })
    }
}

/// A type that can be decoded from jute.
pub trait Read<'a>: Sized {
    /// Decodes one value.
    ///
    /// # Errors
    /// Says which byte is wrong and how.
    fn read(r: &mut Reader<'a>) -> Result<Self>;
}

/// A type that can be encoded as jute.
pub trait Write {
    /// Appends the value to `out`.
    fn write(&self, out: &mut Vec<u8>);
}

impl<'a> Read<'a> for i32 {
    #[inline]
    fn read(r: &mut Reader<'a>) -> Result<Self> {
        Ok(i32::from_be_bytes(r.array()?))
    }
}

impl<'a> Read<'a> for i64 {
    #[inline]
    fn read(r: &mut Reader<'a>) -> Result<Self> {
        Ok(i64::from_be_bytes(r.array()?))
    }
}

impl<'a> Read<'a> for bool {
    /// As Java's `readBoolean`: every byte but zero is true.
    #[inline]
    fn read(r: &mut Reader<'a>) -> Result<Self> {
        Ok(r.array::<1>()?[0] != 0)
    }
}

impl<'a> Read<'a> for Option<&'a [u8]> {
    #[inline]
    fn read(r: &mut Reader<'a>) -> Result<Self> {
        match r.length()? {
            None => Ok(None),
            Some(length) => r.take(length).map(Some),
        }
    }
}

/// A `ustring` that is not null. Bytes that are not UTF-8 become U+FFFD, as in Java.
impl<'a> Read<'a> for Cow<'a, str> {
    #[inline(always)]
    fn read(r: &mut Reader<'a>) -> Result<Self> {
        let at = r.at;
        match Option::read(r)? {
            Some(text) => Ok(text),
            None if r.null_as_empty => Ok(Cow::Borrowed("")),
            None => Err(DecodeError::Null { at }),
        }
    }
}

impl<'a> Read<'a> for Option<Cow<'a, str>> {
    #[inline(always)]
    fn read(r: &mut Reader<'a>) -> Result<Self> {
        let Some(length) = r.length()? else { return Ok(None) };
        let bytes = r.take(length)?;
        // Looking whether all of it is UTF-8 is several times faster than looking for what is not.
        Ok(Some(match std::str::from_utf8(bytes) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) => String::from_utf8_lossy(bytes),
        }))
    }
}

/// A vector; null and every other negative length are read as empty, as in Java.
impl<'a, T: Read<'a>> Read<'a> for Vec<T> {
    #[inline]
    fn read(r: &mut Reader<'a>) -> Result<Self> {
        let count = usize::try_from(i32::read(r)?).unwrap_or(0);
        // Each element takes at least one byte, so the input bounds what is set aside.
        let mut items = Vec::with_capacity(count.min(r.rest().len()).min(1024));
        for _ in 0..count {
            items.push(r.read()?);
        }
        Ok(items)
    }
}

/// A field that takes as many bytes as in memory, whatever it says. A record of such alone is put together
/// first, so that room is made once.
trait Fixed {
    fn put(self, to: &mut [u8]);
}

impl Fixed for i32 {
    #[inline]
    fn put(self, to: &mut [u8]) {
        to.copy_from_slice(&self.to_be_bytes());
    }
}

impl Fixed for i64 {
    #[inline]
    fn put(self, to: &mut [u8]) {
        to.copy_from_slice(&self.to_be_bytes());
    }
}

impl Fixed for bool {
    #[inline]
    fn put(self, to: &mut [u8]) {
        to.fill(u8::from(self));
    }
}

impl Write for i32 {
    #[inline]
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_be_bytes());
    }
}

impl Write for i64 {
    #[inline]
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_be_bytes());
    }
}

impl Write for bool {
    #[inline]
    fn write(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
}

impl Write for [u8] {
    #[inline]
    fn write(&self, out: &mut Vec<u8>) {
        (self.len() as i32).write(out);
        out.extend_from_slice(self);
    }
}

impl Write for str {
    #[inline]
    fn write(&self, out: &mut Vec<u8>) {
        self.as_bytes().write(out);
    }
}

impl Write for String {
    #[inline]
    fn write(&self, out: &mut Vec<u8>) {
        self.as_str().write(out);
    }
}

impl Write for Cow<'_, str> {
    #[inline]
    fn write(&self, out: &mut Vec<u8>) {
        self.as_ref().write(out);
    }
}

impl<T: Write + ?Sized> Write for &T {
    #[inline]
    fn write(&self, out: &mut Vec<u8>) {
        (**self).write(out);
    }
}

impl<T: Write> Write for Option<T> {
    #[inline]
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            None => (-1i32).write(out),
            Some(value) => value.write(out),
        }
    }
}

impl<T: Write> Write for Vec<T> {
    #[inline]
    fn write(&self, out: &mut Vec<u8>) {
        (self.len() as i32).write(out);
        for item in self {
            item.write(out);
        }
    }
}

/// Decodes a whole record; bytes after it are ignored, as Java's server ignores them.
///
/// # Errors
/// Says which byte is wrong and how.
pub fn from_bytes<'a, T: Read<'a>>(bytes: &'a [u8]) -> Result<T> {
    T::read(&mut Reader::new(bytes))
}

/// Encodes a record on its own.
pub fn to_bytes<T: Write>(record: &T) -> Vec<u8> {
    let mut out = Vec::new();
    record.write(&mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_below_null_are_refused() {
        let error = from_bytes::<Option<&[u8]>>(&(-2i32).to_be_bytes()).unwrap_err();
        assert_eq!(error, DecodeError::Negative { at: 0, length: -2 });
    }

    #[test]
    fn a_claimed_length_allocates_nothing() {
        let bytes = i32::MAX.to_be_bytes();
        assert!(matches!(from_bytes::<Vec<i64>>(&bytes), Err(DecodeError::Truncated { .. })));
        assert!(matches!(from_bytes::<Cow<'_, str>>(&bytes), Err(DecodeError::Truncated { .. })));
    }

    #[test]
    fn invalid_utf8_is_replaced_as_java_replaces_it() {
        let mut bytes = Vec::new();
        b"/a\xff\xfeb"[..].write(&mut bytes);
        assert_eq!(from_bytes::<Cow<'_, str>>(&bytes).unwrap(), "/a\u{fffd}\u{fffd}b");
    }
}
