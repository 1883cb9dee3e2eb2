//! Bugs that can be planted between the engine and what it stands on, to show that the simulation
//! finds them.

/// A bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    /// The log answers before a record is durable.
    AckEarly,
    /// The log takes a stale owner for the present one.
    IgnoreEpoch,
    /// The log appends a record again after a lost answer.
    AppendTwice,
    /// An answer of the log never arrives.
    LoseAnswer,
    /// Two answers of the log arrive in the wrong order.
    SwapAnswers,
    /// The last item of a record is not written.
    ForgetItem,
    /// A node is called twice for one attempt.
    CallTwice,
    /// The partitions do not notice that time passes.
    ForgetTimers,
    /// The log forgets records that no snapshot has.
    TrimAhead,
}

impl Planted {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::AckEarly,
        Self::IgnoreEpoch,
        Self::AppendTwice,
        Self::LoseAnswer,
        Self::SwapAnswers,
        Self::ForgetItem,
        Self::CallTwice,
        Self::ForgetTimers,
        Self::TrimAhead,
    ];
}
