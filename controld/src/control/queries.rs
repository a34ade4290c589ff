//! The query socket: one request, one answer, close. Served by a thread of its own, so that no client's slowness reaches
//! the driver. The driver makes the state that is shown when it is asked, once for all clients that wait, and says when that
//! is out of date: until then all but the document is answered without it. A driver that
//! does not answer in time (it never blocks) leaves them with the state that it published last, and the document says how old
//! that is.

use super::commands::ask;
use super::complaints::Complaints;
use super::listener::{self, Rooms, Served};
use super::peer::{Access, Peer, Trust};
use super::request::{self, EchoedName, HEADER_BYTES, Query};
use super::{
    Command, ControlError, DaemonPhase, History, LogRing, Meters, PlockLog, Published, answer,
    dump_plocks, process, state,
};
use dlm_core::types::{Instant as Moment, LockspaceName};
use dlmcontrol::proto;
use dlmcontrol::state::{Meters as Document, Time};
use nix::time::{ClockId, clock_gettime};
use std::fmt::Display;
use std::os::unix::net::UnixListener as StdListener;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Mutex, Semaphore, SemaphorePermit, mpsc, watch};
use tokio::time::{sleep_until, timeout};

/// How long a client may take to send its request, and then again to take its answer.
const CLIENT_MAX: Duration = Duration::from_secs(10);

/// How long the driver may take to tell the state.
const STATE_MAX: Duration = Duration::from_secs(1);

/// After an answer the driver is left alone for so many times what it took to make: questions have a fifth of its time at
/// most.
const RESTS: u32 = 4;

/// Text answers for clients other than root that are in memory at a time: each may be 1 MiB, in a daemon that is never
/// swapped out, and lasts as long as its client takes to read it.
const TEXTS_MAX: usize = 8;

/// Milliseconds in a second.
const MS_PER_SECOND: u64 = 1000;

/// Nanoseconds in a millisecond.
const NANOS_PER_MS: u64 = 1_000_000;

/// The thread needs little: its tasks are on the heap.
const THREAD_STACK: usize = 256 * 1024;

/// Where answers come from.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The state.
    pub published: watch::Receiver<Arc<Published>>,
    /// The ring behind `dlm_tool dump`.
    pub debug_log: LogRing,
    /// The ring behind `dlm_tool log_plock`.
    pub plock_log: PlockLog,
    /// Takes [`Command::State`], and what [`dump_plocks`] asks for.
    pub commands: mpsc::Sender<Command>,
    /// Recoveries of the last hours.
    pub history: History,
    /// What was counted and timed since the daemon began.
    pub meters: Meters,
    /// When the daemon began.
    pub started: Time,
    /// Both clocks now: [`clock`] but in tests.
    pub clock: fn() -> Time,
}

/// Published state, and the time at which it is shown.
pub(crate) struct Clocked<'a> {
    pub(crate) published: &'a Published,
    pub(crate) monotime: u64,
}

/// Both clocks now; 0 where there is none, which Linux does not know.
#[must_use]
pub fn clock() -> Time {
    let read = |clock| {
        let (seconds, nanos) = clock_gettime(clock).map_or((0, 0), |t| (t.tv_sec(), t.tv_nsec()));
        let seconds = u64::try_from(seconds).unwrap_or(0);
        let nanos = u64::try_from(nanos).unwrap_or(0);
        seconds.saturating_mul(MS_PER_SECOND).saturating_add(nanos / NANOS_PER_MS)
    };
    Time { boot_ms: read(ClockId::CLOCK_MONOTONIC), wall_ms: read(ClockId::CLOCK_REALTIME) }
}

/// Starts the thread that answers queries on `listener`, which [`super::bind`] made. It runs as long as the process.
///
/// # Errors
/// The thread or its event loop cannot be made.
pub fn start_query_thread(
    listener: StdListener,
    sources: Sources,
) -> Result<thread::JoinHandle<()>, ControlError> {
    let failed = |source| ControlError::Thread { source };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let entered = runtime.enter();
    let listener = UnixListener::from_std(listener).map_err(failed)?;
    drop(entered);
    thread::Builder::new()
        .name("dlm-query".to_owned())
        .stack_size(THREAD_STACK)
        .spawn(move || runtime.block_on(serve_queries(listener, sources)))
        .map_err(failed)
}

