//! The words of `ringkeeper log` and `ringkeeper snapshot`, with their help.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use ringkeeper_engine::id::{SessionId, Zxid};

use super::transaction::Kind;

const EXIT_CODES: &str = "Exit codes: 0 all is whole; 1 something is damaged; 2 it could not be done.\n\
    An incomplete write at a log's end is no damage: it was never acknowledged, and a start leaves it out.";

const COMPARE_EXIT_CODES: &str = "Exit codes: 0 they are equal; 1 they differ; 2 one is damaged, or it could \
    not be done.";

const FILES: &str = "FILE is a segment of Ringkeeper (*.rklog) or a log of ZooKeeper (log.*). A directory stands \
    for all logs in it: the data directory, its log folder, ZooKeeper's dataDir or dataLogDir, or its \
    version-2. Nothing is written or locked: a running server's directory may be read.";

const SNAPSHOTS: &str = "FILE is a checkpoint of Ringkeeper (*.rksnap) or a snapshot of ZooKeeper (snapshot.*, \
    plain, gzip or snappy). A directory stands for the newest in it. Nothing is written or locked: a running \
    server's directory may be read.";

/// What `ringkeeper log` does.
#[derive(Debug, Subcommand)]
pub enum LogCommand {
    /// Print the transactions, one a line.
    #[command(
        long_about = format!("Print the transactions, one a line; what a multi did stands under it.\n\n{FILES}\n\n\
            Times are in UTC. Lines that begin with # are about the files: where each begins and ends, and what \
            is damaged; and what a batch says to be committed, where that is news. With --json each line is a \
            JSON value whose `type` is file, batch, transaction, damage or end. What a damaged part still says is marked `suspect`."),
        after_help = format!("Examples:\n  \
            ringkeeper log dump ringkeeper-data\n  \
            ringkeeper log dump --data 000000000001.rklog | head\n  \
            ringkeeper log dump --from 0x100000005 --to 0x10000000f /var/lib/zookeeper\n  \
            ringkeeper log dump --path /config --op setData,delete version-2/log.100000001\n  \
            ringkeeper log dump --session 0x100000000000001 ringkeeper-data\n  \
            ringkeeper log dump --json ringkeeper-data | jq -r 'select(.type==\"transaction\") | .time'\n\n\
            {EXIT_CODES}")
    )]
    Dump(LogDumpArgs),
    /// Check every byte that a checksum covers, and that nothing is missing between the files.
    #[command(
        long_about = format!("Check every byte that a checksum covers, that each transaction can be read, and that \
            nothing is missing between the files. Of a data directory of Ringkeeper, also what it keeps twice: \
            its database's id, how far its log is known to be durable (mark), its epochs.\n\n{FILES}"),
        after_help = format!("Examples:\n  \
            ringkeeper log verify ringkeeper-data\n  \
            ringkeeper log verify version-2/log.100000001\n  \
            ringkeeper log verify --json ringkeeper-data | jq -c 'select(.type==\"damage\")'\n\n\
            {EXIT_CODES}")
    )]
    Verify(LogFiles),
    /// Count: operations, sizes, batches, padding, transactions a second.
    #[command(
        long_about = format!("Count transactions by operation, their sizes, batches and padding, the time that they \
            span and how many came a second. What is damaged is left out, and said. Of a data directory of \
            Ringkeeper, also what it keeps twice: its database's id, its mark, its epochs.\n\n{FILES}"),
        after_help = format!("Examples:\n  \
            ringkeeper log stats ringkeeper-data\n  \
            ringkeeper log stats --path /kafka version-2\n  \
            ringkeeper log stats --json ringkeeper-data | jq .operations\n\n\
            {EXIT_CODES}")
    )]
    Stats(LogStatsArgs),
}

/// Which logs, and how to print.
#[derive(Debug, Args)]
pub struct LogFiles {
    /// Logs, or directories of them.
    #[arg(required = true, value_name = "FILE-or-DIR")]
    pub files: Vec<PathBuf>,
    /// One JSON value a line.
    #[arg(long)]
    pub json: bool,
}

/// Which transactions.
#[derive(Clone, Debug, Default, Args)]
pub struct TransactionFilter {
    /// From this zxid on (0x for hexadecimal).
    #[arg(long, value_name = "ZXID", value_parser = zxid)]
    pub from: Option<Zxid>,
    /// Up to this zxid, itself included.
    #[arg(long, value_name = "ZXID", value_parser = zxid)]
    pub to: Option<Zxid>,
    /// Of this session (0x for hexadecimal).
    #[arg(long, value_name = "ID", value_parser = session)]
    pub session: Option<SessionId>,
    /// That name this path or one below it, also inside a multi or a closeSession.
    #[arg(long, value_name = "PATH", value_parser = path)]
    pub path: Option<String>,
    /// Of these operations, also inside a multi.
    #[arg(long, value_name = "NAME", value_delimiter = ',', ignore_case = true)]
    pub op: Vec<Kind>,
}

