//! Crash images of a whole data directory: a generated workload runs on real files, every call that
//! changes the directory is recorded, and after each of them the images that a crash can leave are made,
//! recovered by the real recovery, and compared with what was acknowledged.
//!
//! A sector that was written and not synced is old, new or torn. A name that was given, changed or taken
//! away without a sync of its directory is so or not, each for itself. The workload appends, rolls over,
//! uses old segments again, writes checkpoints, retires, marks, writes epochs and starts again, so that
//! recovery's own changes are cut short too.
//!
//! `CRASH_IMAGES_FACTOR` makes it longer, `CRASH_IMAGES_SEED` another one.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ringkeeper_engine::id::{Epoch, Zxid};
use ringkeeper_engine::log::SyncMode;

use super::recorder::{self, Call};
use super::tests::{Server, State};
use super::*;

const SECTOR_BYTES: usize = 512;
/// So many images of one moment are made, all of them if there are no more; fewer after a crash.
const IMAGES_A_MOMENT: [u64; 2] = [9, 2];
/// One in so many images is gone on from, so that a crash after a crash is covered.
const GONE_ON_FROM: u64 = 797;
const STEPS: [u64; 2] = [200, 6];

#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Old,
    New,
    Torn,
}

#[derive(Clone, Debug, Default)]
struct Inode {
    synced: Vec<u8>,
    current: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Entry {
    Directory,
    File(usize),
}

/// A change of a name.
#[derive(Clone, Debug)]
enum Naming {
    Link(PathBuf, Entry),
    Unlink(PathBuf),
    Rename(PathBuf, PathBuf, Entry),
}

type Names = BTreeMap<PathBuf, Entry>;

impl Naming {
    fn apply(&self, names: &mut Names) {
        match self {
            Naming::Link(path, entry) => drop(names.insert(path.clone(), *entry)),
            Naming::Unlink(path) => drop(names.remove(path)),
            Naming::Rename(from, to, entry) => {
                if names.get(from) == Some(entry) {
                    names.remove(from);
                }
                names.insert(to.clone(), *entry);
            }
        }
    }

    fn directory(&self) -> &Path {
        let (Naming::Link(path, _) | Naming::Unlink(path) | Naming::Rename(path, ..)) = self;
        path.parent().unwrap()
    }
}

/// The disk under a directory: what is durable, and what is on its way. Paths are relative to it.
#[derive(Clone, Debug, Default)]
struct Disk {
    inodes: Vec<Inode>,
    durable: Names,
    live: Names,
    pending: Vec<Naming>,
}

impl Disk {
    /// Of what is in a directory, all of it durable.
    fn of(root: &Path) -> Disk {
        let mut disk = Disk::default();
        let mut waiting = vec![root.to_path_buf()];
        while let Some(directory) = waiting.pop() {
            for entry in fs::read_dir(&directory).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(root).unwrap().to_path_buf();
                if path.is_dir() {
                    disk.live.insert(name, Entry::Directory);
                    waiting.push(path);
                } else {
                    let bytes = fs::read(&path).unwrap();
                    disk.live.insert(name, Entry::File(disk.inodes.len()));
                    disk.inodes.push(Inode { synced: bytes.clone(), current: bytes });
                }
            }
        }
        disk.durable = disk.live.clone();
        disk
    }

    fn file(&mut self, path: &Path) -> &mut Inode {
        let Some(Entry::File(inode)) = self.live.get(path) else { panic!("no file {}", path.display()) };
        &mut self.inodes[*inode]
    }

    fn name(&mut self, naming: Naming) {
        naming.apply(&mut self.live);
        self.pending.push(naming);
    }

    fn apply(&mut self, call: Call) {
        match call {
            Call::Create(path) if self.live.contains_key(&path) => self.file(&path).current.clear(),
            Call::Create(path) => {
                self.inodes.push(Inode::default());
                let entry = Entry::File(self.inodes.len() - 1);
                self.name(Naming::Link(path, entry));
            }
            Call::Write { path, offset, bytes } => {
                let file = &mut self.file(&path).current;
                let (begin, end) = (offset as usize, offset as usize + bytes.len());
                file.resize(file.len().max(end), 0);
                file[begin..end].copy_from_slice(&bytes);
            }
            Call::Cut(path, length) => self.file(&path).current.resize(length as usize, 0),
            Call::Sync(path) => {
                let file = self.file(&path);
                file.synced.clone_from(&file.current);
            }
            Call::Rename(from, to) => {
                let entry = self.live[&from];
                self.name(Naming::Rename(from, to, entry));
            }
            Call::Remove(path) if self.live.contains_key(&path) => self.name(Naming::Unlink(path)),
            Call::MakeDirectory(path) if !self.live.contains_key(&path) => {
                self.name(Naming::Link(path, Entry::Directory));
            }
            Call::Remove(_) | Call::MakeDirectory(_) => {}
            Call::SyncDirectory(path) => {
                let (done, left) = self.pending.drain(..).partition(|naming| naming.directory() == path);
                self.pending = left;
                let done: Vec<Naming> = done;
                done.iter().for_each(|naming| naming.apply(&mut self.durable));
            }
        }
    }

