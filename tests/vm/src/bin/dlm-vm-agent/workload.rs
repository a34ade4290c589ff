//! Workloads on a shared file system. Each tells the host `NAME` once, then a number for each operation
//! that is complete, never before it is. When the host is gone or a write fails, the workload ends.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use anyhow::{Context, Result};
use dlm_vm::protocol::{HOST, LEDGER_PORT};
use dlm_vm::record;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

/// The host's side of the acknowledgements.
struct Ledger(TcpStream);

impl Ledger {
    fn open(name: &str) -> Result<Self> {
        let mut stream =
            TcpStream::connect((HOST, LEDGER_PORT)).context("reach the host's ledger")?;
        stream.set_nodelay(true).context("set nodelay")?;
        writeln!(stream, "{name}").context("name the workload")?;
        Ok(Self(stream))
    }

    fn done(&mut self, number: u64) -> Result<()> {
        self.0.write_all(format!("{number}\n").as_bytes()).context("acknowledge")
    }
}

/// Appends records for ever; each is synced before it is acknowledged.
pub(crate) fn write(name: &str, path: &Path) -> Result<()> {
    let mut ledger = Ledger::open(name)?;
    let mut file = File::create(path).with_context(|| format!("create {}", path.display()))?;
    // The name itself must be durable before the first record is acknowledged.
    if let Some(folder) = path.parent() {
        sync_folder(folder)?;
    }
    for number in 1.. {
        file.write_all(&record::encode(number)).with_context(|| format!("record {number}"))?;
        file.sync_data().with_context(|| format!("sync record {number}"))?;
        ledger.done(number)?;
    }
    Ok(())
}

/// Makes, syncs and removes files for ever: each needs locks that no node holds yet.
pub(crate) fn churn(name: &str, folder: &Path) -> Result<()> {
    let mut ledger = Ledger::open(name)?;
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    for number in 1_u64.. {
        let path = folder.join(format!("{name}.{}", number % 64));
        let mut file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
        file.write_all(&record::encode(number))
            .and_then(|()| file.sync_all())
            .with_context(|| format!("write {}", path.display()))?;
        drop(file);
        fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
        ledger.done(number)?;
    }
    Ok(())
}

/// Takes and gives back a POSIX lock on the first byte of a file for ever.
pub(crate) fn lock(name: &str, path: &Path) -> Result<()> {
    let mut ledger = Ledger::open(name)?;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .with_context(|| format!("open {}", path.display()))?;
    let whole = |kind: libc::c_int| -> Result<libc::flock> {
        Ok(libc::flock {
            l_type: kind.try_into().context("lock type")?,
            l_whence: 0,
            l_start: 0,
            l_len: 1,
            l_pid: 0,
        })
    };
    let (take, give) = (whole(libc::F_WRLCK)?, whole(libc::F_UNLCK)?);
    for number in 1.. {
        fcntl(&file, FcntlArg::F_SETLKW(&take)).with_context(|| format!("lock {number}"))?;
        fcntl(&file, FcntlArg::F_SETLK(&give)).with_context(|| format!("unlock {number}"))?;
        ledger.done(number)?;
    }
    Ok(())
}

/// Prints how many whole records the file begins with.
pub(crate) fn verify(path: &Path) -> Result<()> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|mut file| file.read_to_end(&mut bytes))
        .with_context(|| format!("read {}", path.display()))?;
    println!("{}", record::whole_records(&bytes));
    Ok(())
}

fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .with_context(|| format!("sync {}", folder.display()))
}
