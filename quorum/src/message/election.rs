//! The election port: how a connection opens (`QuorumCnxManager.InitialMessage`), and the
//! notifications that follow (`FastLeaderElection.buildMsg`), each behind its length of four bytes.

use super::{MessageError, Result, epoch, server_id};
use crate::members::{HostPort, port, split_host};
use ringkeeper_engine::id::{Epoch, ServerId, Zxid};
use ringkeeper_engine::jute::{DecodeError, Reader, Write};

/// Longest message after the handshake (`QuorumCnxManager.PACKETMAXSIZE`).
pub const MESSAGE_BYTES_MAX: usize = 512 << 10;

/// Longest list of addresses in the handshake (`QuorumCnxManager.maxBuffer`).
const ADDRESS_BYTES_MAX: usize = 2048;

/// The handshake carries one address.
const PROTOCOL_ONE_ADDRESS: i64 = -65536;
/// The handshake carries several addresses, joined by bars.
const PROTOCOL_ADDRESSES: i64 = -65535;
/// An observer that has no number.
const ANONYMOUS: i64 = i64::MAX;

/// How a server that opens a connection says who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitialMessage {
    /// Its number; an observer may have none.
    pub server: Option<ServerId>,
    /// Its election addresses. Servers before 3.5 send none.
    pub addresses: Vec<HostPort>,
}

impl InitialMessage {
    /// Reads a handshake off the start of a stream: the message and its length, or `None` if more
    /// bytes are needed.
    ///
    /// # Errors
    /// An unknown protocol version, a server number above 255, an address that is none.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>> {
        let mut r = Reader::new(bytes);
        match Self::read(&mut r) {
            Ok(message) => Ok(Some((message, r.position()))),
            Err(MessageError::Record(DecodeError::Truncated { .. })) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn read(r: &mut Reader<'_>) -> Result<Self> {
        let version: i64 = r.read()?;
        if version >= 0 {
            return Ok(InitialMessage { server: sender(version)?, addresses: Vec::new() });
        }
        if ![PROTOCOL_ONE_ADDRESS, PROTOCOL_ADDRESSES].contains(&version) {
            return Err(MessageError::Value { field: "election protocol version", value: version });
        }
        let server = sender(r.read()?)?;
        let length: i32 = r.read()?;
        if length <= 0 || length as usize > ADDRESS_BYTES_MAX {
            return Err(MessageError::Value { field: "length of addresses", value: length.into() });
        }
        let text = String::from_utf8_lossy(r.take(length as usize)?);
        let addresses = text.split('|').map(address).collect::<Result<_>>()?;
        Ok(InitialMessage { server, addresses })
    }

    /// Appends the handshake: the version that carries several addresses only where there are
    /// several, since servers before 3.6 know the other alone.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let several = self.addresses.len() > 1;
        (if several { PROTOCOL_ADDRESSES } else { PROTOCOL_ONE_ADDRESS }).write(out);
        self.server.map_or(ANONYMOUS, |server| server.0.into()).write(out);
        let texts: Vec<String> = self.addresses.iter().map(ToString::to_string).collect();
        texts.join("|").write(out);
    }
}

fn sender(value: i64) -> Result<Option<ServerId>> {
    if value == ANONYMOUS { Ok(None) } else { server_id("server number", value).map(Some) }
}

fn address(text: &str) -> Result<HostPort> {
    let (host, rest) = split_host(text).map_err(MessageError::Address)?;
    Ok(HostPort { host: host.to_owned(), port: port(rest).map_err(MessageError::Address)? })
}

/// What a server is doing, with ZooKeeper's numbers (`QuorumPeer.ServerState`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerState {
    /// Looks for a leader.
    Looking,
    /// Follows a leader, with a vote.
    Following,
    /// Leads.
    Leading,
    /// Follows a leader, without a vote.
    Observing,
}

/// The number of an election, `logicalclock`: a Java `long`, whose successor is the least one once it is the
/// greatest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Round(pub i64);

impl Round {
    /// The next election's. A peer may name any round, also the greatest; whoever looks for a leader then has
    /// the least of all, hears of the others' and goes over to it, as with ZooKeeper. A round without a
    /// successor, or one that others read as another than it is, would end all elections.
    pub fn next(self) -> Round {
        Round(self.0.wrapping_add(1))
    }
}

/// Whom a server wants as its leader. Votes are ordered by epoch, then zxid, then server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Vote {
    /// The leader's current epoch.
    pub epoch: Epoch,
    /// The end of its log.
    pub zxid: Zxid,
    /// The leader; `None` is the vote of an observer that has not heard of a candidate.
    pub leader: Option<ServerId>,
}

