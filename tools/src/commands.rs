//! The table of `dlm_tool`'s commands: completions are generated from it, and tests compare the command line, the usage
//! and the manual page with it.

/// A command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: &'static str,
    /// What stands behind it.
    pub argument: Argument,
    /// Letters of the options that mean something to it.
    pub letters: &'static str,
    /// It is a query that `--json` goes with.
    pub json: bool,
    /// What it does, in a few words.
    pub about: &'static str,
}

/// What stands behind a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argument {
    /// Nothing.
    None,
    /// A lockspace, or nothing for all of them.
    AnyLockspace,
    /// A lockspace.
    Lockspace,
    /// A lockspace that need not be there.
    NewLockspace,
    /// A node id.
    Node,
    /// Words `option=value`.
    Settings,
    /// What `run_start` printed.
    Uuid,
    /// A command for other nodes.
    Words,
    /// A file.
    File,
    /// The word `save`, and a file.
    SaveFile,
}

/// A single-letter option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Letter {
    /// The letter.
    pub letter: char,
    /// Its argument; `None` for an option without.
    pub value: Option<&'static str>,
    /// What it does, in a few words.
    pub about: &'static str,
}

/// Options of the C tool.
pub const LETTERS: [Letter; 11] = [
    letter('M', None, "copies held for other nodes"),
    letter('h', None, "usage"),
    letter('V', None, "version"),
    letter('n', None, "all nodes"),
    letter('m', Some("mode"), "mode of the lockspace's device, octal"),
    letter('e', Some("0|1"), "the lockspace must not exist"),
    letter('f', Some("0|1"), "the lockspace is a file system's"),
    letter('v', None, "verbose"),
    letter('w', None, "no line breaks"),
    letter('s', None, "summary"),
    letter('i', Some("sec"), "wait for the result"),
];

/// Long options, which are ours.
pub const LONG: [(&str, &str); 2] = [("json", "for programs"), ("help", "usage of all commands")];

const fn letter(letter: char, value: Option<&'static str>, about: &'static str) -> Letter {
    Letter { letter, value, about }
}

const fn entry(
    name: &'static str,
    argument: Argument,
    letters: &'static str,
    about: &'static str,
) -> Entry {
    Entry { name, argument, letters, json: false, about }
}

const fn query(
    name: &'static str,
    argument: Argument,
    letters: &'static str,
    about: &'static str,
) -> Entry {
    Entry { name, argument, letters, json: true, about }
}

/// All commands, those first that an administrator wants first.
pub const COMMANDS: [Entry; 26] = [
    query("explain", Argument::AnyLockspace, "", "what is waited for, and what can be done"),
    query("check", Argument::AnyLockspace, "", "one line and an exit code"),
    query("history", Argument::AnyLockspace, "", "recoveries, and where their time went"),
    entry("watch", Argument::None, "", "all of it, live"),
    query("ls", Argument::AnyLockspace, "n", "lockspaces"),
    query("status", Argument::None, "v", "daemon, nodes, fencing"),
    query("dump", Argument::None, "", "debug messages of the daemon"),
    query("plocks", Argument::Lockspace, "", "POSIX locks"),
    query("log_plock", Argument::None, "", "messages about POSIX locks"),
    query("lockdebug", Argument::Lockspace, "vws", "resources and locks of the kernel"),
    query("lockdump", Argument::Lockspace, "M", "locks of the kernel, one a line"),
    query("dump_config", Argument::None, "", "options in effect"),
    entry("set_config", Argument::Settings, "", "change options while the daemon runs"),
    entry("reload_config", Argument::None, "", "have dlm.conf read again"),
    entry("fence_ack", Argument::Node, "", "say that a failed node is surely down"),
    entry("join", Argument::NewLockspace, "efm", "create a lockspace"),
    entry("leave", Argument::Lockspace, "", "remove a lockspace"),
    entry("joinleave", Argument::NewLockspace, "efm", "create a lockspace and remove it"),
    entry("deadlock_check", Argument::Lockspace, "", "nothing; scripts of old call it"),
    entry("run", Argument::Words, "ni", "a command on other nodes, with its result"),
    entry("run_start", Argument::Words, "n", "start a command on other nodes"),
    entry("run_check", Argument::Uuid, "i", "the result of a command"),
    entry("run_cancel", Argument::Uuid, "", "forget a command"),
    query("run_list", Argument::None, "", "commands on other nodes"),
    entry("record", Argument::SaveFile, "", "save what the daemon was told and decided"),
    entry("replay", Argument::File, "", "show a recording, and decide it again"),
];

