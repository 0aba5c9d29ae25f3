//! Sessions: who is alive, until when, and by which password a client comes back.
//!
//! Expiry goes by buckets of one tick, as ZooKeeper's does: a session's deadline is rounded up to
//! the next multiple of the tick, so one look a tick finds all that expire.

use crate::id::{SessionId, Tick};
use foldhash::fast::FixedState;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Mixed into a session's id to seed its password (`ZooKeeperServer.superSecret`).
const SUPER_SECRET: i64 = 0xB341_5C00;

/// Length of a session's password.
pub const PASSWORD_BYTES: usize = 16;

/// The password of a session, as ZooKeeper derives it: the first bytes of Java's `Random` seeded
/// with the id. Any server of an ensemble can check it without asking another.
pub fn password(session: SessionId) -> [u8; PASSWORD_BYTES] {
    const MULTIPLIER: u64 = 0x5_DEEC_E66D;
    const MASK: u64 = (1 << 48) - 1;
    let mut state = ((session.0 ^ SUPER_SECRET) as u64 ^ MULTIPLIER) & MASK;
    let mut bytes = [0; PASSWORD_BYTES];
    for chunk in bytes.chunks_mut(4) {
        state = state.wrapping_mul(MULTIPLIER).wrapping_add(0xB) & MASK;
        chunk.copy_from_slice(&((state >> 16) as u32).to_le_bytes());
    }
    bytes
}

/// The first session id that a server gives out: its number in the high byte, then the low bits
/// of the time, so that ids are not used again after a restart.
pub fn first_id(server: u8, wall_ms: i64) -> SessionId {
    let time = ((wall_ms as u64) << 24) >> 8;
    SessionId((time | u64::from(server) << 56) as i64)
}

/// The next multiple of a tick behind a moment (`ExpiryQueue.roundToNextInterval`).
fn round_up(moment: Tick, tick_ms: u64) -> Tick {
    Tick((moment.0 / tick_ms + 1) * tick_ms)
}

/// What is known of one session.
#[derive(Clone, Debug)]
pub struct Session<O> {
    /// Negotiated timeout, in milliseconds.
    pub timeout_ms: u32,
    /// The connection that speaks for it.
    pub owner: Option<O>,
    /// Its closing has been proposed; no request of it is taken any more.
    pub closing: bool,
    /// When it was last heard of.
    heard: Tick,
    deadline: Tick,
}

/// Every session of this server. `O` names a connection.
pub struct Sessions<O> {
    /// The hash needs no seed: servers make the ids, so no client can choose ones that collide.
    sessions: HashMap<SessionId, Session<O>, FixedState>,
    buckets: BTreeMap<Tick, BTreeSet<SessionId>>,
    tick_ms: u64,
}

impl<O> Sessions<O> {
    /// None yet; deadlines are multiples of `tick_ms`.
    pub fn new(tick_ms: u32) -> Self {
        Sessions {
            sessions: HashMap::default(),
            buckets: BTreeMap::new(),
            tick_ms: u64::from(tick_ms.max(1)),
        }
    }

    /// Starts or restarts the clock of a session, known or not.
    pub fn track(&mut self, id: SessionId, timeout_ms: u32, now: Tick) -> &mut Session<O> {
        let deadline = round_up(now.plus_ms(u64::from(timeout_ms)), self.tick_ms);
        let fresh = || Session { timeout_ms, owner: None, closing: false, heard: now, deadline };
        let session = self.sessions.entry(id).or_insert_with(fresh);
        (session.timeout_ms, session.heard) = (timeout_ms, now);
        Self::rebucket(&mut self.buckets, id, session, deadline);
        session
    }

    /// A sign of life, seen at `at`. Ignored for a session that is unknown or closing.
    pub fn touch(&mut self, id: SessionId, at: Tick) {
        let tick_ms = self.tick_ms;
        let Some(session) = self.sessions.get_mut(&id).filter(|session| !session.closing) else { return };
        // As most of the requests that come together.
        if at <= session.heard {
            return;
        }
        session.heard = at;
        let deadline = round_up(at.plus_ms(u64::from(session.timeout_ms)), tick_ms);
        if deadline > session.deadline {
            Self::rebucket(&mut self.buckets, id, session, deadline);
        }
    }

