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
/// The same while the disk works. What the kernel is told it does at once, and a few answers to clients take
/// as long as a write of the log: while it is busy with too many of them, the disk would have nothing to do.
const POLLS_BESIDE_DISK_MAX: usize = 4;
/// Urgent tasks polled one after the other while others wait: those that wake each other keep none from the
/// rest.
const URGENT_IN_A_ROW_MAX: usize = 4;
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
    woken: SegQueue<(usize, bool)>,
    /// The thread waits in the kernel, or is about to.
    asleep: AtomicBool,
    /// Ends that wait.
    bell: PipeWriter,
}

struct TaskWaker {
    task: usize,
    /// It is polled before those that are not.
    is_urgent: bool,
    /// It is in a queue already.
    queued: AtomicBool,
    remote: Arc<Remote>,
}

impl TaskWaker {
    fn new(task: usize, is_urgent: bool, remote: &Arc<Remote>) -> Arc<TaskWaker> {
        let remote = Arc::clone(remote);
        Arc::new(TaskWaker { task, is_urgent, queued: AtomicBool::new(false), remote })
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
                executor.queue(self.task, self.is_urgent);
                true
            }
            _ => false,
        });
        if here {
            return;
        }
        self.remote.woken.push((self.task, self.is_urgent));
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
    /// The same, before those.
    urgent: RefCell<VecDeque<usize>>,
    /// Polls of those since the last of another.
    urgent_in_a_row: Cell<usize>,
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
            urgent: RefCell::default(),
            urgent_in_a_row: Cell::new(0),
            timers: RefCell::default(),
            next_timer: Cell::new(0),
            spin,
            remote: Arc::new(Remote { woken: SegQueue::new(), asleep: AtomicBool::new(false), bell }),
        });
        CURRENT.set(Some(Rc::clone(&executor)));
        executor.spawn(listen(Rc::clone(&executor.driver), listening), false);
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
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static, is_urgent: bool) {
        let mut slots = self.slots.borrow_mut();
        let index = self.free.borrow_mut().pop().unwrap_or_else(|| {
            slots.push(None);
            slots.len() - 1
        });
        let waker = TaskWaker::new(index, is_urgent, &self.remote);
        waker.queued.store(true, Ordering::Release);
        slots[index] = Some(Slot { task: Some(Box::pin(task)), waker });
        self.queue(index, is_urgent);
    }

    fn queue(&self, task: usize, is_urgent: bool) {
        let queue = if is_urgent { &self.urgent } else { &self.ready };
        queue.borrow_mut().push_back(task);
    }

    /// The task to be polled next, and whether it is urgent.
    fn next(&self) -> Option<(usize, bool)> {
        let in_a_row = self.urgent_in_a_row.get();
        let others_wait = in_a_row >= URGENT_IN_A_ROW_MAX && !self.ready.borrow().is_empty();
        if !others_wait && let Some(task) = self.urgent.borrow_mut().pop_front() {
            self.urgent_in_a_row.set(in_a_row + 1);
            return Some((task, true));
        }
        self.urgent_in_a_row.set(0);
        Some((self.ready.borrow_mut().pop_front()?, false))
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
        let main = TaskWaker::new(MAIN, true, &self.remote);
        main.wake_by_ref();
        let main_waker = Waker::from(Arc::clone(&main));
        loop {
            self.gather();
            for polls in 0.. {
                // One of them may have begun a write.
                let beside_disk = self.driver.waits_for_disk();
                if polls >= if beside_disk { POLLS_BESIDE_DISK_MAX } else { POLLS_PER_TURN_MAX } {
                    break;
                }
                let Some((task, is_urgent)) = self.next() else { break };
                if task != MAIN {
                    self.poll(task);
                } else {
                    main.queued.store(false, Ordering::Release);
                    if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&main_waker)) {
                        return output;
                    }
                }
                if is_urgent && self.urgent.borrow().is_empty() {
                    // What it asked the kernel for is urgent, too.
                    break;
                }
            }
            self.wait();
        }
    }

    /// Queues what other threads woke and whose time has come.
    fn gather(&self) {
        while let Some((task, is_urgent)) = self.remote.woken.pop() {
            self.queue(task, is_urgent);
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
        if !self.ready.borrow().is_empty() || !self.urgent.borrow().is_empty() {
            self.driver.turn(None);
            return;
        }
        if let Some(patience) = self.spin.patience() {
            let found = self.look_for_work(Instant::now() + patience);
            self.spin.looked(found);
        }
        self.sleep();
    }

    /// Until there is some, or that moment has come; returns which.
    fn look_for_work(&self, end: Instant) -> bool {
        self.driver.submit();
        let end = self.timers.borrow().keys().next().map_or(end, |(at, _)| end.min(*at));
        while Instant::now() < end {
            for _ in 0..LOOKS_PER_YIELD {
                if self.driver.has_news() || !self.remote.woken.is_empty() {
                    return true;
                }
                std::hint::spin_loop();
            }
            // Others may want the processor: they are to have it.
            std::thread::yield_now();
        }
        false
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
