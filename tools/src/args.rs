//! The command line of `dlm_tool` (spec/cli.md section 3). By hand, since the C tool's habits (options behind the
//! command, unknown words before it, numbers as `atoi` reads them) are part of what scripts rely on.

use crate::getopt::{self, Found};
use crate::number::{atoi, octal_mode};

/// Letters of the C tool, for [`getopt::split`].
pub(crate) const LETTERS: &str = "MhVnm:e:f:vwsi:";
/// Bytes of the buffer for the command of `run` and `set_config`, its NUL included (`DLMC_RUN_COMMAND_LEN`).
const COMMAND_LEN: usize = 1024;

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// `-h`: usage, success.
    Help,
    /// `--help`: usage and more, success.
    LongHelp,
    /// `-V`: version, success.
    Version,
    /// No command among the words: usage, failure.
    NoCommand,
    /// A command to carry out.
    Run(Invocation),
}

/// A command with what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// What to do.
    pub command: Command,
    /// How.
    pub options: Options,
}

/// What to do. Names are bytes as the shell gave them: a lockspace name need not be UTF-8.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Lockspaces, all or one.
    Ls(Option<Vec<u8>>),
    /// The daemon and its nodes.
    Status,
    /// The debug ring.
    Dump,
    /// Options in effect.
    DumpConfig,
    /// Have dlm.conf read again.
    ReloadConfig,
    /// Change options; the words, each with a blank behind it.
    SetConfig(Vec<u8>),
    /// The ring of POSIX lock messages.
    LogPlock,
    /// POSIX locks of a lockspace.
    Plocks(Vec<u8>),
    /// Create a lockspace.
    Join(Vec<u8>),
    /// Remove a lockspace.
    Leave(Vec<u8>),
    /// Create one and remove it.
    JoinLeave(Vec<u8>),
    /// Locks of a lockspace from the kernel's debug files, readable.
    LockDebug(Vec<u8>),
    /// The same, one line a lock.
    LockDump(Vec<u8>),
    /// Say that a node is fenced; its id as it was written.
    FenceAck(Vec<u8>),
    /// Start a command on other nodes and ask for its result.
    Run(Vec<u8>),
    /// Start it.
    RunStart(Vec<u8>),
    /// Ask for the result of a uuid.
    RunCheck(Vec<u8>),
    /// Forget a uuid.
    RunCancel(Vec<u8>),
    /// Commands that were started.
    RunList,
    /// Without effect in any daemon.
    DeadlockCheck(Vec<u8>),
    /// One line and an exit code, about all or one lockspace.
    Check(Option<Vec<u8>>),
    /// Recoveries of all or one lockspace, and where their time went.
    History(Option<Vec<u8>>),
    /// What is waited for, in plain words, by all or one lockspace.
    Explain(Option<Vec<u8>>),
    /// The state on the terminal, as it changes.
    Watch,
    /// Write what the daemon's flight recorder has into a file.
    RecordSave(Vec<u8>),
    /// Show a recording, and whether the core decides again as the daemon did.
    Replay(Vec<u8>),
}

/// How to do it: all options of the line, whatever the command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// `-n`: history in `ls`; the own node runs the command, too, in `run`.
    pub all_nodes: bool,
    /// `-e`: a lockspace must not exist yet.
    pub exclusive: bool,
    /// `-f`: a lockspace is a file system's.
    pub filesystem: bool,
    /// `-m`: mode of the device node.
    pub mode: u32,
    /// `-M`: copies held for other nodes in `lockdump`.
    pub master_copies: bool,
    /// `-s`: counts behind `lockdebug`.
    pub summary: bool,
    /// `-v`
    pub verbose: bool,
    /// `-w`: no line breaks within a lock.
    pub wide: bool,
    /// `--json`
    pub json: bool,
    /// `-i`: seconds to wait for a result; negative: until there is one.
    pub wait: i32,
}

/// Mode of a lockspace's device node where none is given.
const DEFAULT_MODE: u32 = 0o600;

impl Default for Options {
    fn default() -> Self {
        Self {
            all_nodes: false,
            exclusive: false,
            filesystem: false,
            mode: DEFAULT_MODE,
            master_copies: false,
            summary: false,
            verbose: false,
            wide: false,
            json: false,
            wait: 0,
        }
    }
}

