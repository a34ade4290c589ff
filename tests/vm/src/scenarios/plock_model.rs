//! What POSIX says of locks on one file, for processes that do one step at a time, and a script of such
//! steps drawn from a seed.
//!
//! At most one process waits at a time: of several, which gets a lock first is nobody's promise, and
//! kernels differ. The bytes of a file are cut into cells, the last reaching to the end of every file; ranges begin and end with cells.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use crate::actor::{Bytes, Mode};
use crate::random::Random;

/// First byte of each cell: small ones, whole pages, and over 32 bits.
const BOUNDS: [u64; 15] =
    [0, 1, 2, 3, 4, 6, 8, 16, 64, 4096, 4097, 1 << 31, 1 << 32, 1 << 40, 1 << 62];
/// The last byte that a lock can have.
const LAST_BYTE: u64 = (1 << 63) - 1;
/// The longest range that does not reach to the end, in cells.
const LONGEST: usize = 5;
/// So many steps a process may wait before those in its way let go.
const PATIENCE: usize = 6;

pub(super) type Cells = RangeInclusive<usize>;

/// What a process does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    Lock(Mode, Cells),
    Wait(Mode, Cells),
    Unlock(Cells),
    Test(Mode, Cells),
    Close,
    CloseAnother,
    Die,
}

/// What it must come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Answer {
    Done,
    Refused,
    Sleeps,
    Free,
    Held,
}

/// A step of one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) actor: usize,
    pub(super) action: Action,
}

/// Who waits for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) actor: usize,
    mode: Mode,
    cells: Cells,
}

/// Who holds what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Model {
    held: [BTreeMap<usize, Mode>; BOUNDS.len()],
    waiter: Option<Wish>,
}

impl Model {
    /// Does a step; what it must come to, and who must be granted its wish by it.
    pub(super) fn apply(&mut self, step: &Step) -> (Answer, Option<usize>) {
        let actor = step.actor;
        let answer = match &step.action {
            Action::Lock(mode, cells) if self.conflict(actor, *mode, cells) => Answer::Refused,
            Action::Wait(mode, cells) if self.conflict(actor, *mode, cells) => {
                self.waiter = Some(Wish { actor, mode: *mode, cells: cells.clone() });
                Answer::Sleeps
            }
            Action::Lock(mode, cells) | Action::Wait(mode, cells) => {
                self.set(actor, *mode, cells);
                Answer::Done
            }
            Action::Unlock(cells) => {
                self.clear(actor, cells);
                Answer::Done
            }
            Action::Test(mode, cells) if self.conflict(actor, *mode, cells) => Answer::Held,
            Action::Test(..) => Answer::Free,
            Action::Close | Action::CloseAnother => {
                self.clear(actor, &everything());
                Answer::Done
            }
            Action::Die => {
                self.waiter.take_if(|wish| wish.actor == actor);
                self.clear(actor, &everything());
                Answer::Done
            }
        };
        (answer, self.grant())
    }

    /// Who waits.
    pub(super) fn waiter(&self) -> Option<usize> {
        self.waiter.as_ref().map(|wish| wish.actor)
    }

    /// Every cell that somebody has locked.
    pub(super) fn locks(&self) -> impl Iterator<Item = (usize, usize, Mode)> + '_ {
        self.held.iter().enumerate().flat_map(|(cell, holders)| {
            holders.iter().map(move |(actor, mode)| (cell, *actor, *mode))
        })
    }

    /// Whether a process has all of these cells locked in this mode.
    pub(super) fn holds(&self, actor: usize, mode: Mode, cells: &Cells) -> bool {
        cells
            .clone()
            .all(|cell| self.held.get(cell).and_then(|holders| holders.get(&actor)) == Some(&mode))
    }

    fn conflict(&self, actor: usize, mode: Mode, cells: &Cells) -> bool {
        self.in_the_way(actor, mode, cells).is_some()
    }

    fn in_the_way(&self, actor: usize, mode: Mode, cells: &Cells) -> Option<usize> {
        let mut holders = self.locks().filter(|(cell, ..)| cells.contains(cell));
        let blocks =
            |(_, holder, held): &(usize, usize, Mode)| *holder != actor && mode.excludes(*held);
        holders.find(blocks).map(|(_, holder, _)| holder)
    }

    fn set(&mut self, actor: usize, mode: Mode, cells: &Cells) {
        for holders in self.held.iter_mut().skip(*cells.start()).take(cells.clone().count()) {
            holders.insert(actor, mode);
        }
    }

    fn clear(&mut self, actor: usize, cells: &Cells) {
        for holders in self.held.iter_mut().skip(*cells.start()).take(cells.clone().count()) {
            holders.remove(&actor);
        }
    }

    fn grant(&mut self) -> Option<usize> {
        let wish = self.waiter.take()?;
        if self.conflict(wish.actor, wish.mode, &wish.cells) {
            self.waiter = Some(wish);
            return None;
        }
        self.set(wish.actor, wish.mode, &wish.cells);
        Some(wish.actor)
    }
}

