//! The command line, parsed as the C daemon parses it (spec/cli.md section 1; every odd form below was tried on its binary).

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use thiserror::Error;

use super::number::Quality;
use super::options::{self, Key, Kind, Row, Value};
use super::settings::Settings;
use super::{Config, DEFAULT_PATH};

/// The C daemon keeps no more bundled letters than these over the whole command line; later ones are not looked at.
const BUNDLED_MAX: usize = 8;

/// Set in the environment to any value: as `daemon_debug` on the command line, but dlm.conf may say otherwise.
pub const DEBUG_VARIABLE: &str = "DLM_CONTROLD_DEBUG";

/// What the command line asks for.
#[derive(Clone, Debug)]
pub enum Invocation {
    /// Be the daemon. dlm.conf is still to be read: [`Config::load`].
    Run(Config),
    /// Print the text on stdout and exit with 0: help, version.
    Print(String),
    /// Report on dlm.conf ([`Config::check`]) and exit.
    CheckConfig(Config),
}

/// A command line that cannot be followed. The text is the C daemon's; the daemon prints it on stderr and exits with 1.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UsageError {
    /// Not an option at all.
    #[error("unknown option arg {0}")]
    NotAnOption(String),
    /// No option has this name or letter.
    #[error("unknown option {0}")]
    Unknown(String),
    /// A letter in a bundle that no option has.
    #[error("unknown option char {0}")]
    UnknownLetter(char),
    /// The value is missing at the end of the command line.
    #[error("option {0} no arg")]
    NoArgument(String),
    /// The value is empty, or the next option stands in its place.
    #[error("option {0} requires arg")]
    RequiresArgument(String),
    /// The value does not begin with a number.
    #[error("option {0} requires digit number")]
    RequiresNumber(String),
    /// 0 where that would fail everything; not a text of the C daemon.
    #[error("option {0} requires a number above 0")]
    RequiresMore(String),
}

/// The command line so far.
struct Parse {
    args: Vec<String>,
    next: usize,
    settings: Settings,
    /// Bundled letters, carried out after all arguments.
    bundled: Vec<char>,
    debug_options: bool,
    check: Option<PathBuf>,
}

impl Config {
    /// What a command line (without the program's name) asks for. `debug_variable` is the value of [`DEBUG_VARIABLE`].
    ///
    /// # Errors
    /// A command line that the C daemon refuses.
    pub fn from_args(
        args: impl IntoIterator<Item = OsString>,
        debug_variable: Option<&OsStr>,
    ) -> Result<Invocation, UsageError> {
        let args: Vec<String> =
            args.into_iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
        match args.first().map(String::as_str) {
            Some("help" | "--help" | "-h") => return Ok(Invocation::Print(options::usage())),
            Some("version" | "--version" | "-V") => {
                return Ok(Invocation::Print(options::version()));
            }
            Some(_) | None => {}
        }
        let mut settings = Settings::default();
        // The C daemon looks at the environment only where it looks at arguments.
        if debug_variable.is_some() && !args.is_empty() {
            settings.set_base(Key::DaemonDebug, Value::Int(1));
        }
        let mut parse = Parse {
            args,
            next: 0,
            settings,
            bundled: Vec::new(),
            debug_options: false,
            check: None,
        };
        while let Some(arg) = parse.take() {
            parse.argument(&arg)?;
        }
        parse.set_bundled()?;
        let path = parse.check.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_PATH));
        let config = Self::new(parse.settings, path, parse.debug_options);
        Ok(match parse.check {
            Some(_) => Invocation::CheckConfig(config),
            None => Invocation::Run(config),
        })
    }
}

impl Parse {
    fn take(&mut self) -> Option<String> {
        let arg = self.args.get(self.next).cloned();
        self.next = self.next.saturating_add(1);
        arg
    }

