//! A full disk, in each phase: writes wait, reads and operators are answered, nothing is lost, and the server
//! goes on by itself when there is space.
//!
//! The disk is a small tmpfs.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::own_disk::{on_own_disk, start_on};
use crate::run::{PAUSE, Running, Started, until_prepared};
use ringkeeper_tests::wire::{Encoder, Session, op};

const PATIENCE: Duration = Duration::from_secs(60);
/// Of the file system, in KiB.
const DISK_KIB: usize = 4096;
const SEGMENT: &str = "log.segmentBytes=262144";
const SEGMENT_BYTES: u64 = 262_144;

/// Runs `test` with a small file system at a path, or says why it cannot.
fn on_small_disk(name: &str, test: impl FnOnce(&Path)) {
    on_small_disk_of(&format!("disk_full::{name}"), test);
}

/// The same for a test of another module.
pub(crate) fn on_small_disk_of(name: &str, test: impl FnOnce(&Path)) {
    let mount = format!("mount -t tmpfs -o size={DISK_KIB}k tmpfs");
    on_own_disk(&mount, name, test);
}

/// Takes all the space there is; gives it back when it is dropped.
pub(crate) struct Ballast(PathBuf);

impl Ballast {
    pub fn fill(disk: &Path) -> Ballast {
        let path = disk.join("ballast");
        let mut file = fs::File::create(&path).expect("a file");
        let bytes = [1; 4096];
        while file.write_all(&bytes).is_ok() {}
        Ballast(path)
    }

    /// Gives so many bytes back.
    pub fn leave(&self, bytes: u64) {
        let file = fs::File::options().write(true).open(&self.0).expect("the ballast");
        let length = file.metadata().expect("its length").len();
        file.set_len(length.saturating_sub(bytes)).expect("it is made shorter");
    }
}

impl Drop for Ballast {
    fn drop(&mut self) {
        fs::remove_file(&self.0).expect("the ballast");
    }
}

fn start(disk: &Path, more: &[&str]) -> Started {
    start_on(disk, &[&["--set", SEGMENT], more].concat())
}

pub(crate) fn set(path: &str, value: &[u8]) -> Vec<u8> {
    let mut body = Encoder::default();
    body.string(path).buffer(Some(value)).int(-1);
    body.bytes
}

pub(crate) fn create(session: &mut Session, path: &str) {
    let mut body = Encoder::default();
    body.string(path).buffer(Some(b"new")).open_acl().int(0);
    assert_eq!(session.request(op::CREATE, &body.bytes).expect("a reply").error, 0);
}

/// A node's version and data.
pub(crate) fn read(session: &mut Session, path: &str) -> Vec<u8> {
    let mut body = Encoder::default();
    body.string(path).boolean(false);
    session.request(op::GET_DATA, &body.bytes).expect("a reply").body
}

