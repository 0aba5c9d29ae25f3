//! The input's bytes to steps: either chosen from what makes sense, or frames as they are, which is what
//! seeds of real clients are made of.
//!
//! ```text
//! frames = (kind u8, [session u8, op i8, length u16 big-endian, body])*     the brackets for a request
//! kind   = 0 request, 3 a checkpoint's next node, 4 apply one, 5 apply all, 6 discard, 7 checkpoint
//! ```

use super::model::Model;
use arbitrary::{Result, Unstructured};
use ringkeeper_engine::jute::records::{Acl, Id, MultiHeader};
use ringkeeper_engine::jute::{self, Write};
use ringkeeper_engine::op::OpCode;

const NEXT_NODE: u8 = 3;

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Request {
        session: i64,
        op: OpCode,
        body: Vec<u8>,
    },
    /// The oldest proposal is committed.
    Apply,
    /// All of them are, in one batch.
    ApplyAll,
    /// A new leader knows nothing of them.
    Discard,
    Checkpoint,
}

/// Where steps come from.
pub enum Steps<'a> {
    Chosen(Unstructured<'a>),
    Frames(&'a [u8]),
}

impl Steps<'_> {
    /// The next step; `None` at the end of the input.
    pub fn next(&mut self, model: &Model) -> Option<Step> {
        match self {
            Steps::Chosen(choices) if choices.is_empty() => None,
            Steps::Chosen(choices) => choose(choices, model).ok(),
            Steps::Frames(bytes) => frame(bytes),
        }
    }

    /// Whether something happens between two nodes of a checkpoint.
    pub fn between(&mut self) -> bool {
        match self {
            Steps::Chosen(choices) => !choices.is_empty() && choices.ratio(7u8, 8).unwrap_or(false),
            Steps::Frames([NEXT_NODE, rest @ ..]) => {
                *self = Steps::Frames(rest);
                false
            }
            Steps::Frames(_) => true,
        }
    }
}

fn frame(bytes: &mut &[u8]) -> Option<Step> {
    let mut take = |count: usize| {
        let (taken, rest) = bytes.split_at_checked(count)?;
        *bytes = rest;
        Some(taken)
    };
    Some(match take(1)?[0] % 8 {
        5 => Step::ApplyAll,
        6 => Step::Discard,
        7 => Step::Checkpoint,
        4 => Step::Apply,
        _ => {
            let header = take(4)?;
            let session = i64::from(header[0] % 3) + 1;
            let op = OpCode::from_code(i32::from(header[1] as i8)).unwrap_or(OpCode::Multi);
            let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
            let body = take(length)?.to_vec();
            Step::Request { session, op, body }
        }
    })
}

const WRITES: [OpCode; 16] = [
    OpCode::Create,
    OpCode::Create2,
    OpCode::Create,
    OpCode::Create2,
    OpCode::CreateContainer,
    OpCode::CreateTtl,
    OpCode::Delete,
    OpCode::Delete,
    OpCode::SetData,
    OpCode::SetData,
    OpCode::SetAcl,
    OpCode::Check,
    OpCode::DeleteContainer,
    OpCode::Multi,
    OpCode::Multi,
    OpCode::CloseSession,
];
const READS: [OpCode; 6] = [
    OpCode::Exists,
    OpCode::GetData,
    OpCode::GetAcl,
    OpCode::GetChildren,
    OpCode::GetChildren2,
    OpCode::GetAllChildrenNumber,
];
const NAMES: [&str; 12] = ["a", "b", "a", "s-", "a", "b", "zookeeper", "", ".", "\u{0}", "\u{e000}", "ä"];

fn choose(choices: &mut Unstructured<'_>, model: &Model) -> Result<Step> {
    let session = choices.int_in_range(1..=3)?;
    Ok(match choices.int_in_range(0..=31)? {
        0..=17 => {
            let op = *choices.choose(&WRITES)?;
            let body = write(choices, model, op)?;
            // A session that was closed is opened again.
            let known = model.sessions.contains_key(&session);
            let op = if known { op } else { OpCode::CreateSession };
            Step::Request { session, op, body: if known { body } else { vec![0, 0, 9, 9] } }
        }
        18..=21 => {
            let op = *choices.choose(&READS)?;
            let mut body = Vec::new();
            path(choices, model)?.write(&mut body);
            Step::Request { session, op, body }
        }
        22..=27 => Step::Apply,
        28 => Step::ApplyAll,
        29 => Step::Discard,
        30 => Step::Checkpoint,
        _ => {
            let op = *choices.choose(&WRITES)?;
            let length = choices.int_in_range(0..=40)?;
            Step::Request { session, op, body: choices.bytes(length.min(choices.len()))?.to_vec() }
        }
    })
}

