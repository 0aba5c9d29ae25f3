//! The four-letter words: monitors and scripts parse the answers, so ours have the shape and, where
//! the same was done to both servers, the numbers of ZooKeeper's.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use ringkeeper_tests::differential::{reference, subject};
use ringkeeper_tests::server::{Kind, Options, Server};
use ringkeeper_tests::wire::{ConnectRequest, Encoder, Session, op};

/// How often a server is asked for an answer that it may be about to give.
const TRIES: usize = 100;

/// A create's flag.
const EPHEMERAL: i32 = 1;

/// A server to which the same was done as to the other one, and the sessions that did it.
struct Played {
    server: Server,
    sessions: Vec<Session>,
}

impl Played {
    fn start(kind: Kind) -> Self {
        let server = start(kind, Options::default());
        forget_the_start(&server);
        let request = ConnectRequest::new_session(10_000);
        let mut sessions: Vec<Session> = (0..3)
            .map(|_| Session::connect(server.address(), &request).unwrap_or_else(|e| panic!("{e}")))
            .collect();
        create(&mut sessions[0], "/n", 0);
        create(&mut sessions[0], "/e1", EPHEMERAL);
        create(&mut sessions[0], "/e2", EPHEMERAL);
        create(&mut sessions[1], "/e3", EPHEMERAL);
        watch(&mut sessions[0], op::GET_DATA, "/n");
        watch(&mut sessions[1], op::GET_DATA, "/n");
        watch(&mut sessions[1], op::EXISTS, "/absent");
        watch(&mut sessions[1], op::GET_CHILDREN2, "/");
        request_of(&mut sessions[2], op::PING, &[]);
        Played { server, sessions }
    }

    /// An answer with what must differ between two servers named: sessions, ports, times, versions.
    /// Indented lines stand behind the line they belong to, and all are sorted, for ZooKeeper has
    /// them in the order of a hash table.
    fn ask(&self, word: &str) -> Vec<String> {
        let mut answer = ask(&self.server, word);
        for (number, session) in self.sessions.iter().enumerate() {
            answer = answer.replace(&format!("0x{:x}", session.granted.session_id), &format!("S{number}"));
        }
        let mut groups: Vec<Vec<String>> = Vec::new();
        // When sessions and connections expire is the server's own affair.
        let own = [" expire at ", " Sets (", "\tip: "];
        for line in answer.lines().filter(|line| !own.iter().any(|part| line.contains(part))) {
            match (line.strip_prefix('\t'), groups.last_mut()) {
                (Some(member), Some(group)) => group.push(format!("\t{member}")),
                _ => groups.push(vec![normalised(line)]),
            }
        }
        groups.iter_mut().for_each(|group| group[1..].sort());
        let mut lines: Vec<String> = groups.into_iter().map(|group| group.concat()).collect();
        lines.sort();
        lines
    }

    /// An answer as keys and values.
    fn values(&self, word: &str, separator: char) -> BTreeMap<String, String> {
        let answer = ask(&self.server, word);
        let pairs = answer.lines().filter_map(|line| line.split_once(separator));
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }
}

fn start(kind: Kind, options: Options) -> Server {
    Server::start(kind, options).unwrap_or_else(|e| panic!("{e}"))
}

/// What the harness did to see that the server is up differs from run to run. Resets the counters
/// until nothing of it is left: the server may still be booking it.
fn forget_the_start(server: &Server) {
    for _ in 0..TRIES {
        assert_eq!(ask(server, "srst"), "Server stats reset.\n");
        if ask(server, "srvr").contains("\nReceived: 1\nSent: 1\nConnections: 1\n") {
            return;
        }
    }
    panic!("the server does not settle:\n{}", ask(server, "stat"));
}

/// Both servers give the same answer. ZooKeeper books a reply a moment after the client has it, so a
/// difference counts only if it stays; both are asked as often.
fn agree(word: &str, ours: &Played, right: &Played) {
    let mut answers = (Vec::new(), Vec::new());
    for _ in 0..TRIES {
        answers = (ours.ask(word), right.ask(word));
        if answers.0 == answers.1 {
            return;
        }
    }
    assert_eq!(answers.0, answers.1, "{word}");
}

fn ask(server: &Server, word: &str) -> String {
    server.four_letter_word(word).unwrap_or_else(|e| panic!("{word}: {e}"))
}

fn request_of(session: &mut Session, op: i32, body: &[u8]) {
    session.request(op, body).unwrap_or_else(|e| panic!("operation {op}: {e}"));
}

fn create(session: &mut Session, path: &str, flags: i32) {
    let mut body = Encoder::default();
    body.string(path).buffer(Some(b"data")).open_acl().int(flags);
    request_of(session, op::CREATE, &body.bytes);
}

