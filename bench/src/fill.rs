//! A load that fills the tree: nodes of one size under numbered directories, many to a multi.

use crate::client::{Client, Pending};
use crate::failure::Failure;
use crate::generator::Load;
use crate::workload::{self, Operation};
use ringkeeper_engine::jute::Write;
use ringkeeper_engine::jute::records::{
    Acl, CreateRequest, Id, MultiHeader, PathVersion, ReplyHeader, RequestHeader,
};
use ringkeeper_engine::op::{OpCode, perms};

/// Nodes in a directory.
pub const DIRECTORY_NODES: u64 = 1000;
/// The node above all others of the experiment.
pub const ROOT: &str = "/tree";

/// Which nodes, and how they come.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Nodes with a value.
    pub nodes: u64,
    /// Bytes of each value.
    pub value_bytes: usize,
    /// Operations to a multi.
    pub multi: u64,
}

impl Shape {
    /// The path of a directory.
    pub fn directory(number: u64) -> String {
        format!("{ROOT}/{number:06}")
    }

    /// The path of a node.
    pub fn path(node: u64) -> String {
        format!("{}/{node:09}", Self::directory(node / DIRECTORY_NODES))
    }

    /// Directories.
    pub fn directories(&self) -> u64 {
        self.nodes.div_ceil(DIRECTORY_NODES)
    }

    /// Bytes of all paths and values: what every server has to hold.
    pub fn payload_bytes(&self) -> u64 {
        let path = Self::path(0).len() as u64;
        self.nodes * (path + self.value_bytes as u64)
            + self.directories() * Self::directory(0).len() as u64
            + ROOT.len() as u64
    }
}

/// What a step of the load does with its paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The root and the directories.
    Directories,
    /// The nodes with a value.
    Nodes,
    /// The nodes go.
    Delete,
}

/// One step of filling or emptying the tree.
pub struct Fill {
    shape: Shape,
    step: Step,
    value: Vec<u8>,
    next: u64,
    failure: Option<i32>,
}

impl Fill {
    /// A step of the load.
    pub fn new(shape: Shape, step: Step) -> Fill {
        Fill { shape, step, value: workload::value(shape.value_bytes, 1), next: 0, failure: None }
    }

    fn total(&self) -> u64 {
        match self.step {
            Step::Directories => self.shape.directories() + 1,
            Step::Nodes | Step::Delete => self.shape.nodes,
        }
    }

    fn path(&self, number: u64) -> String {
        match (self.step, number) {
            (Step::Directories, 0) => ROOT.to_owned(),
            (Step::Directories, _) => Shape::directory(number - 1),
            (Step::Nodes | Step::Delete, _) => Shape::path(number),
        }
    }

    fn encode(&self, xid: i32, numbers: std::ops::Range<u64>, out: &mut Vec<u8>) {
        let start = out.len();
        0i32.write(out);
        RequestHeader { xid, op: OpCode::Multi.code() }.write(out);
        let anyone = || Id { scheme: Some("world".into()), id: Some("anyone".into()) };
        for number in numbers {
            let path = self.path(number);
            let op = if self.step == Step::Delete { OpCode::Delete } else { OpCode::Create };
            MultiHeader { op: op.code(), done: false, err: -1 }.write(out);
            if self.step == Step::Delete {
                PathVersion { path: path.into(), version: -1 }.write(out);
                continue;
            }
            let data = Some(if self.step == Step::Nodes { &self.value[..] } else { b"" });
            let acl = vec![Acl { perms: perms::ALL, id: anyone() }];
            CreateRequest { path: path.into(), data, acl, flags: 0 }.write(out);
        }
        MultiHeader { op: -1, done: true, err: -1 }.write(out);
        let length = (out.len() - start - 4) as u32;
        out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    }
}

impl Load for Fill {
    fn tick(&mut self, _now_ns: u64, _due: &mut Vec<usize>) -> Result<Option<u64>, Failure> {
        match self.failure {
            Some(code) => Err(Failure::Preparation { what: "filling the tree", code }),
            None => Ok(None),
        }
    }

    fn request(&mut self, _client: usize, now_ns: u64, to: &mut Client) -> bool {
        if self.next == self.total() {
            return false;
        }
        let numbers = self.next..self.total().min(self.next + self.shape.multi);
        self.next = numbers.end;
        let pending = Pending { operation: Operation::Prepare, intended_ns: now_ns };
        to.push(pending, |xid, out| self.encode(xid, numbers, out));
        true
    }

    fn reply(&mut self, _pending: Pending, reply: ReplyHeader, _now_ns: u64) {
        if reply.err != 0 {
            self.failure.get_or_insert(reply.err);
        }
    }

    fn is_over(&self) -> bool {
        self.next == self.total()
    }
}
