//! ZooKeeper's logs and snapshots of any bytes, to their readers and to import. Logs are made of raw bytes
//! or of records under right checksums.
//!
//! The laws: reading ends; offsets rise; a record is written again to the bytes that it was read from, a
//! snapshot that is not packed to the same items; import says the same twice, and what it makes can be walked.

use crate::contents::Contents;
use arbitrary::{Result, Unstructured};
use ringkeeper_engine::id::Zxid;
use ringkeeper_engine::zookeeper::FileName;
use ringkeeper_engine::zookeeper::log::{LogFile, RECORD_HEADER_BYTES, write_log_header, write_record};
use ringkeeper_engine::zookeeper::restore::restore;
use ringkeeper_engine::zookeeper::snapshot::{Item, Snapshot, SnapshotWriter};
use ringkeeper_engine::zookeeper::stream::Compression;

/// Bytes of a packed snapshot that are looked at when it is unpacked.
const ITEMS_MAX: usize = 10_000;
const ONE_RECORD_MAX: usize = 200;

/// Runs one input.
pub fn run(input: &[u8]) {
    let Some((&kind, rest)) = input.split_first() else { return };
    match kind % 4 {
        0 => read_log(rest),
        1 => read_snapshot(rest),
        _ => {
            let mut choices = Unstructured::new(rest);
            // Running out of bytes ends the making: what there is then is the shorter input's.
            let _ = make_log(&mut choices).map(|log| {
                read_log(&log);
                let snapshot = choices.take_rest();
                import(&[(FileName::Log(Zxid(1)), log), (FileName::Snapshot(Zxid(1)), snapshot.to_vec())]);
            });
        }
    }
}

fn make_log(choices: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let mut log = Vec::new();
    write_log_header(&mut log);
    for _ in 0..choices.int_in_range(0..=8)? {
        let length = choices.int_in_range(0..=ONE_RECORD_MAX)?;
        let bytes = choices.bytes(length.min(choices.len()))?;
        match choices.int_in_range(0..=7)? {
            0 => log.extend_from_slice(bytes),
            1 => log.resize(log.len() + length, 0),
            _ => write_record(bytes, &mut log),
        }
    }
    Ok(log)
}

fn read_log(file: &[u8]) {
    if let Ok(log) = LogFile::open(file) {
        let mut entries = log.entries();
        let mut reached = 0;
        for entry in entries.by_ref() {
            let Ok(entry) = entry.map_err(|fault| assert!(fault.offset <= file.len() as u64)) else {
                continue;
            };
            assert!(entry.offset >= reached, "offsets rise");
            let mut again = Vec::new();
            write_record(entry.transaction.bytes, &mut again);
            let place = entry.offset as usize..entry.offset as usize + again.len();
            assert_eq!(file.get(place.clone()), Some(&again[..]), "a record written again");
            assert!(again.len() > RECORD_HEADER_BYTES);
            reached = place.end as u64;
        }
        assert!(entries.end().is_some(), "an end is known");
    }
    import(&[(FileName::Log(Zxid(1)), file.to_vec())]);
}

fn read_snapshot(file: &[u8]) {
    if let Ok(mut snapshot) = Snapshot::open(file) {
        let mut items = 0;
        while items < ITEMS_MAX && snapshot.next().is_ok_and(|item| item.is_some()) {
            items += 1;
        }
        if items < ITEMS_MAX && Compression::of_file(file) == Compression::None {
            write_again(file);
        }
    }
    import(&[(FileName::Snapshot(Zxid(1)), file.to_vec())]);
}

/// Writes a snapshot that is whole again. Releases before 3.9 end without a last zxid, those before 3.6
/// without a digest, and what follows the last seal has no meaning.
fn write_again(file: &[u8]) {
    let Some((sessions, lists)) = count(file) else { return };
    let Ok(mut snapshot) = Snapshot::open(file) else { return };
    let mut writer = SnapshotWriter::new(Compression::None);
    let (mut sessions_left, mut lists_left) = (Some(sessions), Some(lists));
    while let Ok(Some(item)) = snapshot.next() {
        if let Some(count) = sessions_left.take() {
            writer.count(count);
        }
        if !matches!(item, Item::Session { .. })
            && let Some(count) = lists_left.take()
        {
            writer.count(count);
        }
        writer.item(&item);
    }
    if sessions_left.is_some() || lists_left.is_some() {
        return;
    }
    let mut again = writer.take_bytes();
    again.extend(writer.finish(&snapshot.trailer()));
    assert_eq!(items(&again), items(file), "a snapshot written again");
}

/// Sessions and lists, if the snapshot is whole.
fn count(file: &[u8]) -> Option<(usize, usize)> {
    let items = items(file)?;
    let of = |kind: &str| items.iter().filter(|item| item.starts_with(kind)).count();
    Some((of("Session"), of("Acl")))
}

/// The items of a snapshot as text, and what follows them, if it is whole.
fn items(file: &[u8]) -> Option<Vec<String>> {
    let mut snapshot = Snapshot::open(file).ok()?;
    let mut items = Vec::new();
    while let Some(item) = snapshot.next().ok()? {
        items.push(format!("{item:?}"));
    }
    items.push(format!("{:?}", snapshot.trailer()));
    Some(items)
}

fn import(files: &[(FileName, Vec<u8>)]) {
    let names: Vec<FileName> = files.iter().map(|(name, _)| *name).collect();
    let once = || {
        let Ok(restored) =
            restore(&names, 1, |number| Ok::<_, std::convert::Infallible>(files[number].1.clone()));
        restored.map(|restored| (Contents::of(&restored.database), restored.transactions)).map_err(
            |refusal| {
                let said = refusal.display(|number| format!("file {number}")).to_string();
                assert!(!said.is_empty());
                said
            },
        )
    };
    assert!(once() == once(), "import says the same twice");
}
