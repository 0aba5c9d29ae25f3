//! The async Rust client `zookeeper-client`, which nobody here wrote, against our server.

use std::future::Future;
use std::time::Duration;

use ringkeeper_tests::differential::subject;
use ringkeeper_tests::server::{Options, Server};
use tokio::time::timeout;
use zookeeper_client::{
    Acl, Acls, AddWatchMode, AuthId, CheckWriteError, Client, CreateMode, CreateOptions, Error, EventType,
    LockPrefix, MultiReadResult, MultiWriteError, MultiWriteResult, Permission, SessionState,
};

const OPEN: Acls<'static> = Acls::anyone_all();
const PERSISTENT: CreateOptions<'static> = CreateMode::Persistent.with_acls(OPEN);
const EPHEMERAL: CreateOptions<'static> = CreateMode::Ephemeral.with_acls(OPEN);

/// How long an answer or an event may take.
const PATIENCE: Duration = Duration::from_secs(30);
const SESSION_TIMEOUT: Duration = Duration::from_secs(20);

fn run<F: Future<Output = ()>>(test: impl FnOnce(Server) -> F) {
    let properties = vec!["zookeeper.extendedTypesEnabled=true".to_owned()];
    let server = Server::start(subject(), Options { properties, ..Options::default() });
    let server = server.unwrap_or_else(|e| panic!("{e}"));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.expect("a runtime").block_on(test(server));
}

/// Waits for an answer or event.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(PATIENCE, what).await.expect("it comes in time")
}

/// The session ends with the last clone of the client.
async fn connect(server: &Server) -> Client {
    let connector = Client::connector().with_session_timeout(SESSION_TIMEOUT);
    soon(connector.connect(&server.address().to_string())).await.expect("a session")
}

#[test]
fn nodes_are_created_read_changed_and_deleted() {
    run(|server| async move {
        let client = connect(&server).await;
        assert_eq!(client.session_timeout(), SESSION_TIMEOUT);
        let (created, _) = client.create("/a", b"one", &PERSISTENT).await.unwrap();
        assert_eq!(client.get_data("/a").await.unwrap(), (b"one".to_vec(), created));
        assert_eq!(client.create("/a", b"", &PERSISTENT).await.unwrap_err(), Error::NodeExists);

        let changed = client.set_data("/a", b"three", Some(0)).await.unwrap();
        assert_eq!((changed.version, changed.data_length), (1, 5));
        assert!(changed.mzxid > created.mzxid && changed.czxid == created.czxid);
        assert_eq!(client.set_data("/a", b"", Some(0)).await.unwrap_err(), Error::BadVersion);

        client.mkdir("/a/b/c", &PERSISTENT).await.unwrap();
        client.create("/a/d", b"", &PERSISTENT.with_ttl(Duration::from_secs(3600))).await.unwrap();
        client.create("/a/e", b"", &CreateMode::Container.with_acls(OPEN)).await.unwrap();
        let (mut children, stat) = client.get_children("/a").await.unwrap();
        children.sort_unstable();
        assert_eq!(children, ["b", "d", "e"]);
        assert_eq!((stat.num_children, stat.cversion), (3, 3));
        assert_eq!(client.count_descendants_number("/a").await.unwrap(), 4);

        assert_eq!(client.delete("/a", None).await.unwrap_err(), Error::NotEmpty);
        for path in ["/a/b/c", "/a/b", "/a/d", "/a/e"] {
            client.delete(path, Some(0)).await.unwrap();
        }
        client.delete("/a", Some(1)).await.unwrap();
        client.sync("/").await.unwrap();
        assert_eq!(client.check_stat("/a").await.unwrap(), None);
        assert_eq!(client.get_data("/a").await.unwrap_err(), Error::NoNode);
        assert_eq!(client.create("/a/b", b"", &PERSISTENT).await.unwrap_err(), Error::NoNode);
        assert!(client.get_config().await.is_ok());
    });
}

