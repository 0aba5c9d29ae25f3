//! The servers of an ensemble: `server.N`, `group.N`, `weight.N`, the file that `dynamicConfigFile` names, and
//! `myid`.
//!
//! The forms are those of `QuorumPeer.QuorumServer` and `QuorumHierarchical`: a server is
//! `host:port:port[:role]`, several joined by `|` where multiAddress.enabled is true, then `;[host:]port` for
//! its clients. An IPv6 address stands in brackets.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::sources::{Setting, Settings};
use super::{java, report::Report};

/// A server's number in the ensemble, as its `myid` file has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(pub u64);

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for ServerId {
    type Err = ();

    /// `Long.parseLong`, without negative numbers.
    fn from_str(text: &str) -> Result<Self, ()> {
        java::parse_long(text).and_then(|id| u64::try_from(id).ok()).map(Self).ok_or(())
    }
}

/// What a server does in the ensemble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Votes.
    Participant,
    /// Follows without a vote.
    Observer,
}

impl FromStr for Role {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text.trim().to_ascii_lowercase().as_str() {
            "participant" => Ok(Self::Participant),
            "observer" => Ok(Self::Observer),
            _ => Err(()),
        }
    }
}

/// A host and a port, the host not yet resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// A name or an address without brackets; `None` is every address of the machine.
    pub host: Option<String>,
    /// The port; 0 takes a free one.
    pub port: u16,
}

impl HostPort {
    /// Whether every address of the machine is meant.
    pub fn is_wildcard(&self) -> bool {
        self.host.as_deref().is_none_or(|h| h == "0.0.0.0" || h == "::")
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.as_deref() {
            Some(host) if host.contains(':') => write!(f, "[{host}]:{}", self.port),
            host => write!(f, "{}:{}", host.unwrap_or("0.0.0.0"), self.port),
        }
    }
}

/// Where a server's peers reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerAddress {
    /// A name or an address without brackets.
    pub host: String,
    /// The port that followers of this server connect to.
    pub quorum_port: u16,
    /// The port for leader election.
    pub election_port: u16,
}

/// One `server.N` line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its number.
    pub id: ServerId,
    /// Its addresses, one at least.
    pub addresses: Vec<PeerAddress>,
    /// Its role.
    pub role: Role,
    /// Where it takes clients, if the line says so.
    pub client: Option<HostPort>,
}

/// The servers, their groups and their weights.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Membership {
    /// All servers.
    pub members: BTreeMap<ServerId, Member>,
    /// The group of each server, where quorums are hierarchical.
    pub groups: BTreeMap<ServerId, u64>,
    /// The weight of each server that has one; the others weigh 1.
    pub weights: BTreeMap<ServerId, u64>,
}

impl Membership {
    /// How many servers have this role.
    pub fn count(&self, role: Role) -> usize {
        self.members.values().filter(|m| m.role == role).count()
    }
}

/// Reads the families `server.`, `group.` and `weight.`.
pub(super) fn membership(settings: &Settings, multi_address: bool, report: &mut Report) -> Membership {
    let mut membership = Membership::default();
    for (number, setting) in settings.family("server.") {
        let Some(id) = number_of(number, setting, report) else { continue };
        match member(id, &setting.value) {
            Ok(member) if member.addresses.len() > 1 && !multi_address => {
                let text = "several addresses need multiAddress.enabled=true";
                report.error(Some(&setting.origin), &setting.name, text);
            }
            Ok(member) => {
                membership.members.insert(id, member);
            }
            Err(what) => {
                let text = format!("{what} in `{}`; expected {SERVER_FORM}", setting.value);
                report.error(Some(&setting.origin), &setting.name, text);
            }
        }
    }
    for (number, setting) in settings.family("group.") {
        if let Some(group) = number_of(number, setting, report) {
            add_group(&mut membership, group.0, setting, report);
        }
    }
    for (number, setting) in settings.family("weight.") {
        if let Some(id) = number_of(number, setting, report) {
            // A value out of bounds was reported with those of all keys.
            let weight = java::parse_long(&setting.value).and_then(|w| u64::try_from(w).ok());
            membership.weights.insert(id, weight.unwrap_or(1));
        }
    }
    let hierarchical = !membership.groups.is_empty() || !membership.weights.is_empty();
    for member in membership.members.values().filter(|m| hierarchical && m.role == Role::Participant) {
        if !membership.groups.contains_key(&member.id) {
            let name = format!("server.{}", member.id);
            let origin = settings.get(&name).map(|s| &s.origin);
            report.error(origin, &name, "with group.N or weight.N lines, each participant needs a group");
        }
    }
    for (id, group) in &membership.groups {
        let votes = membership.members.get(id).is_some_and(|m| m.role == Role::Participant);
        if !votes && !membership.weights.contains_key(id) {
            let name = format!("group.{group}");
            let origin = settings.get(&name).map(|s| &s.origin);
            report.error(origin, &name, format!("server {id} is no participant and needs a weight.{id}"));
        }
    }
    membership
}