    fn argument(&mut self, arg: &str) -> Result<(), UsageError> {
        if !arg.starts_with('-') {
            return Err(UsageError::NotAnOption(arg.to_owned()));
        }
        if self.own_argument(arg) {
            return Ok(());
        }
        let row = named_by(arg).ok_or_else(|| UsageError::Unknown(arg.to_owned()))?;
        if matches!(row.kind, Kind::Switch | Kind::Action) && self.bundle(arg) {
            self.settings.set_command_line(row.key, Some(Value::Int(1)));
            return Ok(());
        }
        let Some(text) = self.value(row, arg)? else {
            self.settings.set_command_line(row.key, Some(Value::Int(1)));
            return Ok(());
        };
        if text.is_empty() || text.starts_with('-') {
            return Err(UsageError::RequiresArgument(arg.to_owned()));
        }
        let (value, quality) = row.read(&text);
        if quality == Quality::Missing {
            return Err(UsageError::RequiresNumber(arg.to_owned()));
        }
        if row.key == Key::FenceAgentTimeout && value == Value::Unsigned(0) {
            return Err(UsageError::RequiresMore(arg.to_owned()));
        }
        // help and version take a value and forget it.
        let value = (row.kind != Kind::Action).then_some(value);
        self.settings.set_command_line(row.key, value);
        Ok(())
    }

    /// Arguments that are not rows of the option table.
    fn own_argument(&mut self, arg: &str) -> bool {
        if arg == "--debug_options" {
            self.debug_options = true;
        } else if arg == "--check-config" {
            self.check = Some(PathBuf::from(DEFAULT_PATH));
        } else if let Some(path) = arg.strip_prefix("--check-config=") {
            self.check = Some(PathBuf::from(path));
        } else {
            return false;
        }
        true
    }

    /// Letters behind the letter of a switch, of help or of version. They end at the first character that is not one.
    fn bundle(&mut self, arg: &str) -> bool {
        if arg.starts_with("--") {
            return false;
        }
        let letters = arg.chars().skip(2).take_while(char::is_ascii_alphabetic);
        let before = self.bundled.len();
        let room = BUNDLED_MAX.saturating_sub(before);
        let mut any = false;
        for (position, letter) in letters.enumerate() {
            any = true;
            if position < room {
                self.bundled.push(letter);
            }
        }
        any
    }

    /// The option's value: behind `=`, digits right behind the letter, or the next argument. `None`: a switch without one.
    fn value(&mut self, row: &Row, arg: &str) -> Result<Option<String>, UsageError> {
        if let Some((_, value)) = arg.split_once('=') {
            return Ok(Some(value.to_owned()));
        }
        let attached = arg.get(2..).filter(|_| !arg.starts_with("--"));
        if let Some(digits) = attached.filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        {
            return Ok(Some(digits.to_owned()));
        }
        let next = self.args.get(self.next);
        if row.kind == Kind::Switch && next.is_none_or(|next| next.starts_with('-')) {
            return Ok(None);
        }
        match self.take() {
            Some(value) => Ok(Some(value)),
            None => Err(UsageError::NoArgument(arg.to_owned())),
        }
    }

    /// Every bundled letter means 1, whatever stands on the command line after it.
    fn set_bundled(&mut self) -> Result<(), UsageError> {
        for letter in std::mem::take(&mut self.bundled) {
            let row = Row::lettered(letter).ok_or(UsageError::UnknownLetter(letter))?;
            let value = match row.kind {
                Kind::Switch | Kind::Int | Kind::Action => Some(Value::Int(1)),
                // The C daemon sets a field that these types do not use: named, but no new value.
                Kind::Unsigned | Kind::Text => None,
            };
            self.settings.set_command_line(row.key, value);
        }
        Ok(())
    }
}