fn watch(session: &mut Session, op: i32, path: &str) {
    let mut body = Encoder::default();
    body.string(path).boolean(true);
    request_of(session, op, &body.bytes);
}

/// A line without the values that no two servers share.
fn normalised(line: &str) -> String {
    for (start, rest) in [("Zookeeper version: ", "3."), ("Latency min/avg/max: ", "")] {
        if line.starts_with(&format!("{start}{rest}")) {
            return start.to_owned();
        }
    }
    let Some((_, counts)) = line.split_once("](") else { return line.to_owned() };
    let fields = counts.trim_end_matches(')').split(',').map(|field| match field.split_once('=') {
        Some((key @ ("est" | "lresp" | "llat" | "minlat" | "avglat" | "maxlat"), value)) => {
            assert!(value.parse::<u64>().is_ok(), "{line}");
            key.to_owned()
        }
        _ => field.to_owned(),
    });
    let port = line.find("127.0.0.1:").zip(line.find('['));
    let (start, end) = port.unwrap_or_else(|| panic!("{line:?} names no peer"));
    assert!(line[start + "127.0.0.1:".len()..end].parse::<u16>().is_ok(), "{line}");
    let interest = &line[end..end + 3];
    format!("{}PEER{interest}({})", &line[..start], fields.collect::<Vec<_>>().join(","))
}

#[test]
fn the_answers_have_zookeepers_shape_and_numbers() {
    let (right, ours) = (Played::start(reference()), Played::start(subject()));
    for word in ["ruok", "srvr", "stat", "cons", "dump", "wchs", "wchc", "wchp", "isro", "hash"] {
        agree(word, &ours, &right);
    }
    agree("crst", &ours, &right);
    agree("cons", &ours, &right);
    for word in ["gtmk", "stmk\0\0\0\0\0\0\x01R", "gtmk"] {
        assert_eq!(ask(&ours.server, word), ask(&right.server, word), "{word:?}");
    }
    numbers_agree(&ours, &right);
    for word in ["srst", "srvr", "lead"] {
        agree(word, &ours, &right);
    }
}

fn numbers_agree(ours: &Played, right: &Played) {
    let (our_numbers, right_numbers) = (ours.values("mntr", '\t'), right.values("mntr", '\t'));
    // How long requests are at each stage of this server is no line of ZooKeeper's.
    for (key, value) in our_numbers.iter().filter(|(key, _)| !key.starts_with("zk_stage_")) {
        let expected = right_numbers.get(key).unwrap_or_else(|| panic!("mntr: ZooKeeper has no {key}"));
        let differs = ["version", "latency", "uptime", "file_descriptor"];
        if !differs.iter().any(|part| key.contains(part)) {
            assert_eq!(value, expected, "mntr: {key}");
        }
    }
    for (word, separator) in [("envi", '='), ("dirs", ':')] {
        let (ours, right) = (ours.values(word, separator), right.values(word, separator));
        assert!(ours.keys().eq(right.keys()), "{word}: {ours:?}\n{right:?}");
    }
    let own = ["clientPort", "dataDir", "dataDirSize", "dataLogDir", "dataLogSize"];
    let configuration = |played: &Played| {
        let mut values = played.values("conf", '=');
        for key in own {
            assert!(values.insert(key.to_owned(), String::new()).is_some(), "conf: no {key}");
        }
        values
    };
    assert_eq!(configuration(ours), configuration(right));
}

#[test]
fn a_word_comes_in_pieces_and_from_a_client_that_has_no_more_to_say() {
    let server = start(subject(), Options::default());
    let cases = [
        (["r", "uo", "k"], "imok", false),
        (["ru", "ok", "\n"], "imok", false),
        (["", "ruo", "k"], "imok", true),
        (["stmk\0\0\0", "\0\0\0\x03", "\x09"], "777", false),
    ];
    for (pieces, expected, shut) in cases {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        for piece in pieces {
            stream.write_all(piece.as_bytes()).unwrap();
        }
        if shut {
            stream.shutdown(Shutdown::Write).unwrap();
        }
        let mut answer = vec![0; expected.len()];
        stream.read_exact(&mut answer).unwrap_or_else(|e| panic!("{pieces:?}: {e}"));
        assert_eq!(answer, expected.as_bytes(), "{pieces:?}");
    }
}

#[test]
fn only_words_of_the_whitelist_are_answered() {
    let config = vec!["4lw.commands.whitelist=ruok, mntr".to_owned()];
    let [right, ours] = [reference(), subject()]
        .map(|kind| start(kind, Options { config: config.clone(), ..Options::default() }));
    for word in ["ruok", "stat", "cons", "stmk", "wchp", "isro", "crst"] {
        assert_eq!(ask(&ours, word), ask(&right, word), "{word}");
    }
    for word in ["srvr", "mntr"] {
        assert!(!ask(&ours, word).contains("whitelist"), "{word}");
    }
}
