//! Lanes: kernel writes in order within a lane, lanes side by side (DESIGN.md, "Kernel writes: lanes").
//!
//! A write can block for seconds or for ever, so each lane is a thread. A thread that is stuck in the kernel outlives the
//! SIGKILL of its process, and would keep the process's descriptors open: the kernel would not see the monitor device
//! close, and corosync would keep a dead daemon as a member. So each lane's thread begins with a descriptor table of its
//! own that holds no more than 0, 1 and 2, and the counter (eventfd) that wakes the event loop, which is nobody's sign of
//! life.
//!
//! From this follows what a lane may do: open paths, and speak to the rest of the process through memory and that counter.
//! The log needs descriptors: under their numbers a lane finds nothing, or worse, the file it is just writing. So log lines
//! go with the results to [`Completions`], which the driver reads in its own turn.

use crate::feed::Feed;
use crate::kernel::LogSink;
use crate::kernel::attributes;
use crate::kernel::error::KernelError;
use crate::kernel::files::Files;
use crate::kernel::write::{Journal, Writer};
use crate::process::priority;
use crate::reactor::{Registry, Watched};
use dlm_core::effect::{KernelWrite, Lane, Level, LogLine};
use dlm_core::event::{Event, Token};
use dlm_core::options::Switch;
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::thread;

/// Stack of a lane's thread in bytes: paths and short texts, no recursion.
const LANE_STACK: usize = 128 * 1024;

/// Writes that one lane holds. The core gives each lane one at a time; a few more for changes of settings.
const LANE_QUEUE: usize = 8;

/// Something for a lane to do.
enum Job {
    /// A write of the core.
    Write(Token, KernelWrite),
    /// The kernel's debug messages, when the option changes.
    LogDebug(Switch),
}

/// What a lane has to tell.
struct Report {
    lines: Vec<LogLine>,
    done: Option<(Token, Result<(), String>)>,
}

/// What the lanes have to tell, and what wakes the event loop for it.
struct Reports {
    /// Not bounded by itself, but never longer than what was asked for: one report a job, and jobs are bounded.
    queue: Mutex<VecDeque<Report>>,
    wake: EventFd,
}

impl Reports {
    fn new() -> Result<Self, KernelError> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let wake = EventFd::from_value_and_flags(0, flags);
        let wake = wake.map_err(|errno| KernelError::Thread(errno.into()))?;
        Ok(Self { queue: Mutex::default(), wake })
    }

    /// From any thread.
    fn tell(&self, report: Report) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).push_back(report);
        // Fails only where the counter is at its limit, and then the event loop is awake anyway.
        let _already_awake = self.wake.write(1);
    }

    fn take(&self) -> Option<Report> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// The event loop is awake: what is told from now on wakes it anew.
    fn woken(&self) {
        // Fails where nobody has written since.
        let _not_woken = self.wake.read();
    }
}

/// All lanes that were used and not retired.
pub struct Lanes<F> {
    writer: Arc<Writer<F>>,
    running: BTreeMap<Lane, SyncSender<Job>>,
    reports: Arc<Reports>,
}

