//! What the daemons of a world are told when they start.

use super::World;
use dlm_core::options::{Device, DynamicOptions, FenceDevices, FixedOptions, Setup, Switch};
use dlm_core::types::NodeId;
use std::collections::BTreeMap;

impl World {
    /// Options of daemons that start from now on.
    pub fn set_options(&mut self, change: impl FnOnce(&mut FixedOptions, &mut DynamicOptions)) {
        change(&mut self.fixed, &mut self.dynamic);
    }

    /// From now on two devices have to work to fence a node: one for each of its power supplies. For a world that has not begun.
    pub const fn has_two_feeds(&mut self) {
        self.two_feeds = true;
    }

    pub(super) fn setup(&self, id: NodeId) -> Setup {
        let device = |name: &str| Device {
            name: name.to_owned(),
            agent: "fence_model".to_owned(),
            arguments: Vec::new(),
        };
        let names = if self.two_feeds { &["switch:1", "switch:2"][..] } else { &["switch"][..] };
        let fallback = names.iter().map(|name| device(name)).collect();
        let devices = FenceDevices { fallback, ..FenceDevices::default() };
        Setup {
            our_node: id,
            configured_nodes: self.nodes.keys().copied().collect(),
            two_node: self.two_node,
            fixed: self.fixed.clone(),
            dynamic: self.dynamic.clone(),
            devices,
            lockspaces: BTreeMap::new(),
        }
    }
}

/// Defaults of spec/fencing.md section 1.
#[must_use]
pub const fn default_fixed() -> FixedOptions {
    FixedOptions {
        fencing: Switch::On,
        startup_fencing: Switch::On,
        concurrent_fencing: Switch::Off,
        agent_timeout_seconds: 120,
        plock: Switch::On,
        plock_ownership: None,
        helper: Switch::On,
    }
}
