//! Running fence agents (spec/fencing.md section 7).
//!
//! An agent is a program that switches a node off, or on again for unfencing. Who fences whom, when, with which device
//! and for how long an agent may run, is the core's to decide: it asks for a run with `RunAgent`, ends one with
//! `KillAgent`, and learns the end of each from `AgentDone`. The devices themselves come from dlm.conf, which the config
//! room reads.
//!
//! [`agent`] runs one agent and waits for it, as the process room runs any program.

pub mod agent;

pub use agent::{AgentRequest, Purpose, agent_input, run};