impl<F: Files + Send + Sync + 'static> Lanes<F> {
    /// Lanes, and what comes of them; its lines go to `log`. `registry` will watch for them.
    ///
    /// # Errors
    /// The system gives no descriptor, or it cannot be watched.
    pub fn new(
        writer: Writer<F>,
        log: LogSink,
        registry: &Registry,
    ) -> Result<(Self, Completions), KernelError> {
        let reports = Arc::new(Reports::new()?);
        let watched = reports.wake.as_fd().try_clone_to_owned().and_then(|fd| registry.watch(fd));
        let watched = watched.map_err(KernelError::Thread)?;
        let completions = Completions { reports: Arc::clone(&reports), watched, log };
        Ok((Self { writer: Arc::new(writer), running: BTreeMap::new(), reports }, completions))
    }

    /// Put a write into its lane; its end comes as `KernelDone`, also where the lane cannot take it.
    pub fn write(&mut self, token: Token, lane: Lane, write: KernelWrite) {
        if let Err(error) = self.push(lane, Job::Write(token, write)) {
            let done = Some((token, Err(error.to_string())));
            self.reports.tell(Report { lines: Vec::new(), done });
        }
    }

    /// Switch the kernel's debug messages; a failure goes to the log.
    pub fn set_log_debug(&mut self, log_debug: Switch) {
        if let Err(error) = self.push(Lane::Cluster, Job::LogDebug(log_debug)) {
            let line = LogLine { level: Level::Error, lockspace: None, text: error.to_string() };
            self.reports.tell(Report { lines: vec![line], done: None });
        }
    }

    /// Start a lane's thread while nobody waits for it. Where it cannot be started, the first write tries again, and says so.
    pub fn prepare(&mut self, lane: Lane) {
        let _later = self.jobs(lane);
    }

    /// Let a lane's thread end when it has done what it holds.
    pub fn retire(&mut self, lane: &Lane) {
        self.running.remove(lane);
    }

    fn push(&mut self, lane: Lane, job: Job) -> Result<(), KernelError> {
        match self.jobs(lane)?.try_send(job) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_)) => Err(KernelError::LaneFull),
            Err(TrySendError::Disconnected(_)) => Err(KernelError::LaneGone),
        }
    }

    /// Where a lane's jobs go; its thread runs from now on.
    fn jobs(&mut self, lane: Lane) -> Result<&SyncSender<Job>, KernelError> {
        if !self.running.contains_key(&lane) {
            let jobs = self.start(lane.clone())?;
            self.running.insert(lane.clone(), jobs);
        }
        self.running.get(&lane).ok_or(KernelError::LaneGone)
    }

    fn start(&self, lane: Lane) -> Result<SyncSender<Job>, KernelError> {
        let (jobs, received) = mpsc::sync_channel(LANE_QUEUE);
        let writer = Arc::clone(&self.writer);
        let reports = Arc::clone(&self.reports);
        thread::Builder::new()
            .name(thread_name(&lane))
            .stack_size(LANE_STACK)
            .spawn(move || run(&lane, &writer, &received, &reports))
            .map_err(KernelError::Thread)?;
        Ok(jobs)
    }
}

/// As `ps -L` shows it; the kernel keeps the first 15 bytes.
fn thread_name(lane: &Lane) -> String {
    match lane {
        Lane::Cluster => "lane".to_owned(),
        Lane::Lockspace(lockspace) => format!("lane {lockspace}"),
    }
}

/// A lane's thread: jobs in order until no more can come.
fn run<F: Files>(lane: &Lane, writer: &Writer<F>, jobs: &Receiver<Job>, reports: &Reports) {
    priority::before_the_main_thread();
    let alone = close_descriptors(&reports.wake);
    for job in jobs {
        let alone = alone.as_ref().map_err(|error| KernelError::Descriptors(copy_of(error)));
        reports.tell(carry_out(lane, writer, job, alone.copied()));
    }
}

fn carry_out<F: Files>(
    lane: &Lane,
    writer: &Writer<F>,
    job: Job,
    alone: Result<(), KernelError>,
) -> Report {
    let mut journal = Journal::new(match lane {
        Lane::Cluster => None,
        Lane::Lockspace(lockspace) => Some(lockspace.clone()),
    });
    let (token, result) = match job {
        Job::Write(token, write) => {
            (Some(token), alone.and_then(|()| writer.carry_out(lane, &write, &mut journal)))
        }
        Job::LogDebug(log_debug) => {
            let mut set =
                || attributes::set_log_debug(&writer.files, &writer.root, log_debug, &mut journal);
            (None, alone.and_then(|()| set()))
        }
    };
    let result = result.map_err(|error| error.to_string());
    if let Err(text) = &result {
        journal.error(text.clone());
    }
    Report { lines: journal.into_lines(), done: token.map(|token| (token, result)) }
}

/// What comes of the writes: `KernelDone`, with the lines for the log before it.
pub struct Completions {
    reports: Arc<Reports>,
    watched: Watched,
    log: LogSink,
}

impl Completions {
    /// One that is there already.
    fn try_next(&mut self) -> Option<Event> {
        loop {
            let Report { lines, done } = self.reports.take()?;
            lines.into_iter().for_each(|line| (self.log)(line));
            if let Some((token, result)) = done {
                return Some(Event::KernelDone { token, result });
            }
        }
    }
}

impl Feed for Completions {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Event>> {
        loop {
            if let Some(event) = self.try_next() {
                return Poll::Ready(Some(event));
            }
            ready!(self.watched.poll_readable(context));
            self.watched.leave();
            self.reports.woken();
        }
    }
}