const SERVER_FORM: &str = "host:port:port[:participant|observer], several joined by |, then ;[host:]port";

fn number_of(number: &str, setting: &Setting, report: &mut Report) -> Option<ServerId> {
    let id = number.parse().ok();
    if id.is_none() {
        let text = format!("expected a number after the dot, found `{number}`");
        report.error(Some(&setting.origin), &setting.name, text);
    }
    id
}

fn add_group(membership: &mut Membership, group: u64, setting: &Setting, report: &mut Report) {
    for part in setting.value.split(':') {
        let fault = match part.parse() {
            Err(()) => format!("expected server numbers joined by colons, found `{part}`"),
            Ok(id) => match membership.groups.insert(id, group) {
                None => continue,
                Some(_) => format!("server {id} is in several groups"),
            },
        };
        report.error(Some(&setting.origin), &setting.name, fault);
    }
}

fn member(id: ServerId, text: &str) -> Result<Member, &'static str> {
    let (servers, client) = match text.split_once(';') {
        Some((servers, client)) => (servers, Some(client)),
        None => (text, None),
    };
    let mut addresses = Vec::new();
    let mut role = None;
    for server in servers.split('|') {
        let (address, its_role) = peer(server)?;
        if let (Some(its), Some(known)) = (its_role, role)
            && its != known
        {
            return Err("addresses with different roles");
        }
        role = role.or(its_role);
        addresses.push(address);
    }
    let client = client.map(client_address).transpose()?;
    Ok(Member { id, addresses, role: role.unwrap_or(Role::Participant), client })
}

fn peer(text: &str) -> Result<(PeerAddress, Option<Role>), &'static str> {
    let (host, rest) = split_host(text)?;
    let mut parts = rest.split(':');
    let (Some(quorum), Some(election), role, None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err("a wrong number of parts");
    };
    let (quorum_port, election_port) = (port(quorum)?, port(election)?);
    if quorum_port == election_port {
        return Err("one port for both uses");
    }
    let role = role.map(|r| r.parse().map_err(|()| "an unknown role")).transpose()?;
    Ok((PeerAddress { host: host.to_owned(), quorum_port, election_port }, role))
}

/// `port`, `host:port` or `[address]:port`; a port alone is on all addresses.
fn client_address(text: &str) -> Result<HostPort, &'static str> {
    if !text.contains(':') {
        return Ok(HostPort { host: None, port: port(text)? });
    }
    let (host, rest) = split_host(text)?;
    Ok(HostPort { host: Some(host.to_owned()), port: port(rest)? })
}

/// Splits `host:rest` or `[address]:rest`.
fn split_host(text: &str) -> Result<(&str, &str), &'static str> {
    let split = match text.strip_prefix('[') {
        Some(inner) => inner.split_once("]:"),
        None => text.split_once(':'),
    };
    split.filter(|(host, _)| !host.is_empty()).ok_or("no host before a colon")
}

