//! Two servers' connections on one ring, and the log that learners are served from.

mod names;

use super::log::{LearnerLog, SegmentLog};
use super::tree::Tree;
use super::*;
use crate::disk::{DataDirectory, Restore, SegmentFiles};
use crate::ring::Runtime;
use bytes::Bytes;
use ringkeeper_engine::checkpoint;
use ringkeeper_engine::database::Database;
use ringkeeper_engine::id::Epoch;
use ringkeeper_engine::jute::records::StatPersisted;
use ringkeeper_engine::log::{DatabaseId, LogWriter, Sequence, Settings, SyncMode};
use ringkeeper_engine::snap::{Checkpoint, CheckpointWriter, Fault, Fetch, Held};
use ringkeeper_engine::tree::acl::AclList;
use ringkeeper_engine::tree::digest::TreeDigest;
use ringkeeper_engine::tree::kept::KeptFault;
use ringkeeper_quorum::members::PeerAddress;
use ringkeeper_quorum::message::{
    Batch, InitialMessage, LearnerInfo, Notification, PeerState, Round, ToLeader, ToLearner, Transaction,
    Vote,
};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::ops::{ControlFlow, Range};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

const PATIENCE: Duration = Duration::from_secs(30);

fn config(me: u8, members: &Members) -> PeersConfig {
    PeersConfig::new(ServerId(me), members.clone())
}

fn members() -> Members {
    let sockets: Vec<TcpListener> = (0..6).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let port = |n: usize| sockets[n].local_addr().unwrap().port();
    let line = |n: usize| format!("server.{}=127.0.0.1:{}:{}\n", n + 1, port(2 * n), port(2 * n + 1));
    Members::parse(&(0..3).map(line).collect::<String>()).unwrap()
}

/// Servers 1 and 2 of three; the third is not there.
struct Pair {
    peers: [Peers; 2],
    told: [VecDeque<Input>; 2],
    wake: Wake,
    begun: Instant,
}

impl Pair {
    /// Runs a test on both runtimes.
    fn run(change: impl Fn(&mut PeersConfig), test: impl AsyncFn(&mut Pair, &Members)) {
        for runtime in [Runtime::Own, Runtime::TokioUring] {
            let members = members();
            let ran = ring::run(runtime, async {
                let wake = Wake::new();
                let end = wake.clone();
                ring::spawn(async move {
                    ring::sleep(PATIENCE).await;
                    end.wake();
                });
                let peers = [1, 2].map(|me| {
                    let mut config = config(me, &members);
                    change(&mut config);
                    Peers::start(config, wake.clone()).unwrap()
                });
                let mut pair = Pair { peers, told: Default::default(), wake, begun: Instant::now() };
                test(&mut pair, &members).await;
            });
            ran.unwrap();
        }
    }

    /// Takes what both servers are told.
    fn hear(&mut self) {
        for (peers, told) in self.peers.iter_mut().zip(&mut self.told) {
            told.extend(std::iter::from_fn(|| peers.take()));
        }
    }

    /// The next thing that a server is told.
    async fn next(&mut self, server: u8) -> Input {
        loop {
            self.hear();
            if let Some(input) = self.told[usize::from(server) - 1].pop_front() {
                return input;
            }
            self.wake.woken().await;
            assert!(self.begun.elapsed() < PATIENCE, "waited in vain");
        }
    }

    fn does(&mut self, server: u8, effect: Effect) {
        assert!(self.peers[usize::from(server) - 1].run(effect).is_none());
    }

    async fn notification(&mut self, server: u8) -> (ServerId, Notification) {
        loop {
            if let Input::Notification { from, notification } = self.next(server).await {
                return (from, notification);
            }
        }
    }

