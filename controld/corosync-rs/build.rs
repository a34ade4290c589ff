//! Finds corosync's client libraries with pkg-config, so that a missing one is named before the linker is.

use std::process::ExitCode;

/// What `ffi.rs` calls into. Oldest version: the one that brought the quorum service's model v1.
const LIBRARIES: [(&str, &str); 4] =
    [("libcpg", "3.1"), ("libquorum", "3.1"), ("libcfg", "3.1"), ("libcmap", "3.1")];

fn main() -> ExitCode {
    println!("cargo:rerun-if-changed=build.rs");
    for (library, version) in LIBRARIES {
        if let Err(error) = pkg_config::Config::new().atleast_version(version).probe(library) {
            eprintln!("corosync's {library} with its header is needed: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
