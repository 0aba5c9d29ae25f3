//! Records of requests, for the tests that send them and compare nothing byte by byte. What opens a
//! node opens it to all; what expects a version expects any.

use crate::wire::Encoder;

fn body(write: impl FnOnce(&mut Encoder)) -> Vec<u8> {
    let mut body = Encoder::default();
    write(&mut body);
    body.bytes
}

/// create and create2; `flags` 0 is persistent, 1 ephemeral, 2 sequential.
pub fn create(path: &str, data: &[u8], flags: i32) -> Vec<u8> {
    body(|b| {
        b.string(path).buffer(Some(data)).open_acl().int(flags);
    })
}

/// create of an empty persistent node with one entry in its ACL: a scheme's identity, and what it may do.
pub fn create_for(path: &str, (scheme, id): (&str, &str), permissions: i32) -> Vec<u8> {
    body(|b| {
        b.string(path).buffer(Some(b"")).int(1).int(permissions).string(scheme).string(id).int(0);
    })
}

/// setACL with one such entry.
pub fn set_acl(path: &str, (scheme, id): (&str, &str), permissions: i32) -> Vec<u8> {
    body(|b| {
        b.string(path).int(1).int(permissions).string(scheme).string(id).int(-1);
    })
}

/// setData.
pub fn set_data(path: &str, data: &[u8]) -> Vec<u8> {
    body(|b| {
        b.string(path).buffer(Some(data)).int(-1);
    })
}

/// delete.
pub fn delete(path: &str) -> Vec<u8> {
    body(|b| {
        b.string(path).int(-1);
    })
}

/// getData, exists, getChildren and getChildren2.
pub fn read(path: &str, watch: bool) -> Vec<u8> {
    body(|b| {
        b.string(path).boolean(watch);
    })
}

/// sync, getEphemerals, getACL.
pub fn path(path: &str) -> Vec<u8> {
    body(|b| {
        b.string(path);
    })
}

/// addWatch; mode 0 is persistent, 1 persistent recursive.
pub fn add_watch(path: &str, mode: i32) -> Vec<u8> {
    body(|b| {
        b.string(path).int(mode);
    })
}

/// setWatches for data watches.
pub fn set_watches(since: i64, data: &[&str]) -> Vec<u8> {
    body(|b| {
        b.long(since).int(i32::try_from(data.len()).expect("a test's list is short"));
        for path in data {
            b.string(path);
        }
        b.int(0).int(0);
    })
}

/// reconfig: servers that join, servers that leave, or a whole configuration; from a version, or -1.
pub fn reconfig(
    joining: Option<&str>,
    leaving: Option<&str>,
    whole: Option<&str>,
    from_version: i64,
) -> Vec<u8> {
    body(|b| {
        for text in [joining, leaving, whole] {
            b.buffer(text.map(str::as_bytes));
        }
        b.long(from_version);
    })
}

/// An auth packet.
pub fn auth(scheme: &str, credentials: &[u8]) -> Vec<u8> {
    body(|b| {
        b.int(0).string(scheme).buffer(Some(credentials));
    })
}

/// multi, of operations with their records.
pub fn multi<'a>(operations: impl IntoIterator<Item = (i32, &'a [u8])>) -> Vec<u8> {
    body(|b| {
        for (op, record) in operations {
            b.int(op).boolean(false).int(-1).raw(record);
        }
        b.int(-1).boolean(true).int(-1);
    })
}
