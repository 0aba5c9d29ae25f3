//! What preparation refuses, and what it makes.

use super::*;
use crate::database::Database;
use crate::tree::acl::{AclEntry, AclList};

const SESSION: SessionId = SessionId(0x0100_0000_0000_0001);

/// A create of an ephemeral node.
fn ephemeral(path: &str) -> Vec<u8> {
    let mut body = Vec::new();
    path.write(&mut body);
    Some(&b""[..]).write(&mut body);
    body.extend_from_slice(&AclList::open().bytes);
    1i32.write(&mut body);
    body
}

/// Prepares and applies one request; returns the length of its transaction.
fn run(prep: &mut Prep, database: &mut Database, op: OpCode, body: &[u8]) -> Result<usize, ErrorCode> {
    let request =
        WriteRequest { session: SESSION, xid: 1, op, body, auth: &[], internal: false, no_ephemerals: None };
    let (zxid, mut txn) = (database.last.next(), Vec::new());
    prep.prepare(&database.tree, &request, Stamp { zxid, time: 0 }, &mut txn)?;
    database.replay(&txn).unwrap();
    prep.applied(zxid);
    Ok(txn.len())
}

#[test]
fn a_session_with_more_nodes_than_a_transaction_can_name_ends_all_the_same() {
    let mut prep = Prep::new(Arc::new(Settings::default()), 1);
    prep.transaction_bytes_max = 4000;
    let mut database = Database::new(1);
    for number in 0..100 {
        let path = format!("/{number:0100}");
        run(&mut prep, &mut database, OpCode::Create, &ephemeral(&path)).unwrap();
    }
    assert_eq!(database.tree.ephemerals().count(), 100);
    let length = run(&mut prep, &mut database, OpCode::CloseSession, &[]).unwrap();
    assert!(length <= 4000, "{length} bytes");
    assert_eq!((database.tree.ephemerals().count(), database.tree.node_count()), (0, 4));
}

#[test]
fn a_multi_that_grows_above_a_transaction_fails_and_leaves_no_trace() {
    let mut prep = Prep::new(Arc::new(Settings::default()), 1);
    prep.transaction_bytes_max = 4000;
    let mut database = Database::new(1);
    let proof = |n: usize| AuthId { scheme: "digest".into(), id: format!("u{n}:{:030}", 0).into() };
    let auth: Vec<AuthId> = (0..20).map(proof).collect();
    let mut body = Vec::new();
    for number in 0..5 {
        MultiHeader { op: OpCode::Create.code(), done: false, err: -1 }.write(&mut body);
        format!("/{number}").write(&mut body);
        Some(&b""[..]).write(&mut body);
        let entry = AclEntry { perms: 31, scheme: "auth".into(), id: "".into() };
        body.extend_from_slice(&AclList::new(vec![entry]).bytes);
        0i32.write(&mut body);
    }
    MultiHeader { op: -1, done: true, err: -1 }.write(&mut body);
    let (session, stamp) = (SESSION, Stamp { zxid: Zxid(1), time: 0 });
    let request = WriteRequest {
        session,
        xid: 1,
        op: OpCode::Multi,
        body: &body,
        auth: &auth,
        internal: false,
        no_ephemerals: None,
    };
    let mut txn = Vec::new();
    prep.prepare(&database.tree, &request, stamp, &mut txn).unwrap();
    assert!(txn.len() <= 4000, "{} bytes", txn.len());
    database.replay(&txn).unwrap();
    assert_eq!((prep.outstanding(), database.tree.node_count()), (0, 4));
    let long = run(&mut prep, &mut database, OpCode::Create, &ephemeral(&format!("/{}", "a".repeat(4000))));
    assert_eq!(long, Err(ErrorCode::MarshallingError));
}

