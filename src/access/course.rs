//! How far a download is: what was sent once, what was sent again, and whether it may be resumed at a place.

use crate::state::transfers::pulls::Course;

/// How far before what it acknowledged a receiver may resume a download. It acknowledges records when it has applied them, which is up
/// to one of its transactions before they are committed: a killed one comes back to its last commit.
pub(super) const SLACK: u64 = 100_000;

/// How many records of a download may be sent again from other snapshots, over its life. A receiver whose link was cut cannot prove what
/// it lost, so this is what keeps it from having a table again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Repeats {
    /// For each record that the receiver has for sure.
    progress: u64,
    /// For each record that was sent.
    sent: u64,
}

impl Repeats {
    /// Where the number of downloads is limited or each is approved. All that was sent may have been lost once. A link that brings a ninth
    /// of what is on its way before it is cut gets on for as long as it likes.
    pub(super) const LIMITED: Repeats = Repeats { progress: 8, sent: 1 };
    /// Where the same table may be had by another download all the same.
    pub(super) const FREE: Repeats = Repeats { progress: 8, sent: 32 };

    fn most(self, progress: u64, sent: u64) -> u64 {
        progress.saturating_mul(self.progress).saturating_add(sent.saturating_mul(self.sent))
    }
}

/// The way of a download along its table.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Way {
    /// The next record that is sent is after so many.
    pub(super) at: u64,
    /// Up to here records were sent before in a way that counts: sent again, they cost nothing.
    free: u64,
    /// The receiver says that it has so many.
    acked: u64,
    /// What had been sent again from other snapshots before it was resumed last, and what was since.
    again: u64,
    resent: u64,
    /// Until it ends, all that may be sent again counts as sent again: its process may be killed.
    pub(super) course: Course,
}

impl Way {
    /// It begins after so many records, which the receiver says that it has.
    pub(super) fn from(base: u64) -> Self {
        Way {
            at: base,
            free: base,
            acked: base,
            course: Course { base, reached: base, safe: base, ..Course::default() },
            ..Way::default()
        }
    }

    /// The download of a named pull that was at `kept`, resumed where its course says that it has come to.
    pub(super) fn resumed(kept: &Course, at: u64, course: Course) -> Self {
        Way { at, free: at, acked: at, again: kept.again, resent: 0, course }
    }

    /// The course of a download without a name if it is resumed after so many: not where the receiver just begins again.
    fn after_break(&self, records: u64, repeats: Repeats) -> Option<Course> {
        let is_sent = records <= self.course.reached && (records > self.course.base || self.acked <= self.course.base);
        resume(&self.ended(), records, repeats).filter(|_| is_sent)
    }

    /// Whether a download without a name may be resumed after so many.
    pub(super) fn leads_on(&self, records: u64, repeats: Repeats) -> bool {
        self.after_break(records, repeats).is_some()
    }

    /// Resumes a download without a name, where it [leads on](Way::leads_on).
    pub(super) fn go_back(&mut self, records: u64, repeats: Repeats) {
        let kept = self.ended();
        let course = self.after_break(records, repeats).unwrap_or(kept);
        *self = Way { acked: self.acked, ..Way::resumed(&kept, records, course) };
    }

    /// The course if it ends here: what was not sent again does not count.
    pub(super) fn ended(&self) -> Course {
        Course { again: self.sent_again(), ..self.course }
    }

    /// How many records were sent again from other snapshots.
    pub(super) fn sent_again(&self) -> u64 {
        self.again.saturating_add(self.resent)
    }

    /// How many records were sent, those included that were sent again from other snapshots.
    pub(super) fn sent(&self) -> u64 {
        self.course.reached.saturating_sub(self.course.base).saturating_add(self.sent_again())
    }

    /// How many of the next records cost nothing.
    pub(super) fn known(&self) -> u64 {
        self.free.saturating_sub(self.at)
    }

    /// The next page is of this snapshot. What was sent from another one costs as much as what is new.
    pub(super) fn in_state(&mut self, state: u64) {
        let Course { state: last, state_from, state_to, .. } = self.course;
        let was_sent = state == last && (state_from..=state_to).contains(&self.at);
        if was_sent {
            self.free = state_to;
        } else {
            self.free = self.at;
            // A gap before what was sent from this snapshot is not closed: less is free then.
            (self.course.state, self.course.state_from, self.course.state_to) = (state, self.at, self.at);
        }
    }

    /// So many more were sent. Gives how many of them were sent for the first time.
    pub(super) fn go(&mut self, records: u64) -> u64 {
        let costing = records.saturating_sub(self.known());
        self.at = self.at.saturating_add(records);
        let new = self.at.saturating_sub(self.course.reached);
        self.resent = self.resent.saturating_add(costing.saturating_sub(new));
        self.course.reached = self.course.reached.max(self.at);
        self.course.state_to = self.course.state_to.max(self.at);
        new
    }

    /// The receiver has so many.
    pub(super) fn has_arrived(&mut self, records: u64) {
        self.acked = self.acked.max(records);
        self.course.safe = self.course.safe.max(records.saturating_sub(SLACK));
    }
}

