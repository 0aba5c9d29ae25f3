//! What the kernel knows of this process and its machine. Read when an operator asks, a few small
//! files of `/proc` and the names in the data directories; what cannot be read is said to be unknown.

use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// ZooKeeper's word for a value that it cannot know.
const UNKNOWN: &str = "<NA>";

/// What Java's properties are called in `envi`; none has a meaning here.
const JAVA_PROPERTIES: [&str; 7] = [
    "java.version",
    "java.vendor",
    "java.home",
    "java.class.path",
    "java.library.path",
    "java.io.tmpdir",
    "java.compiler",
];

/// File descriptors of this process; -1 is unknown, as ZooKeeper's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileDescriptors {
    /// Open ones.
    pub open: i64,
    /// How many there may be.
    pub max: i64,
}

impl FileDescriptors {
    /// As of now.
    pub fn read() -> Self {
        // One of them is the directory that is being read.
        let open = fs::read_dir("/proc/self/fd").map_or(-1, |entries| entries.count() as i64 - 1);
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        FileDescriptors { open, max: soft_limit(&limits, "Max open files").unwrap_or(-1) }
    }
}

/// The soft limit of that name in `/proc/PID/limits`.
fn soft_limit(limits: &str, name: &str) -> Option<i64> {
    let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(i64::MAX),
        number => number.parse().ok(),
    }
}

/// Lengths of all files, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DirectorySizes {
    /// Of checkpoints.
    pub data: u64,
    /// Of the log.
    pub log: u64,
}

impl DirectorySizes {
    /// As of now; what cannot be read counts nothing.
    pub fn read(data: &Path, log: &Path) -> Self {
        DirectorySizes { data: bytes_under(data), log: bytes_under(log) }
    }
}

fn bytes_under(directory: &Path) -> u64 {
    let mut sum = 0;
    let mut directories = vec![directory.to_path_buf()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => directories.push(entry.path()),
                Ok(metadata) if metadata.is_file() => sum += metadata.len(),
                _ => {}
            }
        }
    }
    sum
}

/// ZooKeeper's environment, in its order. The server's memory is the machine's: it has no heap of a
/// fixed size.
pub fn environment(version: &str) -> Vec<(&'static str, String)> {
    let proc = |path: &str| fs::read_to_string(path).map_or(UNKNOWN.into(), |text| text.trim().to_owned());
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let megabytes = |name| megabytes_of(&memory, name).map_or(UNKNOWN.into(), |number| format!("{number}MB"));
    let (user, home) = user().unwrap_or((UNKNOWN.into(), UNKNOWN.into()));
    let directory = env::current_dir().map_or(UNKNOWN.into(), |path| path.display().to_string());
    let mut list =
        vec![("zookeeper.version", version.to_owned()), ("host.name", proc("/proc/sys/kernel/hostname"))];
    list.extend(JAVA_PROPERTIES.map(|name| (name, UNKNOWN.to_owned())));
    list.extend([
        ("os.name", "Linux".to_owned()),
        ("os.arch", java_architecture(env::consts::ARCH).to_owned()),
        ("os.version", proc("/proc/sys/kernel/osrelease")),
        ("user.name", user),
        ("user.home", home),
        ("user.dir", directory),
        ("os.memory.free", megabytes("MemAvailable:")),
        ("os.memory.max", megabytes("MemTotal:")),
        ("os.memory.total", megabytes("MemTotal:")),
    ]);
    list
}

/// Java's name for an architecture.
fn java_architecture(name: &str) -> &str {
    if name == "x86_64" { "amd64" } else { name }
}

fn megabytes_of(memory: &str, name: &str) -> Option<u64> {
    let line = memory.lines().find_map(|line| line.strip_prefix(name))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes / 1024)
}

/// Name and home of the user that this process is.
fn user() -> Option<(String, String)> {
    let uid = fs::metadata("/proc/self").ok()?.uid();
    user_of(&fs::read_to_string("/etc/passwd").ok()?, uid)
}

fn user_of(passwd: &str, uid: u32) -> Option<(String, String)> {
    passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let &[name, _, number, _, _, home, ..] = &fields[..] else { return None };
        (number.parse() == Ok(uid)).then(|| (name.to_owned(), home.to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn an_open_file_is_counted() {
        let before = FileDescriptors::read();
        let files: Vec<File> = (0..50).map(|_| File::open("/proc/self/limits").unwrap()).collect();
        let after = FileDescriptors::read();
        // Other tests open and close files meanwhile, but not that many.
        assert!(after.open > before.open + 25, "{before:?} {after:?} {}", files.len());
        assert!(after.max >= after.open, "{after:?}");
    }

    #[test]
    fn limits_are_read_by_name() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max processes             unlimited            unlimited            processes \n\
                      Max open files            1024                 524288               files     \n";
        assert_eq!(soft_limit(limits, "Max open files"), Some(1024));
        assert_eq!(soft_limit(limits, "Max processes"), Some(i64::MAX));
        assert_eq!(soft_limit(limits, "Max locked memory"), None);
    }

    #[test]
    fn sizes_are_those_of_all_files_below() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("snap")).unwrap();
        fs::write(directory.path().join("snap/a"), [0; 100]).unwrap();
        fs::write(directory.path().join("b"), [0; 7]).unwrap();
        let absent = directory.path().join("absent");
        assert_eq!(DirectorySizes::read(directory.path(), &absent), DirectorySizes { data: 107, log: 0 });
    }

    #[test]
    fn the_environment_has_zookeepers_keys_in_its_order_and_no_empty_value() {
        let list = environment("3.9.5-x");
        let keys: Vec<&str> = list.iter().map(|(key, _)| *key).collect();
        let expected = "zookeeper.version host.name java.version java.vendor java.home java.class.path \
                        java.library.path java.io.tmpdir java.compiler os.name os.arch os.version \
                        user.name user.home user.dir os.memory.free os.memory.max os.memory.total";
        assert_eq!(keys.join(" "), expected);
        assert!(list.iter().all(|(_, value)| !value.is_empty() && !value.contains('\n')), "{list:?}");
        assert_eq!(megabytes_of("MemTotal:        8000000 kB\n", "MemTotal:"), Some(7812));
    }

    #[test]
    fn a_user_is_found_by_number() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nbroken\nzk:x:101:102::/var/lib/zk:/bin/sh\n";
        assert_eq!(user_of(passwd, 101), Some(("zk".into(), "/var/lib/zk".into())));
        assert_eq!(user_of(passwd, 7), None);
    }
}
