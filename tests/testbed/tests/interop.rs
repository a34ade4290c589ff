//! Debian's `dlm_tool` and C library 4.2.0, and ours in every combination, against live daemons of ours: what they print
//! and how they exit is the same to the byte, but for the time of asking. Needs root, a C compiler, the programs beside this
//! one, and Debian's packages unpacked where `DLM_DEBIAN` says: `tests/check/tiers/interop` sees to all of it.

mod daemons;

use daemons::{join, programs, start, wait_for_members};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use testbed::lab::{Lab, Said};
use testbed::live::Options;

/// Queries of `dlm_tool`, every one that goes to the daemon; those at the end have answers that grow.
const QUERIES: [&[&str]; 18] = [
    &["ls"],
    &["ls", "-n"],
    &["ls", "fs"],
    &["-n", "ls", "fs"],
    &["ls", "nosuch"],
    &["ls", "a-name-of-more-than-the-sixty-four-bytes-that-a-lockspace-can-have-in-all"],
    &["status"],
    &["status", "-v"],
    &["dump_config"],
    &["plocks", "fs"],
    &["plocks", "t1"],
    &["plocks", "nosuch"],
    &["log_plock"],
    &["run_list"],
    &["run_check", "no-such-uuid"],
    &["run_cancel", "no-such-uuid"],
    &["deadlock_check", "fs"],
    &["dump"],
];

/// Calls of the library that `dlm_tool` does not make, or of which it does not show all.
const CALLS: [&[&str]; 15] = [
    &["lockspaces"],
    &["lockspace_info", "fs"],
    &["lockspace_info", "nosuch"],
    &["node_info", "fs", "3"],
    &["node_info", "fs", "9"],
    &["node_info", "nosuch", "1"],
    &["lockspace_nodes", "fs", "1", "128"],
    &["lockspace_nodes", "fs", "2", "128"],
    &["lockspace_nodes", "fs", "3", "128"],
    &["lockspace_nodes", "fs", "1", "1"],
    &["lockspace_nodes", "nosuch", "1", "128"],
    &["dump_plocks", "fs"],
    &["dump_config"],
    &["dump_run"],
    &["fs", "fs"],
];

/// A program with the libraries that it finds.
struct Pairing {
    what: &'static str,
    program: PathBuf,
    libraries: Vec<PathBuf>,
}

impl Pairing {
    fn run(&self, lab: &Lab, node: u32, arguments: &[&str]) -> Said {
        let libraries: Vec<&Path> = self.libraries.iter().map(PathBuf::as_path).collect();
        lab.program(node, &libraries, &self.program, arguments).unwrap()
    }
}

/// Debian's packages, ours, and a program in C.
struct Programs {
    tools: [Pairing; 3],
    calls: [Pairing; 2],
}

impl Programs {
    fn find() -> Self {
        let debian: PathBuf = std::env::var_os("DLM_DEBIAN").expect("DLM_DEBIAN is not set").into();
        let built: PathBuf = std::env::current_exe().unwrap();
        let built = built.parent().and_then(Path::parent).unwrap();
        let theirs = debian.join("usr/lib/x86_64-linux-gnu");
        let ours = Path::new(env!("CARGO_TARGET_TMPDIR")).join("interop");
        let _ = std::fs::remove_dir_all(&ours);
        std::fs::create_dir_all(&ours).unwrap();
        for name in ["libdlmcontrol.so.3", "libdlmcontrol.so"] {
            symlink(built.join("libdlmcontrol_c.so"), ours.join(name)).unwrap();
        }
        let calls = compile(&ours);
        let tool = debian.join("usr/sbin/dlm_tool");
        let of = |what, program: &Path, libraries: &[&Path]| Pairing {
            what,
            program: program.to_owned(),
            libraries: libraries.iter().map(|path| (*path).to_owned()).collect(),
        };
        // The tool also wants libdlm, which is Debian's in any case.
        Self {
            tools: [
                of("dlm_tool and library of Debian", &tool, &[&theirs]),
                of("dlm_tool of Debian, library of ours", &tool, &[&ours, &theirs]),
                of("dlm_tool of ours", &built.join("dlm_tool"), &[]),
            ],
            calls: [
                of("library of Debian", &calls, &[&theirs]),
                of("library of ours", &calls, &[&ours]),
            ],
        }
    }

    /// All say the same, in the state in which the daemon of this node is.
    fn agree(&self, lab: &Lab, node: u32, state: &str) {
        for (group, questions) in [(&self.tools[..], &QUERIES[..]), (&self.calls, &CALLS)] {
            for arguments in questions {
                let told: Vec<Said> =
                    group.iter().map(|pairing| pairing.run(lab, node, arguments)).collect();
                for (pairing, said) in group.iter().zip(&told).skip(1) {
                    let (one, other) = (comparable(&told[0]), comparable(said));
                    let grows = arguments == &["dump"] && other.out.starts_with(one.out.trim_end());
                    assert!(
                        one == other
                            || grows && (one.status, &one.err) == (other.status, &other.err),
                        "{state}, {arguments:?}\n{}:\n{one:?}\n{}:\n{other:?}",
                        group[0].what,
                        pairing.what
                    );
                }
            }
        }
    }
}

