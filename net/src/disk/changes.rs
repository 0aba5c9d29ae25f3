//! Every call that changes a data directory, in one place: so a test sees all of them in their order and
//! makes of them each image that a crash can leave (`recorder`). The log's live writes go through the
//! ring instead; `SegmentFiles::write` stands for them.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

#[cfg(test)]
use super::recorder::{Call, record};

/// Makes an empty file of that name, in the place of what had it.
pub(super) fn create(path: &Path) -> io::Result<File> {
    #[cfg(test)]
    record(|| Call::Create(path.into()));
    File::options().create(true).truncate(true).write(true).open(path)
}

/// Opens a file that is there, to write over what is in it.
pub(super) fn open(path: &Path) -> io::Result<File> {
    File::options().write(true).open(path)
}

/// Writes all of `bytes`.
pub(super) fn write_at(file: &File, path: &Path, bytes: &[u8], offset: u64) -> io::Result<()> {
    #[cfg(test)]
    record(|| Call::Write { path: path.into(), offset, bytes: bytes.into() });
    let _ = path;
    file.write_all_at(bytes, offset)
}

/// Gives a file's space back.
pub(super) fn empty(file: &File, path: &Path) -> io::Result<()> {
    #[cfg(test)]
    record(|| Call::Create(path.into()));
    let _ = path;
    file.set_len(0)
}

/// Cuts a file that was something longer before.
pub(super) fn cut(file: &File, path: &Path, length: u64) -> io::Result<()> {
    #[cfg(test)]
    record(|| Call::Cut(path.into(), length));
    let _ = path;
    file.set_len(length)
}

/// fsync: bytes and length are durable then, the name is the directory's.
pub(super) fn sync(file: &File, path: &Path) -> io::Result<()> {
    #[cfg(test)]
    if record(|| Call::Sync(path.into())) {
        return Ok(());
    }
    let _ = path;
    file.sync_all()
}

/// fdatasync: as `sync`, for bytes within the file's length.
pub(super) fn sync_data(file: &File, path: &Path) -> io::Result<()> {
    #[cfg(test)]
    if record(|| Call::Sync(path.into())) {
        return Ok(());
    }
    let _ = path;
    file.sync_data()
}

/// Gives a file another name, in the place of what had it.
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    #[cfg(test)]
    record(|| Call::Rename(from.into(), to.into()));
    fs::rename(from, to)
}

/// Removes a file.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    #[cfg(test)]
    record(|| Call::Remove(path.into()));
    fs::remove_file(path)
}

/// Makes a directory; one that is there is none the worse.
pub(super) fn make_directory(path: &Path) -> io::Result<()> {
    #[cfg(test)]
    record(|| Call::MakeDirectory(path.into()));
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        made => made,
    }
}

/// Makes creations, renames and removals in a directory durable.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    #[cfg(test)]
    if record(|| Call::SyncDirectory(path.into())) {
        return Ok(());
    }
    File::open(path).and_then(|directory| directory.sync_all())
}