#[test]
fn only_who_may_reads_a_guarded_node() {
    run(|server| async move {
        let (amy, bob) = (connect(&server).await, connect(&server).await);
        amy.auth("digest", b"amy:secret").await.unwrap();
        let users = amy.list_auth_users().await.unwrap();
        assert!(users.iter().any(|user| user.scheme() == "digest" && user.user() == "amy"), "{users:?}");
        amy.create("/amy", b"hers", &CreateMode::Persistent.with_acls(Acls::creator_all())).await.unwrap();
        assert_eq!(bob.get_data("/amy").await.unwrap_err(), Error::NoAuth);
        let (acl, stat) = amy.get_acl("/amy").await.unwrap();
        assert_eq!((acl.len(), stat.aversion, acl[0].scheme()), (1, 0, "digest"));

        let readable = Acl::new(Permission::READ, AuthId::anyone());
        assert_eq!(amy.set_acl("/amy", &[acl[0].clone(), readable], Some(0)).await.unwrap().aversion, 1);
        assert_eq!(bob.get_data("/amy").await.unwrap().0, b"hers");
        assert_eq!(bob.set_data("/amy", b"his", None).await.unwrap_err(), Error::NoAuth);
    });
}

#[test]
fn ephemeral_and_sequential_nodes() {
    run(|server| async move {
        let (client, other) = (connect(&server).await, connect(&server).await);
        let (stat, _) = client.create("/mine", b"", &EPHEMERAL).await.unwrap();
        assert_eq!(stat.ephemeral_owner, client.session_id().0);
        let below = client.create("/mine/child", b"", &PERSISTENT).await.unwrap_err();
        assert_eq!(below, Error::NoChildrenForEphemerals);

        client.create("/queue", b"", &PERSISTENT).await.unwrap();
        let sequential = CreateMode::EphemeralSequential.with_acls(OPEN);
        let mut numbers = Vec::new();
        for _ in 0..3 {
            let (_, number) = client.create("/queue/n-", b"", &sequential).await.unwrap();
            numbers.push(number.into_i64());
        }
        assert_eq!(numbers, [0, 1, 2]);
        let mut owned = client.list_ephemerals("/").await.unwrap();
        owned.sort_unstable();
        assert_eq!(owned, ["/mine", "/queue/n-0000000000", "/queue/n-0000000001", "/queue/n-0000000002"]);

        let (_, watcher) = other.check_and_watch_stat("/mine").await.unwrap();
        drop(client);
        assert_eq!(soon(watcher.changed()).await.event_type, EventType::NodeDeleted);
        assert_eq!(other.list_children("/queue").await.unwrap(), [""; 0]);
        let persistent = CreateMode::PersistentSequential.with_acls(OPEN);
        let (_, next) = other.create("/queue/n-", b"", &persistent).await.unwrap();
        assert_eq!(next.to_string(), "0000000003", "numbers are not used again");
    });
}

#[test]
fn one_shot_watches_fire_once() {
    run(|server| async move {
        let (client, other) = (connect(&server).await, connect(&server).await);
        let (absent, created) = client.check_and_watch_stat("/a").await.unwrap();
        assert_eq!(absent, None);
        let (stat, _) = other.create("/a", b"", &PERSISTENT).await.unwrap();
        let event = soon(created.changed()).await;
        assert_eq!((event.event_type, event.path.as_str()), (EventType::NodeCreated, "/a"));
        assert_eq!(event.zxid, stat.czxid, "an event says which transaction it is of");

        let (_, _, data) = client.get_and_watch_data("/a").await.unwrap();
        let (_, _, children) = client.get_and_watch_children("/a").await.unwrap();
        let stat = other.set_data("/a", b"new", None).await.unwrap();
        let event = soon(data.changed()).await;
        assert_eq!((event.event_type, event.zxid), (EventType::NodeDataChanged, stat.mzxid));
        let (stat, _) = other.create("/a/b", b"", &PERSISTENT).await.unwrap();
        let event = soon(children.changed()).await;
        assert_eq!((event.event_type, event.zxid), (EventType::NodeChildrenChanged, stat.czxid));

        let (_, gone) = client.check_and_watch_stat("/a/b").await.unwrap();
        other.delete("/a/b", None).await.unwrap();
        assert_eq!(soon(gone.changed()).await.event_type, EventType::NodeDeleted);
    });
}