/// `calls.c`, which prints all that a caller of the library sees.
fn compile(directory: &Path) -> PathBuf {
    let capi = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../libdlmcontrol/capi");
    let program = directory.join("calls");
    let compiler = Command::new("cc")
        .arg("-I")
        .arg(capi.join("include"))
        .arg(capi.join("tests/calls.c"))
        .arg("-o")
        .arg(&program)
        .arg("-L")
        .arg(directory)
        .arg("-ldlmcontrol")
        .output()
        .unwrap();
    assert!(compiler.status.success(), "{}", String::from_utf8_lossy(&compiler.stderr));
    program
}

/// Without the time of asking.
fn comparable(said: &Said) -> Said {
    let mut out = said.out.clone();
    for mark in [" now ", "monotime="] {
        let mut parts = out.split(mark);
        let first = parts.next().unwrap_or_default().to_owned();
        out = parts.fold(first, |text, part| {
            text + mark + "T" + part.trim_start_matches(|sign: char| sign.is_ascii_digit())
        });
    }
    Said { out, ..said.clone() }
}

fn uuid(said: &Said) -> String {
    assert_eq!((said.status, said.err.as_str()), (Some(0), ""), "{said:?}");
    said.out.trim().strip_prefix("run_uuid: ").unwrap().to_owned()
}

#[test]
fn c_and_rust_say_the_same_in_every_state_of_the_cluster() {
    let programs_of_both = Programs::find();
    let version = programs_of_both.tools[0].program.as_path();
    assert!(version.exists(), "no {}", version.display());
    let options = Options { nodes: 3, seed: 1, token: Duration::from_millis(300) };
    let settings = "post_join_delay=5\nrepeat_failed_fencing=0\nlog_debug=1\n";
    let mut lab = Lab::new(programs(), options, settings).unwrap();
    start(&mut lab, 3);
    programs_of_both.agree(&lab, 1, "no lockspaces");
    join(&mut lab, 3, "fs");
    join(&mut lab, 3, "t1");
    lab.command("plock 3 fs lock 79937 0 9 write 31").unwrap();
    lab.command("plock 2 fs lock 79937 5 14 read 21").unwrap();
    let waits = |text: &str| text.contains("WAITING");
    lab.wait_for_tool(1, &["plocks", "fs"], "locks", waits).unwrap();
    programs_of_both.agree(&lab, 1, "locks are held");
    commands(&mut lab, &programs_of_both);

    lab.command("fence 3 fails").unwrap();
    lab.kill_daemon(3).unwrap();
    for node in [1, 2] {
        let exhausted = |text: &str| text.contains("then: dlm_tool fence_ack 3");
        lab.wait_for_tool(node, &["dump"], "request to an operator", exhausted).unwrap();
        programs_of_both.agree(&lab, node, "fencing is waited for");
    }
    // The C tool acknowledges through our library, and says nothing, as ever.
    let said = programs_of_both.tools[1].run(&lab, 2, &["fence_ack", "3"]);
    assert_eq!((said.status, said.out.as_str(), said.err.as_str()), (Some(0), "", ""));
    for node in [1, 2] {
        wait_for_members(&mut lab, node, "1 2 ");
        programs_of_both.agree(&lab, node, "recovered");
    }
    for node in [1, 2] {
        for lockspace in ["fs", "t1"] {
            lab.command(&format!("leave {node} {lockspace}")).unwrap();
        }
    }
    for node in [1, 2] {
        let gone = |text: &str| !text.contains("name ");
        lab.wait_for_tool(node, &["ls"], "end of the lockspaces", gone).unwrap();
        assert_eq!(lab.terminate(node).unwrap(), Some(0));
        programs_of_both.agree(&lab, node, "no daemon");
    }
    lab.discard();
}

/// Commands that change something, each pairing's in turn.
fn commands(lab: &mut Lab, of_both: &Programs) {
    for node in 1..=3 {
        lab.script(node, "lvm", "exit 0").unwrap();
    }
    for (number, pairing) in (1..).zip(&of_both.tools) {
        let delay = format!("post_join_delay={}", 40 + number);
        let said = pairing.run(lab, 1, &["set_config", &delay]);
        assert_eq!((said.status, said.out.as_str()), (Some(0), "set_config done\n"), "{said:?}");
        let set = |text: &str| text.contains(&format!("{delay} (set_config)\n"));
        lab.wait_for_tool(1, &["dump_config"], "new value", set).unwrap();
        let said = pairing.run(lab, 1, &["set_config", "restore_all"]);
        assert_eq!(said.out, "set_config done\n");
        let restored = |text: &str| text.contains("post_join_delay=5 (dlm.conf)\n");
        lab.wait_for_tool(1, &["dump_config"], "old value", restored).unwrap();
        let said = pairing.run(lab, 1, &["reload_config"]);
        assert_eq!((said.status, said.out.as_str()), (Some(0), "reload_config done\n"), "{said:?}");

        let uuid = uuid(&pairing.run(lab, 1, &["run_start", "lvm", "lvs"]));
        let done = |text: &str| {
            text.contains(&format!("{uuid} start_nodeid 1")) && text.contains("need_replies 0")
        };
        lab.wait_for_tool(1, &["run_list"], "end of the command", done).unwrap();
        of_both.agree(lab, 1, "a command was run");
        let said = pairing.run(lab, 1, &["run_check", &uuid]);
        assert_eq!(
            (said.status, said.out.as_str()),
            (Some(0), "check_status: done \n"),
            "{said:?}"
        );
    }
}
