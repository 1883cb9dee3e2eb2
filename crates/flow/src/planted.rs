//! Deliberate defects of the decider, for the proof that the golden histories notice each of
//! them. Without the feature `planted` there are none, and the questions cost nothing.

/// A deliberate defect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // Each name says what is done wrong.
pub enum Defect {
    RoutesIgnoreConditions,
    WhenAlwaysHolds,
    StaleTimersStay,
    VisitsUnbounded,
    AnyJoinsTheFirst,
    SkipsStop,
    FailuresStopNothing,
    OldestUndoneFirst,
    NewestSignalFirst,
    ItemsUnbounded,
    OutputsAsTheyCome,
    ApprovalsForAnyStep,
    RefusalsApprove,
    HandlersHandleThemselves,
    HandledFailuresForgotten,
    PausesStopNothing,
}

impl Defect {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::RoutesIgnoreConditions,
        Self::WhenAlwaysHolds,
        Self::StaleTimersStay,
        Self::VisitsUnbounded,
        Self::AnyJoinsTheFirst,
        Self::SkipsStop,
        Self::FailuresStopNothing,
        Self::OldestUndoneFirst,
        Self::NewestSignalFirst,
        Self::ItemsUnbounded,
        Self::OutputsAsTheyCome,
        Self::ApprovalsForAnyStep,
        Self::RefusalsApprove,
        Self::HandlersHandleThemselves,
        Self::HandledFailuresForgotten,
        Self::PausesStopNothing,
    ];

    /// Whether the decider of this thread has it.
    #[cfg(feature = "planted")]
    pub(crate) fn is_planted(self) -> bool {
        PLANTED.get() == Some(self)
    }

    #[cfg(not(feature = "planted"))]
    #[inline(always)]
    pub(crate) const fn is_planted(self) -> bool {
        false
    }
}

#[cfg(feature = "planted")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Defect>> = const { std::cell::Cell::new(None) };
}

/// Gives the decider of this thread a defect, or takes it away.
#[cfg(feature = "planted")]
pub fn plant(defect: Option<Defect>) {
    PLANTED.set(defect);
}
