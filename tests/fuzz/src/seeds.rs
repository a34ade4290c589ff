//! Inputs to begin with: what the C daemon was seen to say and to be asked, what the kernel was seen to say, scripts that
//! lead a core through a life.

use dlm_recording::Recording;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The folder of the captures.
fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden")
}

/// What this target is given to begin with.
///
/// # Panics
/// Without the captures.
#[must_use]
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    match target {
        "wire" => samples().to_vec(),
        "core" => lives(),
        "request" => files(&golden().join("tool"), "request"),
        "config" => vec![
            include_bytes!("../../../contrib/examples/dlm.conf").to_vec(),
            b"enable_fencing=0\nnode 2 mark=7\nlockspace ls nodir=1\nmaster ls node=2 weight=3\n".to_vec(),
            b"device a:1 fence_a x=1\nconnect a:1 node=1 y=2\nunfence a:1\nfence_all fence_b\n".to_vec(),
        ],
        "uevent" => vec![
            b"online@/kernel/dlm/ls\0ACTION=online\0DEVPATH=/kernel/dlm/ls\0SUBSYSTEM=dlm\0LOCKSPACE=ls\0SEQNUM=7\0".to_vec(),
            b"offline@/kernel/dlm/ls\0ACTION=offline\0DEVPATH=/kernel/dlm/ls\0SUBSYSTEM=dlm\0RELEASE_RECOVER=1\0LOCKSPACE=ls\0SEQNUM=8\0".to_vec(),
            b"offline@/fs/gfs2/c:fs\0ACTION=offline\0DEVPATH=/fs/gfs2/c:fs\0SUBSYSTEM=gfs2\0LOCKTABLE=c:fs\0LOCKPROTO=lock_dlm\0SEQNUM=9\0".to_vec(),
        ],
        "plockdev" => records(),
        "recording" => recordings(),
        "kmsg" => vec![
            b"6,1234,5678901,-;dlm: fs: generation 3 slots 2 1:1 2:3\n".to_vec(),
            b"6,1,2,-;dlm: a\\x20b: generation 1 slots 1 1:7\n SUBSYSTEM=dlm\n".to_vec(),
        ],
        _ => Vec::new(),
    }
}

/// One captured message of each type and length.
///
/// # Panics
/// Without the captures.
#[must_use]
pub fn samples() -> &'static [Vec<u8>] {
    static SAMPLES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    SAMPLES.get_or_init(|| {
        let mut found: Vec<Vec<u8>> = Vec::new();
        for text in files(&golden().join("wire"), "txt") {
            for line in String::from_utf8_lossy(&text).lines() {
                let bytes = line.rsplit(' ').next().map(unhex).unwrap_or_default();
                let like = |other: &Vec<u8>| {
                    other.len() == bytes.len() && other.get(6..8) == bytes.get(6..8)
                };
                if bytes.len() >= 40 && !found.iter().any(like) {
                    found.push(bytes);
                }
            }
        }
        assert!(found.len() >= 10, "no captured messages");
        found
    })
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks_exact(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.map(byte).collect::<Option<_>>().unwrap_or_default()
}

/// All files below a folder whose names end so, in the order of their names.
fn files(folder: &Path, ending: &str) -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("a folder of the captures")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    paths.sort();
    let mut found = Vec::new();
    for path in paths {
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.extension().is_some_and(|extension| extension == ending) {
            found.push(std::fs::read(&path).expect("a capture"));
        }
    }
    found
}

/// Records of the plock device: what the captured PLOCK messages carry, in the kernel's layout.
fn records() -> Vec<Vec<u8>> {
    let plock =
        samples().iter().filter_map(|bytes| match controld::wire::decode(bytes).ok()?.message {
            dlm_core::message::Message::Plock(info) => Some(info),
            _ => None,
        });
    plock.map(|info| controld::kernel::plockdev::encode(&info).to_vec()).collect()
}

/// What the flight recorder keeps of the scripts for `core`: files, and of each its segments.
fn recordings() -> Vec<Vec<u8>> {
    let files: Vec<Vec<u8>> = lives().iter().map(|script| crate::recording_of(script)).collect();
    let mut found = Vec::new();
    for file in &files {
        let segments = Recording::read(file).map(|recording| recording.segments);
        found.extend(segments.unwrap_or_default().iter().map(|segment| segment.body().to_vec()));
    }
    found.extend(files);
    found
}

/// Instructions of `core_script` that lead a core from its start into a lockspace with others, through a failure, and out.
fn lives() -> Vec<Vec<u8>> {
    // A ring of nodes 1 to 3, quorate; all addresses known.
    let ring = |members: u8, seq: u8| vec![1, 0, 0, members, 0, seq, 0, 0];
    let rings = |seq: u8| [vec![4, seq, 0, 0], vec![4, seq, 0, 1]].concat();
    let daemons = |members, joined, left, how| vec![2, 0, members, joined, left, how];
    let group = |members, joined, left, how| vec![2, 1, members, joined, left, how];
    let say = |which| vec![8, which, 14, 21];
    let begin = [
        ring(7, 8),
        daemons(7, 1, 0, 0),
        rings(8),
        vec![21],
        say(0),
        say(0),
        vec![15, 0],
        group(7, 1, 0, 0),
        rings(8),
        vec![21],
        say(1),
        say(2),
        say(3),
    ]
    .concat();
    let failure = [
        ring(3, 12),
        daemons(3, 0, 4, 2),
        group(3, 0, 4, 2),
        rings(12),
        vec![21, 0, 255, 14, 0, 21],
        say(1),
        say(2),
        say(3),
    ]
    .concat();
    let locks = vec![17, 1, 3, 0, 0, 9, 1, 1, 21, 17, 2, 1, 0, 0, 255, 1, 1, 21, 19, 0, 0, 21];
    let leave = [vec![16, 0, 0], group(6, 0, 1, 0), vec![21]].concat();
    let lives = [
        begin.clone(),
        [begin.clone(), locks.clone()].concat(),
        [begin.clone(), failure.clone()].concat(),
        [begin, locks, failure, leave].concat(),
    ];
    let with = |options: u8| lives.clone().map(|life| [vec![options], life].concat());
    [0, 1, 3, 9].into_iter().flat_map(with).collect()
}