/// A create inside a multi is passed over before it is decoded: both must agree where it ends.
#[test]
fn a_create_that_is_passed_over_ends_where_one_that_is_decoded_does() {
    let acl =
        |id: &'static str| Acl { perms: 31, id: Id { scheme: Some("world".into()), id: Some(id.into()) } };
    let request =
        CreateRequest { path: "/a".into(), data: Some(b"data"), acl: vec![acl("anyone"), acl("")], flags: 3 };
    let whole = jute::to_bytes(&request);
    let agree = |bytes: &[u8]| {
        let (mut decoding, mut passing) = (Reader::new(bytes), Reader::new(bytes));
        let decoded = decoding.read::<CreateRequest<'_>>().map(|create| create.flags).ok();
        assert_eq!(pass_create(&mut passing).ok(), decoded, "{bytes:?}");
        if decoded.is_some() {
            assert_eq!(passing.position(), decoding.position(), "{bytes:?}");
        }
    };
    (0..=whole.len()).for_each(|length| agree(&whole[..length]));
    for at in 0..whole.len() {
        for byte in [0, 1, 2, 0x7f, 0x80, 0xff] {
            let mut changed = whole.clone();
            changed[at] = byte;
            agree(&changed);
        }
        // Null and other lengths below zero.
        for length in [-1i32, -2, 0] {
            let mut changed = whole.clone();
            changed.splice(at..(at + 4).min(whole.len()), length.to_be_bytes());
            agree(&changed);
        }
    }
}

/// Prepares and applies the creation of a node that stays.
fn create(prep: &mut Prep, database: &mut Database, path: &str, data: &str) -> Result<usize, ErrorCode> {
    let mut body = Vec::new();
    path.write(&mut body);
    Some(data.as_bytes()).write(&mut body);
    body.extend_from_slice(&AclList::open().bytes);
    0i32.write(&mut body);
    run(prep, database, OpCode::Create, &body)
}

#[test]
fn what_a_hard_quota_refuses_is_counted_by_its_first_name() {
    let settings = Settings { enforce_quota: true, ..Settings::default() };
    let (mut prep, mut database) = (Prep::new(Arc::new(settings), 1), Database::new(1));
    for (path, data) in [
        ("/tenant", ""),
        ("/tenant/a", ""),
        ("/zookeeper/quota/tenant", ""),
        ("/zookeeper/quota/tenant/a", ""),
        (
            "/zookeeper/quota/tenant/a/zookeeper_limits",
            "count=-1,bytes=-1=;byteHardLimit=-1;countHardLimit=2",
        ),
        ("/zookeeper/quota/tenant/a/zookeeper_stats", "count=1,bytes=0"),
        ("/tenant/a/1", ""),
        ("/tenant/free", ""),
    ] {
        create(&mut prep, &mut database, path, data).unwrap();
    }
    for path in ["/tenant/a/2", "/tenant/a/1/2"] {
        assert_eq!(create(&mut prep, &mut database, path, ""), Err(ErrorCode::QuotaExceeded));
    }
    assert_eq!(create(&mut prep, &mut database, "/tenant/a/1", ""), Err(ErrorCode::NodeExists));
    assert_eq!(prep.quota_refusals().iter().collect::<Vec<_>>(), [("tenant", 2)]);
    prep.reset_quota_refusals();
    assert_eq!(prep.quota_refusals().iter().collect::<Vec<_>>(), [("tenant", 0)]);
}

#[test]
fn a_path_that_leads_to_no_node_is_judged_before_it_is_missed() {
    let mut prep = Prep::new(Arc::new(Settings::default()), 1);
    let mut database = Database::new(1);
    let mut set = |path: &str| {
        let request = SetDataRequest { path: path.into(), data: None, version: -1 };
        run(&mut prep, &mut database, OpCode::SetData, &jute::to_bytes(&request)).map(drop)
    };
    assert_eq!(set("/"), Ok(()));
    assert_eq!(set("/none"), Err(ErrorCode::NoNode));
    for bad in ["", "none", "//zookeeper", "/zookeeper/", "/zookeeper//quota", "/zookeeper/./quota"] {
        assert_eq!(set(bad), Err(ErrorCode::BadArguments), "{bad:?}");
    }
}
