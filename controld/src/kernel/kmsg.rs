//! The kernel's log: the line with which the dlm tells the slots of a lockspace (spec/gfs-control.md section 5), and those
//! that say how the rest of a recovery went on behind the daemon's back.
//!
//! ```text
//! 6,1234,98765432,-;dlm: fs: generation 2 slots 2 1:2 2:1
//! 6,1235,98765433,-;dlm: fs: dlm_recover 5 generation 2 done: 96 ms
//! 6,1236,98765434,-;gfs2: fsid=cluster:fs.0: jid=2: Journal replayed in 379ms [jlck:1ms, jhead:366ms, tlck:0ms, replay:11ms]
//! 6,1237,98765435,-;gfs2: fsid=cluster:fs.0: recover generation 2 done
//! ```
//! The kernel builds the list in 128 bytes and cuts it there, so a long list comes incomplete: what is reported then are
//! the entries that are surely whole, fewer than the line's own count.

use crate::kernel::error::{KernelError, Operation};
use crate::kernel::ready::register;
use crate::kernel::root::Root;
use dlm_core::event::Event;
use dlm_core::types::{LockspaceName, NodeId, Slot};
use nix::unistd::{Whence, lseek, read};
use std::fs::OpenOptions;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

/// Room for one record; the kernel refuses a reader with less (`PRINTK_MESSAGE_MAX` and its predecessor, 8 KiB at most).
const RECORD_MAX: usize = 8 * 1024;

/// Bytes of the list that the kernel's buffer of 128 holds beside its NUL.
const LIST_MAX: usize = 127;

/// Facility and level up to which a record is the kernel's own; what processes write has a higher number.
const KERNEL_PRIORITY_MAX: u32 = 7;

/// `/dev/kmsg`, from now on.
#[derive(Debug)]
pub struct KernelLog {
    file: AsyncFd<OwnedFd>,
    path: PathBuf,
    buffer: Vec<u8>,
}

impl KernelLog {
    /// Open the log at its end; needs the tokio runtime.
    ///
    /// # Errors
    /// The path and errno. The daemon can do without: slot maps stay predictions.
    pub fn open(root: &Root) -> Result<Self, KernelError> {
        let path = root.join("dev/kmsg");
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(libc::O_NONBLOCK);
        let file = options.open(&path).map_err(KernelError::path(Operation::Open, &path))?;
        lseek(&file, 0, Whence::SeekEnd)
            .map_err(|errno| KernelError::path(Operation::Seek, &path)(errno.into()))?;
        let file =
            register(OwnedFd::from(file)).map_err(KernelError::path(Operation::Register, &path))?;
        Ok(Self { file, path, buffer: vec![0; RECORD_MAX] })
    }

    /// The next record as the device gives it. Records that were overwritten before we read them are passed over. May be
    /// cancelled without loss.
    ///
    /// # Errors
    /// The device cannot be read any more.
    pub async fn record(&mut self) -> Result<&[u8], KernelError> {
        let failed = |source| KernelError::path(Operation::Read, &self.path)(source);
        let length = loop {
            let mut guard = self.file.readable().await.map_err(failed)?;
            match guard
                .try_io(|file| read(file.get_ref(), &mut self.buffer).map_err(io::Error::from))
            {
                Ok(Ok(0)) => return Err(failed(io::ErrorKind::UnexpectedEof.into())),
                Ok(Ok(length)) => break length,
                // EPIPE: the reader was overtaken and now stands at the oldest record there is. EINVAL: a record longer
                // than the buffer, which the kernel has passed over.
                Ok(Err(error))
                    if matches!(
                        error.raw_os_error(),
                        Some(libc::EPIPE | libc::EINVAL | libc::EINTR)
                    ) => {}
                Ok(Err(error)) => return Err(failed(error)),
                Err(_) => {}
            }
        };
        Ok(self.buffer.get(..length).unwrap_or_default())
    }
}

