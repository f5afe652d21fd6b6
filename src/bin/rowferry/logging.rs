//! The log of the command, on stderr.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use log::{Level, Log, Metadata, Record};

use crate::args::{Talk, is_empty_variable};
use crate::hints;
use crate::output::one_line;

/// Most characters of a line.
const LINE: usize = 2_000;

/// Most lines of one level in a minute, so that no peer fills a disk. Of `debug` and `trace`, which somebody asks for to see all,
/// there are as many as come.
const LINES_PER_MINUTE: u32 = 300;

const MINUTE: Duration = Duration::from_secs(60);

/// Starts the log: what the flags say, else `--log` or its variable, else `RUST_LOG`. What dependencies say of the bytes that they move
/// stays out, whatever is asked for: codes, tokens and rows are in them.
pub fn start(talk: &Talk, serves: bool) {
    let lines = match filter(talk, serves) {
        Ok(filter) => env_logger::Builder::new().parse_filters(filter).build(),
        Err(default) if is_empty_variable("RUST_LOG") => env_logger::Builder::new().parse_filters(default).build(),
        Err(default) => env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(default)).build(),
    };
    let most = lines.filter();
    // It fails only where there is a log already.
    if log::set_boxed_logger(Box::new(Bounded { lines, spent: Mutex::default() })).is_ok() {
        log::set_max_level(most);
    }
}

/// What is logged, or what is logged by default if `RUST_LOG` does not say it.
fn filter(talk: &Talk, serves: bool) -> Result<&str, &'static str> {
    match (talk.quiet, talk.verbose, &talk.log_filter) {
        (true, _, _) if serves => Ok("rowferry=warn"),
        (true, _, _) => Ok("off"),
        (false, 1, _) => Ok("rowferry=info"),
        (false, 2, _) => Ok("rowferry=debug"),
        (false, 3.., _) => Ok("rowferry=trace"),
        (false, 0, Some(filter)) => Ok(filter),
        // One who serves wants to see who came; the other commands say what is to be said themselves.
        (false, 0, None) if serves => Err("rowferry=info"),
        (false, 0, None) => Err("off"),
    }
}

/// A log whose lines are short, printable, our own and not too many.
struct Bounded<L> {
    lines: L,
    spent: Mutex<[Spent; 3]>,
}

/// What was logged of a level within its minute.
#[derive(Debug, Default, Clone, Copy)]
struct Spent {
    began: Option<Instant>,
    lines: u32,
    left_out: u64,
}

impl Spent {
    /// Whether there is room for a line, and how many were left out in the minute that has ended with it.
    fn take(&mut self, now: Instant) -> (bool, u64) {
        let ended = self.end(now);
        if self.lines >= LINES_PER_MINUTE {
            self.left_out += 1;
            return (false, ended);
        }
        self.lines += 1;
        (true, ended)
    }

    /// Ends the minute if it is over; says how many lines were left out in it.
    fn end(&mut self, now: Instant) -> u64 {
        if self.began.is_some_and(|began| now.saturating_duration_since(began) < MINUTE) {
            return 0;
        }
        std::mem::replace(self, Spent { began: Some(now), ..Spent::default() }).left_out
    }
}

/// What may be said at all. Of others only what went wrong.
fn is_ours(metadata: &Metadata<'_>) -> bool {
    let ours = metadata.target().split("::").next().is_some_and(|name| name == "rowferry");
    ours || metadata.level() <= Level::Warn
}

fn cut(text: &str) -> String {
    let mut text = one_line(&hints::translated(text));
    if let Some((end, _)) = text.char_indices().nth(LINE) {
        text.truncate(end);
        text.push_str("...");
    }
    text
}

impl<L: Log> Bounded<L> {
    /// What of a level that has a bound; the levels are counted from 1.
    fn of<T>(&self, level: Level, what: impl FnOnce(&mut Spent) -> T) -> Option<T> {
        self.spent.lock().unwrap_or_else(PoisonError::into_inner).get_mut(level as usize - 1).map(what)
    }

    fn say_left_out(&self, level: Level, count: u64) {
        if count > 0 {
            let text = format!("{count} further lines of this level were left out within a minute");
            let metadata = Metadata::builder().level(level).target("rowferry").build();
            self.lines.log(&Record::builder().metadata(metadata).args(format_args!("{text}")).build());
        }
    }
}

impl<L: Log> Log for Bounded<L> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        is_ours(metadata) && self.lines.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let level = record.level();
        let (room, left_out) = self.of(level, |spent| spent.take(Instant::now())).unwrap_or((true, 0));
        self.say_left_out(level, left_out);
        if room {
            let text = cut(&record.args().to_string());
            self.lines.log(&Record::builder().metadata(record.metadata().clone()).args(format_args!("{text}")).build());
        }
    }

    /// Says what is still to be said of the minutes that are over.
    fn flush(&self) {
        let now = Instant::now();
        for level in [Level::Error, Level::Warn, Level::Info] {
            self.say_left_out(level, self.of(level, |spent| spent.end(now)).unwrap_or_default());
        }
        self.lines.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What came through.
    #[derive(Default)]
    struct Kept(Mutex<Vec<String>>);

    impl Log for Kept {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn log(&self, record: &Record<'_>) {
            self.0.lock().unwrap().push(record.args().to_string());
        }

        fn flush(&self) {}
    }

    fn bounded() -> Bounded<Kept> {
        Bounded { lines: Kept::default(), spent: Mutex::default() }
    }

    fn say(log: &impl Log, level: Level, target: &str, text: &str) {
        log.log(&Record::builder().level(level).target(target).args(format_args!("{text}")).build());
    }

    #[test]
    fn what_dependencies_say_of_their_bytes_stays_out() {
        let log = bounded();
        for target in ["tungstenite::protocol", "ureq", "ureq_proto::client", "rustls::conn", "rowferryish", "mio", ""] {
            for level in [Level::Trace, Level::Debug, Level::Info] {
                say(&log, level, target, "a secret");
            }
        }
        assert!(log.lines.0.lock().unwrap().is_empty());
        say(&log, Level::Warn, "rustls", "a warning");
        say(&log, Level::Trace, "rowferry::serve", "what was asked for");
        assert_eq!(*log.lines.0.lock().unwrap(), ["a warning", "what was asked for"]);
    }

    #[test]
    fn lines_are_short_and_printable() {
        let log = bounded();
        say(&log, Level::Info, "rowferry", "a\nb\u{1b}[2J\u{202e}");
        say(&log, Level::Info, "rowferry", &"x".repeat(LINE + 1));
        let kept = log.lines.0.lock().unwrap();
        assert_eq!((kept[0].as_str(), kept[1].len()), ("a b\\u{1b}[2J\\u{202e}", LINE + 3));
    }

    #[test]
    fn a_minute_has_so_many_lines_of_a_level() {
        let log = bounded();
        for _ in 0..LINES_PER_MINUTE + 5 {
            say(&log, Level::Info, "rowferry", "x");
        }
        say(&log, Level::Error, "rowferry", "what matters");
        log.flush();
        assert_eq!(log.lines.0.lock().unwrap().len() as u32, LINES_PER_MINUTE + 1);
        for spent in log.spent.lock().unwrap().iter_mut() {
            spent.began = spent.began.and_then(|began| began.checked_sub(MINUTE));
        }
        log.flush();
        log.flush();
        say(&log, Level::Info, "rowferry", "y");
        let kept = log.lines.0.lock().unwrap();
        assert_eq!(kept[kept.len() - 2..], ["5 further lines of this level were left out within a minute", "y"]);
    }
}
