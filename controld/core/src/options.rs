//! What the core needs to know of the configuration. Reading dlm.conf and the command line is the config room's business.

use crate::types::{LockspaceName, NodeId};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// A switch: two words instead of a bool, so that a call says what it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Switch {
    /// The rule applies.
    On,
    /// The rule does not apply.
    Off,
}

impl Switch {
    /// On?
    #[must_use]
    pub const fn is_on(self) -> bool {
        matches!(self, Self::On)
    }
}

impl From<bool> for Switch {
    fn from(on: bool) -> Self {
        if on { Self::On } else { Self::Off }
    }
}

/// Options that are fixed at start.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FixedOptions {
    /// `enable_fencing`
    pub fencing: Switch,
    /// `enable_startup_fencing`
    pub startup_fencing: Switch,
    /// `enable_concurrent_fencing`
    pub concurrent_fencing: Switch,
    /// Seconds that a fence agent may run before it counts as failed; our own option, `fence_agent_timeout`.
    pub agent_timeout_seconds: u64,
    /// `enable_plock`
    pub plock: Switch,
    /// `plock_ownership`; `None` where nobody has set it: as is best for the members of a lockspace.
    pub plock_ownership: Option<Switch>,
    /// `enable_helper`: run commands.
    pub helper: Switch,
}

/// Options that `set_config` and `reload_config` may change.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DynamicOptions {
    /// `post_join_delay`, seconds
    pub post_join_delay_seconds: u64,
    /// `enable_quorum_fencing`
    pub quorum_fencing: Switch,
    /// `enable_quorum_lockspace`
    pub quorum_lockspace: Switch,
    /// `repeat_failed_fencing`
    pub repeat_failed_fencing: Switch,
    /// `drop_resources_time`: pause between two looks for resources that nobody uses, milliseconds.
    pub drop_resources_time_millis: u64,
    /// `drop_resources_count`: how many of them are dropped at once at most.
    pub drop_resources_count: usize,
    /// `drop_resources_age`: for how long nobody has used them, milliseconds.
    pub drop_resources_age_millis: u64,
}

/// Where nobody has set anything: the defaults of the options' table, which a test of it compares with these.
impl Default for DynamicOptions {
    fn default() -> Self {
        Self {
            post_join_delay_seconds: 30,
            quorum_fencing: Switch::On,
            quorum_lockspace: Switch::On,
            repeat_failed_fencing: Switch::On,
            drop_resources_time_millis: 10_000,
            drop_resources_count: 10,
            drop_resources_age_millis: 10_000,
        }
    }
}

/// Per lockspace settings of dlm.conf (`lockspace` and `master` lines).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LockspaceOptions {
    /// `nodir=1`
    pub nodir: bool,
    /// `master` lines: weight by node; empty: every node has weight 1, else nodes without a line have 0.
    pub masters: BTreeMap<NodeId, u32>,
}

impl LockspaceOptions {
    /// The weight of a member in configfs (spec/kernel-interfaces.md section 5).
    #[must_use]
    pub fn weight(&self, node: NodeId) -> u32 {
        if self.masters.is_empty() { 1 } else { self.masters.get(&node).copied().unwrap_or(0) }
    }
}

/// One way to fence one node: a device of dlm.conf with this node's arguments.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Device {
    /// Name of the section, `foo` or `foo:1`; equal text before `:` of neighbours makes them parallel.
    pub name: String,
    /// Program, searched in PATH.
    pub agent: String,
    /// `key=val` words of the device line, then of the connect line. Nothing is decided by them, and there may be passwords
    /// among them: recordings leave them out.
    #[serde(skip)]
    pub arguments: Vec<String>,
}

impl Device {
    /// All of a run of parallel devices must succeed (spec/fencing.md section 9).
    #[must_use]
    pub fn is_parallel_to(&self, other: &Self) -> bool {
        match (self.name.split_once(':'), other.name.split_once(':')) {
            (Some((a, _)), Some((b, _))) => a == b,
            _ => false,
        }
    }
}

/// How each node is fenced, from dlm.conf as last read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FenceDevices {
    /// Devices by node, in file order.
    pub by_node: BTreeMap<NodeId, Vec<Device>>,
    /// Nodes whose configuration cannot be used, with the reason: every attempt to fence them fails and says so.
    pub broken: BTreeMap<NodeId, String>,
    /// Devices of every node that has none of its own (`fence_all`, or the built-in `dlm_stonith`).
    pub fallback: Vec<Device>,
}

