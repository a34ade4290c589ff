//! The options at the head of a script, one a line; those left out are as below.
//!
//! `us 1`, `nodes 1 2 3`, `two_node on`, `fencing`, `startup_fencing`, `concurrent_fencing`, `agent_timeout`, `helper`,
//! `post_join_delay`, `quorum_fencing`, `quorum_lockspace`, `repeat_failed_fencing`, `device 3 NAME` (or `device all NAME`),
//! `broken 3 WHY`, `plock`, `plock_ownership`, `drop_resources_time`, `.._count`, `.._age`, `nodir fs`, `master fs 1 2` (lockspace, node, weight).

use super::args::{Args, lockspace, node};
use dlm_core::options::{
    Device, DynamicOptions, FenceDevices, FixedOptions, LockspaceOptions, Setup, Switch,
};
use std::collections::BTreeMap;

/// The setup that the options name.
pub(crate) fn parse(options: &str) -> Setup {
    let mut setup = defaults();
    for line in options.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        option(&mut setup, line);
    }
    if setup.devices.fallback.is_empty() {
        setup.devices.fallback.push(device("power"));
    }
    setup
}

fn defaults() -> Setup {
    Setup {
        our_node: node("1"),
        configured_nodes: ["1", "2", "3"].map(node).to_vec(),
        two_node: false,
        fixed: FixedOptions {
            fencing: Switch::On,
            startup_fencing: Switch::Off,
            concurrent_fencing: Switch::Off,
            agent_timeout_seconds: 300,
            // Scripts about POSIX locks switch them on: they are no matter of the others.
            plock: Switch::Off,
            plock_ownership: None,
            helper: Switch::On,
        },
        dynamic: DynamicOptions::default(),
        devices: FenceDevices::default(),
        lockspaces: BTreeMap::new(),
    }
}

fn device(name: &str) -> Device {
    Device { name: name.to_string(), agent: format!("fence_{name}"), arguments: Vec::new() }
}

/// Carry out one option.
pub(crate) fn option(setup: &mut Setup, line: &str) {
    let args = Args::new(line, &[]);
    let words = args.list("");
    let mut lockspace_options = |name: &str, change: &dyn Fn(&mut LockspaceOptions)| {
        change(setup.lockspaces.entry(lockspace(name)).or_default());
    };
    match (line.split_whitespace().next().unwrap_or_default(), words.as_slice()) {
        ("us", _) => setup.our_node = args.node(""),
        ("nodes", _) => setup.configured_nodes = args.nodes(""),
        ("two_node", [value]) => setup.two_node = switch(value).is_on(),
        ("fencing", [value]) => setup.fixed.fencing = switch(value),
        ("startup_fencing", [value]) => setup.fixed.startup_fencing = switch(value),
        ("concurrent_fencing", [value]) => setup.fixed.concurrent_fencing = switch(value),
        ("plock", [value]) => setup.fixed.plock = switch(value),
        ("plock_ownership", [value]) => setup.fixed.plock_ownership = Some(switch(value)),
        ("helper", [value]) => setup.fixed.helper = switch(value),
        ("agent_timeout", _) => setup.fixed.agent_timeout_seconds = args.number(""),
        ("device", ["all", name]) => setup.devices.fallback.push(device(name)),
        ("device", [id, name]) => {
            setup.devices.by_node.entry(node(id)).or_default().push(device(name));
        }
        ("broken", [id, why @ ..]) => {
            setup.devices.broken.insert(node(id), why.join(" "));
        }
        ("nodir", [name]) => lockspace_options(name, &|options| options.nodir = true),
        ("master", [name, id, weight]) => lockspace_options(name, &|options| {
            options.masters.insert(node(id), weight.parse().expect("weight"));
        }),
        (word, [value]) => dynamic(&mut setup.dynamic, word, value),
        _ => panic!("unknown option `{line}`"),
    }
}

/// Options that may change later, too.
pub(crate) fn dynamic(options: &mut DynamicOptions, word: &str, value: &str) {
    match word {
        "post_join_delay" => options.post_join_delay_seconds = value.parse().expect("seconds"),
        "quorum_fencing" => options.quorum_fencing = switch(value),
        "quorum_lockspace" => options.quorum_lockspace = switch(value),
        "repeat_failed_fencing" => options.repeat_failed_fencing = switch(value),
        "drop_resources_time" => options.drop_resources_time_millis = value.parse().expect("ms"),
        "drop_resources_count" => options.drop_resources_count = value.parse().expect("count"),
        "drop_resources_age" => options.drop_resources_age_millis = value.parse().expect("ms"),
        _ => panic!("unknown option `{word}`"),
    }
}

fn switch(word: &str) -> Switch {
    match word {
        "on" => Switch::On,
        "off" => Switch::Off,
        _ => panic!("`{word}` is neither on nor off"),
    }
}