/// The names of the commands that `--json` goes with.
#[must_use]
pub fn json_names() -> String {
    let names: Vec<&str> =
        COMMANDS.iter().filter(|entry| entry.json).map(|entry| entry.name).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{self, Parsed};
    use crate::getopt::{self, Found};
    use crate::usage;
    use std::collections::BTreeSet;

    const PAGE: &str = include_str!("../../contrib/man/dlm_tool.8");

    /// The words that `args::command` knows, from its source: a new one cannot be forgotten here.
    fn known_to_the_command_line() -> BTreeSet<&'static str> {
        let source = include_str!("args.rs");
        let (_, behind) = source.split_once("\nfn command(").expect("the function");
        let (body, _) = behind.split_once("\n}\n").expect("its end");
        let arms = body.lines().filter_map(|line| line.trim().strip_prefix("b\""));
        arms.filter_map(|arm| arm.split_once('"').map(|(name, _)| name)).collect()
    }

    fn words(line: &[&str]) -> Vec<Vec<u8>> {
        line.iter().map(|word| word.as_bytes().to_vec()).collect()
    }

    #[test]
    fn table_has_every_command_and_knows_which_need_a_word() {
        let names: BTreeSet<&str> = COMMANDS.iter().map(|entry| entry.name).collect();
        assert_eq!(names, known_to_the_command_line());
        for entry in COMMANDS {
            let alone = args::parse(b"dlm_tool", &words(&[entry.name]));
            let needs_none = matches!(entry.argument, Argument::None | Argument::AnyLockspace);
            assert_eq!(matches!(alone, Ok(Parsed::Run(_))), needs_none, "{}", entry.name);
            let with_word = match entry.argument {
                Argument::SaveFile => words(&[entry.name, "save", "word"]),
                _ => words(&[entry.name, "word"]),
            };
            let with_word = args::parse(b"dlm_tool", &with_word);
            assert!(matches!(with_word, Ok(Parsed::Run(_))), "{}", entry.name);
        }
    }

    #[test]
    fn table_has_every_letter_with_its_argument() {
        let known: BTreeSet<char> = LETTERS.iter().map(|letter| letter.letter).collect();
        for byte in b'A'..=b'z' {
            let line = words(&[&format!("-{}", char::from(byte)), "1"]);
            let (found, _) = getopt::split(args::LETTERS, &line);
            let letter = LETTERS.iter().find(|letter| letter.letter == char::from(byte));
            match &found[0] {
                Found::Option(_, value) => {
                    assert_eq!(Some(value.is_some()), letter.map(|letter| letter.value.is_some()));
                }
                _ => assert_eq!(letter, None),
            }
        }
        for entry in COMMANDS {
            assert!(entry.letters.chars().all(|letter| known.contains(&letter)), "{}", entry.name);
        }
    }

    #[test]
    fn manual_page_has_every_command() {
        for Entry { name, .. } in COMMANDS {
            let heading = format!(".SS {name}");
            let found = PAGE.lines().any(|line| {
                line.strip_prefix(&heading)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
            });
            assert!(found, "no section for {name}");
        }
    }

    #[test]
    fn help_has_every_command_that_c_does_not_advertise() {
        const UNADVERTISED: [&str; 3] = ["joinleave", "deadlock_check", "lockdump"];
        let help = [usage::USAGE, usage::OURS].concat();
        let words: BTreeSet<&str> =
            help.split(|sign: char| !sign.is_alphanumeric() && sign != '_').collect();
        for Entry { name, .. } in COMMANDS {
            assert!(words.contains(name) || UNADVERTISED.contains(&name), "{name}");
        }
        let flat = usage::OURS.split_whitespace().collect::<Vec<_>>().join(" ");
        for name in json_names().split(", ") {
            let (_, json) = flat.split_once("--json COMMAND").expect("its paragraph");
            assert!(json.contains(name), "{name}");
        }
    }
}
