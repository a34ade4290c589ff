//! The option table: one row an option. The command line, dlm.conf, `dump_config`, the usage text and the manual pages all
//! come from it (spec/cli.md section 1).

use std::fmt;
use std::fmt::Write as _;
use std::sync::Arc;

use super::number::{self, Quality};

/// An option. The order is that of `dump_config`: the C daemon's options first, then ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is described by its row of OPTIONS")]
pub enum Key {
    DaemonDebug,
    Foreground,
    LogDebug,
    Protocol,
    Port,
    DebugLogfile,
    BindAll,
    Mark,
    EnableFscontrol,
    EnablePlock,
    PlockDebug,
    PlockRateLimit,
    PlockOwnership,
    DropResourcesTime,
    DropResourcesCount,
    DropResourcesAge,
    PostJoinDelay,
    EnableFencing,
    EnableConcurrentFencing,
    EnableStartupFencing,
    RepeatFailedFencing,
    EnableQuorumFencing,
    EnableQuorumLockspace,
    EnableHelper,
    Help,
    Version,
    FenceAgentTimeout,
    ControlGroup,
    FlightRecorder,
    Realtime,
}

/// What an option's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 0 or 1; on the command line the name alone means 1.
    Switch,
    /// A decimal number.
    Int,
    /// A number without sign, also hexadecimal (`0x`) and octal (`0`).
    Unsigned,
    /// Text without blanks.
    Text,
    /// No value, not for dlm.conf: help and version.
    Action,
}

/// When an option can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changes {
    /// Read once, at start.
    AtStart,
    /// Also by `set_config` and `reload_config`.
    AtRunTime,
}

/// The value that an option has when nobody sets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// Of a switch, a number or an action.
    Int(i32),
    /// Of a number without sign.
    Unsigned(u32),
    /// Of a text.
    Text(&'static str),
}

/// The value of an option. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Switches (0, 1), numbers, actions.
    Int(i32),
    /// Numbers without sign.
    Unsigned(u32),
    /// Texts.
    Text(Arc<str>),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(value) => value.fmt(f),
            Self::Unsigned(value) => value.fmt(f),
            Self::Text(value) => f.write_str(value),
        }
    }
}

impl From<Preset> for Value {
    fn from(preset: Preset) -> Self {
        match preset {
            Preset::Int(value) => Self::Int(value),
            Preset::Unsigned(value) => Self::Unsigned(value),
            Preset::Text(value) => Self::Text(Arc::from(value)),
        }
    }
}

/// A row of the option table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The option.
    pub key: Key,
    /// Long name, also the name in dlm.conf.
    pub long: &'static str,
    /// Single letter on the command line.
    pub short: Option<char>,
    /// Type of the value.
    pub kind: Kind,
    /// Value when nobody sets it.
    pub default: Preset,
    /// When it can change.
    pub changes: Changes,
    /// For the usage text; `None` hides the option there.
    pub description: Option<&'static str>,
}

const OFF: Preset = Preset::Int(0);
const ON: Preset = Preset::Int(1);
/// help and version show this number in `dump_config`.
const NO_VALUE: Preset = Preset::Int(-1);

