//! `/dev/misc/dlm_plock`: requests for POSIX locks, read; results, written (spec/plocks.md sections 1 and 2).
//!
//! [`Requests`] reads one in the driver's own turn: what it has not asked for stays in the kernel, and a lock pays for no
//! hand-over. [`Results`] writes straight from the driver too, in the order of the core's effects: the kernel copies 64
//! bytes under a spin lock and wakes a process, it never blocks.
//!
//! What a request means, and whether POSIX locks are served at all, is the core's business. A request of a version that we
//! do not know goes there too, as one for something unknown, so that its refusal keeps its place in the order of answers.

mod rate;

use crate::feed::Feed;
use crate::kernel::error::{KernelError, Operation};
use crate::kernel::{HeldBack, LogSink};
use crate::reactor::{Registry, Watched};
use dlm_core::effect::{Level, LogLine};
use dlm_core::event::Event;
use dlm_core::plock::{Mode, Op, PlockInfo};
use dlm_core::types::{GlobalId, NodeId};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rate::Bucket;
use std::io;
use std::mem;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::time::{Instant, Sleep};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub use rate::RateLimit;

/// Size of a request and of a result.
pub const RECORD_SIZE: usize = 64;

/// So often in a row a request was alone: then the next one is taken for alone too,
const ALONE: u32 = 4;
/// so often, before the device is asked again whether that is so.
const KNOWN: u32 = 64;

/// `DLM_PLOCK_VERSION_MAJOR` of linux/dlm_plock.h.
const VERSION_MAJOR: u32 = 1;
/// `DLM_PLOCK_VERSION_MINOR`: the newest that we know.
const VERSION_MINOR: u32 = 2;

/// `struct dlm_plock_info` of linux/dlm_plock.h, in the host's byte order.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct Record {
    version: [u32; 3],
    op: u8,
    ex: u8,
    wait: u8,
    flags: u8,
    pid: u32,
    node: u32,
    result: i32,
    fsid: u32,
    number: u64,
    start: u64,
    end: u64,
    owner: u64,
}

const _: () = assert!(size_of::<Record>() == RECORD_SIZE);

/// What cannot be taken as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRecord {
    /// Not 64 bytes: no request that could be answered.
    #[error(
        "plock device gave {0} bytes instead of {RECORD_SIZE}: request dropped; is this daemon too old for the kernel?"
    )]
    Length(usize),
    /// A version of the interface that we do not know.
    #[error(
        "plock request of version {}.{}.{}, known is {VERSION_MAJOR}.0 to {VERSION_MAJOR}.{VERSION_MINOR}: refused with EINVAL; update the daemon",
        .0[0], .0[1], .0[2]
    )]
    Version([u32; 3]),
}

/// A request that the device gave to node `us`; with a complaint if it can only be refused.
///
/// # Errors
/// It has not the size of one.
pub fn decode(bytes: &[u8], us: NodeId) -> Result<(PlockInfo, Option<BadRecord>), BadRecord> {
    let record = Record::read_from_bytes(bytes).map_err(|_| BadRecord::Length(bytes.len()))?;
    let [major, minor, _] = record.version;
    let known = major == VERSION_MAJOR && minor <= VERSION_MINOR;
    let info = PlockInfo {
        version: record.version,
        op: if known { Op::from_wire(record.op) } else { Op::Unknown(record.op) },
        mode: Mode::from_wire(record.ex),
        wait: record.wait != 0,
        flags: record.flags,
        pid: record.pid,
        node: us,
        result: record.result,
        fsid: GlobalId(record.fsid),
        number: record.number,
        start: record.start,
        end: record.end,
        owner: record.owner,
    };
    Ok((info, (!known).then_some(BadRecord::Version(record.version))))
}

/// The node in a record: in a result for F_GETLK the holder's, in a request of the kernel none.
#[must_use]
pub fn node_of(bytes: &[u8]) -> Option<NodeId> {
    NodeId::new(Record::read_from_bytes(bytes).ok()?.node)
}

/// The bytes of a result.
#[must_use]
pub fn encode(info: &PlockInfo) -> [u8; RECORD_SIZE] {
    zerocopy::transmute!(Record {
        version: info.version,
        op: info.op.to_wire(),
        ex: info.mode.to_wire(),
        wait: u8::from(info.wait),
        flags: info.flags,
        pid: info.pid,
        node: info.node.get(),
        result: info.result,
        fsid: info.fsid.0,
        number: info.number,
        start: info.start,
        end: info.end,
        owner: info.owner,
    })
}

