use super::*;
use std::collections::BTreeSet;

fn id(number: u32) -> NodeId {
    NodeId::new(number).unwrap()
}

fn name() -> LockspaceName {
    LockspaceName::new(b"ls").unwrap()
}

fn start(members: &[u32]) -> KernelStart {
    KernelStart {
        first: None,
        nodir: false,
        members: members.iter().map(|node| (id(*node), 1)).collect(),
        renew: BTreeSet::new(),
        release_recover: BTreeSet::new(),
    }
}

/// Node 1's kernel with a running lockspace of three.
fn kernel() -> Kernel {
    let mut kernel = Kernel::default();
    for node in 1..=3 {
        kernel.add_comm(id(node), node == 1);
    }
    assert!(kernel.create(&name(), 1));
    let mut first = start(&[1, 2, 3]);
    first.first = Some(dlm_core::types::GlobalId(1));
    kernel.start(&name(), &first, &BTreeMap::new()).unwrap();
    kernel.finish_recovery(&name());
    kernel.drain_callbacks();
    kernel
}

fn stop(kernel: &mut Kernel) {
    kernel.begin_stop(&name());
    kernel.end_stop(&name());
}

fn recovered(kernel: &mut Kernel) -> Vec<NodeId> {
    let callbacks = kernel.drain_callbacks().into_iter();
    callbacks
        .filter_map(|(_, callback)| match callback {
            Callback::RecoverSlot { node, .. } => Some(node),
            Callback::RecoverPrep | Callback::RecoverDone => None,
        })
        .collect()
}

#[test]
fn creation_needs_our_own_address() {
    let mut kernel = Kernel::default();
    kernel.add_comm(id(2), false);
    assert!(!kernel.create(&name(), 1));
    kernel.add_comm(id(1), true);
    assert!(kernel.create(&name(), 1));
    assert!(!kernel.create(&name(), 2), "the name is taken");
}

#[test]
fn member_without_comm_has_failed() {
    let mut kernel = kernel();
    stop(&mut kernel);
    kernel.remove_comm(id(3));
    kernel.start(&name(), &start(&[1, 2]), &BTreeMap::new()).unwrap();
    assert_eq!(recovered(&mut kernel), [id(3)]);
}

#[test]
fn member_with_its_old_comm_has_left() {
    let mut kernel = kernel();
    stop(&mut kernel);
    kernel.start(&name(), &start(&[1, 2]), &BTreeMap::new()).unwrap();
    assert_eq!(recovered(&mut kernel), []);
}

#[test]
fn renewed_member_with_a_new_comm_has_failed() {
    let mut kernel = kernel();
    stop(&mut kernel);
    kernel.add_comm(id(3), false);
    let mut again = start(&[1, 2, 3]);
    again.renew = [id(3)].into();
    let report = kernel.start(&name(), &again, &BTreeMap::from([(id(3), 7)])).unwrap();
    assert_eq!(recovered(&mut kernel), [id(3)]);
    assert_eq!(report.forgotten, []);
    assert_eq!(kernel.lockspace(&name()).unwrap().members[&id(3)].instance, 7);
}

#[test]
fn new_life_without_renew_shows() {
    let mut kernel = kernel();
    stop(&mut kernel);
    kernel.add_comm(id(3), false);
    let lives = BTreeMap::from([(id(3), 7)]);
    let report = kernel.start(&name(), &start(&[1, 2, 3]), &lives).unwrap();
    assert_eq!(report.forgotten, [id(3)]);
}

#[test]
fn start_without_stop_is_refused() {
    let mut kernel = kernel();
    assert!(kernel.start(&name(), &start(&[1]), &BTreeMap::new()).is_err());
}

#[test]
fn member_that_never_had_a_comm_has_failed_when_it_goes() {
    let mut kernel = kernel();
    stop(&mut kernel);
    kernel.start(&name(), &start(&[1, 2, 3, 9]), &BTreeMap::new()).unwrap();
    stop(&mut kernel);
    kernel.add_comm(id(9), false);
    kernel.start(&name(), &start(&[1, 2, 3]), &BTreeMap::new()).unwrap();
    assert_eq!(recovered(&mut kernel), [id(9)]);
}

#[test]
fn only_the_first_stop_blocks_the_file_system() {
    let mut kernel = kernel();
    stop(&mut kernel);
    stop(&mut kernel);
    let blocks = kernel.drain_callbacks();
    assert_eq!(blocks, [(name(), Callback::RecoverPrep)]);
}

#[test]
fn slots_are_kept_and_the_lowest_free_ones_handed_out() {
    let slot = |number| Slot::new(number).unwrap();
    let reports = BTreeMap::from([
        (id(1), (None, 0)),
        (id(2), (Some(slot(1)), 4)),
        (id(3), (None, 0)),
        (id(4), (Some(slot(3)), 3)),
    ]);
    let table = assign_slots(&reports);
    assert_eq!(table.generation, 5);
    let expected = [(id(1), slot(2)), (id(2), slot(1)), (id(3), slot(4)), (id(4), slot(3))];
    assert_eq!(table.slots, BTreeMap::from(expected));
}
