//! Calls of the host's own code in the middle of a pull. They may come back to the client, which is busy with the pull then.

use std::cell::Cell;

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Puts things back as they were, also after a panic.
struct Before(bool);

impl Drop for Before {
    fn drop(&mut self) {
        INSIDE.set(self.0);
    }
}

/// Calls the host's code.
pub(crate) fn call_back<T>(work: impl FnOnce() -> T) -> T {
    let _before = Before(INSIDE.replace(true));
    work()
}

/// Whether this thread is in the host's code.
pub(super) fn is_inside() -> bool {
    INSIDE.get()
}