    /// The session, if it is known.
    pub fn get(&self, id: SessionId) -> Option<&Session<O>> {
        self.sessions.get(&id)
    }

    /// The session, if it is known, for changing.
    pub fn get_mut(&mut self, id: SessionId) -> Option<&mut Session<O>> {
        self.sessions.get_mut(&id)
    }

    /// Forgets a session.
    pub fn remove(&mut self, id: SessionId) -> Option<Session<O>> {
        let session = self.sessions.remove(&id)?;
        Self::unbucket(&mut self.buckets, id, session.deadline);
        Some(session)
    }

    /// Sessions whose deadline has passed; they are marked as closing.
    pub fn expired(&mut self, now: Tick) -> Vec<SessionId> {
        let mut expired = Vec::new();
        while let Some(bucket) = self.buckets.first_entry().filter(|bucket| *bucket.key() <= now) {
            expired.extend(bucket.remove());
        }
        for id in &expired {
            if let Some(session) = self.sessions.get_mut(id) {
                session.closing = true;
            }
        }
        expired
    }

    /// Gives every session its full timeout again, as after a start.
    pub fn restart_clocks(&mut self, now: Tick) {
        let all: Vec<(SessionId, u32)> = self.iter().map(|(id, session)| (id, session.timeout_ms)).collect();
        for (id, timeout_ms) in all {
            self.track(id, timeout_ms, now);
        }
    }

    /// No connection speaks for any of them any more.
    pub fn disown_all(&mut self) {
        self.sessions.values_mut().for_each(|session| session.owner = None);
    }

    /// Every session.
    pub fn iter(&self) -> impl Iterator<Item = (SessionId, &Session<O>)> {
        self.sessions.iter().map(|(id, session)| (*id, session))
    }

    /// Sessions by the moment at which they expire.
    pub fn buckets(&self) -> impl Iterator<Item = (Tick, &BTreeSet<SessionId>)> {
        self.buckets.iter().map(|(tick, sessions)| (*tick, sessions))
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    fn rebucket(
        buckets: &mut BTreeMap<Tick, BTreeSet<SessionId>>,
        id: SessionId,
        session: &mut Session<O>,
        deadline: Tick,
    ) {
        Self::unbucket(buckets, id, session.deadline);
        session.deadline = deadline;
        buckets.entry(deadline).or_default().insert(id);
    }

    fn unbucket(buckets: &mut BTreeMap<Tick, BTreeSet<SessionId>>, id: SessionId, deadline: Tick) {
        if let Some(bucket) = buckets.get_mut(&deadline) {
            bucket.remove(&id);
            if bucket.is_empty() {
                buckets.remove(&deadline);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_lives_for_its_timeout_and_at_most_a_tick_more() {
        let mut sessions = Sessions::<()>::new(1000);
        sessions.track(SessionId(1), 2500, Tick(100));
        assert!(sessions.expired(Tick(2600)).is_empty());
        sessions.touch(SessionId(1), Tick(1600));
        assert!(sessions.expired(Tick(4100)).is_empty());
        assert_eq!(sessions.expired(Tick(5000)), [SessionId(1)]);
        assert!(sessions.get(SessionId(1)).unwrap().closing);
        sessions.touch(SessionId(1), Tick(5000));
        assert!(sessions.expired(Tick(100_000)).is_empty(), "a closing session is not touched");
    }

    #[test]
    fn passwords_are_javas() {
        // new java.util.Random(0x100000000000001L ^ 0xB3415C00L).nextBytes(new byte[16])
        let expected =
            [0x05, 0x4c, 0xc7, 0x4a, 0x37, 0x32, 0x7d, 0xb2, 0x15, 0xe7, 0x02, 0xe2, 0x0c, 0x73, 0xf0, 0x05];
        assert_eq!(password(SessionId(0x0100_0000_0000_0001)), expected);
    }
}