fn ask(address: SocketAddr, word: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    stream.write_all(word.as_bytes()).expect("a word");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[track_caller]
pub(crate) fn until(server: &Running, said: &str) {
    let deadline = Instant::now() + PATIENCE;
    while !server.said().contains(said) {
        assert!(Instant::now() < deadline, "`{said}` never came: {}", server.said());
        std::thread::sleep(PAUSE);
    }
}

/// Writes until the log takes no more; returns how many of them were not answered.
fn write_until_full(server: &Running, session: &mut Session) -> usize {
    let mut unanswered = 0;
    // More than the segment that is there and the prepared one hold.
    for number in 0..900 {
        session.post(op::SET_DATA, &set("/n", format!("{number:0900}").as_bytes())).expect("it is taken");
        unanswered += 1;
    }
    until(server, "the disk is full (");
    unanswered
}

#[test]
fn a_full_disk_stops_writes_alone_and_they_go_on_by_themselves() {
    on_small_disk("a_full_disk_stops_writes_alone_and_they_go_on_by_themselves", |disk| {
        let server = start(disk, &[]).serves();
        let (mut writer, mut reader) = (server.session().expect("one"), server.session().expect("two"));
        create(&mut writer, "/n");
        let ballast = Ballast::fill(disk);
        let unanswered = write_until_full(&server, &mut writer);
        let before = read(&mut reader, "/n");
        assert!(!before.is_empty(), "reads go on");
        assert_eq!(ask(server.address, "ruok"), "imok");
        assert!(ask(server.address, "mntr").contains("zk_znode_count"));
        assert!(ask(server.address, "srvr").contains("Mode: standalone"));
        drop(ballast);
        for _ in 0..unanswered {
            assert_eq!(writer.reply().expect("every write is answered").error, 0);
        }
        until(&server, "there is space on the disk again");
        let last = read(&mut reader, "/n");
        let (code, said) = server.stop();
        assert_eq!(code, Some(0), "{said}");
        let server = start(disk, &[]).serves();
        assert_eq!(read(&mut server.session().expect("a session"), "/n"), last);
    });
}

#[test]
fn a_server_on_a_full_disk_stops_cleanly_and_keeps_what_was_acknowledged() {
    on_small_disk("a_server_on_a_full_disk_stops_cleanly_and_keeps_what_was_acknowledged", |disk| {
        let server = start(disk, &[]).serves();
        let mut writer = server.session().expect("a session");
        create(&mut writer, "/n");
        let ballast = Ballast::fill(disk);
        write_until_full(&server, &mut writer);
        let mut acknowledged = 0;
        let (code, said) = server.stop();
        while writer.reply().is_ok_and(|reply| reply.error == 0) {
            acknowledged += 1;
        }
        assert_eq!(code, Some(0), "{said}");
        // It starts on the full disk too, and serves what it can: sessions wait for space.
        let server = start(disk, &[]).serves();
        assert_eq!(ask(server.address, "ruok"), "imok");
        until(&server, "the disk is full (");
        drop(ballast);
        let found = read(&mut server.session().expect("a session"), "/n");
        let number = found[4..].iter().take_while(|byte| byte.is_ascii_digit());
        let text = String::from_utf8(number.copied().collect()).expect("digits");
        assert!(text.parse::<u32>().expect("a number") + 1 >= acknowledged, "{text} of {acknowledged}");
    });
}

#[test]
fn a_new_directory_on_a_full_disk_is_refused_with_the_reason_and_made_later() {
    on_small_disk("a_new_directory_on_a_full_disk_is_refused_with_the_reason_and_made_later", |disk| {
        let ballast = Ballast::fill(disk);
        let Started::Ended { code, said } = start(disk, &[]) else { panic!("it serves") };
        assert_eq!(code, Some(1));
        assert!(said.contains("error: ") && said.contains("No space left on device"), "{said}");
        drop(ballast);
        let server = start(disk, &[]).serves();
        create(&mut server.session().expect("a session"), "/n");
    });
}

#[test]
fn a_checkpoint_or_mark_that_finds_no_space_costs_nothing_but_itself() {
    on_small_disk("a_checkpoint_or_mark_that_finds_no_space_costs_nothing_but_itself", |disk| {
        let server = start(disk, &["--set", "snapCount=60"]).serves();
        let mut session = server.session().expect("a session");
        create(&mut session, "/n");
        until_prepared(&disk.join("data"), SEGMENT_BYTES);
        let ballast = Ballast::fill(disk);
        for number in 0..70 {
            let body = set("/n", format!("{number:03}").as_bytes());
            assert_eq!(session.request(op::SET_DATA, &body).expect("a reply").error, 0);
        }
        until(&server, "checkpoint not written, the log is kept: ");
        let last = read(&mut session, "/n");
        assert!(
            fs::read_dir(disk.join("data/snap")).expect("it").next().is_none(),
            "its space is given back"
        );
        let (code, said) = server.stop();
        assert_eq!(code, Some(0), "{said}");
        // One copy of a record is damaged too, and cannot be mended.
        let path = disk.join("data/database");
        let mut bytes = fs::read(&path).expect("the record");
        drop(ballast);
        bytes[13] ^= 1;
        fs::write(&path, &bytes).expect("the damage");
        let ballast = Ballast::fill(disk);
        let server = start(disk, &[]).serves();
        until(&server, "is damaged, and not mended");
        drop(ballast);
        assert_eq!(read(&mut server.session().expect("a session"), "/n")[..7], last[..7]);
        assert_eq!(server.stop().0, Some(0));
        let server = start(disk, &[]).serves();
        until(&server, "was damaged: mended");
    });
}
