//! The four-letter words: what an operator asks a server over its client port.
//!
//! Answers have the shape of ZooKeeper 3.9.5's (`server/command` in its source), since monitors,
//! scripts and clients' test harnesses parse them; values that only a Java server has are `<NA>`, or
//! not there.
//!
//! | file | what lives there |
//! |---|---|
//! | here | words, who may ask them, which parts of the server an answer needs |
//! | `answers` | the texts, functions of what is known |
//! | `machine` | what the kernel knows: files, memory, names |

mod answers;
mod machine;

use crate::stages::Stages;
use machine::{DirectorySizes, FileDescriptors};
use ringkeeper_engine::id::{Now, ServerId};
use ringkeeper_engine::limits::Settings;
use ringkeeper_engine::stats::{Inquiry, Report};
use ringkeeper_quorum::step::Service;
use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU16, Ordering};

/// What operators read while there is no leader (`AbstractFourLetterCommand.ZK_NOT_SERVING`).
pub const NOT_SERVING: &str = "This ZooKeeper instance is not currently serving requests\n";
/// What `gtmk` says before a `stmk`: client requests, sessions, warnings and JMX, as ZooKeeper's.
const TRACE_MASK: i64 = 0b1_0011_0010;
/// Bytes of a word, and of a frame's length, whose place it takes.
const WORD_BYTES: usize = 4;

/// One word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// The configuration.
    Conf,
    /// Every connection, in full.
    Cons,
    /// Connections count from zero.
    Crst,
    /// Bytes of the data directories.
    Dirs,
    /// Sessions, ephemeral nodes, and when connections expire.
    Dump,
    /// The server's environment.
    Envi,
    /// The trace mask.
    Gtmk,
    /// The history of the tree's digests.
    Hash,
    /// Whether writes are taken.
    Isro,
    /// Numbers for monitors.
    Mntr,
    /// Are you okay?
    Ruok,
    /// The server counts from zero.
    Srst,
    /// The server in short.
    Srvr,
    /// The same, with its connections.
    Stat,
    /// Sets the trace mask to the eight bytes that follow.
    Stmk(i64),
    /// What telnet sends when it goes.
    TelnetClose,
    /// Watches by connection.
    Wchc,
    /// Watches by path.
    Wchp,
    /// How many watches.
    Wchs,
}

impl Word {
    /// The word of those bytes; `stmk` is still without its mask.
    fn parse(bytes: [u8; WORD_BYTES]) -> Option<Word> {
        Some(match &bytes {
            b"conf" => Word::Conf,
            b"cons" => Word::Cons,
            b"crst" => Word::Crst,
            b"dirs" => Word::Dirs,
            b"dump" => Word::Dump,
            b"envi" => Word::Envi,
            b"gtmk" => Word::Gtmk,
            b"hash" => Word::Hash,
            b"isro" => Word::Isro,
            b"mntr" => Word::Mntr,
            b"ruok" => Word::Ruok,
            b"srst" => Word::Srst,
            b"srvr" => Word::Srvr,
            b"stat" => Word::Stat,
            b"stmk" => Word::Stmk(0),
            [0xff, 0xf4, 0xff, 0xfd] => Word::TelnetClose,
            b"wchc" => Word::Wchc,
            b"wchp" => Word::Wchp,
            b"wchs" => Word::Wchs,
            _ => return None,
        })
    }

    /// Its name, as the whitelist has it.
    pub fn name(self) -> &'static str {
        match self {
            Word::Conf => "conf",
            Word::Cons => "cons",
            Word::Crst => "crst",
            Word::Dirs => "dirs",
            Word::Dump => "dump",
            Word::Envi => "envi",
            Word::Gtmk => "gtmk",
            Word::Hash => "hash",
            Word::Isro => "isro",
            Word::Mntr => "mntr",
            Word::Ruok => "ruok",
            Word::Srst => "srst",
            Word::Srvr => "srvr",
            Word::Stat => "stat",
            Word::Stmk(_) => "stmk",
            Word::TelnetClose => "telnet close",
            Word::Wchc => "wchc",
            Word::Wchp => "wchp",
            Word::Wchs => "wchs",
        }
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a connection's first bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// No word; a frame, or part of one.
    Frame,
    /// A word that is not whole yet.
    Partial,
    /// A word.
    Word(Word),
}

/// What comes after a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// This is the answer.
    Say(String),
    /// The answer needs this of every part of the server; see [`Commands::answer`].
    Inquire(Inquiry),
}

/// Words that are answered (`4lw.commands.whitelist`). ZooKeeper always answers `srvr`, which
/// `zkServer.sh status` depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whitelist {
    /// `*`
    All,
    /// These, by name, and `srvr`.
    Only(BTreeSet<String>),
}

impl Whitelist {
    fn allows(&self, word: Word) -> bool {
        match self {
            Whitelist::All => true,
            Whitelist::Only(names) => word == Word::Srvr || names.contains(word.name()),
        }
    }
}

impl Default for Whitelist {
    fn default() -> Self {
        Whitelist::Only(BTreeSet::new())
    }
}