/// Why the line makes no sense: what goes to stderr, with exit code 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", String::from_utf8_lossy(.0))]
pub struct UsageError(Vec<u8>);

impl UsageError {
    /// The text with its newline; the program's name in it need not be UTF-8.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.0
    }

    fn option(complaint: &[u8]) -> Self {
        Self([complaint, b"\nPlease use '-h' for usage.\n"].concat())
    }

    fn line(text: &str) -> Self {
        Self(format!("{text}\n").into_bytes())
    }
}

/// Reads the command line; `program` is its first word, as messages name it.
///
/// # Errors
/// An unknown option, or something that the command needs is missing or too long.
pub fn parse(program: &[u8], words: &[Vec<u8>]) -> Result<Parsed, UsageError> {
    let (long, words) = long_options(words);
    if long.contains(&LongOption::Help) {
        return Ok(Parsed::LongHelp);
    }
    let (found, operands) = getopt::split(LETTERS, &words);
    let json = long.contains(&LongOption::Json);
    let mut options = Options { json, ..Options::default() };
    for item in found {
        if let Some(complaint) = item.complaint(program) {
            return Err(UsageError::option(&complaint));
        }
        if let Found::Option(letter, argument) = item {
            match letter {
                b'h' => return Ok(Parsed::Help),
                b'V' => return Ok(Parsed::Version),
                _ => options.set(letter, &argument.unwrap_or_default()),
            }
        }
    }
    for (at, word) in operands.iter().enumerate() {
        let rest = operands.get(at.saturating_add(1)..).unwrap_or_default();
        if let Some(command) = command(word, rest) {
            return Ok(Parsed::Run(Invocation { command: command?, options }));
        }
    }
    Ok(Parsed::NoCommand)
}

/// Options that the C tool does not have; to its getopt they are errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LongOption {
    Json,
    Help,
}

/// Takes our long options out of the words before `--`.
fn long_options(words: &[Vec<u8>]) -> (Vec<LongOption>, Vec<Vec<u8>>) {
    let end = words.iter().position(|word| word == b"--").unwrap_or(words.len());
    let (before, behind) = words.split_at_checked(end).unwrap_or((words, &[]));
    let known = |word: &Vec<u8>| match word.as_slice() {
        b"--json" => Some(LongOption::Json),
        b"--help" => Some(LongOption::Help),
        _ => None,
    };
    let others = before.iter().filter(|word| known(word).is_none()).chain(behind);
    (before.iter().filter_map(known).collect(), others.cloned().collect())
}

impl Options {
    fn set(&mut self, letter: u8, argument: &[u8]) {
        match letter {
            b'M' => self.master_copies = true,
            b'n' => self.all_nodes = true,
            b'm' => self.mode = octal_mode(argument).unwrap_or(self.mode),
            b'e' => self.exclusive = atoi(argument) != 0,
            b'f' => self.filesystem = atoi(argument) != 0,
            b'v' => self.verbose = true,
            b'w' => self.wide = true,
            b's' => self.summary = true,
            b'i' => self.wait = atoi(argument),
            _ => {}
        }
    }
}

/// The command that `word` names, with the words behind it; `None` for any other word.
fn command(word: &[u8], rest: &[Vec<u8>]) -> Option<Result<Command, UsageError>> {
    let lockspace = || first(rest, "lockspace name required");
    let uuid = || first(rest, "uuid required");
    Some(match word {
        b"ls" => Ok(Command::Ls(rest.first().cloned())),
        b"status" => Ok(Command::Status),
        b"check" => Ok(Command::Check(rest.first().cloned())),
        b"history" => Ok(Command::History(rest.first().cloned())),
        b"explain" => Ok(Command::Explain(rest.first().cloned())),
        b"watch" => Ok(Command::Watch),
        b"record" => match rest {
            [verb, file, ..] if verb == b"save" => Ok(Command::RecordSave(file.clone())),
            _ => Err(UsageError::line("record: save and a file name required")),
        },
        b"replay" => first(rest, "file name required").map(Command::Replay),
        b"dump" => Ok(Command::Dump),
        b"dump_config" => Ok(Command::DumpConfig),
        b"reload_config" => Ok(Command::ReloadConfig),
        b"set_config" => text(rest).map(Command::SetConfig),
        b"log_plock" => Ok(Command::LogPlock),
        b"plocks" => lockspace().map(Command::Plocks),
        b"join" => lockspace().map(Command::Join),
        b"leave" => lockspace().map(Command::Leave),
        b"joinleave" => lockspace().map(Command::JoinLeave),
        b"lockdebug" => lockspace().map(Command::LockDebug),
        b"lockdump" => lockspace().map(Command::LockDump),
        b"fence_ack" => first(rest, "nodeid required").map(Command::FenceAck),
        b"run" => text(rest).map(Command::Run),
        b"run_start" => text(rest).map(Command::RunStart),
        b"run_check" => uuid().map(Command::RunCheck),
        b"run_cancel" => uuid().map(Command::RunCancel),
        b"run_list" => Ok(Command::RunList),
        b"deadlock_check" => lockspace().map(Command::DeadlockCheck),
        _ => return None,
    })
}

