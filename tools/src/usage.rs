//! Usage and version texts of `dlm_tool`.

/// What `-h` prints, and a line without a command.
pub const USAGE: &str = "\
Usage:

dlm_tool [command] [options] [name]

Commands:
ls, status, dump, fence_ack
dump_config, reload_config, set_config
log_plock, plocks
join, leave, lockdebug
run, run_start, run_check, run_cancel, run_list

Options:
  -n               Show all node information in ls
  -e 0|1           Exclusive create off/on in join, default 0
  -f 0|1           FS (filesystem) flag off/on in join, default 0
  -m <mode>        Permission mode for lockspace device (octal), default 0600
  -s               Summary following lockdebug output (experimental)
  -v               Verbose lockdebug output
  -w               Wide lockdebug output
  -i <sec>         Wait for <sec>.
  -h               Print help, then exit
  -V               Print program version information, then exit

";

/// What `-V` prints: the name as it was called, this package's version, and where the form of the line comes from.
#[must_use]
pub fn version(program: &[u8]) -> Vec<u8> {
    let version = concat!(
        " ",
        env!("CARGO_PKG_VERSION"),
        "\nCommand line of dlm_tool 4.2.0, Copyright Red Hat, Inc. 2004-2013\n"
    );
    [program, version.as_bytes()].concat()
}