fn copy_of(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

/// The first descriptor that a lane does not need; before it are stdin, stdout and stderr.
const FIRST_CLOSED: libc::c_uint = 3;

/// Give the calling thread a descriptor table of its own that has none of the process's but stdio's and `wake`.
fn close_descriptors(wake: &EventFd) -> io::Result<()> {
    unshare(CloneFlags::CLONE_FILES)?;
    let kept = libc::c_uint::try_from(wake.as_fd().as_raw_fd()).map_err(io::Error::other)?;
    if let Some(below) = kept.checked_sub(1).filter(|below| *below >= FIRST_CLOSED) {
        close_range(FIRST_CLOSED, below)?;
    }
    close_range(kept.saturating_add(1).max(FIRST_CLOSED), libc::c_uint::MAX)
}

#[expect(unsafe_code, reason = "neither std nor nix has close_range")]
fn close_range(first: libc::c_uint, last: libc::c_uint) -> io::Result<()> {
    // SAFETY: the call touches no memory of ours. The descriptors are closed in this thread's table only, and this
    // thread owns none: it begins here, and what was moved into it speaks through memory and the one that is kept.
    let result = unsafe { libc::close_range(first, last, 0) };
    Errno::result(result).map(drop).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::configfs::CommOptions;
    use crate::kernel::testtree::{ModelConfigfs, TestTree};
    use crate::reactor::Reactor;
    use dlm_core::types::LockspaceName;
    use nix::sys::stat::Mode;
    use std::collections::BTreeSet;
    use std::fs;
    use std::future::poll_fn;
    use std::io::Read as _;
    use std::path::Path;
    use std::sync::Mutex;
    use std::time::{Duration, Instant};

    struct Bench {
        tree: TestTree,
        lanes: Lanes<ModelConfigfs>,
        events: Completions,
        reactor: Reactor,
        lines: Arc<Mutex<Vec<LogLine>>>,
    }

    const SOON: Duration = Duration::from_secs(10);

    impl Bench {
        fn new() -> Self {
            let tree = TestTree::new();
            let writer = Writer {
                files: ModelConfigfs::default(),
                root: tree.root().clone(),
                comms: CommOptions::default(),
            };
            let lines = Arc::new(Mutex::new(Vec::new()));
            let into = Arc::clone(&lines);
            let log = Arc::new(move |line| into.lock().unwrap().push(line));
            let reactor = Reactor::new().unwrap();
            let (lanes, events) = Lanes::new(writer, log, reactor.registry()).unwrap();
            Self { tree, lanes, events, reactor, lines }
        }

        /// A lockspace whose `control` blocks whoever opens it, until somebody reads it.
        fn stuck(&self, name: &str) -> std::path::PathBuf {
            self.tree.lockspace(name);
            let control = self.tree.path(&format!("sys/kernel/dlm/{name}/control"));
            fs::remove_file(&control).unwrap();
            nix::unistd::mkfifo(&control, Mode::S_IRWXU).unwrap();
            control
        }

        fn done(&mut self) -> (u64, Result<(), String>) {
            let next = self.reactor.block_on(poll_fn(|context| self.events.poll_next(context)));
            match next.unwrap() {
                Event::KernelDone { token, result } => (token.0, result),
                other => panic!("{other:?}"),
            }
        }
    }

    fn lane(name: &str) -> Lane {
        Lane::Lockspace(LockspaceName::new(name.as_bytes()).unwrap())
    }

    /// The thread of this process with that name.
    fn thread_named(name: &str) -> Option<std::path::PathBuf> {
        let threads = fs::read_dir("/proc/self/task").unwrap();
        threads.flatten().map(|thread| thread.path()).find(|thread| {
            fs::read_to_string(thread.join("comm")).is_ok_and(|comm| comm.trim_end() == name)
        })
    }

    fn until(mut condition: impl FnMut() -> bool) {
        let end = Instant::now() + SOON;
        while !condition() {
            assert!(Instant::now() < end, "not in time");
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn descriptors(thread: &Path) -> BTreeSet<String> {
        let entries = fs::read_dir(thread.join("fd")).unwrap();
        entries.flatten().map(|entry| entry.file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_stuck_lane_delays_no_other_and_keeps_its_order() {
        let mut bench = Bench::new();
        let control = bench.stuck("slow");
        bench.tree.lockspace("quick");
        bench.lanes.write(Token(1), lane("slow"), KernelWrite::Stop);
        bench.lanes.write(Token(2), lane("slow"), KernelWrite::EventDone { result: 5 });
        bench.lanes.write(Token(3), lane("quick"), KernelWrite::Stop);
        assert_eq!(bench.done(), (3, Ok(())));
        assert_eq!(bench.tree.read("sys/kernel/dlm/slow/event_done"), b"");
        let mut read = String::new();
        fs::File::open(control).unwrap().read_to_string(&mut read).unwrap();
        assert_eq!(read, "0\0");
        assert_eq!(bench.done(), (1, Ok(())));
        assert_eq!(bench.done(), (2, Ok(())));
        let lines = bench.lines.lock().unwrap();
        assert!(lines.iter().all(|line| line.lockspace.is_some()), "{lines:?}");
    }

    #[test]
    fn a_lanes_thread_holds_no_descriptor_of_the_process() {
        let mut bench = Bench::new();
        let control = bench.stuck("alone");
        let held = fs::File::open("/dev/null").unwrap();
        bench.lanes.write(Token(1), lane("alone"), KernelWrite::Stop);
        until(|| thread_named("lane alone").is_some_and(|thread| descriptors(&thread).len() <= 4));
        let wake = bench.lanes.reports.wake.as_fd().as_raw_fd().to_string();
        let kept: BTreeSet<String> =
            ["0", "1", "2"].map(str::to_owned).into_iter().chain([wake]).collect();
        assert!(descriptors(&thread_named("lane alone").unwrap()).is_subset(&kept));
        assert!(descriptors(Path::new("/proc/self")).len() > 3);
        // The process's own table is whole: its descriptor is open, and the event loop is still woken.
        held.metadata().unwrap();
        drop(fs::File::open(control).unwrap());
        assert_eq!(bench.done().0, 1);
    }

    #[test]
    fn a_prepared_lane_has_its_thread_before_its_first_write() {
        let mut bench = Bench::new();
        bench.tree.lockspace("early");
        bench.lanes.prepare(lane("early"));
        let thread = || thread_named("lane early");
        until(|| thread().is_some_and(|thread| descriptors(&thread).len() <= 4));
        let prepared = thread();
        bench.lanes.write(Token(1), lane("early"), KernelWrite::Stop);
        assert_eq!(bench.done(), (1, Ok(())));
        assert_eq!(thread(), prepared);
    }

    #[test]
    fn a_failure_says_what_and_where() {
        let mut bench = Bench::new();
        bench.lanes.write(Token(9), lane("gone"), KernelWrite::EventDone { result: -1 });
        let (token, result) = bench.done();
        let text = result.unwrap_err();
        assert_eq!(token, 9);
        assert!(
            text.contains("write \"-1\"")
                && text.contains("gone/event_done")
                && text.contains("os error 2"),
            "{text}"
        );
        until(|| {
            bench
                .lines
                .lock()
                .unwrap()
                .iter()
                .any(|line| line.level == Level::Error && line.text == text)
        });
    }

    #[test]
    fn a_retired_lanes_thread_ends() {
        let mut bench = Bench::new();
        bench.tree.lockspace("brief");
        bench.lanes.write(Token(1), lane("brief"), KernelWrite::Stop);
        assert_eq!(bench.done(), (1, Ok(())));
        assert!(thread_named("lane brief").is_some());
        bench.lanes.retire(&lane("brief"));
        until(|| thread_named("lane brief").is_none());
        bench.lanes.write(Token(2), lane("brief"), KernelWrite::Stop);
        assert_eq!(bench.done(), (2, Ok(())));
    }

    #[test]
    fn more_than_a_lane_holds_is_refused() {
        let mut bench = Bench::new();
        let control = bench.stuck("full");
        for token in 0..20 {
            bench.lanes.write(Token(token), lane("full"), KernelWrite::EventDone { result: 0 });
            if token == 0 {
                bench.lanes.write(Token(100), lane("full"), KernelWrite::Stop);
            }
        }
        let mut refused = 0;
        let mut done = BTreeSet::new();
        while done.len() < 21 {
            let (token, result) = bench.done();
            refused += u32::from(result.is_err());
            assert!(done.insert(token));
            if refused == 1 && result.is_err() {
                let control = control.clone();
                thread::spawn(move || drop(fs::read(control)));
            }
        }
        assert!(refused >= 10, "{refused}");
    }

    #[test]
    fn two_hundred_lanes_run_side_by_side() {
        let mut bench = Bench::new();
        for number in 0..200 {
            bench.tree.lockspace(&format!("n{number}"));
            bench.lanes.write(Token(number), lane(&format!("n{number}")), KernelWrite::Stop);
        }
        let mut done = BTreeSet::new();
        while done.len() < 200 {
            let (token, result) = bench.done();
            result.unwrap();
            done.insert(token);
        }
    }

    #[test]
    fn the_kernels_debug_messages_are_switched_in_the_clusters_lane() {
        let mut bench = Bench::new();
        bench.tree.cluster();
        bench.lanes.set_log_debug(Switch::On);
        until(|| {
            assert_eq!(bench.events.try_next(), None);
            bench.lines.lock().unwrap().iter().any(|line| line.text == "set log_debug 1")
        });
        assert_eq!(bench.tree.read("sys/kernel/config/dlm/cluster/log_debug"), b"1");
    }
}
