//! Panics inside the simulation are part of what happened: they go into the
//! trace and to the checkers, even when the runtime or an actor catches them.

use std::{cell::RefCell, panic, sync::Once};

use super::interpose;

thread_local! {
    static ACTIVE: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// From now on, panics on this thread are collected instead of printed.
pub fn collect() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let collected = ACTIVE.with_borrow_mut(|panics| {
                panics.as_mut().map(|panics| panics.push(info.to_string().replace('\n', " "))).is_some()
            });
            if !collected {
                interpose::outside(|| previous(info));
            }
        }));
    });
    ACTIVE.set(Some(Vec::new()));
}

/// What was collected since the last call.
pub fn drain() -> Vec<String> {
    ACTIVE.with_borrow_mut(|panics| panics.as_mut().map(std::mem::take).unwrap_or_default())
}

/// Panics are printed again.
pub fn release() {
    ACTIVE.set(None);
}
