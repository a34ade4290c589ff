//! Deliberate defects, to see that the simulator finds them. Without the feature `mutants` there are none.

/// One line a mutant: its name in a table, and which items of docs/defects.md it does as the C daemon does; `as found` is a fault
/// of the C daemon that has no number there.
macro_rules! mutants {
    ($($(#[$about:meta])* $mutant:ident = $name:literal $(of $($item:literal),+)? $(as $found:ident)?;)+) => {
        /// One deliberate defect.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Mutant {
            $($(#[$about])* $mutant,)+
        }

        #[cfg(feature = "mutants")]
        impl Mutant {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$mutant),+];

            /// Its name in a table.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$mutant => $name,)+
                }
            }

            /// The items of docs/defects.md that it has in common with the C daemon.
            #[must_use]
            pub const fn items(self) -> &'static [u32] {
                match self {
                    $(Self::$mutant => &[$($($item),+)?],)+
                }
            }

            /// The C daemon has this fault.
            #[must_use]
            pub const fn is_of_c(self) -> bool {
                let found = match self {
                    $(Self::$mutant => stringify!($($found)?),)+
                };
                !self.items().is_empty() || !found.is_empty()
            }
        }
    };
}

mutants! {
    /// START without waiting until all groups and the quorum service are on one ring.
    SkipRingGate = "skip-ring-gate";
    /// START without quorum.
    SkipQuorumGate = "skip-quorum-gate";
    /// A failed node is forgotten: START without waiting for its fencing.
    SkipFencingGate = "skip-fencing-gate";
    /// START before our own kernel has stopped.
    SkipStopGate = "skip-stop-gate";
    /// `control 1` while a failed node's comm is still in the kernel.
    SkipCommsGate = "skip-comms-gate" of 8, 48;
    /// A NACK voids nothing.
    IgnoreNack = "ignore-nack";
    /// The start is decided although one member's START has not come.
    MissingStart = "missing-start";
    /// A lockspace takes a failure for a leave.
    FailureAsLeave = "failure-as-leave";
    /// Members that went and came are not renewed.
    ForgetRenew = "forget-renew";
    /// Agents run without quorum.
    FenceWithoutQuorum = "fence-without-quorum";
    /// A FENCE_RESULT of failure settles the victim.
    FailedResultSettles = "failed-result-settles";
    /// Start-up fencing forgets its list.
    SkipStartupFencing = "skip-startup-fencing";
    /// A node's stays in a group are not told apart: a START of an earlier life counts.
    OneStay = "one-stay";
    /// A lockspace that has never started stays in its group when partitions merge.
    NeverJoinAnew = "never-join-anew";
    /// A lockspace is released without having been stopped.
    ReleaseRunning = "release-running";
    /// Everybody is the actor for every victim.
    EverybodyActs = "everybody-acts";
    /// A FENCE_RESULT of failure drops the victim from the start-up list.
    FailedResultDropsStartup = "failed-result-drops-startup" of 2;
    /// An agent that has failed is taken for one that has succeeded.
    FailedAgentSucceeds = "failed-agent-succeeds";
    /// Start-up fencing does not spare ourselves.
    StartupFencesUs = "startup-fences-us";
    /// A victim counts as harmless as soon as its daemon is in the group.
    JoinedIsReturned = "joined-is-returned";
    /// A failed member is dealt with before the cluster has lost it.
    SkipLossGate = "skip-loss-gate" of 8;
    /// START although fencing may be in progress that we have not seen begin.
    SkipUnknownGate = "skip-unknown-gate";
    /// Joiners are told that no fencing is in progress while some is.
    ClearTooEarly = "clear-too-early";
    /// The loss of somebody who may have known of fencing is forgotten.
    ForgetWitness = "forget-witness" of 3;
    /// The start-up list is not filled again when its teller is gone.
    NeverRefillStartup = "never-refill-startup" of 14;
    /// We never say that we hold state.
    NeverStateful = "never-stateful";
    /// A node that merges with state is a clean member.
    MergedIsClean = "merged-is-clean";
    /// Results of POSIX locks are not held back from a failure to the next start.
    ResultsAtOnce = "results-at-once";
    /// POSIX locks of members that are gone are kept.
    KeepLocksOfTheDead = "keep-locks-of-the-dead";
    /// POSIX locks of another node than the one that is gone are given up.
    PurgeAnother = "purge-another";
    /// What is said about POSIX locks during a transfer is forgotten.
    ForgetSaidMeanwhile = "forget-said-meanwhile";
    /// A joiner loses the first lock of each part of a transfer.
    LoseATransferredLock = "lose-a-transferred-lock";
    /// The last device of a parallel group to end speaks for all of it.
    LastDeviceDecides = "last-device-decides" of 1;
    /// Failed kernel writes are taken for done.
    WritesNeverFail = "writes-never-fail" of 6;
    /// SIGTERM ends a daemon that has lockspaces.
    TerminateAnyway = "terminate-anyway" of 26;
    /// A joiner says that it has all POSIX locks.
    ClaimLocks = "claim-locks";
    /// POSIX locks are sent only where somebody has joined since the last start, not again by the next one in place of a dead one.
    SendOnlyToJoiners = "send-only-to-joiners" of 4;
    /// What a transfer of POSIX locks has brought before its sender died stays there for the next transfer.
    KeepAbortedTransfer = "keep-aborted-transfer" of 5;
    /// Neither rings nor the cluster's members are awaited after a merge.
    SkipMergedRings = "skip-merged-rings" of 7;
    /// A node that was fenced in the second in which it fails once more counts as fenced.
    SettledInOneSecond = "settled-in-one-second" of 9;
    /// The NACK of a change whose START was sent voids another change.
    NackStarted = "nack-started" of 12;
    /// A withdraw of gfs2 is acknowledged at once, whether the peers have stopped or not.
    WithdrawAtOnce = "withdraw-at-once";
    /// RELEASE_RECOVER says nothing: the leave that follows is one as any other.
    RecoverAsLeave = "recover-as-leave";
    /// A failure is settled only by fencing that came after it.
    SettledByLaterFencing = "settled-by-later-fencing" of 13;
    /// Once its actors are gone, nobody fences a victim.
    ActorsRunOut = "actors-run-out" of 15;
    /// Agents have no time limit.
    AgentWithoutEnd = "agent-without-end" of 17;
    /// A failed attempt is repeated at once.
    NoPause = "no-pause" of 18;
    /// Corosync may be shut down under lockspaces.
    AllowShutdown = "allow-shutdown" of 28;
    /// While the kernel stops or starts one lockspace, no other goes on.
    OneLane = "one-lane" of 46, 47;
    /// A member with state of another partition that fails needs no fencing by those who had not lost it before.
    ForgetMerged = "forget-merged" as found;
    /// What an agent did counts for a victim that has come back and failed again meanwhile.
    LateResultCounts = "late-result-counts" as found;
    /// Word that no fencing is in progress counts for a daemon that came after it was given.
    LateClearCounts = "late-clear-counts" as found;
    /// A part that had no quorum believes that it knows of all fencing.
    TrustOwnPart = "trust-own-part" as found;
}

/// The defects of this core, if any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Mutation(#[cfg(feature = "mutants")] pub(crate) Defects);

/// Which defects.
#[cfg(feature = "mutants")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Defects {
    #[default]
    None,
    One(Mutant),
    /// All that are the C daemon's.
    OfC,
}

impl Mutation {
    /// This core has the defect.
    #[cfg(feature = "mutants")]
    pub(crate) fn has(self, mutant: Mutant) -> bool {
        match self.0 {
            Defects::None => false,
            Defects::One(ours) => ours == mutant,
            Defects::OfC => mutant.is_of_c(),
        }
    }

    /// No core has a defect.
    #[cfg(not(feature = "mutants"))]
    #[expect(clippy::unused_self, reason = "the same call as with the feature")]
    pub(crate) const fn has(self, _: Mutant) -> bool {
        false
    }
}
