//! What a server answered, decoded and made comparable.
//!
//! Everything is compared as it is, except what two servers cannot share:
//!
//! - **zxids** become ranks among the transactions that the run has shown (in Stats, in the replies
//!   of writes that succeeded, after new sessions). ZooKeeper gives a failed write a zxid, Ringkeeper
//!   does not; so a header's zxid after a failure is the rank of the newest shown transaction
//!   before it, marked `~`. Without a failure since that transaction, the zxid must be its own.
//! - **times** must be a function of the transaction: `t` if the same transaction always shows the
//!   same time, within the run's span; the time itself is printed if not.
//! - **session ids** become the name of the connection that was granted them.
//! - **passwords** become their length, and whether it is the one granted before.
//! - **children and other sets** are sorted; so are the events of one step that ends a session,
//!   whose ephemeral nodes go in no particular order.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::ops::Range;

use crate::script::{Action, EVENTS, Item, Run, Script};
use crate::wire::{ConnectResponse, DecodeError, Decoder, error_name, op};

/// How far outside the run's span a transaction's time may lie, for clocks of another process.
const CLOCK_SLACK_MS: i64 = 2_000;

/// Data longer than this is printed as its length and a checksum.
const DATA_SHOWN_MAX: usize = 120;

/// One line of a transcript.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The step's index in the script.
    pub step: usize,
    /// What was observed, without an event's zxid.
    pub text: String,
    /// An event's header zxid: `-1`, or a rank.
    pub event_zxid: Option<String>,
}

/// A part of a line that may need the whole run to be printed.
#[derive(Clone, Debug)]
enum Token {
    Text(String),
    /// A header's zxid; loose if transactions may have come that the run has not shown.
    Header {
        zxid: i64,
        loose: bool,
    },
    /// A zxid out of a Stat.
    Zxid(i64),
    /// The time that the transaction `zxid` gave.
    Time {
        zxid: i64,
        at_ms: i64,
    },
    Owner(i64),
}

#[derive(Clone, Debug)]
struct Entry {
    step: usize,
    tokens: Vec<Token>,
    event_zxid: Option<Token>,
}

/// Decodes and normalises a run.
pub fn transcript(script: &Script, run: &Run) -> Vec<Line> {
    let mut reader = Reader::default();
    for record in &run.records {
        // Where the servers are known to differ, one may have failed and the other not.
        if script.steps.get(record.step).is_some_and(|step| step.known.is_some()) {
            reader.differs = true;
        } else if reader.differs {
            reader.loose = true;
            reader.differs = false;
        }
        reader.read(record.step, &record.connection, &record.item);
    }
    let mut lines = reader.lines(run.span_ms);
    sort_endings(script, &mut lines);
    lines
}

/// The bytes of a reply or event frame whose values are compared by relation alone.
pub fn relative_bytes(item: &Item) -> Vec<Range<usize>> {
    let mut decoder = match item {
        Item::Connected { frame, .. } | Item::Event(frame) | Item::Frame(frame) => Decoder::new(frame),
        Item::Reply { frame, .. } => Decoder::new(frame),
        _ => return Vec::new(),
    };
    let mut tokens = Vec::new();
    // What cannot be decoded has no bytes of that kind.
    let _ = match item {
        Item::Connected { .. } => ConnectResponse::decode(&mut decoder).map(|_| ()),
        Item::Reply { op, .. } => header(&mut decoder)
            .and_then(|h| if h.error == 0 { body(*op, &mut decoder, &mut tokens) } else { Ok(()) }),
        _ => header(&mut decoder).map(|_| ()),
    };
    decoder.relative
}

/// Events that come while a session ends stand in no order.
fn sort_endings(script: &Script, lines: &mut [Line]) {
    let ends = |line: &Line| {
        line.event_zxid.is_some()
            && matches!(
                script.steps.get(line.step).map(|s| &s.action),
                Some(Action::Close | Action::Expect(_) | Action::Closed)
            )
    };
    let mut at = 0;
    while at < lines.len() {
        let end = (at..lines.len())
            .find(|&i| !ends(&lines[i]) || lines[i].step != lines[at].step)
            .unwrap_or(lines.len());
        lines[at..end].sort_by(|a, b| a.text.cmp(&b.text));
        at = end.max(at + 1);
    }
}

#[derive(Default)]
struct Reader {
    entries: Vec<Entry>,
    transactions: BTreeSet<i64>,
    times: BTreeMap<i64, BTreeSet<i64>>,
    sessions: BTreeMap<i64, String>,
    passwords: BTreeMap<i64, Vec<u8>>,
    /// Transactions may have come since the last one shown.
    loose: bool,
    /// The step before this one shows a known difference.
    differs: bool,
}