const fn row(
    key: Key,
    name: (&'static str, Option<char>),
    kind: Kind,
    default: Preset,
    changes: Changes,
    description: &'static str,
) -> Row {
    // Hidden options have no description in the C daemon either.
    let description = if description.is_empty() { None } else { Some(description) };
    Row { key, long: name.0, short: name.1, kind, default, changes, description }
}

use Changes::{AtRunTime, AtStart};
use Kind::{Action, Int, Switch, Text, Unsigned};

/// The table.
#[rustfmt::skip]
pub const OPTIONS: &[Row] = &[
    row(Key::DaemonDebug, ("daemon_debug", Some('D')), Switch, OFF, AtRunTime, "enable debugging to stderr and don't fork"),
    row(Key::Foreground, ("foreground", None), Switch, OFF, AtStart, "don't fork"),
    row(Key::LogDebug, ("log_debug", Some('K')), Switch, OFF, AtRunTime, "enable kernel dlm debugging messages"),
    row(Key::Protocol, ("protocol", Some('r')), Text, Preset::Text("detect"), AtStart, "dlm kernel lowcomms protocol: tcp, sctp, detect"),
    row(Key::Port, ("port", Some('R')), Unsigned, Preset::Unsigned(21064), AtStart, "dlm kernel lowcomms protocol port"),
    row(Key::DebugLogfile, ("debug_logfile", Some('L')), Switch, OFF, AtRunTime, "write debugging to log file"),
    row(Key::BindAll, ("bind_all", None), Int, OFF, AtStart, ""),
    row(Key::Mark, ("mark", None), Unsigned, Preset::Unsigned(0), AtStart, "set mark value for DLM if not explicit by nodeid specified"),
    row(Key::EnableFscontrol, ("enable_fscontrol", None), Switch, OFF, AtStart, ""),
    row(Key::EnablePlock, ("enable_plock", Some('p')), Switch, ON, AtStart, "enable/disable posix lock support for cluster fs"),
    row(Key::PlockDebug, ("plock_debug", Some('P')), Switch, OFF, AtRunTime, "enable plock debugging"),
    row(Key::PlockRateLimit, ("plock_rate_limit", Some('l')), Int, OFF, AtRunTime, "limit rate of plock operations (0 for none)"),
    row(Key::PlockOwnership, ("plock_ownership", Some('o')), Switch, OFF, AtStart, "enable/disable plock ownership"),
    row(Key::DropResourcesTime, ("drop_resources_time", Some('t')), Int, Preset::Int(10000), AtRunTime, "plock ownership drop resources time (milliseconds)"),
    row(Key::DropResourcesCount, ("drop_resources_count", Some('c')), Int, Preset::Int(10), AtRunTime, "plock ownership drop resources count"),
    row(Key::DropResourcesAge, ("drop_resources_age", Some('a')), Int, Preset::Int(10000), AtRunTime, "plock ownership drop resources age (milliseconds)"),
    row(Key::PostJoinDelay, ("post_join_delay", Some('j')), Int, Preset::Int(30), AtRunTime, "seconds to delay fencing after cluster join"),
    row(Key::EnableFencing, ("enable_fencing", Some('f')), Switch, ON, AtStart, "enable/disable fencing"),
    row(Key::EnableConcurrentFencing, ("enable_concurrent_fencing", None), Switch, OFF, AtStart, "enable/disable concurrent fencing"),
    row(Key::EnableStartupFencing, ("enable_startup_fencing", Some('s')), Switch, ON, AtStart, "enable/disable startup fencing"),
    row(Key::RepeatFailedFencing, ("repeat_failed_fencing", None), Switch, ON, AtRunTime, "enable/disable retrying after fencing fails"),
    row(Key::EnableQuorumFencing, ("enable_quorum_fencing", Some('q')), Switch, ON, AtRunTime, "enable/disable quorum requirement for fencing"),
    row(Key::EnableQuorumLockspace, ("enable_quorum_lockspace", None), Switch, ON, AtRunTime, "enable/disable quorum requirement for lockspace operations"),
    row(Key::EnableHelper, ("enable_helper", None), Switch, ON, AtStart, "enable/disable helper process for running commands"),
    row(Key::Help, ("help", Some('h')), Action, NO_VALUE, AtStart, "print this help, then exit"),
    row(Key::Version, ("version", Some('V')), Action, NO_VALUE, AtStart, "Print program version information, then exit"),
    // Ours, unknown to the C daemon.
    row(Key::FenceAgentTimeout, ("fence_agent_timeout", None), Unsigned, Preset::Unsigned(300), AtStart, "seconds that a fence agent may run before it counts as failed"),
    row(Key::ControlGroup, ("control_group", None), Text, Preset::Text(""), AtStart, "group whose members may, besides root, send commands that change state"),
    row(Key::FlightRecorder, ("flight_recorder", None), Unsigned, Preset::Unsigned(1024), AtStart, "KiB of memory for a recording of what happens, 0 for none"),
    row(Key::Realtime, ("realtime", None), Switch, ON, AtStart, "run before all that has no realtime priority"),
];

impl Row {
    /// The row of a long name, matched whole.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        OPTIONS.iter().find(|row| row.long == name)
    }

    /// The row of a single letter.
    #[must_use]
    pub fn lettered(letter: char) -> Option<&'static Self> {
        OPTIONS.iter().find(|row| row.short == Some(letter))
    }

    /// The value that a text means, as the C daemon reads it, and how good the text was.
    pub(crate) fn read(&self, text: &str) -> (Value, Quality) {
        match self.kind {
            Kind::Switch => {
                let reading = number::decimal(text);
                (Value::Int(i32::from(reading.value != 0)), reading.quality)
            }
            Kind::Int => {
                let reading = number::decimal(text);
                (Value::Int(reading.value), reading.quality)
            }
            Kind::Unsigned => {
                let reading = number::unsigned(text);
                (Value::Unsigned(reading.value), reading.quality)
            }
            Kind::Text => (Value::Text(Arc::from(text)), Quality::Whole),
            Kind::Action => (Value::from(self.default), number::decimal(text).quality),
        }
    }

    /// The argument as the usage text shows it.
    fn argument(&self) -> &'static str {
        match self.kind {
            Kind::Switch => " 0|1",
            Kind::Int => " <int>",
            Kind::Unsigned => " <arg>",
            Kind::Text => " <str>",
            Kind::Action => "",
        }
    }
}

impl Key {
    /// The option's row.
    #[must_use]
    pub fn row(self) -> &'static Row {
        // Every key has a row (tested below); the first one stands in so that no panic can be reached.
        const FIRST: Row =
            row(Key::DaemonDebug, ("daemon_debug", Some('D')), Switch, OFF, AtRunTime, "");
        OPTIONS.iter().find(|row| row.key == self).unwrap_or(&FIRST)
    }
}