/// Answers queries for ever.
pub async fn serve_queries(listener: UnixListener, sources: Sources) {
    // Everybody may ask; root is counted apart so that nobody else can keep it out.
    let access = Access::root_only();
    let texts = Arc::new(Semaphore::new(TEXTS_MAX));
    let (newest, dumping, complaints) = (Arc::default(), Arc::default(), Complaints::default());
    let queries = Queries { sources: Arc::new(sources), texts, newest, dumping, complaints };
    let rooms = Rooms::queries(queries.sources.meters.clients());
    listener::serve(listener, access, rooms, queries).await;
}

#[derive(Clone)]
struct Queries {
    sources: Arc<Sources>,
    texts: Arc<Semaphore>,
    newest: Arc<Mutex<Newest>>,
    /// Held by whoever shows POSIX locks: however many ask for them, the driver makes one part at a time.
    dumping: Arc<Mutex<()>>,
    complaints: Complaints,
}

/// The last question to the driver.
#[derive(Default)]
struct Newest {
    /// When it was asked.
    asked: Option<Instant>,
    /// What is shown since then.
    shown: Shown,
    /// When the last question was asked that the driver has answered, milliseconds since boot.
    answered_ms: u64,
    /// When the driver may be asked again.
    rested: Option<Instant>,
}

/// What a query is answered from.
#[derive(Clone, Default)]
struct Shown {
    state: Arc<Published>,
    /// How old it was when the driver should have answered; `None`: the driver has answered.
    stale_ms: Option<u64>,
}

impl Queries {
    /// Waits until a long answer may be made. Never closed, so a permit always comes; each is back within the time limits
    /// of its client.
    async fn text_permit(&self, query: &Query, peer: Peer) -> Option<SemaphorePermit<'_>> {
        match peer.trust {
            Trust::Queries if query.is_text() => self.texts.acquire().await.ok(),
            Trust::Queries | Trust::Commands => None,
        }
    }
}

impl Queries {
    /// The state at a moment after the request came, for all but the document: what was published, as long as nothing has
    /// changed since. Then a query, and a flood of them, costs the driver nothing.
    async fn settled(&self) -> Arc<Published> {
        let published = Arc::clone(&self.sources.published.borrow());
        if published.is_current() { published } else { self.state().await.state }
    }

    /// The state at a moment after the request came, or the last one. However many clients ask, the driver is asked one
    /// question at a time, and its answer, or its silence, serves all who came before the question.
    async fn state(&self) -> Shown {
        let published = Arc::clone(&self.sources.published.borrow());
        if published.phase != DaemonPhase::Running {
            return Shown { state: published, stale_ms: None };
        }
        let came = Instant::now();
        let mut newest = self.newest.lock().await;
        if newest.asked.is_none_or(|asked| asked < came) {
            // A flood of questions while all changes must not become the driver's main occupation.
            if let Some(rested) = newest.rested {
                sleep_until(rested.into()).await;
            }
            newest.asked = Some(Instant::now());
            let asked_ms = (self.sources.clock)().boot_ms;
            newest.shown = match self.ask().await {
                Some(state) => {
                    newest.answered_ms = asked_ms;
                    newest.rested = Instant::now().checked_add(state.made_in.saturating_mul(RESTS));
                    Shown { state, stale_ms: None }
                }
                None => self.last(newest.answered_ms),
            };
        }
        newest.shown.clone()
    }

