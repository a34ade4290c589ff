//! Processes that lock, wait and unlock on model plock devices, and promise 5 about what they are told.
//!
//! A process believes that it holds what it was told, until it gives it up, its lockspace is released, or its node loses
//! power. No two of them may believe what excludes each other, wherever they are; in a settled world every daemon has
//! exactly what they believe.

use super::World;
use crate::kernel::Lockspace;
use dlm_core::event::Event;
use dlm_core::plock::{FLAG_CLOSE, Mode, Op, PlockInfo};
use dlm_core::types::{Group, LockspaceName, NodeId};
use std::collections::{BTreeMap, BTreeSet};

/// What a process does with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// F_SETLK.
    Try(Mode),
    /// F_SETLKW.
    Wait(Mode),
    /// F_UNLCK.
    Unlock,
    /// Close the file.
    Close,
}

/// A process asks for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Its node.
    pub node: NodeId,
    /// Which of that node's processes.
    pub process: u32,
    /// Which file.
    pub file: u64,
    /// First and last byte.
    pub bytes: (u64, u64),
    /// For what.
    pub want: Want,
}

/// A process that has files of a lockspace open.
#[derive(Clone, Debug, Hash)]
pub(super) struct Process {
    /// The kernel's number for it; no two have the same.
    owner: u64,
    /// The life of its lockspace.
    instance: u64,
    /// It waits for the answer.
    asked: Option<PlockInfo>,
    held: Held,
    /// What it held before it asked: a lock that is refused changes nothing.
    before: Held,
}

/// Modes by file and byte.
type Held = BTreeMap<(u64, u64), Mode>;

/// Whose: lockspace, node, number of the process.
pub(super) type Whose = (LockspaceName, NodeId, u32);

impl World {
    /// A process of this node asks for a POSIX lock, and the daemon reads that at once. False: no daemon runs.
    pub fn plock(&mut self, request: PlockInfo) -> bool {
        let id = request.node;
        match self.nodes.get_mut(&id) {
            Some(host) if host.daemon.is_some() => host.kernel.plocks().read(request),
            Some(_) | None => return false,
        }
        self.feed(id, Event::PlockRequest(request));
        self.collect_news();
        true
    }

    /// A process asks, if its file system is there, it waits for nothing, and a daemon reads it.
    pub fn ask(&mut self, name: &LockspaceName, ask: Ask) {
        let whose = (name.clone(), ask.node, ask.process);
        let Some(host) = self.nodes.get(&ask.node).filter(|host| host.daemon.is_some()) else {
            return;
        };
        if self.hung.get(&ask.node).is_some_and(|until| *until > self.now) {
            return;
        }
        let usable = host.kernel.lockspace(name).filter(|l| l.created && !l.releasing);
        let Some(instance) = usable.map(|lockspace| lockspace.instance) else { return };
        let next = self.last_owner + 1;
        let process = self.processes.entry(whose.clone()).or_insert_with(|| Process {
            owner: next,
            instance,
            asked: None,
            held: Held::new(),
            before: Held::new(),
        });
        self.last_owner = next;
        if process.asked.is_some() {
            return;
        }
        let request = request(name, ask, process.owner);
        process.before.clone_from(&process.held);
        match ask.want {
            // Others may be granted what was given up before we hear that it was.
            Want::Unlock => process.held.retain(|place, _| !covers(&request, *place)),
            Want::Try(Mode::Read) | Want::Wait(Mode::Read) => {
                let held = process.held.iter_mut().filter(|(place, _)| covers(&request, **place));
                held.for_each(|(_, mode)| *mode = Mode::Read);
            }
            Want::Try(Mode::Write) | Want::Wait(Mode::Write) => {}
            Want::Close => process.held.retain(|(file, _), _| *file != ask.file),
        }
        process.asked = (ask.want != Want::Close).then_some(request);
        self.plock(request);
    }

    /// The kernel hands a result to whoever asked.
    pub(super) fn lock_answered(&mut self, asked: &PlockInfo, result: i32) {
        let of = |process: &&mut Process| process.owner == asked.owner;
        let Some(process) = self.processes.values_mut().find(of) else { return };
        process.asked = None;
        let before = std::mem::take(&mut process.before);
        match (asked.op, result) {
            (Op::Lock, 0) => {
                let bytes = asked.start..=asked.end;
                process.held.extend(bytes.map(|byte| ((asked.number, byte), asked.mode)));
                self.check_grant(asked);
            }
            (Op::Lock, _) => process.held = before,
            (Op::Unlock | Op::Get | Op::Cancel | Op::Unknown(_), _) => {}
        }
    }