    /// How many things have a fate.
    fn open_fates(&self) -> u32 {
        let mut count = 0;
        self.crash(&mut || {
            count += 1;
            Fate::New
        });
        count
    }

    /// What a crash at this moment leaves.
    fn crash(&self, fate: &mut dyn FnMut() -> Fate) -> Image {
        let mut names = self.durable.clone();
        for naming in &self.pending {
            if fate() != Fate::Old {
                naming.apply(&mut names);
            }
        }
        let content = |(path, entry): (PathBuf, Entry)| match entry {
            Entry::Directory => (path, None),
            Entry::File(inode) => (path, Some(self.inodes[inode].crash(fate))),
        };
        names.into_iter().map(content).collect()
    }
}

impl Inode {
    fn crash(&self, fate: &mut dyn FnMut() -> Fate) -> Vec<u8> {
        let mut bytes = self.current.clone();
        for at in (0..bytes.len()).step_by(SECTOR_BYTES) {
            let end = (at + SECTOR_BYTES).min(bytes.len());
            let old = |byte: usize| self.synced.get(byte).copied().unwrap_or(0);
            let differing: Vec<usize> = (at..end).filter(|&byte| bytes[byte] != old(byte)).collect();
            if differing.is_empty() {
                continue;
            }
            // A torn sector has its new bytes up to the middle of what differs.
            let keep = match fate() {
                Fate::New => end,
                Fate::Old => at,
                Fate::Torn => differing[differing.len() / 2],
            };
            (keep..end).for_each(|byte| bytes[byte] = old(byte));
        }
        if self.synced.len() != self.current.len() && fate() == Fate::Old {
            bytes.truncate(self.synced.len());
            bytes.extend_from_slice(&self.synced[bytes.len()..]);
        }
        bytes
    }
}

/// Files and directories by their paths.
type Image = BTreeMap<PathBuf, Option<Vec<u8>>>;

/// Writes an image to files, without those whose directory was lost.
fn materialise(image: &Image, to: &Path) {
    for (path, content) in image {
        let target = to.join(path);
        match content {
            _ if !target.parent().unwrap().is_dir() => {}
            None => fs::create_dir(&target).unwrap(),
            Some(bytes) => fs::write(&target, bytes).unwrap(),
        }
    }
}

/// In memory where there is such a place: nothing here asks the real disk for anything.
fn home() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

/// What has been promised at one moment.
#[derive(Clone, Copy, Debug, Default)]
struct Promised {
    acknowledged: u64,
    proposed: u64,
    epochs: [u32; 2],
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// One workload on one directory.
struct Exploration {
    home: tempfile::TempDir,
    disk: Disk,
    promised: Promised,
    random: Random,
    depth: usize,
    factor: u64,
    images: u64,
    kinds: BTreeMap<&'static str, u64>,
}

impl Exploration {
    fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// Takes what was called since the last time, one call after the other, and crashes after each.
    fn explore(&mut self) {
        for call in recorder::take() {
            let kind = match &call {
                Call::Create(_) => "create",
                Call::Write { .. } => "write",
                Call::Cut(..) => "cut",
                Call::Sync(_) => "sync",
                Call::Rename(from, _) if from.extension().is_some_and(|name| name == "rkspare") => "recycle",
                Call::Rename(..) => "rename",
                Call::Remove(_) => "remove",
                Call::MakeDirectory(_) => "make directory",
                Call::SyncDirectory(_) => "sync directory",
            };
            *self.kinds.entry(kind).or_default() += 1;
            self.disk.apply(call.relative_to(self.home.path()));
            self.crash_here();
        }
    }

    fn crash_here(&mut self) {
        let fates = [Fate::Old, Fate::New, Fate::Torn];
        let most = IMAGES_A_MOMENT[self.depth] * self.factor;
        let all = 3u64.checked_pow(self.disk.open_fates()).filter(|count| *count <= most);
        for number in 0..all.unwrap_or(most) {
            let mut digits = number;
            let random = &mut self.random;
            let image = self.disk.crash(&mut || {
                let choice = if all.is_some() { digits % 3 } else { random.below(3) };
                digits /= 3;
                fates[choice as usize]
            });
            self.images += 1;
            self.check(&image);
        }
    }

