//! `dlm_stonith` as a process, with a library in place of pacemaker's and without any.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Builds the library that stands in for pacemaker's, and returns its directory.
fn library(test: &str) -> PathBuf {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(test);
    std::fs::create_dir_all(&directory).unwrap();
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fake/libstonithd.rs");
    let built = Command::new("rustc")
        .args(["--edition", "2024", "--crate-type", "cdylib", source, "-o"])
        .arg(directory.join("libstonithd.so.26"))
        .status()
        .unwrap();
    assert!(built.success());
    directory
}

/// Runs it; returns the exit code and stderr, without the path of the program in it.
fn run(library: &PathBuf, arguments: &[&str], input: &str) -> (i32, String) {
    let program = env!("CARGO_BIN_EXE_dlm_stonith");
    let mut child = Command::new(program)
        .args(arguments)
        .env("LD_LIBRARY_PATH", library)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // With arguments it ends without reading its input.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), text.replace(program, "dlm_stonith"))
}

#[test]
fn fences_through_the_library() {
    let library = library("fences");
    let done = |node: u32| (0, format!("fake: reboot {node}\n"));
    assert_eq!(run(&library, &[], "node=3\nfail_time=1000\n"), (0, String::new()));
    assert_eq!(run(&library, &[], "node=3\nfail_time=1001\n"), done(3));
    assert_eq!(run(&library, &["-n", "3", "-t", "900"], ""), (0, String::new()));
    assert_eq!(run(&library, &["-n3"], "node=4\n"), done(3));
    let failed = "fake: reboot 19\nkick_helper error -19 nodeid 19\n".to_owned();
    assert_eq!(run(&library, &["-n", "19", "-t", "5"], ""), (237, failed));
    let invalid = "dlm_stonith: invalid option -- 'x'\nno node\n".to_owned();
    assert_eq!(run(&library, &["-x"], ""), (255, invalid));
}

#[test]
fn says_so_where_there_is_no_node() {
    let nothing = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    assert_eq!(run(&nothing, &[], "fail_time=5\n"), (255, "no node\n".to_owned()));
}

/// Files of these names that are no libraries hide those of this machine.
#[test]
fn a_missing_library_is_a_failure() {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("missing");
    std::fs::create_dir_all(&directory).unwrap();
    for soname in ["libstonithd.so.26", "libstonithd.so.56"] {
        std::fs::write(directory.join(soname), "").unwrap();
    }
    let failed = "kick_helper error -79 nodeid 3\n".to_owned();
    assert_eq!(run(&directory, &["-n", "3", "-t", "5"], ""), (177, failed));
}