struct Header {
    xid: i32,
    zxid: i64,
    error: i32,
}

fn header(decoder: &mut Decoder<'_>) -> Result<Header, DecodeError> {
    Ok(Header { xid: decoder.int("xid")?, zxid: decoder.relative_long("zxid")?, error: decoder.int("err")? })
}

impl Reader {
    fn read(&mut self, step: usize, connection: &str, item: &Item) {
        match item {
            Item::SessionMade(zxid) => {
                self.transactions.insert(*zxid);
                self.loose = false;
            }
            Item::Connected { new, frame } => self.connected(step, connection, *new, frame),
            Item::Reply { op, xid, frame } => self.reply(step, connection, *op, *xid, frame),
            Item::Event(frame) => self.event(step, connection, frame),
            Item::Closed => {
                self.loose = true;
                self.push(step, format!("{connection} closed"));
            }
            Item::Silence => self.push(step, format!("{connection} silence")),
            Item::Frame(frame) => self.push(step, format!("{connection} frame {}", hex(frame))),
            Item::Restarted => {
                self.loose = true;
                self.push(step, "restarted".to_owned());
            }
        }
    }

    fn push(&mut self, step: usize, text: String) {
        self.entries.push(Entry { step, tokens: vec![Token::Text(text)], event_zxid: None });
    }

    fn connected(&mut self, step: usize, connection: &str, new: bool, frame: &[u8]) {
        let mut decoder = Decoder::new(frame);
        let text = match ConnectResponse::decode(&mut decoder) {
            Err(e) => format!("{connection} connect response without {}: {}", e.what, hex(frame)),
            Ok(granted) => {
                if new && granted.session_id != 0 {
                    self.sessions.entry(granted.session_id).or_insert_with(|| connection.to_owned());
                }
                let session = self.session_name(granted.session_id);
                let password = match self.passwords.insert(granted.session_id, granted.password.clone()) {
                    Some(before) if before == granted.password => "same",
                    Some(_) => "another",
                    None => "new",
                };
                format!(
                    "{connection} connected protocol={} timeout={} session={session} password={password}/{} \
                     readonly={:?}{}",
                    granted.protocol_version,
                    granted.timeout_ms,
                    granted.password.len(),
                    granted.read_only,
                    trailing(&mut decoder)
                )
            }
        };
        self.push(step, text);
    }

    fn session_name(&self, id: i64) -> String {
        match self.sessions.get(&id) {
            Some(name) => name.clone(),
            None => format!("{:#x}", id.cast_unsigned()),
        }
    }

    fn reply(&mut self, step: usize, connection: &str, op: i32, xid: i32, frame: &[u8]) {
        let mut decoder = Decoder::new(frame);
        let Ok(header) = header(&mut decoder) else {
            return self.push(step, format!("{connection} reply without a header: {}", hex(frame)));
        };
        let mut tokens = Vec::new();
        let mut read = Ok(());
        if header.error == 0 {
            read = body(op, &mut decoder, &mut tokens);
        }
        let mut end = match read {
            Err(e) => format!(" no {} at {} in {}", e.what, e.at, hex(frame)),
            Ok(()) => trailing(&mut decoder),
        };
        if header.xid != xid {
            let _ = write!(end, " xid={} for {xid}", header.xid);
        }
        let failed = header.error != 0
            || tokens.iter().any(|t| matches!(t, Token::Text(text) if text.contains(" error=")));
        if failed {
            self.loose = true;
        } else if writes(op) {
            self.transactions.insert(header.zxid);
            self.loose = false;
        }
        self.collect(&tokens);
        let mut all = vec![
            Token::Text(format!("{connection} {} zxid=", error_name(header.error))),
            Token::Header { zxid: header.zxid, loose: self.loose },
        ];
        all.extend(tokens);
        all.push(Token::Text(end));
        self.entries.push(Entry { step, tokens: all, event_zxid: None });
    }

    fn event(&mut self, step: usize, connection: &str, frame: &[u8]) {
        let mut decoder = Decoder::new(frame);
        let read = header(&mut decoder).and_then(|header| {
            let kind = decoder.int("type")?;
            let state = decoder.int("state")?;
            let path = decoder.buffer("path")?;
            Ok((header, kind, state, path))
        });
        let Ok((header, kind, state, path)) = read else {
            return self.push(step, format!("{connection} broken event: {}", hex(frame)));
        };
        let name = EVENTS
            .iter()
            .find(|(_, n)| *n == kind)
            .map_or_else(|| kind.to_string(), |(n, _)| (*n).to_owned());
        let text = format!(
            "{connection} event {name} {} state={state} xid={} err={}{}",
            show(path),
            header.xid,
            header.error,
            trailing(&mut decoder)
        );
        let zxid = match header.zxid {
            -1 => Token::Text("-1".to_owned()),
            // An event that a timer caused may be of a transaction that nothing else shows.
            zxid => Token::Header { zxid, loose: true },
        };
        self.entries.push(Entry { step, tokens: vec![Token::Text(text)], event_zxid: Some(zxid) });
    }

