//! The configuration: command line, environment, dlm.conf and `set_config`, and what the rest of the daemon is told of them.
//!
//! Everything comes from one table ([`options::OPTIONS`]). The only input read here is dlm.conf, in [`Config::load`] and
//! [`Config::reload`]. The rules are in spec/cli.md sections 1 and 2, spec/control-socket.md section 8 and
//! spec/fencing.md section 9.

mod cli;
mod fencing;
mod file;
mod number;
pub mod options;
mod outcome;
mod problem;
mod settings;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dlm_core::options::{
    Device, DynamicOptions, FenceDevices, FixedOptions, LockspaceOptions, Switch,
};
use dlm_core::types::{LockspaceName, NodeId};

pub use cli::{DEBUG_VARIABLE, Invocation, UsageError};
use file::DlmConf;
pub use options::Key;
pub use outcome::{Change, Outcome, Refusal, Refused};
pub use problem::{ConfigError, Diagnostic, FenceProblem, Problem, Severity};
pub use settings::{Origin, Settings};

/// Where dlm.conf is.
pub const DEFAULT_PATH: &str = "/etc/dlm/dlm.conf";

/// The configuration at one moment. A clone is a snapshot: it shares what dlm.conf says and copies the few options that
/// somebody set.
#[derive(Clone, Debug)]
pub struct Config {
    settings: Settings,
    file: Arc<DlmConf>,
    path: PathBuf,
    debug_options: bool,
}

/// What reading dlm.conf said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// There is no such file, which is fine.
    pub missing: bool,
    /// Lines that are not as they should be.
    pub diagnostics: Vec<Diagnostic>,
    /// Options that changed, were refused, and lines for the debug log.
    pub outcome: Outcome,
}

impl Config {
    fn new(settings: Settings, path: PathBuf, debug_options: bool) -> Self {
        Self { settings, file: Arc::default(), path, debug_options }
    }

    /// Where dlm.conf is read from.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The values of all options.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What `--debug_options` prints on stdout after the command line and again after dlm.conf; only with daemon_debug.
    #[must_use]
    pub fn debug_text(&self) -> Option<String> {
        let wanted = self.debug_options && self.settings.is_on(Key::DaemonDebug);
        wanted.then(|| self.settings.debug_text())
    }

    /// Reads dlm.conf at start.
    ///
    /// # Errors
    /// The file is there but cannot be read, or has a bad `node` line: the daemon exits with 1.
    pub fn load(&mut self) -> Result<Report, ConfigError> {
        match self.read()? {
            Some(bytes) => self.load_bytes(&bytes),
            None => {
                let mut report = Report { missing: true, ..Report::default() };
                report.outcome.trace.push(format!(
                    "No config file {}, we assume default node configuration: mark 0",
                    self.path.display()
                ));
                Ok(report)
            }
        }
    }

    /// As [`Config::load`], with the file's content at hand.
    ///
    /// # Errors
    /// A bad `node` line: the daemon exits with 1.
    pub fn load_bytes(&mut self, bytes: &[u8]) -> Result<Report, ConfigError> {
        let (conf, diagnostics) = DlmConf::parse(bytes)?;
        let mut outcome = Outcome::default();
        for (key, value) in conf.option_lines() {
            outcome.trace.push(self.settings.set_file(*key, value.clone()));
        }
        for (node, mark) in conf.marks() {
            outcome.trace.push(format!("parsed node config id={node} mark={mark}"));
        }
        self.file = Arc::new(conf);
        Ok(Report { missing: false, diagnostics, outcome })
    }

    /// Reads dlm.conf again: options that can change at run time, fence devices, lockspaces and marks. A missing file
    /// changes nothing.
    ///
    /// # Errors
    /// As [`Config::load`]; nothing has changed then.
    pub fn reload(&mut self) -> Result<Report, ConfigError> {
        match self.read()? {
            Some(bytes) => self.reload_bytes(&bytes),
            None => Ok(Report { missing: true, ..Report::default() }),
        }
    }

    /// As [`Config::reload`], with the file's content at hand.
    ///
    /// # Errors
    /// A bad `node` line; nothing has changed then.
    pub fn reload_bytes(&mut self, bytes: &[u8]) -> Result<Report, ConfigError> {
        let (conf, diagnostics) = DlmConf::parse(bytes)?;
        let outcome = self.settings.reload(conf.options());
        self.file = Arc::new(conf);
        Ok(Report { missing: false, diagnostics, outcome })
    }

    /// Carries out the text of a `set_config` command ([`Settings::set_config`]).
    pub fn set_config(&mut self, command: &[u8]) -> Outcome {
        self.settings.set_config(command)
    }

