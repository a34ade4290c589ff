//! The fence sections of dlm.conf (spec/fencing.md section 9).
//!
//! The C daemon reads the file once for each node and stops at the first thing wrong **for that node**: a bad connect line
//! breaks the nodes that have not found theirs above it in the same section, everything else breaks every node. One pass
//! gives the same answer: each node that the file names has a record, and one more stands for all the others.

use std::collections::{BTreeMap, BTreeSet};

use dlm_core::options::{Device, FenceDevices};
use dlm_core::types::NodeId;

use super::number;
use super::problem::FenceProblem;

/// Name of the device that a node without configuration has.
const FENCE_ALL: &str = "fence_all";

/// The agent of a node without configuration.
const DEFAULT_AGENT: &str = "dlm_stonith";

/// A device, and whether a node that has it reverses fencing when it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    device: Device,
    unfence: bool,
}

/// One node's devices, or why it has none.
type Record = Result<Vec<Entry>, String>;

/// The fence configuration as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fencing {
    named: BTreeMap<NodeId, Record>,
    others: Record,
    place: Place,
}

/// Where in the file the reading is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Outside,
    Section(Section),
    /// Right behind `fence_all`.
    FenceAll,
    /// Somewhere behind `fence_all`: the C daemon reads no further.
    Over,
}

/// A device's section, until its end is seen.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Section {
    name: String,
    agent: String,
    arguments: Vec<String>,
    unfence: bool,
    /// Nodes in it, each with its own arguments.
    nodes: BTreeMap<NodeId, Vec<String>>,
}

/// What the reader of the fence configuration says to a line.
pub(super) enum Verdict {
    /// Not one of its lines.
    NotMine,
    /// Taken.
    Taken,
    /// Taken, or refused, with something to say.
    Problem(FenceProblem),
}

impl Default for Fencing {
    fn default() -> Self {
        Self { named: BTreeMap::new(), others: Ok(Vec::new()), place: Place::Outside }
    }
}

impl Fencing {
    /// The next line of the file. `line` counts from 1; `text` is `None` where it is not UTF-8.
    pub(super) fn line(&mut self, line: usize, text: &str, utf8: bool) -> Verdict {
        if matches!(self.place, Place::FenceAll) {
            self.place = Place::Over;
            if text.starts_with("unfence_all") {
                if let Ok(entries) = &mut self.others {
                    entries.iter_mut().for_each(|entry| entry.unfence = true);
                }
                return Verdict::Taken;
            }
        }
        if let Place::Section(_) = self.place {
            return self.section_line(line, text, utf8);
        }
        self.outside_line(line, text, utf8)
    }

    /// A line that begins with `#`. It is nothing in a section, but still a line behind `fence_all`.
    pub(super) fn comment(&mut self) {
        if self.place == Place::FenceAll {
            self.place = Place::Over;
        }
    }

    fn outside_line(&mut self, line: usize, text: &str, utf8: bool) -> Verdict {
        let device = text.starts_with("device");
        let fence_all = text.starts_with(FENCE_ALL);
        match self.place {
            Place::Over if device || fence_all => {
                // The section's other lines are passed over without more words.
                return Verdict::Problem(FenceProblem::AfterFenceAll);
            }
            _ if text.starts_with("unfence_all") => {
                return Verdict::Problem(FenceProblem::StrayUnfenceAll);
            }
            Place::Over if is_section_word(text) => return Verdict::Taken,
            _ if is_section_word(text) => return Verdict::Problem(FenceProblem::Stray),
            _ if !(device || fence_all) => return Verdict::NotMine,
            _ => {}
        }
        let result = match (utf8, device) {
            (false, _) => Err(FenceProblem::NotUtf8),
            (true, true) => self.begin_section(text),
            (true, false) => self.fence_all(line, text),
        };
        match result {
            Ok(verdict) => verdict,
            Err(problem) => self.break_all(line, problem),
        }
    }

