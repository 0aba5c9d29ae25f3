//! Plain, gzip and snappy: a snapshot's bytes as they are needed, with their running Adler-32, and the
//! way back.
//!
//! Snappy's framing is that of snappy-java's `SnappyOutputStream`: a header of 16 bytes (magic, version
//! 1, compatible down to 1), then blocks, each with its packed length before it.
//!
//! A small file can unpack to a large one, so nothing is unpacked before it is asked for: what is held
//! is one field and one block. Nor has a file to be in memory as a whole: [`Input`] hands it over piece
//! by piece.

use flate2::{Compress, Decompress, FlushCompress, FlushDecompress, Status};
use simd_adler32::Adler32;

use super::format::Fault;

/// A field that claims to be longer is a fault: of compressed bytes it would be made of nothing.
const FIELD_BYTES_MAX: usize = 256 << 20;
/// Unpacked at a time.
const CHUNK_BYTES: usize = 64 << 10;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const GZIP_DEFLATE: u8 = 8;
/// No time, no flags; the last byte, the system, is unknown.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, GZIP_DEFLATE, 0, 0, 0, 0, 0, 0, 0xff];
const SNAPPY_HEADER: [u8; 16] = *b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";
const SNAPPY_MAGIC_BYTES: usize = 8;
/// What snappy-java packs at a time.
const SNAPPY_BLOCK_BYTES: usize = 32 << 10;
/// The most that one byte of snappy can stand for: three bytes copy 64.
const SNAPPY_RATIO_MAX: usize = 22;

/// How a snapshot's file is packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// As `java.util.zip.GZIPOutputStream` does.
    Gzip,
    /// As snappy-java's `SnappyOutputStream` does.
    Snappy,
}

impl Compression {
    /// What a file's first bytes say.
    pub fn of_file(file: &[u8]) -> Compression {
        if file.starts_with(&GZIP_MAGIC) {
            Compression::Gzip
        } else if file.starts_with(&SNAPPY_HEADER[..SNAPPY_MAGIC_BYTES]) {
            Compression::Snappy
        } else {
            Compression::None
        }
    }

    /// The end of a file's name; empty if there is none.
    pub fn extension(self) -> &'static str {
        match self {
            Compression::None => "",
            Compression::Gzip => "gz",
            Compression::Snappy => "snappy",
        }
    }
}

/// A file's bytes, front to back, for who reads it piece by piece.
pub trait Input {
    /// Appends the next piece to `out`; nothing at the end.
    ///
    /// # Errors
    /// Why the rest cannot be read.
    fn append_piece(&mut self, out: &mut Vec<u8>) -> Result<(), String>;
}

/// Bytes that are in memory, as one piece.
impl Input for Option<Vec<u8>> {
    fn append_piece(&mut self, out: &mut Vec<u8>) -> Result<(), String> {
        match self.take() {
            Some(bytes) if out.is_empty() => *out = bytes,
            Some(bytes) => out.extend_from_slice(&bytes),
            None => {}
        }
        Ok(())
    }
}

impl From<Vec<u8>> for Box<dyn Input> {
    fn from(bytes: Vec<u8>) -> Box<dyn Input> {
        Box::new(Some(bytes))
    }
}

/// What is read of a file and not taken yet.
pub(super) enum Raw<'a> {
    /// All of it is in memory.
    Slice { rest: &'a [u8], taken: &'a [u8] },
    /// It comes piece by piece; what is held and not taken begins at `begin`.
    Pieces { input: &'a mut dyn Input, held: Vec<u8>, begin: usize },
}

