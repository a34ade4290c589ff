//! Whether the members of a lockspace run POSIX locks with ownership, agreed on in the order of its group.
//!
//! Ownership works only where every member takes part, and the C daemon does as its `plock_ownership` says, off by default.
//! So every START of ours says what `plock_ownership` is here: unset, on or off; the C daemon does not look at these bits.
//! A barrier is complete at the same place of the order on every member, and all have the same STARTs then: they draw the
//! same conclusion at the same place ([`agreed`]). A daemon's word never changes, so it does not matter which START said it.
//!
//! Nothing owned may meet a barrier that ends ownership: a joiner without it could not even be told. So before its START a
//! member with ownership *yields*: it hands over every resource that has locks, in front of its START, and until the barrier
//! neither carries anything out as an owner nor asks for a resource; requests that need that are kept. What is owned at the
//! barrier all the same is empty for that reason, and becomes nobody's everywhere at once. What was said of owners and comes
//! after the barrier is void. Where the barrier keeps ownership, whoever yielded goes on as the owner of what it has not handed over.
//!
//! To yield for nothing costs a member that owns locks their ownership, but nothing where there are none. So only a member
//! that owns locks sends its START last, when it has those of all joiners, and yields if one of them will end ownership. Of what
//! merges from another partition a START may never come, or wait for ours: then it yields unasked.
//!
//! Where C daemons have ownership too (`plock_ownership=1`), a joiner of theirs refuses locks of a file that has an owner, so that a
//! file of which half was said at the barrier would reach it without that half. So there no file is half handed over at a barrier:
//! our START waits for those that are begun, and those that are asked for after it wait for the barrier.

use crate::change::Change;
use crate::effect::Effect;
use crate::message::{Message, START_OWNERSHIP, START_OWNERSHIP_SHIFT};
use crate::options::{FixedOptions, Switch};
use crate::out::Out;
use crate::plock::handover::Handovers;
use crate::plock::resources::Owner;
use crate::plock::results::Asked;
use crate::plock::space::{Plocks, Service};
use crate::plock::voice::Voice;
use crate::snapshot::Wait;
use crate::types::NodeId;
use alloc::collections::{BTreeSet, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// What a daemon's `plock_ownership` is, as far as its START says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Word {
    /// A C daemon; ours says so too where it serves no POSIX locks.
    Nothing,
    /// Ownership wherever it is safe.
    Unset,
    /// `plock_ownership=1`: C daemons have it too.
    On,
    /// `plock_ownership=0`.
    Off,
}

impl Word {
    pub(crate) fn of(fixed: &FixedOptions) -> Self {
        match (fixed.plock, fixed.plock_ownership) {
            (Switch::Off, _) => Self::Nothing,
            (Switch::On, None) => Self::Unset,
            (Switch::On, Some(Switch::On)) => Self::On,
            (Switch::On, Some(Switch::Off)) => Self::Off,
        }
    }

    /// In the flags of a START.
    pub(crate) fn flags(self) -> u32 {
        let word: u32 = match self {
            Self::Nothing => 0,
            Self::Unset => 1,
            Self::On => 2,
            Self::Off => 3,
        };
        word << START_OWNERSHIP_SHIFT
    }

    pub(crate) fn from_flags(flags: u32) -> Self {
        match (flags & START_OWNERSHIP) >> START_OWNERSHIP_SHIFT {
            0 => Self::Nothing,
            1 => Self::Unset,
            2 => Self::On,
            _ => Self::Off,
        }
    }
}

/// What the members of a barrier have agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Agreed {
    pub(crate) service: Service,
    /// Every member runs a daemon of ours.
    pub(crate) all_ours: bool,
    /// One has it on, another off: C daemons cannot be right with both.
    pub(crate) clash: bool,
}

impl Agreed {
    /// The safe guess: nothing owned is left.
    const REPLICATED: Self = Self { service: Service::Replicated, all_ours: false, clash: false };
}