/// Options of `log dump`.
#[derive(Debug, Args)]
pub struct LogDumpArgs {
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would show the docs as help")]
    pub files: LogFiles,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would show the docs as help")]
    pub filter: TransactionFilter,
    /// Print data: as text where it is some and as base64 where not, or always as base64.
    #[arg(long, value_name = "AS", num_args = 0..=1, require_equals = true, default_missing_value = "text")]
    pub data: Option<DataAs>,
}

/// Options of `log stats`.
#[derive(Debug, Args)]
pub struct LogStatsArgs {
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would show the docs as help")]
    pub files: LogFiles,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would show the docs as help")]
    pub filter: TransactionFilter,
}

/// How data is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DataAs {
    /// As text where it is UTF-8 without control characters, else as base64.
    Text,
    /// Always as base64.
    Base64,
}

/// What `ringkeeper snapshot` does.
#[derive(Debug, Subcommand)]
pub enum SnapshotCommand {
    /// Print every znode and session.
    #[command(
        long_about = format!("Print every znode with its Stat and ACL, in the order of the file, then the \
            sessions.\n\n{SNAPSHOTS}\n\n\
            Times are in UTC. cversion is the number that is stored: it counts creations of children alone. \
            Lines that begin with # are about the file. With --json each line is a JSON value whose `type` is \
            file, node, session, damage or end. What a damaged part still says is marked `suspect`."),
        after_help = format!("Examples:\n  \
            ringkeeper snapshot dump ringkeeper-data\n  \
            ringkeeper snapshot dump --path /config --data snapshot.100000005\n  \
            ringkeeper snapshot dump --session 0x100000000000001 ringkeeper-data\n  \
            ringkeeper snapshot dump --from 0x100000001 0000000100000005.rksnap\n  \
            ringkeeper snapshot dump --json ringkeeper-data | jq -r 'select(.dataLength > 1000) | .path'\n\n\
            {EXIT_CODES}")
    )]
    Dump(SnapshotDumpArgs),
    /// Check every byte that a checksum covers, and that each node has its parent.
    #[command(
        long_about = format!("Check every byte that a checksum covers, that each record can be read, and that each \
            node comes behind its parent. Of a directory, all snapshots are checked.\n\n{SNAPSHOTS}"),
        after_help = format!("Examples:\n  \
            ringkeeper snapshot verify ringkeeper-data\n  \
            ringkeeper snapshot verify version-2/snapshot.100000005\n  \
            ringkeeper snapshot verify --json ringkeeper-data | jq -c 'select(.type==\"damage\")'\n\n\
            {EXIT_CODES}")
    )]
    Verify(SnapshotFiles),
    /// Count nodes and bytes, in all, by depth, and below each prefix.
    #[command(
        long_about = format!("Count nodes and bytes of data, in all, by depth, and below each node that has \
            children; list the largest nodes and those with the most children.\n\n{SNAPSHOTS}"),
        after_help = format!("Examples:\n  \
            ringkeeper snapshot summary ringkeeper-data\n  \
            ringkeeper snapshot summary --depth 3 --top 20 snapshot.100000005\n  \
            ringkeeper snapshot summary --path /kafka --depth 0 ringkeeper-data\n  \
            ringkeeper snapshot summary --json ringkeeper-data | jq '.prefixes[:5]'\n\n\
            {EXIT_CODES}")
    )]
    Summary(SnapshotSummaryArgs),
    /// Say what two snapshots differ in.
    #[command(
        long_about = format!("Print the nodes and sessions that only A has, that only B has, and those that differ, \
            with what differs: data, Stat, ACL. Formats may differ too. The first is held in memory.\n\n\
            With --bytes or --nodes, subtrees are compared instead: those are printed whose data differs by more \
            than so many bytes, or whose number of nodes by more than so many.\n\n{SNAPSHOTS}"),
        after_help = format!("Examples:\n  \
            ringkeeper snapshot compare snapshot.100000005 snapshot.200000001\n  \
            ringkeeper snapshot compare --ignore stat,sessions old/version-2 ringkeeper-data\n  \
            ringkeeper snapshot compare --path /config --data A.rksnap B.rksnap\n  \
            ringkeeper snapshot compare --bytes 1000 --nodes 10 A.rksnap B.rksnap\n  \
            ringkeeper snapshot compare --json A B | jq -r 'select(.in==\"b\") | .path'\n\n\
            {COMPARE_EXIT_CODES}")
    )]
    Compare(SnapshotCompareArgs),
}

