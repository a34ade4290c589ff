//! The locks of a lockspace and all that waits for them, apart from the rest of its state: without bound, so recordings
//! must be able to leave it out.

use super::PlocksPart;
use super::handover::Handovers;
use super::in_flight::InFlight;
use super::resources::Resources;
use super::results::{Asked, Results};
use super::space::Plocks;
use super::transfer::{Progress, Saved};
use alloc::collections::VecDeque;
use serde::{Deserialize, Serialize};

/// What is encoded.
#[derive(Debug, Serialize)]
pub(crate) struct ContentsOf<'a> {
    resources: &'a Resources,
    results: &'a Results,
    in_flight: &'a InFlight,
    held: &'a VecDeque<Asked>,
    handovers: &'a Handovers,
    parts: &'a VecDeque<PlocksPart>,
    saved: Option<&'a VecDeque<Saved>>,
}

/// The same, decoded: field by field as above.
#[derive(Debug, Deserialize)]
pub(crate) struct Contents {
    resources: Resources,
    results: Results,
    in_flight: InFlight,
    held: VecDeque<Asked>,
    handovers: Handovers,
    parts: VecDeque<PlocksPart>,
    saved: Option<VecDeque<Saved>>,
}

impl Plocks {
    /// What of the state may be too much.
    pub(crate) fn contents(&self) -> ContentsOf<'_> {
        ContentsOf {
            resources: &self.resources,
            results: &self.results,
            in_flight: &self.in_flight,
            held: &self.held,
            handovers: &self.handovers,
            parts: &self.outgoing.parts,
            saved: match &self.progress {
                Progress::Receiving(incoming) => Some(&incoming.saved),
                Progress::Needing | Progress::Synchronised => None,
            },
        }
    }

    /// Put back what was encoded apart.
    pub(crate) fn restore(&mut self, contents: Contents) {
        let Contents { resources, results, in_flight, held, handovers, parts, saved } = contents;
        (self.resources, self.results) = (resources, results);
        (self.in_flight, self.held) = (in_flight, held);
        (self.handovers, self.outgoing.parts) = (handovers, parts);
        if let (Progress::Receiving(incoming), Some(saved)) = (&mut self.progress, saved) {
            incoming.saved = saved;
        }
    }
}