/// The course of a download that is resumed after so many records, which its receiver has proven to be before a place of it: `None`
/// where that goes back behind what the receiver has for sure, or where too much was sent again.
pub(super) fn resume(course: &Course, records: u64, repeats: Repeats) -> Option<Course> {
    let Course { base, reached, safe, again, .. } = *course;
    if records < safe.max(base) {
        return None;
    }
    let lost = reached.saturating_sub(records);
    // It may have come further than was written down.
    let reached = reached.max(records);
    let most = repeats.most(records - base, reached.saturating_sub(base));
    let again = again.saturating_add(lost);
    (lost == 0 || again <= most).then_some(Course { reached, safe: records, again, ..*course })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITED: Repeats = Repeats::LIMITED;

    #[test]
    fn a_download_is_resumed_where_something_may_have_been_lost() {
        let mut way = Way::default();
        way.go(500);
        let leads_on = |way: &Way, records| way.leads_on(records, LIMITED);
        assert!(leads_on(&way, 0) && leads_on(&way, 500) && !leads_on(&way, 501), "the first page may be lost");
        way.has_arrived(500);
        way.go(500);
        assert!(!leads_on(&way, 0) && leads_on(&way, 1) && leads_on(&way, 1_000));
        way.in_state(7);
        way.go_back(600, LIMITED);
        assert_eq!((way.at, way.course.again, way.sent_again()), (600, 400, 0), "it is not sent yet");
        way.in_state(8);
        assert_eq!((way.go(500), way.at, way.course.reached, way.sent_again()), (100, 1_100, 1_100, 400));
        assert!(!leads_on(&way, 599), "it had come back with more");
    }

    fn course(reached: u64, safe: u64) -> Course {
        Course { reached, safe, ..Course::default() }
    }

    #[test]
    fn a_download_does_not_go_back_behind_what_its_receiver_has() {
        let back = |course: &Course, records| resume(course, records, LIMITED);
        assert_eq!(back(&course(1_000_000, 500_000), 500_000).unwrap().again, 500_000);
        assert_eq!(back(&course(1_000_000, 500_000), 499_999), None);
        assert_eq!(back(&Course { base: 10, ..course(20, 0) }, 9), None, "before it began");
        // The sender was killed before it wrote down how far it was.
        let further = back(&course(100, 50), 700).unwrap();
        assert_eq!((further.reached, further.safe, further.again), (700, 700, 0));
        let mut way = Way::default();
        way.go(300_000);
        way.has_arrived(250_000);
        assert_eq!(way.course.safe, 150_000, "what was acknowledged may not be committed");
    }

    /// How many records of a table of so many are sent from new snapshots to one who comes back each time with so many more.
    fn all_sent(table: u64, further: u64, repeats: Repeats) -> u64 {
        let (mut way, mut at, mut sent) = (Way::default(), 0, 0);
        for state in 1.. {
            way.in_state(state);
            sent += table - at;
            way.go(table - at);
            way.has_arrived(table);
            let kept = way.ended();
            at = (at + further).min(table);
            match resume(&kept, at, repeats).filter(|_| at < table) {
                Some(course) => way = Way::resumed(&kept, at, course),
                None => break,
            }
        }
        sent
    }

    #[test]
    fn what_is_sent_again_is_bounded_by_what_arrives() {
        assert_eq!((all_sent(1_000, 0, LIMITED), all_sent(1_000, 0, Repeats::FREE)), (2_000, 33_000));
        assert_eq!((all_sent(1_000, 1, LIMITED), all_sent(1_000, 20, LIMITED)), (1_999, 1_980));
        assert!(all_sent(100_000, 5_000, LIMITED) <= 1_000_000, "whatever it says that it has");
        // Nine tenths of what is on its way are lost each time. Only what is really sent again counts.
        let mut kept = course(0, 0);
        for round in 0..1_000 {
            let course = resume(&kept, round * 125, LIMITED).expect("it gets on");
            let mut way = Way::resumed(&kept, round * 125, course);
            way.in_state(round + 1);
            way.go(if round == 0 { 50_000 } else { 1_000 });
            kept = way.ended();
        }
    }

    #[test]
    fn only_what_was_sent_from_the_same_snapshot_is_free() {
        let mut way = Way::from(0);
        way.in_state(7);
        way.go(100);
        let back = |way: &Way, at| Way::resumed(&way.ended(), at, resume(&way.ended(), at, LIMITED).unwrap());
        let mut same = back(&way, 40);
        same.in_state(7);
        assert_eq!((same.known(), same.course.again), (60, 60));
        same.go(60);
        assert_eq!((same.sent_again(), same.sent()), (0, 100));
        let mut other = back(&way, 40);
        other.in_state(8);
        assert_eq!(other.known(), 0);
        assert_eq!((other.go(10), other.course.reached, other.sent()), (0, 100, 110));
        // What came from the snapshot before is not of this one.
        let mut again = back(&other, 45);
        again.in_state(8);
        assert_eq!(again.known(), 5);
        let mut beyond = back(&other, 90);
        beyond.in_state(8);
        assert_eq!(beyond.known(), 0);
    }
}
