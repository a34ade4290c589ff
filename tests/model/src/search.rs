//! Every state, depth first; then backwards from the good ones.

use crate::state::{State, Step};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Bounds of a search: one that reaches them has not seen everything, and says so.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// States.
    pub states: usize,
    /// Time.
    pub time: Duration,
    /// Steps on one way; `None`: as many as there are. All that fewer steps lead to is seen, and nothing else.
    pub depth: Option<usize>,
}

/// What a search has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Different states.
    pub states: usize,
    /// Steps between them.
    pub steps: usize,
    /// The longest way without a state twice.
    pub depth: usize,
    /// States in which all is well.
    pub well: usize,
    /// No bound was reached but that of depth.
    pub complete: bool,
    /// The bound of depth was reached.
    pub cut_off: bool,
    /// A promise that was broken, or a state without a way back, with the steps that lead there.
    pub broken: Option<(String, Vec<Step>)>,
}

/// A state that has been seen.
struct Seen {
    /// The state that it was first reached from, and the number of that one's step.
    parent: u32,
    step: u16,
    well: bool,
}

/// A state on the way that is being looked at.
struct Open {
    state: State,
    number: u32,
    steps: Vec<Step>,
    next: usize,
}

struct Search {
    bounds: Bounds,
    begin: Instant,
    /// The number of each state, and the shortest way on which it has been looked at.
    numbers: HashMap<u128, (u32, usize)>,
    seen: Vec<Seen>,
    /// Steps without a fault.
    onward: Vec<(u32, u32)>,
    found: Found,
}

/// Look at every state that can be reached from `first`.
///
/// # Panics
/// If there are more states than numbers for them, or a world that cannot be copied.
#[must_use]
pub fn search(first: &State, bounds: Bounds) -> Found {
    let mut search = Search {
        bounds,
        begin: Instant::now(),
        numbers: HashMap::new(),
        seen: Vec::new(),
        onward: Vec::new(),
        found: Found { complete: true, ..Found::default() },
    };
    let mut way = Vec::new();
    search.enter(first.fork().expect("a world that can be copied"), 0, 0, &mut way);
    while let Some(open) = way.last_mut() {
        if search.is_over() {
            break;
        }
        let Some(step) = open.steps.get(open.next).cloned() else {
            way.pop();
            continue;
        };
        let (from, index) = (open.number, open.next);
        open.next += 1;
        // The last step may use the state up.
        let mut state = open.state.fork().expect("a world that can be copied");
        state.take(&step);
        search.found.steps += 1;
        let to = search.enter(state, from, index, &mut way);
        if matches!(step, Step::Onward(_)) {
            search.onward.push((from, to));
        }
    }
    search.end(first)
}

impl Search {
    fn is_over(&mut self) -> bool {
        let full = self.seen.len() >= self.bounds.states;
        // The clock is asked now and then.
        let late = self.found.steps.is_multiple_of(1024) && self.begin.elapsed() > self.bounds.time;
        if full || late {
            self.found.complete = false;
        }
        full || late || self.found.broken.is_some()
    }

    /// The number of a state; one that is new is looked at next.
    fn enter(&mut self, mut state: State, parent: u32, step: usize, way: &mut Vec<Open>) -> u32 {
        let fingerprint = state.fingerprint();
        let length = way.len();
        let number = match self.numbers.get(&fingerprint) {
            // With a bound of depth, a shorter way leads further.
            Some((number, before)) if self.bounds.depth.is_none() || *before <= length => {
                return *number;
            }
            Some((number, _)) => *number,
            None => {
                let number = u32::try_from(self.seen.len()).expect("fewer states than numbers");
                let step = u16::try_from(step).expect("fewer steps than numbers");
                self.seen.push(Seen { parent, step, well: state.is_well() });
                if let Some(why) = state.broken() {
                    self.found.broken = Some((why.to_owned(), vec![]));
                }
                number
            }
        };
        self.numbers.insert(fingerprint, (number, length));
        let deepest = self.bounds.depth.is_some_and(|depth| length >= depth);
        let steps = if deepest { Vec::new() } else { state.steps() };
        self.found.cut_off |= deepest;
        way.push(Open { state, number, steps, next: 0 });
        self.found.depth = self.found.depth.max(way.len());
        number
    }

    /// The way back: from every state, without any more faults, one in which all is well must be reachable. Only a search
    /// that has seen everything can tell.
    fn end(mut self, first: &State) -> Found {
        self.found.states = self.seen.len();
        self.found.well = self.seen.iter().filter(|seen| seen.well).count();
        if let Some((_, steps)) = &mut self.found.broken {
            let last = u32::try_from(self.seen.len() - 1).expect("fewer states than numbers");
            *steps = way_to(&self.seen, last, first);
        } else if self.found.complete
            && !self.found.cut_off
            && let Some(lost) = self.without_way_back()
        {
            let steps = way_to(&self.seen, lost, first);
            let mut state = first.fork().expect("a world that can be copied");
            steps.iter().for_each(|step| state.take(step));
            let why = format!("promise 6: no way back from: {}", state.complaint());
            self.found.broken = Some((why, steps));
        }
        self.found
    }

    /// The state without a way back that has the shortest way to it, by its first discovery.
    fn without_way_back(&self) -> Option<u32> {
        let mut before: Vec<Vec<u32>> = vec![Vec::new(); self.seen.len()];
        for (from, to) in &self.onward {
            before[index(*to)].push(*from);
        }
        let mut good: Vec<bool> = self.seen.iter().map(|seen| seen.well).collect();
        let mut due: Vec<u32> =
            (0..).zip(&good).filter(|(_, good)| **good).map(|(number, _)| number).collect();
        while let Some(number) = due.pop() {
            for from in &before[index(number)] {
                if !good[index(*from)] {
                    good[index(*from)] = true;
                    due.push(*from);
                }
            }
        }
        (0..).zip(&good).find(|(_, good)| !**good).map(|(number, _)| number)
    }
}

fn index(number: u32) -> usize {
    usize::try_from(number).expect("a number of a state is an index")
}

fn way_to(seen: &[Seen], number: u32, first: &State) -> Vec<Step> {
    let mut indices = Vec::new();
    let mut at = number;
    while at != 0 {
        let Seen { parent, step, .. } = seen[index(at)];
        indices.push(usize::from(step));
        at = parent;
    }
    let mut state = first.fork().expect("a world that can be copied");
    let mut steps = Vec::new();
    for place in indices.into_iter().rev() {
        let step = state.steps().get(place).cloned().expect("the step that was taken");
        state.take(&step);
        steps.push(step);
    }
    steps
}
