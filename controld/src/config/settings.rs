//! The options' values: who set them, which one counts, and how they change while the daemon runs.
//!
//! The value that counts is that of `set_config`, else of the command line, else of dlm.conf, else the default. Two habits of
//! the C daemon are not kept (spec/control-socket.md section 8): a reload there overwrites a `set_config` value but keeps its
//! mark, and takes a new line for unchanged when it says 0. Here a reload compares what the file said and says.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use super::number::Quality;
use super::options::{Changes, Key, Kind, OPTIONS, Row, Value};
use super::outcome::{COMMAND_MAX, Change, Outcome, Refusal, Refused};

/// Who set the value that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody.
    Default,
    /// A line of dlm.conf.
    File,
    /// The command line.
    CommandLine,
    /// `set_config`
    SetConfig,
}

impl Origin {
    /// What `dump_config` writes after the value.
    fn suffix(self) -> &'static str {
        match self {
            Self::Default => "",
            Self::File => " (dlm.conf)",
            Self::CommandLine => " (cli option)",
            Self::SetConfig => " (set_config)",
        }
    }
}

/// One option's values by origin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Setting {
    /// How often the command line named it; the C daemon logs the number.
    named: u32,
    /// Value of the command line; an option that was named without one counts with its default.
    command_line: Option<Value>,
    file: Option<Value>,
    dynamic: Option<Value>,
    /// Replaces the default (environment).
    base: Option<Value>,
}

/// The values of all options.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    by_key: BTreeMap<Key, Setting>,
}

impl Settings {
    /// The value that counts.
    #[must_use]
    pub fn value(&self, key: Key) -> Value {
        self.effective(key).0
    }

    /// Who set the value that counts.
    #[must_use]
    pub fn origin(&self, key: Key) -> Origin {
        self.effective(key).1
    }

    /// A switch is on, or a number is not 0.
    #[must_use]
    pub fn is_on(&self, key: Key) -> bool {
        match self.value(key) {
            Value::Int(value) => value != 0,
            Value::Unsigned(value) => value != 0,
            Value::Text(_) => false,
        }
    }

    /// A number that cannot be below 0: what is below counts as 0.
    #[must_use]
    pub fn number(&self, key: Key) -> u32 {
        match self.value(key) {
            Value::Int(value) => u32::try_from(value).unwrap_or(0),
            Value::Unsigned(value) => value,
            Value::Text(_) => 0,
        }
    }

    /// A text.
    #[must_use]
    pub fn text(&self, key: Key) -> Arc<str> {
        match self.value(key) {
            Value::Text(text) => text,
            Value::Int(_) | Value::Unsigned(_) => Arc::from(""),
        }
    }

    fn effective(&self, key: Key) -> (Value, Origin) {
        let default = || Value::from(key.row().default);
        let Some(setting) = self.by_key.get(&key) else { return (default(), Origin::Default) };
        if let Some(value) = &setting.dynamic {
            return (value.clone(), Origin::SetConfig);
        }
        if setting.named > 0 {
            let value = setting.command_line.clone().unwrap_or_else(default);
            return (value, Origin::CommandLine);
        }
        match (&setting.file, &setting.base) {
            (Some(value), _) => (value.clone(), Origin::File),
            (None, Some(value)) => (value.clone(), Origin::Default),
            (None, None) => (default(), Origin::Default),
        }
    }

    fn setting(&mut self, key: Key) -> &mut Setting {
        self.by_key.entry(key).or_default()
    }

    /// The command line named the option, with a value or without.
    pub(super) fn set_command_line(&mut self, key: Key, value: Option<Value>) {
        let setting = self.setting(key);
        setting.named = setting.named.saturating_add(1);
        if value.is_some() {
            setting.command_line = value;
        }
    }

    /// The environment asks for another default.
    pub(super) fn set_base(&mut self, key: Key, value: Value) {
        self.setting(key).base = Some(value);
    }

    /// A line of dlm.conf, at start. Answers the debug line.
    pub(super) fn set_file(&mut self, key: Key, value: Value) -> String {
        self.setting(key).file = Some(value);
        self.file_trace(key)
    }

