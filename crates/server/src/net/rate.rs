//! How much each caller may ask: one token bucket per key or address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::limits::CALLERS_MAX;

/// Whom a bucket belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Who {
    /// A key, by its name.
    Key(Arc<str>),
    /// An address without a key; of IPv6 its /64, which is one customer's.
    Address(IpAddr),
    /// Everybody beyond the number that is kept in mind.
    Others,
}

impl Who {
    pub(super) fn address(ip: IpAddr) -> Self {
        Self::Address(match ip.to_canonical() {
            IpAddr::V6(ip) => {
                IpAddr::V6(std::net::Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)))
            }
            v4 => v4,
        })
    }
}

/// Buckets that fill with `per_second` tokens and hold a second's worth.
#[derive(Debug)]
pub(super) struct Rate {
    per_second: f64,
    callers_max: usize,
    buckets: Mutex<HashMap<Who, Bucket>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Rate {
    pub(super) fn new(per_second: u32) -> Self {
        Self {
            per_second: f64::from(per_second.max(1)),
            callers_max: CALLERS_MAX,
            buckets: Mutex::default(),
        }
    }

    /// Takes a token.
    ///
    /// # Errors
    /// How long it takes until there is one.
    pub(super) fn take(&self, who: Who, now: Instant) -> Result<(), Duration> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let who = self.remembered(&mut buckets, who, now);
        let fresh = Bucket { tokens: self.per_second, at: now };
        let bucket = buckets.entry(who).or_insert(fresh);
        bucket.tokens = self.filled(*bucket, now);
        bucket.at = now;
        if bucket.tokens >= 1.0 {
            bucket.tokens -= 1.0;
            return Ok(());
        }
        Err(Duration::from_secs_f64((1.0 - bucket.tokens) / self.per_second))
    }

    /// Whether there is a token; takes none.
    pub(super) fn has(&self, who: &Who, now: Instant) -> bool {
        let buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets.get(who);
        bucket.is_none_or(|bucket| self.filled(*bucket, now) >= 1.0)
    }

    fn filled(&self, bucket: Bucket, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(bucket.at).as_secs_f64();
        (bucket.tokens + passed * self.per_second).min(self.per_second)
    }

    /// A full bucket says nothing and is forgotten when room is needed.
    fn remembered(&self, buckets: &mut HashMap<Who, Bucket>, who: Who, now: Instant) -> Who {
        if buckets.contains_key(&who) || buckets.len() < self.callers_max {
            return who;
        }
        buckets.retain(|_, bucket| self.filled(*bucket, now) < self.per_second);
        if buckets.len() < self.callers_max { who } else { Who::Others }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> Who {
        Who::address(IpAddr::from([10, 0, 0, last]))
    }

    #[test]
    fn a_second_worth_may_come_at_once_and_then_one_by_one() {
        let rate = Rate::new(4);
        let start = Instant::now();
        let taken = (0..6).filter(|_| rate.take(address(1), start).is_ok()).count();
        assert_eq!(taken, 4);
        assert_eq!(rate.take(address(1), start), Err(Duration::from_millis(250)));
        assert!(!rate.has(&address(1), start));
        assert_eq!(rate.take(address(2), start), Ok(()), "others have their own");
        let later = start + Duration::from_millis(250);
        assert_eq!(rate.take(address(1), later), Ok(()));
        assert!(rate.take(address(1), later).is_err());
    }

    #[test]
    fn the_callers_in_mind_are_bounded() {
        let rate = Rate { callers_max: 3, ..Rate::new(1) };
        let start = Instant::now();
        for last in 0..50 {
            let _ = rate.take(address(last), start);
        }
        assert!(rate.buckets.lock().unwrap().len() <= 4);
        let later = start + Duration::from_secs(2);
        assert_eq!(rate.take(address(200), later), Ok(()));
        assert!(
            rate.buckets.lock().unwrap().contains_key(&address(200)),
            "full ones were forgotten"
        );
    }

    #[test]
    fn one_customer_of_ipv6_is_one_caller() {
        let of = |text: &str| Who::address(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
    }
}
