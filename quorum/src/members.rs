//! Who is in the ensemble: each server's addresses and role, and what their votes weigh.
//!
//! The text form is the one that ZooKeeper keeps in `/zookeeper/config` and sends with election
//! notifications and NEWLEADER (`QuorumMaj.toString`, `QuorumHierarchical.toString`): lines
//! `server.N=host:port:port:role[;host:port]`, `group.N=N:N`, `weight.N=N`, then `version=HEX`
//! without a line feed.

use crate::verifier::Verifier;
use ringkeeper_engine::id::ServerId;
use std::collections::BTreeMap;
use std::fmt;

/// What a server does in the ensemble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Votes, and counts for a quorum.
    Participant,
    /// Follows without a vote.
    Observer,
}

/// A host and a port, the host not yet resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// A name, or an address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", Bracketed(&self.host), self.port)
    }
}

struct Bracketed<'a>(&'a str);

impl fmt::Display for Bracketed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.contains(':') { write!(f, "[{}]", self.0) } else { f.write_str(self.0) }
    }
}

/// Where a server's peers reach it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PeerAddress {
    /// A name, or an address without brackets.
    pub host: String,
    /// The port that learners of this server connect to.
    pub quorum_port: u16,
    /// The port for leader election.
    pub election_port: u16,
}

/// One server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its addresses, one at least.
    pub addresses: Vec<PeerAddress>,
    /// Its role.
    pub role: Role,
    /// Where it takes clients, if the configuration says so.
    pub client: Option<HostPort>,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut addresses: Vec<&PeerAddress> = self.addresses.iter().collect();
        addresses.sort();
        for (index, address) in addresses.iter().enumerate() {
            let bar = if index == 0 { "" } else { "|" };
            let host = Bracketed(&address.host);
            write!(f, "{bar}{host}:{}:{}", address.quorum_port, address.election_port)?;
        }
        f.write_str(match self.role {
            Role::Participant => ":participant",
            Role::Observer => ":observer",
        })?;
        match &self.client {
            Some(client) => write!(f, ";{client}"),
            None => Ok(()),
        }
    }
}

/// Why a configuration's text cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MembersError {
    /// The line, from 1; 0 for a fault of the whole.
    pub line: usize,
    /// What is wrong.
    pub what: &'static str,
}

impl fmt::Display for MembersError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "ensemble configuration: {}", self.what),
            line => write!(f, "ensemble configuration, line {line}: {}", self.what),
        }
    }
}

impl std::error::Error for MembersError {}

/// ZooKeeper does not start with such a configuration.
pub(crate) const NO_PARTICIPANT_NO_WEIGHT: &str =
    "a group names a server that is no participant and has no weight";

/// Longest text that is read: more than 255 servers with several long names each.
pub const TEXT_BYTES_MAX: usize = 512 << 10;

/// A configuration of the ensemble.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members {
    servers: BTreeMap<ServerId, Member>,
    /// The group of each server where quorums are hierarchical, else empty.
    groups: BTreeMap<ServerId, u64>,
    /// Weights that were given; the others weigh one.
    weights: BTreeMap<ServerId, u64>,
    /// The zxid of the transaction that made it; 0 for a configuration from a file.
    version: u64,
    verifier: Verifier,
}

impl Members {
    /// Of these parts.
    ///
    /// # Errors
    /// No participant; with groups or weights, a participant that is in no group, somebody else who is in one
    /// and has no weight, or weights whose sum has more than 64 bits.
    pub fn new(
        servers: BTreeMap<ServerId, Member>,
        groups: BTreeMap<ServerId, u64>,
        weights: BTreeMap<ServerId, u64>,
        version: u64,
    ) -> Result<Self, MembersError> {
        let fault = |what| MembersError { line: 0, what };
        let voters: Vec<ServerId> =
            servers.iter().filter(|(_, m)| m.role == Role::Participant).map(|(id, _)| *id).collect();
        if voters.is_empty() {
            return Err(fault("no participant"));
        }
        let verifier = if groups.is_empty() && weights.is_empty() {
            Verifier::majority(voters)
        } else {
            let mut placed = BTreeMap::new();
            for voter in &voters {
                let group = *groups.get(voter).ok_or(fault("a participant is in no group"))?;
                placed.insert(*voter, (group, weights.get(voter).copied().unwrap_or(1)));
            }
            let mut others = Vec::new();
            for (id, group) in groups.iter().filter(|(id, _)| !placed.contains_key(id)) {
                others.push((*group, *weights.get(id).ok_or(fault(NO_PARTICIPANT_NO_WEIGHT))?));
            }
            let mut all = placed.values().chain(&others);
            if all.try_fold(0u64, |sum, (_, weight)| sum.checked_add(*weight)).is_none() {
                return Err(fault("the weights are too large"));
            }
            Verifier::hierarchical_beside(placed, others)
        };
        Ok(Members { servers, groups, weights, version, verifier })
    }