/// Which snapshots, and how to print.
#[derive(Debug, Args)]
pub struct SnapshotFiles {
    /// Snapshots, or directories of them.
    #[arg(required = true, value_name = "FILE-or-DIR")]
    pub files: Vec<PathBuf>,
    /// One JSON value a line.
    #[arg(long)]
    pub json: bool,
}

/// Options of `snapshot dump`.
#[derive(Debug, Args)]
pub struct SnapshotDumpArgs {
    /// A snapshot, or a directory of them.
    #[arg(value_name = "FILE-or-DIR")]
    pub file: PathBuf,
    /// One JSON value a line.
    #[arg(long)]
    pub json: bool,
    /// Nodes whose last change (of data, or of children) is of this zxid or later.
    #[arg(long, value_name = "ZXID", value_parser = zxid)]
    pub from: Option<Zxid>,
    /// Nodes whose last change is of this zxid or earlier.
    #[arg(long, value_name = "ZXID", value_parser = zxid)]
    pub to: Option<Zxid>,
    /// This session and its ephemeral nodes (0x for hexadecimal).
    #[arg(long, value_name = "ID", value_parser = session)]
    pub session: Option<SessionId>,
    /// This node and those below it.
    #[arg(long, value_name = "PATH", value_parser = path)]
    pub path: Option<String>,
    /// Print data: as text where it is some and as base64 where not, or always as base64.
    #[arg(long, value_name = "AS", num_args = 0..=1, require_equals = true, default_missing_value = "text")]
    pub data: Option<DataAs>,
}

/// Options of `snapshot summary`.
#[derive(Debug, Args)]
pub struct SnapshotSummaryArgs {
    /// A snapshot, or a directory of them.
    #[arg(value_name = "FILE-or-DIR")]
    pub file: PathBuf,
    /// A JSON value.
    #[arg(long)]
    pub json: bool,
    /// The node that the summary begins at.
    #[arg(long, value_name = "PATH", default_value = "/", value_parser = path)]
    pub path: String,
    /// How many levels below it are listed; 0 lists all. What is counted stays the same.
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub depth: usize,
    /// How many of the largest nodes, and of those with most children, are listed.
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub top: usize,
}

/// Options of `snapshot compare`.
#[derive(Debug, Args)]
pub struct SnapshotCompareArgs {
    /// A snapshot, or a directory of them.
    #[arg(value_name = "A")]
    pub a: PathBuf,
    /// Another.
    #[arg(value_name = "B")]
    pub b: PathBuf,
    /// One JSON value a line.
    #[arg(long)]
    pub json: bool,
    /// This node and those below it.
    #[arg(long, value_name = "PATH", value_parser = path)]
    pub path: Option<String>,
    /// What is not compared.
    #[arg(long, value_name = "WHAT", value_delimiter = ',')]
    pub ignore: Vec<Ignore>,
    /// Compare subtrees; print those whose data differs by more than so many bytes.
    #[arg(long, value_name = "N")]
    pub bytes: Option<u64>,
    /// Compare subtrees; print those that differ by more than so many nodes.
    #[arg(long, value_name = "N")]
    pub nodes: Option<u64>,
    /// Print data that differs: as text where it is some and as base64 where not, or always as base64.
    #[arg(long, value_name = "AS", num_args = 0..=1, require_equals = true, default_missing_value = "text")]
    pub data: Option<DataAs>,
}

/// What a comparison leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Ignore {
    /// The data of nodes.
    Data,
    /// Their zxids, times and versions.
    Stat,
    /// Their access control lists.
    Acl,
    /// Ephemeral nodes.
    Ephemerals,
    /// Sessions.
    Sessions,
}

fn number(text: &str) -> Result<u64, String> {
    let parsed = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hexadecimal) => u64::from_str_radix(hexadecimal, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| format!("expected a number, in decimal or with 0x in hexadecimal, found `{text}`"))
}

fn zxid(text: &str) -> Result<Zxid, String> {
    number(text).map(Zxid)
}

fn session(text: &str) -> Result<SessionId, String> {
    number(text).map(|id| SessionId(id as i64))
}

fn path(text: &str) -> Result<String, String> {
    if !text.starts_with('/') {
        return Err(format!("expected a path that begins with /, found `{text}`"));
    }
    let trimmed = text.trim_end_matches('/');
    Ok(if trimmed.is_empty() { "/" } else { trimmed }.to_owned())
}
