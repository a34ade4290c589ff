//! Deliberate defects, to see that the simulator finds them. Without the feature `mutants` there are none.

/// One deliberate defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mutant {
    /// START without waiting until all groups and the quorum service are on one ring.
    SkipRingGate,
    /// START without quorum.
    SkipQuorumGate,
    /// A failed node is forgotten: START without waiting for its fencing.
    SkipFencingGate,
    /// START before our own kernel has stopped.
    SkipStopGate,
    /// START while the failed node's comm is still in the kernel.
    SkipCommsGate,
    /// A NACK voids nothing.
    IgnoreNack,
    /// The start is decided although one member's START has not come.
    MissingStart,
    /// A lockspace takes a failure for a leave.
    FailureAsLeave,
    /// Members that went and came are not renewed.
    ForgetRenew,
    /// Agents run without quorum.
    FenceWithoutQuorum,
    /// A FENCE_RESULT of failure settles the victim.
    FailedResultSettles,
    /// Start-up fencing forgets its list.
    SkipStartupFencing,
}

#[cfg(feature = "mutants")]
impl Mutant {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::SkipRingGate,
        Self::SkipQuorumGate,
        Self::SkipFencingGate,
        Self::SkipStopGate,
        Self::SkipCommsGate,
        Self::IgnoreNack,
        Self::MissingStart,
        Self::FailureAsLeave,
        Self::ForgetRenew,
        Self::FenceWithoutQuorum,
        Self::FailedResultSettles,
        Self::SkipStartupFencing,
    ];

    /// Its name in a table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SkipRingGate => "skip-ring-gate",
            Self::SkipQuorumGate => "skip-quorum-gate",
            Self::SkipFencingGate => "skip-fencing-gate",
            Self::SkipStopGate => "skip-stop-gate",
            Self::SkipCommsGate => "skip-comms-gate",
            Self::IgnoreNack => "ignore-nack",
            Self::MissingStart => "missing-start",
            Self::FailureAsLeave => "failure-as-leave",
            Self::ForgetRenew => "forget-renew",
            Self::FenceWithoutQuorum => "fence-without-quorum",
            Self::FailedResultSettles => "failed-result-settles",
            Self::SkipStartupFencing => "skip-startup-fencing",
        }
    }
}

/// The defect of this core, if any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Mutation(#[cfg(feature = "mutants")] pub(crate) Option<Mutant>);

impl Mutation {
    /// This core has the defect.
    #[cfg(feature = "mutants")]
    pub(crate) fn has(self, mutant: Mutant) -> bool {
        self.0 == Some(mutant)
    }

    /// No core has a defect.
    #[cfg(not(feature = "mutants"))]
    #[expect(clippy::unused_self, reason = "the same call as with the feature")]
    pub(crate) const fn has(self, _: Mutant) -> bool {
        false
    }
}