impl FenceDevices {
    /// The devices that fence `node`, in the order in which they are tried.
    ///
    /// # Errors
    /// The reason why the node's configuration cannot be used.
    pub fn of(&self, node: NodeId) -> Result<&[Device], &str> {
        if let Some(reason) = self.broken.get(&node) {
            return Err(reason);
        }
        Ok(self.by_node.get(&node).map_or(&self.fallback, |devices| devices).as_slice())
    }
}

/// Everything the core starts with.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Setup {
    /// This node.
    pub our_node: NodeId,
    /// Nodes of corosync's nodelist, ours included: candidates for start-up fencing.
    pub configured_nodes: Vec<NodeId>,
    /// `quorum.two_node` is 1 and the nodelist has exactly two entries.
    pub two_node: bool,
    /// Fixed options.
    pub fixed: FixedOptions,
    /// Options as they are now.
    pub dynamic: DynamicOptions,
    /// Fence devices.
    pub devices: FenceDevices,
    /// Per lockspace options.
    pub lockspaces: BTreeMap<LockspaceName, LockspaceOptions>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(name: &str) -> Device {
        Device { name: name.into(), agent: "fence_foo".into(), arguments: Vec::new() }
    }

    /// A device for every name of up to three letters out of two ordinary ones and the colon.
    fn devices() -> Vec<Device> {
        let mut names = alloc::vec![String::new()];
        let mut longest = names.clone();
        for _ in 0..3 {
            longest = longest
                .iter()
                .flat_map(|name| ["a", "b", ":"].map(|letter| [name.as_str(), letter].concat()))
                .collect();
            names.extend_from_slice(&longest);
        }
        names.iter().map(|name| device(name)).collect()
    }

    /// The rule as spec/fencing.md section 9 words it: a first colon at the same place, equal text before it.
    fn parallel_by_the_specification(a: &str, b: &str) -> bool {
        let place = a.bytes().position(|byte| byte == b':');
        place.is_some()
            && place == b.bytes().position(|byte| byte == b':')
            && a.bytes().zip(b.bytes()).take_while(|(_, y)| *y != b':').all(|(x, y)| x == y)
    }

    #[test]
    fn devices_are_parallel_as_the_specification_says() {
        assert!(device("foo:1").is_parallel_to(&device("foo:2")));
        assert!(!device("foo").is_parallel_to(&device("foo:1")));
        assert!(!device("foo").is_parallel_to(&device("foo")));
        assert!(!device("foo:1").is_parallel_to(&device("fo:1")));
        for a in devices() {
            for b in devices() {
                let expected = parallel_by_the_specification(&a.name, &b.name);
                assert_eq!(a.is_parallel_to(&b), expected, "{} {}", a.name, b.name);
            }
        }
    }

    /// Else it would depend on where one begins to look which devices form a group that must succeed as a whole.
    #[test]
    fn parallel_devices_form_groups_without_overlap() {
        for a in devices() {
            assert_eq!(a.is_parallel_to(&a), a.name.contains(':'), "{}", a.name);
            for b in devices() {
                assert_eq!(a.is_parallel_to(&b), b.is_parallel_to(&a), "{} {}", a.name, b.name);
                for c in devices().iter().filter(|c| b.is_parallel_to(c)) {
                    let same = a.is_parallel_to(&b) == a.is_parallel_to(c);
                    assert!(same, "{} {} {}", a.name, b.name, c.name);
                }
            }
        }
    }

    #[test]
    fn devices_of_a_node_come_before_those_of_all() {
        let node = |id| NodeId::new(id).unwrap();
        let devices = FenceDevices {
            by_node: BTreeMap::from([(node(1), alloc::vec![device("own")])]),
            broken: BTreeMap::from([(node(2), "no such line".into())]),
            fallback: alloc::vec![device("all")],
        };
        assert_eq!(devices.of(node(1)), Ok(&[device("own")][..]));
        assert_eq!(devices.of(node(2)), Err("no such line"));
        assert_eq!(devices.of(node(3)), Ok(&[device("all")][..]));
    }

    #[test]
    fn nodes_without_a_master_line_weigh_nothing_if_others_have_one() {
        let node = |id| NodeId::new(id).unwrap();
        let mut options = LockspaceOptions::default();
        assert_eq!(options.weight(node(1)), 1);
        options.masters.insert(node(1), 3);
        assert_eq!((options.weight(node(1)), options.weight(node(2))), (3, 0));
    }
}