    fn begin_section(&mut self, text: &str) -> Result<Verdict, FenceProblem> {
        let (name, rest) = word(word(text).1);
        let (agent, arguments) = word(rest);
        if agent.is_empty() {
            return Err(FenceProblem::DeviceIncomplete);
        }
        self.place = Place::Section(Section {
            name: name.to_owned(),
            agent: agent.to_owned(),
            arguments: split(arguments),
            unfence: false,
            nodes: BTreeMap::new(),
        });
        Ok(Verdict::Taken)
    }

    /// `fence_all` is for every node that has no device above it; a node that has one is broken.
    fn fence_all(&mut self, line: usize, text: &str) -> Result<Verdict, FenceProblem> {
        let (agent, arguments) = word(word(text).1);
        if agent.is_empty() {
            self.place = Place::Over;
            return Err(FenceProblem::FenceAllIncomplete);
        }
        let device = Device {
            name: FENCE_ALL.to_owned(),
            agent: agent.to_owned(),
            arguments: split(arguments),
        };
        self.place = Place::FenceAll;
        if let Ok(entries) = &mut self.others {
            *entries = vec![Entry { device, unfence: false }];
        }
        let problem = FenceProblem::FenceAllAfterDevices;
        let mut broken = false;
        for record in self.named.values_mut().filter(|record| record.is_ok()) {
            *record = Err(reason(line, &problem));
            broken = true;
        }
        Ok(if broken { Verdict::Problem(problem) } else { Verdict::Taken })
    }

    fn section_line(&mut self, line: usize, text: &str, utf8: bool) -> Verdict {
        if text.is_empty() || text.starts_with(' ') {
            self.end_section();
            return if text.trim().is_empty() { Verdict::Taken } else { Verdict::NotMine };
        }
        let Place::Section(section) = &mut self.place else { return Verdict::NotMine };
        let result = match text {
            _ if !utf8 => Err(FenceProblem::NotUtf8),
            _ if text.starts_with("connect") => section.connect(text),
            _ if text.starts_with("unfence") => section.unfence(text),
            _ => Err(FenceProblem::NotOfSection(section.name.clone())),
        };
        match result {
            Ok(None) => Verdict::Taken,
            Ok(Some(problem)) => Verdict::Problem(problem),
            Err(
                problem @ (FenceProblem::ConnectName { .. } | FenceProblem::ConnectWithoutNode(_)),
            ) => {
                let found: BTreeSet<NodeId> = section.nodes.keys().copied().collect();
                self.break_all_but(line, &problem, &found);
                Verdict::Problem(problem)
            }
            Err(problem) => {
                let verdict = self.break_all(line, problem);
                if text.starts_with("device") {
                    // Most likely the empty line between two sections is missing: go on with the second one, so that
                    // its lines are not reported too.
                    self.place = Place::Outside;
                    let _ = self.begin_section(text);
                }
                verdict
            }
        }
    }

    fn break_all(&mut self, line: usize, problem: FenceProblem) -> Verdict {
        self.break_all_but(line, &problem, &BTreeSet::new());
        Verdict::Problem(problem)
    }

    /// The first thing wrong is what counts for a node.
    fn break_all_but(&mut self, line: usize, problem: &FenceProblem, spared: &BTreeSet<NodeId>) {
        for node in spared {
            let others = self.others.clone();
            self.named.entry(*node).or_insert(others);
        }
        let named = self.named.iter_mut().filter(|(node, _)| !spared.contains(node));
        for record in named.map(|(_, record)| record).chain([&mut self.others]) {
            if record.is_ok() {
                *record = Err(reason(line, problem));
            }
        }
    }

    fn end_section(&mut self) {
        let Place::Section(section) = std::mem::replace(&mut self.place, Place::Outside) else {
            return;
        };
        for (node, own) in section.nodes {
            let others = self.others.clone();
            if let Ok(entries) = self.named.entry(node).or_insert(others) {
                let device = Device {
                    name: section.name.clone(),
                    agent: section.agent.clone(),
                    arguments: section.arguments.iter().cloned().chain(own).collect(),
                };
                entries.push(Entry { device, unfence: section.unfence });
            }
        }
    }

    /// The end of the file is also that of a section.
    pub(super) fn finish(&mut self) {
        self.end_section();
    }

