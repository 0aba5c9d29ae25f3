//! The tasks of a client core: accept, read, write, deliver, send, tick. They move bytes between
//! the ring and [`Core`]; nothing is decided here.

use super::core::Core;
use super::doors::Doors;
use crate::mailbox::{Mail, Receiver};
use crate::moves::{Closed, Opened};
use crate::ring::{self, Incoming, Listener, Stream, Wake};
use ringkeeper_quorum::step::ReplyBatch;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;
use tracing::{debug, warn};

/// How often cores tell the replica who is alive, in milliseconds.
pub const TICK_MS: u64 = 50;
/// How long to wait when the kernel gives no more file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A core and what its tasks share.
#[derive(Clone)]
pub struct Tasks {
    core: Rc<RefCell<Core>>,
    /// The server stops.
    stopping: Rc<Cell<bool>>,
}

impl Tasks {
    /// Runs a core until `stop` is woken.
    pub async fn run(
        core: Core,
        doors: Doors,
        mail: Receiver<Mail<ReplyBatch>>,
        mail_wake: Wake,
        stop: Wake,
    ) {
        let flush = core.state.flush.clone();
        let tasks = Tasks { core: Rc::new(RefCell::new(core)), stopping: Rc::new(Cell::new(false)) };
        ring::spawn(tasks.clone().listen(doors));
        // On the thread of the replica too, which goes first: clients wait for its answers.
        ring::spawn_urgent(tasks.clone().deliver(mail, mail_wake));
        ring::spawn(tasks.clone().flush(flush));
        ring::spawn(tasks.clone().tick());
        stop.woken().await;
        tasks.stopping.set(true);
        // Lets readers and writers see that their sockets are shut down. A client that was just being
        // accepted may come meanwhile.
        while !tasks.core.borrow().connections.is_empty() {
            tasks.core.borrow_mut().close_all();
            ring::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn listen(self, doors: Doors) {
        while !self.stopping.get() {
            for Opened { socket, closed } in doors.opened.try_iter() {
                ring::spawn(self.clone().accept(Listener::new(socket), closed));
            }
            doors.wake.woken().await;
        }
    }

    async fn accept(self, listener: Listener, closed: Closed) {
        while !self.stopping.get() {
            match listener.accept().await {
                // Whoever comes now would keep the stop waiting.
                Ok(_) if self.stopping.get() => return,
                Ok((stream, peer)) => {
                    let accepted = self.core.borrow_mut().accept(stream.clone(), peer);
                    if let Some(number) = accepted {
                        let (writer, reader) = {
                            let core = self.core.borrow();
                            let connection = &core.connections[&number];
                            (connection.writer.clone(), connection.reader.clone())
                        };
                        ring::spawn(self.clone().read(number, stream.clone(), reader));
                        ring::spawn(self.clone().write(number, stream, writer));
                    }
                }
                Err(_) if closed.is_so() => return,
                Err(error) => {
                    warn!("a connection was not accepted: {error}");
                    ring::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn read(self, number: u64, stream: Stream, reader: Wake) {
        let mut incoming = Incoming::new(stream.clone());
        loop {
            while !self.core.borrow().may_read(number) {
                reader.woken().await;
            }
            let taken = incoming.next(|bytes| {
                self.core.borrow_mut().on_bytes(number, bytes);
                bytes.len()
            });
            match taken.await {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => {
                    debug!(number, "read: {error}");
                    break;
                }
            }
        }
        // An operator's client may be done sending while its answer is still to come.
        loop {
            let answers_on = {
                let core = self.core.borrow();
                let connection = core.connections.get(&number);
                connection.is_some_and(|c| c.is_answering_command() && !c.closing)
            };
            if !answers_on {
                break;
            }
            reader.woken().await;
        }
        let last_words = {
            let core = self.core.borrow();
            core.connections.get(&number).is_some_and(|c| c.is_answering_command())
        };
        if !last_words {
            stream.shutdown();
            self.core.borrow_mut().remove(number);
        }
    }

    async fn write(self, number: u64, stream: Stream, writer: Wake) {
        loop {
            let (output, since_us) = {
                let mut core = self.core.borrow_mut();
                let Some(connection) = core.connections.get_mut(&number) else { break };
                if connection.output.is_empty() && connection.closing {
                    let command = connection.is_answering_command();
                    drop(core);
                    stream.shutdown();
                    if command {
                        self.core.borrow_mut().remove(number);
                    }
                    break;
                }
                (std::mem::take(&mut connection.output), std::mem::take(&mut connection.output_us))
            };
            if output.is_empty() {
                writer.woken().await;
                continue;
            }
            let (result, written) = stream.write_all(output).await;
            if let Err(error) = result {
                debug!(number, "write: {error}");
                if let Some(connection) = self.core.borrow_mut().connections.get_mut(&number) {
                    connection.abort();
                }
                continue;
            }
            self.core.borrow_mut().on_drained(number, since_us, written);
        }
    }

    async fn deliver(self, mail: Receiver<Mail<ReplyBatch>>, wake: Wake) {
        loop {
            while let Some(batch) = mail.receive() {
                self.core.borrow_mut().on_mail(batch);
            }
            wake.woken().await;
        }
    }

    async fn flush(self, flush: Wake) {
        loop {
            flush.woken().await;
            self.core.borrow_mut().flush();
        }
    }

    async fn tick(self) {
        while !self.stopping.get() {
            let pause = self.core.borrow().until_multiple(TICK_MS);
            ring::sleep(pause).await;
            self.core.borrow_mut().on_tick();
        }
    }
}
