//! Our requests on their way through the group: they come back in the order in which they were sent.
//!
//! An owner asks before each request whether an older one for the same file is among them. They are as many as processes wait in the
//! kernel, so where they are many, their files are counted; whoever never asks pays nothing for that.

use crate::plock::index::Derived;
use crate::plock::results::Asked;
use alloc::collections::{BTreeMap, VecDeque};
use serde::{Deserialize, Serialize};

/// So many are looked through.
const FEW: usize = if cfg!(test) { 1 } else { 8 };

/// The requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct InFlight {
    requests: VecDeque<Asked>,
    /// How many there are for each file; kept from the first question until there are few.
    #[serde(skip)]
    files: Derived<Option<BTreeMap<u64, usize>>>,
}

impl InFlight {
    pub(super) fn len(&self) -> usize {
        self.requests.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// The next one to come back first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Asked> {
        self.requests.iter()
    }

    /// One more has been sent.
    pub(super) fn push(&mut self, asked: Asked) {
        if let Some(files) = &mut self.files.0 {
            add(files, asked.info.number);
        }
        self.requests.push_back(asked);
    }

    /// The oldest is back.
    pub(super) fn pop(&mut self) -> Option<Asked> {
        let asked = self.requests.pop_front()?;
        if self.requests.len() <= FEW {
            self.files = Derived::default();
        } else if let Some(files) = &mut self.files.0 {
            let number = asked.info.number;
            if let Some(count) = files.get_mut(&number).filter(|count| **count > 1) {
                *count = count.saturating_sub(1);
            } else {
                files.remove(&number);
            }
        }
        Some(asked)
    }

    /// One of them is about the file.
    pub(super) fn is_about(&mut self, number: u64) -> bool {
        if self.requests.len() <= FEW {
            return self.requests.iter().any(|asked| asked.info.number == number);
        }
        let requests = &self.requests;
        let files = self.files.0.get_or_insert_with(|| {
            let mut files = BTreeMap::new();
            requests.iter().for_each(|asked| add(&mut files, asked.info.number));
            files
        });
        files.contains_key(&number)
    }

    /// One of them is of that process, about the file.
    pub(super) fn is_of(&mut self, owner: u64, number: u64) -> bool {
        let same = |asked: &Asked| (asked.info.number, asked.info.owner) == (number, owner);
        self.is_about(number) && self.requests.iter().any(same)
    }

    /// A CLOSE of the same process and file is on its way behind the request.
    pub(super) fn closes_later(&mut self, asked: &Asked) -> bool {
        let (number, owner) = (asked.info.number, asked.info.owner);
        let closes = |later: &Asked| {
            later.info.is_close() && (later.info.number, later.info.owner) == (number, owner)
        };
        self.is_about(number) && self.requests.iter().any(closes)
    }
}

fn add(files: &mut BTreeMap<u64, usize>, number: u64) {
    let count = files.entry(number).or_default();
    *count = count.saturating_add(1);
}
