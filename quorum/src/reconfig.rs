//! Dynamic reconfiguration: which change of the ensemble a client may ask for, what it makes of the members,
//! and the text of the files that keep it.
//!
//! The rules, their order and their error codes are ZooKeeper 3.9.5's: `PrepRequestProcessor` for OpCode
//! reconfig, `QuorumPeerConfig.parseDynamicConfig`, `writeDynamicConfig` and `editStaticConfig`, and
//! `QuorumPeer.processReconfig`. What comes before [`prepare`] (reconfigEnabled, the session) and
//! behind it (the write permission on `/zookeeper/config`) needs the engine and is the caller's part.
//!
//! Two servers may not share an address. ZooKeeper compares resolved addresses; nothing is resolved here, so
//! two names of one machine are two addresses. Like ZooKeeper, loopback and wildcard addresses may be shared.

use crate::members::{
    Member, Members, MembersError, NO_PARTICIPANT_NO_WEIGHT, PeerAddress, Role, parse_member,
};
use ringkeeper_engine::error::ErrorCode;
use ringkeeper_engine::id::{ServerId, Zxid};
use ringkeeper_engine::jute::Reader;
use ringkeeper_engine::jute::records::{SetDataTxn, TxnHeader};
use ringkeeper_engine::op::OpCode;
use std::collections::{BTreeMap, BTreeSet};

/// Most servers that a request may name; beyond it the text is not read.
const TEXT_BYTES_MAX: usize = crate::members::TEXT_BYTES_MAX;

/// What a client asks for (`ReconfigRequest`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change<'a> {
    /// Servers to add or to change, `server.N=...` joined by commas.
    pub joining: Option<&'a str>,
    /// Numbers of servers to remove, joined by commas.
    pub leaving: Option<&'a str>,
    /// A whole configuration, its lines joined by commas or line feeds; the other two do not count then.
    pub whole: Option<&'a str>,
    /// The version that is to be changed; -1 for whichever is there.
    pub from_version: i64,
}

/// What this server's configuration says about reconfigurations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// `standaloneEnabled`: an ensemble has two voters at least, or it would not be one.
    pub standalone_enabled: bool,
    /// `multiAddress.enabled`: a server may have several addresses.
    pub multi_address: bool,
}

impl Default for Rules {
    /// ZooKeeper's.
    fn default() -> Self {
        Rules { standalone_enabled: true, multi_address: false }
    }
}

/// Why a change is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What the client is told.
    pub code: ErrorCode,
    /// What the log is told.
    pub why: String,
}

fn refuse(code: ErrorCode, why: impl Into<String>) -> Refusal {
    Refusal { code, why: why.into() }
}

fn bad(why: impl Into<String>) -> Refusal {
    refuse(ErrorCode::BadArguments, why)
}

/// A number that is none. ZooKeeper has no error of its own for it: the request counts as not decodable.
fn malformed(why: impl Into<String>) -> Refusal {
    refuse(ErrorCode::MarshallingError, why)
}

/// Makes the members that a leader proposes with the transaction `zxid`, which is their version.
///
/// `committed` is the configuration that is in force, `last_seen` the newest that was proposed; while they
/// differ another change is under way. `synced` says which servers have all that the leader has: itself, and
/// every learner with a vote to be whose synchronisation is done.
///
/// # Errors
/// The first of ZooKeeper's checks that fails, with its code.
pub fn prepare(
    change: &Change<'_>,
    committed: &Members,
    last_seen: &Members,
    rules: Rules,
    zxid: Zxid,
    synced: impl Fn(ServerId) -> bool,
) -> Result<Members, Refusal> {
    if last_seen.version() != committed.version() {
        let why = format!("version {:x} is not yet committed", last_seen.version());
        return Err(refuse(ErrorCode::ReconfigInProgress, why));
    }
    if change.from_version != -1 && change.from_version.cast_unsigned() != last_seen.version() {
        let why = format!("from version {:x}, it is {:x}", change.from_version, last_seen.version());
        return Err(refuse(ErrorCode::BadVersion, why));
    }
    let parts = match change.whole {
        Some(text) => whole(text, rules)?,
        None => incremental(change, last_seen, rules)?,
    };
    let voters = parts.servers.values().filter(|member| member.role == Role::Participant).count();
    let least = if rules.standalone_enabled { 2 } else { 1 };
    if voters < least {
        return Err(bad(format!("{voters} participants, {least} at least are needed")));
    }
    let members = Members::new(parts.servers, parts.groups, parts.weights, zxid.0)
        .map_err(|MembersError { what, .. }| bad(what))?;
    if !members.verifier().is_quorum(synced) {
        let why = "no quorum of it is connected and synchronised";
        return Err(refuse(ErrorCode::NewConfigNoQuorum, why));
    }
    Ok(members)
}

