//! When a failed attempt is tried again.

use std::sync::Arc;
use std::time::Duration;

use reflux_proto::temporal::api::enums::v1::TimeoutType;
use reflux_proto::temporal::api::failure::v1::failure::FailureInfo;

use crate::{ATTEMPTS_MAX, DURATION_MAX, Failure, RetryState};

/// When a failed attempt is tried again.
#[derive(Debug, Clone, PartialEq)]
pub enum Retry {
    /// Waits that grow by a factor.
    Exponential {
        /// First wait; positive.
        initial: Duration,
        /// Factor from one wait to the next; at least 1.
        coefficient: f64,
        /// Longest wait.
        maximum: Duration,
        /// Attempts in all; 0 is without a bound.
        attempts: u32,
        /// Types of application failures that are never tried again.
        non_retryable: Vec<Arc<str>>,
    },
    /// One wait before each further attempt: three waits make four attempts.
    Intervals(Vec<Duration>),
}

impl Default for Retry {
    /// Temporal's: 1 s, doubled up to 100 s, without a bound.
    fn default() -> Self {
        Self::Exponential {
            initial: Duration::from_secs(1),
            coefficient: 2.0,
            maximum: Duration::from_secs(100),
            attempts: 0,
            non_retryable: Vec::new(),
        }
    }
}

impl Retry {
    /// A single attempt.
    pub fn never() -> Self {
        Self::Intervals(Vec::new())
    }

    /// As it can be written down: intervals are kept in whole milliseconds.
    pub(crate) fn whole(self) -> Self {
        let whole = |wait: Duration| {
            Duration::from_millis(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX))
        };
        match self {
            Self::Intervals(waits) => Self::Intervals(waits.into_iter().map(whole).collect()),
            growing @ Self::Exponential { .. } => growing,
        }
    }

    /// What is wrong with it, if anything.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        match self {
            Self::Exponential { initial, coefficient, maximum, attempts, non_retryable } => {
                if non_retryable.len() > TYPES_MAX
                    || non_retryable.iter().any(|kind| kind.len() > TYPE_BYTES_MAX)
                {
                    Err("retry policy: give at most 100 non-retryable types of 1000 bytes")
                } else if *attempts > ATTEMPTS_MAX {
                    Err("retry policy: give fewer attempts, or 0 for no bound")
                } else if !coefficient.is_finite() || *coefficient < 1.0 {
                    Err("retry policy: backoff coefficient must be a number of at least 1")
                } else if initial.is_zero() {
                    Err("retry policy: initial interval must be positive")
                } else if maximum < initial {
                    Err("retry policy: maximum interval must not be below the initial interval")
                } else if *initial > DURATION_MAX {
                    Err("retry policy: intervals must be below 100 years")
                } else {
                    Ok(())
                }
            }
            Self::Intervals(waits) => {
                if waits.len() > INTERVALS_MAX {
                    Err("retry intervals: give at most 1000, or an exponential policy")
                } else if waits.iter().any(|wait| *wait > DURATION_MAX) {
                    Err("retry intervals: each must be below 100 years")
                } else {
                    Ok(())
                }
            }
        }
    }

    /// The wait before the next attempt when `made` attempts have counted so far, the last of
    /// which failed with `failure`; or why there is none.
    pub(crate) fn wait(
        &self,
        made: u32,
        failure: &Failure,
        asked: Option<Duration>,
    ) -> Result<Duration, RetryState> {
        if !retryable(failure) {
            return Err(RetryState::NonRetryableFailure);
        }
        let paced = match self {
            Self::Exponential { initial, coefficient, maximum, attempts, non_retryable } => {
                if *attempts != 0 && made >= *attempts {
                    return Err(RetryState::MaximumAttemptsReached);
                }
                if application_type(failure)
                    .is_some_and(|kind| non_retryable.iter().any(|never| **never == *kind))
                {
                    return Err(RetryState::NonRetryableFailure);
                }
                grown(*initial, *coefficient, *maximum, made)
            }
            Self::Intervals(waits) => {
                let at = usize::try_from(made.saturating_sub(1)).unwrap_or(usize::MAX);
                *waits.get(at).ok_or(RetryState::MaximumAttemptsReached)?
            }
        };
        Ok(asked.or_else(|| delay_asked(failure)).unwrap_or(paced).min(DURATION_MAX))
    }
}

/// Retry intervals of one activity: a longer list is a policy.
const INTERVALS_MAX: usize = 1_000;
/// Non-retryable types of one policy: each is compared after every failure.
const TYPES_MAX: usize = 100;
/// Longest name of a type of failure.
const TYPE_BYTES_MAX: usize = 1_000;

fn grown(initial: Duration, coefficient: f64, maximum: Duration, made: u32) -> Duration {
    if coefficient <= 1.0 {
        return initial.min(maximum);
    }
    // Multiplied step by step: `powi` may differ between machines, and replay computes this again.
    let limit = maximum.as_secs_f64();
    let mut seconds = initial.as_secs_f64();
    for _ in 1..made {
        if seconds >= limit {
            return maximum;
        }
        let next = seconds * coefficient;
        if next <= seconds {
            break; // The factor is too close to 1 to make a difference.
        }
        seconds = next;
    }
    Duration::try_from_secs_f64(seconds).unwrap_or(maximum).min(maximum)
}

fn retryable(failure: &Failure) -> bool {
    match &failure.failure_info {
        Some(FailureInfo::ApplicationFailureInfo(info)) => !info.non_retryable,
        Some(FailureInfo::ServerFailureInfo(info)) => !info.non_retryable,
        Some(FailureInfo::TimeoutFailureInfo(info)) => matches!(
            info.timeout_type(),
            TimeoutType::StartToClose | TimeoutType::Heartbeat | TimeoutType::Unspecified
        ),
        Some(FailureInfo::TerminatedFailureInfo(_) | FailureInfo::CanceledFailureInfo(_)) => false,
        Some(
            FailureInfo::ResetWorkflowFailureInfo(_)
            | FailureInfo::ActivityFailureInfo(_)
            | FailureInfo::ChildWorkflowExecutionFailureInfo(_)
            | FailureInfo::NexusOperationExecutionFailureInfo(_)
            | FailureInfo::NexusHandlerFailureInfo(_),
        )
        | None => true,
    }
}

fn application_type(failure: &Failure) -> Option<&str> {
    match &failure.failure_info {
        Some(FailureInfo::ApplicationFailureInfo(info)) => Some(&info.r#type),
        _ => None,
    }
}

fn delay_asked(failure: &Failure) -> Option<Duration> {
    match &failure.failure_info {
        Some(FailureInfo::ApplicationFailureInfo(info)) => {
            info.next_retry_delay.and_then(|delay| Duration::try_from(delay).ok())
        }
        _ => None,
    }
}