    /// The only input of this room. `None`: no such file.
    fn read(&self) -> Result<Option<Vec<u8>>, ConfigError> {
        match std::fs::read(&self.path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(ConfigError::Read { path: self.path.clone(), source }),
        }
    }

    /// `--check-config`: a report on dlm.conf for stdout, and the exit code: 0 where all that the file asks for is in effect
    /// (warnings allowed), else 1.
    pub fn check(&mut self) -> (String, u8) {
        let path = self.path.display().to_string();
        let report = match self.load() {
            Ok(report) => report,
            Err(error) => return (format!("{path}: {error}\n"), 1),
        };
        let mut text = String::new();
        for diagnostic in &report.diagnostics {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{path}: {diagnostic}");
        }
        let risks = self.risks();
        for risk in &risks {
            let _ = writeln!(text, "{path}: warning: {risk}");
        }
        let worst = report.diagnostics.iter().map(|found| found.problem.severity()).max();
        match (report.missing, worst) {
            (true, _) => text.push_str(&format!("{path}: no such file, defaults are used\n")),
            (false, None) if risks.is_empty() => text.push_str(&format!("{path}: ok\n")),
            (false, _) => {}
        }
        (text, u8::from(worst == Some(Severity::Error)))
    }

    /// What is set as it should not be: an administrator must not overlook it.
    #[must_use]
    pub fn risks(&self) -> Vec<&'static str> {
        let risks = [
            (
                !self.settings.is_on(Key::EnableFencing),
                "enable_fencing=0: failed nodes are NOT fenced before recovery; if one is still alive, data will be corrupted",
            ),
            (
                self.settings.is_on(Key::EnableFscontrol),
                "enable_fscontrol=1: the mode of cluster 3 is not served, file systems that register for it get EOPNOTSUPP; \
                 remove the option",
            ),
        ];
        risks.into_iter().filter_map(|(is_set, text)| is_set.then_some(text)).collect()
    }

    /// Options that are fixed at start.
    #[must_use]
    pub fn fixed(&self) -> FixedOptions {
        FixedOptions {
            fencing: self.switch(Key::EnableFencing),
            startup_fencing: self.switch(Key::EnableStartupFencing),
            concurrent_fencing: self.switch(Key::EnableConcurrentFencing),
            agent_timeout_seconds: u64::from(self.settings.number(Key::FenceAgentTimeout)),
            plock: self.switch(Key::EnablePlock),
            helper: self.settings.is_on(Key::EnableHelper).into(),
            plock_ownership: (self.settings.origin(Key::PlockOwnership) != Origin::Default)
                .then(|| self.switch(Key::PlockOwnership)),
        }
    }

    /// Options of the core that can change at run time, as they are now.
    #[must_use]
    pub fn dynamic(&self) -> DynamicOptions {
        DynamicOptions {
            post_join_delay_seconds: u64::from(self.settings.number(Key::PostJoinDelay)),
            quorum_fencing: self.switch(Key::EnableQuorumFencing),
            quorum_lockspace: self.switch(Key::EnableQuorumLockspace),
            repeat_failed_fencing: self.switch(Key::RepeatFailedFencing),
            drop_resources_time_millis: u64::from(self.settings.number(Key::DropResourcesTime)),
            drop_resources_count: self.count(Key::DropResourcesCount),
            drop_resources_age_millis: u64::from(self.settings.number(Key::DropResourcesAge)),
        }
    }

    fn count(&self, key: Key) -> usize {
        usize::try_from(self.settings.number(key)).unwrap_or(usize::MAX)
    }

    fn switch(&self, key: Key) -> Switch {
        Switch::from(self.settings.is_on(key))
    }

    /// How each node is fenced. `nodes` are those of corosync's nodelist: where the file breaks fencing for nodes that it does
    /// not name, these are listed as broken and nodes that are not listed either have no device at all.
    #[must_use]
    pub fn fence_devices(&self, nodes: &[NodeId]) -> FenceDevices {
        self.file.fencing().devices(nodes)
    }

    /// The devices with which this node unfences itself at start, in file order.
    ///
    /// # Errors
    /// The node's fence configuration is broken: the daemon exits with 1, also with enable_fencing=0, as the C daemon does.
    pub fn unfence_devices(&self, our_node: NodeId) -> Result<Vec<Device>, &str> {
        self.file.fencing().unfence(our_node)
    }

    /// `lockspace` and `master` lines.
    #[must_use]
    pub fn lockspaces(&self) -> &BTreeMap<LockspaceName, LockspaceOptions> {
        self.file.lockspaces()
    }

    /// The node's own mark for the kernel's sockets, 0 where it has none: the kernel then takes that of the cluster.
    #[must_use]
    pub fn node_mark(&self, node: NodeId) -> u32 {
        self.file.mark(node).unwrap_or(0)
    }
}

