//! Bounded mailboxes between the replica core and the client cores: a batch a message, a wake-up a
//! batch. A full mailbox is back-pressure: its sender keeps the message and is woken when there is
//! room.

use crate::ring::Wake;
use crossbeam::queue::ArrayQueue;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

struct Shared<T> {
    queue: ArrayQueue<T>,
    /// The sender met a full queue and waits.
    starved: AtomicBool,
    receiver: Wake,
    sender: Wake,
}

/// A batch, stamped when it was sent.
pub struct Mail<T> {
    /// What is sent.
    pub batch: T,
    /// When, in microseconds since the server's start; zero if nothing is stamped.
    pub sent_us: u64,
}

/// The sending end.
pub struct Sender<T>(Arc<Shared<T>>);

/// The receiving end.
pub struct Receiver<T>(Arc<Shared<T>>);

/// A mailbox for `capacity` messages. A message wakes `receiver`; room after a lack of it wakes
/// `sender`.
pub fn mailbox<T>(capacity: usize, sender: Wake, receiver: Wake) -> (Sender<T>, Receiver<T>) {
    let queue = ArrayQueue::new(capacity);
    let shared = Arc::new(Shared { queue, starved: AtomicBool::new(false), receiver, sender });
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

impl<T> Sender<T> {
    /// Sends a message.
    ///
    /// # Errors
    /// Gives it back when there is no room; the sender is woken when there is.
    pub fn send(&self, message: T) -> Result<(), T> {
        let mut sent = self.0.queue.push(message);
        if let Err(message) = sent {
            self.0.starved.store(true, Ordering::SeqCst);
            // The receiver may have made room between the two, and seen no need to wake anybody.
            sent = self.0.queue.push(message);
        }
        if sent.is_ok() {
            self.0.receiver.wake();
        }
        sent
    }
}

impl<T> Receiver<T> {
    /// The oldest message.
    pub fn receive(&self) -> Option<T> {
        let message = self.0.queue.pop()?;
        if self.0.starved.swap(false, Ordering::SeqCst) {
            self.0.sender.wake();
        }
        Some(message)
    }
}