fn first(rest: &[Vec<u8>], missing: &str) -> Result<Vec<u8>, UsageError> {
    rest.first().cloned().ok_or_else(|| UsageError::line(missing))
}

/// Words joined, each with a blank behind it: the daemon splits them again.
fn text(rest: &[Vec<u8>]) -> Result<Vec<u8>, UsageError> {
    if rest.is_empty() {
        return Err(UsageError::line("command required"));
    }
    let text: Vec<u8> = rest.iter().flat_map(|word| [word.as_slice(), b" "].concat()).collect();
    if text.len() >= COMMAND_LEN {
        return Err(UsageError::line("command too long (max 1024)"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Parsed, UsageError> {
        let words: Vec<Vec<u8>> = line.split(' ').map(|word| word.as_bytes().to_vec()).collect();
        parse(b"dlm_tool", &words)
    }

    fn run(line: &str) -> Invocation {
        match parsed(line) {
            Ok(Parsed::Run(invocation)) => invocation,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn first_known_word_is_the_command() {
        assert_eq!(run("zz - ls foo bar").command, Command::Ls(Some(b"foo".to_vec())));
        assert_eq!(run("dump ls").command, Command::Dump);
        assert_eq!(run("ls ls").command, Command::Ls(Some(b"ls".to_vec())));
        assert_eq!(parsed("lsx"), Ok(Parsed::NoCommand));
        assert_eq!(parsed("-n"), Ok(Parsed::NoCommand));
    }

    #[test]
    fn options_count_wherever_they_stand() {
        let join = run("join -e 5 foo -f0 -m 0644 -i 3");
        assert_eq!(join.command, Command::Join(b"foo".to_vec()));
        let options = join.options;
        assert!(options.exclusive && !options.filesystem);
        assert_eq!((options.mode, options.wait), (0o644, 3));
        assert_eq!(run("join -m x foo").options.mode, 0o600);
    }

    #[test]
    fn words_of_a_command_are_joined_with_blanks() {
        assert_eq!(run("run -- lvs -n").command, Command::Run(b"lvs -n ".to_vec()));
        assert!(run("run_start -n a b").options.all_nodes);
        assert_eq!(run(&format!("run {}", "x".repeat(1022))).command.clone(), {
            let mut text = vec![b'x'; 1022];
            text.push(b' ');
            Command::Run(text)
        });
    }

    #[test]
    fn what_is_missing_is_named() {
        let cases = [
            ("join", "lockspace name required\n"),
            ("lockdump -M", "lockspace name required\n"),
            ("fence_ack", "nodeid required\n"),
            ("set_config", "command required\n"),
            ("run_cancel", "uuid required\n"),
            ("record save", "record: save and a file name required\n"),
            ("replay", "file name required\n"),
            ("-X", "dlm_tool: invalid option -- 'X'\nPlease use '-h' for usage.\n"),
            ("ls -i", "dlm_tool: option requires an argument -- 'i'\nPlease use '-h' for usage.\n"),
        ];
        for (line, text) in cases {
            assert_eq!(parsed(line).unwrap_err().text(), text.as_bytes(), "{line}");
        }
        let long = format!("run {}", "x".repeat(1023));
        assert_eq!(parsed(&long).unwrap_err().text(), b"command too long (max 1024)\n");
    }

    #[test]
    fn help_wins_over_what_follows_it() {
        assert_eq!(parsed("ls -h -X"), Ok(Parsed::Help));
        assert_eq!(parsed("-V join"), Ok(Parsed::Version));
        assert!(parsed("-X -h").is_err());
    }
}
