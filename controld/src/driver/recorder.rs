//! The flight recorder of this daemon (`dlm_recording`): what the core is told, and a digest of what it does. Given to
//! whoever may ask for it, and written beside the log when the daemon ends otherwise than in order.

use super::clock;
use dlm_core::Core;
use dlm_core::effect::Effect;
use dlm_core::event::Event;
use dlm_core::types::Now;
use dlm_recording::{Capacity, Digest, Reason, Recorder};
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::Duration;

/// Where a daemon that ends leaves its recording; that of the one before is `.old`.
const RECORDING_FILE: &str = "/var/log/dlm_controld/dlm_controld.rec";

/// As the log's.
const DIRECTORY_MODE: u32 = 0o700;
/// There are locks of other people's files in it.
const FILE_MODE: u32 = 0o600;

/// How long the end waits for the recording: a hung disk must not keep a node alive that has to go.
const WRITE_PATIENCE: Duration = Duration::from_secs(2);

/// Stack of the thread that writes.
const STACK_BYTES: usize = 64 * 1024;

/// The recorder, shared with the hook that a panic runs. Without one if it is switched off.
#[derive(Clone, Debug, Default)]
pub struct FlightRecorder(Option<Arc<Shared>>);

/// A step takes the lock once, when it begins.
#[derive(Debug)]
struct Shared {
    recorder: Mutex<Recorder>,
    /// What came of the last step, until the recorder has it: with the next one, or when it is saved. Only the loop writes it.
    digest: (AtomicU32, AtomicU32),
    /// There is one: the step that has begun last is at its end.
    ended: AtomicBool,
}

impl FlightRecorder {
    /// One with so many KiB of memory; 0: none.
    #[must_use]
    pub fn new(kib: u32) -> Self {
        Self((kib > 0).then(|| {
            Arc::new(Shared {
                recorder: Mutex::new(Recorder::new(Capacity::kib(kib))),
                digest: Default::default(),
                ended: AtomicBool::new(false),
            })
        }))
    }

    /// The core is about to be given an event.
    pub(super) fn begin(&self, now: Now, event: &Event, core: &Core) {
        if let Some(mut recorder) = self.lock() {
            recorder.begin(now, event, core);
        }
    }

    /// What came of it.
    pub(super) fn end(&self, effects: &[Effect]) {
        if let Some(shared) = &self.0 {
            let Digest { decisions, locks } = Digest::of(effects);
            shared.digest.0.store(decisions, Ordering::Relaxed);
            shared.digest.1.store(locks, Ordering::Relaxed);
            // Whoever sees this sees both.
            shared.ended.store(true, Ordering::Release);
        }
    }

    /// What has been recorded, as a file; `None`: it is switched off.
    pub(super) fn saved(&self) -> Option<Vec<u8>> {
        self.lock().map(|recorder| recorder.save(clock::now(), Reason::Asked))
    }

    /// Write the recording of a daemon that ends, on a thread of its own.
    #[must_use]
    pub fn leave_behind(&self, why: String) -> Writing {
        let (told, result) = channel();
        if let Some(recording) =
            self.lock().map(|recorder| recorder.save(clock::now(), Reason::Ended(why)))
        {
            // Without a thread there is no recording, and nothing is told: so it is with a daemon that records nothing.
            let _ = thread::Builder::new()
                .name("dlm_record".to_owned())
                .stack_size(STACK_BYTES)
                .spawn(move || told.send(write(Path::new(RECORDING_FILE), &recording)));
        }
        Writing(result)
    }

    /// Have a panic write the recording before it ends the process. Whoever panics in the recorder itself leaves none.
    pub fn write_in_panics(&self) {
        self.write_in_panics_to(Path::new(RECORDING_FILE));
    }

