//! `crossbeam::epoch` as loom sees it: the same names and orderings, and a reclamation that frees
//! as early as a guard allows.
//!
//! The law of a guard: what is unlinked after the guard was pinned stays until it ends; what was
//! unlinked before, it cannot reach. The real collector keeps the first half with room to spare (it
//! frees seldom, and two epochs late), so a model checker that ran it would hardly ever see a value
//! freed. Here nothing is freed at all: a value is marked dead at the first moment that the law
//! allows, and whoever reaches a dead value, or holds one when a guard ends, panics. The second
//! half is the two fences, which stand where the collector has its own.
//!
//! Which guards are pinned is kept where loom does not see it, so that it orders nothing that the
//! collector would not order. Loom runs the threads of an execution on one thread of the system.

use loom::sync::atomic::{AtomicUsize, fence};
use std::any::Any;
use std::cell::RefCell;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Deferred = Box<dyn FnOnce()>;

/// The guards pinned now, and what waits for them.
#[derive(Default)]
struct Registry {
    pinned: Vec<u64>,
    next: u64,
    waiting: Vec<(Vec<u64>, Deferred)>,
}

impl Registry {
    fn pin(&mut self) -> u64 {
        self.next += 1;
        self.pinned.push(self.next);
        self.next
    }

    /// A guard ends; returns what waited for it alone.
    fn unpin(&mut self, number: u64) -> Vec<Deferred> {
        self.pinned.retain(|pinned| *pinned != number);
        for (guards, _) in &mut self.waiting {
            guards.retain(|guard| *guard != number);
        }
        let free = self.waiting.extract_if(.., |(guards, _)| guards.is_empty());
        free.map(|(_, deferred)| deferred).collect()
    }
}

thread_local! {
    static REGISTRY: RefCell<Registry> = RefCell::default();
}

/// A value is leaked: what points to it after its end must be caught, not crash.
type Erased = &'static (dyn Any + Send + Sync);

/// A guard, and what was borrowed under it.
pub struct Guard {
    /// None: the guard of a cell that nobody else sees.
    number: Option<u64>,
    borrowed: RefCell<Vec<Arc<AtomicBool>>>,
}

/// Before each execution: a panic in the one before may have left guards behind.
pub fn reset() {
    REGISTRY.set(Registry::default());
}

/// Pins.
pub fn pin() -> Guard {
    let number = REGISTRY.with_borrow_mut(Registry::pin);
    fence(Ordering::SeqCst);
    Guard { number: Some(number), borrowed: RefCell::default() }
}

/// A guard for a cell that nobody else sees.
pub fn unprotected() -> &'static Guard {
    Box::leak(Box::new(Guard { number: None, borrowed: RefCell::default() }))
}

impl Guard {
    /// Ends the guard and starts it anew.
    pub fn repin(&mut self) {
        *self = pin();
    }

    /// Nothing: here everything is freed as early as may be.
    pub fn flush(&self) {}

    /// Runs `f` when the guards that are pinned now have ended.
    pub fn defer(&self, f: impl FnOnce() + Send + 'static) {
        fence(Ordering::SeqCst);
        REGISTRY.with_borrow_mut(|registry| {
            let pinned = registry.pinned.clone();
            registry.waiting.push((pinned, Box::new(f)));
        });
    }

    /// Marks the value dead then.
    pub fn defer_destroy<T>(&self, value: Shared<'_, T>) {
        if let Some(dead) = value.dead {
            self.defer(move || dead.store(true, Ordering::Relaxed));
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        for dead in self.borrowed.borrow().iter() {
            assert!(!dead.load(Ordering::Relaxed), "a value was freed under a guard");
        }
        let Some(number) = self.number else { return };
        let free = REGISTRY.with_borrow_mut(|registry| registry.unpin(number));
        free.into_iter().for_each(|deferred| deferred());
    }
}

/// A value that is in no cell yet, or no longer.
pub struct Owned<T>(Shared<'static, T>);

impl<T: Send + Sync + 'static> Owned<T> {
    /// Boxes the value.
    pub fn new(value: T) -> Self {
        let dead = Arc::new(AtomicBool::new(false));
        Owned(Shared { value: Some(Box::leak(Box::new(value))), dead: Some(dead), marker: PhantomData })
    }

    /// To be put into a cell.
    pub fn into_shared(self, _guard: &Guard) -> Shared<'_, T> {
        let Shared { value, dead, .. } = self.0;
        Shared { value, dead, marker: PhantomData }
    }
}

/// What a cell points to.
pub struct Shared<'g, T> {
    value: Option<Erased>,
    dead: Option<Arc<AtomicBool>>,
    marker: PhantomData<(&'g Guard, fn() -> T)>,
}

impl<'g, T> Shared<'g, T> {
    /// Nothing.
    pub fn null() -> Self {
        Shared { value: None, dead: None, marker: PhantomData }
    }

    /// Whether it points to nothing.
    pub fn is_null(&self) -> bool {
        self.value.is_none()
    }
}

impl<'g, T: 'static> Shared<'g, T> {
    /// The value.
    pub fn as_ref(&self) -> Option<&'g T> {
        self.value?.downcast_ref()
    }
}

/// A pointer that loom follows: the number of a value in the order in which the cell got them.
pub struct Atomic<T> {
    number: AtomicUsize,
    values: Mutex<Vec<(Erased, Arc<AtomicBool>)>>,
    marker: PhantomData<fn() -> T>,
}

impl<T> Atomic<T> {
    /// A pointer to nothing.
    pub fn null() -> Self {
        Atomic { number: AtomicUsize::new(0), values: Mutex::default(), marker: PhantomData }
    }

    fn values(&self) -> MutexGuard<'_, Vec<(Erased, Arc<AtomicBool>)>> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shared<'g>(&self, number: usize) -> Shared<'g, T> {
        let Some(at) = number.checked_sub(1) else { return Shared::null() };
        let (value, dead) = self.values()[at].clone();
        Shared { value: Some(value), dead: Some(dead), marker: PhantomData }
    }

    /// Loads it; the guard answers for what it points to.
    pub fn load<'g>(&self, order: Ordering, guard: &'g Guard) -> Shared<'g, T> {
        let shared = self.shared(self.number.load(order));
        if let (Some(dead), Some(_)) = (&shared.dead, guard.number) {
            assert!(!dead.load(Ordering::Relaxed), "loaded a value that was freed");
            guard.borrowed.borrow_mut().push(Arc::clone(dead));
        }
        shared
    }

    /// Takes the value of a cell that nobody else sees.
    pub fn into_owned(self) -> Owned<T> {
        let number = self.number.load(Ordering::Relaxed);
        Owned(self.shared(number))
    }

    fn number_of(&self, shared: Shared<'_, T>) -> usize {
        let (Some(value), Some(dead)) = (shared.value, shared.dead) else { return 0 };
        let mut values = self.values();
        values.push((value, dead));
        values.len()
    }
}

impl<T: Send + Sync + 'static> Atomic<T> {
    /// A pointer to a new value.
    pub fn new(value: T) -> Self {
        let atomic = Atomic::null();
        let number = atomic.number_of(Owned::new(value).0);
        atomic.number.store(number, Ordering::Relaxed);
        atomic
    }

    /// Replaces what it points to.
    pub fn swap<'g>(&self, new: Shared<'_, T>, order: Ordering, _guard: &'g Guard) -> Shared<'g, T> {
        let number = self.number_of(new);
        self.shared(self.number.swap(number, order))
    }
}
