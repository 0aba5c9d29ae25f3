//! Request frames through prepare and apply, beside a model of the znodes. The input is a list of steps:
//! requests of three sessions, whole or raw; some of what is proposed is applied; proposals are discarded;
//! a checkpoint is written while all that goes on.
//!
//! The laws: each request is answered as the model answers it, many of them in flight or none; the watches
//! are told what the model tells them; reads see what is committed; in the end the trees are equal; and a
//! checkpoint with the log behind it, replayed, is that tree again.

mod frames;
mod model;

use crate::contents::{Contents, Walk, read_checkpoint};
use arbitrary::Unstructured;
use frames::{Step, Steps};
use model::{Answer, Caller, Event, Kind, Model, acl_bytes};
use ringkeeper_engine::apply::Outcome;
use ringkeeper_engine::auth::AuthId;
use ringkeeper_engine::database::Database;
use ringkeeper_engine::id::{SessionId, Zxid};
use ringkeeper_engine::jute::records::{CreateSessionTxn, GetDataResponse, PathRecord};
use ringkeeper_engine::jute::{self, Reader};
use ringkeeper_engine::limits::Settings;
use ringkeeper_engine::op::OpCode;
use ringkeeper_engine::prep::{Prep, Stamp, WriteRequest};
use ringkeeper_engine::read::{ReadContext, ReadError};
use ringkeeper_engine::tree::node::NodeKind;
use ringkeeper_engine::tree::{ChangeKind, Changes};
use std::borrow::Cow;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

const STEPS_MAX: usize = 200;
const IN_FLIGHT_MAX: usize = 20;
/// What the model does not know: the server writes into count nodes, and addresses have ranges.
const NOT_MODELLED: [&[u8]; 2] = [b"/zookeeper/quota", b"\0\0\0\x02ip"];

/// Runs one input.
pub fn run(input: &[u8]) {
    let Some((&mode, rest)) = input.split_first() else { return };
    let mut steps = if mode % 2 == 0 { Steps::Chosen(Unstructured::new(rest)) } else { Steps::Frames(rest) };
    let mut run = Run::new();
    for number in 0..STEPS_MAX {
        let Some(step) = steps.next(&run.proposed) else { break };
        if step == Step::Checkpoint {
            run.checkpoint(&mut steps, STEPS_MAX - number);
        } else {
            run.step(step);
        }
    }
    run.finish();
}

/// A request that was made a transaction and is not applied yet.
struct Proposal {
    session: i64,
    op: OpCode,
    body: Vec<u8>,
    zxid: Zxid,
    transaction: Vec<u8>,
    answer: Answer,
    events: Vec<Event>,
}

struct Run {
    settings: Arc<Settings>,
    database: Database,
    prep: Prep,
    /// With what is applied, and with what is proposed besides.
    committed: Model,
    proposed: Model,
    in_flight: VecDeque<Proposal>,
    log: Vec<Vec<u8>>,
    /// Checkpoints, each with the transactions of the log that it begins behind.
    checkpoints: Vec<(Vec<u8>, usize)>,
    next: Zxid,
}

/// What a session has proved: the second and third have a password too.
fn ids(session: i64) -> Vec<AuthId> {
    let id = |scheme: &str, id: &str| AuthId { scheme: scheme.into(), id: id.into() };
    let mut ids = vec![id("ip", "127.0.0.1")];
    match session {
        2 => ids.push(id("digest", "u:p")),
        3 => ids.extend([id("digest", "u:p"), id("digest", "v:q")]),
        _ => {}
    }
    ids
}

