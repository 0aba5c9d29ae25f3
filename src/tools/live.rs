//! Whether a server runs on a directory. The server holds a lock; asking for it, even for a moment, could
//! keep a server that starts just then from having it. So the kernel's list of locks is read instead.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use procfs::{Current, LockType, Locks};
use rustix::fs::{major, minor};

const LOCK: &str = "LOCK";

/// Whether somebody holds the lock of the directory that `file` is in, as far as this process can see.
pub fn is_served(file: &Path) -> bool {
    let Ok(file) = file.canonicalize() else { return false };
    file.ancestors().skip(1).take(2).any(|folder| is_held(&folder.join(LOCK)))
}

fn is_held(lock: &Path) -> bool {
    let (Ok(facts), Ok(Locks(all))) = (fs::metadata(lock), Locks::current()) else { return false };
    all.iter().any(|held| {
        matches!(held.lock_type, LockType::FLock)
            && held.inode == facts.ino()
            && (held.devmaj, held.devmin) == (major(facts.dev()), minor(facts.dev()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn a_held_lock_is_seen_and_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let segment = directory.path().join("log/000000000001.rklog");
        fs::create_dir(directory.path().join("log")).unwrap();
        fs::write(&segment, b"").unwrap();
        assert!(!is_served(&segment));
        let lock = File::create(directory.path().join(LOCK)).unwrap();
        assert!(!is_served(&segment));
        lock.lock().unwrap();
        assert!(is_served(&segment));
        drop(lock);
        assert!(!is_served(&segment));
    }
}
