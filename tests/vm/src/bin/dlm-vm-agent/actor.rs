//! An actor: does one step with POSIX locks at a time, as the host says, and answers each with a line.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use dlm_vm::protocol::{HOST, STAGE_PORT};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::unistd::gettid;

/// Between two looks at a thread that may sleep in the kernel: nothing tells when it does.
const LOOK: Duration = Duration::from_millis(2);
/// How many threads fill files with locks: each waits for its own answer most of the time.
const FILLERS: usize = 8;

/// Reports to the host and does as it is told until it hangs up.
pub(crate) fn act(name: &str) -> Result<()> {
    let mut host = TcpStream::connect((HOST, STAGE_PORT)).context("reach the host")?;
    host.set_nodelay(true).context("set nodelay")?;
    writeln!(host, "{name} {}", std::process::id()).context("report")?;
    let commands = BufReader::new(host.try_clone().context("share the connection")?).lines();
    let mut actor = Actor { host: Arc::new(Mutex::new(host)), files: BTreeMap::new() };
    for command in commands {
        actor.step(&command.context("read a command")?)?;
    }
    Ok(())
}

struct Actor {
    host: Arc<Mutex<TcpStream>>,
    files: BTreeMap<PathBuf, Arc<File>>,
}

impl Actor {
    fn step(&mut self, command: &str) -> Result<()> {
        let words: Vec<&str> = command.split(' ').collect();
        let answer = match words.as_slice() {
            ["lock", mode, start, length, path] => {
                let wanted = lock(kind(mode)?, start, length)?;
                outcome(fcntl(&self.file(path)?, FcntlArg::F_SETLK(&wanted)))
            }
            ["unlock", start, length, path] => {
                let wanted = lock(libc::F_UNLCK, start, length)?;
                outcome(fcntl(&self.file(path)?, FcntlArg::F_SETLK(&wanted)))
            }
            ["test", mode, start, length, path] => {
                let mut wanted = lock(kind(mode)?, start, length)?;
                match fcntl(&self.file(path)?, FcntlArg::F_GETLK(&mut wanted)) {
                    Ok(_) => told(&wanted),
                    Err(error) => outcome(Err(error)),
                }
            }
            ["wait", mode, start, length, path] => {
                let wanted = lock(kind(mode)?, start, length)?;
                let file = self.file(path)?;
                return self.wait(&file, wanted);
            }
            ["close", path] => {
                self.files.remove(Path::new(path));
                "ok".into()
            }
            ["alias", path] => {
                drop(File::open(path).with_context(|| format!("open {path}"))?);
                "ok".into()
            }
            ["fill", files, locks, folder] => {
                self.fill(files.parse()?, locks.parse()?, Path::new(folder))?
            }
            other => bail!("not a command of an actor: {other:?}"),
        };
        say(&self.host, &answer)
    }

    /// The wait happens on a thread of its own, which has the same lock owner. The host is told when it
    /// sleeps in the kernel, and when it has its answer.
    fn wait(&self, file: &Arc<File>, wanted: libc::flock) -> Result<()> {
        let (sender, receiver) = channel();
        let (file, host) = (Arc::clone(file), Arc::clone(&self.host));
        let (thread_sender, thread) = channel();
        thread::spawn(move || {
            let _ = thread_sender.send(gettid());
            let answer = outcome(fcntl(&file, FcntlArg::F_SETLKW(&wanted)));
            // Let go before the answer: a close that the host asks for then must be the last one.
            drop(file);
            let mut host = hold(&host);
            let _ = write(&mut host, &answer);
            let _ = sender.send(());
        });
        let thread = thread.recv().context("the thread's id")?;
        let calls = format!("/proc/self/task/{thread}/syscall");
        if !sleeps(&calls, &receiver) {
            return Ok(());
        }
        // It may have had its answer since that look: "asleep" must not come behind it.
        let mut host = hold(&self.host);
        if receiver.try_recv().is_ok() { Ok(()) } else { write(&mut host, "asleep") }
    }

    fn fill(&mut self, files: u32, locks: u32, folder: &Path) -> Result<String> {
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        let mut opened = Vec::new();
        for number in 0..files {
            opened.push(self.file(&folder.join(number.to_string()).to_string_lossy())?);
        }
        let part = opened.len().div_ceil(FILLERS).max(1);
        thread::scope(|scope| {
            let threads: Vec<_> = opened
                .chunks(part)
                .map(|part| scope.spawn(move || part.iter().try_for_each(|file| take(file, locks))))
                .collect();
            for thread in threads {
                thread.join().unwrap_or_else(|_| bail!("a thread panicked"))?;
            }
            Ok("ok".into())
        })
    }

    fn file(&mut self, path: &str) -> Result<Arc<File>> {
        let path = PathBuf::from(path);
        if let Some(file) = self.files.get(&path) {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(open(&path)?);
        self.files.insert(path, Arc::clone(&file));
        Ok(file)
    }
}

/// Every second byte, so that no two locks touch.
fn take(file: &File, locks: u32) -> Result<()> {
    for number in 0..locks {
        let wanted = lock(libc::F_WRLCK, &(u64::from(number) * 2).to_string(), "1")?;
        fcntl(file, FcntlArg::F_SETLK(&wanted)).with_context(|| format!("lock {number}"))?;
    }
    Ok(())
}

/// Whether the thread sleeps in fcntl; not if it has ended before.
fn sleeps(calls: &str, ended: &Receiver<()>) -> bool {
    let call = format!("{} ", libc::SYS_fcntl);
    while ended.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
        if fs::read_to_string(calls).is_ok_and(|text| text.starts_with(&call)) {
            return true;
        }
    }
    false
}

fn say(host: &Mutex<TcpStream>, answer: &str) -> Result<()> {
    write(&mut hold(host), answer)
}

fn hold(host: &Mutex<TcpStream>) -> MutexGuard<'_, TcpStream> {
    host.lock().unwrap_or_else(PoisonError::into_inner)
}

fn write(host: &mut TcpStream, answer: &str) -> Result<()> {
    host.write_all(format!("{answer}\n").as_bytes()).context("answer")
}

/// Opens a file for locks of both kinds; made if it is not there.
pub(crate) fn open(path: &Path) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .with_context(|| format!("open {}", path.display()))
}

fn kind(mode: &str) -> Result<libc::c_int> {
    match mode {
        "r" => Ok(libc::F_RDLCK),
        "w" => Ok(libc::F_WRLCK),
        other => bail!("not a mode: {other}"),
    }
}

fn lock(kind: libc::c_int, start: &str, length: &str) -> Result<libc::flock> {
    flock(kind, start.parse().context("start")?, length.parse().context("length")?)
}

/// What fcntl takes.
pub(crate) fn flock(kind: libc::c_int, start: i64, length: i64) -> Result<libc::flock> {
    Ok(libc::flock {
        l_type: kind.try_into().context("lock type")?,
        l_whence: 0,
        l_start: start,
        l_len: length,
        l_pid: 0,
    })
}

fn outcome(result: Result<libc::c_int, Errno>) -> String {
    match result {
        Ok(_) => "ok".into(),
        Err(error) => format!("{error:?}"),
    }
}

fn told(lock: &libc::flock) -> String {
    let mode = match libc::c_int::from(lock.l_type) {
        libc::F_UNLCK => return "free".into(),
        libc::F_RDLCK => "r",
        _ => "w",
    };
    format!("held {mode} {} {} {}", lock.l_start, lock.l_len, lock.l_pid)
}