    fn record(&self, node: NodeId) -> &Record {
        self.named.get(&node).unwrap_or(&self.others)
    }

    /// For the core. `nodes` are the nodes of the cluster as far as known: where the configuration is broken for nodes that
    /// it does not name, these are listed, and any other node is left with no device at all.
    pub(super) fn devices(&self, nodes: &[NodeId]) -> FenceDevices {
        let mut devices = FenceDevices {
            fallback: match &self.others {
                Ok(entries) if entries.is_empty() => vec![default_device()],
                Ok(entries) => plain(entries),
                Err(_) => Vec::new(),
            },
            ..FenceDevices::default()
        };
        for node in nodes.iter().chain(self.named.keys()) {
            match self.record(*node) {
                Ok(entries) if self.named.contains_key(node) => {
                    devices.by_node.insert(*node, plain(entries));
                }
                Ok(_) => {}
                Err(reason) => {
                    devices.broken.insert(*node, reason.clone());
                }
            }
        }
        devices
    }

    /// The devices that `node` turns on for itself when it starts, in file order.
    pub(super) fn unfence(&self, node: NodeId) -> Result<Vec<Device>, &str> {
        let entries = self.record(node).as_ref().map_err(String::as_str)?;
        Ok(entries.iter().filter(|entry| entry.unfence).map(|entry| entry.device.clone()).collect())
    }
}

impl Section {
    fn connect(&mut self, text: &str) -> Result<Option<FenceProblem>, FenceProblem> {
        let (name, arguments) = word(word(text).1);
        if name != self.name {
            let (device, found) = (self.name.clone(), name.to_owned());
            return Err(FenceProblem::ConnectName { device, found });
        }
        // The first `node=` counts, wherever it stands: so it has always been read.
        let Some((_, id)) = arguments.split_once("node=") else {
            return Err(FenceProblem::ConnectWithoutNode(self.name.clone()));
        };
        let id = number::decimal(id).value;
        let Some(node) = u32::try_from(id).ok().and_then(NodeId::new) else {
            return Ok(Some(FenceProblem::ConnectNodeId(i64::from(id))));
        };
        if self.nodes.contains_key(&node) {
            return Ok(Some(FenceProblem::ConnectAgain(node.get())));
        }
        self.nodes.insert(node, split(arguments));
        Ok(None)
    }

    fn unfence(&mut self, text: &str) -> Result<Option<FenceProblem>, FenceProblem> {
        if !text.contains(&self.name) {
            return Err(FenceProblem::UnfenceName(self.name.clone()));
        }
        self.unfence = true;
        Ok(None)
    }
}

fn default_device() -> Device {
    Device { name: FENCE_ALL.to_owned(), agent: DEFAULT_AGENT.to_owned(), arguments: Vec::new() }
}

fn plain(entries: &[Entry]) -> Vec<Device> {
    entries.iter().map(|entry| entry.device.clone()).collect()
}

fn reason(line: usize, problem: &FenceProblem) -> String {
    format!("dlm.conf line {line}: {problem}")
}

fn is_section_word(text: &str) -> bool {
    text.starts_with("connect") || text.starts_with("unfence")
}

/// The first word and what follows it.
fn word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

