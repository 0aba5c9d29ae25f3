//! Answers of the length that a real server's have, with nothing in them.

use ringkeeper_engine::jute::records::{
    ConnectRequest, ConnectResponse, CreateRequest, MultiHeader, PathVersion, ReplyHeader, RequestHeader,
    SetDataRequest, Stat,
};
use ringkeeper_engine::jute::{Reader, Write};
use ringkeeper_engine::op::OpCode;
use std::cell::Cell;

/// Children of a directory, and bytes of a name: what the load generator makes.
const CHILDREN: usize = 100;
const NAME_BYTES: usize = 9;
/// `CreateMode`: the server completes the name; with so many digits.
const SEQUENTIAL: i32 = 2;
const SEQUENCE_DIGITS: usize = 10;
const TIMEOUT_MS: i32 = 30_000;
const PASSWORD: [u8; 16] = [0; 16];

/// All that is known between two requests: numbers, no node.
#[derive(Default)]
pub struct Memory {
    sessions: Cell<i64>,
    zxid: Cell<i64>,
    /// Bytes of the value that was written last: a read is answered with as many.
    value_bytes: Cell<usize>,
}

/// What was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To something that changes nothing.
    Read,
    /// To something that a real server has to keep.
    Write,
    /// To the end of a session.
    Close,
}

/// Answers a handshake; `None` if it is none.
pub fn greet(frame: &[u8], memory: &Memory, out: &mut Vec<u8>) -> Option<Answer> {
    let mut reader = Reader::new(frame);
    let _: ConnectRequest<'_> = reader.read().ok()?;
    memory.sessions.set(memory.sessions.get() + 1);
    framed(out, |out| {
        let session_id = memory.sessions.get();
        ConnectResponse { protocol_version: 0, time_out: TIMEOUT_MS, session_id, passwd: Some(&PASSWORD) }
            .write(out);
        // Whether the server is read-only: only to clients that asked.
        if !reader.rest().is_empty() {
            false.write(out);
        }
    });
    Some(Answer::Write)
}

/// Answers a request; `None` if it is none.
pub fn answer(frame: &[u8], memory: &Memory, out: &mut Vec<u8>) -> Option<Answer> {
    let mut reader = Reader::new(frame);
    let header: RequestHeader = reader.read().ok()?;
    let op = OpCode::from_code(header.op)?;
    let kind = kind(op);
    if kind != Answer::Read {
        memory.zxid.set(memory.zxid.get() + 1);
    }
    let mut whole = true;
    framed(out, |out| {
        ReplyHeader { xid: header.xid, zxid: memory.zxid.get(), err: 0 }.write(out);
        whole = body(op, &mut reader, memory, out).is_some();
    });
    whole.then_some(kind)
}