fn port(text: &str) -> Result<u16, &'static str> {
    java::parse_long(text.trim()).and_then(|p| u16::try_from(p).ok()).ok_or("no port where one is expected")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(file: &str, multi_address: bool) -> (Membership, Vec<String>) {
        let mut report = Report::default();
        let mut settings = Settings::default();
        settings.add_file(&"zoo.cfg".into(), file.as_bytes(), &mut report);
        let membership = membership(&settings, multi_address, &mut report);
        (membership, report.errors.iter().map(ToString::to_string).collect())
    }

    fn peer_address(host: &str, quorum_port: u16, election_port: u16) -> PeerAddress {
        PeerAddress { host: host.to_owned(), quorum_port, election_port }
    }

    #[test]
    fn every_form_of_a_server_line_is_read() {
        let client = |host: Option<&str>, port| Some(HostPort { host: host.map(str::to_owned), port });
        let table = [
            ("zoo1:2888:3888", vec![peer_address("zoo1", 2888, 3888)], Role::Participant, None),
            ("zoo1:2888:3888:Observer", vec![peer_address("zoo1", 2888, 3888)], Role::Observer, None),
            (
                "zoo1:2888:3888;2181",
                vec![peer_address("zoo1", 2888, 3888)],
                Role::Participant,
                client(None, 2181),
            ),
            (
                "[::1]:2888:3888:participant;[::1]:2181",
                vec![peer_address("::1", 2888, 3888)],
                Role::Participant,
                client(Some("::1"), 2181),
            ),
            (
                "a:1:2|b:3:4;0.0.0.0:5",
                vec![peer_address("a", 1, 2), peer_address("b", 3, 4)],
                Role::Participant,
                client(Some("0.0.0.0"), 5),
            ),
        ];
        for (text, addresses, role, client) in table {
            let expected = Member { id: ServerId(1), addresses, role, client };
            assert_eq!(member(ServerId(1), text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_bad_server_line_says_what_is_wrong() {
        for text in [
            "",
            "zoo1",
            "zoo1:2888",
            "zoo1:2888:3888:observer:1",
            "zoo1:2888:2888",
            "zoo1:2888:70000",
            "zoo1:2888:3888:king",
            "[::1:2888:3888",
            ":1:2",
            "zoo1:1:2;",
            "zoo1:1:2;host:",
            "a:1:2:observer|b:3:4:participant",
        ] {
            assert!(member(ServerId(1), text).is_err(), "{text:?}");
        }
        let (_, errors) = read("server.x=a:1:2\nserver.2=a:1\n", false);
        assert_eq!(
            errors[0],
            "error: zoo.cfg:2: server.2: a wrong number of parts in `a:1`; expected host:port:port[:participant|observer], several joined by |, then ;[host:]port"
        );
        assert_eq!(errors[1], "error: zoo.cfg:1: server.x: expected a number after the dot, found `x`");
    }

    #[test]
    fn several_addresses_need_the_switch() {
        assert_eq!(read("server.1=a:1:2|b:1:2", false).1.len(), 1);
        assert_eq!(read("server.1=a:1:2|b:1:2", true).1, [""; 0]);
    }

    #[test]
    fn groups_are_disjoint_and_hold_every_participant() {
        let servers = "server.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2:observer\n";
        let (membership, errors) = read(&format!("{servers}group.1=1\ngroup.2=2\nweight.2=3"), false);
        assert_eq!(errors, [""; 0]);
        assert_eq!(membership.groups, BTreeMap::from([(ServerId(1), 1), (ServerId(2), 2)]));
        assert_eq!(membership.weights, BTreeMap::from([(ServerId(2), 3)]));
        assert_eq!(membership.count(Role::Participant), 2);
        let (_, errors) = read(&format!("{servers}group.1=1:2\ngroup.2=2"), false);
        assert_eq!(errors, ["error: zoo.cfg:5: group.2: server 2 is in several groups"]);
        let (_, errors) = read(&format!("{servers}group.1=1"), false);
        assert_eq!(errors.len(), 1);
        assert!(errors[0].starts_with("error: zoo.cfg:2: server.2: "), "{errors:?}");
        let others = format!("{servers}group.1=1\ngroup.2=2:3:9\nweight.9=0");
        let (_, errors) = read(&others, false);
        assert_eq!(errors, ["error: zoo.cfg:5: group.2: server 3 is no participant and needs a weight.3"]);
        assert_eq!(read(&format!("{others}\nweight.3=2"), false).1, [""; 0]);
    }
}