/// Turn the dlm's lines about slots into events until nobody listens any more; `note` is told of the others.
///
/// # Errors
/// The device cannot be read any more.
pub async fn forward_kernel_log(
    mut log: KernelLog,
    events: mpsc::Sender<Event>,
    note: impl Fn(Progress),
) -> Result<(), KernelError> {
    loop {
        let slots = match parse(log.record().await?) {
            Some(Line::Slots { lockspace, generation, slots }) => {
                Event::Slots { lockspace, generation, slots }
            }
            Some(Line::Progress(progress)) => {
                note(progress);
                continue;
            }
            None => continue,
        };
        if events.send(slots).await.is_err() {
            return Ok(());
        }
    }
}

/// A line that means something here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// The dlm's line about slots.
    Slots {
        /// Which.
        lockspace: LockspaceName,
        /// The kernel's generation of the map.
        generation: u32,
        /// Who holds which slot.
        slots: Vec<(Slot, NodeId)>,
    },
    /// For those who want to know where the time of a recovery went; nothing is decided by it.
    Progress(Progress),
}

/// What the kernel does after the daemon has started a lockspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Of which lockspace.
    pub lockspace: LockspaceName,
    /// What.
    pub step: Step,
}

/// A step of the kernel's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The dlm has recovered its locks, and grants again.
    LocksRecovered,
    /// This node's gfs2 has replayed a journal.
    JournalReplayed {
        /// Whose: the failed node's slot less one.
        jid: u32,
        /// How long that took.
        took_ms: u64,
    },
    /// This node's gfs2 is blocked no more.
    FileSystemUnblocked,
}

/// The meaning of a record; `None` for every other one.
#[must_use]
pub fn parse(record: &[u8]) -> Option<Line> {
    let (prefix, rest) = split_at(record, b";")?;
    let priority: u32 = decimal(prefix.split(|byte| *byte == b',').next()?)?;
    if priority > KERNEL_PRIORITY_MAX {
        return None;
    }
    // Lines after the first are the record's dictionary.
    let text = rest.split(|byte| *byte == b'\n').next()?;
    if let Some(text) = text.strip_prefix(b"dlm: ") {
        return slots_line(text).or_else(|| locks_recovered(text));
    }
    file_system(text.strip_prefix(b"gfs2: fsid=")?)
}

/// `fs: generation 2 slots 2 1:2 2:1`
fn slots_line(text: &[u8]) -> Option<Line> {
    let (name, rest) = split_last(text, b": generation ")?;
    let lockspace = LockspaceName::new(&unescape(name))?;
    let (generation, rest) = split_at(rest, b" slots ")?;
    let generation = decimal(generation)?;
    let (count, list) = match split_at(rest, b" ") {
        Some((count, list)) => (count, list),
        None => (rest, &b""[..]),
    };
    let slots = slots(decimal(count)?, list)?;
    Some(Line::Slots { lockspace, generation, slots })
}

/// `fs: dlm_recover 5 generation 2 done: 96 ms`
fn locks_recovered(text: &[u8]) -> Option<Line> {
    let (name, rest) = split_last(text, b": dlm_recover ")?;
    let (_, time) = split_at(rest, b" done: ")?;
    time.strip_suffix(b" ms")?;
    progress(name, Step::LocksRecovered)
}

/// `cluster:fs.0: recover generation 2 done`, `cluster:fs.0: jid=2: Journal replayed in 379ms [...]`
fn file_system(text: &[u8]) -> Option<Line> {
    if let Some((mount, rest)) = split_last(text, b": recover generation ") {
        rest.strip_suffix(b" done")?;
        return progress(lockspace_of(mount)?, Step::FileSystemUnblocked);
    }
    let (mount, rest) = split_last(text, b": jid=")?;
    let (jid, rest) = split_at(rest, b": Journal replayed in ")?;
    let (took, _) = split_at(rest, b"ms")?;
    let (jid, took_ms) = (decimal(jid)?, decimal(took)?);
    progress(lockspace_of(mount)?, Step::JournalReplayed { jid, took_ms })
}

fn progress(name: &[u8], step: Step) -> Option<Line> {
    let lockspace = LockspaceName::new(&unescape(name))?;
    Some(Line::Progress(Progress { lockspace, step }))
}

/// gfs2 names a mount `CLUSTER:LOCKSPACE.JOURNAL`.
fn lockspace_of(mount: &[u8]) -> Option<&[u8]> {
    let (_, rest) = split_at(mount, b":")?;
    split_last(rest, b".").map(|(name, _)| name)
}