/// What the answers say besides the report.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Words that may be asked.
    pub whitelist: Whitelist,
    /// What the server calls itself, see [`version`].
    pub version: String,
    /// Bounds and switches.
    pub settings: Arc<Settings>,
    /// Where clients connect; a reconfiguration may change it.
    pub client_port: Arc<AtomicU16>,
    /// `clientPortListenBacklog`, if it is given.
    pub listen_backlog: Option<u32>,
    /// Where checkpoints are.
    pub data_dir: PathBuf,
    /// Where the log is.
    pub data_log_dir: PathBuf,
    /// `myid`; ZooKeeper's standalone server says 0.
    pub server: ServerId,
}

impl Default for Facts {
    fn default() -> Self {
        Facts {
            whitelist: Whitelist::default(),
            version: version(),
            settings: Arc::default(),
            client_port: Arc::default(),
            listen_backlog: None,
            data_dir: PathBuf::new(),
            data_log_dir: PathBuf::new(),
            server: ServerId(0),
        }
    }
}

/// The server's version. The first three numbers are those of the ZooKeeper whose protocol and
/// behaviour this server has, because clients and monitors choose theirs by them; what follows says
/// what it really is. The date is what the variable `RINGKEEPER_BUILT_ON` held during the build, in
/// ZooKeeper's form `2026-02-11 20:18 UTC`.
pub fn version() -> String {
    let built_on = option_env!("RINGKEEPER_BUILT_ON").unwrap_or("unknown date");
    format!("3.9.5-ringkeeper-{}, built on {built_on}", env!("CARGO_PKG_VERSION"))
}

/// Answers the words.
pub struct Commands {
    facts: Facts,
    /// Nothing is traced by it; who sets it gets it back.
    trace_mask: AtomicI64,
    stages: Arc<Stages>,
}

impl Commands {
    /// For this server, whose threads count in `stages`.
    pub fn new(facts: Facts, stages: Arc<Stages>) -> Self {
        Commands { facts, trace_mask: AtomicI64::new(TRACE_MASK), stages }
    }

    /// What the first bytes of a connection are. A word needs no line end, and comes in one piece or
    /// in several.
    pub fn first(&self, bytes: &[u8]) -> First {
        let Some((word, rest)) = bytes.split_first_chunk::<WORD_BYTES>() else { return First::Frame };
        match Word::parse(*word) {
            None => First::Frame,
            Some(word @ Word::Stmk(_)) if self.facts.whitelist.allows(word) => match rest.first_chunk() {
                None => First::Partial,
                Some(mask) => First::Word(Word::Stmk(i64::from_be_bytes(*mask))),
            },
            Some(word) => First::Word(word),
        }
    }

    /// The answer, or what must be known for it.
    pub fn begin(&self, word: Word, service: Service) -> Step {
        if !self.facts.whitelist.allows(word) {
            return Step::Say(format!("{word} is not executed because it is not in the whitelist.\n"));
        }
        let is_about_process = matches!(
            word,
            Word::Ruok | Word::Isro | Word::Envi | Word::Gtmk | Word::Stmk(_) | Word::TelnetClose
        );
        if service == Service::Nothing && !is_about_process {
            return Step::Say(NOT_SERVING.to_owned());
        }
        Step::Say(match word {
            Word::Ruok => "imok".to_owned(),
            Word::Isro => match service {
                Service::Nothing => "null",
                Service::ReadOnly => "ro",
                Service::Full => "rw",
            }
            .to_owned(),
            Word::Conf => answers::conf(&self.facts, self.sizes()),
            Word::Dirs => answers::dirs(self.sizes()),
            Word::Envi => answers::envi(&machine::environment(&self.facts.version)),
            Word::Gtmk => self.trace_mask.load(Ordering::Relaxed).to_string(),
            Word::Stmk(mask) => {
                self.trace_mask.store(mask, Ordering::Relaxed);
                mask.to_string()
            }
            // No digests are kept: as ZooKeeper's history when `digest.enabled` is false.
            Word::Hash | Word::TelnetClose => String::new(),
            Word::Srvr | Word::Mntr => return Step::Inquire(Inquiry::Counters),
            Word::Stat | Word::Cons => return Step::Inquire(Inquiry::Connections),
            Word::Dump => return Step::Inquire(Inquiry::Sessions),
            Word::Wchc | Word::Wchp | Word::Wchs => return Step::Inquire(Inquiry::Watches),
            Word::Srst => return Step::Inquire(Inquiry::ResetServer),
            Word::Crst => return Step::Inquire(Inquiry::ResetConnections),
        })
    }