impl<'a> Raw<'a> {
    pub fn of_slice(rest: &'a [u8]) -> Raw<'a> {
        Raw::Slice { rest, taken: &[] }
    }

    pub fn of_input(input: &'a mut dyn Input) -> Raw<'a> {
        Raw::Pieces { input, held: Vec::new(), begin: 0 }
    }

    /// What is next: `count` bytes at least, fewer where the file ends.
    pub fn fill(&mut self, count: usize) -> Result<&[u8], String> {
        match self {
            Raw::Slice { rest, .. } => Ok(rest),
            Raw::Pieces { input, held, begin } => {
                if held.len() - *begin < count && *begin > 0 {
                    held.drain(..*begin);
                    *begin = 0;
                }
                while held.len() - *begin < count {
                    let before = held.len();
                    input.append_piece(held)?;
                    if held.len() == before {
                        break;
                    }
                }
                Ok(&held[*begin..])
            }
        }
    }

    /// Takes `count` bytes of those that were there.
    pub fn take(&mut self, count: usize) -> &[u8] {
        match self {
            Raw::Slice { rest, taken } => {
                (*taken, *rest) = rest.split_at(count);
                taken
            }
            Raw::Pieces { held, begin, .. } => {
                *begin += count;
                &held[*begin - count..*begin]
            }
        }
    }
}

/// How bytes are unpacked.
enum Packed {
    Gzip { inflate: Box<Decompress>, check: crc32fast::Hasher, bytes: u32, ended: bool },
    Snappy { decoder: snap::raw::Decoder },
}

/// The unpacked bytes of a file, front to back.
pub(super) struct Source<'a> {
    raw: Raw<'a>,
    /// `None`: the file is not packed, and what is raw is what is wanted.
    packed: Option<Packed>,
    /// What is unpacked and not consumed begins at `begin`.
    window: Vec<u8>,
    begin: usize,
    offset: u64,
    checksum: Adler32,
    field_bytes_max: usize,
}

impl<'a> Source<'a> {
    /// Begins what a peer sends: never packed, and not looked at beyond what is asked for, since the peer
    /// may send no more before it is answered.
    pub fn of_peer(input: &'a mut dyn Input) -> Source<'a> {
        Source {
            raw: Raw::of_input(input),
            packed: None,
            window: Vec::new(),
            begin: 0,
            offset: 0,
            checksum: Adler32::new(),
            field_bytes_max: FIELD_BYTES_MAX,
        }
    }

    /// What was read and not consumed.
    pub fn into_rest(self) -> Vec<u8> {
        match self.raw {
            Raw::Slice { rest, .. } => rest.to_vec(),
            Raw::Pieces { mut held, begin, .. } => held.split_off(begin),
        }
    }

    /// Begins a file.
    pub fn open(mut raw: Raw<'a>) -> Result<Source<'a>, Fault> {
        let file = raw.fill(CHUNK_BYTES).map_err(|what| Fault::new(0, what))?;
        let (packed, header_bytes) = match Compression::of_file(file) {
            Compression::None => (None, 0),
            Compression::Gzip => {
                let rest = gzip_body(file).ok_or_else(|| Fault::new(0, "a damaged gzip header"))?;
                let inflate = Box::new(Decompress::new(false));
                let check = crc32fast::Hasher::new();
                let header_bytes = file.len() - rest.len();
                (Some(Packed::Gzip { inflate, check, bytes: 0, ended: false }), header_bytes)
            }
            Compression::Snappy => {
                if !file.starts_with(&SNAPPY_HEADER) {
                    return Err(Fault::new(0, "a snappy header of an unknown version"));
                }
                (Some(Packed::Snappy { decoder: snap::raw::Decoder::new() }), SNAPPY_HEADER.len())
            }
        };
        raw.take(header_bytes);
        let field_bytes_max = if packed.is_some() { FIELD_BYTES_MAX } else { usize::MAX };
        let checksum = Adler32::new();
        Ok(Source { raw, packed, window: Vec::new(), begin: 0, offset: 0, checksum, field_bytes_max })
    }

    /// How the file is packed.
    pub fn compression(&self) -> Compression {
        match self.packed {
            None => Compression::None,
            Some(Packed::Gzip { .. }) => Compression::Gzip,
            Some(Packed::Snappy { .. }) => Compression::Snappy,
        }
    }

    /// Where the next byte is.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Adler-32 of all that was consumed.
    pub fn checksum(&self) -> u32 {
        self.checksum.finish()
    }

    /// The same, to go on with.
    pub fn running_checksum(&self) -> Adler32 {
        self.checksum.clone()
    }

    /// The next bytes, `count` of them, or fewer where the file ends. They are not consumed.
    pub fn peek_up_to(&mut self, count: usize) -> Result<&[u8], Fault> {
        if count > self.field_bytes_max {
            return Err(Fault::new(self.offset, format!("a field of {count} bytes")));
        }
        let Some(packed) = &mut self.packed else {
            let next = self.raw.fill(count).map_err(|what| Fault::new(self.offset, what))?;
            return Ok(&next[..count.min(next.len())]);
        };
        while self.window.len() - self.begin < count {
            if self.begin > CHUNK_BYTES {
                self.window.drain(..self.begin);
                self.begin = 0;
            }
            let reached = self.offset + (self.window.len() - self.begin) as u64;
            if !packed.unpack(&mut self.raw, &mut self.window).map_err(|what| Fault::new(reached, what))? {
                break;
            }
        }
        let window = &self.window[self.begin..];
        Ok(&window[..count.min(window.len())])
    }

    /// The next `count` bytes. They are not consumed.
    pub fn peek(&mut self, count: usize) -> Result<&[u8], Fault> {
        let offset = self.offset;
        let bytes = self.peek_up_to(count)?;
        if bytes.len() < count {
            return Err(Fault::new(offset + bytes.len() as u64, "the file ends too early"));
        }
        Ok(bytes)
    }

    /// The next `count` bytes, which were peeked before.
    pub fn consume(&mut self, count: usize) -> &[u8] {
        let bytes = match &self.packed {
            None => self.raw.take(count),
            Some(_) => {
                self.begin += count;
                &self.window[self.begin - count..self.begin]
            }
        };
        self.offset += count as u64;
        self.checksum.write(bytes);
        bytes
    }
}

/// What is behind the header of a gzip file.
fn gzip_body(file: &[u8]) -> Option<&[u8]> {
    const CHECKED: u8 = 2;
    const EXTRA: u8 = 4;
    const NAMED: u8 = 8;
    const COMMENTED: u8 = 16;
    let (header, mut rest) = file.split_at_checked(GZIP_HEADER.len())?;
    let flags = header[3];
    if header[..2] != GZIP_MAGIC || header[2] != GZIP_DEFLATE || flags >= COMMENTED << 1 {
        return None;
    }
    if flags & EXTRA != 0 {
        let (length, behind) = rest.split_first_chunk::<2>()?;
        rest = behind.get(usize::from(u16::from_le_bytes(*length))..)?;
    }
    for text in [NAMED, COMMENTED] {
        if flags & text != 0 {
            let end = rest.iter().position(|byte| *byte == 0)?;
            rest = &rest[end + 1..];
        }
    }
    rest.get(if flags & CHECKED != 0 { 2 } else { 0 }..)
}

impl Packed {
    /// Appends some more bytes; `false` at the end.
    fn unpack(&mut self, raw: &mut Raw<'_>, out: &mut Vec<u8>) -> Result<bool, String> {
        match self {
            Packed::Snappy { decoder } => {
                const LENGTH_BYTES: usize = 4;
                let cut = "the file ends in a packed block";
                let length = match raw.fill(LENGTH_BYTES)? {
                    [] => return Ok(false),
                    next => *next.first_chunk::<LENGTH_BYTES>().ok_or(cut)?,
                };
                let length = usize::try_from(i32::from_be_bytes(length)).map_err(|_| "a damaged block")?;
                if raw.fill(LENGTH_BYTES + length)?.len() < LENGTH_BYTES + length {
                    return Err(cut.into());
                }
                let block = &raw.take(LENGTH_BYTES + length)[LENGTH_BYTES..];
                let unpacked = snap::raw::decompress_len(block).map_err(|error| error.to_string())?;
                if unpacked > block.len().saturating_mul(SNAPPY_RATIO_MAX) {
                    return Err(format!("a block of {length} bytes cannot unpack to {unpacked}"));
                }
                let held = out.len();
                out.resize(held + unpacked, 0);
                decoder.decompress(block, &mut out[held..]).map_err(|error| error.to_string())?;
                Ok(true)
            }
            Packed::Gzip { ended: true, .. } => Ok(false),
            Packed::Gzip { inflate, check, bytes, ended } => {
                let (held, before) = (out.len(), (inflate.total_in(), inflate.total_out()));
                out.resize(held + CHUNK_BYTES, 0);
                let status = inflate.decompress(raw.fill(1)?, &mut out[held..], FlushDecompress::None);
                let status = status.map_err(|error| format!("damaged gzip: {error}"))?;
                let read = (inflate.total_in() - before.0) as usize;
                let unpacked = (inflate.total_out() - before.1) as usize;
                out.truncate(held + unpacked);
                raw.take(read);
                check.update(&out[held..]);
                *bytes = bytes.wrapping_add(unpacked as u32);
                if status == Status::StreamEnd {
                    *ended = true;
                    let expected = [check.clone().finalize().to_le_bytes(), bytes.to_le_bytes()].concat();
                    if raw.fill(expected.len() + 1)? != expected {
                        return Err("gzip's check of what was unpacked is wrong".into());
                    }
                } else if (read, unpacked) == (0, 0) {
                    return Err("the file ends in its packed bytes".into());
                }
                Ok(true)
            }
        }
    }
}

/// Packs what is written, with its running checksum.
pub(super) struct Sink {
    packing: Packing,
    /// What is to be appended to the file.
    out: Vec<u8>,
    checksum: Adler32,
}

enum Packing {
    Plain,
    Gzip { deflate: Box<Compress>, check: crc32fast::Hasher },
    Snappy { encoder: Box<snap::raw::Encoder>, block: Vec<u8> },
}

impl Sink {
    pub fn new(compression: Compression) -> Sink {
        let (packing, out) = match compression {
            Compression::None => (Packing::Plain, Vec::new()),
            Compression::Gzip => {
                let deflate = Box::new(Compress::new(flate2::Compression::default(), false));
                (Packing::Gzip { deflate, check: crc32fast::Hasher::new() }, GZIP_HEADER.to_vec())
            }
            Compression::Snappy => {
                let block = Vec::with_capacity(SNAPPY_BLOCK_BYTES);
                (
                    Packing::Snappy { encoder: Box::new(snap::raw::Encoder::new()), block },
                    SNAPPY_HEADER.to_vec(),
                )
            }
        };
        Sink { packing, out, checksum: Adler32::new() }
    }

    /// Adler-32 of all that was written.
    pub fn checksum(&self) -> u32 {
        self.checksum.finish()
    }

    pub fn write(&mut self, mut bytes: &[u8]) {
        self.checksum.write(bytes);
        match &mut self.packing {
            Packing::Plain => self.out.extend_from_slice(bytes),
            Packing::Gzip { deflate, check } => {
                check.update(bytes);
                while !bytes.is_empty() {
                    bytes = &bytes[deflate_some(deflate, bytes, FlushCompress::None, &mut self.out).0..];
                }
            }
            Packing::Snappy { encoder, block } => {
                while !bytes.is_empty() {
                    let (now, later) = bytes.split_at(bytes.len().min(SNAPPY_BLOCK_BYTES - block.len()));
                    block.extend_from_slice(now);
                    bytes = later;
                    if block.len() == SNAPPY_BLOCK_BYTES {
                        pack_block(encoder, block, &mut self.out);
                    }
                }
            }
        }
    }

    /// How much is to be appended to the file now.
    pub fn pending_bytes(&self) -> usize {
        self.out.len()
    }

    /// What is to be appended to the file now.
    pub fn take_bytes(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    /// Ends the file; returns what is left to append.
    pub fn finish(mut self) -> Vec<u8> {
        match &mut self.packing {
            Packing::Plain => {}
            Packing::Gzip { deflate, check } => {
                while deflate_some(deflate, &[], FlushCompress::Finish, &mut self.out).1 != Status::StreamEnd
                {
                }
                self.out.extend_from_slice(&check.clone().finalize().to_le_bytes());
                self.out.extend_from_slice(&(deflate.total_in() as u32).to_le_bytes());
            }
            Packing::Snappy { encoder, block } => pack_block(encoder, block, &mut self.out),
        }
        self.out
    }
}

/// Packs some of `bytes`; returns how many, and how it stands.
fn deflate_some(
    deflate: &mut Compress,
    bytes: &[u8],
    flush: FlushCompress,
    out: &mut Vec<u8>,
) -> (usize, Status) {
    let before = deflate.total_in();
    out.reserve(CHUNK_BYTES);
    let status = deflate.compress_vec(bytes, out, flush).expect("packing cannot fail");
    ((deflate.total_in() - before) as usize, status)
}

fn pack_block(encoder: &mut snap::raw::Encoder, block: &mut Vec<u8>, out: &mut Vec<u8>) {
    if block.is_empty() {
        return;
    }
    let packed = encoder.compress_vec(block).expect("a block is far below snappy's limit");
    out.extend_from_slice(&(packed.len() as u32).to_be_bytes());
    out.extend_from_slice(&packed);
    block.clear();
}
