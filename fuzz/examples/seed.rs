//! Makes seeds: `seed DIRECTORY`, a folder a target. The requests of the differential tests' scripts become
//! frames, whole connections and records; zoo.cfg files are written with the keys that are known; and the
//! checkpoints are those of our own writer. A real ZooKeeper, where Debian's is installed, plays a script, and
//! its logs and snapshots become seeds of the import.

use ringkeeper_engine::database::Database;
use ringkeeper_engine::id::{SessionId, Zxid};
use ringkeeper_engine::jute;
use ringkeeper_engine::jute::records::ConnectRequest;
use ringkeeper_engine::log::DatabaseId;
use ringkeeper_engine::snap::CheckpointWriter;
use ringkeeper_engine::tree::acl::AclList;
use ringkeeper_engine::tree::kept::KeptFault;
use ringkeeper_engine::zookeeper::FileName;
use ringkeeper_engine::zookeeper::export::{DigestFields, write_snapshot};
use ringkeeper_engine::zookeeper::stream::Compression;
use ringkeeper_tests::script::{Action, Field, Request, Run, Script};
use ringkeeper_tests::server::{Kind, Options, Server};
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// Longer ones cost the fuzzer more than they show it.
const SEED_BYTES_MAX: usize = 3000;
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/testdata/differential");

/// First bytes of inputs of `zookeeper_bytes`.
const LOG: u8 = 0;
const SNAPSHOT: u8 = 1;

struct Seeds {
    directory: PathBuf,
    count: usize,
}

impl Seeds {
    fn add(&mut self, target: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
        let folder = self.directory.join(target);
        fs::create_dir_all(&folder)?;
        self.count += 1;
        fs::write(folder.join(name), bytes)
    }
}

fn main() -> io::Result<()> {
    let directory = env::args().nth(1).map(PathBuf::from);
    let directory = directory.ok_or_else(|| io::Error::other("say where: seed DIRECTORY"))?;
    let mut seeds = Seeds { directory, count: 0 };
    for entry in fs::read_dir(SCRIPTS)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "zkt") {
            from_script(&mut seeds, &path)?;
        }
    }
    checkpoint(&mut seeds)?;
    under_way(&mut seeds)?;
    zookeeper(&mut seeds)?;
    configurations(&mut seeds)?;
    println!("{} seeds in {}", seeds.count, seeds.directory.display());
    Ok(())
}

/// A request's record; a path that only a run knows is left as it is written.
fn body(request: &Request) -> Vec<u8> {
    let mut out = Vec::new();
    for field in &request.fields {
        match field {
            Field::Int(value) => out.extend_from_slice(&value.to_be_bytes()),
            Field::Long(value) => out.extend_from_slice(&value.to_be_bytes()),
            Field::Zxid(_) => out.extend_from_slice(&[0; 8]),
            Field::Boolean(value) => out.push(u8::from(*value)),
            Field::Raw(bytes) => out.extend_from_slice(bytes),
            Field::Text(text) => match &text.bytes {
                None => out.extend_from_slice(&(-1i32).to_be_bytes()),
                Some(bytes) => {
                    out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
                    out.extend_from_slice(bytes);
                }
            },
        }
    }
    out
}

fn from_script(seeds: &mut Seeds, path: &Path) -> io::Result<()> {
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let script = Script::parse(&fs::read_to_string(path)?).map_err(io::Error::other)?;
    let mut connections: Vec<&str> = Vec::new();
    // See `requests::frames` and `client_frames` for what the first bytes mean.
    let (mut requests, mut stream) = (vec![1], vec![255, 1]);
    stream.extend(framed(&handshake()));
    let mut part = 0;
    for step in &script.steps {
        let Action::Requests(list) = &step.action else { continue };
        let known = connections.iter().position(|connection| *connection == step.connection);
        let session = known.unwrap_or_else(|| {
            connections.push(&step.connection);
            connections.len() - 1
        });
        for (number, request) in list.iter().enumerate() {
            let body = body(request);
            if body.len() > SEED_BYTES_MAX / 2 {
                continue;
            }
            requests.extend_from_slice(&[0, session as u8, request.op as u8]);
            requests.extend_from_slice(&(body.len() as u16).to_be_bytes());
            requests.extend_from_slice(&body);
            if number + 1 == list.len() {
                requests.push(5);
            }
            let header = [request.xid.unwrap_or(1), request.op].map(i32::to_be_bytes).concat();
            stream.extend(framed(&[header, body.clone()].concat()));
            if part < 40 {
                let record = [&[(part % 37) as u8, 0][..], &body].concat();
                seeds.add("jute_records", &format!("{name}-{part}"), &record)?;
            }
            part += 1;
        }
        if requests.len() > SEED_BYTES_MAX {
            requests.push(7);
            seeds.add("requests", &format!("{name}-{part}"), &requests)?;
            seeds.add("client_frames", &format!("{name}-{part}"), &stream)?;
            requests.truncate(1);
            stream.truncate(2);
        }
    }
    seeds.add("requests", &name, &requests)?;
    seeds.add("client_frames", &name, &stream)
}

fn handshake() -> Vec<u8> {
    let request = ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: 0,
        time_out: 10_000,
        session_id: 0,
        passwd: Some(&[0; 16]),
    };
    [jute::to_bytes(&request), vec![0]].concat()
}

