//! Carries out the commands of `dlm_tool`: asks, formats, prints, and says with which code to exit.

use crate::args::{Command, Invocation, Options};
use crate::device::{Creation, Devices};
use crate::hints::{self, Hints};
use crate::insight::PATIENCE;
use crate::listing::{self, Listed, Nodes};
use crate::lockdebug::{self, Active, DebugFiles, Report, View};
use crate::lockdump;
use crate::watch;
use dlmcontrol::client::{Client, Error};
use dlmcontrol::proto::{self, Lockspace, NAME_LEN, NodeList};
use dlmcontrol::report;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Most nodes that a list is asked for, as the C tool does.
const NODES_MAX: u16 = 128;
/// Bytes of a uuid in a request; the C tool keeps one of its 64 for a NUL.
const UUID_MAX: usize = 63;
/// The exit code of -1, which the C tool passes on from its libraries.
const EXIT_FAILED: u8 = 255;

/// Behind a `done` that means nothing: the C tool leaves its user with that.
const RUN_BY_NOBODY: &str =
    "no node has run it: the daemon here sees no other node (`dlm_tool status` shows members)";

/// Whom to ask and where to look.
#[derive(Clone, Debug)]
pub struct Environment {
    /// The daemon.
    pub client: Client,
    /// The kernel's devices.
    pub devices: Devices,
    /// The kernel's debug files of dlm.
    pub debug: PathBuf,
    /// Whether somebody reads who may be helped, and not a program that may be confused.
    pub hints: Hints,
}

impl Default for Environment {
    fn default() -> Self {
        Self {
            client: Client::new(),
            devices: Devices::default(),
            debug: "/sys/kernel/debug/dlm".into(),
            hints: Hints::Left,
        }
    }
}

/// A file of the kernel that could not be read.
pub(crate) struct Unreadable {
    path: PathBuf,
    error: io::Error,
}

/// A tool at work: its surroundings and where its text goes.
pub struct Tool<'a> {
    /// Whom to ask.
    pub environment: &'a Environment,
    /// stdout
    pub out: &'a mut dyn Write,
    /// stderr
    pub err: &'a mut dyn Write,
}

