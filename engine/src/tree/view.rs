//! Reading the tree without a lock, as one moment of it.
//!
//! A core may use what transactions up to its *horizon* did: the newest transaction whose watch
//! events it has delivered. Whatever a newer one touched answers [`NotYet`]; the core then
//! delivers more events and does the whole read again. So every value that a read returns belongs
//! to the horizon, all of them to the same moment, and no event from before it is still behind.

use super::index::{Guard, Index, NodeId, pin};
use super::node::{ChildrenVersion, DataVersion, Node};
use super::path;
use crate::id::Zxid;
use crate::jute::records::Stat;
use std::sync::Arc;

/// The read met a transaction whose events are not delivered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotYet;

/// The node is not there at the horizon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Absent;

/// A core's half of the tree.
#[derive(Clone)]
pub struct TreeReader {
    index: Arc<Index<Node>>,
}

impl TreeReader {
    pub(super) fn new(index: Arc<Index<Node>>) -> Self {
        TreeReader { index }
    }

    /// Starts reading at `horizon`. Hold the view briefly: nothing is freed meanwhile.
    pub fn view(&self, horizon: Zxid) -> View<'_> {
        View { index: &self.index, guard: pin(), horizon }
    }
}

/// The tree as of one transaction.
pub struct View<'t> {
    index: &'t Index<Node>,
    guard: Guard,
    horizon: Zxid,
}

impl View<'_> {
    /// Lets reclamation pass between two reads.
    pub fn repin(&mut self) {
        self.guard.repin();
    }

    /// The transaction that the view is of.
    pub fn horizon(&self) -> Zxid {
        self.horizon
    }

    /// The node of a path. That a node is absent is known from the children of its nearest
    /// ancestor, since a deletion shows there.
    ///
    /// # Errors
    /// [`NotYet`] when a newer transaction touched the answer.
    pub fn node(&self, path: &str) -> Result<Result<&Node, Absent>, NotYet> {
        let path = path::normal(path);
        if let Some((_, node)) = self.index.get(path, &self.guard) {
            self.allow(node.czxid)?;
            return Ok(Ok(node));
        }
        let mut ancestors = path::self_and_ancestors(path).skip(1);
        let nearest = ancestors.find_map(|ancestor| self.index.get(path::normal(ancestor), &self.guard));
        if let Some((_, ancestor)) = nearest {
            self.allow(ancestor.czxid)?;
            self.allow(ancestor.children_stamp())?;
        }
        Ok(Err(Absent))
    }

    /// A node's data and ACL.
    ///
    /// # Errors
    /// [`NotYet`] when a newer transaction changed them.
    pub fn data<'v>(&'v self, node: &'v Node) -> Result<&'v DataVersion, NotYet> {
        let data = node.data(&self.guard);
        self.allow(data.stamp)?;
        Ok(data)
    }

    /// A node's children.
    ///
    /// # Errors
    /// [`NotYet`] when a newer transaction changed them.
    pub fn children<'v>(&'v self, node: &'v Node) -> Result<Option<&'v ChildrenVersion>, NotYet> {
        let children = node.children(&self.guard);
        self.allow(node.children_stamp())?;
        Ok(children)
    }

    /// A node's Stat.
    ///
    /// # Errors
    /// [`NotYet`] when a newer transaction changed it.
    pub fn stat(&self, node: &Node) -> Result<Stat, NotYet> {
        let data = self.data(node)?;
        Ok(node.stat(data, self.children(node)?))
    }

    /// Visits the children of a node by their nodes.
    ///
    /// # Errors
    /// [`NotYet`] when a newer transaction changed them.
    pub fn for_each_child(&self, node: &Node, mut f: impl FnMut(&Node)) -> Result<(), NotYet> {
        let Some(children) = self.children(node)? else { return Ok(()) };
        let mut gone = false;
        children.set.for_each(|id| match self.child(id) {
            Some(child) => f(child),
            None => gone = true,
        });
        if gone { Err(NotYet) } else { Ok(()) }
    }

    /// A child by the number that a children set holds. It is there for as long as the set is.
    pub fn child(&self, id: NodeId) -> Option<&Node> {
        self.index.node(id, &self.guard)
    }

    fn allow(&self, stamp: Zxid) -> Result<(), NotYet> {
        if stamp > self.horizon { Err(NotYet) } else { Ok(()) }
    }
}
