//! Random operation sequences as scripts, from a seed.
//!
//! The sequence is text of the script language, so that a failure reads like any other script and
//! can be cut down by hand. It keeps to a small tree, so that operations meet each other, and away
//! from what is known to differ between releases (see the list of known differences):
//!
//! - every ACL lets everybody read, since 3.8.0's `exists` does not ask;
//! - only session D has persistent watches and has no others, and each path has one mode;
//! - a multi has no create2;
//! - the subtree with a quota gets no pipelines: ZooKeeper checks a quota against what is applied,
//!   not against what is on its way;
//! - a pipeline has no setACL: ZooKeeper checks what follows against the old list or the new one,
//!   as its threads happen to run (the change on its way keeps the old list).

use fastrand::Rng;

/// The sessions that act; S, the super user, only walks.
const SESSIONS: [&str; 4] = ["A", "B", "C", "D"];

/// After this many operations the whole tree is read.
const WALK_EVERY: usize = 1000;

/// Writes a script of `operations` random operations.
pub fn script(seed: u64, operations: usize) -> String {
    let mut generator = Generator { rng: Rng::with_seed(seed), text: String::new(), away: None };
    generator.line(&format!("# seed {seed}, {operations} operations"));
    for line in SET_UP {
        generator.line(line);
    }
    for index in 1..=operations {
        generator.operation();
        if index % WALK_EVERY == 0 || index == operations {
            generator.line("S walk /");
        }
    }
    generator.text
}

/// No timer interferes: sessions outlive the run, and containers are left alone.
const SET_UP: [&str; 20] = [
    "@config maxSessionTimeout=600000",
    "@property zookeeper.DigestAuthenticationProvider.superDigest=super:xQJmxLMiHGwaqBvst5y6rkB6HQs=",
    "@property zookeeper.extendedTypesEnabled=true",
    "@property zookeeper.enforceQuota=true",
    "@property znode.container.checkIntervalMs=36000000",
    "S connect timeout=600000",
    "S auth digest \"super:admin\"",
    "A connect timeout=600000",
    "A auth digest \"bob:secret\"",
    "B connect timeout=600000",
    "B auth digest \"eve:other\"",
    "C connect timeout=600000",
    "D connect timeout=600000",
    "A create /r \"\"",
    "A create /q \"\"",
    "A create /zookeeper/quota/q \"\"",
    "A create /zookeeper/quota/q/zookeeper_limits \"count=-1,bytes=-1=;byteHardLimit=60;countHardLimit=8\"",
    "A create /zookeeper/quota/q/zookeeper_stats \"count=1,bytes=0\"",
    "A setData /r \"start\" -1",
    "S walk /",
];