/// What servers tell each other about an election.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// The sender's vote.
    pub vote: Vote,
    /// The election that the vote belongs to.
    pub round: Round,
    /// What the sender is doing.
    pub state: PeerState,
    /// The format: 0 before 3.4.6, 1 from then, 2 with a configuration.
    pub version: i32,
    /// The sender's configuration, from format 2.
    pub members: Option<Box<str>>,
}

/// What an observer without a candidate sends for leader, zxid and epoch.
const NOTHING: i64 = i64::MIN;

/// The epoch of a vote that has none.
const NO_EPOCH: i64 = -1;

/// The format that is written.
pub const VERSION: i32 = 2;

impl Notification {
    /// Appends the message, without the length in front.
    pub fn encode(&self, out: &mut Vec<u8>) {
        (self.state as i32).write(out);
        match self.vote.leader {
            Some(leader) => {
                i64::from(leader.0).write(out);
                self.vote.zxid.to_jute().write(out);
            }
            None => [NOTHING; 2].iter().for_each(|nothing| nothing.write(out)),
        }
        self.round.0.write(out);
        self.vote.leader.map_or(NOTHING, |_| self.vote.epoch.0.into()).write(out);
        VERSION.write(out);
        self.members.as_deref().unwrap_or_default().write(out);
    }

