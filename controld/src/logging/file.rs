//! The log file (spec/logging-and-files.md section 2): appended to, opened anew when its name leads to another file.

use super::clock::LocalTime;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Mode of directories that are made for it.
const DIRECTORY_MODE: u32 = 0o700;

/// Mode of the file.
const FILE_MODE: u32 = 0o600;

/// The file as it is open now. A file that cannot be opened is tried again with later lines, silently, as there would
/// be no place to say so.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    open: Option<(File, Identity)>,
}

/// Which file it is, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

impl From<Metadata> for Identity {
    fn from(metadata: Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

impl LogFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, open: None }
    }

    /// Appends a line that was said at `said`, local time in front, with one write. Errors cost this line.
    pub(super) fn write(&mut self, said: SystemTime, line: &[u8]) {
        self.look();
        let Some((file, _)) = &mut self.open else { return };
        let time = LocalTime::of(said).map(|time| format!("{time} ")).unwrap_or_default();
        let _ = file.write_all(&[time.as_bytes(), line].concat());
    }

    /// Opens the file if its name leads to another one than before. The old one stays where that fails. Done for every
    /// line: looking costs less than writing, and no line after a rotation lands in the old file.
    fn look(&mut self) {
        let named = fs::metadata(&self.path).ok().map(Identity::from);
        if self.open.as_ref().is_some_and(|(_, identity)| named == Some(*identity)) {
            return;
        }
        if let Ok(opened) = open(&self.path) {
            self.open = Some(opened);
        }
    }
}

fn open(path: &Path) -> io::Result<(File, Identity)> {
    if let Some(directory) = path.parent() {
        DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(directory)?;
    }
    let file = OpenOptions::new().append(true).create(true).mode(FILE_MODE).open(path)?;
    let identity = Identity::from(file.metadata()?);
    Ok((file, identity))
}