/// All cells.
pub(super) fn everything() -> Cells {
    0..=BOUNDS.len() - 1
}

/// What fcntl takes for some cells.
pub(super) fn bytes(cells: &Cells) -> Bytes {
    let start = BOUNDS.get(*cells.start()).copied().unwrap_or_default();
    let length = BOUNDS.get(cells.end() + 1).map_or(0, |end| end - start);
    Bytes { start, length }
}

/// The cells from a first to a last byte, if both are the ends of cells.
pub(super) fn cells(start: u64, last: u64) -> Option<Cells> {
    let first = BOUNDS.iter().position(|bound| *bound == start)?;
    if last == LAST_BYTE {
        return Some(first..=BOUNDS.len() - 1);
    }
    let after = BOUNDS.iter().position(|bound| *bound == last + 1)?;
    Some(first..=after.checked_sub(1)?)
}

/// So many steps of so many processes, and then the steps that end all locks.
pub(super) fn script(seed: u64, actors: usize, steps: usize) -> Vec<Step> {
    let mut random = Random::new(seed);
    let mut model = Model::default();
    let (mut script, mut waited) = (Vec::new(), 0);
    while script.len() < steps {
        let mut step = draw(&mut random, actors);
        waited = if model.waiter.is_some() { waited + 1 } else { 0 };
        if let Some(wish) = &model.waiter {
            let blocker = model.in_the_way(wish.actor, wish.mode, &wish.cells);
            if let (Some(actor), true) = (blocker, waited > PATIENCE) {
                step = Step { actor, action: Action::Unlock(wish.cells.clone()) };
            }
            // Who sleeps can but die, and nobody else may wait with it.
            if step.actor == wish.actor && step.action != Action::Die {
                continue;
            }
            if let Action::Wait(mode, cells) = &step.action
                && model.conflict(step.actor, *mode, cells)
            {
                continue;
            }
        }
        model.apply(&step);
        script.push(step);
    }
    while let Some(actor) = last_but_the_waiter(&model) {
        let step = Step { actor, action: Action::Close };
        model.apply(&step);
        script.push(step);
    }
    script
}

fn last_but_the_waiter(model: &Model) -> Option<usize> {
    model.locks().map(|(_, actor, _)| actor).filter(|actor| model.waiter() != Some(*actor)).last()
}

fn draw(random: &mut Random, actors: usize) -> Step {
    let actor = random.index(actors);
    let first = random.index(BOUNDS.len());
    let last = match random.below(8) {
        0 => BOUNDS.len() - 1,
        _ => (first + random.index(LONGEST)).min(BOUNDS.len() - 1),
    };
    let cells = first..=last;
    let mode = if random.below(2) == 0 { Mode::Read } else { Mode::Write };
    let action = match random.below(100) {
        0..30 => Action::Lock(mode, cells),
        30..52 => Action::Wait(mode, cells),
        52..75 => Action::Unlock(cells),
        75..92 => Action::Test(mode, cells),
        92..95 => Action::Close,
        95..97 => Action::CloseAnother,
        _ => Action::Die,
    };
    Step { actor, action }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn script_meets_every_answer_and_ends_with_no_lock() {
        let script = script(1, 6, 300);
        let mut model = Model::default();
        let (mut seen, mut granted) = (BTreeMap::<Answer, usize>::new(), 0);
        for step in &script {
            let (answer, grant) = model.apply(step);
            *seen.entry(answer).or_default() += 1;
            granted += usize::from(grant.is_some());
        }
        assert_eq!(model, Model::default());
        let least = seen.values().min().copied().unwrap_or_default();
        assert!(seen.len() == 5 && least >= 8 && granted >= 8, "{seen:?}, {granted} granted");
    }

    #[test]
    fn cells_come_back_from_their_bytes() {
        for range in [0..=0, 3..=9, 2..=14, 14..=14] {
            let Bytes { start, length } = bytes(&range);
            let last = if length == 0 { LAST_BYTE } else { start + length - 1 };
            assert_eq!(cells(start, last), Some(range));
        }
        assert_eq!(cells(5, 6), None);
    }

    #[test]
    fn wish_is_granted_by_the_step_that_lets_go() {
        let mut model = Model::default();
        let mut step = |actor, action| model.apply(&Step { actor, action });
        assert_eq!(step(0, Action::Lock(Mode::Read, 1..=3)), (Answer::Done, None));
        assert_eq!(step(1, Action::Wait(Mode::Write, 3..=4)), (Answer::Sleeps, None));
        assert_eq!(step(0, Action::Unlock(1..=2)), (Answer::Done, None));
        assert_eq!(step(0, Action::Unlock(3..=3)), (Answer::Done, Some(1)));
        assert_eq!(step(0, Action::Test(Mode::Read, 4..=9)), (Answer::Held, None));
    }
}
