//! The newest events of a run that a worker decides, as a history has them: whoever goes on with the
//! run gets them with the answer and does not wait for the store.
//!
//! Absent: all others. Those are read from the store.

use bytes::{BufMut as _, Bytes, BytesMut};
use reflux_core::EventId;

/// Bytes of events that are held for one run.
const BYTES_MAX: usize = 4 * 1024; // the whole history of a short run, the last task of a long one

/// The newest events, without a gap.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    /// The one before the first.
    before: i64,
    /// An encoded `History`.
    history: BytesMut,
    /// Where each event ends in it.
    ends: Vec<usize>,
}

impl Recent {
    /// Adds the next event.
    pub fn push(&mut self, id: EventId, event: &[u8]) {
        let follows = id.0 == self.last().saturating_add(1);
        if !follows || self.history.len() + event.len() > BYTES_MAX {
            self.before = id.0.saturating_sub(1);
            self.history.clear();
            self.ends.clear();
        }
        if event.len() <= BYTES_MAX {
            put_event(&mut self.history, event);
            self.ends.push(self.history.len());
        }
    }

    /// The events behind `after` up to `until`, as an encoded `History`; `None` when not all are
    /// held.
    pub fn between(&self, after: EventId, until: EventId) -> Option<Bytes> {
        if after.0 < self.before || until.0 > self.last() {
            return None;
        }
        let from = self.end_of(after)?;
        let to = self.end_of(until)?;
        self.history.get(from..to).map(Bytes::copy_from_slice)
    }

    fn last(&self) -> i64 {
        self.before.saturating_add(i64::try_from(self.ends.len()).unwrap_or(i64::MAX))
    }

    fn end_of(&self, id: EventId) -> Option<usize> {
        match usize::try_from(id.0.saturating_sub(self.before)).ok()? {
            0 => Some(0),
            nth => self.ends.get(nth - 1).copied(),
        }
    }
}

/// Appends an encoded event to an encoded `History`: tag 1, length, event.
pub fn put_event(history: &mut BytesMut, event: &[u8]) {
    const EVENTS: u8 = 1 << 3 | 2;
    history.put_u8(EVENTS);
    // A `BytesMut` grows: encoding into it cannot fail.
    let _ = prost::encode_length_delimiter(event.len(), history);
    history.extend_from_slice(event);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(recent: &Recent, after: i64, until: i64) -> Option<usize> {
        recent.between(EventId(after), EventId(until)).map(|history| history.len())
    }

    #[test]
    fn events_are_given_when_all_of_them_are_held() {
        let mut recent = Recent::default();
        (1..=3).for_each(|id| recent.push(EventId(id), &[7; 10]));
        for (after, until, bytes) in
            [(0, 3, Some(36)), (1, 2, Some(12)), (3, 3, Some(0)), (0, 4, None), (2, 1, None)]
        {
            assert_eq!(held(&recent, after, until), bytes, "{after}..{until}");
        }
        let mut whole = BytesMut::new();
        (0..3).for_each(|_| put_event(&mut whole, &[7; 10]));
        assert_eq!(recent.between(EventId(0), EventId(3)), Some(whole.freeze()));
    }

    #[test]
    fn a_run_that_was_read_from_the_store_holds_what_is_new() {
        let mut recent = Recent::default();
        (8..=9).for_each(|id| recent.push(EventId(id), &[7; 10]));
        assert_eq!((held(&recent, 7, 9), held(&recent, 6, 9)), (Some(24), None));
        recent.push(EventId(12), &[7; 10]);
        assert_eq!((held(&recent, 11, 12), held(&recent, 9, 12)), (Some(12), None));
    }

    #[test]
    fn what_is_held_is_bounded() {
        let mut recent = Recent::default();
        (1..=1000).for_each(|id| recent.push(EventId(id), &[7; 100]));
        assert!(recent.history.len() <= BYTES_MAX + 100);
        assert!(held(&recent, 999, 1000).is_some());
        recent.push(EventId(1001), &[7; BYTES_MAX + 1]);
        assert_eq!((held(&recent, 1000, 1001), recent.history.len()), (None, 0));
        recent.push(EventId(1002), &[7; 10]);
        assert_eq!(held(&recent, 1001, 1002), Some(12));
    }
}