#[test]
#[expect(deprecated, reason = "dropping a watcher hides whether the server had the watch")]
fn persistent_and_recursive_watches_stay() {
    run(|server| async move {
        let (client, other) = (connect(&server).await, connect(&server).await);
        let mut persistent = client.watch("/a", AddWatchMode::Persistent).await.unwrap();
        let mut recursive = client.watch("/r", AddWatchMode::PersistentRecursive).await.unwrap();
        for path in ["/a", "/a/b", "/r", "/r/s", "/r/s/t"] {
            other.create(path, b"", &PERSISTENT).await.unwrap();
        }
        other.set_data("/a", b"1", None).await.unwrap();
        other.set_data("/a/b", b"not seen", None).await.unwrap();
        other.set_data("/r/s/t", b"1", None).await.unwrap();
        other.delete("/a/b", None).await.unwrap();
        other.delete("/r/s/t", None).await.unwrap();
        use EventType::{NodeChildrenChanged, NodeCreated, NodeDataChanged, NodeDeleted};
        for want in [NodeCreated, NodeChildrenChanged, NodeDataChanged, NodeChildrenChanged] {
            let event = soon(persistent.changed()).await;
            assert_eq!((event.event_type, event.path.as_str()), (want, "/a"));
        }
        let below = [
            (NodeCreated, "/r"),
            (NodeCreated, "/r/s"),
            (NodeCreated, "/r/s/t"),
            (NodeDataChanged, "/r/s/t"),
            (NodeDeleted, "/r/s/t"),
        ];
        for (kind, path) in below {
            let event = soon(recursive.changed()).await;
            assert_eq!((event.event_type, event.path.as_str()), (kind, path));
        }
        persistent.remove().await.unwrap();
        recursive.remove().await.unwrap();
    });
}

#[test]
fn a_multi_is_done_whole_or_not_at_all() {
    run(|server| async move {
        let client = connect(&server).await;
        let mut writer = client.new_multi_writer();
        writer.add_create("/a", b"one", &PERSISTENT).unwrap();
        writer.add_set_data("/a", b"two", Some(0)).unwrap();
        writer.add_check_version("/a", 1).unwrap();
        writer.add_create("/a/b", b"", &PERSISTENT).unwrap();
        writer.add_delete("/a/b", None).unwrap();
        let results = writer.commit().await.unwrap();
        let (_, stat) = client.get_data("/a").await.unwrap();
        assert_eq!(results.len(), 5);
        assert!(matches!(&results[0], MultiWriteResult::Create { path, .. } if path == "/a"));
        assert!(matches!(&results[1], MultiWriteResult::SetData { stat: set } if set.mzxid == stat.mzxid));
        assert_eq!((&results[2], &results[4]), (&MultiWriteResult::Check, &MultiWriteResult::Delete));
        assert_eq!((stat.czxid, stat.mzxid, stat.pzxid), (stat.czxid, stat.czxid, stat.czxid));

        writer.add_set_data("/a", b"three", None).unwrap();
        writer.add_delete("/absent", None).unwrap();
        let failed = writer.commit().await.unwrap_err();
        assert_eq!(failed, MultiWriteError::OperationFailed { index: 1, source: Error::NoNode });
        assert_eq!(client.get_data("/a").await.unwrap(), (b"two".to_vec(), stat), "nothing was done");

        let mut check = client.new_check_writer("/a", Some(7)).unwrap();
        check.add_set_data("/a", b"three", None).unwrap();
        let failed = check.commit().await.unwrap_err();
        assert_eq!(failed, CheckWriteError::CheckFailed { source: Error::BadVersion });

        let mut reader = client.new_multi_reader();
        reader.add_get_data("/a").unwrap();
        reader.add_get_children("/a").unwrap();
        reader.add_get_data("/absent").unwrap();
        let results = reader.commit().await.unwrap();
        assert!(matches!(&results[0], MultiReadResult::Data { data, .. } if data == b"two"));
        assert!(matches!(&results[1], MultiReadResult::Children { children } if children.is_empty()));
        assert!(matches!(&results[2], MultiReadResult::Error { err: Error::NoNode }));
    });
}

