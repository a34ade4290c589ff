//! Runs a script.
//!
//! A script begins with comments (`#`) and options (see `setup`), then has blocks, parted by empty lines. A block is a
//! few event lines (see `event`), `----`, and what they caused: a line an effect (see `text`), debug lines left out, and
//! the answers to `state`. Other comments stand before event lines. A block without `----` is preparation and shows nothing.

mod args;
mod event;
mod parse;
mod plock;
mod run;
pub(crate) mod setup;
mod text;

use dlm_core::snapshot::Snapshot;
pub(crate) use event::Run;
use expect_test::expect_file;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Between events and what they caused.
const SEPARATOR: &str = "----";

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests").join("scripts")
}

/// Names of all scripts.
pub(crate) fn all() -> BTreeSet<String> {
    let names = std::fs::read_dir(folder()).expect("folder of the scripts").map(|entry| {
        let name = entry.expect("entry of the folder").file_name();
        name.into_string().expect("name of a script")
    });
    names.filter_map(|name| name.strip_suffix(".txt").map(ToString::to_string)).collect()
}

/// Run a script and compare.
pub(crate) fn check(name: &str) {
    let path = folder().join(format!("{name}.txt"));
    let script = std::fs::read_to_string(&path).expect("script");
    expect_file![path].assert_eq(&render(&script));
}

/// The script with what its events really cause.
fn render(script: &str) -> String {
    let mut blocks = script.split("\n\n").map(str::trim_end);
    let head = blocks.next().expect("options of a script");
    let mut run = Run::new(setup::parse(head));
    let mut rendered = vec![head.to_string()];
    for block in blocks.filter(|block| !block.is_empty()) {
        rendered.push(render_block(&mut run, block));
    }
    rendered.join("\n\n") + "\n"
}

/// Go through all scripts, and show every state on the way.
pub(crate) fn walk(look: &mut dyn FnMut(&Snapshot)) {
    for name in all() {
        let path = folder().join(format!("{name}.txt"));
        let script = std::fs::read_to_string(&path).expect("script");
        let mut blocks = script.split("\n\n").map(str::trim_end);
        let mut run = Run::new(setup::parse(blocks.next().expect("options of a script")));
        for block in blocks {
            let lines = block.lines().take_while(|line| *line != SEPARATOR);
            for line in lines.filter(|line| !line.starts_with('#')) {
                run.line(line);
                look(&run.snapshot());
            }
        }
    }
}

fn render_block(run: &mut Run, block: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in block.lines().take_while(|line| *line != SEPARATOR) {
        lines.push(line.to_string());
        if !line.starts_with('#') {
            run.line(line);
        }
    }
    let shown = run.take_shown();
    if block.lines().any(|line| line == SEPARATOR) {
        lines.push(SEPARATOR.to_string());
        lines.extend(shown);
    }
    lines.join("\n")
}

/// A daemon that has gone through the given options and event lines.
pub(crate) fn prepared(options: &str, lines: &[&str]) -> Run {
    let mut run = Run::new(setup::parse(options));
    for line in lines {
        run.line(line);
    }
    run.take_shown();
    run
}