/// The row that an argument names. A lone `-` is the first option without a letter, as in the C daemon.
fn named_by(arg: &str) -> Option<&'static Row> {
    if let Some(long) = arg.strip_prefix("--") {
        return Row::named(long.split_once('=').map_or(long, |(name, _)| name));
    }
    match arg.chars().nth(1) {
        Some(letter) => Row::lettered(letter),
        None => Some(Key::Foreground.row()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invoke(line: &[&str]) -> Result<Invocation, UsageError> {
        Config::from_args(line.iter().map(OsString::from), None)
    }

    /// What the command line set, as `name=value xN` (times named).
    fn set(line: &[&str]) -> String {
        match invoke(line) {
            Ok(Invocation::Run(config)) => config
                .settings()
                .dump()
                .lines()
                .filter_map(|line| line.strip_suffix(" (cli option)"))
                .collect::<Vec<_>>()
                .join(" "),
            Ok(other) => format!("{other:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn command_lines_that_the_c_daemon_takes_mean_the_same() {
        let cases: &[(&[&str], &str)] = &[
            (&[], ""),
            (&["-D", "5"], "daemon_debug=1"),
            (&["-D5"], "daemon_debug=1"),
            (&["-D", "-K"], "daemon_debug=1 log_debug=1"),
            (&["-DK"], "daemon_debug=1 log_debug=1"),
            (&["-DK0"], "daemon_debug=1 log_debug=1"),
            (&["-D0K"], "daemon_debug=0"),
            (&["-j10x"], "post_join_delay=10"),
            (&["-j0x10"], "post_join_delay=0"),
            (&["-j=0x10"], "post_join_delay=0"),
            (&["-R0x10"], "port=16"),
            (&["-R", "010"], "port=8"),
            (&["-R", "0x"], "port=0"),
            (&["-j", "2147483648"], "post_join_delay=-2147483648"),
            (&["-j", "+5"], "post_join_delay=5"),
            (&["-j", " 5"], "post_join_delay=5"),
            (&["-j= 5"], "post_join_delay=5"),
            (&["-p=2"], "enable_plock=1"),
            (&["--enable_plock=1x"], "enable_plock=1"),
            (&["--enable_plock", "0"], "enable_plock=0"),
            (&["-f", "-s"], "enable_fencing=1 enable_startup_fencing=1"),
            (&["-f", "00"], "enable_fencing=0"),
            (&["-s", "0"], "enable_startup_fencing=0"),
            (&["-j1=5"], "post_join_delay=5"),
            (&["-jx=5"], "post_join_delay=5"),
            (&["-j=5=6"], "post_join_delay=5"),
            (&["-jp", "5"], "post_join_delay=5"),
            (&["-j", "1", "-j", "2"], "post_join_delay=2"),
            (&["--protocol", "a=b"], "protocol=a=b"),
            (&["-r1"], "protocol=1"),
            (&["-r", "tcp", "-r", "sctp"], "protocol=sctp"),
            (&["-r", " "], "protocol= "),
            (&["-rx", "y"], "protocol=y"),
            (&["-pf0"], "enable_plock=1 enable_fencing=1"),
            (&["-pj5"], "enable_plock=1 post_join_delay=1"),
            (&["-j7", "-Kj"], "log_debug=1 post_join_delay=1"),
            (&["-Kj", "-j7"], "log_debug=1 post_join_delay=1"),
            (&["-K", "-pK"], "log_debug=1 enable_plock=1"),
            (&["-pK", "-K0"], "log_debug=1 enable_plock=1"),
            (&["-KP=0"], "log_debug=1 plock_debug=1"),
            (&["-K1P"], "log_debug=1"),
            (&["-K_P"], "log_debug=1"),
            (&["-KP_L"], "log_debug=1 plock_debug=1"),
            (&["-K٣"], "log_debug=1"),
            (&["-Kr"], "log_debug=1 protocol=detect"),
            (&["-Kr", "-r", "tcp"], "log_debug=1 protocol=tcp"),
            (&["-KR", "-R5"], "log_debug=1 port=5"),
            (&["-Kh"], "log_debug=1 help=1"),
            (&["-Vo"], "plock_ownership=1 version=1"),
            (&["-h=1"], "help=-1"),
            (&["-V1"], "version=-1"),
            (&["-D", "-h", "5"], "daemon_debug=1 help=-1"),
            (&["-"], "foreground=1"),
            (&["-", "0"], "foreground=0"),
            (&["--mark", "99999999999999999999"], "mark=4294967295"),
            (&["--debug_options", "-K", "--debug_options"], "log_debug=1"),
            (
                &["-pfsqDKPLoc"],
                "daemon_debug=1 log_debug=1 debug_logfile=1 enable_plock=1 plock_debug=1 plock_ownership=1 \
                 enable_fencing=1 enable_startup_fencing=1 enable_quorum_fencing=1",
            ),
            (
                &["-pfsqDKPo", "-LLc"],
                "daemon_debug=1 log_debug=1 debug_logfile=1 enable_plock=1 plock_debug=1 plock_ownership=1 \
                 enable_fencing=1 enable_startup_fencing=1 enable_quorum_fencing=1",
            ),
        ];
        for (line, expected) in cases {
            assert_eq!(&set(line), expected, "{line:?}");
        }
    }

    #[test]
    fn command_lines_that_the_c_daemon_refuses_get_its_words() {
        let cases: &[(&[&str], &str)] = &[
            (&["foo"], "unknown option arg foo"),
            (&[""], "unknown option arg "),
            (&["--nosuch"], "unknown option --nosuch"),
            (&["--nosuch="], "unknown option --nosuch="),
            (&["--vers"], "unknown option --vers"),
            (&["--foreground1"], "unknown option --foreground1"),
            (&["--debug_options=1"], "unknown option --debug_options=1"),
            (&["--debug_options", "1"], "unknown option arg 1"),
            (&["-x"], "unknown option -x"),
            (&["-0"], "unknown option -0"),
            (&["-=0"], "unknown option -=0"),
            (&["--"], "unknown option --"),
            (&["--=1"], "unknown option --=1"),
            (&["-D", "-h"], "option -h no arg"),
            (&["-D", "-V"], "option -V no arg"),
            (&["-D", "-h", ""], "option -h requires arg"),
            (&["-D", "-h", "foo"], "option -h requires digit number"),
            (&["-j"], "option -j no arg"),
            (&["-jabc"], "option -jabc no arg"),
            (&["-jK", "-D"], "option -jK requires arg"),
            (&["-rtcp"], "option -rtcp no arg"),
            (&["-j", "-3"], "option -j requires arg"),
            (&["-j", ""], "option -j requires arg"),
            (&["-j="], "option -j= requires arg"),
            (&["--port="], "option --port= requires arg"),
            (&["-r=-x"], "option -r=-x requires arg"),
            (&["-K=-1"], "option -K=-1 requires arg"),
            (&["-P", ""], "option -P requires arg"),
            (&["-K", "-1"], "unknown option -1"),
            (&["-j", "abc"], "option -j requires digit number"),
            (&["-j", " "], "option -j requires digit number"),
            (&["-j", "+"], "option -j requires digit number"),
            (&["-j", ".5"], "option -j requires digit number"),
            (&["-R", "x"], "option -R requires digit number"),
            (&["-D", "foo"], "option -D requires digit number"),
            (&["--daemon_debug=foo"], "option --daemon_debug=foo requires digit number"),
            (&["-DK", "0"], "unknown option arg 0"),
            (&["-j5", "6"], "unknown option arg 6"),
            (&["-DKx"], "unknown option char x"),
            (&["-Px-"], "unknown option char x"),
            (
                &["--fence_agent_timeout=0"],
                "option --fence_agent_timeout=0 requires a number above 0",
            ),
            (&["-Kx", "foo"], "unknown option arg foo"),
            (&["-Kx", "--nosuch"], "unknown option --nosuch"),
        ];
        for (line, expected) in cases {
            assert_eq!(&set(line), expected, "{line:?}");
        }
    }

    #[test]
    fn help_and_version_count_as_the_first_argument_only() {
        for first in ["help", "--help", "-h"] {
            let printed = invoke(&[first, "foo"]);
            assert!(matches!(printed, Ok(Invocation::Print(text)) if text == options::usage()));
        }
        for first in ["version", "--version", "-V"] {
            let printed = invoke(&[first, "-x"]);
            assert!(matches!(printed, Ok(Invocation::Print(text)) if text == options::version()));
        }
        assert_eq!(set(&["-K", "1", "help"]), "unknown option arg help");
    }

    #[test]
    fn check_config_names_the_file() {
        for (arg, path) in [("--check-config", DEFAULT_PATH), ("--check-config=/x y", "/x y")] {
            let Ok(Invocation::CheckConfig(config)) = invoke(&["-D", arg]) else { panic!("{arg}") };
            assert_eq!(config.path().to_str(), Some(path));
        }
    }

    #[test]
    fn the_environment_counts_with_arguments_and_below_the_file() {
        let debug = |args: &[&str], variable: Option<&str>| match Config::from_args(
            args.iter().map(OsString::from),
            variable.map(OsStr::new),
        ) {
            Ok(Invocation::Run(config)) => config,
            other => panic!("{other:?}"),
        };
        assert!(!debug(&[], Some("1")).settings().is_on(Key::DaemonDebug));
        assert!(!debug(&["-K"], None).settings().is_on(Key::DaemonDebug));
        let mut config = debug(&["-K"], Some(""));
        assert!(config.settings().is_on(Key::DaemonDebug));
        assert!(config.settings().dump().starts_with("daemon_debug=1\n"));
        assert!(config.load_bytes(b"daemon_debug=0\n").is_ok());
        assert!(!config.settings().is_on(Key::DaemonDebug));
    }
}