/// Where a transaction's header has its kind.
const KIND_AT: usize = 28;

/// The members that a transaction makes; `None` if it is another kind of transaction.
///
/// # Errors
/// What it makes the configuration is none, or not the version that its number is.
pub fn of_transaction(bytes: &[u8]) -> Option<Result<Members, MembersError>> {
    if bytes.get(KIND_AT..KIND_AT + 4)? != OpCode::Reconfig.code().to_be_bytes() {
        return None;
    }
    let fault = |what| MembersError { line: 0, what };
    let read = || {
        let mut reader = Reader::new(bytes);
        let header = reader.read::<TxnHeader>().map_err(|_| fault("a transaction without header"))?;
        let record = reader.read::<SetDataTxn<'_>>().map_err(|_| fault("a transaction without record"))?;
        let text = std::str::from_utf8(record.data.unwrap_or_default()).map_err(|_| fault("no text"))?;
        let members = Members::parse(text)?;
        let is_it = members.version() == header.zxid.cast_unsigned();
        is_it.then_some(members).ok_or(fault("a version that is not the transaction's"))
    };
    Some(read())
}

/// Members that need not be able to decide anything.
#[derive(Default)]
struct Parts {
    servers: BTreeMap<ServerId, Member>,
    groups: BTreeMap<ServerId, u64>,
    weights: BTreeMap<ServerId, u64>,
}

fn incremental(change: &Change<'_>, last_seen: &Members, rules: Rules) -> Result<Parts, Refusal> {
    if last_seen.is_hierarchical() {
        return Err(bad("groups and weights change by a whole configuration only"));
    }
    let mut servers = last_seen.servers().clone();
    for leaving in items(change.leaving)? {
        // Java reads any long there; one that is no server's number removes none.
        let number: i64 = leaving.parse().map_err(|_| malformed(format!("`{leaving}` is no number")))?;
        if let Ok(id) = u8::try_from(number) {
            servers.remove(&ServerId(id));
        }
    }
    for joining in items(change.joining)? {
        let parts: Vec<&str> = joining.split('=').map(str::trim).filter(|part| !part.is_empty()).collect();
        let [key, value] = parts[..] else {
            return Err(bad(format!("`{joining}`: expected server.N=...")));
        };
        let id = server_id(key.rsplit_once('.').map_or(key, |(_, number)| number))?;
        let member = server(value, rules)?;
        if member.client.is_none() {
            return Err(bad(format!("`{joining}`: a server that joins needs a port for clients, too")));
        }
        let taken = servers.iter().filter(|(other, _)| **other != id).find_map(|(other, theirs)| {
            addresses(&member)
                .find(|mine| addresses(theirs).any(|their| *mine == their))
                .map(|at| (other, at))
        });
        if let Some((other, (host, port))) = taken {
            return Err(bad(format!("{host}:{port} of server {} is server {}'s", id.0, other.0)));
        }
        servers.insert(id, member);
    }
    Ok(Parts { servers, ..Parts::default() })
}

/// What is between the commas, without spaces around it, as `StringUtils.split`.
fn items(list: Option<&str>) -> Result<impl Iterator<Item = &str>, Refusal> {
    let list = list.unwrap_or_default();
    if list.len() > TEXT_BYTES_MAX {
        return Err(bad("the list is too long"));
    }
    Ok(list.split(',').map(str::trim).filter(|item| !item.is_empty()))
}