    /// `config file <name> = <value> cli_set <n> use <effective>`
    fn file_trace(&self, key: Key) -> String {
        let setting = self.by_key.get(&key);
        let file = setting.and_then(|setting| setting.file.clone());
        let named = setting.map_or(0, |setting| setting.named);
        format!(
            "config file {} = {} cli_set {named} use {}",
            key.row().long,
            file.unwrap_or_else(|| Value::from(key.row().default)),
            self.value(key)
        )
    }

    /// `set_config`: words `<option>=<value>` or `<option>=restore`; as the first word also `restore_all`. Each word is
    /// taken or refused by itself. The command ends at the first NUL.
    pub fn set_config(&mut self, command: &[u8]) -> Outcome {
        let mut outcome = Outcome::default();
        if command.len() > COMMAND_MAX {
            let what = String::from("command");
            outcome.refused.push(Refused { what, why: Refusal::TooLong(command.len()) });
            return outcome;
        }
        let text = command.split(|byte| *byte == 0).next().unwrap_or_default();
        let words = words(&String::from_utf8_lossy(text));
        if words.first().is_some_and(|word| word == "restore_all") {
            return self.restore_all();
        }
        for word in words {
            match self.set_word(&word) {
                Ok(change) => outcome.note(change),
                Err(why) => outcome.refused.push(Refused { what: word, why }),
            }
        }
        outcome
    }

    /// Gives up every `set_config` value.
    pub fn restore_all(&mut self) -> Outcome {
        let mut outcome = Outcome::default();
        for row in OPTIONS {
            if self.by_key.get(&row.key).is_some_and(|setting| setting.dynamic.is_some()) {
                outcome.note(self.restore(row.key));
            }
        }
        outcome
    }

    /// Gives up the `set_config` value of one option: the command line counts again, else dlm.conf, else the default.
    pub fn restore(&mut self, key: Key) -> Change {
        let old = self.value(key);
        self.setting(key).dynamic = None;
        Change { key, old, new: self.value(key) }
    }

    fn set_word(&mut self, word: &str) -> Result<Change, Refusal> {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, value),
            None => (word, ""),
        };
        let row = Row::named(name).ok_or(Refusal::Unknown)?;
        if row.changes == Changes::AtStart {
            return Err(Refusal::StartOnly);
        }
        match value {
            "" => Err(Refusal::NoValue),
            "restore" => Ok(self.restore(row.key)),
            value => {
                let new = checked(row, value)?;
                let old = self.value(row.key);
                self.setting(row.key).dynamic = Some(new.clone());
                Ok(Change { key: row.key, old, new })
            }
        }
    }

    /// dlm.conf was read again: `file` is what it says now. Options that are read at start only keep their value and are
    /// reported where the file now says something else.
    pub(super) fn reload(&mut self, file: &BTreeMap<Key, Value>) -> Outcome {
        let mut outcome = Outcome::default();
        for row in OPTIONS {
            let said = self.by_key.get(&row.key).and_then(|setting| setting.file.as_ref());
            let says = file.get(&row.key);
            if said == says {
                continue;
            }
            if row.changes == Changes::AtStart {
                let what = row.long.to_owned();
                outcome.refused.push(Refused { what, why: Refusal::StartOnly });
                continue;
            }
            let old = self.value(row.key);
            self.setting(row.key).file = says.cloned();
            let new = self.value(row.key);
            if says.is_some() {
                outcome.trace.push(self.file_trace(row.key));
            }
            if old != new {
                outcome.changed.push(Change { key: row.key, old, new });
            }
        }
        outcome
    }

    /// The answer to `dump_config`: one line an option, without the empty line that dlm_tool adds.
    #[must_use]
    pub fn dump(&self) -> String {
        let mut text = String::new();
        for row in OPTIONS {
            let (value, origin) = self.effective(row.key);
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{}={value}{}", row.long, origin.suffix());
        }
        text
    }

    /// What the undocumented `--debug_options` prints together with daemon_debug.
    #[must_use]
    pub fn debug_text(&self) -> String {
        let mut text = String::new();
        for row in OPTIONS {
            let setting = self.by_key.get(&row.key).cloned().unwrap_or_default();
            let given = match setting.command_line {
                Some(Value::Int(value)) => (value, None),
                Some(Value::Text(value)) => (0, Some(value)),
                Some(Value::Unsigned(_)) | None => (0, None),
            };
            let used = match self.value(row.key) {
                Value::Int(value) => (value, None),
                Value::Text(value) => (-1, Some(value)),
                Value::Unsigned(0) => (0, None),
                Value::Unsigned(_) => (-1, None),
            };
            let _ = writeln!(
                text,
                "{:<25} cli_set {} cli_int {} cli_str {} use_int {} use_str {}",
                row.long,
                setting.named,
                given.0,
                given.1.as_deref().unwrap_or("(null)"),
                used.0,
                used.1.as_deref().unwrap_or("(null)")
            );
        }
        text
    }
}