/// Mostly a node that is there, or one more name under it.
fn path(choices: &mut Unstructured<'_>, model: &Model) -> Result<String> {
    // The server's own nodes are no more interesting than the root.
    let own = |path: &&String| !path.starts_with("/zookeeper");
    let paths: Vec<&String> = model.nodes.keys().filter(own).collect();
    let known = *choices.choose(&paths)?;
    Ok(match choices.int_in_range(0..=15)? {
        0..=6 => known.clone(),
        7..=13 => format!("{}/{}", known.trim_end_matches('/'), choices.choose(&NAMES)?),
        14 => String::new(),
        _ => choices.arbitrary::<&str>()?.chars().take(8).collect(),
    })
}

fn list<'a>(choices: &mut Unstructured<'_>) -> Result<Vec<Acl<'a>>> {
    let id = |scheme: &'a str, id: &'a str| Id { scheme: Some(scheme.into()), id: Some(id.into()) };
    let everyone = id("world", "anyone");
    let who = match choices.int_in_range(0..=15)? {
        0..=8 => return Ok(vec![Acl { perms: 31, id: everyone }]),
        9 => return Ok(Vec::new()),
        10 => id("digest", "u:p"),
        11 => id("auth", ""),
        12 => id(choices.choose(&["world", "digest", "foo", ""])?, choices.choose(&["x", "", "a:b:", "::"])?),
        13 => Id { scheme: None, id: None },
        _ => everyone,
    };
    let entry = Acl { perms: choices.int_in_range(0..=31)?, id: who };
    let second = Acl { perms: choices.int_in_range(0..=31)?, id: id("digest", "v:q") };
    Ok(if choices.arbitrary()? { vec![entry] } else { vec![entry.clone(), second, entry] })
}

fn version(choices: &mut Unstructured<'_>) -> Result<i32> {
    Ok(match choices.int_in_range(0..=7)? {
        0 => 0,
        1 => 1,
        2 => choices.arbitrary()?,
        _ => -1,
    })
}

/// The record of a request.
fn write(choices: &mut Unstructured<'_>, model: &Model, op: OpCode) -> Result<Vec<u8>> {
    if op == OpCode::Multi {
        return multi(choices, model);
    }
    let mut body = Vec::new();
    if op == OpCode::CloseSession {
        return Ok(body);
    }
    path(choices, model)?.write(&mut body);
    let length = *choices.choose(&[0, 1, 3, 200])?;
    let data = (length != 3).then(|| vec![length as u8; length]);
    let flags = match op {
        OpCode::CreateContainer => 4,
        OpCode::CreateTtl => choices.int_in_range(5..=6)?,
        _ => *choices.choose(&[0, 0, 0, 1, 1, 2, 2, 3])?,
    };
    let flags = if choices.ratio(1u8, 32)? { choices.int_in_range(-1..=8)? } else { flags };
    match op {
        OpCode::Delete | OpCode::Check => version(choices)?.write(&mut body),
        OpCode::DeleteContainer => {}
        OpCode::SetData => {
            data.as_deref().write(&mut body);
            version(choices)?.write(&mut body);
        }
        OpCode::SetAcl => {
            list(choices)?.write(&mut body);
            version(choices)?.write(&mut body);
        }
        _ => {
            data.as_deref().write(&mut body);
            list(choices)?.write(&mut body);
            flags.write(&mut body);
            if op == OpCode::CreateTtl {
                let ttl: i64 = *choices.choose(&[1, 5000, 5000, 0, -1, i64::MAX, (1 << 40) - 1])?;
                ttl.write(&mut body);
            }
        }
    }
    Ok(body)
}

fn multi(choices: &mut Unstructured<'_>, model: &Model) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    for _ in 0..choices.int_in_range(0..=4)? {
        let op = *choices.choose(&WRITES[..12])?;
        // setACL is none of a multi's operations.
        let op = if op == OpCode::SetAcl { OpCode::SetData } else { op };
        MultiHeader { op: op.code(), done: false, err: -1 }.write(&mut body);
        body.extend(write(choices, model, op)?);
    }
    body.extend(jute::to_bytes(&MultiHeader { op: -1, done: true, err: -1 }));
    Ok(body)
}