    async fn ask(&self) -> Option<Arc<Published>> {
        let asked = Instant::now();
        let answer = ask(&self.sources.commands, |reply| Command::State { reply });
        let answer = timeout(STATE_MAX, answer).await.ok().flatten();
        let took = u64::try_from(asked.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.sources.meters.answered(Moment::default(), Moment::from_nanos(took));
        answer
    }

    /// What was published last. It was the newest when it was taken, and still when the driver said so.
    fn last(&self, answered_ms: u64) -> Shown {
        let state = Arc::clone(&self.sources.published.borrow());
        let true_ms = answered_ms.max(state.taken.as_nanos() / NANOS_PER_MS);
        let age = (self.sources.clock)().boot_ms.saturating_sub(true_ms);
        Shown { state, stale_ms: Some(age) }
    }
}

impl Queries {
    async fn answer_of(&self, query: &Query) -> Option<Vec<u8>> {
        let sources = &self.sources;
        match query {
            // C answers both with the number of the first.
            Query::DumpDebug => Some(log(&sources.debug_log.text())),
            Query::DumpLogPlock => Some(log(&sources.plock_log.text())),
            Query::DumpPlocks { command, name, skip } => self.plocks(*command, name, *skip).await,
            Query::History => {
                let history = sources.history.document((sources.clock)());
                answer::document(proto::Command::History, &history)
            }
            Query::State => {
                let shown = self.state().await;
                let mut state = state::state(&shown.state, sources.started, (sources.clock)());
                state.stale_ms = shown.stale_ms;
                state.meters =
                    Some(Document { process: process::document(), ..sources.meters.document() });
                sources.history.sum_up(&mut state);
                answer::document(proto::Command::State, &state)
            }
            Query::DumpConfig
            | Query::DumpRun
            | Query::LockspaceInfo(_)
            | Query::NodeInfo { .. }
            | Query::Lockspaces { .. }
            | Query::LockspaceNodes { .. }
            | Query::Status => {
                let published = self.settled().await;
                let monotime = (sources.clock)().boot_ms / MS_PER_SECOND;
                answer::state(query, &Clocked { published: &published, monotime })
            }
        }
    }
}

impl Queries {
    /// Asks the driver, which is alone to know. A driver that does not answer in time leaves the query unanswered; all other
    /// queries go on.
    async fn plocks(
        &self,
        command: proto::Command,
        name: &EchoedName,
        skip: usize,
    ) -> Option<Vec<u8>> {
        let Some(lockspace) = LockspaceName::new(name.bytes()) else {
            return Some(answer::plocks(command, name, None));
        };
        let dump = async {
            let _alone = self.dumping.lock().await;
            dump_plocks(&self.sources.commands, &lockspace, skip).await
        };
        let text = timeout(CLIENT_MAX, dump).await.ok().flatten()?;
        Some(answer::plocks(command, name, text.as_deref()))
    }
}

impl Served for Queries {
    async fn client(self, mut stream: UnixStream, peer: Peer) {
        let Ok(Some(query)) = timeout(CLIENT_MAX, self.read(&mut stream, peer)).await else {
            return;
        };
        let _permit = self.text_permit(&query, peer).await;
        let Some(bytes) = self.answer_of(&query).await else {
            return;
        };
        // A client that goes away or does not read has itself to thank.
        let _ = timeout(CLIENT_MAX, stream.write_all(&bytes)).await;
    }
}

impl Queries {
    /// The request; `None` where there is none that could be answered. A payload is not read: no query has one.
    async fn read(&self, stream: &mut UnixStream, peer: Peer) -> Option<Query> {
        let mut bytes = [0; HEADER_BYTES];
        stream.read_exact(&mut bytes).await.ok()?;
        let header = match request::header(&bytes) {
            Ok((header, _)) => header,
            Err(error) => {
                self.complain(peer, &error);
                return None;
            }
        };
        let query = Query::parse(&header);
        if query.is_none() {
            self.complain(peer, &format_args!("unknown command {}", header.command));
        }
        query
    }

    fn complain(&self, Peer { uid, pid, .. }: Peer, what: &dyn Display) {
        if let Some(left_out) = self.complaints.admit() {
            tracing::debug!(uid, pid, "query socket: {what}{left_out}");
        }
    }
}

fn log(text: &[u8]) -> Vec<u8> {
    answer::dump(proto::Command::DumpDebug, text)
}