    /// Reads a message: one of 28 bytes has neither epoch nor format, one of 40 has a format that
    /// counts as none, any other has both, as ZooKeeper reads them.
    ///
    /// # Errors
    /// Says which field is missing or cannot be.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut r = Reader::new(bytes);
        let state = match r.read()? {
            0i32 => PeerState::Looking,
            1 => PeerState::Following,
            2 => PeerState::Leading,
            3 => PeerState::Observing,
            value => return Err(MessageError::Value { field: "server state", value: value.into() }),
        };
        let (leader, zxid, round): (i64, i64, i64) = (r.read()?, r.read()?, r.read()?);
        let zxid = Zxid::from_jute(zxid);
        let peer_epoch: i64 = if bytes.len() == 28 { zxid.epoch().0.into() } else { r.read()? };
        let version: i32 = if matches!(bytes.len(), 28 | 40) { 0 } else { r.read()? };
        let members = if version > 1 {
            let at = r.position();
            let text: Option<&[u8]> = r.read()?;
            let text = text.ok_or(DecodeError::Null { at })?;
            Some(String::from_utf8_lossy(text).into())
        } else {
            None
        };
        let vote = if leader == NOTHING {
            Vote::default()
        } else {
            let leader = Some(server_id("proposed leader", leader)?);
            // Whoever was named to lead, or follows somebody who was, has no epoch in its vote before it has
            // heard of one (`QuorumPeer.updateVote`). Nobody leads in epoch 0.
            let peer_epoch = if peer_epoch == NO_EPOCH { 0 } else { peer_epoch };
            Vote { epoch: epoch("epoch of the proposed leader", peer_epoch)?, zxid, leader }
        };
        Ok(Notification { vote, round: Round(round), state, version, members })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u32> = hex.chars().filter_map(|c| c.to_digit(16)).collect();
        digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
    }

    const FIXED: &str = "00000002 0000000000000003 0000000500000007 000000000000000a";

    fn vote(epoch: u32) -> Vote {
        Vote { epoch: Epoch(epoch), zxid: Zxid(0x5_0000_0007), leader: Some(ServerId(3)) }
    }

    /// `FastLeaderElection.buildMsg(state, leader, zxid, electionEpoch, epoch, configData)`.
    #[test]
    fn a_notification_has_zookeepers_bytes() {
        let notification = Notification {
            vote: vote(6),
            round: Round(10),
            state: PeerState::Leading,
            version: VERSION,
            members: Some("version=0".into()),
        };
        let golden = bytes(&format!("{FIXED} 0000000000000006 00000002 00000009 76657273696f6e3d30"));
        let mut out = Vec::new();
        notification.encode(&mut out);
        assert_eq!(out, golden);
        assert_eq!(Notification::decode(&golden), Ok(notification));
    }

    /// The lengths that `FastLeaderElection.WorkerReceiver` tells apart.
    #[test]
    fn older_notifications_are_read() {
        let read = |rest: &str| {
            Notification::decode(&bytes(&format!("{FIXED} {rest}"))).map(|n| (n.vote, n.version, n.members))
        };
        assert_eq!(read(""), Ok((vote(5), 0, None)), "28 bytes: the epoch is the zxid's");
        assert_eq!(read("0000000000000006 00000001"), Ok((vote(6), 0, None)), "40 bytes");
        let one = "0000000000000006 00000001 00000000";
        assert_eq!(read(one), Ok((vote(6), 1, None)), "44 bytes of format 1");
        let two = "0000000000000006 00000002 00000000";
        assert_eq!(read(two), Ok((vote(6), 2, Some("".into()))), "44 bytes of format 2");
    }

    /// `new Vote(designatedLeader, zxid)`: of a server that was named to lead, or that follows such a one.
    #[test]
    fn a_vote_without_epoch_is_read() {
        let nothing = "ffffffffffffffff";
        let golden = bytes(&format!(
            "00000001 0000000000000003 0000000500000007 {nothing} {nothing} 00000002 00000000"
        ));
        let notification = Notification::decode(&golden).unwrap();
        assert_eq!((notification.vote, notification.round), (vote(0), Round(-1)));
    }

    /// ZOOKEEPER-3769, ZOOKEEPER-4787: such a message killed the receiver.
    #[test]
    fn a_malformed_notification_is_an_error() {
        let whole = bytes(&format!("{FIXED} 0000000000000006 00000002 00000002 6162"));
        for length in (0..whole.len()).filter(|length| ![28, 40].contains(length)) {
            assert!(Notification::decode(&whole[..length]).is_err(), "{length}");
        }
        for (what, from, to) in [
            ("state", "00000002 0000000000000003", "00000004 0000000000000003"),
            ("leader", "0000000000000003", "0000000000000100"),
            ("epoch", "0000000000000006", "0000000100000000"),
            ("length", "00000002 6162", "80000000 6162"),
            ("length", "00000002 6162", "ffffffff 6162"),
        ] {
            let text = format!("{FIXED} 0000000000000006 00000002 00000002 6162").replacen(from, to, 1);
            assert!(Notification::decode(&bytes(&text)).is_err(), "{what}");
        }
        let latin = bytes(&format!("{FIXED} 0000000000000006 00000002 00000001 ff"));
        assert_eq!(Notification::decode(&latin).unwrap().members.as_deref(), Some("\u{fffd}"));
    }

    /// `FastLeaderElection.getInitId` and its neighbours for a server that is no participant.
    #[test]
    fn an_observers_vote_is_for_nobody() {
        let nobody = "8000000000000000";
        let golden =
            bytes(&format!("00000000 {nobody} {nobody} 0000000000000001 {nobody} 00000002 00000001 76"));
        let notification = Notification::decode(&golden).unwrap();
        assert_eq!((notification.vote, notification.state), (Vote::default(), PeerState::Looking));
        let mut out = Vec::new();
        notification.encode(&mut out);
        assert_eq!(out, golden);
        assert!(notification.vote < Vote { leader: Some(ServerId(0)), ..Vote::default() });
    }

    /// `QuorumCnxManager.startConnection` and `InitialMessage.parse`.
    #[test]
    fn the_handshake_has_zookeepers_bytes() {
        let at = |host: &str, port| HostPort { host: host.to_owned(), port };
        for (golden, server, addresses) in [
            ("ffffffffffff0000 0000000000000002 00000006 613a33383838", Some(2), vec![at("a", 3888)]),
            (
                "ffffffffffff0001 0000000000000003 0000000c 5b3a3a315d3a31 7c 623a3232",
                Some(3),
                vec![at("::1", 1), at("b", 22)],
            ),
            ("ffffffffffff0000 7fffffffffffffff 00000003 613a31", None, vec![at("a", 1)]),
        ] {
            let golden = bytes(golden);
            let message = InitialMessage { server: server.map(ServerId), addresses };
            let mut out = Vec::new();
            message.encode(&mut out);
            assert_eq!(out, golden);
            assert_eq!(InitialMessage::decode(&golden), Ok(Some((message.clone(), golden.len()))));
            out.push(7);
            assert_eq!(InitialMessage::decode(&out), Ok(Some((message, golden.len()))));
            for length in 0..golden.len() {
                assert_eq!(InitialMessage::decode(&golden[..length]), Ok(None));
            }
        }
        let old = InitialMessage { server: Some(ServerId(5)), addresses: Vec::new() };
        assert_eq!(InitialMessage::decode(&bytes("0000000000000005")), Ok(Some((old, 8))));
        for bad in [
            "fffffffffffffff0 0000000000000002 00000001 61",
            "ffffffffffff0000 0000000000000100 00000003 613a31",
            "ffffffffffff0000 0000000000000001 00000000",
            "ffffffffffff0000 0000000000000001 00000801",
            "ffffffffffff0000 0000000000000001 00000001 61",
            "ffffffffffff0000 0000000000000001 00000004 613a787a",
        ] {
            assert!(InitialMessage::decode(&bytes(bad)).is_err(), "{bad}");
        }
    }
}