/// What members with these words do. Off wins over on, so that daemons of ours agree whatever their files say.
pub(crate) fn agreed(words: impl Iterator<Item = Word>) -> Agreed {
    let words: Vec<Word> = words.collect();
    let has = |word: Word| words.contains(&word);
    let all_ours = !has(Word::Nothing);
    let owned = !has(Word::Off) && (has(Word::On) || all_ours);
    Agreed {
        service: if owned { Service::Owned } else { Service::Replicated },
        all_ours,
        clash: has(Word::On) && has(Word::Off),
    }
}

/// What has to be done before a START.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Before {
    /// Wait for the STARTs of these joiners.
    Hear(BTreeSet<NodeId>),
    /// Be ready for this.
    Expect(Agreed),
}

/// What has to be done before the START for the newest of the pending changes. `started`: the last completed one.
pub(crate) fn before_start(changes: &VecDeque<Change>, started: Option<&Change>) -> Before {
    let Some(newest) = changes.front() else { return Before::Expect(Agreed::REPLICATED) };
    let mut unheard = BTreeSet::new();
    let mut words = Vec::new();
    for node in newest.members.keys() {
        match word_of(*node, changes, started) {
            Some(word) => words.push(word),
            None => {
                unheard.insert(*node);
            }
        }
    }
    if unheard.is_empty() {
        Before::Expect(agreed(words.into_iter()))
    } else if changes.iter().any(|change| change.merges) {
        Before::Expect(Agreed::REPLICATED)
    } else {
        Before::Hear(unheard)
    }
}

/// What a member has said since it joined.
fn word_of(node: NodeId, changes: &VecDeque<Change>, started: Option<&Change>) -> Option<Word> {
    for change in changes {
        let member = change.members.get(&node)?;
        if member.start.is_some() {
            return Some(member.word);
        }
        if member.added {
            return None;
        }
    }
    let member = started?.members.get(&node)?;
    member.start.map(|_| member.word)
}

impl Plocks {
    /// Our START comes next, unless it has to wait.
    pub(crate) fn prepare(
        &mut self,
        before: Before,
        voice: &Voice<'_>,
        out: &mut Out<'_>,
    ) -> Option<Wait> {
        let next = match before {
            Before::Hear(joiners) if self.owns_locks(voice.us) => {
                return Some(Wait::Starts(joiners));
            }
            Before::Hear(_) => Agreed::REPLICATED,
            Before::Expect(next) => next,
        };
        self.expect(next.service, voice, out);
        let with_c = next.service == Service::Owned && !next.all_ours;
        self.handovers.rest(with_c);
        ((with_c || self.yielding) && self.is_handing_over()).then_some(Wait::Handover)
    }

    fn owns_locks(&self, us: NodeId) -> bool {
        self.resources.of(us).any(|(_, entry)| entry.has_locks_of_owner(us))
    }

    /// Our START comes next, for a barrier after which POSIX locks will be served like this.
    fn expect(&mut self, next: Service, voice: &Voice<'_>, out: &mut Out<'_>) {
        if next == Service::Owned {
            self.claim_again(voice, out);
        } else if self.service == Service::Owned && !self.yielding {
            self.yielding = true;
            let ours = self.resources.of(voice.us);
            let ours = ours.filter(|(_, entry)| entry.has_locks_of_owner(voice.us));
            // In an order that a recording keeps.
            let numbers: BTreeSet<u64> = ours.map(|(number, _)| number).collect();
            if !numbers.is_empty() {
                voice.debug(format!("plock_ownership yields {} resources", numbers.len()), out);
            }
            self.handovers.queue(numbers.into_iter().collect());
            self.hand_over(voice, out);
        }
    }