    /// Server 2 learns from server 1.
    async fn connect(&mut self) -> Link {
        let attempt = Attempt(1);
        self.does(2, Effect::Connect(attempt, ServerId(1)));
        while !matches!(self.next(2).await, Input::Connected(Attempt(1))) {}
        self.does(2, Effect::ToLeader(attempt, introduction()));
        loop {
            match self.next(1).await {
                Input::FromLearner(link, message) if message == introduction() => break link,
                Input::ElectionLink { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

fn introduction() -> ToLeader {
    let info = LearnerInfo { server: ServerId(2), config_version: 0, extended: true };
    ToLeader::FollowerInfo { accepted: Epoch(3), info }
}

fn says(round: i64) -> Notification {
    let vote = Vote { epoch: Epoch(1), zxid: Zxid(5), leader: Some(ServerId(2)) };
    Notification {
        vote,
        round: Round(round),
        state: PeerState::Looking,
        version: 2,
        members: Some("x".into()),
    }
}

fn proposal(zxid: u64, bytes: usize) -> ToLearner {
    ToLearner::Proposal(Transaction { zxid: Zxid(zxid), bytes: vec![7; bytes].into() })
}

#[test]
fn the_one_with_the_higher_number_connects_whoever_begins() {
    for (begins, hears) in [(1, 2), (2, 1)] {
        Pair::run(
            |_| {},
            async |pair, _| {
                pair.does(begins, Effect::Notify(ServerId(hears), says(1)));
                assert_eq!(pair.notification(hears).await, (ServerId(begins), says(1)));
                // The other way the connection is there already.
                pair.does(hears, Effect::Notify(ServerId(begins), says(2)));
                assert_eq!(pair.notification(begins).await, (ServerId(hears), says(2)));
            },
        );
    }
}

#[test]
fn only_the_newest_notification_leaves() {
    Pair::run(
        |_| {},
        async |pair, _| {
            pair.does(2, Effect::Notify(ServerId(1), says(0)));
            assert_eq!(pair.notification(1).await.1.round, Round(0));
            (1..=1000).for_each(|round| pair.does(2, Effect::Notify(ServerId(1), says(round))));
            assert_eq!(pair.notification(1).await.1.round, Round(1000));
        },
    );
}

#[test]
fn who_cannot_be_reached_is_told_of_once() {
    Pair::run(
        |_| {},
        async |pair, _| {
            pair.does(1, Effect::Notify(ServerId(3), says(1)));
            let Input::ElectionLink { peer: ServerId(3), up: false } = pair.next(1).await else {
                panic!("server 3 is not there")
            };
            for attempt in (1..=20).map(Attempt) {
                pair.peers[0].context.events.push(Event::Retry(ServerId(3)));
                pair.does(1, Effect::Connect(attempt, ServerId(3)));
                let input = pair.next(1).await;
                assert!(matches!(input, Input::LeaderLost(lost) if lost == attempt), "{input:?}");
            }
        },
    );
}

#[test]
fn of_several_addresses_one_that_lives_is_enough() {
    let several = |config: &mut PeersConfig| {
        if config.me == ServerId(2) {
            let mut servers = config.members.servers().clone();
            let addresses = &mut servers.get_mut(&ServerId(1)).unwrap().addresses;
            for host in ["127.0.0.9", "no-such-host.invalid"] {
                addresses.insert(0, PeerAddress { host: host.into(), ..addresses[0].clone() });
            }
            config.members = Members::new(servers, Default::default(), Default::default(), 0).unwrap();
        }
    };
    Pair::run(several, async |pair, _| {
        pair.does(2, Effect::Notify(ServerId(1), says(1)));
        assert_eq!(pair.notification(1).await, (ServerId(2), says(1)));
        pair.connect().await;
    });
}

#[test]
fn a_connection_that_breaks_is_told_of_by_both_sides() {
    Pair::run(
        |_| {},
        async |pair, _| {
            let link = pair.connect().await;
            pair.does(1, Effect::CloseLearner(link));
            assert!(matches!(pair.next(2).await, Input::LeaderLost(Attempt(1))));
            let again = pair.connect().await;
            assert_ne!(link, again);
            pair.does(2, Effect::CloseLeader(Attempt(1)));
            assert!(matches!(pair.next(1).await, Input::LearnerLost(lost) if lost == again));
        },
    );
}

#[test]
fn a_leader_that_breaks_is_told_of_though_there_is_no_room_for_what_it_said() {
    Pair::run(
        |_| {},
        async |pair, _| {
            let link = pair.connect().await;
            pair.peers[1].hear_leader(false);
            pair.does(1, Effect::ToLearner(link, proposal(8, 1000)));
            pair.does(1, Effect::CloseLearner(link));
            let input = pair.next(2).await;
            assert!(matches!(input, Input::LeaderLost(Attempt(1))), "{input:?}");
        },
    );
}

#[test]
fn a_tree_and_what_follows_it_arrive_in_their_order() {
    Pair::run(
        |_| {},
        async |pair, _| {
            let link = pair.connect().await;
            let database = Database::new(1);
            pair.does(1, Effect::ToLearner(link, ToLearner::Snap(Zxid(7))));
            let tree = Tree { reader: database.tree.reader(), sessions: Vec::new(), bytes: 0 };
            pair.peers[0].send_tree(link, Zxid(7), tree);
            // Longer than what is read at once.
            (8..20).for_each(|zxid| pair.does(1, Effect::ToLearner(link, proposal(zxid, 300_000))));
            assert!(matches!(pair.next(2).await, Input::FromLeader(_, ToLearner::Snap(Zxid(7)))));
            let staged = loop {
                match pair.next(2).await {
                    Input::SnapshotProgress(_) => {}
                    Input::SnapshotStaged(attempt) => break pair.peers[1].take_staged(attempt).unwrap(),
                    other => panic!("{other:?}"),
                }
            };
            let digest = |database: &Database| TreeDigest::of_tree(&database.tree.reader());
            assert_eq!((digest(&staged.database), staged.database.last), (digest(&database), Zxid(7)));
            for zxid in 8..20 {
                loop {
                    match pair.next(2).await {
                        Input::SnapshotProgress(_) => {}
                        Input::FromLeader(_, message) => break assert_eq!(message, proposal(zxid, 300_000)),
                        other => panic!("{other:?}"),
                    }
                }
            }
        },
    );
}

/// Bytes of a file that are others when they are read again, from a moment on.
#[derive(Debug)]
struct Changing {
    before: Vec<u8>,
    after: Vec<u8>,
    changed: AtomicBool,
}

impl Fetch for Changing {
    fn fetch(&self, _: Range<usize>) -> Result<(), Fault> {
        Ok(())
    }
}

impl Held for Changing {
    fn bytes(&self) -> &[u8] {
        if self.changed.load(Ordering::SeqCst) { &self.after } else { &self.before }
    }

    fn name(&self) -> String {
        "changing".to_owned()
    }
}

/// A tree whose values are in the checkpoint that it was read from, one in each of many blocks.
fn kept_in(count: u8) -> (Database, Arc<Changing>) {
    let mut written = Database::new(1);
    let acl = written.tree.acls.intern_list(&AclList::open());
    for number in 0..count {
        let stat = StatPersisted { czxid: 1, mzxid: 1, pzxid: 1, ..Default::default() };
        let value = vec![number + 1; 100_000];
        written.tree.restore(&format!("/{number}"), Some(&value), acl, &stat, true).unwrap();
    }
    written.tree.begin().publish();
    let mut writer = CheckpointWriter::new(DatabaseId(9), Zxid(7));
    let drain = |_: &mut CheckpointWriter| Ok::<(), KeptFault>(());
    let newest = checkpoint::write(&mut writer, Zxid(7), &[], &written.tree.reader(), drain).unwrap();
    let before: Vec<u8> = writer.finish(newest).flatten().collect();
    let mut after = before.clone();
    let is_in_value = |bytes: &[u8]| bytes.iter().all(|byte| *byte == count);
    let last = before.windows(1000).rposition(is_in_value).expect("the last value");
    after[last] ^= 0x55;
    let file = Arc::new(Changing { before, after, changed: AtomicBool::new(false) });
    let held: Arc<dyn Held> = file.clone();
    let mut database = Database::new(2);
    checkpoint::read(&mut database, &Checkpoint::open_held(&held).unwrap(), false).unwrap();
    (database, file)
}

/// What the disk gives need not be what it gave at the start.
#[test]
fn of_a_tree_that_changed_on_the_leaders_disk_no_learner_gets_more_than_what_is_whole() {
    Pair::run(
        |_| {},
        async |pair, _| {
            let (database, file) = kept_in(100);
            for (changed, whole) in [(false, true), (true, false)] {
                file.changed.store(changed, Ordering::SeqCst);
                let link = pair.connect().await;
                pair.does(1, Effect::ToLearner(link, ToLearner::Snap(Zxid(7))));
                let tree = Tree { reader: database.tree.reader(), sessions: Vec::new(), bytes: 0 };
                pair.peers[0].send_tree(link, Zxid(7), tree);
                let came = loop {
                    match pair.next(2).await {
                        Input::SnapshotStaged(_) => break true,
                        Input::LeaderLost(_) => break false,
                        _ => {}
                    }
                };
                assert_eq!(came, whole);
                if whole {
                    pair.does(2, Effect::CloseLeader(Attempt(1)));
                }
                let is_lost = |input: &Input| matches!(input, Input::LearnerLost(lost) if *lost == link);
                while !is_lost(&pair.next(1).await) {}
            }
        },
    );
}

/// A learner that says who it is and reads nothing.
async fn silent_learner(pair: &mut Pair, members: &Members) -> (TcpStream, Link) {
    let port = members.servers()[&ServerId(1)].addresses[0].quorum_port;
    let mut learner = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut bytes = Vec::new();
    introduction().encode(&mut bytes);
    learner.write_all(&bytes).unwrap();
    let Input::FromLearner(link, _) = pair.next(1).await else { panic!("it said who it is") };
    (learner, link)
}

#[test]
fn a_learner_that_does_not_read_is_given_up() {
    Pair::run(
        |config| config.learner_bytes_max = 10 << 20,
        async |pair, members| {
            let (_learner, link) = silent_learner(pair, members).await;
            // The kernel takes some, too.
            for zxid in 1..100 {
                pair.does(1, Effect::ToLearner(link, proposal(zxid, 1 << 20)));
            }
            assert!(matches!(pair.next(1).await, Input::LearnerLost(lost) if lost == link));
        },
    );
}

#[test]
fn behind_a_tree_as_much_may_wait_as_it_is_long_until_all_has_left() {
    Pair::run(
        |config| config.learner_bytes_max = 1 << 20,
        async |pair, members| {
            let (mut learner, link) = silent_learner(pair, members).await;
            let database = Database::new(1);
            let tree = Tree { reader: database.tree.reader(), sessions: Vec::new(), bytes: 64 << 20 };
            pair.peers[0].send_tree(link, Zxid(7), tree);
            // More than the kernel takes and than the usual bound.
            (1..=60).for_each(|zxid| pair.does(1, Effect::ToLearner(link, proposal(zxid, 1 << 20))));
            learner.set_nonblocking(true).unwrap();
            let mut read_all = || {
                let (mut read, mut buffer) = (0, vec![0; 1 << 20]);
                while let Ok(bytes @ 1..) = learner.read(&mut buffer) {
                    read += bytes;
                }
                read
            };
            let (mut read, mut zxid) = (0, 60);
            let is_lost = |input: &Input| matches!(input, Input::LearnerLost(lost) if *lost == link);
            while !pair.told[0].iter().any(is_lost) {
                assert!(pair.begun.elapsed() < PATIENCE, "waited in vain");
                read += read_all();
                // Once all has left, the bound is the usual one.
                if read >= 60 << 20 {
                    zxid += 1;
                    pair.does(1, Effect::ToLearner(link, proposal(zxid, 2 << 20)));
                }
                ring::sleep(Duration::from_millis(1)).await;
                pair.hear();
            }
            assert!(read >= 60 << 20, "it was given up after {read} bytes");
        },
    );
}

/// Waits until the other end, a server of the pair, has ended the connection.
async fn refusal(pair: &mut Pair, mut stream: TcpStream) {
    stream.set_nonblocking(true).unwrap();
    while stream.read(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
        pair.hear();
        ring::sleep(Duration::from_millis(1)).await;
        assert!(pair.begun.elapsed() < PATIENCE, "waited in vain");
    }
}

#[test]
fn who_does_not_say_who_it_is_is_nobody() {
    Pair::run(
        |config| config.election_timeout = Duration::from_millis(10),
        async |pair, members| {
            let at = &members.servers()[&ServerId(1)].addresses[0];
            let mut packet = Vec::new();
            ToLeader::Ack(Zxid(1)).encode(&mut packet);
            let mut same_number = Vec::new();
            let me = InitialMessage {
                server: Some(ServerId(1)),
                addresses: vec![HostPort { host: "127.0.0.1".into(), port: 1 }],
            };
            me.encode(&mut same_number);
            let said = [&packet[..], b"", &[0xff; 5000], &same_number];
            for (port, said) in
                [at.quorum_port, at.election_port].into_iter().flat_map(|p| said.map(|s| (p, s)))
            {
                let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
                stream.write_all(said).unwrap();
                refusal(pair, stream).await;
                assert!(pair.told[0].is_empty());
            }
        },
    );
}

#[test]
fn every_address_of_the_machine_is_listened_on_if_that_is_wanted() {
    Pair::run(
        |config| config.listen_on_all_ips = true,
        async |pair, members| {
            let at = &members.servers()[&ServerId(1)].addresses[0];
            for address in ["127.0.0.1", "127.0.0.2", "[::1]"] {
                for port in [at.quorum_port, at.election_port] {
                    TcpStream::connect(format!("{address}:{port}")).unwrap();
                }
            }
            pair.does(1, Effect::Notify(ServerId(2), says(1)));
            assert_eq!(pair.notification(2).await.0, ServerId(1));
        },
    );
}

/// ZooKeeper hangs up on a server that names no address.
#[test]
fn a_server_that_lost_its_place_still_says_where_it_is() {
    Pair::run(
        |_| {},
        async |pair, members| {
            let own = &members.servers()[&ServerId(2)].addresses[0];
            let own = HostPort { host: own.host.clone(), port: own.election_port };
            let port = members.servers()[&ServerId(3)].addresses[0].election_port;
            let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
            let mut servers = members.servers().clone();
            servers.remove(&ServerId(2));
            let left = Members::new(servers, Default::default(), Default::default(), 1).unwrap();
            pair.peers[1].set_members(left);
            pair.does(2, Effect::Notify(ServerId(3), says(1)));
            let (mut stream, _) = listener.accept().unwrap();
            let mut bytes = vec![0; 1024];
            let length = stream.read(&mut bytes).unwrap();
            let (message, _) = InitialMessage::decode(&bytes[..length]).unwrap().unwrap();
            assert_eq!(message, InitialMessage { server: Some(ServerId(2)), addresses: vec![own] });
        },
    );
}

#[test]
fn servers_that_the_configuration_does_not_name_are_few() {
    Pair::run(
        |_| {},
        async |pair, members| {
            let port = members.servers()[&ServerId(1)].addresses[0].election_port;
            let mut strangers = Vec::new();
            for server in 100..120 {
                let addresses = vec![HostPort { host: "127.0.0.1".into(), port: 1 }];
                let mut bytes = Vec::new();
                InitialMessage { server: Some(ServerId(server)), addresses }.encode(&mut bytes);
                let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
                stream.write_all(&bytes).unwrap();
                strangers.push(stream);
            }
            for server in 100..116 {
                let input = pair.next(1).await;
                assert!(
                    matches!(input, Input::ElectionLink { peer, up: true } if peer.0 == server),
                    "{input:?}"
                );
            }
            // One that goes makes room.
            drop(strangers.remove(0));
            assert!(matches!(pair.next(1).await, Input::ElectionLink { peer: ServerId(100), up: false }));
            refusal(pair, strangers.pop().unwrap()).await;
        },
    );
}

struct Nothing;

impl Restore for Nothing {
    fn checkpoint(&mut self, _: &Checkpoint<'_>) -> Result<(), String> {
        Ok(())
    }

    fn transaction(&mut self, _: Zxid, _: &[u8]) -> Result<(), String> {
        Ok(())
    }
}

fn transaction(zxid: u64) -> Vec<u8> {
    zxid.to_string().repeat(10).into_bytes()
}

/// A hundred transactions in segments of a few batches each.
fn log_of_a_hundred(home: &Path) -> (Arc<DataDirectory>, SegmentFiles) {
    let directory = Arc::new(DataDirectory::open(home, home).unwrap());
    let mut files = SegmentFiles::new(&directory, SyncMode::Fdatasync);
    let tail = directory.recover(&mut files, &mut Nothing).unwrap().tail;
    let settings = Settings { sync: SyncMode::Fdatasync, segment_bytes: 8192, ..Settings::default() };
    let mut writer = LogWriter::new(settings, directory.database(), tail);
    for zxid in 1..=100 {
        writer.append(Zxid(zxid), &transaction(zxid), 0).unwrap();
        while writer.durable() < Zxid(zxid) {
            if let Some(write) = writer.take_write(0).unwrap() {
                let result = files.write(&write);
                let _ = writer.on_written(write, result).unwrap();
            } else if let Some(step) = writer.take_upkeep(0).unwrap() {
                let result = files.upkeep(step);
                writer.on_upkeep(step, result, 0).unwrap();
            }
        }
    }
    (directory, files)
}

#[test]
fn what_a_learner_missed_is_found_in_the_log_as_far_as_it_goes_back() {
    let home = tempfile::tempdir().unwrap();
    let (directory, files) = log_of_a_hundred(home.path());
    let log = SegmentLog::new(Arc::clone(&directory), 500);
    let read = |after: u64, upto: u64| {
        let mut found = Vec::new();
        let read = log.read(Zxid(after), Zxid(upto), &mut |zxid, bytes| {
            assert_eq!(bytes, transaction(zxid.0));
            found.push(zxid.0);
            ControlFlow::Continue(())
        });
        read.map(|()| found)
    };
    for (after, upto) in [(0, 100), (3, 100), (57, 60), (99, 100)] {
        assert_eq!(read(after, upto), Ok((after + 1..=upto).collect()));
    }
    for (last, found) in [(99, Some(99)), (90, Some(90)), (1, None)] {
        assert_eq!(log.seek(Zxid(last)), Ok(found.map(Zxid)), "{last}");
    }
    for last in [100, 1000] {
        assert_eq!(log.seek(Zxid(last)), Err("it ends at 0x64".into()), "{last}");
    }
    let all = SegmentLog::new(Arc::clone(&directory), u64::MAX);
    assert_eq!(all.seek(Zxid(0)), Ok(Some(Zxid(0))));
    std::fs::remove_file(files.path(Sequence::FIRST)).unwrap();
    assert_eq!(all.seek(Zxid(0)), Ok(None), "the beginning is gone");
    assert!(read(0, 100).is_err());
    assert_eq!(read(98, 100), Ok(vec![99, 100]));
}

/// A learner that gets what lies behind such a place has a hole in its log for ever.
#[test]
fn a_place_of_the_log_that_cannot_be_read_is_never_passed_over() {
    let home = tempfile::tempdir().unwrap();
    let (directory, files) = log_of_a_hundred(home.path());
    let segments = files.list().unwrap();
    // Zeros are behind the newest batch, and in the one that is prepared.
    let written: Vec<u64> = (1..segments.len() as u64).collect();
    assert!(written.len() > 10, "{} segments", written.len());
    for (sequence, offset) in
        [(1, 10), (1, 4096 + 20), (1, 4096 + 70), (5, 4096 + 512 + 20), (written.len() as u64, 4096 + 70)]
    {
        let path = files.path(Sequence(sequence));
        let whole = std::fs::read(&path).unwrap();
        let mut flipped = whole.clone();
        flipped[offset] ^= 1;
        std::fs::write(&path, &flipped).unwrap();
        let log = SegmentLog::new(Arc::clone(&directory), u64::MAX);
        let mut next = 1;
        let read = log.read(Zxid(0), Zxid(100), &mut |zxid, bytes| {
            assert_eq!((zxid, bytes), (Zxid(next), &transaction(next)[..]), "{sequence} {offset}");
            next += 1;
            ControlFlow::Continue(())
        });
        let why = read.expect_err("not all of it can be read");
        let is_newest = sequence == written.len() as u64;
        if !is_newest && offset > 4096 {
            let offset = offset / 512 * 512;
            let place = format!("{}: damaged at offset {offset}: ", path.display());
            assert!(why.starts_with(&place), "{why}");
        }
        // Who comes again gets a tree; who needs nothing of that place does not.
        assert!(!matches!(log.seek(Zxid(0)), Ok(Some(_))), "{sequence} {offset}");
        assert!(is_newest || log.seek(Zxid(99)) == Ok(Some(Zxid(99))), "{sequence} {offset}");
        if !is_newest {
            let again = SegmentLog::new(Arc::clone(&directory), u64::MAX);
            assert!(!matches!(again.seek(Zxid(0)), Ok(Some(_))), "{sequence} {offset}");
        }
        std::fs::write(&path, &whole).unwrap();
    }
}

#[test]
fn a_segment_that_is_used_again_while_it_is_read_ends_the_reading() {
    let home = tempfile::tempdir().unwrap();
    let (directory, files) = log_of_a_hundred(home.path());
    let log = SegmentLog::new(directory, u64::MAX);
    let mut last = Zxid(0);
    let read = log.read(Zxid(0), Zxid(100), &mut |zxid, _| {
        // In the middle of the third one.
        if zxid == Zxid(20) {
            let file = std::fs::File::options().write(true).open(files.path(Sequence(3))).unwrap();
            file.write_all_at(&[0; 8192], 0).unwrap();
        }
        last = zxid;
        ControlFlow::Continue(())
    });
    assert!(read.is_err_and(|why| why.contains("no batch of this segment begins here")));
    assert_eq!(last, Zxid(20));
}

/// The leader is not to end because of what a file holds.
#[test]
fn a_damaged_log_ends_a_learners_connection_and_nothing_else() {
    let home = tempfile::tempdir().unwrap();
    let (directory, files) = log_of_a_hundred(home.path());
    let path = files.path(Sequence(2));
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[4096 + 70] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    Pair::run(
        |config| config.log = Some(Arc::new(SegmentLog::new(Arc::clone(&directory), u64::MAX))),
        async |pair, _| {
            for extended in [false, true] {
                let link = pair.connect().await;
                pair.does(1, Effect::SendLog { link, after: Zxid(0), upto: Zxid(100), extended });
                loop {
                    match pair.next(2).await {
                        Input::FromLeader(..) => {}
                        Input::LeaderLost(_) => break,
                        other => panic!("{other:?}"),
                    }
                }
                let lost = pair.next(1).await;
                assert!(matches!(lost, Input::LearnerLost(gone) if gone == link), "{lost:?}");
                pair.does(1, Effect::SeekLog(link, Zxid(0)));
                assert!(matches!(pair.next(1).await, Input::LogSought(found, None) if found == link));
            }
        },
    );
}

#[test]
fn a_part_of_the_log_arrives_as_packets() {
    struct Numbers;
    impl LearnerLog for Numbers {
        fn seek(&self, last: Zxid) -> Result<Option<Zxid>, String> {
            Ok(Some(last))
        }
        fn read(&self, after: Zxid, upto: Zxid, visit: &mut super::log::Visit<'_>) -> Result<(), String> {
            let _ =
                (after.0 + 1..50.min(upto.0 + 1)).try_for_each(|zxid| visit(Zxid(zxid), &transaction(zxid)));
            if upto.0 < 50 { Ok(()) } else { Err("it ends at 49".into()) }
        }
    }
    Pair::run(
        |config| config.log = Some(Arc::new(Numbers)),
        async |pair, _| {
            let link = pair.connect().await;
            pair.does(1, Effect::SeekLog(link, Zxid(3)));
            assert!(matches!(pair.next(1).await, Input::LogSought(found, Some(Zxid(3))) if found == link));
            pair.does(1, Effect::SendLog { link, after: Zxid(3), upto: Zxid(40), extended: false });
            pair.does(1, Effect::ToLearner(link, ToLearner::UpToDate));
            let told = async |pair: &mut Pair| match pair.next(2).await {
                Input::FromLeader(_, message) => message,
                other => panic!("{other:?}"),
            };
            for zxid in 4..=40 {
                let bytes = Bytes::from(transaction(zxid));
                let expected = ToLearner::Proposal(Transaction { zxid: Zxid(zxid), bytes });
                assert_eq!(told(pair).await, expected);
                assert_eq!(told(pair).await, ToLearner::Commit(Zxid(zxid)));
            }
            assert_eq!(told(pair).await, ToLearner::UpToDate);
            pair.does(1, Effect::SendLog { link, after: Zxid(3), upto: Zxid(40), extended: true });
            let all = (4..=40).map(|zxid| Transaction { zxid: Zxid(zxid), bytes: transaction(zxid).into() });
            let batch = Batch::of(&all.collect::<Vec<_>>()).expect("transactions");
            assert_eq!(told(pair).await, ToLearner::Proposals(batch));
            // What the log has not ends the connection.
            pair.does(1, Effect::SendLog { link, after: Zxid(40), upto: Zxid(99), extended: true });
            assert!(matches!(pair.next(2).await, Input::LeaderLost(_)));
        },
    );
}

#[test]
fn proposals_that_have_to_wait_come_in_order_and_together_and_none_while_there_is_no_room() {
    const COUNT: u64 = 3000;
    Pair::run(
        |_| {},
        async |pair, _| {
            let link = pair.connect().await;
            pair.peers[1].hear_leader(false);
            for zxid in 1..=COUNT {
                let batch = Batch::one(Zxid(zxid), &vec![zxid as u8; 1000]);
                pair.does(1, Effect::ToLearner(link, ToLearner::Proposals(batch)));
                if zxid % 1000 == 0 {
                    pair.does(1, Effect::ToLearner(link, ToLearner::Commit(Zxid(zxid))));
                }
            }
            // The election's connection does not wait for it.
            pair.does(1, Effect::Notify(ServerId(2), says(1)));
            assert_eq!(pair.notification(2).await.0, ServerId(1));
            assert!(pair.told[1].iter().all(|input| !matches!(input, Input::FromLeader(..))));
            pair.peers[1].hear_leader(true);
            let (mut next, mut packets) = (1, 0);
            while next <= COUNT {
                match pair.next(2).await {
                    Input::FromLeader(_, ToLearner::Proposals(batch)) => {
                        packets += 1;
                        for (zxid, bytes) in batch.iter() {
                            assert_eq!((zxid, bytes), (Zxid(next), &vec![next as u8; 1000][..]));
                            next += 1;
                        }
                    }
                    Input::FromLeader(_, ToLearner::Commit(zxid)) => assert_eq!(zxid, Zxid(next - 1)),
                    Input::ElectionLink { .. } => {}
                    other => panic!("{other:?}"),
                }
            }
            assert!(packets < COUNT / 4, "{packets} packets");
        },
    );
}
