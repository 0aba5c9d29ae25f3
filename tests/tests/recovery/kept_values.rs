//! Large values stay in the checkpoint's map at a restart: whatever becomes of them and of the file, clients
//! see what was written, and the map goes with the last value.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ringkeeper_tests::wire::{Encoder, Session, op};
use tempfile::TempDir;

use crate::data::{Nodes, put, shown};
use crate::run::{Running, start, until};

const PATIENCE: Duration = Duration::from_secs(60);
/// Small, so that a moment's writes make many segments and checkpoints.
const SETTINGS: [&str; 4] = ["--set", "log.segmentBytes=65536", "--set", "snapCount=80"];
const LARGE: usize = 12;

fn large(node: usize, what: &str) -> Vec<u8> {
    format!("{node} {what} ").into_bytes().repeat(2000)
}

/// A data directory with large values in its checkpoints.
struct Data {
    path: PathBuf,
    nodes: Nodes,
    _home: TempDir,
}

impl Data {
    fn fill() -> Data {
        let home = tempfile::Builder::new().prefix("ringkeeper-kept-").tempdir().expect("a directory");
        let mut data = Data { path: home.path().join("data"), nodes: Nodes::new(), _home: home };
        let server = data.serve();
        let mut session = server.session().expect("a session");
        data.put(&mut session, "/small", b"0");
        (0..LARGE).for_each(|node| data.put(&mut session, &format!("/large{node}"), &large(node, "first")));
        let all = checkpoints(&data.path).len();
        data.write_until(&mut session, || checkpoints(&data.path).len() >= all + 2);
        server.kill();
        data
    }

    fn serve(&self) -> Running {
        start(&self.path, &SETTINGS).serves()
    }

    fn put(&mut self, session: &mut Session, path: &str, value: &[u8]) {
        put(session, path, value, self.nodes.contains_key(path)).expect("a reply");
        self.nodes.insert(path.to_owned(), value.to_vec());
    }

    /// Writes what is small until something is so.
    fn write_until(&self, session: &mut Session, is_so: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so() {
            assert!(Instant::now() < deadline, "it never came to be so");
            (0..20).for_each(|_| put(session, "/small", b"0", true).expect("a reply"));
        }
    }
}

fn checkpoints(data: &Path) -> Vec<PathBuf> {
    let names = fs::read_dir(data.join("snap")).expect("a directory");
    let paths = names.map(|entry| entry.expect("an entry").path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "rksnap")).collect()
}

/// The checkpoint that a server has in memory for its values, and whether its file has lost its names.
fn mapped(server: &Running) -> Option<(PathBuf, bool)> {
    let maps = fs::read_to_string(format!("/proc/{}/maps", server.id().as_raw_nonzero())).expect("its maps");
    let mut of_snap = maps.lines().filter_map(|line| line.find("/").map(|at| &line[at..]));
    let name = of_snap.find(|name| name.contains("/snap/"))?;
    Some(match name.strip_suffix(" (deleted)") {
        Some(name) => (name.into(), true),
        None => (name.into(), false),
    })
}

#[test]
fn values_outlive_the_name_of_the_file_that_has_them_and_the_map_goes_with_the_last() {
    let mut data = Data::fill();
    let server = data.serve();
    let (path, is_deleted) = mapped(&server).expect("a checkpoint is mapped");
    assert!(path.exists() && !is_deleted);
    assert_eq!(shown(&server, &data.nodes), data.nodes);

    // Until it is obsolete, and the checkpoint after that has not been written over it.
    let mut session = server.session().expect("a session");
    data.write_until(&mut session, || mapped(&server).is_some_and(|(_, is_deleted)| is_deleted));
    let all = checkpoints(&data.path);
    data.write_until(&mut session, || !checkpoints(&data.path).iter().any(|path| all.contains(path)));
    assert_eq!(shown(&server, &data.nodes), data.nodes);

    // Some change and some go; what checkpoints were written from the map is read again.
    data.put(&mut session, "/large0", &large(0, "second"));
    data.put(&mut session, "/large1", b"short");
    let delete = session.request(op::DELETE, &Encoder::default().string("/large2").int(-1).bytes);
    assert_eq!(delete.expect("a reply").error, 0);
    data.nodes.remove("/large2");
    assert_eq!(shown(&server, &data.nodes), data.nodes);
    server.kill();
    let server = data.serve();
    assert!(mapped(&server).is_some(), "a checkpoint is mapped");
    assert_eq!(shown(&server, &data.nodes), data.nodes);

    let mut session = server.session().expect("a session");
    (3..LARGE).for_each(|node| data.put(&mut session, &format!("/large{node}"), &large(node, "third")));
    // What the log brought after the checkpoint was never in it.
    data.put(&mut session, "/large0", b"");
    until(|| mapped(&server).is_none(), "the map goes, as no value is left in it");
    assert_eq!(shown(&server, &data.nodes), data.nodes);
    let (code, said) = server.stop();
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(shown(&data.serve(), &data.nodes), data.nodes);
}

#[test]
fn a_value_that_cannot_be_read_any_more_ends_the_server_which_names_the_file() {
    let data = Data::fill();
    let server = data.serve();
    let (path, _) = mapped(&server).expect("a checkpoint is mapped");
    // To who looks at its pages this is what a sector is that cannot be read.
    fs::File::options().write(true).open(&path).expect("the file").set_len(0).expect("it is cut");
    let mut session = server.session().expect("a session");
    let unanswered = crate::data::get(&mut session, "/large7");
    assert!(unanswered.is_err(), "{unanswered:?}");
    let (code, said) = server.ended();
    assert_eq!(code, None, "a signal ends it: {said}");
    let last = said.lines().last().expect("a line");
    assert!(last.starts_with(&format!("error: {}: cannot be read any more", path.display())), "{said}");
    // The checkpoint before serves.
    let server = data.serve();
    assert!(server.said().contains(&path.display().to_string()), "{}", server.said());
    assert_eq!(shown(&server, &data.nodes), data.nodes);
}

/// A page that memory had no more room for is read again, and the disk need not give what it gave at the start.
#[test]
fn a_value_that_changed_on_the_disk_goes_into_no_other_checkpoint() {
    let data = Data::fill();
    let server = data.serve();
    let (path, _) = mapped(&server).expect("a checkpoint is mapped");
    let (file, value) = (fs::read(&path).expect("the file"), large(7, "first"));
    let at = file.windows(value.len()).position(|bytes| bytes == value).expect("it is in there") as u64;
    let file = fs::File::options().write(true).open(&path).expect("the file");
    file.write_all_at(b"x", at + 9000).expect("a byte of it is another");
    let mut session = server.session().expect("a session");
    let deadline = Instant::now() + PATIENCE;
    while put(&mut session, "/small", b"0", true).is_ok() {
        assert!(Instant::now() < deadline, "what changed was copied: {:?}", checkpoints(&data.path));
    }
    let (code, said) = server.ended();
    assert_eq!(code, Some(1), "{said}");
    let last = said.lines().last().expect("a line");
    let place = format!("{}: damaged at offset ", path.display());
    assert!(last.starts_with("error: ") && last.contains(&place), "{said}");
    let server = data.serve();
    let why = format!("{} is damaged, the one before it serves", path.display());
    assert!(server.said().contains(&why), "{}", server.said());
    assert_eq!(shown(&server, &data.nodes), data.nodes);
}
