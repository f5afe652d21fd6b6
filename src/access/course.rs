//! How far a download is: what was sent once, what was sent again, and whether it may be resumed at a place.

use crate::state::transfers::pulls::Course;

/// Records that a download without a name may have sent again, beyond as many as it had sent at all: a receiver that comes back may have
/// lost some, and one that comes back for ever must not get a table twice for one download.
const AGAIN: u64 = 10_000;

/// How far before what it acknowledged a receiver may resume the download of a named pull. It acknowledges records when it has
/// applied them, which is up to one of its transactions before they are committed: a killed one comes back to its last commit.
pub(super) const SLACK: u64 = 100_000;

/// What may be sent again over the life of a named download, for each record that was sent at all. A record that was on its way
/// when the connection was lost counts once, one that had been acknowledged [`ACKNOWLEDGED`] times: so the records of a download can
/// be repeated four times after they have arrived, and 32 times before.
const REPEATS: u64 = 32;
const ACKNOWLEDGED: u64 = 8;

/// The way of a download along its table.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Way {
    /// The next record that is sent is after so many.
    pub(super) at: u64,
    /// Up to here records were sent before in a way that counts: sent again, they cost nothing.
    free: u64,
    pub(super) course: Course,
}

impl Way {
    /// It begins after so many records, which the receiver says that it has.
    pub(super) fn from(base: u64) -> Self {
        Way { at: base, free: base, course: Course { base, reached: base, acked: base, ..Course::default() } }
    }

    /// The download of a named pull, resumed where its course says that it has come to.
    pub(super) fn resumed(at: u64, course: Course) -> Self {
        Way { at, free: at, course }
    }

    /// Whether a download without a name may be resumed after so many: not where the receiver just begins again.
    pub(super) fn leads_on(&self, records: u64) -> bool {
        let Course { base, reached, acked, again, .. } = self.course;
        if records < base {
            return false;
        }
        let again = again.saturating_add(self.at.saturating_sub(records));
        let most = (reached - base.min(reached)).saturating_add(AGAIN);
        records <= reached && (records > 0 || acked == 0) && again <= most
    }

    /// Resumes a download without a name.
    pub(super) fn go_back(&mut self, records: u64) {
        self.course.again = self.course.again.saturating_add(self.at.saturating_sub(records));
        (self.at, self.free) = (records, self.course.reached);
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
        self.at = self.at.saturating_add(records);
        let new = self.at.saturating_sub(self.course.reached);
        self.course.reached = self.course.reached.max(self.at);
        self.course.state_to = self.course.state_to.max(self.at);
        new
    }

    /// The receiver has so many.
    pub(super) fn has_arrived(&mut self, records: u64) {
        self.course.acked = self.course.acked.max(records);
    }
}

/// The course of a named download that is resumed after so many records, which its receiver has proven to be before a place of it:
/// `None` where that goes back too far, or was done too often.
pub(super) fn resume(course: &Course, records: u64) -> Option<Course> {
    let Course { base, reached, acked, again, .. } = *course;
    if records < base || acked.saturating_sub(records) > SLACK {
        return None;
    }
    let lost = reached.saturating_sub(records.max(acked));
    let known = acked.saturating_sub(records);
    let again = again.saturating_add(lost).saturating_add(known.saturating_mul(ACKNOWLEDGED));
    // It may have come further than was written down.
    let reached = reached.max(records);
    let most = (reached - base.min(reached)).saturating_mul(REPEATS);
    (again <= most).then_some(Course { reached, acked: acked.max(records), again, ..*course })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_download_is_resumed_where_something_may_have_been_lost() {
        let mut way = Way::default();
        way.go(500);
        assert!(way.leads_on(0) && way.leads_on(500) && !way.leads_on(501), "the first page may be lost");
        way.has_arrived(500);
        way.go(500);
        assert!(!way.leads_on(0) && way.leads_on(1) && way.leads_on(1_000));
        way.go_back(600);
        assert_eq!((way.known(), way.course.again), (400, 400));
        assert_eq!(way.go(500), 100);
        assert_eq!((way.at, way.course.reached, way.known()), (1_100, 1_100, 0));
    }

    #[test]
    fn a_table_is_not_sent_again_and_again() {
        let mut way = Way::default();
        way.go(100_000);
        way.has_arrived(100_000);
        way.go_back(1);
        way.go(99_999);
        assert!(!way.leads_on(1) && !way.leads_on(89_998) && way.leads_on(89_999));
    }

    fn course(reached: u64, acked: u64) -> Course {
        Course { reached, acked, ..Course::default() }
    }

    #[test]
    fn a_named_download_goes_back_by_what_may_be_lost() {
        assert_eq!(resume(&course(1_000_000, 500_000), 400_000).unwrap().again, 500_000 + 800_000);
        assert_eq!(resume(&course(1_000_000, 500_000), 399_999), None, "too far");
        assert_eq!(resume(&Course { base: 10, ..course(20, 10) }, 9), None, "before it began");
        // The sender was killed before it wrote down how far it was.
        let further = resume(&course(100, 50), 700).unwrap();
        assert_eq!((further.reached, further.acked, further.again), (700, 700, 0));
    }

    #[test]
    fn what_is_repeated_is_bounded_by_what_was_sent() {
        let times = |acked: u64| {
            let mut course = course(1_000, acked);
            std::iter::from_fn(|| {
                course = resume(&course, 0)?;
                Some(())
            })
            .count()
        };
        assert_eq!((times(0), times(1_000)), (32, 4));
        // Progress makes room for more: a link that is cut after every tenth of what is on its way.
        let mut lossy = course(0, 0);
        for round in 0..1_000 {
            lossy.reached = round * 100 + 1_000;
            lossy = resume(&lossy, round * 100).expect("it gets on");
            lossy.acked = round * 100;
        }
    }

    #[test]
    fn only_what_was_sent_from_the_same_snapshot_is_free() {
        let mut way = Way::from(0);
        way.in_state(7);
        way.go(100);
        let back = |way: &Way, at| Way::resumed(at, resume(&way.course, at).unwrap());
        let mut same = back(&way, 40);
        same.in_state(7);
        assert_eq!(same.known(), 60);
        let mut other = back(&way, 40);
        other.in_state(8);
        assert_eq!(other.known(), 0);
        assert_eq!((other.go(10), other.course.reached), (0, 100));
        // What came from the snapshot before is not of this one.
        let mut again = back(&other, 45);
        again.in_state(8);
        assert_eq!(again.known(), 5);
        let mut beyond = back(&other, 90);
        beyond.in_state(8);
        assert_eq!(beyond.known(), 0);
    }
}
