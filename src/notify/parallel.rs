//! Work on several connections at a time, on threads that end with the call.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

/// How many other sites are asked at the same time. Each waits for its own network; the memory of an answer is bounded.
const AT_ONCE: usize = 8;

/// Does `work` for each item, several at a time, and hands each result to `on_each` on the calling thread as it comes in.
pub(super) fn each<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync, mut on_each: impl FnMut(R)) {
    let next = AtomicUsize::new(0);
    let take = || items.get(next.fetch_add(1, Ordering::Relaxed));
    let (give, results) = mpsc::channel();
    thread::scope(|scope| {
        // Dropped first of all when `on_each` panics: then the threads stop after what they are at.
        let results = results;
        for number in 0..AT_ONCE.min(items.len()) {
            let (give, work, take) = (give.clone(), &work, &take);
            let worker = move || {
                while let Some(item) = take() {
                    if give.send(work(item)).is_err() {
                        return;
                    }
                }
            };
            let spawned = thread::Builder::new().name("rowferry notifier".to_owned()).spawn_scoped(scope, worker);
            if let Err(error) = spawned {
                log::warn!(target: "rowferry::notify", "asking with {number} threads: no more could be started: {error}");
                break;
            }
        }
        drop(give);
        results.iter().for_each(&mut on_each);
        // Without a single thread nothing was done yet.
        while let Some(item) = take() {
            on_each(work(item));
        }
    });
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::AtomicBool;

    use super::*;

    #[test]
    fn each_item_is_worked_on_once_several_at_a_time() {
        // Each of the first eight waits for the other seven: one at a time would never end.
        let together = Barrier::new(AT_ONCE);
        let items: Vec<usize> = (0..50).collect();
        let mut seen = Vec::new();
        each(
            &items,
            |item| {
                if *item < AT_ONCE {
                    together.wait();
                }
                *item
            },
            |item| seen.push(item),
        );
        seen.sort_unstable();
        assert_eq!(seen, items);
        each(&[] as &[usize], |item| *item, |_| unreachable!("there is nothing to do"));
    }

    #[test]
    fn no_more_than_eight_at_once() {
        let (now, passed) = (AtomicUsize::new(0), AtomicBool::new(false));
        each(
            &[0; 100],
            |_| {
                if now.fetch_add(1, Ordering::SeqCst) >= AT_ONCE {
                    passed.store(true, Ordering::SeqCst);
                }
                thread::yield_now();
                now.fetch_sub(1, Ordering::SeqCst);
            },
            |()| {},
        );
        assert!(!passed.load(Ordering::SeqCst));
    }

    #[test]
    fn a_callback_that_panics_ends_the_work() {
        let done = AtomicUsize::new(0);
        let items = [(); 10_000];
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            each(
                &items,
                |()| {
                    done.fetch_add(1, Ordering::SeqCst);
                    thread::yield_now();
                },
                |()| panic!("enough"),
            );
        }));
        assert!(panicked.is_err());
    }
}
