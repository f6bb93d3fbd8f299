//! Who is remembered, and how many at most.
//!
//! Two halves: who is asked for comes into the younger one, and when that is full the older one is
//! dropped. So whoever was asked for lately stays, and nobody who is in use goes.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

pub(super) type Shared<T> = Arc<Mutex<T>>;

#[derive(Debug)]
pub(super) struct Table<T> {
    halves: Mutex<Halves<T>>,
    half_max: usize,
}

#[derive(Debug)]
struct Halves<T> {
    young: HashMap<u64, Shared<T>>,
    old: HashMap<u64, Shared<T>>,
}

pub(super) fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T> Table<T> {
    pub(super) fn new(max: usize) -> Self {
        let halves = Halves { young: HashMap::new(), old: HashMap::new() };
        Self { halves: Mutex::new(halves), half_max: max / 2 }
    }

    /// The one under `key`; each that is dropped to make room goes through `drops`.
    pub(super) fn get(
        &self,
        key: u64,
        make: impl FnOnce() -> T,
        drops: impl FnMut(&T),
    ) -> Shared<T> {
        let mut halves = lock(&self.halves);
        if let Some(found) = halves.young.get(&key) {
            return found.clone();
        }
        let found = halves.old.remove(&key);
        let found = found.unwrap_or_else(|| Arc::new(Mutex::new(make())));
        if halves.young.len() >= self.half_max {
            halves.turn(drops);
        }
        halves.young.insert(key, found.clone());
        found
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let halves = lock(&self.halves);
        halves.young.len() + halves.old.len()
    }
}

impl<T> Halves<T> {
    fn turn(&mut self, mut drops: impl FnMut(&T)) {
        let young = std::mem::take(&mut self.young);
        for (key, shared) in std::mem::replace(&mut self.old, young) {
            if Arc::strong_count(&shared) > 1 {
                self.young.insert(key, shared);
            } else {
                drops(&lock(&shared));
            }
        }
    }
}