/// For fuzzing: no record may panic, and what is echoed to the kernel must come out as it went in.
#[expect(clippy::panic, reason = "a fuzz target reports what it finds by panicking")]
pub fn fuzz_record(bytes: &[u8]) {
    let Some(us) = NodeId::new(1) else { return };
    let Ok((info, _)) = decode(bytes, us) else { return };
    let again = encode(&info);
    if decode(&again, us).map(|(info, _)| info) != Ok(info) {
        panic!("{info:?} does not come back");
    }
}

/// The reading end.
pub struct Requests {
    device: Watched,
    /// Requests read since the device was last found readable.
    read: u32,
    /// How often in a row one was all that there was.
    alone: u32,
    path: PathBuf,
    us: NodeId,
    log: LogSink,
    limit: RateLimit,
    bucket: Bucket,
    /// Until the bucket has a token; `None` while nobody waits for one.
    refill: Option<Pin<Box<Sleep>>>,
    /// There was none for the next request, which may not have come yet.
    waited: bool,
    /// The device cannot be read any more, and this has been said.
    over: bool,
}

impl Requests {
    /// The device's requests, for node `us`; a rate limit needs the tokio runtime. Complaints go to `log`, which leaves out repeats.
    ///
    /// # Errors
    /// The event loop does not take the device.
    pub fn new(
        device: OwnedFd,
        path: &Path,
        us: NodeId,
        limit: RateLimit,
        log: LogSink,
        registry: &Registry,
    ) -> Result<Self, KernelError> {
        let device =
            registry.watch(device).map_err(KernelError::path(Operation::Register, path))?;
        let bucket = Bucket::new(limit.get());
        let path = path.to_owned();
        Ok(Self {
            device,
            read: 0,
            alone: 0,
            path,
            us,
            log,
            limit,
            bucket,
            refill: None,
            waited: false,
            over: false,
        })
    }

    /// When the rate limit allows the next request; `None`: now. A new limit counts at once.
    fn wait_until(&mut self) -> Option<Instant> {
        let rate = self.limit.get();
        if rate != self.bucket.rate {
            self.bucket = Bucket::new(rate);
        }
        // Without a limit, which is the rule, no clock is read.
        if rate == 0 {
            return None;
        }
        let now = Instant::now();
        let due = self.bucket.wait_until(now)?;
        self.limit.hold(now, due);
        self.waited = true;
        Some(due)
    }

    /// The device is empty.
    fn all_read(&mut self) {
        self.alone = if self.read == 1 { self.alone.saturating_add(1) } else { 0 };
        self.leave();
        self.waited = false;
        if self.bucket.rate > 0 {
            self.limit.release();
        }
    }

    /// What comes, or is left, is told of by the next look at the device.
    fn leave(&mut self) {
        self.read = 0;
        self.device.leave();
    }

    /// Hardly anything is left: a process that waits for its answer asks nothing else, and to find the device empty costs as
    /// much as a look. From time to time it is worth to know better.
    fn is_enough(&mut self) -> bool {
        let enough = self.read > 0 && self.alone >= ALONE;
        if enough {
            self.alone = if self.alone < ALONE + KNOWN { self.alone + 1 } else { ALONE - 1 };
        }
        enough && self.bucket.rate == 0
    }

    /// Wait for a token.
    fn poll_token(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while let Some(due) = self.wait_until() {
            let refill = self.refill.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
            refill.as_mut().reset(due);
            ready!(refill.as_mut().poll(context));
        }
        self.refill = None;
        Poll::Ready(())
    }

    /// What the device gave: a request, or a complaint for the log.
    fn take(&mut self, bytes: &[u8]) -> Option<Event> {
        if self.bucket.rate > 0 {
            self.bucket.take(Instant::now());
        }
        if mem::take(&mut self.waited) {
            self.limit.delayed();
        }
        let (info, complaint) = match decode(bytes, self.us) {
            Ok((info, complaint)) => (Some(info), complaint),
            Err(bad) => (None, Some(bad)),
        };
        if let Some(bad) = complaint {
            say(&self.log, Level::Error, bad.to_string());
        }
        info.map(Event::PlockRequest)
    }

