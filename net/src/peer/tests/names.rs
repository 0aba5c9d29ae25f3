//! Names of servers: they are resolved anew at each attempt, and nobody waits for a name server or a dead
//! address.

use super::super::own::listen_patiently;
use super::*;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::{Sender, channel};
use std::thread;

/// The name that server 2 has of server 1.
const NAME: &str = "one.test";

/// What a name server says.
#[derive(Clone, Copy, Debug)]
enum Answer {
    Unknown,
    /// An address.
    At(SocketAddr),
    /// Nothing, as long as the test lasts.
    Hangs,
}

/// How often a name server was asked.
#[derive(Default)]
struct Asked {
    times: AtomicUsize,
    wake: Wake,
}

impl Asked {
    fn times(&self) -> usize {
        self.times.load(Ordering::SeqCst)
    }

    /// Counts one time more, and returns how often it was before.
    fn again(&self) -> usize {
        let before = self.times.fetch_add(1, Ordering::SeqCst);
        self.wake.wake();
        before
    }

    /// Waits until it was.
    async fn at_all(&self, pair: &Pair) {
        let end = self.wake.clone();
        ring::spawn(async move {
            ring::sleep(PATIENCE).await;
            end.wake();
        });
        while self.times() == 0 {
            self.wake.woken().await;
            assert!(pair.begun.elapsed() < PATIENCE, "waited in vain");
        }
    }
}

/// A name server's answers about [`NAME`], one after the other, and from then on the truth. The thread that
/// serves everybody may not ask it.
fn answering(answers: Vec<Answer>, asked: Arc<Asked>) -> (Resolve, Sender<()>) {
    let (end, ended) = channel::<()>();
    let ended = Mutex::new(ended);
    let servers_thread = thread::current().id();
    let resolve: Resolve = Arc::new(move |host, port| {
        let there = |host: &str| Ok(vec![SocketAddr::new(host.parse().unwrap(), port)]);
        if host != NAME {
            return there(host);
        }
        assert_ne!(thread::current().id(), servers_thread, "all wait for the name server");
        match answers.get(asked.again()) {
            None => there("127.0.0.1"),
            Some(Answer::At(address)) => Ok(vec![*address]),
            Some(Answer::Unknown) => Err(io::Error::other("no such name")),
            Some(Answer::Hangs) => {
                _ = ended.lock().unwrap().recv();
                Err(io::Error::other("the test is over"))
            }
        }
    });
    (resolve, end)
}

/// The ensemble with a name for server 1.
fn with_name(members: &Members) -> Members {
    let mut servers = members.servers().clone();
    servers.get_mut(&ServerId(1)).unwrap().addresses[0].host = NAME.into();
    Members::new(servers, Default::default(), Default::default(), 0).unwrap()
}

/// Server 2 knows server 1 by a name of which it hears `answers`.
fn run(answers: &[Answer], asked: &Arc<Asked>, test: impl AsyncFn(&mut Pair, &Members)) {
    let mut ends = Mutex::new(Vec::new());
    let change = |config: &mut PeersConfig| {
        // An attempt that hangs outlasts the test's patience.
        config.election_timeout = 2 * PATIENCE;
        if config.me == ServerId(2) {
            asked.times.store(0, Ordering::SeqCst);
            let (resolve, end) = answering(answers.to_vec(), Arc::clone(asked));
            ends.lock().unwrap().push(end);
            (config.resolve, config.members) = (resolve, with_name(&config.members));
        }
    };
    Pair::run(change, test);
    assert_eq!(ends.get_mut().unwrap().len(), 2, "both runtimes");
}

/// An address that takes no connection, and refuses none, while its sockets are there.
fn dead() -> (SocketAddr, impl Sized) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let waiting =
        std::iter::from_fn(|| TcpStream::connect_timeout(&address, Duration::from_millis(100)).ok());
    let waiting: Vec<TcpStream> = waiting.collect();
    (address, (socket, waiting))
}

#[test]
fn a_name_is_resolved_again_at_each_attempt() {
    let refuses = Answer::At("127.0.0.9:1".parse().unwrap());
    let asked = Arc::default();
    run(&[Answer::Unknown, refuses, refuses], &asked, async |pair, _| {
        pair.does(2, Effect::Notify(ServerId(1), says(1)));
        assert_eq!(pair.notification(1).await, (ServerId(2), says(1)));
        assert_eq!(asked.times(), 4);
    });
}

