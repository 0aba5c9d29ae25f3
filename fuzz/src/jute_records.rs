//! Decoding of every record of the protocol and of every transaction. The first byte chooses the record.
//!
//! The laws: what decodes is encoded and decoded to the same value; it needed each byte that it took; and
//! a list that is taken as raw bytes is as long as the list taken apart.

use ringkeeper_engine::jute::records::{
    Acl, AddWatchRequest, AuthPacket, ClientInfo, CloseSessionTxn, ConnectRequest, ConnectResponse,
    Create2Response, CreateContainerTxn, CreateRequest, CreateSessionTxn, CreateTtlRequest, CreateTtlTxn,
    CreateTxn, ErrorTxn, FileHeader, GetAclResponse, GetDataResponse, GetEphemeralsRequest, Id, MultiHeader,
    MultiTxn, PathRecord, PathVersion, PathWatchRequest, ReconfigRequest, ReplyHeader, RequestHeader,
    SaslToken, SetAclRecord, SetDataRequest, SetDataTxn, Stat, StatPersisted, Txn, TxnDigest, TxnHeader,
    WatchTypeRequest, WatcherEvent,
};
use ringkeeper_engine::jute::{self, Reader, Write};
use ringkeeper_engine::tree::TreeWriter;
use ringkeeper_engine::tree::acl::RawAcl;
use ringkeeper_engine::tree::index::pin;

/// Decodes one record, and how far from the end of what it took it is cut for the second law.
type Check = fn(&[u8], usize);

macro_rules! checks {
    ($($record:ident)*) => {
        &[$(|bytes, cut| {
            let mut reader = Reader::new(bytes);
            let Ok(value) = reader.read::<$record>() else { return };
            let taken = reader.position();
            let encoded = jute::to_bytes(&value);
            let mut again = Reader::new(&encoded);
            assert_eq!(again.read::<$record>().as_ref(), Ok(&value), "decoded, encoded, decoded");
            assert!(again.rest().is_empty(), "more was encoded than is decoded");
            let short = &bytes[..taken - 1 - cut % taken];
            assert!(jute::from_bytes::<$record>(short).is_err(), "a record that is cut short");
        }),*]
    };
}

const RECORDS: &[Check] = checks![
    Id Acl Stat StatPersisted ClientInfo ConnectRequest ConnectResponse RequestHeader MultiHeader AuthPacket
    ReplyHeader PathWatchRequest PathRecord SetDataRequest ReconfigRequest SaslToken CreateRequest
    CreateTtlRequest PathVersion SetAclRecord AddWatchRequest WatcherEvent Create2Response GetDataResponse
    GetAclResponse WatchTypeRequest GetEphemeralsRequest TxnHeader CreateTxn CreateTtlTxn CreateContainerTxn
    SetDataTxn CreateSessionTxn CloseSessionTxn ErrorTxn Txn MultiTxn FileHeader TxnDigest
];

/// Runs one input.
pub fn run(input: &[u8]) {
    let Some((&[record, cut], bytes)) = input.split_first_chunk() else { return };
    RECORDS[usize::from(record) % RECORDS.len()](bytes, usize::from(cut));
    raw_list(bytes);
}

/// Access control lists are kept as the bytes that came.
fn raw_list(bytes: &[u8]) {
    let (mut raw, mut apart) = (Reader::new(bytes), Reader::new(bytes));
    let list = raw.read::<RawAcl<'_>>();
    let entries = apart.read::<Vec<Acl<'_>>>();
    assert_eq!(list.is_ok(), entries.is_ok(), "raw and taken apart");
    let (Ok(list), Ok(entries)) = (list, entries) else { return };
    assert_eq!(raw.position(), apart.position(), "raw and taken apart have one length");
    let (mut tree, guard) = (TreeWriter::new(1), pin());
    let interned = tree.acls.intern(list).expect("it was read above");
    assert_eq!(tree.acl(interned, &guard).entries.len(), entries.len());
    let mut written = Vec::new();
    list.write(&mut written);
    assert_eq!(written, list.0);
}

#[test]
fn every_record_is_decoded() {
    let declared = include_str!("../../engine/src/jute/records.rs").matches("\nrecord! {").count();
    assert_eq!(RECORDS.len(), declared);
}
