//! `/dev/misc/dlm_plock`: requests for POSIX locks, read; results, written (spec/plocks.md sections 1 and 2).
//!
//! [`Requests`] reads all that the device has into a bounded channel of its own, a request only once there is room for it:
//! what the driver cannot take yet stays in the kernel, and nothing is lost. [`Results`] writes straight from the driver, in
//! the order of the core's effects: the kernel copies 64 bytes under a spin lock and wakes a process, it never blocks.
//!
//! What a request means, and whether POSIX locks are served at all, is the core's business. A request of a version that we
//! do not know goes there too, as one for something unknown, so that its refusal keeps its place in the order of answers.

use crate::kernel::LogSink;
use crate::kernel::error::{KernelError, Operation};
use crate::kernel::ready;
use dlm_core::effect::{Level, LogLine};
use dlm_core::plock::{Mode, Op, PlockInfo};
use dlm_core::types::{GlobalId, NodeId};
use nix::errno::Errno;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Size of a request and of a result.
pub const RECORD_SIZE: usize = 64;

/// Requests that may wait for the driver: more than it takes in one batch, so that reading never holds it up.
pub const REQUESTS_WAITING_MAX: usize = 256;

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

/// How many requests are read: a token bucket, full at the beginning.
///
/// `plock_rate_limit` N lets N requests pass at once, and N a second on the average. (The C daemon counts to N, then stops
/// until it next looks, a second later.)
#[derive(Debug)]
struct Bucket {
    /// Requests a second; 0: no limit.
    rate: u32,
    /// When the bucket will be full again.
    full_at: Instant,
}

impl Bucket {
    /// What the bucket holds, as the time in which it fills.
    const DEPTH: Duration = Duration::from_secs(1);

    fn new(rate: u32) -> Self {
        Self { rate, full_at: Instant::now() }
    }

    /// When the next token is there; `None`: now.
    fn wait_until(&self, now: Instant) -> Option<Instant> {
        let room = Self::DEPTH.checked_sub(self.interval()?).unwrap_or_default();
        let due = self.full_at.checked_sub(room)?;
        (due > now).then_some(due)
    }

    /// A request is read.
    fn take(&mut self, now: Instant) {
        if let Some(interval) = self.interval() {
            self.full_at = self.full_at.max(now) + interval;
        }
    }

    fn interval(&self) -> Option<Duration> {
        Self::DEPTH.checked_div(self.rate)
    }
}

/// The reading end.
#[derive(Debug)]
pub struct Requests {
    device: AsyncFd<OwnedFd>,
    path: PathBuf,
    us: NodeId,
    rate: watch::Receiver<u32>,
    bucket: Bucket,
}

impl Requests {
    /// The device's requests, for node `us`; needs the tokio runtime. `rate` is `plock_rate_limit`: requests a second, 0 for
    /// no limit.
    ///
    /// # Errors
    /// The event loop does not take the device.
    pub fn new(
        device: OwnedFd,
        path: &Path,
        us: NodeId,
        rate: watch::Receiver<u32>,
    ) -> Result<Self, KernelError> {
        let device =
            ready::register(device).map_err(KernelError::path(Operation::Register, path))?;
        let bucket = Bucket::new(*rate.borrow());
        Ok(Self { device, path: path.to_owned(), us, rate, bucket })
    }

    /// Hand requests over until nobody takes them any more. Complaints go to `log`, which leaves out repeats.
    ///
    /// # Errors
    /// The device cannot be read any more.
    pub async fn forward(
        mut self,
        requests: mpsc::Sender<PlockInfo>,
        log: LogSink,
    ) -> Result<(), KernelError> {
        loop {
            let Ok(room) = requests.reserve().await else { return Ok(()) };
            self.token().await;
            match self.next().await? {
                Ok((info, complaint)) => {
                    room.send(info);
                    complaint.into_iter().for_each(|bad| say(&log, Level::Error, bad.to_string()));
                }
                Err(bad) => say(&log, Level::Error, bad.to_string()),
            }
            self.bucket.take(Instant::now());
        }
    }

    /// Wait until the rate limit allows a request. A new limit counts at once.
    async fn token(&mut self) {
        loop {
            let rate = *self.rate.borrow_and_update();
            if rate != self.bucket.rate {
                self.bucket = Bucket::new(rate);
            }
            let Some(due) = self.bucket.wait_until(Instant::now()) else { return };
            tokio::select! {
                () = tokio::time::sleep_until(due) => {}
                // Without a sender the limit stays what it is.
                Ok(()) = self.rate.changed() => {}
            }
        }
    }

    /// The next record.
    async fn next(&self) -> Result<Result<(PlockInfo, Option<BadRecord>), BadRecord>, KernelError> {
        let failed = || KernelError::path(Operation::Read, &self.path);
        let mut record = [0; RECORD_SIZE];
        loop {
            let mut ready = self.device.readable().await.map_err(failed())?;
            match nix::unistd::read(self.device.get_ref(), &mut record) {
                Ok(0) => return Err(failed()(io::ErrorKind::UnexpectedEof.into())),
                Ok(length) => {
                    return Ok(decode(record.get(..length).unwrap_or_default(), self.us));
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => ready.clear_ready(),
                Err(errno) => return Err(failed()(errno.into())),
            }
        }
    }
}

/// The writing end.
pub struct Results {
    device: OwnedFd,
    path: PathBuf,
    log: LogSink,
    plock_log: LogSink,
    rate: watch::Sender<u32>,
}

impl Results {
    /// Results for the device. `rate` sets the limit of its [`Requests`]. `plock_log` takes what belongs to the plock log.
    #[must_use]
    pub fn new(
        device: OwnedFd,
        path: PathBuf,
        rate: watch::Sender<u32>,
        log: LogSink,
        plock_log: LogSink,
    ) -> Self {
        Self { device, path, log, plock_log, rate }
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
        self.rate.send_replace(rate);
    }
}

fn say(log: &LogSink, level: Level, text: String) {
    log(LogLine { level, lockspace: None, text });
}

#[cfg(test)]
mod tests;
