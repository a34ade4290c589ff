//! What can be wrong with a line of dlm.conf, what the daemon makes of it, and what to do about it.

use std::fmt;
use std::path::PathBuf;

use thiserror::Error;

/// A line that is not as it should be. The daemon goes on: see the problem's text for what it makes of the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Line of the file, from 1.
    pub line: usize,
    /// What is wrong.
    pub problem: Problem,
}

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The line may not do what it looks like.
    Warning,
    /// Something that the file asks for is not in effect.
    Error,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.problem.severity() {
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        write!(f, "line {}: {severity}: {}", self.line, self.problem)
    }
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Problem {
    /// Not an option, not a keyword.
    #[error("unknown key `{0}`: ignored; see dlm.conf(5) for the keys")]
    UnknownKey(String),
    /// White space before the first word.
    #[error("begins with white space: ignored; begin the line in the first column")]
    Indented,
    /// The line holds a NUL.
    #[error("holds a NUL byte: ignored from there on; remove it")]
    Nul,
    /// An option without value. The C daemon takes a value left over from another line.
    #[error("Failed to parse config line {0}: no value, ignored; write {0}=<value>")]
    NoValue(String),
    /// Not a number.
    #[error("{name}: `{value}` is not a number and counts as 0; write {name}=<number>")]
    NotANumber {
        /// The option.
        name: String,
        /// Its value.
        value: String,
    },
    /// A number, and something behind it.
    #[error("{name}: `{value}` counts as {counts}; remove what is not part of the number")]
    NotOnlyANumber {
        /// The option.
        name: String,
        /// Its value.
        value: String,
        /// What it means.
        counts: String,
    },
    /// Too large or too small.
    #[error("{name}: `{value}` does not fit and counts as {counts}; write a smaller number")]
    DoesNotFit {
        /// The option.
        name: String,
        /// Its value.
        value: String,
        /// What it means.
        counts: String,
    },
    /// Below 0 where that means nothing.
    #[error("{name}: `{value}` is below 0 and counts as 0; write 0 or more")]
    Negative {
        /// The option.
        name: String,
        /// Its value.
        value: String,
    },
    /// `fence_agent_timeout=0`
    #[error(
        "fence_agent_timeout: 0 would fail every fence agent: ignored; write 1 or more seconds"
    )]
    AgentTimeoutZero,
    /// `protocol` has three values.
    #[error("protocol: `{0}` is not known; write tcp, sctp or detect")]
    Protocol(String),
    /// A mark that is not a number of 32 bits.
    #[error("node {node}: mark `{value}` counts as {counts}; write a number from 0 to 4294967295")]
    Mark {
        /// The node.
        node: u32,
        /// The mark.
        value: String,
        /// What it means.
        counts: u32,
    },
    /// A node id that no node has.
    #[error(
        "node id {0} is not one that corosync gives: ignored; write the nodeid of corosync.conf"
    )]
    NodeId(i64),
    /// `lockspace` without a name that a lockspace can have.
    #[error("no lockspace can have this name: ignored; write `lockspace <name> [nodir=<0|1>]`")]
    LockspaceName,
    /// A `master` line that does not follow its `lockspace` line.
    #[error(
        "this master line belongs to no lockspace: ignored; put it right behind `lockspace {0}` and its masters"
    )]
    StrayMaster(String),
    /// A `master` line without `node=`, which also ends the masters.
    #[error(
        "no node=<n>: this and the following master lines are ignored; write `master <lockspace> node=<n> [weight=<w>]`"
    )]
    MasterWithoutNode,
    /// A weight that is not a number from 0.
    #[error("weight `{0}` counts as 0; write a number")]
    Weight(String),
    /// A problem of the fence configuration.
    #[error(transparent)]
    Fence(FenceProblem),
}

