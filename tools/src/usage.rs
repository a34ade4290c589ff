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

/// What `--help` prints behind [`USAGE`]: the commands that the C tool does not have.
pub const OURS: &str = "\
Commands of this dlm_tool alone; they need the Rust dlm_controld:

dlm_tool check [lockspace]
  One line and an exit code, for scripts and resource agents:
     0 runs                       20 corosync's rings do not agree
     1 cannot be said             21 no quorum
     2 no daemon                  22 waits for fencing
     3 the daemon does not answer 23 merged partitions
     4 no such lockspace          24 corosync's membership, addresses
     5 the daemon is not ready    25 this node's kernel
    10 joining                    26 other nodes' START
    11 leaving                    27 gfs2 withdraws
                                  28 POSIX locks are being transferred
  Without a lockspace it is about the daemon and all lockspaces.

dlm_tool explain [lockspace]
  What is waited for, on which node, since when, what has been tried, and what
  can be done about it, in plain words. Start here when something hangs.

dlm_tool history [lockspace]
  The recoveries of the last hours, phase by phase and with the node that was
  last, and what the death of a node costs: corosync, fencing, daemons, kernel.

dlm_tool watch
  Nodes, lockspaces, slots, fencing and rates on the terminal, as they change.
  q ends it.

dlm_tool record save FILE
  What the daemon was told lately and what it decided, in a file; for root and
  members of control_group. A daemon that dies leaves such a file beside its log.

dlm_tool replay FILE
  Shows such a file step by step, decides everything again, and says where the
  daemon decided otherwise (exit code 1).

dlm_tool --json COMMAND    for ls, status, check, explain, history, dump,
                           dump_config, log_plock, plocks, lockdebug,
                           lockdump, run_list
  The same for programs; status prints the daemon's whole state (docs/json.md).

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

#[cfg(test)]
mod tests {
    use crate::words;

    const PAGE: &str = include_str!("../../contrib/man/dlm_tool.8");

    #[test]
    fn manual_page_has_every_exit_code_of_check() {
        let table: Vec<u8> = PAGE
            .lines()
            .filter_map(|line| line.split_once('\t').and_then(|(code, _)| code.parse().ok()))
            .collect();
        let unknown = words::word(words::CANNOT_SAY);
        let known = |code: &u8| *code == words::CANNOT_SAY || words::word(*code) != unknown;
        assert_eq!(table, (0..=u8::MAX).filter(known).collect::<Vec<_>>());
    }
}
