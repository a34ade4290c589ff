//! What a daemon recorded on a machine, replayed on the host: by the same core, and to the same effects.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::cluster::Cluster;
use crate::command;
use crate::options::Daemon;

/// Saves the recordings of these nodes, and replays each with the host's `dlm_tool`, which fails if a decision was another
/// one. Nothing to do where daemon or tool are not ours: a C daemon has no recorder.
pub(super) fn replay(cluster: &Cluster, nodes: &[u8]) -> Result<()> {
    let options = cluster.options();
    let Some(tool) = &options.tool else { return Ok(()) };
    for &id in nodes.iter().filter(|id| *options.daemon_of(**id) != Daemon::C) {
        // Bytes do not pass the agent as they are.
        let hex = cluster.node(id).ok(
            "dlm_tool record save /run/dlm.rec >&2 && od -An -v -tx1 /run/dlm.rec && rm /run/dlm.rec",
        )?;
        let recording: Vec<u8> = hex
            .split_whitespace()
            .map(|byte| u8::from_str_radix(byte, 16))
            .collect::<Result<_, _>>()
            .context("what od says")?;
        let path = cluster.state().node_file(id, "rec");
        fs::write(&path, recording).with_context(|| format!("write {}", path.display()))?;
        let text = command::output(Command::new(tool).arg("replay").arg(&path))?;
        for part in ["\nTimeline\n", " with the effects that were recorded"] {
            ensure!(
                text.contains(part),
                "node {id}: no {part:?} in the replay of {}",
                path.display()
            );
        }
        ensure!(
            !text.contains("Made by another build"),
            "node {id} runs another build than the host"
        );
    }
    Ok(())
}
