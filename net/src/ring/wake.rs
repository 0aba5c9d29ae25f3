//! Wakes a task, from any thread, of either runtime.

use std::sync::Arc;

/// Wakes one task, from this thread or another. Waking it twice before it looks is waking it once.
#[derive(Clone, Debug, Default)]
pub struct Wake(Arc<tokio::sync::Notify>);

impl Wake {
    /// Nobody is woken yet.
    pub fn new() -> Self {
        Wake::default()
    }

    /// Wakes the task, now or when it waits next.
    pub fn wake(&self) {
        self.0.notify_one();
    }

    /// Waits to be woken.
    pub async fn woken(&self) {
        self.0.notified().await;
    }
}