    /// The end of yielding where ownership goes on: ask for what requests wait for, and be the owner again of what is ours.
    fn claim_again(&mut self, voice: &Voice<'_>, out: &mut Out<'_>) {
        if !self.yielding {
            return;
        }
        self.yielding = false;
        self.handovers.queue(VecDeque::new());
        let waiting = self.resources.iter_mut().filter(|(_, entry)| !entry.pending.is_empty());
        let waiting: Vec<(u64, Owner)> =
            waiting.map(|(number, entry)| (number, entry.owner)).collect();
        for (number, owner) in waiting {
            match owner {
                Owner::Node(node) if node == voice.us => self.apply_pending(number, voice, out),
                Owner::Unknown | Owner::Node(_) => {
                    voice.send(Message::PlockOwn { number, owner: Some(voice.us) }, out);
                }
                // Our OWN of nobody, on its way, lets them go.
                Owner::Nobody { .. } => {}
            }
        }
    }

    /// A barrier is complete: from this place of the order on all members do this.
    pub(super) fn agree(&mut self, agreed: Agreed, voice: &Voice<'_>, out: &mut Out<'_>) {
        self.all_ours = agreed.all_ours;
        // Whoever joined now cannot know whether there was ownership before.
        let may_have_been = self.service == Service::Owned || !self.is_synchronised();
        self.strays = may_have_been && agreed.service != Service::Owned;
        if agreed.clash {
            let text =
                String::from("plock_ownership is 1 on one node and 0 on another: taken for 0");
            voice.error(text, out);
        }
        match (self.service, agreed.service) {
            (Service::Owned, Service::Owned) => {
                self.claim_again(voice, out);
                self.begin_rested(voice, out);
            }
            (Service::Owned, _) => self.end_ownership(voice, out),
            (_, Service::Owned) => {
                voice.debug(String::from("plock_ownership begins"), out);
                self.service = Service::Owned;
                self.look_at_all_later(voice, out.now.mono);
            }
            (_, service) => self.service = service,
        }
    }

    fn end_ownership(&mut self, voice: &Voice<'_>, out: &mut Out<'_>) {
        voice.debug(String::from("plock_ownership ends"), out);
        self.service = Service::Replicated;
        self.yielding = false;
        // What is on its way is void.
        self.handovers = Handovers::default();
        if !self.is_synchronised() {
            return;
        }
        let mut waiting: Vec<Asked> = Vec::new();
        for (number, entry) in self.resources.iter_mut() {
            let everybodys = entry.owner == (Owner::Nobody { established: true });
            if !everybodys && !entry.resource.is_empty() {
                let owner = entry.owner.number();
                let why = format!(
                    "POSIX locks of {number:x} are still owned by {owner} where ownership ends"
                );
                out.push(Effect::FailStop { why });
                return;
            }
            entry.owner = Owner::Nobody { established: true };
            waiting.extend(core::mem::take(&mut entry.pending));
        }
        self.resources.retain(|entry| !entry.resource.is_empty());
        waiting.sort_unstable_by_key(|asked| asked.serial);
        for asked in waiting {
            self.multicast(asked, voice, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Word; 4] = [Word::Nothing, Word::Unset, Word::On, Word::Off];

    #[test]
    fn a_word_comes_out_of_the_flags_as_it_went_in() {
        for word in ALL {
            assert_eq!(Word::from_flags(word.flags() | 7), word);
        }
        assert_eq!(
            Word::from_flags(0xfff0_ffff),
            Word::Nothing,
            "what a C daemon may send one day"
        );
    }

    #[test]
    fn members_have_ownership_where_all_of_them_take_part() {
        use Word::{Nothing, Off, On, Unset};
        let owned = |words: &[Word]| agreed(words.iter().copied()).service == Service::Owned;
        assert!(owned(&[Unset, Unset]) && owned(&[On, Unset]) && owned(&[On, Nothing]));
        assert!(!owned(&[Unset, Nothing]) && !owned(&[Nothing]));
        assert!(!owned(&[Unset, Off]) && !owned(&[On, Off]) && !owned(&[On, Off, Nothing]));
        for (a, b) in ALL.into_iter().flat_map(|a| ALL.map(|b| (a, b))) {
            let Agreed { all_ours, clash, .. } = agreed([a, b].into_iter());
            assert_eq!(all_ours, a != Nothing && b != Nothing);
            assert_eq!(clash, (a, b) == (On, Off) || (a, b) == (Off, On));
        }
    }
}
