//! Scenarios of the core as scripts: `scripts/NAME.txt` is the test `NAME`. `UPDATE_EXPECT=1` rewrites what is expected.
//!
//! The language is described in `runner/mod.rs`.

mod ends;
mod flapping;
mod handover;
mod interleavings;
mod many;
mod plock_log;
mod runner;
#[path = "plock/spread.rs"]
#[expect(dead_code, reason = "its locks of one file are for others")]
mod spread;
mod transfer;
mod waits;

use std::collections::BTreeSet;

macro_rules! scripts {
    ($($name:ident)*) => {
        const NAMES: &[&str] = &[$(stringify!($name)),*];
        $(
            #[test]
            fn $name() {
                runner::check(stringify!($name));
            }
        )*
    };
}

include!("scripts/list.rs");

#[test]
fn every_script_is_a_test() {
    let listed: BTreeSet<String> = NAMES.iter().map(ToString::to_string).collect();
    assert_eq!(listed, runner::all());
}
