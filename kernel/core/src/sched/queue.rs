//! One CPU's run queue.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;

use sis_machine::task::Task;

/// Tasks that wait for one CPU, by virtual runtime.
pub(super) struct RunQueue {
    tasks: BTreeMap<(u64, u64), Arc<Task>>,
    next_id: u64,
    /// The queue's present: virtual runtime of the last task that was chosen; never goes back.
    pub(super) min_vruntime: u64,
    /// Virtual runtime of the running task when it was chosen.
    pub(super) current_vruntime: u64,
    /// The idle task runs.
    pub(super) current_is_idle: bool,
    /// When the running task was chosen.
    pub(super) since_ns: u64,
    /// What this CPU had spent in interrupt handlers then.
    pub(super) since_irq_ns: u64,
    /// This CPU's idle task.
    pub(super) idle: Option<Arc<Task>>,
}

impl RunQueue {
    pub(super) const fn new() -> Self {
        Self {
            tasks: BTreeMap::new(),
            next_id: 0,
            min_vruntime: 0,
            current_vruntime: 0,
            current_is_idle: true,
            since_ns: 0,
            since_irq_ns: 0,
            idle: None,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.tasks.len()
    }

    pub(super) fn insert(&mut self, vruntime: u64, task: Arc<Task>) {
        self.next_id += 1;
        self.tasks.insert((vruntime, self.next_id), task);
    }

    /// The first task that may use CPU `me`, or the first at all when none does (its mask changed while it waited here;
    /// it moves when it next sleeps).
    pub(super) fn take_first(&mut self, me: usize) -> Option<Arc<Task>> {
        let key = self
            .tasks
            .iter()
            .find(|(_, t)| super::ext(t).may_use(me))
            .map(|(k, _)| *k);
        match key {
            Some(k) => self.tasks.remove(&k),
            None => self.tasks.pop_first().map(|(_, t)| t),
        }
    }

    fn stealable(&self, thief: usize) -> Option<(u64, u64)> {
        self.tasks
            .iter()
            .rev()
            .find(|(_, t)| !t.is_on_cpu() && super::ext(t).may_use(thief))
            .map(|(k, _)| *k)
    }

    pub(super) fn has_stealable(&self, thief: usize) -> bool {
        self.stealable(thief).is_some()
    }

    /// The last task that CPU `thief` may take.
    pub(super) fn take_stealable(&mut self, thief: usize) -> Option<Arc<Task>> {
        let key = self.stealable(thief)?;
        self.tasks.remove(&key)
    }

    pub(super) fn last_vruntime(&self) -> Option<u64> {
        self.tasks.keys().next_back().map(|k| k.0)
    }
}