/// `1:2 2:1`, of which the kernel says that it has `count` entries.
fn slots(count: usize, list: &[u8]) -> Option<Vec<(Slot, NodeId)>> {
    let mut entries: Vec<&[u8]> =
        list.split(|byte| *byte == b' ').filter(|entry| !entry.is_empty()).collect();
    // The blank before the first entry is not in `list`, but counts.
    if list.len() + 1 >= LIST_MAX {
        // Whether the last entry is whole cannot be seen: its node may have lost digits.
        entries.pop();
    } else if entries.len() != count {
        return None;
    }
    entries.into_iter().map(entry).collect()
}

fn entry(entry: &[u8]) -> Option<(Slot, NodeId)> {
    let (slot, node) = split_at(entry, b":")?;
    Some((Slot::new(decimal(slot)?)?, NodeId::new(decimal(node)?)?))
}

fn decimal<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// What is before and behind the first occurrence.
fn split_at<'a>(text: &'a [u8], mark: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = text.windows(mark.len()).position(|window| window == mark)?;
    Some((text.get(..at)?, text.get(at + mark.len()..)?))
}

/// What is before and behind the last occurrence: a lockspace's name may hold anything, so the end of the line decides.
fn split_last<'a>(text: &'a [u8], mark: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = text.windows(mark.len()).rposition(|window| window == mark)?;
    Some((text.get(..at)?, text.get(at + mark.len()..)?))
}

/// The device writes bytes that are not printable, and the backslash, as `\xNN`.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, behind)) = rest.split_first() {
        let escaped = rest.get(..4).filter(|escape| escape.starts_with(b"\\x"));
        let byte = escaped.and_then(|escape| std::str::from_utf8(escape.get(2..)?).ok());
        match byte.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = rest.get(4..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    bytes
}

