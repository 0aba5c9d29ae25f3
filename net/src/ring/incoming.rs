//! What comes over a connection. Where the kernel can, it is read into memory that all connections of the thread
//! share, and one that waits for bytes has none; elsewhere, or when too much has come at a time, into memory of
//! the connection's own.

use super::{Either, Stream};
use std::io;

/// Own memory of a connection that sends much at a time.
const MUCH_BYTES: usize = 64 << 10;
/// Of the others: most sessions send little, and there may be many.
const FEW_BYTES: usize = 1 << 10;
/// So many reads in a row that little memory would have taken make it little again.
const FEW_READS: u32 = 64;

/// See the module.
pub struct Incoming {
    stream: Stream,
    own: Vec<u8>,
    few: u32,
}

impl Incoming {
    /// Of this connection.
    pub fn new(stream: Stream) -> Incoming {
        Incoming { stream, own: Vec::new(), few: 0 }
    }

    /// Waits for bytes, and has `take` look at them; none: the peer is done.
    ///
    /// # Errors
    /// As the kernel says.
    pub async fn next<T>(&mut self, take: impl FnOnce(&[u8]) -> T) -> io::Result<T> {
        if let Either::Own(driver, socket) = &self.stream.0
            && driver.shares_reads()
        {
            // While it waits it has none.
            self.own = Vec::new();
            if let Some(came) = driver.receive_shared(socket).await {
                return came.map(|bytes| take(&bytes));
            }
        }
        let mut buffer = std::mem::take(&mut self.own);
        if buffer.capacity() == 0 {
            buffer.reserve_exact(FEW_BYTES);
        }
        let (result, bytes) = self.stream.read(buffer).await;
        let taken = result.map(|_| take(&bytes));
        self.few = if bytes.len() < FEW_BYTES { self.few + 1 } else { 0 };
        self.own = match bytes.capacity() < MUCH_BYTES {
            true if self.few == 0 => Vec::with_capacity(MUCH_BYTES),
            false if self.few >= FEW_READS => Vec::new(),
            _ => bytes,
        };
        taken
    }
}