impl Run {
    fn new() -> Run {
        let settings = Arc::new(Settings { extended_types_enabled: true, ..Settings::default() });
        let mut run = Run {
            prep: Prep::new(Arc::clone(&settings), 1),
            settings,
            database: Database::new(1),
            committed: Model::new(),
            proposed: Model::new(),
            in_flight: VecDeque::new(),
            log: Vec::new(),
            checkpoints: Vec::new(),
            next: Zxid(1),
        };
        for session in 1..=3 {
            let body = jute::to_bytes(&CreateSessionTxn { time_out: 1000 * session as i32 });
            run.step(Step::Request { session, op: OpCode::CreateSession, body });
            run.step(Step::Apply);
        }
        run
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Request { session, op, body } => {
                if NOT_MODELLED.iter().any(|part| body.windows(part.len()).any(|window| window == *part)) {
                    return;
                }
                match op {
                    OpCode::Exists
                    | OpCode::GetData
                    | OpCode::GetAcl
                    | OpCode::GetChildren
                    | OpCode::GetChildren2
                    | OpCode::GetAllChildrenNumber
                    | OpCode::MultiRead => self.read(session, op, &body),
                    _ => self.request(session, op, body),
                }
            }
            Step::Apply => self.apply(1),
            Step::ApplyAll => self.apply(usize::MAX),
            Step::Discard => {
                self.prep.discard_proposals();
                self.in_flight.clear();
                self.proposed = self.committed.clone();
            }
            // One at a time.
            Step::Checkpoint => {}
        }
    }

    fn request(&mut self, session: i64, op: OpCode, body: Vec<u8>) {
        let knows = self.proposed.sessions.contains_key(&session);
        if knows == (op == OpCode::CreateSession) || op == OpCode::Reconfig || op == OpCode::Error {
            return;
        }
        if self.in_flight.len() >= IN_FLIGHT_MAX {
            self.apply(1);
        }
        let (ids, zxid) = (ids(session), self.next);
        let time = zxid.0 as i64 * 10;
        let internal = session == 1;
        let request = WriteRequest {
            session: SessionId(session),
            xid: 1,
            op,
            body: &body,
            auth: &ids,
            internal,
            no_ephemerals: None,
        };
        let mut transaction = b"before".to_vec();
        let prepared =
            self.prep.prepare(&self.database.tree, &request, Stamp { zxid, time }, &mut transaction);
        let caller = Caller { session, ids: &ids, zxid: zxid.0 as i64, time, internal };
        let expected = self.proposed.execute(caller, op, &body);
        match (prepared, expected) {
            (Ok(()), Ok(answer)) => {
                self.next = zxid.next();
                let events = std::mem::take(&mut self.proposed.events);
                let transaction = transaction.split_off(6);
                self.in_flight.push_back(Proposal { session, op, body, zxid, transaction, answer, events });
            }
            (Err(found), Err(expected)) => {
                assert_eq!(found.code(), expected, "{op:?} {:?}", String::from_utf8_lossy(&body));
                assert_eq!(transaction, b"before", "a refused request leaves nothing behind");
            }
            (found, expected) => {
                panic!("{op:?} {:?}: {found:?}, expected {expected:?}", String::from_utf8_lossy(&body));
            }
        }
    }

    /// Applies some of what is proposed in one batch, and compares the answers.
    fn apply(&mut self, count: usize) {
        let mut batch = self.database.begin();
        let mut finds = self.prep.finds();
        let mut changes = Changes::default();
        for _ in 0..count.min(self.in_flight.len()) {
            let Some(proposal) = self.in_flight.pop_front() else { break };
            let before = changes.len();
            let found = finds.of(proposal.zxid);
            let applied = batch.apply_found(&proposal.transaction, found, &mut changes);
            let applied = applied.expect("a transaction that we made");
            let Proposal { session, op, ref body, zxid, .. } = proposal;
            assert_eq!((applied.session, applied.zxid, applied.op), (SessionId(session), zxid, op));
            assert_eq!(
                applied.outcome,
                outcome(&proposal.answer),
                "{op:?} {:?}",
                String::from_utf8_lossy(body)
            );
            let told: Vec<Event> =
                changes.iter().skip(before).map(|(change, path)| event(change.kind, path)).collect();
            assert_eq!(told, proposal.events, "what watches are told");
            let (ids, time) = (ids(session), zxid.0 as i64 * 10);
            let caller = Caller { session, ids: &ids, zxid: zxid.0 as i64, time, internal: session == 1 };
            let again = self.committed.execute(caller, op, body);
            assert_eq!(again.as_ref(), Ok(&proposal.answer), "the model is deterministic");
            self.log.push(proposal.transaction);
        }
        batch.publish();
        self.prep.applied(self.database.last);
        if self.in_flight.is_empty() {
            assert_eq!(self.prep.outstanding(), 0, "nothing is proposed");
        }
    }

    /// A read at what is committed.
    fn read(&self, session: i64, op: OpCode, body: &[u8]) {
        let (ids, reader) = (ids(session), self.database.tree.reader());
        let view = reader.view(self.database.last);
        let context = ReadContext { view: &view, auth: &ids, settings: &self.settings };
        let mut found = Vec::new();
        if op == OpCode::MultiRead {
            let answer = context.multi_read(body, &mut found);
            assert_ne!(answer, Err(ReadError::Later), "nothing is newer than what is committed");
            return;
        }
        let Ok(PathRecord { path }) = jute::from_bytes(body) else { return };
        if path.contains('\0') {
            return;
        }
        let answer = match op {
            OpCode::Exists => context.exists(&path, &mut found),
            OpCode::GetData => context.get_data(&path, &mut found),
            OpCode::GetAcl => context.get_acl(&path, &mut found),
            OpCode::GetAllChildrenNumber => context.count_descendants(&path, &mut found),
            _ => context.get_children(&path, op == OpCode::GetChildren2, &mut found),
        };
        let caller = Caller { session, ids: &ids, zxid: 0, time: 0, internal: false };
        let perms = if op == OpCode::GetAcl { 1 | 16 } else { 1 };
        if let Err(code) = self.committed.allow(&path, perms, caller) {
            let Err(ReadError::Client(refused)) = answer else {
                panic!("{op:?} {path:?}: {answer:?}, expected {code}")
            };
            assert_eq!(refused.code(), code, "{op:?} {path:?}");
            return;
        }
        assert_eq!(answer, Ok(()), "{op:?} {path:?}");
        self.compare_read(op, &path, &found, caller);
    }

    fn compare_read(&self, op: OpCode, path: &str, found: &[u8], caller: Caller<'_>) {
        let (stat, node) = (self.committed.stat(path), self.committed.node(path).expect("it was allowed"));
        let key = if path.is_empty() { "/" } else { path };
        let expected = match op {
            OpCode::Exists => jute::to_bytes(&stat),
            OpCode::GetData => jute::to_bytes(&GetDataResponse { data: node.data.as_deref(), stat }),
            OpCode::GetAcl => {
                // Whoever may not administer the node sees less.
                if self.committed.allow(path, 16, caller).is_err() {
                    return;
                }
                [acl_bytes(&node.acl), jute::to_bytes(&stat)].concat()
            }
            OpCode::GetAllChildrenNumber => {
                let prefix = if path == "/" { "/".to_owned() } else { format!("{path}/") };
                let below =
                    |other: &&String| other.starts_with(&prefix) && (*other != "/" || path.is_empty());
                jute::to_bytes(&(self.committed.nodes.keys().filter(below).count() as i32))
            }
            _ => {
                let mut reader = Reader::new(found);
                let names: Vec<Cow<'_, str>> = reader.read().expect("a list of names");
                let name = |child: &str| child[child.rfind('/').map_or(0, |slash| slash + 1)..].to_owned();
                let expected: BTreeSet<String> = self.committed.children(key).map(name).collect();
                assert_eq!(names.len(), expected.len(), "children of {path:?}");
                assert_eq!(
                    names.into_iter().map(String::from).collect::<BTreeSet<_>>(),
                    expected,
                    "children of {path:?}"
                );
                let stat = if op == OpCode::GetChildren2 { jute::to_bytes(&stat) } else { Vec::new() };
                assert_eq!(reader.rest(), stat, "Stat of {path:?}");
                return;
            }
        };
        assert_eq!(found, expected, "{op:?} {path:?}");
    }

    /// Writes a checkpoint, with a step now and then between two of its nodes.
    fn checkpoint(&mut self, steps: &mut Steps<'_>, steps_max: usize) {
        let walk = Walk::of(&self.database);
        let position = self.log.len();
        let mut left = steps_max;
        let file = walk.write(|| {
            while left > 0 && steps.between() {
                let Some(step) = steps.next(&self.proposed) else { break };
                self.step(step);
                left -= 1;
            }
        });
        self.checkpoints.push((file, position));
    }

    /// Applies what is left, and compares everything with everything.
    fn finish(mut self) {
        self.apply(usize::MAX);
        let contents = Contents::of(&self.database);
        contents.is_a_tree();
        self.equals_the_model(&contents);
        self.checkpoints.push((Walk::of(&self.database).write(|| ()), self.log.len()));
        for (file, position) in &self.checkpoints {
            let mut restored = read_checkpoint(file);
            for transaction in &self.log[*position..] {
                restored.replay(transaction).expect("a transaction that we made");
            }
            restored.replayed();
            let what = format!("a checkpoint behind {position} transactions, and the log");
            Contents::of(&restored).is(&contents, &what);
        }
        let mut replayed = Database::new(3);
        self.log
            .iter()
            .for_each(|transaction| replayed.replay(transaction).expect("a transaction that we made"));
        Contents::of(&replayed).is(&contents, "the whole log");
    }

    fn equals_the_model(&self, contents: &Contents) {
        let found: Vec<&String> = contents.nodes.keys().collect();
        assert_eq!(found, self.committed.nodes.keys().collect::<Vec<_>>(), "paths");
        for (path, node) in &self.committed.nodes {
            let found = &contents.nodes[path];
            let kind = match node.kind {
                Kind::Persistent => NodeKind::Persistent,
                Kind::Ephemeral(session) => NodeKind::Ephemeral(SessionId(session)),
                Kind::Container => NodeKind::Container,
                Kind::Ttl(ttl_ms) => NodeKind::Ttl { ttl_ms },
            };
            assert_eq!((&found.data, found.kind), (&node.data, kind), "{path}");
            assert_eq!(found.acl, acl_bytes(&node.acl), "{path}");
            assert_eq!(found.stat, self.committed.stat(path), "{path}");
        }
        let sessions: Vec<(i64, u32)> =
            contents.sessions.iter().map(|(id, timeout)| (id.0, *timeout)).collect();
        assert!(sessions.into_iter().eq(self.committed.sessions.clone()), "sessions");
    }
}

fn outcome(answer: &Answer) -> Outcome<'_> {
    match answer {
        Answer::Done => Outcome::Done,
        Answer::Created(path, stat) => Outcome::Created { path: path.into(), stat: *stat },
        Answer::Changed(stat) => Outcome::Changed(*stat),
        Answer::Failed(code) => Outcome::Failed(*code),
        Answer::Multi(answers) => {
            Outcome::Multi(answers.iter().map(|(op, answer)| (*op, outcome(answer))).collect())
        }
        Answer::SessionCreated(timeout_ms) => Outcome::SessionCreated { timeout_ms: *timeout_ms },
        Answer::SessionClosed => Outcome::SessionClosed,
    }
}

fn event(kind: ChangeKind, path: &str) -> Event {
    match kind {
        ChangeKind::Created => Event::Created(path.to_owned()),
        ChangeKind::Deleted => Event::Deleted(path.to_owned()),
        ChangeKind::Data => Event::Data(path.to_owned()),
    }
}
