//! Which states of the sender rows come from.

/// The numbers of the sender's snapshots that rows came from; 0 stands for one without a number. Whether there were none, one or several
/// is all that matters: two are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct States(Vec<u64>);

impl States {
    /// Those that a checkpoint kept.
    pub(super) fn of(kept: &[u64]) -> Self {
        let mut states = States::default();
        kept.iter().for_each(|state| states.add(*state));
        states
    }

    pub(super) fn add(&mut self, state: u64) {
        if self.0.len() < 2 && !self.0.contains(&state) {
            self.0.push(state);
        }
    }

    pub(super) fn extend(&mut self, others: &States) {
        others.0.iter().for_each(|state| self.add(*state));
    }

    pub(super) fn as_slice(&self) -> &[u64] {
        &self.0
    }

    /// The one state that all rows are of, if it is known that there is only one.
    pub(super) fn one(&self) -> Option<u64> {
        match self.0[..] {
            [state] if state != 0 => Some(state),
            _ => None,
        }
    }

    pub(super) fn has_unnumbered(&self) -> bool {
        self.0.contains(&0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_are_kept() {
        let mut states = States::default();
        assert_eq!((states.one(), states.as_slice()), (None, &[][..]));
        states.add(7);
        states.add(7);
        assert_eq!(states.one(), Some(7));
        states.extend(&States::of(&[0, 9, 11]));
        assert_eq!((states.one(), states.as_slice(), states.has_unnumbered()), (None, &[7, 0][..], true));
        assert_eq!(States::of(&[0]).one(), None);
    }
}