/// What is wrong with the fence configuration.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FenceProblem {
    /// A `device` line with fewer than three words.
    #[error(
        "no node can be fenced: a device line needs a name and an agent; write `device <name> <agent> [key=val ...]`"
    )]
    DeviceIncomplete,
    /// A line in a section that does not belong there.
    #[error(
        "no node can be fenced: only connect and unfence lines may stand in the section of device {0}; end the section \
         with an empty line"
    )]
    NotOfSection(String),
    /// A connect line of another device.
    #[error(
        "nodes without a connect line above this one cannot be fenced: the connect line names `{found}`, not the device \
         {device} of its section"
    )]
    ConnectName {
        /// The section's device.
        device: String,
        /// The name on the line.
        found: String,
    },
    /// A connect line without `node=`. The C daemon crashes.
    #[error(
        "nodes without a connect line above this one cannot be fenced: the connect line has no node=; write \
         `connect {0} node=<nodeid> [key=val ...]`"
    )]
    ConnectWithoutNode(String),
    /// A second connect line for one node.
    #[error("node {0} has a connect line in this section already: ignored")]
    ConnectAgain(u32),
    /// `node=` without a nodeid behind it.
    #[error(
        "node={0} is no nodeid: this connect line is for no node; write the nodeid of corosync.conf"
    )]
    ConnectNodeId(i64),
    /// An unfence line of another device.
    #[error(
        "no node can be fenced: the unfence line does not name the device of its section; write `unfence {0}`"
    )]
    UnfenceName(String),
    /// `connect` or `unfence` outside of a section.
    #[error(
        "belongs to no device section: ignored; put it below its device line, without an empty line between"
    )]
    Stray,
    /// `fence_all` without an agent.
    #[error(
        "no node can be fenced: fence_all needs an agent; write `fence_all <agent> [key=val ...]`"
    )]
    FenceAllIncomplete,
    /// `fence_all` below devices.
    #[error(
        "nodes that have a device above this fence_all cannot be fenced; use either devices or fence_all"
    )]
    FenceAllAfterDevices,
    /// Lines below `fence_all` that nobody reads.
    #[error("never used, because fence_all above is for all nodes; remove one of them")]
    AfterFenceAll,
    /// `unfence_all` elsewhere than behind `fence_all`.
    #[error("ignored: unfence_all must be the very next line after fence_all")]
    StrayUnfenceAll,
    /// Bytes that are not UTF-8 in what an agent would get.
    #[error("no node can be fenced: the line holds bytes that are not UTF-8; write it in UTF-8")]
    NotUtf8,
}

impl Problem {
    /// How bad it is.
    #[must_use]
    pub fn severity(&self) -> Severity {
        match self {
            Self::NoValue(_)
            | Self::NotANumber { .. }
            | Self::DoesNotFit { .. }
            | Self::AgentTimeoutZero
            | Self::Protocol(_)
            | Self::LockspaceName
            | Self::StrayMaster(_)
            | Self::MasterWithoutNode => Severity::Error,
            Self::UnknownKey(_)
            | Self::Indented
            | Self::Nul
            | Self::NotOnlyANumber { .. }
            | Self::Negative { .. }
            | Self::Mark { .. }
            | Self::NodeId(_)
            | Self::Weight(_) => Severity::Warning,
            Self::Fence(problem) => problem.severity(),
        }
    }
}

impl FenceProblem {
    fn severity(&self) -> Severity {
        match self {
            Self::DeviceIncomplete
            | Self::NotOfSection(_)
            | Self::ConnectName { .. }
            | Self::ConnectWithoutNode(_)
            | Self::ConnectNodeId(_)
            | Self::UnfenceName(_)
            | Self::Stray
            | Self::FenceAllIncomplete
            | Self::FenceAllAfterDevices
            | Self::StrayUnfenceAll
            | Self::NotUtf8 => Severity::Error,
            Self::ConnectAgain(_) | Self::AfterFenceAll => Severity::Warning,
        }
    }
}

/// Why dlm.conf cannot be used: at start the daemon exits with 1, a reload changes nothing.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file is there and cannot be read. (The C daemon goes on as if it were not there, without the fence devices.)
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line that begins with `node` and says something else than a mark.
    #[error(
        "Invalid configuration line: {text} (line {line}; write `node id=<nodeid> mark=<mark>`)"
    )]
    NodeLine {
        /// Line of the file, from 1.
        line: usize,
        /// The line.
        text: String,
    },
}
