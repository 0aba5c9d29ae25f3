//! A session's order: requests are answered as they came.
//!
//! Writes leave for the replica at once, one behind the other. A read behind a write goes the same way, or
//! waits until every earlier write of its session is answered; whatever comes after a waiting request waits
//! too: else a later write could be seen by an earlier read.

use std::collections::VecDeque;

/// What to do with a request that just came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It is its turn.
    Now,
    /// Something earlier comes first.
    Wait,
}

/// The requests of one session, `R` each, that wait for their turn.
#[derive(Debug)]
pub struct SessionOrder<R> {
    /// Sent to the replica, not answered yet.
    in_flight: u32,
    waiting: VecDeque<R>,
}

impl<R> Default for SessionOrder<R> {
    fn default() -> Self {
        SessionOrder { in_flight: 0, waiting: VecDeque::new() }
    }
}

impl<R> SessionOrder<R> {
    /// Whether a request that just came can go. `ordered` ones go to the replica, which keeps them
    /// in order; others are answered here.
    pub fn turn(&self, ordered: bool) -> Turn {
        let free = self.waiting.is_empty() && (ordered || self.in_flight == 0);
        if free { Turn::Now } else { Turn::Wait }
    }

    /// Whether the request that waits longest can go.
    pub fn next_can_go(&self, ordered: impl FnOnce(&R) -> bool) -> bool {
        self.waiting.front().is_some_and(|request| self.in_flight == 0 || ordered(request))
    }

    /// A request waits.
    pub fn wait(&mut self, request: R) {
        self.waiting.push_back(request);
    }

    /// A request waits once more, before all others.
    pub fn wait_first(&mut self, request: R) {
        self.waiting.push_front(request);
    }

    /// The request that waits longest.
    pub fn pop(&mut self) -> Option<R> {
        self.waiting.pop_front()
    }

    /// A request left for the replica.
    pub fn sent(&mut self) {
        self.in_flight += 1;
    }

    /// The replica answered one.
    pub fn answered(&mut self) {
        self.in_flight -= 1;
    }

    /// Requests that the replica has.
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Requests that have no answer yet.
    pub fn outstanding(&self) -> usize {
        self.in_flight as usize + self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_waits_for_earlier_writes_and_a_later_write_waits_for_it() {
        let mut order = SessionOrder::default();
        assert_eq!(order.turn(true), Turn::Now);
        order.sent();
        assert_eq!(order.turn(true), Turn::Now, "writes follow each other");
        assert_eq!(order.turn(false), Turn::Wait);
        order.wait("read");
        assert_eq!(order.turn(true), Turn::Wait, "the write must not be seen by the read");
        assert!(!order.next_can_go(|_| false));
        order.answered();
        assert!(order.next_can_go(|_| false));
        assert_eq!(order.pop(), Some("read"));
        assert_eq!(order.outstanding(), 0);
    }
}