    fn check(&mut self, image: &Image) {
        let home = home();
        materialise(image, home.path());
        let path = home.path().join("data");
        let promised = self.promised;
        let (server, state, recovered) = Server::start(&path, SyncMode::Fdatasync)
            .unwrap_or_else(|error| panic!("a crash is not corruption: {error} ({promised:?})"));
        let last = server.last;
        assert_eq!(state, State::up_to(last), "{recovered:?}");
        assert!((promised.acknowledged..=promised.proposed).contains(&last), "{last}, {promised:?}");
        let epochs = server.directory.read_epochs().unwrap().map_or(0, |epochs| epochs.accepted.0);
        assert!(promised.epochs.contains(&epochs), "epoch {epochs}, {promised:?}");
        drop(server);
        recorder::take();
        if self.depth == 0 && self.images.is_multiple_of(GONE_ON_FROM) {
            let promised = Promised { acknowledged: last, epochs: [epochs; 2], ..promised };
            self.go_on(image, None, promised);
            // The process alone dies: its files are as it left them, synced or not.
            let left = self.disk.crash(&mut || Fate::New);
            self.go_on(&left, Some(self.disk.clone()), self.promised);
        }
    }

    /// Runs a short workload from an image on; what it holds is durable, unless the disk says otherwise.
    fn go_on(&mut self, image: &Image, disk: Option<Disk>, promised: Promised) {
        let home = home();
        materialise(image, home.path());
        let disk = disk.unwrap_or_else(|| Disk::of(home.path()));
        let mut again = Exploration {
            home,
            disk,
            promised,
            random: Random(self.images),
            depth: 1,
            factor: self.factor,
            images: 0,
            kinds: BTreeMap::new(),
        };
        again.run();
        // What its end gave up.
        recorder::take();
        self.images += again.images;
    }

    /// Runs the workload.
    fn run(&mut self) {
        let mut server = self.start();
        self.append(&mut server);
        let mut checkpoint = None;
        for _ in 0..STEPS[self.depth] * self.factor {
            match self.random.below(40) {
                0..24 => self.append(&mut server),
                24..30 => match checkpoint.take() {
                    None => {
                        checkpoint = Some((
                            CheckpointFile::create(&server.directory, Zxid(server.last), true).unwrap(),
                            server.last,
                        ))
                    }
                    Some((file, first)) => {
                        let name = server.finish_checkpoint(file, first);
                        assert_eq!(name.first_zxid, Zxid(first));
                        self.explore();
                        let removed = server
                            .directory
                            .remove_obsolete(&mut server.files, 2, |name| name.is_valid(|_| {}))
                            .unwrap();
                        removed.segments.into_iter().for_each(|spare| server.writer.add_spare(spare));
                    }
                },
                30..34 => server.directory.write_mark(Zxid(server.last)).unwrap(),
                34..39 => self.write_epochs(&server),
                _ => {
                    drop(checkpoint.take());
                    drop(server);
                    self.explore();
                    server = self.start();
                }
            }
            self.explore();
        }
    }

    fn start(&mut self) -> Server {
        let (server, state, _) = Server::start(&self.data(), SyncMode::Fdatasync).unwrap();
        assert_eq!(state, State::up_to(server.last));
        self.explore();
        // What recovery found is served, so it is a promise by now.
        let epochs = server.directory.read_epochs().unwrap().map_or(0, |epochs| epochs.accepted.0);
        self.promised = Promised { acknowledged: server.last, proposed: server.last, epochs: [epochs; 2] };
        server
    }

    /// A few transactions at once, and every step of both lanes that they call for.
    fn append(&mut self, server: &mut Server) {
        for _ in 0..=self.random.below(2) {
            server.append();
        }
        self.promised.proposed = server.last;
        while server.step() {
            self.explore();
            self.promised.acknowledged = server.writer.durable().0;
        }
    }

    fn write_epochs(&mut self, server: &Server) {
        let next = self.promised.epochs[1] + 1;
        self.promised.epochs[1] = next;
        server.directory.write_epochs(Epochs { accepted: Epoch(next), current: Epoch(next - 1) }).unwrap();
        self.explore();
        self.promised.epochs[0] = next;
    }
}

#[test]
fn recovery_keeps_every_promise_at_every_crash_point_of_a_directory() {
    let number = |name| std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(1);
    let seed = number("CRASH_IMAGES_SEED");
    recorder::begin();
    let mut exploration = Exploration {
        home: home(),
        disk: Disk::default(),
        promised: Promised::default(),
        random: Random(seed),
        depth: 0,
        factor: number("CRASH_IMAGES_FACTOR"),
        images: 0,
        kinds: BTreeMap::new(),
    };
    exploration.run();
    recorder::end();
    println!("{} images, seed {seed}, after {:?}", exploration.images, exploration.kinds);
    assert!(exploration.images > 2000, "{}", exploration.images);
    assert_eq!(exploration.kinds.len(), 9, "{:?}", exploration.kinds);
}
