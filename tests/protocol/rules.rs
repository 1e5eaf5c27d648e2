//! The rules of the protocol, one by one, so that each can be taken away.

/// A rule that some counterexample made necessary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    // Births and the shared tier.
    BornBeforeSending,
    OtherEpochsAreValidated,
    OldBirthsLookUp,
    LookUpAfterGet,
    BornAtLookUp,
    LookUpOnMaster,
    MarksOutliveEntries,
    ExpiryFromAnswer,
    HigherBirthStays,
    HalfAppendIsCompleted,
    // The log.
    EpochBoundToReplid,
    EpochIsRandom,
    NonceChain,
    NonceInHeartbeat,
    GapStartsOver,
    NewestStays,
    StartOverRaisesFloor,
    FullMapRaisesFloor,
    LeaseAfterApplied,
    RegisterBeforeServing,
    AckWaitsForLeases,
    // Time.
    LeaseFromSend,
    AckMargin,
    ClockGoesOn,
    ClockAfterHead,
    AckInNewEpochWaits,
    OldMasterStops,
    AppendRepeated,
    WaitForReplica,
    RegisteredAsReported,
    // Marks.
    GradesApart,
    NumberFromAppend,
    FloorCoversAllDropped,
    // The generation.
    BumpLast,
    LoadFirst,
    OneSnapshot,
    FloorBeforeDrop,
    // Flights and blindness.
    WaiterByNumber,
    WaiterSameEpoch,
    BlindWaiterLaterFlight,
    BlindSentAfter,
    BlindWithinDelta,
    // Redis away.
    PendingTickInBirth,
    PendingUntilApplied,
    PendingCoversShared,
    FlushAfterCatchUp,
    // Messages.
    HoldersAppend,
    MatchedOneForOne,
    CheckOnSubscription,
    SubscribedBeforeCheck,
    CheckOnTakeOver,
    ScribeAppendsAll,
    // Patches.
    PatchOnlyNewer,
    PatchOnlyValid,
    PatchBehindPatchPurges,
    OvertakenPatchPurges,
    HoldersAppendPurges,
    FlushAsPurges,
    ScribeTokenChecked,
    ValidatedEntryOnly,
    // New epochs.
    ReappendOnNewEpoch,
    ReappendFromLastContact,
    PrivateEpochIsRandom,
    // Read your writes.
    AnsweredAfterApplied,
    BarrierWaits,
    BarrierComparesEpochs,
    BarrierLimitFromMaster,
}

/// The rules in force.
#[derive(Clone, Copy, Debug)]
pub struct Rules(u128);

impl Rules {
    /// The protocol as designed.
    pub fn all() -> Self {
        Self(u128::MAX)
    }

    /// The protocol without one of its rules.
    pub fn without(rule: Rule) -> Self {
        Self(!(1 << rule as u32))
    }

    pub fn has(self, rule: Rule) -> bool {
        self.0 & (1 << rule as u32) != 0
    }
}