struct Generator {
    rng: Rng,
    text: String,
    /// A session that is disconnected, and for how many operations more.
    away: Option<(&'static str, u32)>,
}

impl Generator {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.rng.usize(..from.len())]
    }

    /// One step, and what must go with it.
    fn operation(&mut self) {
        if let Some((session, left)) = self.away {
            if left == 0 {
                self.away = None;
                self.come_back(session);
            } else {
                self.away = Some((session, left - 1));
            }
        }
        let away = self.away.map(|(session, _)| session);
        let session = loop {
            let session = self.pick(&SESSIONS);
            if Some(session) != away {
                break session;
            }
        };
        match self.rng.u32(..1000) {
            0..4 => {
                // No session is named by two lines at once: the next connect is a new session.
                self.line(&format!("{session} close"));
                self.line(&format!("{session} connect timeout=600000"));
                if session == "A" {
                    self.line("A auth digest \"bob:secret\"");
                }
            }
            4..12 if away.is_none() => {
                self.line(&format!("{session} disconnect"));
                self.away = Some((session, self.rng.u32(0..10)));
            }
            12..90 => {
                let count = self.rng.usize(2..8);
                let operations: Vec<String> = (0..count).map(|_| self.request(session, true)).collect();
                self.free(session, &format!("pipeline {{ {} }}", operations.join(" ; ")));
            }
            _ => {
                let request = self.request(session, false);
                self.free(session, &request);
            }
        }
    }

    /// A step that may end in any way: everything contains nothing.
    fn free(&mut self, session: &str, command: &str) {
        self.line(&format!("{session} {command} ! \"\""));
    }

    fn come_back(&mut self, session: &str) {
        self.line(&format!("{session} reconnect timeout=600000"));
        if session == "A" {
            self.line("A auth digest \"bob:secret\"");
        }
        let mut list = |count: usize| {
            let paths: Vec<String> =
                (0..self.rng.usize(..count)).map(|_| random_path(&mut self.rng, 3)).collect();
            paths.join(",")
        };
        let line = if session == "D" {
            format!("D setWatches2 persistent={} recursive={}", list(1), list(1))
        } else {
            format!("{session} setWatches data={} exist={} child={}", list(4), list(4), list(4))
        };
        self.line(&line);
    }

    fn request(&mut self, session: &str, pipelined: bool) -> String {
        match self.rng.u32(..100) {
            0..22 => self.create(pipelined, false),
            22..36 => self.delete(pipelined),
            36..50 => self.set_data(pipelined),
            50..72 => self.read(session, pipelined),
            72..76 if !pipelined => {
                let acl = self.acl();
                let version = self.version(2);
                format!("setACL {} {acl} {version}", self.path(pipelined))
            }
            72..86 => self.multi(pipelined),
            86..89 => {
                let reads: Vec<String> = (0..self.rng.usize(1..4))
                    .map(|_| format!("{} {}", self.pick(&["getData", "getChildren"]), self.path(pipelined)))
                    .collect();
                format!("multiRead {{ {} }}", reads.join(" ; "))
            }
            89..93 => self.watch_request(session),
            93..95 => format!("getEphemerals {}", self.pick(&["/", "/r", "/r/a", "/none"])),
            95..97 => format!("getAllChildrenNumber {}", self.path(pipelined)),
            97 => format!("sync {}", self.path(pipelined)),
            98 => self.pick(&["ping", "whoAmI"]).to_owned(),
            _ => self.nonsense(),
        }
    }

    fn path(&mut self, pipelined: bool) -> String {
        match self.rng.u32(..100) {
            0..8 if !pipelined => format!("/q/{}", self.pick(&["a", "b", "c", "a/x", "b/x", "s-"])),
            8..12 if !pipelined => format!("${}", self.pick(&["A", "B", "C"])),
            12..15 => format!("/r/{}/s-{:010}", self.pick(&["a", "b", "c"]), self.rng.u32(..12)),
            _ => random_path(&mut self.rng, 3),
        }
    }

    fn acl(&mut self) -> &'static str {
        self.pick(&[
            "open",
            "open",
            "r@world:anyone,rwcda@auth:",
            "rca@world:anyone,rwcda@digest:bob:fyVmFCwVbTJYrznoSu1koqYEYF0=",
            "rwda@world:anyone,c@ip:127.0.0.1",
            "rca@world:anyone,wd@ip:10.0.0.0/8,d@digest:eve:EdwV5NjKeVoXuRpvkwO//SvEK2w=",
        ])
    }

    fn version(&mut self, spread: u32) -> String {
        if self.rng.u32(..3) < 2 { "-1".to_owned() } else { self.rng.u32(..=spread).to_string() }
    }

    fn data(&mut self) -> String {
        match self.rng.u32(..10) {
            0 => "null".to_owned(),
            1 => "\"\"".to_owned(),
            2 => format!("zeros:{}", self.rng.u32(..300)),
            _ => format!("\"{}\"", self.rng.u32(..1000)),
        }
    }

    fn create(&mut self, pipelined: bool, in_multi: bool) -> String {
        let (data, acl) = (self.data(), if self.rng.u32(..5) == 0 { self.acl() } else { "open" });
        let mut path = self.path(pipelined);
        let operation = if in_multi { "create" } else { self.pick(&["create", "create", "create2"]) };
        match self.rng.u32(..20) {
            0..10 => format!("{operation} {path} {data} acl={acl}"),
            10..13 => format!("{operation} {path} {data} acl={acl} flags=ephemeral"),
            13..16 => {
                path.push_str(self.pick(&["/s-", "/s-", "", "/"]));
                format!("{operation} {path} {data} acl={acl} flags=sequential")
            }
            16 => format!("{operation} {path}/e- {data} acl={acl} flags=ephemeral_sequential"),
            17 => format!("createContainer {path} {data} acl={acl}"),
            18 => format!("createTTL {path} {data} acl={acl} ttl=36000000"),
            _ => format!("createTTL {path}/t- {data} acl={acl} ttl=36000000 flags=ttl_sequential"),
        }
    }

    fn delete(&mut self, pipelined: bool) -> String {
        let version = self.version(1);
        format!("delete {} {version}", self.path(pipelined))
    }

    fn set_data(&mut self, pipelined: bool) -> String {
        let (data, version) = (self.data(), self.version(3));
        format!("setData {} {data} {version}", self.path(pipelined))
    }

    fn read(&mut self, session: &str, pipelined: bool) -> String {
        let operation = self.pick(&["exists", "getData", "getChildren", "getChildren2", "getACL"]);
        let watch = if operation != "getACL" && session != "D" && self.rng.bool() { " watch" } else { "" };
        format!("{operation} {}{watch}", self.path(pipelined))
    }

    fn multi(&mut self, pipelined: bool) -> String {
        let operations: Vec<String> = (0..self.rng.usize(1..6))
            .map(|_| match self.rng.u32(..4) {
                0 => self.create(pipelined, true),
                1 => self.delete(pipelined),
                2 => self.set_data(pipelined),
                _ => {
                    let version = self.version(1);
                    format!("check {} {version}", self.path(pipelined))
                }
            })
            .collect();
        format!("multi {{ {} }}", operations.join(" ; "))
    }

    /// Session D's watches: the last name decides the mode, so that no path has two.
    fn watch_request(&mut self, session: &str) -> String {
        let path = random_path(&mut self.rng, 2);
        if session == "D" && self.rng.bool() {
            let mode = if path.ends_with(['a', 'b']) { "persistent" } else { "recursive" };
            return format!("addWatch {path} {mode}");
        }
        let kind = if session == "D" { "any" } else { self.pick(&["any", "data", "children"]) };
        format!("removeWatches {path} {kind}")
    }

    fn nonsense(&mut self) -> String {
        self.pick(&[
            "create noslash \"\"",
            "create /r/ \"\"",
            "create /r//a \"\"",
            "create /r/. \"\"",
            "create /r/a/b \"\" acl=empty",
            "create /r/a/b \"\" acl=rwcda@nobody:x",
            "create /r/a/b \"\" flags=77",
            "delete / -1",
            "delete /zookeeper -1",
            "setData \"\" \"\" -1",
            "raw 1 x:00",
            "raw 14 x:0000",
            "raw 4 \"\"",
            "multi { getData /r }",
            "multiRead { delete /r -1 }",
            "checkWatches /never any",
        ])
        .to_owned()
    }
}

/// A path under `/r` of at most `depth` names out of four.
fn random_path(rng: &mut Rng, depth: usize) -> String {
    let mut path = "/r".to_owned();
    for _ in 0..rng.usize(1..=depth) {
        path.push('/');
        path.push(rng.choice(['a', 'b', 'c', 'd']).unwrap_or('a'));
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::Script;

    #[test]
    fn a_seed_replays_and_every_line_is_of_the_language() {
        let text = script(7, 500);
        assert_eq!(text, script(7, 500));
        assert_ne!(text, script(8, 500));
        let parsed = Script::parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        assert!(parsed.steps.len() > 500);
    }
}
