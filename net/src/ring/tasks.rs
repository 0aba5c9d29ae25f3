//! Tasks of one thread: a queue of those that can go on, timers, and wake-ups from other threads. A turn
//! runs what can go on, then tells the driver everything that was asked for and waits, in one system call.

use super::driver::Driver;
use super::spin::Spin;
use crossbeam::queue::SegQueue;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, poll_fn};
use std::io::{self, PipeReader, PipeWriter, Write};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

/// Polls of a turn, after which completions are looked for: tasks that wake each other keep none from
/// the rest.
const POLLS_PER_TURN_MAX: usize = 256;
/// Looks for work between two offers of the processor to others.
const LOOKS_PER_YIELD: usize = 16;
/// The future that the thread runs for, beside its tasks.
const MAIN: usize = usize::MAX;

thread_local! {
    static CURRENT: RefCell<Option<Rc<Executor>>> = const { RefCell::new(None) };
}

/// The executor that runs on this thread.
pub(super) fn current() -> Option<Rc<Executor>> {
    CURRENT.with_borrow(Clone::clone)
}

type Task = Pin<Box<dyn Future<Output = ()>>>;

struct Slot {
    /// `None` while it is polled.
    task: Option<Task>,
    waker: Arc<TaskWaker>,
}

/// What other threads may touch.
struct Remote {
    /// Tasks that they woke.
    woken: SegQueue<usize>,
    /// The thread waits in the kernel, or is about to.
    asleep: AtomicBool,
    /// Ends that wait.
    bell: PipeWriter,
}

struct TaskWaker {
    task: usize,
    /// It is in a queue already.
    queued: AtomicBool,
    remote: Arc<Remote>,
}

impl TaskWaker {
    fn new(task: usize, remote: &Arc<Remote>) -> Arc<TaskWaker> {
        Arc::new(TaskWaker { task, queued: AtomicBool::new(false), remote: Arc::clone(remote) })
    }
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.queued.swap(true, Ordering::AcqRel) {
            return;
        }
        let here = CURRENT.with_borrow(|current| match current {
            Some(executor) if Arc::ptr_eq(&executor.remote, &self.remote) => {
                executor.ready.borrow_mut().push_back(self.task);
                true
            }
            _ => false,
        });
        if here {
            return;
        }
        self.remote.woken.push(self.task);
        // Either this sees that the thread is about to wait, or the thread sees the task: each writes
        // first and reads then.
        fence(Ordering::SeqCst);
        if self.remote.asleep.swap(false, Ordering::SeqCst) {
            // It fails only when the thread has ended.
            let _ = (&self.remote.bell).write(&[1]);
        }
    }
}

/// See the module.
pub(super) struct Executor {
    /// The kernel's side.
    pub driver: Rc<Driver>,
    slots: RefCell<Vec<Option<Slot>>>,
    free: RefCell<Vec<usize>>,
    ready: RefCell<VecDeque<usize>>,
    timers: RefCell<BTreeMap<(Instant, u64), Waker>>,
    next_timer: Cell<u64>,
    spin: Spin,
    remote: Arc<Remote>,
}

impl Executor {
    /// Runs `future` and what it spawns on this thread, until it is done. What is left of the tasks is
    /// dropped then.
    ///
    /// # Errors
    /// The kernel gives no ring.
    pub fn run<F: Future>(entries: u32, spin: Spin, future: F) -> io::Result<F::Output> {
        assert!(current().is_none(), "one ring a thread");
        let (listening, bell) = io::pipe()?;
        let executor = Rc::new(Executor {
            driver: Rc::new(Driver::new(entries)?),
            slots: RefCell::default(),
            free: RefCell::default(),
            ready: RefCell::default(),
            timers: RefCell::default(),
            next_timer: Cell::new(0),
            spin,
            remote: Arc::new(Remote { woken: SegQueue::new(), asleep: AtomicBool::new(false), bell }),
        });
        CURRENT.set(Some(Rc::clone(&executor)));
        executor.spawn(listen(Rc::clone(&executor.driver), listening));
        let output = executor.block_on(future);
        // The tasks go first: what they have in the kernel is then nobody's, and is waited for.
        let tasks = std::mem::take(&mut *executor.slots.borrow_mut());
        drop(tasks);
        executor.timers.borrow_mut().clear();
        executor.driver.end();
        CURRENT.set(None);
        Ok(output)
    }