    /// Notes the transactions and times of a body.
    fn collect(&mut self, tokens: &[Token]) {
        for token in tokens {
            match token {
                Token::Zxid(zxid) if *zxid > 0 => {
                    self.transactions.insert(*zxid);
                }
                Token::Time { zxid, at_ms } => {
                    self.times.entry(*zxid).or_default().insert(*at_ms);
                }
                _ => {}
            }
        }
    }

    fn lines(&self, span_ms: (i64, i64)) -> Vec<Line> {
        let ranks: BTreeMap<i64, usize> =
            self.transactions.iter().enumerate().map(|(rank, zxid)| (*zxid, rank + 1)).collect();
        let span = span_ms.0 - CLOCK_SLACK_MS..=span_ms.1 + CLOCK_SLACK_MS;
        let print = |token: &Token| match token {
            Token::Text(text) => text.clone(),
            Token::Header { zxid, .. } | Token::Zxid(zxid) if *zxid <= 0 => zxid.to_string(),
            Token::Header { zxid, loose: false } | Token::Zxid(zxid) => match ranks.get(zxid) {
                Some(rank) => format!("#{rank}"),
                None => format!("#{}+", ranks.range(..zxid).next_back().map_or(0, |(_, rank)| *rank)),
            },
            Token::Header { zxid, loose: true } => {
                format!("#{}~", ranks.range(..=zxid).next_back().map_or(0, |(_, rank)| *rank))
            }
            Token::Time { zxid: 0, at_ms: 0 } => "0".to_owned(),
            Token::Time { zxid, at_ms } => {
                let same = self.times.get(zxid).is_some_and(|times| times.len() == 1);
                if same && span.contains(at_ms) { "t".to_owned() } else { format!("{at_ms}?") }
            }
            Token::Owner(0) => "none".to_owned(),
            Token::Owner(id) => self.session_name(*id),
        };
        self.entries
            .iter()
            .map(|entry| Line {
                step: entry.step,
                text: entry.tokens.iter().map(print).collect(),
                event_zxid: entry.event_zxid.as_ref().map(print),
            })
            .collect()
    }
}

/// Whether a reply without an error shows a transaction of its own.
fn writes(op: i32) -> bool {
    matches!(
        op,
        op::CREATE
            | op::CREATE2
            | op::CREATE_CONTAINER
            | op::CREATE_TTL
            | op::DELETE
            | op::DELETE_CONTAINER
            | op::SET_DATA
            | op::SET_ACL
            | op::MULTI
            | op::CLOSE_SESSION
    )
}

/// Reads the record that follows a successful header.
fn body(op: i32, decoder: &mut Decoder<'_>, tokens: &mut Vec<Token>) -> Result<(), DecodeError> {
    let text = |tokens: &mut Vec<Token>, text: String| tokens.push(Token::Text(text));
    match op {
        op::CREATE => text(tokens, format!(" path={}", show(decoder.buffer("path")?))),
        op::CREATE2 | op::CREATE_CONTAINER | op::CREATE_TTL => {
            text(tokens, format!(" path={}", show(decoder.buffer("path")?)));
            stat(decoder, tokens)?;
        }
        op::EXISTS | op::SET_DATA | op::SET_ACL | op::CHECK => stat(decoder, tokens)?,
        op::GET_DATA | op::RECONFIG => {
            text(tokens, format!(" data={}", show(decoder.buffer("data")?)));
            stat(decoder, tokens)?;
        }
        op::GET_ACL => {
            acl(decoder, tokens)?;
            stat(decoder, tokens)?;
        }
        op::GET_CHILDREN | op::GET_EPHEMERALS => set(decoder, tokens)?,
        op::GET_CHILDREN2 => {
            set(decoder, tokens)?;
            stat(decoder, tokens)?;
        }
        op::SYNC => text(tokens, format!(" path={}", show(decoder.buffer("path")?))),
        op::MULTI | op::MULTI_READ => results(decoder, tokens)?,
        op::ADD_WATCH => text(tokens, format!(" err={}", decoder.int("err")?)),
        op::GET_ALL_CHILDREN_NUMBER => text(tokens, format!(" number={}", decoder.int("totalNumber")?)),
        op::WHO_AM_I => {
            let count = decoder.int("count")?;
            let mut all = Vec::new();
            for _ in 0..count {
                all.push(format!("{}:{}", show(decoder.buffer("scheme")?), show(decoder.buffer("user")?)));
            }
            all.sort();
            text(tokens, format!(" who=[{}]", all.join(", ")));
        }
        op::SASL => text(tokens, format!(" token={}", show(decoder.buffer("token")?))),
        _ => {}
    }
    Ok(())
}

