//! ZooKeeper's path rules (`PathUtils.validatePath`), and how paths are cut.

/// The node above everything of the server's own.
pub const ZOOKEEPER: &str = "/zookeeper";
/// Holds limits and counts of the subtrees that have a quota.
pub const QUOTA: &str = "/zookeeper/quota";
/// Holds the ensemble's configuration.
pub const CONFIG: &str = "/zookeeper/config";

/// Nodes that can be neither deleted nor renamed.
pub fn is_special(path: &str) -> bool {
    matches!(path, "/" | ZOOKEEPER | QUOTA | CONFIG)
}

/// A path split at its last slash, if it has one: parent (`"/"` for a child of the root, as the
/// index names it) and name.
pub fn split(path: &str) -> Option<(&str, &str)> {
    let slash = path.rfind('/')?;
    Some((if slash == 0 { "/" } else { &path[..slash] }, &path[slash + 1..]))
}

/// The parent and the name of the node that a path is of, for paths that a node below the root can have:
/// the parent's path, a slash and a name. A node keeps its name alone, so under the path `//a` it would
/// be made and under `/a` be there.
pub fn place(path: &str) -> Option<(&str, &str)> {
    let above = |parent: &str| if parent == "/" { 0 } else { parent.len() };
    split(path).filter(|(parent, name)| !name.is_empty() && above(parent) + 1 + name.len() == path.len())
}

/// The index's name of a path: ZooKeeper's tree knows the root as `""` too.
pub fn normal(path: &str) -> &str {
    if path.is_empty() { "/" } else { path }
}

/// The path and every ancestor of it, nearest first, down to the root.
pub fn self_and_ancestors(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| if *path == "/" { None } else { split(path).map(|s| s.0) })
}

/// Whether a node may have this path.
pub fn is_valid(path: &str) -> bool {
    let Some(rest) = path.strip_prefix('/') else { return false };
    if is_plain(path.as_bytes()) {
        return true;
    }
    match is_valid_in_ascii(rest.as_bytes()) {
        Some(valid) => valid,
        None => rest.is_empty() || rest.split('/').all(is_valid_name),
    }
}

/// A byte in each of eight.
const fn each(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// The highest bit of each of eight bytes that is zero, and no other bit.
fn zeros(bytes: u64) -> u64 {
    !(((bytes & each(0x7f)) + each(0x7f)) | bytes) & each(0x80)
}

/// Whether all of a path that begins with a slash is what most paths are: ASCII that prints, no name empty and
/// none that begins with a dot. Eight bytes at a time, beside those that follow each of them.
fn is_plain(path: &[u8]) -> bool {
    let Some(last) = path.len().checked_sub(9) else { return false };
    let eight = |at: usize| u64::from_ne_bytes(path[at..at + 8].try_into().expect("eight bytes"));
    // The bit of each byte that prints: neither below a space nor DEL, nor above it.
    let printing =
        |bytes: u64| ((bytes | each(0x80)) - each(b' ')) & !((bytes & each(0x7f)) + each(1)) & !bytes;
    let (mut all_print, mut any_unlike) = (each(0x80), 0);
    for at in (0..last).step_by(8).chain([last]) {
        let (bytes, next) = (eight(at), eight(at + 1));
        // A dot and a slash differ in the lowest bit.
        let slash_or_dot = zeros((next ^ each(b'.')) & each(!1));
        any_unlike |= zeros(bytes ^ each(b'/')) & slash_or_dot;
        all_print &= printing(bytes);
    }
    all_print &= printing(eight(last + 1));
    all_print == each(0x80) && any_unlike == 0 && !path.ends_with(b"/")
}

/// Whether a path may be what follows its first slash, in one pass; `None` when it takes a look at
/// characters.
fn is_valid_in_ascii(rest: &[u8]) -> Option<bool> {
    let (mut length, mut dots) = (0, 0);
    let is_name = |length: usize, dots: usize| length > 0 && (dots < length || length > 2);
    for byte in rest {
        match byte {
            b'/' if !is_name(length, dots) => return Some(false),
            b'/' => (length, dots) = (0, 0),
            0x20..0x7f => (length, dots) = (length + 1, dots + usize::from(*byte == b'.')),
            _ => return None,
        }
    }
    Some(rest.is_empty() || is_name(length, dots))
}

/// Java checks UTF-16 units, so a character beyond the basic plane is a pair of surrogates, which
/// the rule forbids.
fn is_valid_name(name: &str) -> bool {
    let plain = |byte: u8| (0x20..0x7f).contains(&byte);
    let allowed = |c: char| !matches!(c, '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{e000}'..='\u{f8ff}' | '\u{fff0}'..);
    !matches!(name, "" | "." | "..") && (name.bytes().all(plain) || name.chars().all(allowed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_judged_as_zookeeper_judges_them() {
        for good in ["/", "/a", "/a/b", "/a b", "/.a", "/..a", "/a..", "/ä", "/\u{fdd0}", "/a.b"] {
            assert!(is_valid(good), "{good:?}");
        }
        let bad = ["", "a", "/a/", "//", "/a//b", "/.", "/..", "/a/./b", "/a/..", "/\u{0}", "/\u{1f}"];
        let names: Vec<String> =
            ["", ".", "..", "...", "a", "a.", "ä", "a long name", "a\u{7f}", "a\u{1f}", "~"]
                .map(|name| format!("/{name}"))
                .into();
        let pairs = || names.iter().flat_map(|a| names.iter().map(move |b| format!("{a}{b}")));
        for path in pairs().chain(pairs().flat_map(|a| pairs().map(move |b| format!("{a}{b}")))) {
            let slow = path[1..].split('/').all(is_valid_name);
            assert_eq!(is_valid(&path), slow, "{path:?}");
        }
        // Every byte at every place.
        for (length, byte) in (1..30).flat_map(|length| (0..0x80).map(move |byte| (length, byte))) {
            for at in 1..=length {
                let mut path = format!("/{}", "a".repeat(length)).into_bytes();
                path[at] = byte;
                let path = String::from_utf8(path).expect("ASCII");
                let slow = path[1..].split('/').all(is_valid_name);
                assert_eq!(is_valid(&path), slow, "{path:?}");
            }
        }
        for bad in bad.iter().chain(&["/\u{7f}", "/\u{9f}", "/\u{e000}", "/\u{f8ff}", "/\u{ffff}", "/😀"]) {
            assert!(!is_valid(bad), "{bad:?}");
        }
    }

    #[test]
    fn a_place_is_a_parents_path_a_slash_and_a_name() {
        assert_eq!(place("/a"), Some(("/", "a")));
        assert_eq!(place("/a/b"), Some(("/a", "b")));
        for none in ["", "/", "a", "//", "//a", "/a/"] {
            assert_eq!(place(none), None, "{none:?}");
        }
    }

    #[test]
    fn the_root_is_everyones_last_ancestor() {
        assert_eq!(self_and_ancestors("/a/b").collect::<Vec<_>>(), ["/a/b", "/a", "/"]);
        assert_eq!(self_and_ancestors("/").collect::<Vec<_>>(), ["/"]);
    }
}