    /// Adds a task.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let mut slots = self.slots.borrow_mut();
        let index = self.free.borrow_mut().pop().unwrap_or_else(|| {
            slots.push(None);
            slots.len() - 1
        });
        let waker = TaskWaker::new(index, &self.remote);
        waker.queued.store(true, Ordering::Release);
        slots[index] = Some(Slot { task: Some(Box::pin(task)), waker });
        self.ready.borrow_mut().push_back(index);
    }

    /// Waits until a moment.
    pub async fn sleep_until(&self, at: Instant) {
        let key = (at, self.next_timer.replace(self.next_timer.get() + 1));
        poll_fn(|context| {
            if Instant::now() >= at {
                self.timers.borrow_mut().remove(&key);
                return Poll::Ready(());
            }
            self.timers.borrow_mut().insert(key, context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        let main = TaskWaker::new(MAIN, &self.remote);
        main.wake_by_ref();
        let main_waker = Waker::from(Arc::clone(&main));
        loop {
            self.gather();
            for _ in 0..POLLS_PER_TURN_MAX {
                let Some(task) = self.ready.borrow_mut().pop_front() else { break };
                if task != MAIN {
                    self.poll(task);
                    continue;
                }
                main.queued.store(false, Ordering::Release);
                if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&main_waker)) {
                    return output;
                }
            }
            self.wait();
        }
    }

    /// Queues what other threads woke and whose time has come.
    fn gather(&self) {
        while let Some(task) = self.remote.woken.pop() {
            self.ready.borrow_mut().push_back(task);
        }
        if self.timers.borrow().is_empty() {
            return;
        }
        let now = Instant::now();
        loop {
            let due = {
                let mut timers = self.timers.borrow_mut();
                timers.first_entry().filter(|first| first.key().0 <= now).map(|first| first.remove())
            };
            match due {
                Some(waker) => waker.wake(),
                None => return,
            }
        }
    }

    fn poll(&self, index: usize) {
        let taken = {
            let mut slots = self.slots.borrow_mut();
            // A waker may outlive its task.
            let slot = slots.get_mut(index).and_then(Option::as_mut);
            slot.and_then(|slot| Some((slot.task.take()?, Arc::clone(&slot.waker))))
        };
        let Some((mut task, waker)) = taken else { return };
        waker.queued.store(false, Ordering::Release);
        let done = task.as_mut().poll(&mut Context::from_waker(&Waker::from(waker))).is_ready();
        if done {
            drop(task);
            self.slots.borrow_mut()[index] = None;
            self.free.borrow_mut().push(index);
        } else if let Some(slot) = &mut self.slots.borrow_mut()[index] {
            slot.task = Some(task);
        }
    }

    /// Tells the kernel what was asked for, and waits unless a task can go on.
    fn wait(&self) {
        if !self.ready.borrow().is_empty() {
            self.driver.turn(None);
            return;
        }
        if !self.spin.is_on() {
            return self.sleep();
        }
        let begun = Instant::now();
        let patience = self.spin.patience();
        if !patience.is_zero() {
            self.look_for_work(begun + patience);
        }
        self.sleep();
        self.spin.waited(begun.elapsed());
    }

    /// Until there is some, or that moment has come.
    fn look_for_work(&self, end: Instant) {
        self.driver.submit();
        let end = self.timers.borrow().keys().next().map_or(end, |(at, _)| end.min(*at));
        while Instant::now() < end {
            for _ in 0..LOOKS_PER_YIELD {
                if self.driver.has_news() || !self.remote.woken.is_empty() {
                    return;
                }
                std::hint::spin_loop();
            }
            // Others may want the processor: they are to have it.
            std::thread::yield_now();
        }
    }

    fn sleep(&self) {
        self.remote.asleep.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let patience = match self.remote.woken.is_empty() {
            true => Some(self.timers.borrow().keys().next().map(|(at, _)| *at)),
            false => None,
        };
        self.driver.turn(patience);
        self.remote.asleep.store(false, Ordering::SeqCst);
    }
}

/// Has a read of the bell in the kernel at all times.
async fn listen(driver: Rc<Driver>, bell: PipeReader) {
    let bell = Rc::new(std::fs::File::from(std::os::fd::OwnedFd::from(bell)));
    let mut buffer = Vec::with_capacity(64);
    loop {
        let (_, back) = driver.read(Rc::clone(&bell), buffer).await;
        buffer = back;
        buffer.clear();
    }
}