    /// Promise 5: nobody else believes that it holds what this grant excludes.
    fn check_grant(&mut self, granted: &PlockInfo) {
        let excludes = |mode: Mode| mode == Mode::Write || granted.mode == Mode::Write;
        let others = self.processes.iter().filter(|((name, _, _), process)| {
            Group::Lockspace(name.clone()).global_id() == granted.fsid
                && process.owner != granted.owner
                && !self.divided.contains(name)
        });
        let holds = |process: &Process| {
            process.held.iter().any(|(place, mode)| covers(granted, *place) && excludes(*mode))
        };
        // Where a ring breaks, some have heard a request and others have not, and none knows it yet.
        let parting = |name: &LockspaceName, other: NodeId| {
            let group = Self::group(name);
            let view = self.daemon(granted.node).and_then(|daemon| daemon.view(&group));
            view.is_some_and(|view| view.members.contains(&other))
                && self.bus.is_losing(granted.node, &group, other)
        };
        let clashes = others
            .filter(|(_, process)| holds(process))
            .filter(|((name, other, _), _)| !parting(name, *other));
        // A node of which a lie was told is cut off from what the others do, and they from what it does.
        let lied = |life: u64| self.is_lied_about(life);
        let ours = self.processes.values().find(|process| process.owner == granted.owner);
        let ours = ours.is_some_and(|process| lied(process.instance));
        let ours = ours || self.foreign.contains(&granted.node);
        let clash = clashes
            .map(|(whose, process)| {
                (whose, ours || self.foreign.contains(&whose.1) || lied(process.instance))
            })
            .min_by_key(|(_, lied)| *lied);
        if let Some(((name, node, number), excused)) = clash {
            let what = format!(
                "promise 5: {} is granted {:?} of bytes {} to {} of file {} in {name}, and process {number} of {node} holds some",
                granted.node, granted.mode, granted.start, granted.end, granted.number
            );
            if excused { self.harmed(what) } else { self.broken(what) }
        }
    }

    /// The processes of a lockspace are gone, or all of a node's.
    pub(super) fn processes_gone(&mut self, id: NodeId, name: Option<&LockspaceName>) {
        let gone = |whose: &Whose| whose.1 == id && name.is_none_or(|name| whose.0 == *name);
        self.processes.retain(|whose, _| !gone(whose));
    }

    /// Promise 5 where nothing is under way: members of one settled lockspace have exactly the locks and the waiters that
    /// there are on them, those of an owned file on its owner alone, and nobody there is left without an answer.
    #[must_use]
    pub fn lock_complaints(&self) -> Vec<String> {
        let hosts = self.nodes.iter().flat_map(|(id, host)| {
            let settled = host.kernel.lockspaces().iter().filter(|(_, space)| space.is_settled());
            settled.map(|(name, space)| (*id, name, space))
        });
        hosts.flat_map(|(id, name, space)| self.lock_complaints_of(id, name, space)).collect()
    }

    fn lock_complaints_of(
        &self,
        id: NodeId,
        name: &LockspaceName,
        space: &Lockspace,
    ) -> Vec<String> {
        let together = |member: &NodeId| {
            let theirs = self.nodes.get(member).and_then(|host| host.kernel.lockspace(name));
            theirs.is_some_and(|l| l.is_settled() && l.members.keys().eq(space.members.keys()))
        };
        let resources = self.daemon(id).and_then(|daemon| daemon.brain.plocks(name));
        let Some(resources) = resources.filter(|_| space.members.keys().all(together)) else {
            return Vec::new();
        };
        let elsewhere = |file: u64| {
            let owner = resources.iter().find(|resource| resource.number == file).map(|r| r.owner);
            owner.is_some_and(|owner| owner > 0 && owner != i64::from(id.get()))
        };
        let mut wrong = Vec::new();
        let (mut told, mut waiting) = (BTreeMap::new(), BTreeSet::new());
        let members = self
            .processes
            .iter()
            .filter(|((of, node, _), _)| of == name && space.members.contains_key(node));
        for ((_, node, number), process) in members {
            // Nothing has become of a request that still waits.
            let held = if process.asked.is_some() { &process.before } else { &process.held };
            let here = held.iter().filter(|((file, _), _)| !elsewhere(*file));
            told.extend(here.map(|((file, byte), m)| ((*file, *byte, *node, process.owner), *m)));
            match process.asked {
                Some(asked) if asked.wait => {
                    if !elsewhere(asked.number) {
                        waiting.insert((asked.number, *node, process.owner));
                    }
                }
                Some(asked) if *node == id => {
                    wrong.push(format!("process {number} of {node} has no answer to {asked:?}"));
                }
                Some(_) | None => {}
            }
        }
        let (mut has, mut queued) = (BTreeMap::new(), BTreeSet::new());
        for resource in &resources {
            for entry in &resource.entries {
                let (node, owner) = (entry.holder.node, entry.holder.owner);
                if entry.waiter {
                    queued.insert((resource.number, node, owner));
                    continue;
                }
                let bytes = entry.start..=entry.end;
                has.extend(bytes.map(|byte| ((resource.number, byte, node, owner), entry.mode)));
            }
        }
        if has != told || queued != waiting {
            wrong.push(format!(
                "{id} has {has:?} {queued:?} in {name}, told was {told:?} {waiting:?}"
            ));
        }
        wrong
    }
}