    fn write_in_panics_to(&self, path: &Path) {
        let Some(shared) = self.0.clone() else { return };
        let path = path.to_owned();
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            usual(panic);
            let recorder = match shared.recorder.try_lock() {
                Ok(recorder) => recorder,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => return,
            };
            let recorder = shared.complete(recorder);
            let recording = recorder.save(clock::now(), Reason::Panicked(panic.to_string()));
            if let Err(error) = write(&path, &recording) {
                eprintln!("cannot write {}: {error}", path.display());
            }
        }));
    }

    /// The recorder, with all that it has to be told.
    fn lock(&self) -> Option<MutexGuard<'_, Recorder>> {
        let shared = self.0.as_ref()?;
        Some(shared.complete(shared.recorder.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl Shared {
    fn complete<'a>(&self, mut recorder: MutexGuard<'a, Recorder>) -> MutexGuard<'a, Recorder> {
        if self.ended.load(Ordering::Acquire) {
            self.ended.store(false, Ordering::Relaxed);
            let (decisions, locks) = &self.digest;
            let (decisions, locks) =
                (decisions.load(Ordering::Relaxed), locks.load(Ordering::Relaxed));
            recorder.end(Digest { decisions, locks });
        }
        recorder
    }
}

/// A recording that is being written.
#[derive(Debug)]
pub struct Writing(Receiver<io::Result<()>>);

impl Writing {
    /// Wait for its end, but not long. What there is to say about it.
    #[must_use]
    pub fn wait(self) -> Option<String> {
        match self.0.recv_timeout(WRITE_PATIENCE) {
            Ok(Ok(())) => Some(format!("what happened is recorded in {RECORDING_FILE}")),
            Ok(Err(error)) => Some(format!("cannot write {RECORDING_FILE}: {error}")),
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                Some(format!("cannot write {RECORDING_FILE} in time"))
            }
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => None,
        }
    }
}

/// Under another name first, so that what has the name is whole.
fn write(path: &Path, recording: &[u8]) -> io::Result<()> {
    let named = |suffix: &str| -> PathBuf {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        name.into()
    };
    if let Some(directory) = path.parent() {
        DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(directory)?;
    }
    let new = named(".new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&new)?;
    file.write_all(recording)?;
    file.sync_all()?;
    match fs::rename(path, named(".old")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dlm_recording::Recording;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_panic_leaves_the_recording() {
        let folder = std::env::temp_dir().join(format!("dlm-panic-{}", std::process::id()));
        let path = folder.join("panic.rec");
        FlightRecorder::new(64).write_in_panics_to(&path);
        let panicked = thread::spawn(|| panic!("on purpose")).join();
        drop(std::panic::take_hook());
        assert!(panicked.is_err());
        let file = fs::read(&path).expect("a recording");
        let reason = Recording::read(&file).expect("a recording").head.reason;
        assert!(
            matches!(&reason, Reason::Panicked(why) if why.contains("on purpose")),
            "{reason:?}"
        );
        fs::remove_dir_all(folder).expect("it is ours");
    }

    #[test]
    fn the_last_two_recordings_are_kept_for_root_alone() {
        let folder = std::env::temp_dir().join(format!("dlm-recording-{}", std::process::id()));
        let path = folder.join("kept.rec");
        for text in ["first", "second", "third"] {
            write(&path, text.as_bytes()).expect("room");
        }
        let mut files: Vec<(String, String, u32)> = fs::read_dir(&folder)
            .expect("the folder")
            .map(|entry| {
                let entry = entry.expect("an entry");
                let mode = entry.metadata().expect("a file").permissions().mode() & 0o777;
                let text = fs::read_to_string(entry.path()).expect("text");
                (entry.file_name().to_string_lossy().into_owned(), text, mode)
            })
            .collect();
        files.sort();
        let file = |name: &str, text: &str| (name.to_owned(), text.to_owned(), FILE_MODE);
        assert_eq!(files, [file("kept.rec", "third"), file("kept.rec.old", "second")]);
        fs::remove_dir_all(folder).expect("it is ours");
    }
}