fn framed(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    0i32.write(out);
    write(out);
    let length = (out.len() - start - 4) as u32;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

fn kind(op: OpCode) -> Answer {
    match op {
        OpCode::CloseSession => Answer::Close,
        OpCode::Create
        | OpCode::Create2
        | OpCode::CreateContainer
        | OpCode::CreateTtl
        | OpCode::DeleteContainer
        | OpCode::Delete
        | OpCode::SetData
        | OpCode::SetAcl
        | OpCode::Reconfig
        | OpCode::Multi => Answer::Write,
        OpCode::Exists
        | OpCode::GetData
        | OpCode::GetAcl
        | OpCode::GetChildren
        | OpCode::GetChildren2
        | OpCode::Sync
        | OpCode::Ping
        | OpCode::Check
        | OpCode::CheckWatches
        | OpCode::RemoveWatches
        | OpCode::MultiRead
        | OpCode::Auth
        | OpCode::SetWatches
        | OpCode::SetWatches2
        | OpCode::AddWatch
        | OpCode::Sasl
        | OpCode::GetEphemerals
        | OpCode::GetAllChildrenNumber
        | OpCode::WhoAmI
        | OpCode::CreateSession
        | OpCode::Error => Answer::Read,
    }
}

/// The answer's body for what the load generator asks; others get none.
fn body(op: OpCode, reader: &mut Reader<'_>, memory: &Memory, out: &mut Vec<u8>) -> Option<()> {
    match op {
        OpCode::Create | OpCode::Create2 => {
            let request: CreateRequest<'_> = reader.read().ok()?;
            memory.value_bytes.set(request.data.map_or(0, <[u8]>::len));
            let digits = if request.flags & SEQUENTIAL == 0 { 0 } else { SEQUENCE_DIGITS };
            blank(request.path.len() + digits, out);
            if op == OpCode::Create2 {
                Stat::default().write(out);
            }
        }
        OpCode::SetData => {
            let request: SetDataRequest<'_> = reader.read().ok()?;
            memory.value_bytes.set(request.data.map_or(0, <[u8]>::len));
            Stat::default().write(out);
        }
        OpCode::GetData => {
            blank(memory.value_bytes.get(), out);
            Stat::default().write(out);
        }
        OpCode::Exists | OpCode::SetAcl => Stat::default().write(out),
        OpCode::GetChildren | OpCode::GetChildren2 => {
            (CHILDREN as i32).write(out);
            (0..CHILDREN).for_each(|_| blank(NAME_BYTES, out));
            if op == OpCode::GetChildren2 {
                Stat::default().write(out);
            }
        }
        OpCode::Multi => return multi(reader, memory, out),
        _ => {}
    }
    Some(())
}

fn multi(reader: &mut Reader<'_>, memory: &Memory, out: &mut Vec<u8>) -> Option<()> {
    loop {
        let header: MultiHeader = reader.read().ok()?;
        if header.done {
            MultiHeader { op: -1, done: true, err: -1 }.write(out);
            return Some(());
        }
        MultiHeader { op: header.op, done: false, err: 0 }.write(out);
        match OpCode::from_code(header.op)? {
            op @ (OpCode::Create | OpCode::Create2 | OpCode::SetData) => body(op, reader, memory, out)?,
            OpCode::Delete | OpCode::Check => {
                let _: PathVersion<'_> = reader.read().ok()?;
            }
            _ => return None,
        }
    }
}

/// A string or buffer of so many zeros.
fn blank(bytes: usize, out: &mut Vec<u8>) {
    (bytes as i32).write(out);
    out.resize(out.len() + bytes, 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Path, Template};
    use crate::workload::{self, PERSISTENT};

    fn reply(template: &Template, memory: &Memory) -> (Vec<u8>, Option<Answer>) {
        let (mut frame, mut out) = (Vec::new(), Vec::new());
        template.encode(7, 0, &mut frame);
        let answer = answer(&frame[4..], memory, &mut out);
        (out, answer)
    }

    #[test]
    fn an_answer_is_as_long_as_a_real_servers() {
        let (memory, path) = (Memory::default(), Path::new("/a/b"));
        // A reply's header has 16 bytes, a Stat 68; ZooKeeper's schema, zookeeper.jute.
        let expected = [
            (workload::create(&path, b"0123456789", PERSISTENT), 16 + 4 + 4, Answer::Write),
            (workload::create(&path, b"", SEQUENTIAL), 16 + 4 + 4 + 10, Answer::Write),
            (workload::set(&path, b"0123456789"), 16 + 68, Answer::Write),
            (workload::read(OpCode::GetData, &path, false), 16 + 4 + 10 + 68, Answer::Read),
            (workload::read(OpCode::Exists, &path, false), 16 + 68, Answer::Read),
            (workload::read(OpCode::GetChildren, &path, false), 16 + 4 + 100 * 13, Answer::Read),
            (workload::delete(&path), 16, Answer::Write),
            (Template::multi(&path, 3, 10, b"x"), 16 + 3 * (9 + 68) + 9, Answer::Write),
        ];
        for (template, bytes, kind) in expected {
            let (out, answer) = reply(&template, &memory);
            assert_eq!((out.len() - 4, answer), (bytes, Some(kind)), "{template:?}");
            assert_eq!(out[..4], (bytes as u32).to_be_bytes());
        }
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for frame in [&b""[..], b"1234567", &[0, 0, 0, 1, 0, 0, 0, 99], &[0, 0, 0, 1, 0, 0, 0, 1, 255]] {
            assert_eq!(answer(frame, &Memory::default(), &mut Vec::new()), None);
        }
        assert_eq!(greet(b"hello", &Memory::default(), &mut Vec::new()), None);
    }
}
