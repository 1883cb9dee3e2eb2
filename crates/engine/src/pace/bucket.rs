//! A bucket of tokens that fills at a rate: the generic cell rate algorithm (ITU-T I.371), one
//! moment of state.

use std::time::Duration;

use reflux_core::Timestamp;

/// So many in so long a time; a second's worth may come at once, at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many; at least 1.
    pub count: u32,
    /// In which time; more than zero.
    pub per: Duration,
}

impl Rate {
    /// From one to the next.
    fn interval(self) -> Duration {
        (self.per / self.count.max(1)).max(Duration::from_nanos(1))
    }

    /// How many may come at once.
    fn burst(self) -> u32 {
        let second = self.per.max(Duration::from_nanos(1)).as_nanos();
        let worth = u128::from(self.count).saturating_mul(1_000_000_000) / second;
        u32::try_from(worth).unwrap_or(u32::MAX).max(1)
    }

    /// The lower of two.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        if self.interval() >= other.interval() { self } else { other }
    }
}

impl std::fmt::Display for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.per.as_secs() {
            1 => write!(f, "{}/s", self.count),
            60 => write!(f, "{}/m", self.count),
            3_600 => write!(f, "{}/h", self.count),
            86_400 => write!(f, "{}/d", self.count),
            _ => write!(f, "{} in {:?}", self.count, self.per),
        }
    }
}

/// A bucket. Its rate may change from one call to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bucket {
    /// When it is full again.
    full_at: Timestamp,
}

impl Bucket {
    /// One that lets a burst through.
    pub fn full(now: Timestamp) -> Self {
        Self { full_at: now }
    }

    /// One that lets the first through after an interval: what another process has let through is
    /// not known here.
    pub fn empty(rate: Rate, now: Timestamp) -> Self {
        Self { full_at: now.after(rate.interval().saturating_mul(rate.burst())) }
    }

    /// When there is a token.
    ///
    /// # Errors
    /// The moment at which there will be one.
    pub fn look(&mut self, rate: Rate, now: Timestamp) -> Result<(), Timestamp> {
        // Never further away than an empty bucket: the rate may have been lower before, or the
        // clock later.
        self.full_at = self.full_at.max(now).min(Self::empty(rate, now).full_at);
        let spare = rate.interval().saturating_mul(rate.burst() - 1);
        match self.full_at.since(now).saturating_sub(spare) {
            Duration::ZERO => Ok(()),
            wait => Err(now.after(wait)),
        }
    }

    /// Takes a token.
    ///
    /// # Errors
    /// The moment at which there will be one; nothing is taken.
    pub fn take(&mut self, rate: Rate, now: Timestamp) -> Result<(), Timestamp> {
        self.look(rate, now)?;
        self.full_at = self.full_at.after(rate.interval());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp(1_000_000_000_000);

    fn at(ms: u64) -> Timestamp {
        START.after(Duration::from_millis(ms))
    }

    fn rate(count: u32, seconds: u64) -> Rate {
        Rate { count, per: Duration::from_secs(seconds) }
    }

    /// How many are taken when somebody asks every 10 ms.
    fn taken(bucket: &mut Bucket, rate: Rate, from_ms: u64, until_ms: u64) -> usize {
        let asks = (from_ms..until_ms).step_by(10);
        asks.filter(|ms| bucket.take(rate, at(*ms)).is_ok()).count()
    }

    #[test]
    fn a_second_worth_comes_at_once_and_then_the_rate_holds() {
        let ten = rate(10, 1);
        let mut bucket = Bucket::full(START);
        assert_eq!(taken(&mut bucket, ten, 0, 10), 1);
        assert_eq!((0..20).filter(|_| bucket.take(ten, at(0)).is_ok()).count(), 9);
        assert_eq!(bucket.take(ten, at(0)), Err(at(100)));
        assert_eq!(taken(&mut bucket, ten, 10, 3_000), 29);
    }

    #[test]
    fn a_restart_lets_no_second_burst_through() {
        let ten = rate(10, 1);
        let mut bucket = Bucket::empty(ten, START);
        assert_eq!(bucket.take(ten, at(0)), Err(at(100)));
        assert_eq!(taken(&mut bucket, ten, 0, 1_010), 10);
    }

    #[test]
    fn less_than_one_a_second_comes_one_by_one() {
        let slow = rate(2, 60);
        let mut bucket = Bucket::full(START);
        assert_eq!(bucket.take(slow, at(0)), Ok(()));
        assert_eq!(bucket.take(slow, at(0)), Err(at(30_000)));
        assert_eq!(bucket.take(slow, at(30_000)), Ok(()));
    }

    #[test]
    fn a_higher_rate_holds_at_once() {
        let mut bucket = Bucket::empty(rate(1, 3_600), START);
        assert!(bucket.take(rate(1, 3_600), at(1_000)).is_err());
        assert_eq!(bucket.take(rate(1, 1), at(1_000)), Err(at(2_000)));
        assert_eq!(bucket.take(rate(1, 1), at(2_000)), Ok(()));
    }
}