impl Tool<'_> {
    /// Carries out a command; returns the exit code.
    ///
    /// # Errors
    /// Writing to stdout or stderr.
    pub fn run(&mut self, invocation: &Invocation) -> io::Result<u8> {
        if self.environment.hints == Hints::Left {
            return self.carry_out(invocation);
        }
        let client = &self.environment.client;
        let before = hints::before(client, &invocation.command);
        let code = self.carry_out(invocation)?;
        self.out.flush()?;
        if let Some(said) = before {
            writeln!(self.err, "{said}")?;
        }
        if let Some(said) = hints::after(client, invocation) {
            writeln!(self.err, "{said}")?;
        }
        Ok(code)
    }

    fn carry_out(&mut self, invocation: &Invocation) -> io::Result<u8> {
        let client = &self.environment.client;
        let options = &invocation.options;
        if options.json {
            return self.insight(invocation);
        }
        match &invocation.command {
            Command::Watch => watch::watch(&client.clone().with_timeout(Some(PATIENCE)), self.err),
            Command::Check(_) | Command::Explain(_) | Command::History(_) => {
                self.insight(invocation)
            }
            Command::RecordSave(file) => self.record_save(file),
            Command::Replay(file) => self.replay(file),
            Command::Ls(name) => self.ls(name.as_deref(), options),
            Command::Status => self.status(options),
            Command::Dump => self.dump(client.dump_debug()),
            Command::DumpConfig => self.dump(client.dump_config()),
            Command::LogPlock => self.dump(client.dump_log_plock()),
            Command::RunList => self.dump(client.dump_run()),
            Command::ReloadConfig => self.told("reload_config", client.reload_config()),
            Command::SetConfig(text) => self.told("set_config", client.set_config(text)),
            Command::Plocks(name) => self.plocks(name),
            Command::Join(name) => self.join(name, options),
            Command::Leave(name) => self.leave(name),
            Command::JoinLeave(name) => match self.join(name, options)? {
                0 => self.leave(name),
                code => Ok(code),
            },
            Command::LockDebug(name) => self.debug_report(self.lockdebug(name, options)),
            Command::LockDump(name) => self.debug_report(self.lockdump(name, options)),
            // No output and no failure: the C tool has neither, and scripts that acknowledge in a loop rely on it.
            Command::FenceAck(node) => Ok(ignored(client.fence_ack_text(cut(node, NAME_LEN)))),
            // No daemon has ever acted on it; the C daemon logs an error for the request.
            Command::DeadlockCheck(_) => Ok(0),
            Command::Run(text) => self.run_on_nodes(text, options),
            Command::RunStart(text) => self.run_start(text, options).map(|(_, code)| code),
            Command::RunCheck(uuid) => self.run_check(uuid, options, proto::RUN_CHECK_CLEAR),
            Command::RunCancel(uuid) => self.run_check(uuid, options, proto::RUN_CHECK_CANCEL),
        }
    }

    fn ls(&mut self, name: Option<&[u8]>, options: &Options) -> io::Result<u8> {
        let client = &self.environment.client;
        let answer = match name {
            Some(name) => client.lockspace_info(cut(name, NAME_LEN)).map(|found| vec![found]),
            None => client.lockspaces(),
        };
        let Ok(lockspaces) = answer else {
            return Ok(1);
        };
        if !lockspaces.is_empty() {
            self.out.write_all(listing::HEADING.as_bytes())?;
        }
        for lockspace in lockspaces {
            let nodes = |list| nodes(client, &lockspace, list);
            let listed = Listed {
                members: nodes(NodeList::Members),
                next: listing::changing(&lockspace).then(|| nodes(NodeList::Next)),
                all: options.all_nodes.then(|| nodes(NodeList::All)),
                lockspace,
            };
            self.out.write_all(&listing::lockspace(&listed))?;
        }
        Ok(0)
    }

    /// Always succeeds: pacemaker's agent looks at the text alone.
    fn status(&mut self, options: &Options) -> io::Result<u8> {
        let text = match self.environment.client.status() {
            Ok(records) if options.verbose => report::verbose(&records),
            Ok(records) => report::brief(&records, wall_clock_seconds()),
            Err(Error::Connect { .. }) => "cannot connect to dlm_controld\n".to_owned(),
            Err(Error::Send { .. }) => "cannot send to dlm_controld\n".to_owned(),
            Err(error) => {
                writeln!(self.err, "{error}")?;
                String::new()
            }
        };
        self.out.write_all(text.as_bytes())?;
        Ok(0)
    }

    /// A text answer and a newline, which is all that is left of it without a daemon.
    fn dump(&mut self, answer: Result<Vec<u8>, Error>) -> io::Result<u8> {
        let text = answer.unwrap_or_default();
        self.out.write_all(proto::until_nul(&text))?;
        self.out.write_all(b"\n")?;
        Ok(0)
    }

    fn plocks(&mut self, name: &[u8]) -> io::Result<u8> {
        if let Ok(plocks) = self.environment.client.all_plocks(cut(name, NAME_LEN)) {
            self.out.write_all(proto::until_nul(&plocks.text))?;
        }
        Ok(0)
    }

    /// A request without an answer: "done" says that it was handed over.
    fn told(&mut self, what: &str, result: Result<(), Error>) -> io::Result<u8> {
        let word = if result.is_ok() { "done" } else { "failed" };
        writeln!(self.out, "{what} {word}")?;
        Ok(0)
    }

    fn join(&mut self, name: &[u8], options: &Options) -> io::Result<u8> {
        let creation = Creation {
            exclusive: options.exclusive,
            filesystem: options.filesystem,
            mode: options.mode,
        };
        let flags = match (options.exclusive, options.filesystem) {
            (false, false) => "",
            (true, false) => "flags NEWEXCL ",
            (false, true) => "flags FS ",
            (true, true) => "flags NEWEXCL FS ",
        };
        self.out.write_all(&[b"Joining lockspace \"", name].concat())?;
        writeln!(self.out, "\" permission {:o} {flags}", options.mode)?;
        // What follows may wait for other nodes.
        self.out.flush()?;
        if let Err(error) = self.environment.devices.create(name, creation) {
            self.err.write_all(&[b"dlm_new_lockspace ", name].concat())?;
            writeln!(self.err, " error {}", error.errno())?;
            return Ok(EXIT_FAILED);
        }
        writeln!(self.out, "done")?;
        Ok(0)
    }

    fn leave(&mut self, name: &[u8]) -> io::Result<u8> {
        self.out.write_all(&[b"Leaving lockspace \"", name, b"\"\n"].concat())?;
        self.out.flush()?;
        match self.environment.devices.open(name) {
            Ok(lockspace) => {
                // The C tool does not look at the result either; its "done" means that the request was made.
                let _ = lockspace.remove();
                writeln!(self.out, "done")?;
                Ok(0)
            }
            Err(error) => {
                self.err.write_all(&[b"dlm_open_lockspace ", name].concat())?;
                // A null pointer, as glibc prints it.
                writeln!(self.err, " error (nil) {}", error.errno())?;
                Ok(EXIT_FAILED)
            }
        }
    }

    fn debug_file(&self, name: &[u8], suffix: &str) -> PathBuf {
        self.environment.debug.join(OsStr::from_bytes(&[name, suffix.as_bytes()].concat()))
    }

    /// Says that a file cannot be opened, in the C library's words for the error.
    /// As the C tool says it.
    pub(crate) fn cannot_open(
        &mut self,
        Unreadable { path, error }: &Unreadable,
    ) -> io::Result<()> {
        let reason = error.raw_os_error().map(nix::errno::Errno::from_raw);
        let reason = reason.map_or_else(|| error.to_string(), |errno| errno.desc().to_owned());
        self.err.write_all(&[b"can't open ", path.as_os_str().as_bytes()].concat())?;
        writeln!(self.err, ": {reason}")
    }

    /// What the kernel's debug files of a lockspace hold; else the file that cannot be read.
    pub(crate) fn lockdebug(&self, name: &[u8], options: &Options) -> Result<Report, Unreadable> {
        let active = match std::fs::read(self.debug_file(name, "_all")) {
            Ok(records) => Active::Records(records),
            Err(_) => {
                let path = self.debug_file(name, "");
                match std::fs::read(&path) {
                    Ok(text) => Active::Plain(text),
                    Err(error) => return Err(Unreadable { path, error }),
                }
            }
        };
        let optional = |suffix| std::fs::read(self.debug_file(name, suffix)).unwrap_or_default();
        let files = DebugFiles { active, toss: optional("_toss"), waiters: optional("_waiters") };
        let view = View { verbose: options.verbose, wide: options.wide, summary: options.summary };
        Ok(lockdebug::report(&files, view))
    }

    /// The same for its file of locks.
    pub(crate) fn lockdump(&self, name: &[u8], options: &Options) -> Result<Report, Unreadable> {
        let path = self.debug_file(name, "_locks");
        let show =
            if options.master_copies { lockdump::Show::MasterCopies } else { lockdump::Show::Own };
        match std::fs::read(&path) {
            Ok(file) => Ok(lockdump::report(&file, show)),
            Err(error) => Err(Unreadable { path, error }),
        }
    }

    /// The C tool takes a file that cannot be opened for success.
    fn debug_report(&mut self, found: Result<Report, Unreadable>) -> io::Result<u8> {
        match found {
            Ok(report) => {
                self.out.write_all(&report.out)?;
                self.err.write_all(&report.err)?;
            }
            Err(unreadable) => self.cannot_open(&unreadable)?,
        }
        Ok(0)
    }

    /// Start and check. The check is made even where the start failed, and its result counts, as in the C tool.
    fn run_on_nodes(&mut self, text: &[u8], options: &Options) -> io::Result<u8> {
        let (uuid, _) = self.run_start(text, options)?;
        self.run_check(uuid.as_bytes(), options, proto::RUN_CHECK_CLEAR)
    }

    fn run_start(&mut self, text: &[u8], options: &Options) -> io::Result<(String, u8)> {
        let flags = if options.all_nodes { proto::RUN_NODE_RECV } else { proto::RUN_NODE_NONE };
        let flags = i32::try_from(flags).unwrap_or_default();
        let (uuid, code) = match self.environment.client.run_start(text, 0, flags) {
            Ok(uuid) => (uuid, 0),
            Err(error) => (String::new(), low_byte(library_result(&error))),
        };
        writeln!(self.out, "run_uuid: {uuid}")?;
        Ok((uuid, code))
    }

    fn run_check(&mut self, uuid: &[u8], options: &Options, flags: u32) -> io::Result<u8> {
        const WORDS: [(u32, &str); 3] = [
            (proto::RUN_WAITING, "waiting "),
            (proto::RUN_DONE, "done "),
            (proto::RUN_FAILED, "failed "),
        ];
        self.out.flush()?;
        let nobody = flags == proto::RUN_CHECK_CLEAR && self.is_for_nobody(uuid);
        // Seen with the C tool: a negative time waits until the command is done.
        let wait = u64::try_from(options.wait).map_or(Duration::MAX, Duration::from_secs);
        let flags = i32::try_from(flags).unwrap_or_default();
        let (bits, code) = match self.environment.client.run_check(cut(uuid, UUID_MAX), wait, flags)
        {
            Ok(answer) => (answer.status, 0),
            Err(error) => (0, low_byte(library_result(&error))),
        };
        let words: String =
            WORDS.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, word)| *word).collect();
        writeln!(self.out, "check_status: {words}")?;
        if nobody && bits & proto::RUN_DONE != 0 {
            writeln!(self.err, "{RUN_BY_NOBODY}")?;
        }
        Ok(code)
    }

    /// Whether a command was given to no node. To be asked before its record is cleared.
    fn is_for_nobody(&self, uuid: &[u8]) -> bool {
        let head = [b"run_uuid ", cut(uuid, UUID_MAX), b" "].concat();
        let records = self.environment.client.dump_run().unwrap_or_default();
        let record = records.split(|byte| *byte == b'\n').find(|line| line.starts_with(&head));
        record.is_some_and(|line| {
            String::from_utf8_lossy(line).contains(" need_replies 0 reply_count 0 fail_count 0 ")
        })
    }
}

/// What the C library's function would return for a failure.
fn library_result(error: &Error) -> i32 {
    match error {
        Error::Refused { errno, .. } => errno.saturating_neg(),
        _ => -1,
    }
}

fn low_byte(result: i32) -> u8 {
    let [low, ..] = result.to_le_bytes();
    low
}

fn ignored(_: Result<(), Error>) -> u8 {
    0
}

/// A name as the C tool cuts it to its field.
pub(crate) fn cut(name: &[u8], max: usize) -> &[u8] {
    name.get(..max).unwrap_or(name)
}

fn nodes(client: &Client, lockspace: &Lockspace, list: NodeList) -> Nodes {
    match client.lockspace_nodes(cut(lockspace.name_bytes(), NAME_LEN), list, NODES_MAX) {
        Ok(listing) => Nodes::Listed(listing.entries),
        Err(Error::Refused { errno, .. }) => {
            Nodes::Failed { result: errno.saturating_neg(), errno: 0 }
        }
        Err(error) => Nodes::Failed { result: -1, errno: error.errno() },
    }
}

fn wall_clock_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