/// For fuzzing: whatever the bytes, reading them as dlm.conf, as a `set_config` command and as a command line must not panic.
pub fn fuzz_config(bytes: &[u8]) {
    let args =
        bytes.split(|byte| *byte == b'\n').map(|arg| String::from_utf8_lossy(arg).into_owned());
    let invocation = Config::from_args(args.map(Into::into), None);
    let mut config = match invocation {
        Ok(Invocation::Run(config) | Invocation::CheckConfig(config)) => config,
        Ok(Invocation::Print(_)) | Err(_) => {
            Config::new(Settings::default(), PathBuf::from(DEFAULT_PATH), true)
        }
    };
    let loaded = config.load_bytes(bytes).is_ok();
    config.set_config(bytes);
    let reloaded = config.reload_bytes(bytes).is_ok();
    debug_assert_eq!(loaded, reloaded);
    let nodes: Vec<NodeId> = (1..4).filter_map(NodeId::new).collect();
    let devices = config.fence_devices(&nodes);
    for node in nodes {
        let _ = (
            devices.of(node).is_ok(),
            config.unfence_devices(node).is_ok(),
            config.node_mark(node),
        );
    }
    let _ = (config.settings().dump(), config.debug_text(), config.fixed(), config.dynamic());
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &[u8] = include_bytes!("../../../contrib/examples/dlm.conf");

    fn config() -> Config {
        Config::new(Settings::default(), PathBuf::from(DEFAULT_PATH), false)
    }

    /// A file of its own for each test.
    fn at(name: &str, content: Option<&str>) -> Config {
        let directory =
            std::env::temp_dir().join(format!("dlm-config-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).unwrap_or_else(|error| panic!("{error}"));
        let path = directory.join("dlm.conf");
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap_or_else(|error| panic!("{error}"));
        }
        Config::new(Settings::default(), path, false)
    }

    #[test]
    fn what_nobody_has_set_is_what_the_core_begins_with() {
        assert_eq!(config().dynamic(), DynamicOptions::default());
    }

    #[test]
    fn the_example_is_taken_without_a_word() {
        let mut config = config();
        let report = config.load_bytes(EXAMPLE).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(report.diagnostics, []);
    }

    /// What stands behind `#` and a blank-free word in the example is meant to be switched on by removing the `#`.
    #[test]
    fn the_example_with_everything_switched_on_is_taken_too() {
        let text = String::from_utf8_lossy(EXAMPLE);
        let on: String = text
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(rest) if !rest.starts_with(' ') && !rest.starts_with("fence_all") => rest,
                Some(rest) if rest.starts_with("unfence_all") => "#",
                _ => line,
            })
            .filter(|line| *line != "unfence_all")
            .fold(String::new(), |all, line| all + line + "\n");
        let mut config = config();
        let report = config.load_bytes(on.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(report.diagnostics, []);
        for row in options::OPTIONS.iter().filter(|row| row.description.is_some()) {
            let shown = on.contains(&format!("\n{}=", row.long));
            assert_eq!(shown, row.kind != options::Kind::Action, "{}", row.long);
        }
        let node = NodeId::new(1).unwrap_or_else(|| panic!("0"));
        assert!(!config.fence_devices(&[]).by_node.is_empty());
        assert!(config.unfence_devices(node).is_ok_and(|devices| !devices.is_empty()));
        assert!(!config.lockspaces().is_empty());
        assert_ne!(config.node_mark(node), 0);
    }

    #[test]
    fn core_options_come_from_the_table() {
        let mut config = config();
        assert_eq!(config.dynamic().post_join_delay_seconds, 30);
        assert_eq!(config.fixed().agent_timeout_seconds, 300);
        assert_eq!(config.fixed().startup_fencing, Switch::On);
        let loaded = config.load_bytes(
            b"enable_startup_fencing=0\nfence_agent_timeout=0x10\npost_join_delay=-5\nenable_quorum_lockspace=0\n",
        );
        assert!(loaded.is_ok());
        assert_eq!(config.fixed().startup_fencing, Switch::Off);
        assert_eq!(config.fixed().agent_timeout_seconds, 16);
        assert_eq!(config.dynamic().post_join_delay_seconds, 0);
        assert_eq!(config.dynamic().quorum_lockspace, Switch::Off);
        let outcome = config.set_config(b"enable_quorum_lockspace=1");
        assert_eq!(outcome.changed.len(), 1);
        assert_eq!(config.dynamic().quorum_lockspace, Switch::On);
    }

    #[test]
    fn the_files_lines_are_logged_as_the_c_daemon_logs_them() {
        let mut config = config();
        let report = config
            .load_bytes(b"node id=2 mark=0x10\nlog_debug=1\npost_join_delay=12\nfence_all a\n");
        assert_eq!(
            report.unwrap_or_default().outcome.trace,
            [
                "config file log_debug = 1 cli_set 0 use 1",
                "config file post_join_delay = 12 cli_set 0 use 12",
                "parsed node config id=2 mark=16"
            ]
        );
    }

    #[test]
    fn a_missing_file_is_fine_and_a_reload_without_file_changes_nothing() {
        let mut config = at("missing", None);
        assert!(config.load().is_ok_and(|report| report.missing));
        assert!(config.load_bytes(b"post_join_delay=3\n").is_ok());
        assert!(config.reload().is_ok_and(|report| report.missing));
        assert_eq!(config.dynamic().post_join_delay_seconds, 3);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_an_error_with_its_path() {
        let mut config = at("unreadable", None);
        let _ = std::fs::create_dir_all(config.path());
        let error = config.load().err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.starts_with("cannot read /") && error.contains("dlm.conf: "), "{error}");
    }

    #[test]
    fn reload_takes_new_devices_and_keeps_snapshots() {
        let mut config = config();
        let node = NodeId::new(1).unwrap_or_else(|| panic!("0"));
        assert!(config.load_bytes(b"fence_all one\n").is_ok());
        let before = config.clone();
        assert!(config.reload_bytes(b"fence_all two\n").is_ok());
        let agent = |config: &Config| {
            let devices = config.fence_devices(&[]);
            devices.of(node).ok().and_then(|list| list.first().map(|device| device.agent.clone()))
        };
        assert_eq!(agent(&before).as_deref(), Some("one"));
        assert_eq!(agent(&config).as_deref(), Some("two"));
        assert!(config.reload_bytes(b"fence_all three\nnode\n").is_err());
        assert_eq!(agent(&config).as_deref(), Some("two"));
    }

    #[test]
    fn check_reports_and_gives_the_exit_code() {
        for (name, content, code, end) in [
            ("check-ok", Some("log_debug=1\n"), 0, "dlm.conf: ok\n"),
            ("check-none", None, 0, "dlm.conf: no such file, defaults are used\n"),
            (
                "check-warn",
                Some("x=1\n"),
                0,
                "dlm.conf: line 1: warning: unknown key `x`: ignored; see dlm.conf(5) for the keys\n",
            ),
            (
                "check-fencing",
                Some("enable_fencing=0\n"),
                0,
                "dlm.conf: warning: enable_fencing=0: failed nodes are NOT fenced before recovery; if one is still alive, \
                 data will be corrupted\n",
            ),
            ("check-error", Some("log_debug\n"), 1, "no value, ignored; write log_debug=<value>\n"),
            (
                "check-node",
                Some("node\n"),
                1,
                "Invalid configuration line: node (line 1; write `node id=<nodeid> mark=<mark>`)\n",
            ),
        ] {
            let (text, exit) = at(name, content).check();
            assert!(exit == code && text.ends_with(end), "{name}: {exit} {text}");
        }
    }

    /// Bytes cut, doubled, swapped and overwritten, from fixed seeds.
    #[test]
    fn damaged_files_do_not_panic() {
        let fences = b"device foo:1 ag a=1\nconnect foo:1 node=1 p=1\nunfence foo:1\n\nlockspace l nodir=1\n\
            master l node=1 weight=2\n\nnode id=1 mark=0x5\n-DKP\n-j\n5\nlog_debug=1 plock_debug=restore\nfence_all a\nunfence_all\n";
        let words: [&[u8]; 8] =
            [b"=", b"\n", b" ", b"node=", b"\0", b"\xff", b"99999999999", b"device"];
        let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut next = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state >> 33).unwrap_or(0) % below.max(1)
        };
        for round in 0..4000 {
            let mut bytes = if round % 2 == 0 { EXAMPLE.to_vec() } else { fences.to_vec() };
            for _ in 0..next(12) {
                let place = next(bytes.len());
                match next(4) {
                    0 => bytes.truncate(place),
                    1 => {
                        let word = words.get(next(words.len())).copied().unwrap_or_default();
                        bytes.splice(place..place, word.iter().copied());
                    }
                    2 => {
                        let end = (place + next(40)).min(bytes.len());
                        bytes.drain(place..end);
                    }
                    _ => {
                        if let Some(byte) = bytes.get_mut(place) {
                            *byte = u8::try_from(next(256)).unwrap_or(0);
                        }
                    }
                }
            }
            fuzz_config(&bytes);
        }
        (0..EXAMPLE.len())
            .for_each(|length| fuzz_config(EXAMPLE.get(..length).unwrap_or_default()));
    }
}
