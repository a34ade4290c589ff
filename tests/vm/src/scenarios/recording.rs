//! What a daemon recorded on a machine, replayed on the host: by the same core, and to the same effects.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

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
        is_whole(&text).with_context(|| format!("node {id}: the replay of {}", path.display()))?;
    }
    Ok(())
}

/// Steps of a daemon that has seen a node join and another one die, at least.
const STEPS_MIN: u64 = 50;

/// By the same core, without a gap, and each step had the effects that were recorded; but where there were too many
/// POSIX locks for the recording, those about locks are not compared.
fn is_whole(text: &str) -> Result<()> {
    for bad in ["Made by another build", "were not recorded", "the recording ends in"] {
        ensure!(!text.contains(bad), "{bad:?} is in it");
    }
    ensure!(text.contains("\nTimeline\n"), "there is no timeline");
    let last = text.lines().next_back().unwrap_or_default();
    let counts: Vec<(u64, &str)> = last
        .split(", ")
        .filter_map(|part| part.split_once(' '))
        .map(|(count, of)| Ok((count.parse()?, of)))
        .collect::<Result<_>>()
        .with_context(|| format!("counts of {last:?}"))?;
    let steps = match counts.as_slice() {
        [(steps, "steps"), (same, SAME)] => (*steps, *same),
        [(steps, "steps"), (same, SAME), (apart, BUT_LOCKS)] => (*steps, same + apart),
        _ => bail!("{last:?} is not what it ends with"),
    };
    ensure!(steps.0 == steps.1 && steps.0 >= STEPS_MIN, "{last}");
    Ok(())
}

/// What the last line counts.
const SAME: &str = "with the effects that were recorded";
const BUT_LOCKS: &str = "with these but for effects about POSIX locks";

#[cfg(test)]
mod tests {
    use super::is_whole;

    fn replay(between: &str, last: &str) -> bool {
        is_whole(&format!("Recorded until 9 s\n{between}\nTimeline\n8.1  fs: started\n\n{last}\n"))
            .is_ok()
    }

    #[test]
    fn a_replay_has_to_be_whole_and_the_same() {
        let same = "300 steps, 300 with the effects that were recorded";
        assert!(replay("", same));
        assert!(replay(
            "",
            "300 steps, 9 with the effects that were recorded, 291 with these but for effects about POSIX locks"
        ));
        for last in [
            "300 steps, 299 with the effects that were recorded",
            "300 steps, 299 with the effects that were recorded, 1 whose effects were not recorded",
            "9 steps, 9 with the effects that were recorded",
            "",
        ] {
            assert!(!replay("", last), "{last}");
        }
        for line in [
            "Made by another build of the daemon (core 1, here 2): it may differ for that alone",
            "Steps 5 to 9 were not recorded: too big for the recorder",
            "         the recording ends in this step",
        ] {
            assert!(!replay(line, same), "{line}");
        }
        assert!(is_whole(same).is_err(), "no timeline");
    }
}