/// ZOOKEEPER-3320, 3756, 4728, 3188: an election waited for a name server, or for a connection to an address
/// that is dead.
#[test]
fn who_calls_is_reached_though_the_attempt_to_reach_it_hangs() {
    let (address, _sockets) = dead();
    for answer in [Answer::Hangs, Answer::At(address)] {
        let asked = Arc::default();
        run(&[answer], &asked, async |pair, _| {
            pair.does(2, Effect::Notify(ServerId(1), says(1)));
            // It hangs, and server 3 is told meanwhile that it is wanted: it refuses.
            pair.does(2, Effect::Notify(ServerId(3), says(1)));
            let input = pair.next(2).await;
            assert!(matches!(input, Input::ElectionLink { peer: ServerId(3), up: false }), "{input:?}");
            asked.at_all(pair).await;
            pair.does(1, Effect::Notify(ServerId(2), says(2)));
            assert_eq!(pair.notification(2).await, (ServerId(1), says(2)), "{answer:?}");
            // Over the connection of who called: no address that the name stands for takes one.
            assert_eq!(pair.notification(1).await, (ServerId(2), says(1)));
        });
    }
}

#[test]
fn the_leaders_name_is_resolved_again_at_each_attempt() {
    let refuses = Answer::At("127.0.0.9:1".parse().unwrap());
    let asked = Arc::default();
    run(&[Answer::Unknown, refuses], &asked, async |pair, _| {
        for attempt in [1, 2].map(Attempt) {
            pair.does(2, Effect::Connect(attempt, ServerId(1)));
            let input = pair.next(2).await;
            assert!(matches!(input, Input::LeaderLost(lost) if lost == attempt), "{input:?}");
        }
        pair.does(2, Effect::Connect(Attempt(3), ServerId(1)));
        let input = pair.next(2).await;
        assert!(matches!(input, Input::Connected(Attempt(3))), "{input:?}");
        assert_eq!(asked.times(), 3);
    });
}

#[test]
fn an_attempt_to_reach_the_leader_that_hangs_holds_up_neither_an_election_nor_the_next_attempt() {
    let (address, _sockets) = dead();
    for answer in [Answer::Hangs, Answer::At(address)] {
        let asked = Arc::default();
        run(&[answer], &asked, async |pair, _| {
            pair.does(2, Effect::Connect(Attempt(1), ServerId(1)));
            asked.at_all(pair).await;
            pair.does(2, Effect::Notify(ServerId(1), says(1)));
            assert_eq!(pair.notification(1).await, (ServerId(2), says(1)), "{answer:?}");
            pair.does(2, Effect::Connect(Attempt(2), ServerId(1)));
            loop {
                match pair.next(2).await {
                    Input::Connected(Attempt(2)) => break,
                    Input::ElectionLink { .. } => {}
                    other => panic!("{other:?}"),
                }
            }
        });
    }
}

#[test]
fn a_server_waits_for_its_own_name_and_says_at_last_that_it_has_none() {
    let members = with_name(&members());
    let named = |answers: Vec<Answer>, max: u32| {
        let (resolve, end) = answering(answers, Arc::default());
        let config = PeersConfig { resolve, listen_attempts_max: max, ..config(1, &members) };
        (config, end)
    };
    let elsewhere = Answer::At("192.0.2.1:1".parse().unwrap());
    let wake = Wake::new();
    for (answers, max, text) in [
        (vec![Answer::Unknown, elsewhere, Answer::Unknown], 4, None),
        (vec![Answer::Unknown, elsewhere, Answer::Unknown], 0, None),
        (vec![elsewhere, Answer::Unknown], 2, Some("Election port one.test:")),
    ] {
        let (config, _end) = named(answers, max);
        let listened = ring::run(Runtime::Own, async {
            let mut listening = listen_patiently(config, Duration::ZERO, wake.clone()).unwrap();
            loop {
                match listening.take() {
                    Some(listened) => break listened,
                    None => wake.woken().await,
                }
            }
        });
        match (listened.unwrap(), text) {
            (Ok(sockets), None) => assert_eq!(sockets.len(), 2),
            (Err(error), Some(text)) => {
                let error = error.to_string();
                assert!(error.starts_with(text) && error.ends_with("no such name, 2 times"), "{error}");
            }
            (listened, _) => panic!("{listened:?}"),
        }
    }
    // One that is to stop waits no longer.
    let (config, _end) = named(vec![Answer::Hangs], 0);
    let started = ring::run(Runtime::Own, async {
        Peers::start_patiently(config, wake.clone(), &AtomicBool::new(true)).await
    });
    assert!(started.unwrap().unwrap().is_none());
}
