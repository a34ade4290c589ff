//! Clusters of virtual machines on one host: Debian's kernel with dlm and gfs2, corosync, a shared disk,
//! a power switch for fencing, and a `dlm_controld` of choice on each node. QEMU emulates the
//! processors (TCG), so no KVM is needed; it needs root, for a network namespace of its own.
//!
//! A test is a scenario ([`scenarios`]) on a [`Cluster`]:
//!
//! ```no_run
//! use std::time::Duration;
//! use dlm_vm::{Cluster, Options, State};
//!
//! # fn main() -> anyhow::Result<()> {
//! let cluster = Cluster::boot(&State::from_environment()?, Options::default())?;
//! cluster.make_gfs2()?;
//! cluster.nodes().try_for_each(|node| node.mount())?;
//! cluster.node(3).kill()?;
//! cluster.node(1).wait_lockspace("fs", &[1, 2], Duration::from_secs(60))?;
//! # Ok(())
//! # }
//! ```
//!
//! Where things are: `image` builds what the guests boot from; `host` is network, machines, power
//! switch and ledger; `options` turns a wish into configuration files; `cluster` and `node` are what
//! scenarios use; `timeline` merges logs. The guests' side is the program `dlm-vm-agent`, and the
//! scripts in `guest`.

mod actor;
pub mod bench;
mod cluster;
mod command;
mod evidence;
mod gfs2;
mod host;
pub mod image;
mod node;
mod options;
mod plocks;
pub mod protocol;
pub mod random;
pub mod record;
pub mod recovery;
pub mod scenarios;
mod state;
mod time;
mod timeline;
mod workload;

pub use actor::{Actor, Bytes, Mode};
pub use cluster::{Cluster, tear_down};
pub use host::machine::Link;
pub use host::power::{FenceMode, FenceRecord, Outcome, parse_mode};
pub use host::remote::Output;
pub use node::{COMMAND, Node};
pub use options::{CLUSTER_NAME, Daemon, Fencing, IpVersion, Links, MAX_NODES, Options, Votes};
pub use state::{STATE_DEFAULT, STATE_VARIABLE, State};
pub use time::HostTime;
pub use timeline::{Entry, Source};
pub use workload::Load;