fn framed(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat()
}

/// The tree of a new server with one session.
fn checkpoint(seeds: &mut Seeds) -> io::Result<()> {
    let database = Database::new(1);
    let mut writer = CheckpointWriter::new(DatabaseId(1), Zxid(1));
    let sessions = [(SessionId(1), 5000)];
    let reader = database.tree.reader();
    let none = |_: &mut CheckpointWriter| Ok::<(), KeptFault>(());
    let newest = ringkeeper_engine::checkpoint::write(&mut writer, Zxid(1), &sessions, &reader, none);
    let newest = newest.map_err(io::Error::other)?;
    let file: Vec<u8> = writer.finish(newest).flatten().collect();
    seeds.add("checkpoint_bytes", "new-server", &[&[0][..], &file].concat())
}

/// Nodes that come, go and come again between two nodes of a checkpoint, which catches the last of them.
fn under_way(seeds: &mut Seeds) -> io::Result<()> {
    const APPLY_ALL: u8 = 5;
    const CHECKPOINT: u8 = 7;
    let request = |op: u8, body: Vec<u8>| {
        let header = [&[0, 0, op][..], &(body.len() as u16).to_be_bytes()].concat();
        [header, body, vec![APPLY_ALL]].concat()
    };
    let create = |path: &str, flags: i32| {
        let list = AclList::open().bytes;
        request(1, [&framed(path.as_bytes())[..], &framed(b"x"), &list, &flags.to_be_bytes()].concat())
    };
    let delete = |path: &str| request(2, [framed(path.as_bytes()), vec![255; 4]].concat());
    let again = [create("/p/a", 0), create("/p/a/b", 0), delete("/p/a/b"), delete("/p/a"), create("/p/a", 0)];
    let ephemeral = [create("/p/e", 1), delete("/p/e"), create("/p/e", 0), create("/p/s-", 3)];
    for (name, steps) in [("again", again.concat()), ("ephemeral", ephemeral.concat())] {
        let input = [vec![1], create("/p", 0), vec![CHECKPOINT], steps].concat();
        seeds.add("requests", &format!("under-way-{name}"), &input)?;
    }
    Ok(())
}

fn configurations(seeds: &mut Seeds) -> io::Result<()> {
    let standalone = "tickTime=2000\ninitLimit=10\nsyncLimit=5\ndataDir=/var/lib/zookeeper\nclientPort=2181\n\
                      autopurge.purgeInterval=1\n4lw.commands.whitelist=stat, ruok\njute.maxbuffer=4194304\n";
    let ensemble = "dataDir=/data\nclientPortAddress=127.0.0.1\nserver.1=a:2888:3888;2181\n\
                    server.2=b:2888:3888:observer;0.0.0.0:2181\ngroup.1=1:2\nweight.1=3\n\
                    dynamicConfigFile=/data/zoo.cfg.dynamic\0server.3=c:2888:3888:participant|d:1:2;2181\n";
    let odd = "# comment\\\n! another\n a\\u0062c = d\\\n   e\r\ntickTime 2s\nsnapCount:\n\\\n=\n\
               dataDir=/a\\n\\u00e4\\\n  b\nt\\u0069ckTime = 3\n";
    for (name, text) in [("standalone", standalone), ("ensemble", ensemble), ("odd", odd)] {
        seeds.add("config", name, text.as_bytes())?;
    }
    for (number, line) in ringkeeper::config::describe_keys("").enumerate() {
        let key = line.split_whitespace().next().unwrap_or_default();
        seeds.add("config", &format!("key-{number}"), format!("dataDir=/d\n{key}=1\n").as_bytes())?;
    }
    Ok(())
}

/// Logs and snapshots of a real ZooKeeper that has played the scripts, and snapshots of ours, packed.
fn zookeeper(seeds: &mut Seeds) -> io::Result<()> {
    let mut database = Database::new(1);
    database.sessions.insert(SessionId(7), 5000);
    for (name, compression) in
        [("plain", Compression::None), ("gzip", Compression::Gzip), ("snappy", Compression::Snappy)]
    {
        let mut file = vec![SNAPSHOT];
        write_snapshot(&database, compression, DigestFields::Written, |bytes| {
            file.extend_from_slice(bytes);
            Ok::<(), io::Error>(())
        })?;
        seeds.add("zookeeper_bytes", &format!("snapshot-{name}"), &file)?;
    }
    let mut server = match Server::start(Kind::debian(), Options::default()) {
        Ok(server) => server,
        Err(error) => {
            println!("no seeds of a real ZooKeeper: {error}");
            return Ok(());
        }
    };
    let script = fs::read_to_string(Path::new(SCRIPTS).join("multi.zkt"))?;
    Run::play(&Script::parse(&script).map_err(io::Error::other)?, &mut server);
    server.restart()?;
    server.stop()?;
    for entry in fs::read_dir(server.data_dir.join("version-2"))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let kind = match FileName::parse(&name) {
            Some(FileName::Log(_)) => LOG,
            Some(FileName::Snapshot(_)) => SNAPSHOT,
            None => continue,
        };
        let mut file = fs::read(&path)?;
        // A log is filled with zeros up to its length.
        let end = file.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        file.truncate(end);
        seeds.add("zookeeper_bytes", &format!("real-{name}"), &[&[kind][..], &file].concat())?;
    }
    Ok(())
}