    /// The answer from the report that the word asked for; empty for a word that asks for none.
    pub fn answer(&self, word: Word, report: &Report, now: Now) -> String {
        let version = &*self.facts.version;
        match word {
            Word::Srvr => answers::srvr(version, report),
            Word::Stat => answers::stat(version, report),
            Word::Mntr => {
                let stages: Vec<_> = self.stages.summaries().collect();
                answers::mntr(version, report, FileDescriptors::read(), &stages, now)
            }
            Word::Cons => answers::cons(report),
            Word::Dump => answers::dump(report, now),
            Word::Wchs => answers::wchs(report),
            Word::Wchc => answers::wchc(report),
            Word::Wchp => answers::wchp(report),
            Word::Srst => {
                self.stages.reset();
                "Server stats reset.\n".to_owned()
            }
            Word::Crst => "Connection stats reset.\n".to_owned(),
            Word::Ruok | Word::Isro | Word::Conf | Word::Dirs | Word::Envi => String::new(),
            Word::Gtmk | Word::Stmk(_) | Word::Hash | Word::TelnetClose => String::new(),
        }
    }

    fn sizes(&self) -> DirectorySizes {
        DirectorySizes::read(&self.facts.data_dir, &self.facts.data_log_dir)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 18] = [
        "conf", "cons", "crst", "dirs", "dump", "envi", "gtmk", "hash", "isro", "mntr", "ruok", "srst",
        "srvr", "stat", "stmk", "wchc", "wchp", "wchs",
    ];

    fn commands(whitelist: Whitelist) -> Commands {
        Commands::new(Facts { whitelist, ..Facts::default() }, Arc::new(Stages::new(1, false)))
    }

    fn word(commands: &Commands, bytes: &[u8]) -> Word {
        match commands.first(bytes) {
            First::Word(word) => word,
            other => panic!("{bytes:?} is {other:?}"),
        }
    }

    #[test]
    fn a_word_is_known_once_its_four_bytes_are_there_whatever_follows() {
        let commands = commands(Whitelist::default());
        for name in NAMES {
            for cut in 0..WORD_BYTES {
                assert_eq!(commands.first(&name.as_bytes()[..cut]), First::Frame);
            }
            for end in ["", "\n", "\r\n", "and more"] {
                assert_eq!(word(&commands, format!("{name}{end}").as_bytes()).name(), name);
            }
        }
        for other in ["lead", "RUOK", "rqld", "\0\0\0\x2d"] {
            assert_eq!(commands.first(other.as_bytes()), First::Frame, "{other}");
        }
    }

    #[test]
    fn a_word_outside_the_whitelist_is_refused_by_name_and_srvr_is_always_inside() {
        let commands = commands(Whitelist::Only(["ruok".to_owned()].into()));
        for name in NAMES {
            let step = commands.begin(word(&commands, name.as_bytes()), Service::Full);
            let expected = match name {
                "ruok" => Step::Say("imok".to_owned()),
                "srvr" => Step::Inquire(Inquiry::Counters),
                _ => Step::Say(format!("{name} is not executed because it is not in the whitelist.\n")),
            };
            assert_eq!(step, expected);
        }
        let telnet = commands.begin(word(&commands, b"\xff\xf4\xff\xfd"), Service::Full);
        let refused = "telnet close is not executed because it is not in the whitelist.\n";
        assert_eq!(telnet, Step::Say(refused.to_owned()));
    }

    #[test]
    fn isro_says_what_is_done_for_clients() {
        let commands = commands(Whitelist::All);
        for (service, says) in [(Service::Nothing, "null"), (Service::ReadOnly, "ro"), (Service::Full, "rw")]
        {
            assert_eq!(commands.begin(Word::Isro, service), Step::Say(says.to_owned()));
        }
    }

    #[test]
    fn without_a_leader_only_words_about_the_process_are_answered() {
        let commands = commands(Whitelist::All);
        for name in NAMES {
            let step =
                commands.begin(word(&commands, format!("{name}01234567").as_bytes()), Service::Nothing);
            let refused = step == Step::Say(NOT_SERVING.to_owned());
            assert_eq!(refused, !["envi", "gtmk", "isro", "ruok", "stmk"].contains(&name), "{name}");
        }
    }

    #[test]
    fn every_word_that_asks_for_a_report_gets_its_answer_from_it() {
        let commands = commands(Whitelist::All);
        for name in NAMES {
            let word = word(&commands, format!("{name}01234567").as_bytes());
            let answer = commands.answer(word, &Report::default(), Now::default());
            let inquires = matches!(commands.begin(word, Service::Full), Step::Inquire(_));
            assert_eq!(!answer.is_empty(), inquires, "{name}");
        }
    }

    #[test]
    fn the_trace_mask_is_what_was_set_last() {
        let commands = commands(Whitelist::All);
        let say = |word| match commands.begin(word, Service::Full) {
            Step::Say(text) => text,
            Step::Inquire(_) => panic!("needs no report"),
        };
        assert_eq!(say(Word::Gtmk), "306");
        assert_eq!(commands.first(b"stmk\0\0\0\0\0\0\x01"), First::Partial);
        assert_eq!(say(word(&commands, b"stmk\0\0\0\0\0\0\x01\x52")), "338");
        assert_eq!(say(Word::Gtmk), "338");
    }

    #[test]
    fn the_version_starts_with_the_protocols_three_numbers() {
        assert!(version().starts_with("3.9.5-ringkeeper-"), "{}", version());
        assert!(version().contains(", built on "), "{}", version());
    }
}
