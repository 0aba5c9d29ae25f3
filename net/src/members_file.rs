//! The files that keep the ensemble's configuration, as ZooKeeper keeps it: `zoo.cfg` names the dynamic file
//! of the configuration in force, and beside it lies what was proposed and is not committed
//! (`QuorumPeerConfig.writeDynamicConfig`, `editStaticConfig`).
//!
//! Each file is written beside its place, made durable and renamed, the dynamic file before the one that
//! names it: a start finds the one or the other configuration, never half of it. Only a change of the ensemble
//! is written, by the replica core itself, which has nothing better to do meanwhile.

use ringkeeper_engine::id::ServerId;
use ringkeeper_quorum::members::Members;
use ringkeeper_quorum::reconfig;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Keeps the configuration in force.
///
/// # Errors
/// A file could not be written; which.
pub fn keep(config_file: &Path, members: &Members, me: ServerId) -> io::Result<()> {
    let name = text_of(config_file)?;
    let dynamic = PathBuf::from(reconfig::dynamic_file_name(name, members));
    replace(&dynamic, &reconfig::dynamic_file(members, true))?;
    let before = fs::read_to_string(config_file).map_err(|error| named(config_file, &error))?;
    let client_is_dynamic = members.servers().get(&me).is_some_and(|member| member.client.is_some());
    let after = reconfig::static_file(&before, text_of(&dynamic)?, client_is_dynamic);
    if after != before {
        replace(config_file, &after)?;
    }
    let next = PathBuf::from(reconfig::next_dynamic_file_name(name));
    // What was proposed behind this one is still to come.
    let proposed = fs::read_to_string(&next).ok().and_then(|text| Members::parse(&text).ok());
    if proposed.is_some_and(|proposed| proposed.version() > members.version()) {
        return Ok(());
    }
    match fs::remove_file(&next) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(named(&next, &error)),
        _ => Ok(()),
    }
}

/// Keeps a configuration that was proposed.
///
/// # Errors
/// The file could not be written; which.
pub fn keep_next(config_file: &Path, members: &Members) -> io::Result<()> {
    let next = PathBuf::from(reconfig::next_dynamic_file_name(text_of(config_file)?));
    replace(&next, &reconfig::dynamic_file(members, false))
}

fn text_of(path: &Path) -> io::Result<&str> {
    path.to_str().ok_or_else(|| named(path, &io::Error::other("its name is no UTF-8")))
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".tmp");
    let write = || {
        let mut file = File::create(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
    };
    write().map_err(|error| named(path, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_in_force_is_named_by_the_static_file_and_what_was_proposed_goes() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("zoo.cfg");
        fs::write(&file, "tickTime=2000\nclientPort=2181\nserver.1=a:1:2;2181\n").expect("it is written");
        let members = Members::parse("server.1=a:1:2;2181\nserver.2=b:1:2\nversion=100000000");
        let members = members.expect("it is a configuration");
        keep_next(&file, &members).expect("it is written");
        let next = directory.path().join("zoo.cfg.dynamic.next");
        assert!(fs::read_to_string(&next).expect("it is there").ends_with("version=100000000"));
        keep(&file, &members, ServerId(1)).expect("it is written");
        let dynamic = directory.path().join("zoo.cfg.dynamic.100000000");
        let lines = "server.1=a:1:2:participant;0.0.0.0:2181\nserver.2=b:1:2:participant";
        assert_eq!(fs::read_to_string(&dynamic).expect("it is there"), lines);
        let pointer = format!("tickTime=2000\ndynamicConfigFile={}\n", dynamic.display());
        assert_eq!(fs::read_to_string(&file).expect("it is there"), pointer);
        assert!(!next.exists());
        // What is proposed behind the one that comes into force waits for its turn.
        let version = |version| members.with_version(version);
        keep_next(&file, &version(9 << 32)).expect("it is written");
        keep(&file, &version(8 << 32), ServerId(1)).expect("it is written");
        assert!(next.exists());
        keep(&file, &version(9 << 32), ServerId(1)).expect("it is written");
        assert!(!next.exists());
    }
}