#[test]
fn a_lock_has_one_holder_at_a_time() {
    run(|server| async move {
        let (first, second) = (connect(&server).await, connect(&server).await);
        first.create("/locks", b"", &PERSISTENT).await.unwrap();
        let prefix = || LockPrefix::new_curator("/locks", "lock-").unwrap();
        let held = soon(first.lock(prefix(), b"first", OPEN)).await.unwrap();
        let mut waiting = std::pin::pin!(second.lock(prefix(), b"second", OPEN));
        // Both stand in line before the first lets go.
        let (_, _, in_line) = first.get_and_watch_children("/locks").await.unwrap();
        tokio::select! {
            _ = &mut waiting => panic!("two hold the lock"),
            _ = soon(in_line.changed()) => {}
        }
        held.set_data("/locks", b"held", None).await.unwrap();
        drop(held);
        let held = soon(waiting).await.unwrap();
        assert_eq!(first.get_data(held.lock_path()).await.unwrap().0, b"second");
    });
}

#[test]
fn a_session_survives_a_restart_of_the_server() {
    run(|mut server| async move {
        let client = connect(&server).await;
        let session = client.session_id();
        client.create("/kept", b"before", &PERSISTENT).await.unwrap();
        client.create("/mine", b"", &EPHEMERAL).await.unwrap();
        let (_, _, data) = client.get_and_watch_data("/kept").await.unwrap();
        let mut states = client.state_watcher();
        assert_eq!(states.state(), SessionState::SyncConnected);

        // On this thread, with which the kernel ends the server; the client has one of its own.
        server.restart().unwrap_or_else(|e| panic!("{e}"));
        while soon(states.changed()).await != SessionState::SyncConnected {}
        assert_eq!(client.session_id(), session, "the session is the old one");
        let (_, stat) = client.get_data("/mine").await.unwrap();
        assert_eq!(stat.ephemeral_owner, session.0);

        // Its watches came along. (A persistent one would not: for it this client would have to ask
        // with setWatches2, and it always asks with setWatches.)
        client.set_data("/kept", b"after", Some(0)).await.unwrap();
        assert_eq!(soon(data.changed()).await.event_type, EventType::NodeDataChanged);
        // A dropped client closes its session by itself, some time.
        let other = connect(&server).await;
        let (there, gone) = other.check_and_watch_stat("/mine").await.unwrap();
        assert!(there.is_some());
        drop(client);
        assert_eq!(soon(gone.changed()).await.event_type, EventType::NodeDeleted);
        drop(other);

        // After a clean stop too.
        let stopped = server.stop().expect("it stops").expect("it ran");
        assert!(stopped.success(), "{stopped}");
        server.restart().unwrap_or_else(|e| panic!("{e}"));
        let client = connect(&server).await;
        assert_eq!(client.get_data("/kept").await.unwrap().0, b"after");
        assert_eq!(client.check_stat("/mine").await.unwrap(), None, "it went with its session");
    });
}

#[test]
fn a_server_stops_though_its_clients_come_back_at_once() {
    run(|mut server| async move {
        let clients = [connect(&server).await, connect(&server).await, connect(&server).await];
        let mut states = clients[0].state_watcher();
        for _ in 0..3 {
            let stopped = server.stop().expect("it stops").expect("it ran");
            assert!(stopped.success(), "{stopped}");
            states.state();
            server.restart().unwrap_or_else(|e| panic!("{e}"));
            while soon(states.changed()).await != SessionState::SyncConnected {}
        }
        for client in clients {
            assert!(client.get_data("/").await.is_ok(), "the session outlived it");
        }
    });
}

#[test]
fn a_session_is_taken_over_by_its_password() {
    run(|server| async move {
        let client = Client::connector().with_session_timeout(SESSION_TIMEOUT).with_detached();
        let client = soon(client.connect(&server.address().to_string())).await.unwrap();
        client.create("/mine", b"", &EPHEMERAL).await.unwrap();
        let mut states = client.state_watcher();
        let session = client.into_session();
        assert_eq!(soon(states.changed()).await, SessionState::Closed);
        let id = session.id();
        let client = Client::connector().with_session(session);
        let client = soon(client.connect(&server.address().to_string())).await.expect("the session lives");
        assert_eq!(client.session_id(), id);
        assert_eq!(client.list_ephemerals("/").await.unwrap(), ["/mine"]);
    });
}