fn covers(request: &PlockInfo, (file, byte): (u64, u64)) -> bool {
    request.number == file && (request.start..=request.end).contains(&byte)
}

fn request(name: &LockspaceName, ask: Ask, owner: u64) -> PlockInfo {
    /// Of linux/dlm_plock.h.
    const VERSION: [u32; 3] = [1, 2, 0];
    /// The last byte of all files here.
    const LAST: u64 = 3;
    let (op, mode, wait) = match ask.want {
        Want::Try(mode) => (Op::Lock, mode, false),
        Want::Wait(mode) => (Op::Lock, mode, true),
        Want::Unlock | Want::Close => (Op::Unlock, Mode::Read, false),
    };
    let close = ask.want == Want::Close;
    let (start, end) = if close { (0, LAST) } else { ask.bytes };
    PlockInfo {
        version: VERSION,
        op,
        mode,
        wait,
        flags: if close { FLAG_CLOSE } else { 0 },
        pid: ask.process,
        node: ask.node,
        result: 0,
        fsid: Group::Lockspace(name.clone()).global_id(),
        number: ask.file,
        start,
        end,
        owner,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::{lockspace, node};

    fn ask(number: u32, want: Want) -> Ask {
        Ask { node: node(number), process: 1, file: 1, bytes: (0, 3), want }
    }

    /// Node 1 holds the file, node 2 waits for it.
    fn contended() -> (World, LockspaceName) {
        let (mut world, name) = (World::new(1, 2), lockspace("ls"));
        (1..=2).for_each(|number| world.join(number, "ls"));
        assert!(world.settle());
        for (number, want) in [(1, Want::Try(Mode::Write)), (2, Want::Wait(Mode::Write))] {
            world.ask(&name, ask(number, want));
            world.run_millis(5000);
        }
        assert!(world.is_quiet() && world.lock_complaints().is_empty());
        (world, name)
    }

    fn request_of(world: &World, number: u32) -> Option<PlockInfo> {
        world.processes[&(lockspace("ls"), node(number), 1)].asked
    }

    #[test]
    fn a_lock_goes_to_who_waits_when_it_is_given_up() {
        let (mut world, name) = contended();
        assert_eq!(request_of(&world, 1), None);
        assert!(request_of(&world, 2).is_some());
        world.ask(&name, ask(1, Want::Unlock));
        world.run_millis(5000);
        assert_eq!(request_of(&world, 2), None);
        assert!(world.violations().is_empty() && world.lock_complaints().is_empty());
    }

    #[test]
    fn a_lock_that_is_granted_twice_is_found() {
        let (mut world, _) = contended();
        let asked = request_of(&world, 2).unwrap();
        world.lock_answered(&asked, 0);
        assert!(
            world.violations()[0].starts_with("promise 5: 2 is granted"),
            "{:?}",
            world.violations()
        );
        assert!(!world.lock_complaints().is_empty());
    }

    #[test]
    fn a_lock_that_a_daemon_does_not_know_is_found() {
        let (mut world, name) = contended();
        let process = world.processes.get_mut(&(name, node(1), 1)).unwrap();
        process.held.insert((2, 0), Mode::Write);
        assert!(!world.lock_complaints().is_empty());
    }
}
