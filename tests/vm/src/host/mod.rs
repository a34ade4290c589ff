//! The host's side of a cluster: network, virtual machines, power switch, ledger, stage, requests to agents.

pub(crate) mod ledger;
pub(crate) mod machine;
pub(crate) mod network;
pub(crate) mod power;
pub(crate) mod remote;
pub(crate) mod service;
pub(crate) mod stage;
pub(crate) mod wait;
