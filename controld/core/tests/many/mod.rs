//! More nodes than corosync can have, which is 128, and more than the C daemon has room for.

use crate::runner::setup;
use dlm_core::Core;
use dlm_core::effect::{Effect, KernelWrite};
use dlm_core::event::{Confchg, Event, JoinReason};
use dlm_core::options::Setup;
use dlm_core::types::{Group, Instant, NodeId, Now, RingId, WallSeconds};
use std::collections::BTreeSet;

const NODES: u32 = 300;

#[test]
fn more_nodes_than_corosync_has() {
    let nodes: Vec<NodeId> = (1..=NODES).filter_map(NodeId::new).collect();
    let options = setup::parse("startup_fencing on\nplock on");
    let setup = Setup { our_node: nodes[0], configured_nodes: nodes.clone(), ..options };
    let mut core = Core::new(setup);
    let now = Now { mono: Instant::from_nanos(1_000_000_000), wall: WallSeconds(1_700_000_000) };
    let ring = RingId { node: 1, seq: 8 };
    let addresses = nodes.iter().map(|node| (*node, vec![([127, 0, 0, 1], 0).into()])).collect();
    let joined = nodes.iter().map(|node| (*node, JoinReason::Join)).collect();
    let change = Confchg { members: nodes.clone(), joined, left: Vec::new() };
    let mut events = vec![
        Event::Begin,
        Event::Quorum { quorate: true, ring, members: nodes.clone(), addresses },
        Event::Confchg { group: Group::Daemon, change },
        Event::Ring { group: Group::Daemon, ring },
    ];
    let mut told_kernel = BTreeSet::new();
    while !events.is_empty() {
        let mut effects = Vec::new();
        for event in events.drain(..) {
            core.step(now, event, &mut effects);
        }
        for effect in effects {
            if let Effect::Kernel { token, write, .. } = effect {
                if let KernelWrite::AddComm { node, .. } = write {
                    told_kernel.insert(node);
                }
                events.push(Event::KernelDone { token, result: Ok(()) });
            }
        }
    }
    assert_eq!(told_kernel, nodes.iter().copied().collect());
    let snapshot = core.snapshot();
    assert_eq!((snapshot.member_count, snapshot.nodes.len()), (300, 300));
    // Everybody but ourselves, who have not heard ourselves either.
    assert_eq!(snapshot.protocol_waits_for.len(), 300);
}