fn split(arguments: &str) -> Vec<String> {
    arguments.split_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::super::file::DlmConf;
    use super::*;

    /// What nodes 1 and 2 unfence themselves with, as the C daemon was seen to run its agents (`device agent arguments`),
    /// or `broken`.
    fn unfence(text: &str, node: u32) -> String {
        let (conf, _) = DlmConf::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
        let node = NodeId::new(node).unwrap_or_else(|| panic!("0"));
        match conf.fencing().unfence(node) {
            Err(_) => "broken".to_owned(),
            Ok(devices) => devices
                .iter()
                .map(|device| {
                    format!("{} {} {}", device.name, device.agent, device.arguments.join("|"))
                })
                .collect::<Vec<_>>()
                .join("; "),
        }
    }

    /// A section for node 1, still open.
    macro_rules! foo {
        () => {
            "device foo ag a=1\nconnect foo node=1 p=1\n"
        };
    }

    /// What node 1 runs if that section has an unfence line.
    const ON: &str = "foo ag a=1|node=1|p=1";

    /// Text, what node 1 does, what node 2 does. Every case was run on the C daemon 4.2.0; where it crashes, we say broken.
    fn check(cases: &[(&str, &str, &str)]) {
        for (text, one, two) in cases {
            let seen = (unfence(text, 1), unfence(text, 2));
            assert_eq!(seen, ((*one).into(), (*two).into()), "{text}");
        }
    }

    #[test]
    fn sections_end_and_break_as_in_the_c_daemon() {
        check(&[
            (
                "device foo:1 ag a=1\nconnect foo:1 node=1 p=1\nconnect foo:2 node=2\nunfence foo:1\n",
                "foo:1 ag a=1|node=1|p=1",
                "broken",
            ),
            (concat!(foo!(), "connect bar node=2\nunfence foo\n"), ON, "broken"),
            (
                "device foo ag\nconnect bar node=2\nconnect foo node=1\nunfence foo\n",
                "broken",
                "broken",
            ),
            (concat!(foo!(), "foo\nunfence foo\n"), "broken", "broken"),
            (concat!(foo!(), "unfence foo\n log_debug=1\n\nbogus\n"), ON, ""),
            (concat!(foo!(), "connect foo node=1 p=2\nunfence foo\n"), ON, ""),
            ("device foo ag a=1\nunfence foo\nconnect foo node=1 p=1\n", ON, ""),
            (concat!(foo!(), "unfence xfoox\n"), ON, ""),
            (concat!(foo!(), "unfencefoo\n"), ON, ""),
            (concat!(foo!(), "unfence bar\n"), "broken", "broken"),
            (concat!(foo!(), "unfence\n"), "broken", "broken"),
            (concat!(foo!(), "device bar ag2\n"), "broken", "broken"),
            (concat!(foo!(), "unfence foo"), ON, ""),
            (concat!(foo!(), "\nunfence foo\n"), "", ""),
            (concat!(foo!(), " \nfoo\n"), "", ""),
            (concat!(foo!(), "\t\n"), "broken", "broken"),
            ("device foo ag\n\tconnect foo node=1\n", "broken", "broken"),
            ("device foo\nconnect foo node=1\nunfence foo\n", "broken", "broken"),
            ("device\n", "broken", "broken"),
            ("devices foo ag a=1\nconnect foo node=1 p=1\nunfence foo\n", ON, ""),
            ("devicefoo ag\nconnect foo node=1\n", "broken", "broken"),
        ]);
    }

    #[test]
    fn words_of_a_section_are_found_as_in_the_c_daemon() {
        check(&[
            (
                "device  foo   ag  a=1   b=2 \nconnect  foo   p=1  node=1   q=2 \nunfence foo\n",
                "foo ag a=1|b=2|p=1|node=1|q=2",
                "",
            ),
            (
                "device foo ag node=9\nconnect foo xnode=1 p=1\nunfence foo\n",
                "foo ag node=9|xnode=1|p=1",
                "",
            ),
            ("device foo ag\nconnect foo node=01\nunfence foo\n", "foo ag node=01", ""),
            ("device foo ag\nconnect foo node=1x\nunfence foo\n", "foo ag node=1x", ""),
            ("device foo ag\nconnect foo node=0x1\nunfence foo\n", "", ""),
            ("device foo ag\nconnect foo node= 1\nunfence foo\n", "foo ag node=|1", ""),
            ("device foo ag\nconnect foo node=x\nunfence foo\n", "", ""),
            ("device foo ag\nconnect foo node=-1\nunfence foo\n", "", ""),
            (
                "device foo ag\nconnect foo p=node=1 node=2\nunfence foo\n",
                "foo ag p=node=1|node=2",
                "",
            ),
            ("device foo ag\nconnect foo p=1\nunfence foo\n", "broken", "broken"),
            ("device foo ag\nconnect foo\n", "broken", "broken"),
            ("device foo ag\nconnect\n", "broken", "broken"),
            ("device foo ag\nconnectfoo node=1\n", "broken", "broken"),
            ("device foo ag\nconnect foo,node=1 node=2\n", "broken", "broken"),
            (concat!(foo!(), "#c\nunfence foo\n#d\n"), ON, ""),
            (concat!("connect foo node=1\nunfence foo\n\n", foo!(), "unfence foo\n"), ON, ""),
            ("device bar ag\nbogus\n\ndevice foo ag\nconnect foo node=1\n", "broken", "broken"),
            (
                concat!(foo!(), "unfence foo\n\ndevice bar ag\nconnect x node=2\n"),
                "broken",
                "broken",
            ),
        ]);
    }

    #[test]
    fn fence_all_counts_as_in_the_c_daemon() {
        check(&[
            (
                "fence_all ag x=1\nunfence_all\ndevice foo ag2\nconnect foo node=1\nunfence foo\n",
                "fence_all ag x=1",
                "fence_all ag x=1",
            ),
            (concat!(foo!(), "\nfence_all ag\nunfence_all\n\nfoo\n"), "broken", "fence_all ag "),
            ("fence_all\nunfence_all\n", "broken", "broken"),
            ("fence_all ag\n\nunfence_all\n", "", ""),
            ("fence_all ag\n#c\nunfence_all\n", "", ""),
            ("fence_all ag\nunfence_all_x\n", "fence_all ag ", "fence_all ag "),
            ("fence_allag x=1\nunfence_all\n", "fence_all x=1 ", "fence_all x=1 "),
            (
                " fence_all ag\nunfence_all\nfence_all ag2\nunfence_all\nfence_all ag3\n",
                "fence_all ag2 ",
                "fence_all ag2 ",
            ),
            (
                "device a ag i=1\nconnect a node=1\nunfence a\n\ndevice b ag\nconnect b node=1\n\n\
                 device c ag i=3\nconnect c node=1\nunfence c\n",
                "a ag i=1|node=1; c ag i=3|node=1",
                "",
            ),
        ]);
    }

    #[test]
    fn a_node_may_have_any_number_of_devices_and_words_of_any_length() {
        let mut text = String::new();
        for i in 0..40 {
            let long = "x".repeat(5000);
            text += &format!("device d{i} agent pw={long}\nconnect d{i} node=70000\n\n");
        }
        let (conf, diagnostics) = DlmConf::parse(text.as_bytes()).unwrap_or_default();
        assert_eq!(diagnostics, []);
        let node = NodeId::new(70000).unwrap_or_else(|| panic!("0"));
        let devices = conf.fencing().devices(&[]);
        let own = devices.of(node).unwrap_or_default();
        assert_eq!(own.len(), 40);
        assert!(
            own.iter().all(|device| device.arguments.iter().map(String::len).sum::<usize>() > 5000)
        );
    }

    #[test]
    fn a_node_without_devices_has_dlm_stonith() {
        let devices = Fencing::default().devices(&[]);
        let node = NodeId::new(3).unwrap_or_else(|| panic!("0"));
        assert_eq!(devices.of(node), Ok(&[default_device()][..]));
    }

    #[test]
    fn broken_for_all_reaches_the_nodes_of_the_cluster() {
        let (conf, _) = DlmConf::parse(b"device foo\n").unwrap_or_default();
        let node = NodeId::new(3).unwrap_or_else(|| panic!("0"));
        let devices = conf.fencing().devices(&[node]);
        let reason = devices.of(node).err().unwrap_or_default();
        assert!(
            reason.starts_with("dlm.conf line 1: no node can be fenced: a device line"),
            "{reason}"
        );
        assert_eq!(devices.fallback, []);
    }

    #[test]
    fn bytes_that_are_not_utf8_break_fencing_instead_of_changing_a_password() {
        let text = b"device foo ag passwd=\xff\nconnect foo node=1\n";
        let (conf, diagnostics) = DlmConf::parse(text).unwrap_or_default();
        let node = NodeId::new(1).unwrap_or_else(|| panic!("0"));
        assert!(conf.fencing().devices(&[node]).of(node).is_err());
        assert_eq!(diagnostics.first().map(|d| d.line), Some(1));
    }
}
