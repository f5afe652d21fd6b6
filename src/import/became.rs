//! What becomes of a record, and how it is counted.

use crate::domain::record::{Failure, Tally};

/// What became of a record.
pub(super) enum Became {
    Created {
        dangling: bool,
    },
    Updated {
        dangling: bool,
    },
    Unchanged,
    Skipped {
        differs: bool,
    },
    Failed(Failure),
    /// The same, whatever becomes of others.
    Refused(Failure),
}

impl Became {
    pub(super) fn count(self, tally: &mut Tally) {
        let outcome = &mut tally.outcome;
        match self {
            Became::Created { dangling } => {
                outcome.created += 1;
                outcome.dangling += u64::from(dangling);
            }
            Became::Updated { dangling } => {
                outcome.updated += 1;
                outcome.dangling += u64::from(dangling);
            }
            Became::Unchanged => outcome.unchanged += 1,
            Became::Skipped { differs } => {
                outcome.skipped += 1;
                outcome.differing += u64::from(differs);
            }
            Became::Failed(failure) | Became::Refused(failure) => tally.fail(failure),
        }
    }
}