/// A vector whose order means nothing.
fn set(decoder: &mut Decoder<'_>, tokens: &mut Vec<Token>) -> Result<(), DecodeError> {
    let count = decoder.int("count")?;
    let mut all = Vec::new();
    for _ in 0..count {
        all.push(show(decoder.buffer("element")?));
    }
    all.sort();
    tokens.push(Token::Text(format!(" set({count})=[{}]", all.join(", "))));
    Ok(())
}

fn acl(decoder: &mut Decoder<'_>, tokens: &mut Vec<Token>) -> Result<(), DecodeError> {
    let count = decoder.int("count")?;
    let mut all = Vec::new();
    for _ in 0..count {
        let permissions = decoder.int("perms")?;
        all.push(format!(
            "{permissions}@{}:{}",
            show(decoder.buffer("scheme")?),
            show(decoder.buffer("id")?)
        ));
    }
    tokens.push(Token::Text(format!(" acl({count})=[{}]", all.join(", "))));
    Ok(())
}

fn stat(decoder: &mut Decoder<'_>, tokens: &mut Vec<Token>) -> Result<(), DecodeError> {
    let text = |tokens: &mut Vec<Token>, text: String| tokens.push(Token::Text(text));
    let created = decoder.relative_long("czxid")?;
    let modified = decoder.relative_long("mzxid")?;
    let created_ms = decoder.relative_long("ctime")?;
    let modified_ms = decoder.relative_long("mtime")?;
    let [version, children_version, acl_version] =
        [decoder.int("version")?, decoder.int("cversion")?, decoder.int("aversion")?];
    let owner = decoder.relative_long("ephemeralOwner")?;
    let [length, children] = [decoder.int("dataLength")?, decoder.int("numChildren")?];
    let children_modified = decoder.relative_long("pzxid")?;
    text(tokens, " czxid=".to_owned());
    tokens.push(Token::Zxid(created));
    text(tokens, " mzxid=".to_owned());
    tokens.push(Token::Zxid(modified));
    text(tokens, " pzxid=".to_owned());
    tokens.push(Token::Zxid(children_modified));
    text(tokens, " ctime=".to_owned());
    tokens.push(Token::Time { zxid: created, at_ms: created_ms });
    text(tokens, " mtime=".to_owned());
    tokens.push(Token::Time { zxid: modified, at_ms: modified_ms });
    text(
        tokens,
        format!(
            " version={version} cversion={children_version} aversion={acl_version} length={length} \
             children={children} owner="
        ),
    );
    tokens.push(Token::Owner(owner));
    Ok(())
}

/// The results of a multi or multiRead, each after its header, up to the header that says done.
fn results(decoder: &mut Decoder<'_>, tokens: &mut Vec<Token>) -> Result<(), DecodeError> {
    loop {
        let kind = decoder.int("type")?;
        let done = decoder.boolean("done")?;
        let error = decoder.int("err")?;
        if done {
            tokens.push(Token::Text(format!(" done type={kind} err={error}")));
            return Ok(());
        }
        tokens.push(Token::Text(format!(" | {kind}/{error}:")));
        if kind == op::ERROR {
            let code = decoder.int("error")?;
            // A failed multi reports 0 for the operations before the one that failed.
            tokens.push(Token::Text(format!(" error={}", error_name(code))));
        } else if kind != op::CHECK {
            // Alone among the operations, a check's result has no Stat here.
            body(kind, decoder, tokens)?;
        }
    }
}

fn trailing(decoder: &mut Decoder<'_>) -> String {
    let rest = decoder.rest();
    if rest.is_empty() { String::new() } else { format!(" followed by {}", hex(rest)) }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A string or datum so that it reads well and differs if any byte does.
fn show(bytes: Option<&[u8]>) -> String {
    let Some(bytes) = bytes else { return "null".to_owned() };
    if bytes.len() > DATA_SHOWN_MAX {
        // FNV-1a: any single changed byte changes it.
        let sum = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
            (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        return format!("{} bytes, sum {sum:016x}", bytes.len());
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => format!("{text:?}"),
        Err(_) => format!("x:{}", hex(bytes)),
    }
}
