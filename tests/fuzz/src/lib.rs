//! Everything that reads foreign bytes, as plain functions that a fuzzer calls: none may panic, whatever it is given, or
//! use memory out of proportion to it.
//!
//! `make fuzz` runs libFuzzer on them (the folder `libfuzzer`, a workspace of its own); `tests/replay.rs` gives them the
//! seeds, each cut and changed in many places, and every input that once broke something, with the ordinary compiler.
#![forbid(unsafe_code)]

mod core_script;
pub mod seeds;

pub use core_script::{fuzz_core, recording_of, starts_of};

/// One function that is fuzzed.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: of the libFuzzer program, of the folders of its inputs.
    pub name: &'static str,
    /// What is called.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "wire", run: controld::wire::fuzz_wire },
    Target { name: "core", run: fuzz_core },
    Target { name: "request", run: controld::control::fuzz_request },
    Target { name: "config", run: controld::config::fuzz_config },
    Target { name: "uevent", run: controld::kernel::uevent::fuzz_uevent },
    Target { name: "plockdev", run: controld::kernel::plockdev::fuzz_record },
    Target { name: "kmsg", run: controld::kernel::kmsg::fuzz_kmsg },
    Target { name: "recording", run: dlm_recording::fuzz_recording },
];

/// Give an input to the target of this name.
///
/// # Panics
/// When the input breaks something, or there is no such target.
pub fn run(name: &str, input: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target");
    (target.run)(input);
}
