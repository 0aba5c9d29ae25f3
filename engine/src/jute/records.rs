//! The records of `zookeeper.jute`, in its order: client protocol and transactions. Field names
//! are the schema's, in snake case.

use super::{Fixed, Read, Reader, Result, Write};
use std::borrow::Cow;

macro_rules! record {
    ($(#[$doc:meta])* $name:ident<$life:lifetime> { $($field:ident: $type:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[allow(missing_docs, reason = "the schema's own names")]
        pub struct $name<$life> { $(pub $field: $type),* }

        impl<$life> Read<$life> for $name<$life> {
            #[inline]
            fn read(r: &mut Reader<$life>) -> Result<Self> {
                Ok($name { $($field: r.read()?),* })
            }
        }

        impl Write for $name<'_> {
            #[inline]
            fn write(&self, out: &mut Vec<u8>) {
                $(self.$field.write(out);)*
            }
        }
    };
    ($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[allow(missing_docs, reason = "the schema's own names")]
        pub struct $name { $(pub $field: $type),* }

        impl<'a> Read<'a> for $name {
            #[inline]
            fn read(r: &mut Reader<'a>) -> Result<Self> {
                Ok($name { $($field: r.read()?),* })
            }
        }

        impl Write for $name {
            #[inline]
            fn write(&self, out: &mut Vec<u8>) {
                let mut bytes = [0; 0 $(+ size_of::<$type>())*];
                let rest = &mut bytes[..];
                $(
                    let (field, rest) = rest.split_at_mut(size_of::<$type>());
                    self.$field.put(field);
                )*
                debug_assert!(rest.is_empty());
                out.extend_from_slice(&bytes);
            }
        }
    };
}

type Str<'a> = Cow<'a, str>;
type Buffer<'a> = Option<&'a [u8]>;

record! {
    /// Who somebody is, in the terms of one authentication scheme. Java lets both be null.
    Id<'a> { scheme: Option<Str<'a>>, id: Option<Str<'a>> }
}
record! {
    /// One entry of an access control list.
    Acl<'a> { perms: i32, id: Id<'a> }
}
record! {
    /// What a client learns of a node besides its data.
    Stat {
        czxid: i64, mzxid: i64, ctime: i64, mtime: i64, version: i32, cversion: i32, aversion: i32,
        ephemeral_owner: i64, data_length: i32, num_children: i32, pzxid: i64,
    }
}
record! {
    /// What snapshots keep of a node's Stat; `cversion` counts creations alone.
    StatPersisted {
        czxid: i64, mzxid: i64, ctime: i64, mtime: i64, version: i32, cversion: i32, aversion: i32,
        ephemeral_owner: i64, pzxid: i64,
    }
}
record! {
    /// One authenticated identity, for `whoAmI`.
    ClientInfo<'a> { auth_scheme: Str<'a>, user: Str<'a> }
}