    /// Without requests the daemon would miss what the kernel wants: the device's end is the daemon's.
    fn lost(&mut self, error: io::Error) -> Event {
        self.over = true;
        let error = KernelError::path(Operation::Read, &self.path)(error);
        Event::ClusterLost { why: format!("plock device: {error}") }
    }

    /// One that is there already.
    fn try_next(&mut self) -> Option<Event> {
        while !self.over && self.device.is_readable() && self.wait_until().is_none() {
            if self.is_enough() {
                self.leave();
                return None;
            }
            let mut record = [0; RECORD_SIZE];
            let length = match read(self.device.get(), &mut record) {
                Ok(0) => return Some(self.lost(io::ErrorKind::UnexpectedEof.into())),
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.all_read();
                    return None;
                }
                Err(error) => return Some(self.lost(error)),
            };
            self.read = self.read.saturating_add(1);
            if let Some(event) = self.take(record.get(..length).unwrap_or_default()) {
                return Some(event);
            }
        }
        None
    }
}

impl Feed for Requests {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Event>> {
        while !self.over {
            ready!(self.poll_token(context));
            if self.device.poll_readable(context).is_pending() {
                return Poll::Pending;
            }
            // Nothing: the device is empty, or hardly likely to have more, or the rest of the limit went to what was no request.
            if let Some(event) = self.try_next() {
                return Poll::Ready(Some(event));
            }
        }
        Poll::Ready(None)
    }
}

/// One record.
fn read(device: &OwnedFd, record: &mut [u8; RECORD_SIZE]) -> io::Result<usize> {
    loop {
        match nix::unistd::read(device, record) {
            Err(Errno::EINTR) => {}
            read => return Ok(read?),
        }
    }
}

/// The writing end.
pub struct Results {
    device: OwnedFd,
    path: PathBuf,
    log: LogSink,
    plock_log: LogSink,
    limit: RateLimit,
}

impl Results {
    /// Results for the device. `limit` is that of its [`Requests`]. `plock_log` takes what belongs to the plock log.
    #[must_use]
    pub fn new(
        device: OwnedFd,
        path: PathBuf,
        limit: RateLimit,
        log: LogSink,
        plock_log: LogSink,
    ) -> Self {
        Self { device, path, log, plock_log, limit }
    }

    /// Write a result, behind all earlier ones. A result that the kernel has no request for is no failure: its caller is gone.
    pub fn write(&self, info: &PlockInfo) {
        let written = loop {
            match nix::unistd::write(&self.device, &encode(info)) {
                Err(Errno::EINTR) => {}
                written => break written,
            }
        };
        let about =
            || format!("result {} of plock {:x}, pid {}", info.result, info.number, info.pid);
        match written {
            Ok(RECORD_SIZE) => {}
            Ok(length) => {
                let text = format!("{}: {length} of {RECORD_SIZE} bytes written", about());
                say(&self.log, Level::Error, text);
            }
            Err(errno @ (Errno::ENOENT | Errno::EINVAL)) => {
                let text = format!("{}: the kernel does not take it: {errno}", about());
                say(&self.plock_log, Level::Debug, text);
            }
            Err(errno) => {
                let path = self.path.display();
                let text = format!(
                    "write {path}: {errno}: {} lost; the process waits in fcntl until it is killed",
                    about()
                );
                say(&self.log, Level::Error, text);
            }
        }
    }

    /// `plock_rate_limit`: requests a second, 0 for no limit.
    pub fn set_rate_limit(&self, rate: u32) {
        self.limit.set(rate);
    }

    /// How many requests the limit has delayed since this was asked last.
    #[must_use]
    pub fn take_delayed(&self) -> u64 {
        self.limit.take_delayed()
    }

    /// What the limit holds back now. The device is looked at, since an empty bucket alone keeps nobody waiting.
    #[must_use]
    pub fn held_back(&self) -> Option<HeldBack> {
        let (since, until) = self.limit.held()?;
        let next = until.checked_duration_since(Instant::now()).filter(|next| !next.is_zero())?;
        let mut device = [PollFd::new(self.device.as_fd(), PollFlags::POLLIN)];
        let waiting = self.limit.get() > 0 && poll(&mut device, PollTimeout::ZERO) == Ok(1);
        waiting.then(|| HeldBack { lasted: since.elapsed(), next })
    }
}

fn say(log: &LogSink, level: Level, text: String) {
    log(LogLine { level, lockspace: None, text });
}

#[cfg(test)]
mod tests;