fn whole(text: &str, rules: Rules) -> Result<Parts, Refusal> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(bad("the text is too long"));
    }
    let mut properties = BTreeMap::new();
    for line in text.split([',', '\n', '\r']) {
        let line = line.trim_start();
        if !line.is_empty() && !line.starts_with(['#', '!']) {
            let (key, value) = property(line);
            // Of two lines with one key Java keeps the later.
            properties.insert(key, value);
        }
    }
    let known = |key: &str| ["server.", "group", "weight"].iter().any(|family| key.starts_with(family));
    if let Some(key) = properties.keys().find(|key| !known(key) && **key != "version") {
        return Err(bad(format!("unknown parameter `{key}`")));
    }
    let mut parts = Parts::default();
    let mut hierarchical = false;
    for (key, value) in &properties {
        let number = key.split_once('.').map_or(*key, |(_, number)| number);
        if *key == "version" {
            // The new version is the transaction's; ZooKeeper reads this one all the same.
            u64::from_str_radix(value, 16).map_err(|_| malformed(format!("version `{value}`")))?;
        } else if key.starts_with("server.") {
            parts.servers.insert(server_id(number)?, server(value, rules)?);
        } else if key.starts_with("group") {
            hierarchical = true;
            let group = unsigned(number)?;
            for id in value.split(':') {
                if parts.groups.insert(server_id(id)?, group).is_some() {
                    return Err(bad(format!("server {id} is in several groups")));
                }
            }
        } else {
            hierarchical = true;
            parts.weights.insert(server_id(number)?, unsigned(value)?);
        }
    }
    if hierarchical {
        let voters = parts.servers.iter().filter(|(_, member)| member.role == Role::Participant);
        if let Some((id, _)) = voters.into_iter().find(|(id, _)| !parts.groups.contains_key(id)) {
            return Err(bad(format!("server {} is in no group", id.0)));
        }
        let is_voter = |id| parts.servers.get(id).is_some_and(|member| member.role == Role::Participant);
        if parts.groups.keys().any(|id| !is_voter(id) && !parts.weights.contains_key(id)) {
            return Err(malformed(NO_PARTICIPANT_NO_WEIGHT));
        }
    }
    let voters = parts.servers.values().filter(|member| member.role == Role::Participant).count();
    // These ZooKeeper throws out of its parser as no error of the request's.
    let observers = parts.servers.len() - voters;
    if (voters == 0 && (observers > 0 || !rules.standalone_enabled))
        || (voters == 1 && observers > 0 && rules.standalone_enabled)
    {
        return Err(malformed(format!("{voters} participants and {observers} observers are no ensemble")));
    }
    Ok(parts)
}

/// Splits a line of Java's properties at its first `=`, `:` or space.
fn property(line: &str) -> (&str, &str) {
    let line = line.trim_end();
    let end = line.find(['=', ':', ' ', '\t']).unwrap_or(line.len());
    let (key, rest) = line.split_at(end);
    let rest = rest.trim_start();
    (key, rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start())
}

fn server_id(text: &str) -> Result<ServerId, Refusal> {
    let number: i64 = text.parse().map_err(|_| malformed(format!("`{text}` is no number")))?;
    u8::try_from(number).map(ServerId).map_err(|_| bad(format!("server {number}: from 0 to 255 is possible")))
}

fn unsigned(text: &str) -> Result<u64, Refusal> {
    let number: i64 = text.parse().map_err(|_| malformed(format!("`{text}` is no number")))?;
    u64::try_from(number).map_err(|_| bad(format!("`{text}` is below zero")))
}

fn server(text: &str, rules: Rules) -> Result<Member, Refusal> {
    let ports = text.split([';', '|', ':']).filter_map(|part| part.parse::<i32>().ok());
    for port in ports {
        // Java's InetSocketAddress throws, which is no error of the request's.
        u16::try_from(port).map_err(|_| malformed(format!("port {port} of `{text}`")))?;
    }
    let member = parse_member(text).map_err(|what| bad(format!("`{text}`: {what}")))?;
    if member.addresses.len() > 1 && !rules.multi_address {
        return Err(bad(format!("`{text}`: several addresses need multiAddress.enabled")));
    }
    if member.addresses.iter().any(|address| address.quorum_port == address.election_port) {
        return Err(bad(format!("`{text}`: one port for both uses")));
    }
    Ok(member)
}

/// The addresses that no other server may have.
fn addresses(member: &Member) -> impl Iterator<Item = (&str, u16)> {
    let peers = member.addresses.iter().flat_map(|PeerAddress { host, quorum_port, election_port }| {
        [(host.as_str(), *quorum_port), (host.as_str(), *election_port)]
    });
    let client = member.client.iter().map(|client| (client.host.as_str(), client.port));
    peers.chain(client).filter(|(host, _)| !is_shared(host))
}

