//! What `changes` did, in order, for tests. While a thread records, its syncs are noted and not done: a
//! test that simulates the disk has no use for the real one's.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// A file is there, empty.
    Create(PathBuf),
    /// Bytes at an offset.
    Write {
        /// Of which file.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// What.
        bytes: Vec<u8>,
    },
    /// The file ends here.
    Cut(PathBuf, u64),
    /// The file is durable, without its name.
    Sync(PathBuf),
    /// From, to.
    Rename(PathBuf, PathBuf),
    /// The name is gone.
    Remove(PathBuf),
    /// A directory is there.
    MakeDirectory(PathBuf),
    /// A directory's names are durable.
    SyncDirectory(PathBuf),
}

impl Call {
    /// The same, of paths relative to `root`.
    pub fn relative_to(self, root: &Path) -> Call {
        let relative = |path: PathBuf| path.strip_prefix(root).expect("a path under the root").to_path_buf();
        match self {
            Call::Create(path) => Call::Create(relative(path)),
            Call::Write { path, offset, bytes } => Call::Write { path: relative(path), offset, bytes },
            Call::Cut(path, length) => Call::Cut(relative(path), length),
            Call::Sync(path) => Call::Sync(relative(path)),
            Call::Rename(from, to) => Call::Rename(relative(from), relative(to)),
            Call::Remove(path) => Call::Remove(relative(path)),
            Call::MakeDirectory(path) => Call::MakeDirectory(relative(path)),
            Call::SyncDirectory(path) if !path.starts_with(root) => Call::SyncDirectory(PathBuf::new()),
            Call::SyncDirectory(path) => Call::SyncDirectory(relative(path)),
        }
    }
}

thread_local! {
    static CALLS: RefCell<Option<Vec<Call>>> = const { RefCell::new(None) };
}

/// Notes a call if this thread records, and returns whether it does.
pub fn record(call: impl FnOnce() -> Call) -> bool {
    CALLS.with_borrow_mut(|calls| calls.as_mut().map(|calls| calls.push(call())).is_some())
}

/// Records from now on.
pub fn begin() {
    CALLS.set(Some(Vec::new()));
}

/// What was recorded since the last look.
pub fn take() -> Vec<Call> {
    CALLS.with_borrow_mut(|calls| calls.as_mut().map(std::mem::take).unwrap_or_default())
}

/// Records no more.
pub fn end() {
    CALLS.set(None);
}
