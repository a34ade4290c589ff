use super::*;
use dlm_core::message::Packet;
use dlm_core::types::{GlobalId, Version};

fn id(number: u32) -> NodeId {
    NodeId::new(number).unwrap()
}

fn bus(nodes: u32) -> Bus {
    let mut bus = Bus::new((1..=nodes).map(id).collect(), nodes == 2);
    for node in 1..=nodes {
        bus.start(id(node));
    }
    bus.reform(id(1));
    for node in 1..=nodes {
        bus.connect(id(node));
        bus.submit(id(node), &Group::Daemon, Outgoing::Join);
        bus.order(id(node), &Group::Daemon);
    }
    for node in 1..=nodes {
        drain(&mut bus, node, &Channel::Quorum);
        drain(&mut bus, node, &Channel::Group(Group::Daemon));
    }
    bus
}

fn drain(bus: &mut Bus, node: u32, channel: &Channel) -> Vec<Event> {
    std::iter::from_fn(|| bus.take(id(node), channel))
        .map(|arrival| arrival.event.clone())
        .collect()
}

fn group(bus: &mut Bus, node: u32) -> Vec<Event> {
    drain(bus, node, &Channel::Group(Group::Daemon))
}

fn say(kind: u16) -> Outgoing {
    let packet = Packet {
        version: Version::default(),
        sender: id(1),
        global_id: GlobalId(0),
        message: Message::Other { kind, words: [0; 3], body: Vec::new() },
    };
    Outgoing::Message { packet, origin: Origin::default() }
}

fn ring_seq(event: &Event) -> Option<u64> {
    match event {
        Event::Ring { ring, .. } | Event::Quorum { ring, .. } => Some(ring.seq),
        _ => None,
    }
}

#[test]
fn a_node_that_vanishes_gives_a_change_then_the_ring() {
    let mut bus = bus(3);
    let mut random = Random::new(1);
    bus.stop(id(3), &mut random);
    assert!(bus.order(id(1), &Group::Daemon).is_none());
    assert!(bus.reform(id(2)));
    assert!(!bus.reform(id(1)), "the same ring for both");
    for node in [1, 2] {
        let events = group(&mut bus, node);
        let [Event::Confchg { change, .. }, ring] = events.as_slice() else {
            panic!("{events:?}");
        };
        assert_eq!(change.left, [(id(3), LeaveReason::NodeDown)]);
        assert_eq!(change.members, [id(1), id(2)]);
        let quorum = drain(&mut bus, node, &Channel::Quorum);
        assert_eq!(quorum[0], Event::Nodelist { joined: vec![], left: vec![id(3)] });
        assert_eq!(ring_seq(&quorum[1]), ring_seq(ring));
        assert_eq!(ring_seq(ring), Some(12), "numbers grow by four");
    }
}

#[test]
fn each_side_of_a_merge_sees_the_other_join() {
    let mut bus = bus(3);
    let mut random = Random::new(2);
    bus.cut(&[[id(1), id(2)].into(), [id(3)].into()], &mut random);
    bus.reform(id(1));
    bus.reform(id(3));
    for node in 1..=3 {
        group(&mut bus, node);
    }
    bus.heal();
    bus.reform(id(3));
    let joined = |events: Vec<Event>| match events.first() {
        Some(Event::Confchg { change, .. }) => change.joined.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(joined(group(&mut bus, 1)), [(id(3), JoinReason::NodeUp)]);
    assert_eq!(joined(group(&mut bus, 3)).len(), 2);
}

#[test]
fn a_message_of_a_dying_ring_is_ordered_once() {
    for seed in 0..50 {
        let mut bus = bus(3);
        let mut random = Random::new(seed);
        bus.submit(id(1), &Group::Daemon, say(99));
        bus.cut(&[[id(1), id(2)].into(), [id(3)].into()], &mut random);
        bus.reform(id(1));
        bus.reform(id(3));
        bus.order(id(1), &Group::Daemon);
        let messages = |events: &[Event]| {
            events.iter().filter(|event| matches!(event, Event::Message { .. })).count()
        };
        let (one, two) = (group(&mut bus, 1), group(&mut bus, 2));
        assert_eq!(one, two, "nodes that stay together see the same");
        assert_eq!(messages(&one), 1);
        assert!(messages(&group(&mut bus, 3)) <= 1);
    }
}

#[test]
fn torn_rings_are_not_taken_up_again() {
    let torn = (0..50).any(|seed| {
        let mut bus = bus(2);
        let mut random = Random::new(seed);
        bus.submit(id(1), &Group::Daemon, say(99));
        bus.cut(&[[id(1)].into(), [id(2)].into()], &mut random);
        bus.heal();
        bus.reform(id(1)) && group(&mut bus, 2).iter().any(|e| matches!(e, Event::Confchg { .. }))
    });
    assert!(torn);
}

#[test]
fn leaver_and_corpse_are_told_apart() {
    let mut bus = bus(3);
    bus.submit(id(3), &Group::Daemon, Outgoing::Leave);
    bus.order(id(3), &Group::Daemon);
    assert!(matches!(group(&mut bus, 3).as_slice(), [Event::Confchg { .. }]));
    bus.disconnect(id(2));
    bus.order(id(2), &Group::Daemon);
    let left: Vec<_> = group(&mut bus, 1)
        .into_iter()
        .filter_map(|event| match event {
            Event::Confchg { change, .. } => Some(change.left),
            _ => None,
        })
        .flatten()
        .collect();
    assert_eq!(left, [(id(3), LeaveReason::Leave), (id(2), LeaveReason::ProcDown)]);
}

#[test]
fn reboot_within_the_token_timeout_leaves_and_joins_at_once() {
    let mut bus = bus(3);
    let mut random = Random::new(4);
    bus.stop(id(3), &mut random);
    bus.start(id(3));
    bus.reform(id(1));
    let quorum = drain(&mut bus, 1, &Channel::Quorum);
    assert_eq!(quorum[0], Event::Nodelist { joined: vec![id(3)], left: vec![id(3)] });
    assert!(matches!(&quorum[1], Event::Quorum { members, .. } if members.len() == 3));
}

#[test]
fn two_nodes_wait_for_all_then_stay_quorate() {
    let mut bus = Bus::new([id(1), id(2)].into(), true);
    bus.start(id(1));
    assert!(!bus.is_quorate(id(1), 1));
    bus.start(id(2));
    bus.reform(id(1));
    let mut random = Random::new(5);
    bus.stop(id(2), &mut random);
    bus.reform(id(1));
    assert!(bus.is_quorate(id(1), 1));
}