/// For fuzzing: no record may panic the parser.
pub fn fuzz_kmsg(record: &[u8]) {
    let _ = parse(record);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn of(slots: &[(u32, u32)]) -> Vec<(Slot, NodeId)> {
        slots
            .iter()
            .map(|(slot, node)| (Slot::new(*slot).unwrap(), NodeId::new(*node).unwrap()))
            .collect()
    }

    /// Lockspace, generation and slots of a line about slots.
    fn slots_of(record: &[u8]) -> (LockspaceName, u32, Vec<(Slot, NodeId)>) {
        match parse(record) {
            Some(Line::Slots { lockspace, generation, slots }) => (lockspace, generation, slots),
            other => panic!("{}: {other:?}", String::from_utf8_lossy(record)),
        }
    }

    #[test]
    fn slots_are_read_with_generation_and_lockspace() {
        let record = b"6,1234,98765432,-;dlm: fs: generation 2 slots 2 1:2 2:1\n SUBSYSTEM=dlm\n";
        let fs = LockspaceName::new(b"fs").unwrap();
        assert_eq!(slots_of(record), (fs.clone(), 2, of(&[(1, 2), (2, 1)])));
        assert_eq!(slots_of(b"6,1,2,-;dlm: fs: generation 3 slots 0\n"), (fs, 3, of(&[])));
    }

    #[test]
    fn a_name_may_hold_anything() {
        let (lockspace, generation, _) =
            slots_of(b"6,1,2,-;dlm: a: generation 1 slots b\\xff\\x5c: generation 7 slots 1 1:1\n");
        assert_eq!(lockspace, LockspaceName::new(b"a: generation 1 slots b\xff\\").unwrap());
        assert_eq!(generation, 7);
    }

    #[test]
    fn a_cut_list_loses_its_last_entry() {
        let all: String = (1..=40).map(|slot| format!(" {slot}:{slot}")).collect();
        let record = format!("6,1,2,-;dlm: fs: generation 2 slots 40{}\n", &all[..127]);
        let (_, _, slots) = slots_of(record.as_bytes());
        let expected: Vec<_> = (1..=slots.len())
            .map(|slot| (slot.try_into().unwrap(), slot.try_into().unwrap()))
            .collect();
        assert_eq!(slots, of(&expected));
        assert!((20..40).contains(&slots.len()), "{}", slots.len());
    }

    #[test]
    fn steps_of_a_recovery_are_read_as_kernel_6_1_writes_them() {
        let replayed = Step::JournalReplayed { jid: 2, took_ms: 379 };
        for (text, name, step) in [
            ("dlm: fs: dlm_recover 23 generation 12 done: 96 ms", "fs", Step::LocksRecovered),
            ("dlm: a.b: dlm_recover 1 generation 1 done: 4 ms", "a.b", Step::LocksRecovered),
            ("gfs2: fsid=lab:fs.0: jid=2: Journal replayed in 379ms [jlck:1ms]", "fs", replayed),
            ("gfs2: fsid=lab:fs.1: recover generation 12 done", "fs", Step::FileSystemUnblocked),
            ("gfs2: fsid=lab:a.b.12: recover generation 1 done", "a.b", Step::FileSystemUnblocked),
        ] {
            let lockspace = LockspaceName::new(name.as_bytes()).unwrap();
            let told = parse(format!("6,1,2,-;{text}\n").as_bytes());
            assert_eq!(told, Some(Line::Progress(Progress { lockspace, step })), "{text}");
        }
    }

    #[test]
    fn other_lines_are_passed_over() {
        for other in [
            &b"6,1,2,-;dlm: fs: dlm_recover 23\n"[..],
            b"6,1,2,-;dlm: fs: dlm_recover 23 error -4\n",
            b"6,1,2,-;gfs2: fsid=lab:fs.0: recover generation 12 jid 2\n",
            b"6,1,2,-;gfs2: fsid=lab:fs.0: jid=2: Journal head lookup took 366ms\n",
            b"6,1,2,-;gfs2: fsid=vdb: jid=2: Journal replayed in 379ms [jlck:1ms]\n",
            b"14,1,2,-;gfs2: fsid=lab:fs.0: recover generation 12 done\n",
            b"6,1,2,-;dlm: fs: recover 1\n",
            b"6,1,2,-;gfs2: fs: generation 2 slots 1 1:1\n",
            b"6,1,2,-;dlm: fs: generation 2 slots 2 1:1\n",
            b"6,1,2,-;dlm: fs: generation 2 slots 1 0:1\n",
            b"6,1,2,-;dlm: fs: generation 2 slots 1 1:0\n",
            b"6,1,2,-;dlm: : generation 2 slots 1 1:1\n",
            b"14,1,2,-;dlm: fs: generation 2 slots 1 1:1\n",
            b"",
        ] {
            assert_eq!(parse(other), None, "{}", String::from_utf8_lossy(other));
        }
    }

    #[test]
    fn no_cut_or_changed_record_panics() {
        for whole in [
            &b"6,1234,98765432,-;dlm: fs\\xff: generation 2 slots 2 1:2 2:1\n"[..],
            b"6,1,2,-;dlm: fs: dlm_recover 23 generation 12 done: 96 ms\n",
            b"6,1,2,-;gfs2: fsid=lab:fs.0: jid=2: Journal replayed in 379ms [jlck:1ms]\n",
            b"6,1,2,-;gfs2: fsid=lab:fs.0: recover generation 12 done\n",
        ] {
            for length in 0..whole.len() {
                fuzz_kmsg(&whole[..length]);
                let mut changed = whole.to_vec();
                changed[length] ^= 0x3d;
                fuzz_kmsg(&changed);
            }
        }
    }

    #[tokio::test]
    async fn the_real_log_is_read_from_its_end_on() {
        let Ok(mut log) = KernelLog::open(&Root::default()) else {
            return;
        };
        // Without its newline a record stays open, and unread, until the next one comes.
        let text = format!("dlm-controld kmsg test {}\n", std::process::id());
        let Ok(()) = OpenOptions::new()
            .write(true)
            .open("/dev/kmsg")
            .and_then(|mut kmsg| kmsg.write_all(text.as_bytes()))
        else {
            return;
        };
        let seen = async {
            loop {
                if String::from_utf8_lossy(log.record().await.unwrap()).contains(&text) {
                    return;
                }
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(5), seen).await.unwrap();
    }
}