    /// The same, as another version of it.
    pub fn with_version(&self, version: u64) -> Self {
        Members { version, ..self.clone() }
    }

    /// A server that has nobody beside it, and no address for peers.
    pub fn standalone(server: ServerId) -> Self {
        let member = Member { addresses: Vec::new(), role: Role::Participant, client: None };
        let none = BTreeMap::new;
        let members = Members::new(BTreeMap::from([(server, member)]), none(), none(), 0);
        members.expect("it is a participant")
    }

    /// Reads the text form.
    ///
    /// # Errors
    /// Says which line is wrong and how.
    pub fn parse(text: &str) -> Result<Self, MembersError> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(MembersError { line: 0, what: "the text is too long" });
        }
        let (mut servers, mut groups, mut weights) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut version = 0;
        for (line, text) in (1..).zip(text.lines()) {
            let text = text.trim();
            if text.is_empty() || text.starts_with(['#', '!']) {
                continue;
            }
            let fault = |what| MembersError { line, what };
            let (key, value) = text.split_once('=').ok_or(fault("no equals sign"))?;
            let (key, value) = (key.trim(), value.trim());
            if key == "version" {
                version = u64::from_str_radix(value, 16).map_err(|_| fault("no hexadecimal version"))?;
                continue;
            }
            let (family, number) = key.split_once('.').ok_or(fault("an unknown key"))?;
            match family {
                "server" => {
                    let id = server_id(number).map_err(fault)?;
                    servers.insert(id, parse_member(value).map_err(fault)?);
                }
                "group" => {
                    let group = number.parse().map_err(|_| fault("no group number"))?;
                    for id in value.split(':') {
                        if groups.insert(server_id(id).map_err(fault)?, group).is_some() {
                            return Err(fault("a server is in several groups"));
                        }
                    }
                }
                "weight" => {
                    let weight = value.parse().map_err(|_| fault("no weight"))?;
                    weights.insert(server_id(number).map_err(fault)?, weight);
                }
                _ => return Err(fault("an unknown key")),
            }
        }
        Members::new(servers, groups, weights, version)
    }

    /// All servers.
    pub fn servers(&self) -> &BTreeMap<ServerId, Member> {
        &self.servers
    }

    /// What a quorum of it is.
    pub fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// Whether quorums are of groups, each server with its weight.
    pub fn is_hierarchical(&self) -> bool {
        matches!(self.verifier, Verifier::Hierarchical(_))
    }

    /// Whether the server votes.
    pub fn is_voter(&self, server: ServerId) -> bool {
        self.verifier.is_voter(server)
    }

    /// Which configuration is newer.
    pub fn version(&self) -> u64 {
        self.version
    }
}

impl fmt::Display for Members {
    /// The text form. ZooKeeper's own order of lines is a hash table's; this is by number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (id, member) in &self.servers {
            writeln!(f, "server.{}={member}", id.0)?;
        }
        let mut groups: BTreeMap<u64, String> = BTreeMap::new();
        for (id, group) in &self.groups {
            let list = groups.entry(*group).or_default();
            if !list.is_empty() {
                list.push(':');
            }
            list.push_str(&id.0.to_string());
        }
        for (group, list) in groups {
            writeln!(f, "group.{group}={list}")?;
        }
        if let Verifier::Hierarchical(hierarchy) = &self.verifier {
            let mut weights: BTreeMap<ServerId, u64> =
                hierarchy.voters().map(|voter| (voter, hierarchy.weight(voter))).collect();
            weights.extend(self.weights.iter().map(|(id, weight)| (*id, *weight)));
            for (id, weight) in weights {
                writeln!(f, "weight.{}={weight}", id.0)?;
            }
        }
        write!(f, "version={:x}", self.version)
    }
}

fn server_id(text: &str) -> Result<ServerId, &'static str> {
    text.parse().map(ServerId).map_err(|_| "no server number from 0 to 255")
}

