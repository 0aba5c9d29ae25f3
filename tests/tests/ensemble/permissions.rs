//! Who may do what, at whatever server: what a client has proved goes with its request to the leader.

use std::net::SocketAddr;

use ringkeeper_tests::body;
use ringkeeper_tests::ensemble::node::Role;
use ringkeeper_tests::ensemble::{Ensemble, Plan};
use ringkeeper_tests::server::Options;
use ringkeeper_tests::wire::{Session, error_name, op};

use crate::TIMEOUT_MS;

const CONFIG: &str = "/zookeeper/config";
/// Of `super:admin`.
const SUPER: &str = "zookeeper.DigestAuthenticationProvider.superDigest=super:xQJmxLMiHGwaqBvst5y6rkB6HQs=";
/// Of `alice:secret`.
const ALICE: (&str, &str) = ("digest", "alice:aYXlLOpEooaV1cRAvUL1fp9Qt7E=");
/// Reads and writes.
const READ_WRITE: i32 = 3;

fn proving(address: SocketAddr, identity: &str) -> Session {
    let mut session = Session::begin(address, TIMEOUT_MS);
    session.ask(op::AUTH, &body::auth("digest", identity.as_bytes()));
    session
}

fn outcome(session: &mut Session, op: i32, record: &[u8]) -> String {
    let reply = session.request(op, record).unwrap_or_else(|e| panic!("operation {op}: {e}"));
    error_name(reply.error)
}

/// A node of one client's own is closed to others at every server, and open to it at every server.
pub fn access_is_the_same_everywhere(addresses: &[SocketAddr]) {
    for (number, here) in addresses.iter().enumerate() {
        let path = format!("/own-{number}");
        let create = body::create_for(&path, ("auth", ""), 31);
        assert_eq!(outcome(&mut Session::begin(*here, TIMEOUT_MS), op::CREATE, &create), "InvalidACL");
        let mut owner = proving(*here, "alice:secret");
        assert_eq!(outcome(&mut owner, op::CREATE, &create), "ok");
        assert_eq!(outcome(&mut owner, op::CREATE, &create), "NodeExists");
        for address in addresses {
            let mut other = proving(*address, "bob:secret");
            other.ask(op::SYNC, &body::path("/"));
            assert_eq!(outcome(&mut other, op::GET_DATA, &body::read(&path, false)), "NoAuth");
            assert_eq!(outcome(&mut other, op::SET_DATA, &body::set_data(&path, b"2")), "NoAuth");
            let set_acl = body::set_acl(&path, ALICE, 31);
            assert_eq!(outcome(&mut other, op::SET_ACL, &set_acl), "NoAuth");
            other.ask(op::AUTH, &body::auth("digest", b"alice:secret"));
            assert_eq!(outcome(&mut other, op::SET_DATA, &body::set_data(&path, b"3")), "ok");
        }
        let opened = body::set_acl(&path, ("world", "anyone"), 31);
        assert_eq!(outcome(&mut owner, op::SET_ACL, &opened), "ok", "for who looks at all trees");
    }
}

/// A reconfiguration is for whoever may write `/zookeeper/config`: at first the super user alone, then whom its
/// ACL names. What is wrong with the request is said before that; that reconfigurations are disabled, first.
pub fn a_reconfiguration_is_for_who_may_write_the_configuration(line_up: &str) {
    for enabled in [true, false] {
        let options = Options {
            config: vec![format!("reconfigEnabled={enabled}")],
            properties: vec![SUPER.to_owned()],
            ..Options::default()
        };
        let ensemble = Ensemble::start(&Plan { options, clients_in_members: true, ..Plan::of(line_up) });
        // What is there already.
        let line = ensemble.node(1).ports.line(1, Role::Participant, true);
        let (same, wrong) = (
            body::reconfig(Some(&line), None, None, -1),
            body::reconfig(Some("server.7=nonsense"), None, None, -1),
        );
        let asks = |address: SocketAddr, identity: Option<&str>, record: &[u8]| {
            let mut session = Session::begin(address, TIMEOUT_MS);
            if let Some(identity) = identity {
                session.ask(op::AUTH, &body::auth("digest", identity.as_bytes()));
            }
            outcome(&mut session, op::RECONFIG, record)
        };
        let (plain, alice, root) = (None, Some("alice:secret"), Some("super:admin"));
        for address in ensemble.addresses() {
            if !enabled {
                assert_eq!(asks(address, plain, &same), "ReconfigDisabled");
                assert_eq!(asks(address, root, &same), "ReconfigDisabled");
                continue;
            }
            assert_eq!(asks(address, plain, &same), "NoAuth");
            assert_eq!(asks(address, alice, &same), "NoAuth");
            assert_eq!(asks(address, plain, &wrong), "BadArguments");
            assert_eq!(asks(address, root, &same), "ok");
        }
        if enabled {
            let mut root = proving(ensemble.addresses()[0], "super:admin");
            assert_eq!(outcome(&mut root, op::SET_ACL, &body::set_acl(CONFIG, ALICE, READ_WRITE)), "ok");
            for address in ensemble.addresses() {
                assert_eq!(asks(address, alice, &same), "ok");
                assert_eq!(asks(address, plain, &same), "NoAuth");
            }
        }
    }
}