/// Whether a host is a loopback or a wildcard address.
fn is_shared(host: &str) -> bool {
    match host.parse::<core::net::IpAddr>() {
        Ok(address) => address.is_loopback() || address.is_unspecified(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

/// Who leads once a leader has committed `next`: itself, if it votes there and learners reach it where they
/// did; else, of the voters with weight that acknowledged the change, the one that acknowledged the most
/// (`acked`), so that the fewest proposals are dropped, and of equal ones the lowest number. None if nobody else
/// acknowledged it, which a change that was committed excludes.
///
/// `Leader.getDesignatedLeader`; ZooKeeper looks at the acknowledgements of each proposal behind the change, and
/// not at weights: there somebody may come to lead whom nobody would elect.
pub fn designated_leader(
    leader: ServerId,
    now: &Members,
    next: &Members,
    acked: impl Fn(ServerId) -> Zxid,
) -> Option<ServerId> {
    if next.is_voter(leader) && learners_reach(now, leader) == learners_reach(next, leader) {
        return Some(leader);
    }
    let electable = |voter: &ServerId| *voter != leader && next.verifier().weight(*voter) > 0;
    let others = next.verifier().voters().filter(electable);
    let with_it = others.filter(|voter| acked(*voter).0 >= next.version());
    with_it.max_by_key(|voter| (acked(*voter), std::cmp::Reverse(*voter)))
}

/// What a server does when another configuration than the one before is committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Activation {
    /// Its role from now on. One that is no member any more follows on as a participant that nobody counts.
    pub role: Role,
    /// Whether it leaves whom it follows and looks for a leader: its role or its leader has changed.
    pub looks_again: bool,
}

/// Activates `after` at a server that has a role and follows (or is) `leader`, while `designated` is the one
/// that its leader named, if it did. None if `after` is not newer, or has the same servers.
///
/// `QuorumPeer.processReconfig`.
pub fn activate(
    server: ServerId,
    role: Role,
    before: &Members,
    after: &Members,
    leader: ServerId,
    designated: Option<ServerId>,
) -> Option<Activation> {
    let is_same = before.servers() == after.servers() && before.verifier() == after.verifier();
    if before.version() >= after.version() || is_same {
        return None;
    }
    let role_after = after.servers().get(&server).map_or(Role::Participant, |member| member.role);
    let leader_changed = match designated {
        Some(designated) => designated != leader,
        None => {
            let voted = before.is_voter(leader) && after.is_voter(leader);
            !voted || learners_reach(before, leader) != learners_reach(after, leader)
        }
    };
    Some(Activation { role: role_after, looks_again: leader_changed || role_after != role })
}

/// Where learners reach a server, in no order.
fn learners_reach(members: &Members, server: ServerId) -> Option<BTreeSet<(&str, u16)>> {
    let member = members.servers().get(&server)?;
    Some(member.addresses.iter().map(|address| (address.host.as_str(), address.quorum_port)).collect())
}

/// The name of the file that keeps a committed configuration, beside `zoo.cfg`, whose name is given.
pub fn dynamic_file_name(static_file: &str, members: &Members) -> String {
    format!("{static_file}.dynamic.{:x}", members.version())
}

/// The name of the file that keeps a configuration until it is committed.
pub fn next_dynamic_file_name(static_file: &str) -> String {
    format!("{static_file}.dynamic.next")
}

/// The text of a dynamic file: the lines of `/zookeeper/config` in alphabetical order, no line feed at the
/// end. The version is in the file's name; the file of a configuration that is not committed has it as a line.
pub fn dynamic_file(members: &Members, is_committed: bool) -> String {
    let text = members.to_string();
    let mut lines: Vec<&str> =
        text.lines().filter(|line| !is_committed || !line.starts_with("version=")).collect();
    lines.sort_unstable();
    lines.join("\n")
}

/// The text of `zoo.cfg` once a configuration is committed: the ensemble's lines go, the name of the dynamic
/// file comes. If `client_is_dynamic`, the dynamic file also has the port for clients. ZooKeeper writes the
/// lines in no order and without comments; here they stay as they were.
pub fn static_file(text: &str, dynamic_file_path: &str, client_is_dynamic: bool) -> String {
    let goes = |line: &str| {
        let key = property(line.trim_start()).0;
        ["server.", "group", "weight", "dynamicConfigFile", "peerType"].iter().any(|k| key.starts_with(k))
            || (client_is_dynamic && key.starts_with("clientPort"))
    };
    let mut lines: Vec<&str> = text.lines().filter(|line| !goes(line)).collect();
    let pointer = format!("dynamicConfigFile={}", dynamic_file_path.replace('\\', "/"));
    lines.push(&pointer);
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules { standalone_enabled: true, multi_address: false };
    const THREE: &str = "server.1=127.0.0.1:2001:3001:participant;127.0.0.1:2181\n\
        server.2=127.0.0.1:2002:3002:participant;127.0.0.1:2182\n\
        server.3=127.0.0.1:2003:3003:participant;127.0.0.1:2183\nversion=100000000";

    fn three() -> Members {
        Members::parse(THREE).expect("it is a configuration")
    }

    /// Asks three servers, all of them connected, for a change of version 0x100000005.
    fn ask(change: &Change<'_>) -> Result<Members, Refusal> {
        let members = three();
        prepare(change, &members, &members, RULES, Zxid(0x1_0000_0005), |server| server.0 <= 3)
    }

    fn code(change: &Change<'_>) -> ErrorCode {
        ask(change).expect_err("it is refused").code
    }

    const ANY: Change<'static> = Change { joining: None, leaving: None, whole: None, from_version: -1 };

    #[test]
    fn a_change_has_the_version_of_its_transaction() {
        let joining = Some(" server.4 = 127.0.0.1:2004:3004:observer;2184 , 2=b:2002:3002;2182");
        let members = ask(&Change { joining, leaving: Some("1, 77,"), ..ANY }).expect("it is possible");
        assert_eq!(
            members.to_string(),
            "server.2=b:2002:3002:participant;0.0.0.0:2182\n\
             server.3=127.0.0.1:2003:3003:participant;127.0.0.1:2183\n\
             server.4=127.0.0.1:2004:3004:observer;0.0.0.0:2184\nversion=100000005"
        );
        assert_eq!(ask(&ANY).expect("nothing may change").servers(), three().servers());
    }

    #[test]
    fn a_whole_configuration_may_have_groups_and_loses_them_by_another_alone() {
        let text = format!("{},group.1=1:2:3,weight.3=2", THREE.replace('\n', ","));
        let grouped = ask(&Change { whole: Some(&text), ..ANY }).expect("it is possible");
        let lines = "group.1=1:2:3\nweight.1=1\nweight.2=1\nweight.3=2\nversion=100000005";
        assert!(grouped.to_string().ends_with(lines), "{grouped}");
        let again = |change| prepare(change, &grouped, &grouped, RULES, Zxid(1 << 33), |_| true);
        let error = again(&Change { leaving: Some("1"), ..ANY }).expect_err("they are groups");
        assert_eq!(error.code, ErrorCode::BadArguments);
        let back = again(&Change { whole: Some(THREE), ..ANY }).expect("it is possible");
        assert!(!back.is_hierarchical());
    }

    #[test]
    fn checks_come_in_zookeepers_order() {
        let (old, new) = (three(), Members::parse(&THREE.replace("version=1", "version=2")).expect("it is"));
        let wrong = Change { from_version: 7, leaving: Some("x"), ..ANY };
        let asked = |change: Change<'_>, seen: &Members| {
            let refused = prepare(&change, &old, seen, RULES, Zxid(1 << 34), |_| false);
            refused.expect_err("it is refused").code
        };
        assert_eq!(asked(wrong, &new), ErrorCode::ReconfigInProgress);
        assert_eq!(asked(wrong, &old), ErrorCode::BadVersion);
        assert_eq!(asked(Change { from_version: 1 << 32, ..wrong }, &old), ErrorCode::MarshallingError);
        assert_eq!(asked(Change { leaving: Some("1,2"), ..ANY }, &old), ErrorCode::BadArguments);
        assert_eq!(asked(ANY, &old), ErrorCode::NewConfigNoQuorum);
        // A whole configuration is looked at first; the rest of the request does not count then.
        assert!(ask(&Change { whole: Some(THREE), leaving: Some("x"), ..ANY }).is_ok());
    }

    #[test]
    fn a_quorum_of_the_new_servers_must_be_there() {
        let four = "server.4=a:1:2;3,server.5=b:1:2;3,server.6=c:1:2;3";
        assert_eq!(code(&Change { joining: Some(four), ..ANY }), ErrorCode::NewConfigNoQuorum);
        let observers = "server.4=a:1:2:observer;3,server.5=b:1:2:observer;3,server.6=c:1:2:observer;3";
        assert!(ask(&Change { joining: Some(observers), ..ANY }).is_ok());
    }

    #[test]
    fn an_address_belongs_to_one_server_unless_it_is_loopback() {
        let joining = |text| ask(&Change { joining: Some(text), ..ANY });
        let taken = joining("server.4=10.0.0.1:1:2:observer;3,server.5=10.0.0.1:4:5:observer;10.0.0.1:2");
        assert!(taken.expect_err("an election port is taken").why.contains("10.0.0.1:2"));
        assert!(joining("server.4=10.0.0.1:1:2:observer;3,server.5=10.0.0.1:4:5:observer;2").is_ok());
        assert!(joining("server.4=127.0.0.1:2001:3001:observer;2181").is_ok());
        assert!(joining("server.4=a:1:2:observer;3,server.4=a:1:2:observer;4").is_ok(), "it is one server");
    }

    #[test]
    fn nothing_that_a_client_sends_panics_or_passes() {
        use ErrorCode::{BadArguments, MarshallingError};
        for (text, expected) in [
            ("nonsense", BadArguments),
            ("server.4=a:1:2;3=4", BadArguments),
            ("server.4=", BadArguments),
            ("server.4=a:1:2", BadArguments),
            ("server.4=a:1;3", BadArguments),
            ("server.4=a:1:1;3", BadArguments),
            ("server.4=a:1:2:king;3", BadArguments),
            ("server.4=a:p:2;3", BadArguments),
            ("server.4=a:1:2|b:1:2;3", BadArguments),
            ("server.256=a:1:2;3", BadArguments),
            ("server.-1=a:1:2;3", BadArguments),
            ("server.x=a:1:2;3", MarshallingError),
            ("server.4=a:1:70000;3", MarshallingError),
            ("server.4=a:1:2;-3", MarshallingError),
        ] {
            assert_eq!(code(&Change { joining: Some(text), ..ANY }), expected, "{text}");
        }
        for (text, expected) in [
            ("", BadArguments),
            ("clientPort=1", BadArguments),
            ("server.1=a:1:2", BadArguments),
            ("server.1=a:1:2:observer", MarshallingError),
            ("server.1=a:1:2,server.2=a:1:2:observer", MarshallingError),
            ("server.1=a:1:2,server.2=a:1:2,group.1=1", BadArguments),
            ("server.1=a:1:2,server.2=a:1:2,group.1=1:2,group.2=2", BadArguments),
            ("server.1=a:1:2,server.2=a:1:2,weight.1=1", BadArguments),
            ("server.1=a:1:2,server.2=a:1:2,group.1=1:2,weight.1=-1", BadArguments),
            ("server.1=a:1:2,server.2=a:1:2,group.x=1:2", MarshallingError),
            ("server.1=a:1:2,server.2=a:1:2,group.1=1:2:3", MarshallingError),
            ("server.1=a:1:2,server.2=a:1:2,server.3=a:1:2:observer,group.1=1:2:3", MarshallingError),
            ("server.1=a:1:2,server.2=a:1:2,group.1=1:2,weight.1=x", MarshallingError),
            ("server.1=a:1:2,server.2=a:1:2,version=x", MarshallingError),
        ] {
            assert_eq!(code(&Change { whole: Some(text), ..ANY }), expected, "{text}");
        }
        let long = "1,".repeat(TEXT_BYTES_MAX);
        assert_eq!(code(&Change { leaving: Some(&long), ..ANY }), BadArguments);
        assert_eq!(code(&Change { whole: Some(&long), ..ANY }), BadArguments);
    }

    fn after(change: &Change<'_>) -> Members {
        ask(change).expect("it is possible")
    }

    #[test]
    fn a_leader_that_stays_leads_on_and_else_the_one_that_has_most() {
        let (now, change, leader) = (three(), 0x1_0000_0005, ServerId(3));
        let designated = |next: &Members, acked: [u64; 3]| {
            designated_leader(leader, &now, next, |server| {
                Zxid(change + acked[usize::from(server.0) - 1] - 1)
            })
        };
        assert_eq!(designated(&after(&Change { leaving: Some("1"), ..ANY }), [9, 9, 1]), Some(leader));
        let moved = "server.3=127.0.0.1:2003:3999:participant;5";
        assert_eq!(designated(&after(&Change { joining: Some(moved), ..ANY }), [9, 9, 1]), Some(leader));
        let moved = "server.3=127.0.0.1:2999:3003:participant;127.0.0.1:2183";
        for next in [Change { leaving: Some("3"), ..ANY }, Change { joining: Some(moved), ..ANY }] {
            let next = after(&next);
            assert_eq!(designated(&next, [1, 2, 3]), Some(ServerId(2)));
            assert_eq!(designated(&next, [2, 2, 3]), Some(ServerId(1)));
            assert_eq!(designated(&next, [0, 1, 3]), Some(ServerId(2)));
            assert_eq!(designated(&next, [0, 0, 3]), None);
        }
        let weightless = "server.1=a:1:2,server.2=a:1:2,group.1=1:2,weight.2=0";
        let next = after(&Change { whole: Some(weightless), ..ANY });
        assert_eq!(designated(&next, [1, 2, 3]), Some(ServerId(1)), "nobody would elect server 2");
    }

    #[test]
    fn a_server_looks_again_if_its_role_or_its_leader_has_changed() {
        use Role::{Observer, Participant};
        let (before, leader) = (three(), ServerId(3));
        let changed = |server: u8, change: &Change<'_>, designated: Option<u8>| {
            let designated = designated.map(ServerId);
            let activation =
                activate(ServerId(server), Participant, &before, &after(change), leader, designated);
            activation.map(|a| (a.role, a.looks_again))
        };
        let leaving = |text| Change { leaving: Some(text), ..ANY };
        let joining = |text| Change { joining: Some(text), ..ANY };
        assert_eq!(changed(1, &ANY, None), None, "the same servers");
        assert_eq!(changed(1, &leaving("2"), Some(3)), Some((Participant, false)));
        assert_eq!(changed(1, &leaving("2"), None), Some((Participant, false)));
        assert_eq!(changed(2, &leaving("2"), Some(3)), Some((Participant, false)));
        assert_eq!(changed(1, &leaving("3"), Some(2)), Some((Participant, true)));
        assert_eq!(changed(1, &leaving("3"), None), Some((Participant, true)));
        let observer = joining("server.1=127.0.0.1:2001:3001:observer;127.0.0.1:2190");
        assert_eq!(changed(1, &observer, Some(3)), Some((Observer, true)));
        assert_eq!(changed(2, &observer, Some(3)), Some((Participant, false)));
        let moved = joining("server.3=127.0.0.1:2999:3003;127.0.0.1:2183");
        assert_eq!(changed(1, &moved, None), Some((Participant, true)));
        let stale = activate(ServerId(1), Participant, &after(&leaving("2")), &before, leader, None);
        assert_eq!(stale, None, "an older one");
    }

    #[test]
    fn the_files_are_zookeepers() {
        let text = format!("{THREE}\nserver.10=a:1:2:observer\ngroup.1=1:2:3");
        let members = Members::parse(&text.replace("version", "\nversion")).expect("it is a configuration");
        assert_eq!(dynamic_file_name("zoo.cfg", &members), "zoo.cfg.dynamic.100000000");
        assert_eq!(next_dynamic_file_name("zoo.cfg"), "zoo.cfg.dynamic.next");
        // A zero comes before the equals sign.
        let committed = "group.1=1:2:3\nserver.10=a:1:2:observer\n\
            server.1=127.0.0.1:2001:3001:participant;127.0.0.1:2181\n\
            server.2=127.0.0.1:2002:3002:participant;127.0.0.1:2182\n\
            server.3=127.0.0.1:2003:3003:participant;127.0.0.1:2183\nweight.1=1\nweight.2=1\nweight.3=1";
        assert_eq!(dynamic_file(&members, true), committed);
        let next = committed.replace("weight.1", "version=100000000\nweight.1");
        assert_eq!(dynamic_file(&members, false), next);
        let before = "# ours\ntickTime=2000\nclientPort=2181\nserver.1=a:1:2\n  group.1 = 1\npeerType=observer\n\
            dynamicConfigFile=/c/old\n";
        assert_eq!(
            static_file(before, "/c/zoo.cfg.dynamic.1", false),
            "# ours\ntickTime=2000\nclientPort=2181\ndynamicConfigFile=/c/zoo.cfg.dynamic.1\n"
        );
        assert!(!static_file(before, "/c/zoo.cfg.dynamic.1", true).contains("clientPort"));
    }
}