/// Stricter than dlm.conf: whoever types a command is there to type it again.
fn checked(row: &Row, text: &str) -> Result<Value, Refusal> {
    let (value, quality) = row.read(text);
    let negative = text.trim_start().starts_with('-');
    match (row.kind, quality) {
        (Kind::Text, _) => Ok(value),
        (_, Quality::Whole) if !negative => Ok(value),
        _ => Err(Refusal::BadNumber(text.to_owned())),
    }
}

/// Words between white space; a backslash makes the next white space or backslash part of the word
/// (spec/run-commands.md).
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let next = chars.peek().copied().filter(|next| next.is_ascii_whitespace() || *next == '\\');
        match (c, next) {
            ('\\', Some(next)) => {
                word.push(next);
                chars.next();
            }
            (c, _) if c.is_ascii_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            (c, _) => word.push(c),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn int(value: i32) -> Value {
        Value::Int(value)
    }

    fn file(pairs: &[(Key, i32)]) -> BTreeMap<Key, Value> {
        pairs.iter().map(|(key, value)| (*key, int(*value))).collect()
    }

    #[test]
    fn set_config_beats_command_line_beats_file_beats_default() {
        let mut settings = Settings::default();
        let key = Key::PostJoinDelay;
        assert_eq!((settings.value(key), settings.origin(key)), (int(30), Origin::Default));
        assert_eq!(
            settings.set_file(key, int(12)),
            "config file post_join_delay = 12 cli_set 0 use 12"
        );
        assert_eq!((settings.value(key), settings.origin(key)), (int(12), Origin::File));
        settings.set_command_line(key, Some(int(5)));
        assert_eq!(
            settings.set_file(key, int(13)),
            "config file post_join_delay = 13 cli_set 1 use 5"
        );
        let outcome = settings.set_config(b"post_join_delay=7 \0\0");
        assert_eq!(outcome.trace, ["config dynamic post_join_delay = 7 previous use 5"]);
        assert_eq!(outcome.changed, [Change { key, old: int(5), new: int(7) }]);
        assert_eq!(settings.origin(key), Origin::SetConfig);
        assert_eq!(settings.restore(key), Change { key, old: int(7), new: int(5) });
    }

    #[test]
    fn set_config_takes_and_refuses_word_by_word() {
        let mut settings = Settings::default();
        let outcome = settings.set_config(
            b"nosuch=1 port=5 log_debug plock_debug= log_debug=x post_join_delay=5s post_join_delay=-1 plock_debug=1 help=1",
        );
        let refused: Vec<String> = outcome.refused.iter().map(ToString::to_string).collect();
        assert_eq!(
            refused,
            [
                "config nosuch=1: unknown option",
                "config port=5: cannot be changed at run time: restart the daemon",
                "config log_debug: no value: write <option>=<value>",
                "config plock_debug=: no value: write <option>=<value>",
                "config log_debug=x: `x` is not a number that this option can have",
                "config post_join_delay=5s: `5s` is not a number that this option can have",
                "config post_join_delay=-1: `-1` is not a number that this option can have",
                "config help=1: cannot be changed at run time: restart the daemon",
            ]
        );
        assert_eq!(outcome.trace, ["config dynamic plock_debug = 1 previous use 0"]);
        assert!(settings.is_on(Key::PlockDebug));
    }

    #[test]
    fn restore_all_is_known_as_the_first_word_only() {
        let mut settings = Settings::default();
        settings.set_config(b"plock_debug=1 log_debug=1");
        let outcome = settings.set_config(b"plock_debug=1 restore_all");
        assert_eq!(outcome.refused.len(), 1);
        let outcome = settings.set_config(b"restore_all log_debug=1");
        assert_eq!(
            outcome.trace,
            [
                "config dynamic log_debug = 0 previous use 1",
                "config dynamic plock_debug = 0 previous use 1"
            ]
        );
        assert_eq!(settings.origin(Key::LogDebug), Origin::Default);
    }

    #[test]
    fn too_long_a_command_changes_nothing() {
        let mut settings = Settings::default();
        let mut command = b"plock_debug=1 ".to_vec();
        command.resize(COMMAND_MAX + 1, 0);
        assert_eq!(settings.set_config(&command).refused.len(), 1);
        assert_eq!(settings, Settings::default());
        command.pop();
        assert_eq!(settings.set_config(&command).changed.len(), 1);
    }

    #[test]
    fn reload_sees_a_new_line_that_says_0() {
        let mut settings = Settings::default();
        let outcome = settings.reload(&file(&[(Key::EnableQuorumFencing, 0)]));
        assert_eq!(outcome.trace, ["config file enable_quorum_fencing = 0 cli_set 0 use 0"]);
        assert_eq!(outcome.changed.len(), 1);
        assert!(!settings.is_on(Key::EnableQuorumFencing));
        let outcome = settings.reload(&file(&[]));
        assert_eq!(outcome.changed.len(), 1);
        assert!(settings.is_on(Key::EnableQuorumFencing));
    }

    #[test]
    fn reload_leaves_set_config_and_command_line_values() {
        let mut settings = Settings::default();
        settings.set_command_line(Key::PostJoinDelay, Some(int(5)));
        settings.set_config(b"log_debug=0");
        let outcome =
            settings.reload(&file(&[(Key::PostJoinDelay, 9), (Key::LogDebug, 1), (Key::Mark, 1)]));
        assert_eq!(outcome.changed, []);
        assert_eq!(outcome.refused, [Refused { what: "mark".into(), why: Refusal::StartOnly }]);
        assert_eq!(settings.value(Key::PostJoinDelay), int(5));
        assert!(settings.dump().contains("\nlog_debug=0 (set_config)\n"));
        settings.restore_all();
        assert!(settings.dump().contains("\nlog_debug=1 (dlm.conf)\n"));
    }

    /// The C daemon's dump of tests at a real cluster: `-D`, dlm.conf with log_debug=1 and post_join_delay=12.
    #[test]
    fn dump_is_that_of_the_c_daemon_then_our_options() {
        let mut settings = Settings::default();
        settings.set_command_line(Key::DaemonDebug, Some(int(1)));
        settings.set_file(Key::LogDebug, int(1));
        settings.set_file(Key::PostJoinDelay, int(12));
        let ours = "fence_agent_timeout=300\ncontrol_group=\nflight_recorder=1024\nrealtime=1\n";
        let from_file = include_str!("testdata/dump_config-c-4.2.0-file.txt");
        assert_eq!(settings.dump(), format!("{from_file}{ours}"));
        settings.set_config(b"log_debug=0 plock_debug=1 ");
        let dynamic = include_str!("testdata/dump_config-c-4.2.0-set_config.txt");
        assert_eq!(settings.dump(), format!("{dynamic}{ours}"));
    }

    #[test]
    fn debug_text_names_each_option() {
        let mut settings = Settings::default();
        settings.set_command_line(Key::Protocol, Some(Value::Text("tcp".into())));
        let text = settings.debug_text();
        assert!(text.contains(
            "\nprotocol                  cli_set 1 cli_int 0 cli_str tcp use_int -1 use_str tcp\n\
             port                      cli_set 0 cli_int 0 cli_str (null) use_int -1 use_str (null)\n"
        ));
        assert!(text.contains("\nmark                      cli_set 0 cli_int 0 cli_str (null) use_int 0 use_str (null)\n"));
    }

    #[test]
    fn a_backslash_keeps_a_blank_in_a_word() {
        assert_eq!(words(r" a\ b  c\\d \e "), ["a b", r"c\d", r"\e"]);
    }
}
