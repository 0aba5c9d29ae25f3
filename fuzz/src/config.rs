//! zoo.cfg as a file of any bytes. The input is the file, and behind a NUL what it may name: `myid` and the
//! dynamic configuration.
//!
//! The laws: no bytes panic; the same file means the same twice; what is refused says why, in one line with
//! a place of the file; and comments and line ends mean nothing.

use ringkeeper::config::{Config, ConfigError, File, Input, Notice, Origin, load};
use std::collections::BTreeMap;
use std::io;
use std::num::NonZeroUsize;
use std::path::Path;

type Loaded = Result<(Config, Vec<Notice>), Vec<ConfigError>>;

/// Runs one input.
pub fn run(input: &[u8]) {
    let (file, named) = match input.iter().position(|byte| *byte == 0) {
        Some(at) => (&input[..at], &input[at + 1..]),
        None => (input, &[][..]),
    };
    let first = read(file, named);
    let lines =
        file.split(|byte| *byte == b'\n').count() + file.iter().filter(|byte| **byte == b'\r').count();
    let first = shown(&first, lines as u32);
    assert_eq!(first, shown(&read(file, named), lines as u32), "the same twice");
    let commented = [b"# comment\n", file].concat();
    let moved = shown(&read(&commented, named), lines as u32 + 1);
    assert_eq!(first.is_ok(), moved.is_ok(), "a comment at the top changes nothing");
}

fn read(bytes: &[u8], named: &[u8]) -> Loaded {
    let environment = BTreeMap::new();
    let file = Some(File { name: "zoo.cfg", bytes });
    let reader = |_: &Path| -> io::Result<Vec<u8>> { Ok(named.to_vec()) };
    let cores_available = NonZeroUsize::MIN;
    load(&Input { file, environment: &environment, overrides: &[], cores_available, read: &reader })
}

/// What was loaded, as text; each fault and notice is one line, with a line of the file if it has one.
fn shown(loaded: &Loaded, lines: u32) -> Result<String, String> {
    let place = |origin: &Option<Origin>| {
        if let Some(Origin::Line { file, line }) = origin {
            assert!(!file.is_empty() && *line >= 1, "lines count from 1");
            assert!(&**file != "zoo.cfg" || *line <= lines + 1, "line {line} of {lines}");
        }
    };
    let one_line = |text: String| {
        assert!(!text.contains('\n'), "one line: {text:?}");
        text
    };
    match loaded {
        Ok((config, notices)) => {
            notices.iter().for_each(|notice| place(&notice.origin));
            let notices: Vec<String> = notices.iter().map(|notice| one_line(notice.to_string())).collect();
            Ok(format!("{config:?} {notices:?}"))
        }
        Err(errors) => {
            assert!(!errors.is_empty(), "a refusal has a reason");
            errors.iter().for_each(|error| place(&error.origin));
            Err(errors.iter().map(|error| one_line(error.to_string())).collect())
        }
    }
}