record! {
    /// The first frame of a client, without the read-only byte that newer clients append.
    ConnectRequest<'a> {
        protocol_version: i32, last_zxid_seen: i64, time_out: i32, session_id: i64, passwd: Buffer<'a>,
    }
}
record! {
    /// Its answer, without the read-only byte.
    ConnectResponse<'a> { protocol_version: i32, time_out: i32, session_id: i64, passwd: Buffer<'a> }
}
record! {
    /// Before every request.
    RequestHeader { xid: i32, op: i32 }
}
record! {
    /// Before every operation of a multi, and of its results.
    MultiHeader { op: i32, done: bool, err: i32 }
}
record! {
    /// Credentials for one scheme.
    AuthPacket<'a> { kind: i32, scheme: Option<Str<'a>>, auth: Buffer<'a> }
}
record! {
    /// Before every reply.
    ReplyHeader { xid: i32, zxid: i64, err: i32 }
}
record! {
    /// exists, getData, getChildren and getChildren2 ask alike.
    PathWatchRequest<'a> { path: Str<'a>, watch: bool }
}
record! {
    /// sync, getACL, getAllChildrenNumber, deleteContainer ask alike; also sync's answer.
    PathRecord<'a> { path: Str<'a> }
}
record! {
    /// setData.
    SetDataRequest<'a> { path: Str<'a>, data: Buffer<'a>, version: i32 }
}
record! {
    /// reconfig.
    ReconfigRequest<'a> {
        joining_servers: Option<Str<'a>>, leaving_servers: Option<Str<'a>>,
        new_members: Option<Str<'a>>, cur_config_id: i64,
    }
}
record! {
    /// A token of the client's SASL mechanism, or of the server's answer.
    SaslToken<'a> { token: Buffer<'a> }
}
record! {
    /// create, create2 and createContainer.
    CreateRequest<'a> { path: Str<'a>, data: Buffer<'a>, acl: Vec<Acl<'a>>, flags: i32 }
}
record! {
    /// createTTL.
    CreateTtlRequest<'a> { path: Str<'a>, data: Buffer<'a>, acl: Vec<Acl<'a>>, flags: i32, ttl: i64 }
}
record! {
    /// delete, and check inside a multi; also the transaction of check.
    PathVersion<'a> { path: Str<'a>, version: i32 }
}
record! {
    /// setACL; also its transaction, where `version` is the new one.
    SetAclRecord<'a> { path: Str<'a>, acl: Vec<Acl<'a>>, version: i32 }
}
record! {
    /// addWatch.
    AddWatchRequest<'a> { path: Str<'a>, mode: i32 }
}
record! {
    /// What a watch tells its client.
    WatcherEvent<'a> { kind: i32, state: i32, path: Str<'a> }
}
record! {
    /// The answer to create2, createContainer and createTTL.
    Create2Response<'a> { path: Str<'a>, stat: Stat }
}
record! {
    /// The answer to getData.
    GetDataResponse<'a> { data: Buffer<'a>, stat: Stat }
}
record! {
    /// The answer to getACL.
    GetAclResponse<'a> { acl: Vec<Acl<'a>>, stat: Stat }
}
record! {
    /// checkWatches and removeWatches.
    WatchTypeRequest<'a> { path: Str<'a>, kind: i32 }
}
record! {
    /// getEphemerals.
    GetEphemeralsRequest<'a> { prefix_path: Option<Str<'a>> }
}

record! {
    /// Before every transaction.
    TxnHeader { client_id: i64, cxid: i32, zxid: i64, time: i64, op: i32 }
}
record! {
    /// create and create2.
    CreateTxn<'a> {
        path: Str<'a>, data: Buffer<'a>, acl: Vec<Acl<'a>>, ephemeral: bool, parent_cversion: i32,
    }
}
record! {
    /// createTTL.
    CreateTtlTxn<'a> {
        path: Str<'a>, data: Buffer<'a>, acl: Vec<Acl<'a>>, parent_cversion: i32, ttl: i64,
    }
}
record! {
    /// createContainer.
    CreateContainerTxn<'a> { path: Str<'a>, data: Buffer<'a>, acl: Vec<Acl<'a>>, parent_cversion: i32 }
}
record! {
    /// setData and reconfig; `version` is the new one.
    SetDataTxn<'a> { path: Str<'a>, data: Buffer<'a>, version: i32 }
}
record! {
    /// createSession.
    CreateSessionTxn { time_out: i32 }
}
record! {
    /// closeSession: the ephemeral nodes that go with it.
    CloseSessionTxn<'a> { paths_to_delete: Vec<Str<'a>> }
}
record! {
    /// A request that failed.
    ErrorTxn { err: i32 }
}
record! {
    /// One operation of a multi.
    Txn<'a> { op: i32, data: Buffer<'a> }
}
record! {
    /// A multi.
    MultiTxn<'a> { txns: Vec<Txn<'a>> }
}

record! {
    /// The beginning of ZooKeeper's log and snapshot files.
    FileHeader { magic: i32, version: i32, dbid: i64 }
}
record! {
    /// Behind a transaction in a log or a proposal: the digest of the tree that it leads to.
    TxnDigest { version: i32, tree_digest: i64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jute::{from_bytes, to_bytes};

    #[test]
    fn set_data_request_has_the_bytes_of_the_java_client() {
        let request = SetDataRequest { path: "/a".into(), data: Some(b"xy"), version: -1 };
        let bytes = to_bytes(&request);
        assert_eq!(bytes, [0, 0, 0, 2, b'/', b'a', 0, 0, 0, 2, b'x', b'y', 255, 255, 255, 255]);
        assert_eq!(from_bytes::<SetDataRequest<'_>>(&bytes).unwrap(), request);
        for cut in 0..bytes.len() {
            assert!(from_bytes::<SetDataRequest<'_>>(&bytes[..cut]).is_err(), "cut at {cut}");
        }
    }
}
