//! Write buffers that no connection has. A connection borrows one while it has something to send and gives it
//! back when nothing is left: an idle session has none, and an answer allocates nothing.

/// Bytes of all spare buffers of a core: a crowd that was answered at once leaves no more behind.
const BYTES_MAX: usize = 4 << 20;
/// A buffer that grew above this is not kept.
const BUFFER_BYTES_MAX: usize = 256 << 10;
/// What a new one has room for: most answers.
const BUFFER_BYTES: usize = 512;

/// See the module.
#[derive(Debug, Default)]
pub struct SpareBuffers {
    /// Empty ones, the last used on top: the processor's cache may still have it.
    buffers: Vec<Vec<u8>>,
    /// What they have room for, together.
    bytes: usize,
}

impl SpareBuffers {
    /// Lends a buffer in the place of one that has no memory.
    pub fn lend(&mut self, buffer: &mut Vec<u8>) {
        if buffer.capacity() == 0 {
            *buffer = match self.buffers.pop() {
                Some(spare) => {
                    self.bytes -= spare.capacity();
                    spare
                }
                None => Vec::with_capacity(BUFFER_BYTES),
            };
        }
    }

    /// Takes one back, whose content is forgotten.
    pub fn take_back(&mut self, mut buffer: Vec<u8>) {
        let bytes = buffer.capacity();
        if bytes > 0 && bytes <= BUFFER_BYTES_MAX && self.bytes + bytes <= BYTES_MAX {
            buffer.clear();
            self.bytes += bytes;
            self.buffers.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_back_is_lent_again_and_empty() {
        let mut spare = SpareBuffers::default();
        let mut buffer = Vec::new();
        spare.lend(&mut buffer);
        buffer.extend_from_slice(&[1; 2 * BUFFER_BYTES]);
        let (at, bytes) = (buffer.as_ptr(), buffer.capacity());
        spare.lend(&mut buffer);
        assert_eq!(buffer.len(), 2 * BUFFER_BYTES, "it has memory already");
        spare.take_back(buffer);
        assert_eq!(spare.bytes, bytes);
        let mut again = Vec::new();
        spare.lend(&mut again);
        assert_eq!((again.as_ptr(), again.len(), again.capacity(), spare.bytes), (at, 0, bytes, 0));
    }

    #[test]
    fn spare_buffers_are_bounded_alone_and_together() {
        let mut spare = SpareBuffers::default();
        spare.take_back(Vec::new());
        spare.take_back(Vec::with_capacity(BUFFER_BYTES_MAX + 1));
        assert!(spare.buffers.is_empty());
        (0..100).for_each(|_| spare.take_back(Vec::with_capacity(BUFFER_BYTES_MAX)));
        assert_eq!(spare.buffers.len(), BYTES_MAX / BUFFER_BYTES_MAX);
    }
}
