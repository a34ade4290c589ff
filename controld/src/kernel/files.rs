//! The calls that configfs needs. A trait, because only configfs itself makes attribute files with a directory and removes
//! them with it: tests bring a tree that behaves so.

use crate::kernel::error::{KernelError, Operation};
use nix::sys::statfs::{FsType, statfs};
use std::ffi::OsString;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

/// Directories and attributes.
pub trait Files {
    /// Make a directory.
    ///
    /// # Errors
    /// The path and errno, `EEXIST` included.
    fn mkdir(&self, path: &Path) -> Result<(), KernelError>;

    /// Remove a directory.
    ///
    /// # Errors
    /// The path and errno, `ENOENT` included.
    fn rmdir(&self, path: &Path) -> Result<(), KernelError>;

    /// Names of the directories in a directory, sorted; none where it is absent.
    ///
    /// # Errors
    /// The path and errno.
    fn directories(&self, path: &Path) -> Result<Vec<OsString>, KernelError>;

    /// Write an existing attribute in one call. `shown` is the value for people.
    ///
    /// # Errors
    /// The path, the value and errno.
    fn write(&self, path: &Path, bytes: &[u8], shown: &str) -> Result<(), KernelError>;

    /// configfs is mounted there. Its directory alone says nothing: the kernel makes that with the module.
    fn is_configfs(&self, path: &Path) -> bool;
}

/// `CONFIGFS_MAGIC` of the kernel's fs/configfs/mount.c.
const CONFIGFS_MAGIC: FsType = FsType(0x6265_6570);

/// The system's own calls.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsFiles;

impl Files for OsFiles {
    fn mkdir(&self, path: &Path) -> Result<(), KernelError> {
        fs::create_dir(path).map_err(KernelError::path(Operation::Mkdir, path))
    }

    fn rmdir(&self, path: &Path) -> Result<(), KernelError> {
        fs::remove_dir(path).map_err(KernelError::path(Operation::Rmdir, path))
    }

    fn directories(&self, path: &Path) -> Result<Vec<OsString>, KernelError> {
        list(path, |kind| kind.is_dir())
    }

    fn write(&self, path: &Path, bytes: &[u8], shown: &str) -> Result<(), KernelError> {
        let written = fs::OpenOptions::new()
            .write(true)
            .open(path)
            .and_then(|mut file| write_once(&mut file, bytes));
        written.map_err(|source| KernelError::Write {
            value: shown.to_owned(),
            path: path.to_owned(),
            source,
        })
    }

    fn is_configfs(&self, path: &Path) -> bool {
        statfs(path).is_ok_and(|found| found.filesystem_type() == CONFIGFS_MAGIC)
    }
}

/// An attribute takes its value in one write or not at all: a rest written afterwards would be a value of its own.
fn write_once(file: &mut fs::File, bytes: &[u8]) -> io::Result<()> {
    loop {
        match file.write(bytes) {
            Ok(length) if length == bytes.len() => return Ok(()),
            Ok(_) => return Err(io::ErrorKind::WriteZero.into()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Names in a directory whose file type passes, sorted; none where it is absent.
pub(crate) fn list(
    path: &Path,
    wanted: impl Fn(fs::FileType) -> bool,
) -> Result<Vec<OsString>, KernelError> {
    let mut names = Vec::new();
    match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(KernelError::path(Operation::List, path)(error)),
        Ok(entries) => {
            for entry in entries {
                let entry = entry.map_err(KernelError::path(Operation::List, path))?;
                if entry.file_type().is_ok_and(&wanted) {
                    names.push(entry.file_name());
                }
            }
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_configfs_is_not_taken_for_it() {
        for path in ["/proc", "/no such directory"] {
            assert!(!OsFiles.is_configfs(Path::new(path)), "{path}");
        }
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let mounted = mounts.lines().filter_map(|line| {
            let mut words = line.split(' ').skip(1);
            words.next().filter(|_| words.next() == Some("configfs"))
        });
        for path in mounted {
            assert!(OsFiles.is_configfs(Path::new(path)), "{path}");
        }
    }
}
