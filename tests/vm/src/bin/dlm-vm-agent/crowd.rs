//! Many processes that lock at once: for mutual exclusion, and for speed.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use dlm_vm::random::Random;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use crate::actor::{flock, open};

/// Counters in the file, each of 8 bytes.
const CELLS: u64 = 64;
/// The longest range that is locked at once, in counters.
const LONGEST: u64 = 4;
const CELL: u64 = 8;

/// Starts processes that each take random locks on one file, and prints how often they added 1 to one of
/// its counters, all together.
pub(crate) fn crowd(path: &Path, processes: u64, locks: u64, seed: u64) -> Result<()> {
    let words: Vec<Vec<String>> = (0..processes)
        .map(|number| {
            let seed = seed.wrapping_mul(1000).wrapping_add(number);
            vec!["crowd-one".into(), name(path), locks.to_string(), seed.to_string()]
        })
        .collect();
    let mut added = 0;
    for text in together(&words)? {
        added += text.trim().parse::<u64>().with_context(|| format!("count {text:?}"))?;
    }
    println!("{added}");
    Ok(())
}

/// One of a crowd. Under a write lock it reads counters, and writes each plus 1; under a read lock it
/// reads twice, and both must be the same.
pub(crate) fn crowd_one(path: &Path, locks: u64, seed: u64) -> Result<()> {
    let file = open(path)?;
    let mut random = Random::new(seed);
    wait_for_start()?;
    let mut added = 0;
    for _ in 0..locks {
        let count = 1 + random.below(LONGEST);
        let first = random.below(CELLS - count + 1);
        let (start, length) = (first * CELL, count * CELL);
        let writes = random.below(4) != 0;
        let kind = if writes { libc::F_WRLCK } else { libc::F_RDLCK };
        let (start_signed, length_signed) = (start.try_into()?, length.try_into()?);
        fcntl(&file, FcntlArg::F_SETLKW(&flock(kind, start_signed, length_signed)?))
            .context("lock")?;
        let before = counters(&file, start, length)?;
        thread::yield_now();
        if writes {
            let after: Vec<u8> =
                before.iter().flat_map(|value| (value + 1).to_le_bytes()).collect();
            file.write_all_at(&after, start).context("write the counters")?;
            added += count;
        } else {
            let again = counters(&file, start, length)?;
            ensure!(before == again, "under a read lock {before:?} became {again:?}");
        }
        fcntl(&file, FcntlArg::F_SETLK(&flock(libc::F_UNLCK, start_signed, length_signed)?))
            .context("unlock")?;
    }
    println!("{added}");
    Ok(())
}

fn counters(file: &File, start: u64, length: u64) -> Result<Vec<u64>> {
    let mut bytes = vec![0; usize::try_from(length)?];
    file.read_exact_at(&mut bytes, start).context("read the counters")?;
    let value = |chunk: &[u8]| {
        let mut value = [0; 8];
        value.copy_from_slice(chunk);
        u64::from_le_bytes(value)
    };
    Ok(bytes.chunks_exact(8).map(value).collect())
}

/// Starts processes that lock and unlock a byte as fast as they can, each of its own file or all of one,
/// and prints how many pairs all together did in a second. The first `warm_up` seconds do not count.
pub(crate) fn pairs(
    path: &Path,
    warm_up: u64,
    seconds: u64,
    processes: u64,
    own: bool,
) -> Result<()> {
    let words: Vec<Vec<String>> = (0..processes)
        .map(|number| {
            let file = if own { format!("{}.{number}", name(path)) } else { name(path) };
            vec!["pairs-one".into(), file, warm_up.to_string(), seconds.to_string()]
        })
        .collect();
    let mut rate = 0.0;
    for text in together(&words)? {
        rate += text.trim().parse::<f64>().with_context(|| format!("rate {text:?}"))?;
    }
    println!("{rate}");
    Ok(())
}

/// One of them; prints its own rate.
pub(crate) fn pairs_one(path: &Path, warm_up: u64, seconds: u64) -> Result<()> {
    let file = open(path)?;
    let (take, give) = (flock(libc::F_WRLCK, 0, 1)?, flock(libc::F_UNLCK, 0, 1)?);
    wait_for_start()?;
    pairs_for(&file, warm_up, &take, &give)?;
    println!("{}", pairs_for(&file, seconds, &take, &give)?);
    Ok(())
}

/// Pairs for that long; how many in a second.
fn pairs_for(file: &File, seconds: u64, take: &libc::flock, give: &libc::flock) -> Result<f64> {
    let (begin, mut count) = (Instant::now(), 0_u32);
    while begin.elapsed() < Duration::from_secs(seconds) {
        fcntl(file, FcntlArg::F_SETLKW(take)).context("lock")?;
        fcntl(file, FcntlArg::F_SETLK(give)).context("unlock")?;
        count += 1;
    }
    Ok(f64::from(count) / begin.elapsed().as_secs_f64())
}

/// Takes a write lock of one byte and ends.
pub(crate) fn take(path: &Path, start: i64) -> Result<()> {
    fcntl(&open(path)?, FcntlArg::F_SETLK(&flock(libc::F_WRLCK, start, 1)?))
        .with_context(|| format!("lock byte {start} of {}", path.display()))?;
    Ok(())
}

/// Runs this program several times at once, and lets all go at one moment; what each has printed.
fn together(words: &[Vec<String>]) -> Result<Vec<String>> {
    let me = fs::read_link("/proc/self/exe").context("own path")?;
    let mut children = Vec::new();
    for words in words {
        let mut command = Command::new(&me);
        command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped());
        children.push(command.spawn().context("start a process")?);
    }
    // The end of its standard input is the start for each.
    for child in &mut children {
        child.stdin = None;
    }
    let mut said = Vec::new();
    for child in children {
        let output = child.wait_with_output().context("wait for a process")?;
        if !output.status.success() {
            bail!("a process failed: {}", output.status);
        }
        said.push(String::from_utf8(output.stdout).context("output")?);
    }
    Ok(said)
}

fn wait_for_start() -> Result<()> {
    std::io::stdin().read_to_end(&mut Vec::new()).context("wait for the start")?;
    Ok(())
}

fn name(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
