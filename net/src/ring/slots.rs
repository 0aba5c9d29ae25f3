//! What the kernel was given and has not given back, each operation with its number.

use std::any::Any;
use std::collections::VecDeque;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::rc::Rc;
use std::task::Waker;

/// One operation.
pub enum Slot {
    /// Nobody's.
    Free,
    /// In the kernel, or on its way there.
    Pending(Option<Waker>),
    /// Its result, and which of the shared buffers it is in.
    Done(i32, Option<u16>),
    /// In the kernel, and nobody waits for it any more: what it may still touch is kept here.
    Abandoned {
        /// Until the completion.
        _kept: Box<dyn Any>,
    },
    /// In the kernel for one completion after another.
    Arriving(Arriving),
}

/// What came to a listening socket and was not taken yet.
#[derive(Default)]
pub struct Arriving {
    /// In the order in which they came.
    pub came: VecDeque<io::Result<TcpStream>>,
    /// Who waits for the next one.
    pub waker: Option<Waker>,
    /// Nothing more comes until it is asked for anew.
    pub ended: bool,
    /// Nobody takes anything any more; what the kernel still uses is kept here.
    pub abandoned: Option<Rc<TcpListener>>,
}

/// See the module.
#[derive(Default)]
pub struct Slots {
    /// By number; the kernel knows an operation by it.
    pub all: Vec<Slot>,
    free: Vec<usize>,
}

impl Slots {
    /// Gives a slot a number.
    pub fn take(&mut self, slot: Slot) -> usize {
        let index = self.free.pop().unwrap_or_else(|| {
            self.all.push(Slot::Free);
            self.all.len() - 1
        });
        self.all[index] = slot;
        index
    }

    /// The number is another's from here on.
    pub fn release(&mut self, index: usize) {
        self.all[index] = Slot::Free;
        self.free.push(index);
    }
}
