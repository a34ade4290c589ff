//! A peer that does as the C daemon does, its known faults included (docs/defects.md), as one more kind of node.
//!
//! It is a core of ours with those faults that neither says nor hears anything of our extensions.

use dlm_core::Core;
use dlm_core::effect::Effect;
use dlm_core::event::Event;
use dlm_core::message::{Message, START_OWNERSHIP};
use dlm_core::options::{Setup, Switch};
use dlm_core::plock::PlockResource;
use dlm_core::snapshot::Snapshot;
use dlm_core::types::{Instant, LockspaceName, Now};
use testbed::harness::{Brain, MakeBrain};

/// Daemons like C's on these nodes, ours on all others; `None`: there are no such nodes.
pub(crate) fn mixed(c_nodes: &[u32]) -> Option<MakeBrain> {
    let theirs = c_nodes.to_vec();
    let make = move |mut setup: Setup| -> Box<dyn Brain> {
        if !theirs.contains(&setup.our_node.get()) {
            return Box::new(Core::new(setup));
        }
        setup.fixed.plock_ownership = Some(Switch::Off);
        Box::new(CPeer(Core::like_c(setup)))
    };
    (!c_nodes.is_empty()).then(|| -> MakeBrain { Box::new(make) })
}

struct CPeer(Core);

impl Brain for CPeer {
    fn step(&mut self, now: Now, mut event: Event, effects: &mut Vec<Effect>) {
        if let Event::Message { packet, .. } = &mut event {
            without_extensions(&mut packet.message);
        }
        let first_new = effects.len();
        self.0.step(now, event, effects);
        let new = effects.split_off(first_new);
        effects.extend(new.into_iter().filter(|effect| !is_unknown_to_c(effect)));
        for effect in effects.iter_mut().skip(first_new) {
            if let Effect::Send { packet, .. } = effect {
                without_extensions(&mut packet.message);
            }
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.0.next_deadline()
    }

    fn snapshot(&self) -> Snapshot {
        self.0.snapshot()
    }

    fn plocks(&self, lockspace: &LockspaceName) -> Option<Vec<PlockResource>> {
        self.0.plocks(lockspace).map(Iterator::collect)
    }
}

fn is_unknown_to_c(effect: &Effect) -> bool {
    let unknown = |message: &Message| {
        let released = matches!(message, Message::ReleaseRecover { .. } | Message::Withdraw { .. });
        released || matches!(message, Message::FencePast(_))
    };
    matches!(effect, Effect::Send { packet, .. } if unknown(&packet.message))
}

/// The C daemon neither sends them nor looks at them.
fn without_extensions(message: &mut Message) {
    match message {
        Message::Protocol(protocol) => protocol.features = None,
        Message::Start(start) => start.flags &= !START_OWNERSHIP,
        Message::FenceResult(result) => result.ring = 0,
        Message::FenceClear(clear) => clear.ring = 0,
        Message::ReleaseRecover { .. } | Message::Withdraw { .. } => {
            *message = Message::Other { kind: 0, words: [0; 3], body: Vec::new() };
        }
        _ => {}
    }
}