pub(crate) fn parse_member(text: &str) -> Result<Member, &'static str> {
    let (servers, client) = match text.split_once(';') {
        Some((servers, client)) => (servers, Some(client)),
        None => (text, None),
    };
    let mut addresses = Vec::new();
    let mut role = None;
    for server in servers.split('|') {
        let (address, its_role) = parse_peer(server)?;
        if its_role.is_some() && role.is_some() && its_role != role {
            return Err("addresses with different roles");
        }
        role = role.or(its_role);
        addresses.push(address);
    }
    let client = client.map(parse_client).transpose()?;
    Ok(Member { addresses, role: role.unwrap_or(Role::Participant), client })
}

fn parse_peer(text: &str) -> Result<(PeerAddress, Option<Role>), &'static str> {
    let (host, rest) = split_host(text)?;
    let mut parts = rest.split(':');
    let (Some(quorum), Some(election), role, None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err("a server with a wrong number of parts");
    };
    let (quorum_port, election_port) = (port(quorum)?, port(election)?);
    let role = match role.map(|role| role.trim().to_ascii_lowercase()).as_deref() {
        None => None,
        Some("participant") => Some(Role::Participant),
        Some("observer") => Some(Role::Observer),
        Some(_) => return Err("an unknown role"),
    };
    Ok((PeerAddress { host: host.to_owned(), quorum_port, election_port }, role))
}

fn parse_client(text: &str) -> Result<HostPort, &'static str> {
    if !text.contains(':') {
        return Ok(HostPort { host: "0.0.0.0".to_owned(), port: port(text)? });
    }
    let (host, rest) = split_host(text)?;
    Ok(HostPort { host: host.to_owned(), port: port(rest)? })
}

/// Splits `host:rest` or `[address]:rest`.
pub(crate) fn split_host(text: &str) -> Result<(&str, &str), &'static str> {
    let split = match text.strip_prefix('[') {
        Some(inner) => inner.split_once("]:"),
        None => text.split_once(':'),
    };
    split.filter(|(host, _)| !host.is_empty()).ok_or("no host before a colon")
}

pub(crate) fn port(text: &str) -> Result<u16, &'static str> {
    text.trim().parse().map_err(|_| "no port where one is expected")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_form_is_zookeepers() {
        for text in [
            "server.1=localhost:2888:3888:participant\nversion=0",
            "server.1=a:1:2:participant;0.0.0.0:2181\nserver.2=[::1]:1:2:observer;[::1]:5\nversion=1f00000000",
            "server.1=a:1:2|b:1:2:participant\nserver.2=c:1:2:participant\ngroup.1=1\ngroup.2=2\nweight.1=1\nweight.2=3\nversion=0",
        ] {
            assert_eq!(Members::parse(text).unwrap().to_string(), text);
        }
        let short = Members::parse("server.1=a:1:2;2181\n# one\nserver.3=b:1:2\n").unwrap();
        let full = "server.1=a:1:2:participant;0.0.0.0:2181\nserver.3=b:1:2:participant\nversion=0";
        assert_eq!(short.to_string(), full);
        assert!(short.is_voter(ServerId(3)) && !short.is_voter(ServerId(2)));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (text, line) in [
            ("", 0),
            ("server.1=a:1:2:observer", 0),
            ("server.1=a:1:2\ngroup.1=2", 0),
            ("server.1=a:1:2\ngroup.1=1\nweight.1=18446744073709551615\nserver.2=a:1:2\ngroup.2=2", 0),
            ("server.1=a:1:2\nserver.2=a:1:2:observer\ngroup.1=1:2", 0),
            ("server.1=a:1:2\ngroup.1=1:2", 0),
            ("server.1=a:1:2\ngroup.1=1:2\nweight.1=18446744073709551615\nweight.2=1", 0),
            ("server.1=a:1:2\nserver.2", 2),
            ("server.1=a:1", 1),
            ("server.1=a:1:2:king", 1),
            ("server.256=a:1:2", 1),
            ("server.1=a:1:2;", 1),
            ("server.1=a:1:2:observer|b:1:2:participant", 1),
            ("server.1=a:1:2\ngroup.1=1\ngroup.2=1", 3),
            ("server.1=a:1:2\nweight.1=-1", 2),
            ("server.1=a:1:2\nversion=x", 2),
            ("clientPort=2181", 1),
        ] {
            assert_eq!(Members::parse(text).unwrap_err().line, line, "{text}");
        }
    }
}