/// What `--help` prints: the C daemon's text, then our own options.
#[must_use]
pub fn usage() -> String {
    let mut text =
        String::from("Usage:\n\ndlm_controld [options]\n\nOption [arg]\nDescription [default]\n\n");
    for row in OPTIONS {
        let Some(description) = row.description else { continue };
        let short = row.short.map(|letter| format!(" | -{letter}")).unwrap_or_default();
        let default = match row.kind {
            Kind::Action => String::new(),
            Kind::Switch | Kind::Int | Kind::Unsigned | Kind::Text => {
                format!(" [{}]", Value::from(row.default))
            }
        };
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "  --{}{short}{}\n        {description}{default}\n\n",
            row.long,
            row.argument()
        );
    }
    text.push_str("  --check-config[=<path>]\n        check dlm.conf, report, then exit\n\n");
    text
}

/// What `--version` prints: the program's line in the form that the C daemon gives it, and a line of our own.
#[must_use]
pub fn version() -> String {
    let built = option_env!("DLM_BUILD_TIME").unwrap_or("from source");
    format!(
        "dlm_controld {} (built {built})\nLicence GPL-2.0-or-later\n",
        env!("CARGO_PKG_VERSION")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_key_has_one_row_in_order() {
        assert!(OPTIONS.windows(2).all(|pair| pair[0].key < pair[1].key));
        assert_eq!(OPTIONS.last().map(|row| row.key), Some(Key::Realtime));
        assert!(OPTIONS.iter().all(|row| row.key.row().long == row.long));
        let letters: Vec<char> = OPTIONS.iter().filter_map(|row| row.short).collect();
        assert_eq!(letters.len(), letters.iter().collect::<BTreeSet<_>>().len());
    }

    #[test]
    fn twelve_options_change_at_run_time() {
        let dynamic: Vec<&str> = OPTIONS
            .iter()
            .filter(|row| row.changes == Changes::AtRunTime)
            .map(|row| row.long)
            .collect();
        assert_eq!(
            dynamic,
            [
                "daemon_debug",
                "log_debug",
                "debug_logfile",
                "plock_debug",
                "plock_rate_limit",
                "drop_resources_time",
                "drop_resources_count",
                "drop_resources_age",
                "post_join_delay",
                "repeat_failed_fencing",
                "enable_quorum_fencing",
                "enable_quorum_lockspace",
            ]
        );
    }

    #[test]
    fn usage_begins_with_the_text_of_the_c_daemon() {
        let c = include_str!("testdata/usage-c-4.2.0.txt");
        let ours = usage();
        let own = ours.strip_prefix(c).unwrap_or_else(|| panic!("{ours}"));
        assert_eq!(
            own,
            "  --fence_agent_timeout <arg>\n        seconds that a fence agent may run before it counts as failed [300]\n\n  \
             --control_group <str>\n        group whose members may, besides root, send commands that change state []\n\n  \
             --flight_recorder <arg>\n        KiB of memory for a recording of what happens, 0 for none [1024]\n\n  \
             --realtime 0|1\n        run before all that has no realtime priority [1]\n\n  \
             --check-config[=<path>]\n        check dlm.conf, report, then exit\n\n"
        );
    }

    /// The line of a manual page that introduces an option.
    fn tag<'a>(page: &'a str, name: &str) -> &'a str {
        let entries = page.lines().zip(page.lines().skip(1)).filter(|(before, _)| *before == ".TP");
        let found = entries.map(|(_, line)| line).find(|line| line.split(' ').nth(1) == Some(name));
        found.unwrap_or_else(|| panic!("no entry for {name}"))
    }

    #[test]
    fn manual_pages_have_every_option_as_it_is() {
        let daemon = include_str!("../../../contrib/man/dlm_controld.8");
        let file = include_str!("../../../contrib/man/dlm.conf.5");
        for row in OPTIONS {
            let command_line = tag(daemon, &format!("\\-\\-{}", row.long));
            let letter = row.short.map(|letter| format!("\\-{letter}"));
            let has_letter = letter.is_none_or(|letter| command_line.contains(&letter));
            assert!(has_letter, "{command_line}");
            if row.kind == Kind::Action {
                assert!(file.contains(&format!(".B {}\n", row.long)), "{}", row.long);
                continue;
            }
            for entry in [command_line, tag(file, row.long)] {
                assert!(entry.contains(&format!("[{}]", Value::from(row.default))), "{entry}");
                assert_eq!(entry.contains("(*)"), row.changes == Changes::AtRunTime, "{entry}");
            }
        }
    }

    #[test]
    fn version_has_two_lines_and_the_form_of_the_c_daemon() {
        let text = version();
        assert!(text.starts_with("dlm_controld "), "{text}");
        assert!(text.lines().next().is_some_and(|line| line.contains(" (built ")), "{text}");
        assert_eq!(text.lines().count(), 2);
    }
}
