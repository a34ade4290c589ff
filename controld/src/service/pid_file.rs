//! The lock and pid file: one daemon a node, and its process id for scripts.

use super::error::{PidFileStep, ServiceError};
use nix::fcntl::{FcntlArg, fcntl};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Mode of the file.
const FILE_MODE: u32 = 0o644;

/// Mode of directories that are made for it, before the umask.
const DIRECTORY_MODE: u32 = 0o775;

/// How often a file that vanished while we locked it is tried again; once is the rule, at the end of another daemon.
const TRIES: usize = 5;

/// The file, locked. Dropping it removes the file.
///
/// The lock is one of `fcntl`, as the C daemon's: it belongs to the process, and closing *any* descriptor of the same
/// file drops it. So nothing else in the daemon opens this file.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    /// Open as long as the daemon lives.
    file: File,
}

impl PidFile {
    /// Makes, locks and fills the file.
    ///
    /// # Errors
    /// Another daemon holds the lock, or the file cannot be used.
    pub fn take(path: &Path) -> Result<Self, ServiceError> {
        if let Some(directory) = path.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(DIRECTORY_MODE)
                .create(directory)
                .map_err(|source| ServiceError::Directory { path: directory.to_owned(), source })?;
        }
        for _ in 0..TRIES {
            let mut file = locked(path)?;
            // A daemon at its end removes the file before its lock goes: we may hold a lock of a file without a name,
            // and a third daemon could lock the next one.
            if !is_named(&file, path) {
                continue;
            }
            let failed =
                |step| move |source| ServiceError::PidFile { step, path: path.to_owned(), source };
            file.set_len(0).map_err(failed(PidFileStep::Truncate))?;
            file.write_all(format!("{}\n", std::process::id()).as_bytes())
                .map_err(failed(PidFileStep::Write))?;
            return Ok(Self { path: path.to_owned(), file });
        }
        Err(ServiceError::PidFileUnsteady { path: path.to_owned() })
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // Somebody may have removed ours, and another daemon may have made its own.
        if is_named(&self.file, &self.path) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn locked(path: &Path) -> Result<File, ServiceError> {
    let failed = |step| {
        move |source: io::Error| ServiceError::PidFile { step, path: path.to_owned(), source }
    };
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(FILE_MODE)
        .open(path)
        .map_err(failed(PidFileStep::Open))?;
    fcntl(&file, FcntlArg::F_SETLK(&whole_file_write_lock()))
        .map_err(|errno| failed(PidFileStep::SetLock)(errno.into()))?;
    Ok(file)
}

#[expect(clippy::as_conversions, reason = "small constants of fcntl.h, in the types of its struct")]
const fn whole_file_write_lock() -> libc::flock {
    libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

fn is_named(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(ours), Ok(named)) => ours.dev() == named.dev() && ours.ino() == named.ino(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("dlm-pid-{}-{name}", std::process::id()))
    }

    #[test]
    fn file_holds_the_process_id_and_goes_with_the_daemon() {
        let directory = place("plain");
        let path = directory.join("run/dlm.pid");
        let file = PidFile::take(&path).unwrap();
        let pid = std::process::id();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{pid}\n"));
        drop(file);
        assert!(!path.exists());
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn longer_content_of_a_dead_daemon_is_replaced() {
        let directory = place("stale");
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join("dlm.pid");
        fs::write(&path, "123456789 and more\n").unwrap();
        let _file = PidFile::take(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn file_of_another_daemon_is_not_removed() {
        let directory = place("replaced");
        let path = directory.join("dlm.pid");
        let file = PidFile::take(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "other\n").unwrap();
        drop(file);
        assert_eq!(fs::read_to_string(&path).unwrap(), "other\n");
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn errors_read_as_those_of_the_c_daemon() {
        let directory = place("broken");
        fs::create_dir_all(directory.join("dlm.pid")).unwrap();
        let path = directory.join("dlm.pid");
        let error = PidFile::take(&path).unwrap_err().to_string();
        assert_eq!(error, format!("lockfile open error {}: Is a directory", path.display()));
        fs::remove_dir_all(directory).unwrap();
    }
}
