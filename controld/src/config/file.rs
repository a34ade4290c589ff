//! dlm.conf (spec/cli.md section 2), read in one pass: each line is shown to the readers of fence sections, of lockspaces and
//! masters, of node marks, and of options, which the C daemon runs over the file one after the other. There is no limit to
//! the length of a line. A carriage return at its end does not count.

use std::collections::BTreeMap;

use dlm_core::options::LockspaceOptions;
use dlm_core::types::{LockspaceName, NodeId};

use super::fencing::{Fencing, Verdict};
use super::number::{self, Quality};
use super::options::{Key, Kind, Row, Value};
use super::problem::{ConfigError, Diagnostic, Problem};

/// More diagnostics than these help nobody; they bound the memory that a file of garbage costs.
const DIAGNOSTICS_MAX: usize = 1000;

/// What dlm.conf says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct DlmConf {
    options: BTreeMap<Key, Value>,
    /// Every option line, for the debug log.
    option_lines: Vec<(Key, Value)>,
    marks: BTreeMap<NodeId, u32>,
    lockspaces: BTreeMap<LockspaceName, LockspaceOptions>,
    fencing: Fencing,
}

/// The reading of one file.
#[derive(Default)]
struct Reader {
    conf: DlmConf,
    /// The lockspace whose `master` lines may follow.
    masters_of: Option<LockspaceName>,
    diagnostics: Vec<Diagnostic>,
}

impl DlmConf {
    /// Reads a whole file.
    ///
    /// # Errors
    /// A `node` line that says something else than a mark; everything else is a diagnostic.
    pub(super) fn parse(bytes: &[u8]) -> Result<(Self, Vec<Diagnostic>), ConfigError> {
        let mut reader = Reader::default();
        for (index, raw) in bytes.split(|byte| *byte == b'\n').enumerate() {
            reader.line(index.saturating_add(1), raw)?;
        }
        reader.conf.fencing.finish();
        Ok((reader.conf, reader.diagnostics))
    }

    /// The last value of each option.
    pub(super) fn options(&self) -> &BTreeMap<Key, Value> {
        &self.options
    }

    /// The options in the order of their lines.
    pub(super) fn option_lines(&self) -> &[(Key, Value)] {
        &self.option_lines
    }

    pub(super) fn mark(&self, node: NodeId) -> Option<u32> {
        self.marks.get(&node).copied()
    }

    pub(super) fn marks(&self) -> &BTreeMap<NodeId, u32> {
        &self.marks
    }

    pub(super) fn lockspaces(&self) -> &BTreeMap<LockspaceName, LockspaceOptions> {
        &self.lockspaces
    }

    pub(super) fn fencing(&self) -> &Fencing {
        &self.fencing
    }
}

impl Reader {
    fn report(&mut self, line: usize, problem: Problem) {
        if self.diagnostics.len() < DIAGNOSTICS_MAX {
            self.diagnostics.push(Diagnostic { line, problem });
        }
    }

    fn line(&mut self, line: usize, raw: &[u8]) -> Result<(), ConfigError> {
        if raw.starts_with(b"#") {
            self.conf.fencing.comment();
            return Ok(());
        }
        let raw = raw.strip_suffix(b"\r").unwrap_or(raw);
        let bytes = raw.split(|byte| *byte == 0).next().unwrap_or_default();
        if bytes.len() < raw.len() {
            self.report(line, Problem::Nul);
        }
        let lossy = String::from_utf8_lossy(bytes);
        let text = lossy.as_ref();
        // The only line that stops the start, so it comes before all others.
        if text.starts_with("node") {
            self.node(line, text)?;
        }
        let verdict = self.conf.fencing.line(line, text, std::str::from_utf8(bytes).is_ok());
        let fence = !matches!(verdict, Verdict::NotMine);
        if let Verdict::Problem(problem) = verdict {
            self.report(line, Problem::Fence(problem));
        }
        let lockspace = self.lockspace(line, bytes, text);
        let taken = fence || lockspace || text.starts_with("node") || self.blank(line, text);
        self.option(line, text, taken);
        Ok(())
    }

    /// Lines without a word in the first column. They end sections, no more.
    fn blank(&mut self, line: usize, text: &str) -> bool {
        if !text.is_empty() && !text.starts_with(char::is_whitespace) {
            return false;
        }
        if !text.trim().is_empty() {
            self.report(line, Problem::Indented);
        }
        true
    }

    /// `node id=<n> mark=<m>`; white space may stand, or be missing, where `scanf` does not mind.
    fn node(&mut self, line: usize, text: &str) -> Result<(), ConfigError> {
        let Some((id, mark)) = node_line(text) else {
            return Err(ConfigError::NodeLine { line, text: text.to_owned() });
        };
        let Some(node) = u32::try_from(id).ok().and_then(NodeId::new) else {
            self.report(line, Problem::NodeId(i64::from(id)));
            return Ok(());
        };
        let reading = number::unsigned(mark);
        let counts = match reading.quality {
            Quality::Cut => 0,
            Quality::Whole | Quality::Trailing | Quality::Missing => reading.value,
        };
        if reading.quality != Quality::Whole {
            let value = mark.to_owned();
            self.report(line, Problem::Mark { node: node.get(), value, counts });
        }
        self.conf.marks.insert(node, counts);
        Ok(())
    }

    /// `lockspace` and `master` lines.
    fn lockspace(&mut self, line: usize, bytes: &[u8], text: &str) -> bool {
        if text.starts_with("lockspace") {
            let name = words(bytes).nth(1).and_then(LockspaceName::new);
            if let Some(name) = &name {
                let options = self.conf.lockspaces.entry(name.clone()).or_default();
                if let Some((_, nodir)) = text.split_once("nodir=") {
                    options.nodir = number::decimal(nodir).value != 0;
                }
            } else {
                self.report(line, Problem::LockspaceName);
            }
            self.masters_of = name;
            return true;
        }
        if !text.starts_with("master") {
            self.masters_of = None;
            return false;
        }
        let name = words(bytes).nth(1).unwrap_or_default();
        let of = self.masters_of.take().filter(|of| of.as_bytes() == name);
        match of {
            Some(of) => self.master(line, of, text),
            None => {
                let name = String::from_utf8_lossy(name).into_owned();
                self.report(line, Problem::StrayMaster(name));
            }
        }
        true
    }

    fn master(&mut self, line: usize, of: LockspaceName, text: &str) {
        let Some((_, id)) = text.split_once("node=") else {
            return self.report(line, Problem::MasterWithoutNode);
        };
        let weight = match text.split_once("weight=") {
            None => 1,
            Some((_, weight)) => {
                let value = u32::try_from(number::decimal(weight).value).ok();
                let quality = number::decimal(weight.split_whitespace().next().unwrap_or_default());
                if value.is_none() || quality.quality == Quality::Missing {
                    self.report(line, Problem::Weight(weight.to_owned()));
                }
                value.unwrap_or(0)
            }
        };
        let id = number::decimal(id).value;
        match u32::try_from(id).ok().and_then(NodeId::new) {
            Some(node) => {
                self.conf.lockspaces.entry(of.clone()).or_default().masters.insert(node, weight);
            }
            None => self.report(line, Problem::NodeId(i64::from(id))),
        }
        self.masters_of = Some(of);
    }

    /// `<name>=<value>`: the value is the first word behind the first `=`.
    fn option(&mut self, line: usize, text: &str, taken: bool) {
        let end = text.find([' ', '\t', '=']).unwrap_or(text.len());
        let name = text.get(..end).unwrap_or_default();
        let Some(row) = Row::named(name).filter(|row| row.kind != Kind::Action) else {
            if !taken {
                self.report(line, Problem::UnknownKey(name.to_owned()));
            }
            return;
        };
        let behind = text.split_once('=').map_or("", |(_, behind)| behind);
        let Some(text) = behind.split_whitespace().next() else {
            return self.report(line, Problem::NoValue(name.to_owned()));
        };
        let (value, quality) = row.read(text);
        if let Some(problem) = doubt(row, text, &value, quality) {
            let refused = problem == Problem::AgentTimeoutZero;
            self.report(line, problem);
            if refused {
                return;
            }
        }
        self.conf.options.insert(row.key, value.clone());
        self.conf.option_lines.push((row.key, value));
    }
}

/// What is odd about an option's value.
fn doubt(row: &Row, text: &str, value: &Value, quality: Quality) -> Option<Problem> {
    let (name, given, counts) = (row.long.to_owned(), text.to_owned(), value.to_string());
    match (quality, value) {
        (_, Value::Unsigned(0)) if row.key == Key::FenceAgentTimeout => {
            Some(Problem::AgentTimeoutZero)
        }
        (Quality::Missing, _) => Some(Problem::NotANumber { name, value: given }),
        (Quality::Cut, _) => Some(Problem::DoesNotFit { name, value: given, counts }),
        (Quality::Trailing, _) => Some(Problem::NotOnlyANumber { name, value: given, counts }),
        (Quality::Whole, Value::Int(value)) if *value < 0 && row.key != Key::BindAll => {
            Some(Problem::Negative { name, value: given })
        }
        (Quality::Whole, Value::Text(value)) if row.key == Key::Protocol => {
            let known = ["tcp", "sctp", "detect", "0", "1", "2"].contains(&value.as_ref());
            (!known).then_some(Problem::Protocol(given))
        }
        (Quality::Whole, _) => None,
    }
}

/// Id and mark of a `node` line, as `scanf` finds them.
fn node_line(text: &str) -> Option<(i32, &str)> {
    let rest = text.strip_prefix("node")?.trim_start().strip_prefix("id=")?.trim_start();
    let sign = usize::from(rest.starts_with(['+', '-']));
    let digits = rest.get(sign..)?;
    let length = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    if length == 0 {
        return None;
    }
    let mark = digits.get(length..)?.trim_start().strip_prefix("mark=")?;
    Some((number::decimal(rest).value, mark.split_whitespace().next()?))
}

/// Words between white space.
fn words(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> (DlmConf, Vec<String>) {
        let (conf, found) =
            DlmConf::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
        (conf, found.iter().map(ToString::to_string).collect())
    }

    fn options(text: &str) -> String {
        let pairs = parse(text).0.option_lines;
        pairs
            .iter()
            .map(|(key, value)| format!("{}={value}", key.row().long))
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// Every case was run on the C daemon 4.2.0.
    #[test]
    fn option_lines_mean_what_they_mean_to_the_c_daemon() {
        for (text, expected) in [
            ("port=5\nmark=0x10\nprotocol=tcp", "port=5 mark=16 protocol=tcp"),
            ("log_debug=2\nbind_all=-3\n", "log_debug=1 bind_all=-3"),
            (
                "port=99999999999\nport=010\nport=x\nmark=-1\n",
                "port=1215752191 port=8 port=0 mark=4294967295",
            ),
            ("post_join_delay=99999999999\n", "post_join_delay=1215752191"),
            ("log_debug=x\nenable_plock=0x\n", "log_debug=0 enable_plock=0"),
            ("post_join_delay = 7\n", "post_join_delay=7"),
            ("post_join_delay=  8  9\n", "post_join_delay=8"),
            ("post_join_delay\t=\t9 x\n", "post_join_delay=9"),
            ("post_join_delay x=11\n", "post_join_delay=11"),
            ("post_join_delay==12\n", "post_join_delay=0"),
            (" post_join_delay=13\n#post_join_delay=14\n", ""),
            (
                "post_join_delay=15 # c\npost_join_delay=16#c\n",
                "post_join_delay=15 post_join_delay=16",
            ),
            ("protocol=\"tcp\"\nprotocol=a=b c\n", "protocol=\"tcp\" protocol=a=b"),
            ("help=1\nversion=2\nnosuch=3\n", ""),
            ("post_join_delay=5\r\nprotocol=tcp\r\n", "post_join_delay=5 protocol=tcp"),
            ("post_join_delay=5\0post_join_delay=6\nlog_debug=1", "post_join_delay=5 log_debug=1"),
            (
                "foreground=1\ndaemon_debug=0\nenable_fscontrol=1\n",
                "foreground=1 daemon_debug=0 enable_fscontrol=1",
            ),
        ] {
            assert_eq!(options(text), expected, "{text}");
        }
    }

    #[test]
    fn a_line_is_not_cut() {
        let long = format!("nosuch={}post_join_delay=3\n", "x".repeat(248));
        assert_eq!(options(&long), "");
    }

    #[test]
    fn doubtful_lines_are_reported_with_their_number() {
        let (conf, found) = parse(
            "log_debug=1\nlog_debug=\npost_join_delay 10\nnosuch = 3\n indented=1\nenable_fencing=yes\npost_join_delay=5s\n\
             drop_resources_time=-1\nport=99999999999\nfence_agent_timeout=0\nprotocol=udp\nnode id=0 mark=1\n\
             node id=3 mark=x\nnode id=6 mark=-1\nlockspace a/b\nmaster foo node=1\nhelp=1\nlog_debug=1\0\n",
        );
        assert_eq!(
            found,
            [
                "line 2: error: Failed to parse config line log_debug: no value, ignored; write log_debug=<value>",
                "line 3: error: Failed to parse config line post_join_delay: no value, ignored; write post_join_delay=<value>",
                "line 4: warning: unknown key `nosuch`: ignored; see dlm.conf(5) for the keys",
                "line 5: warning: begins with white space: ignored; begin the line in the first column",
                "line 6: error: enable_fencing: `yes` is not a number and counts as 0; write enable_fencing=<number>",
                "line 7: warning: post_join_delay: `5s` counts as 5; remove what is not part of the number",
                "line 8: warning: drop_resources_time: `-1` is below 0 and counts as 0; write 0 or more",
                "line 9: error: port: `99999999999` does not fit and counts as 1215752191; write a smaller number",
                "line 10: error: fence_agent_timeout: 0 would fail every fence agent: ignored; write 1 or more seconds",
                "line 11: error: protocol: `udp` is not known; write tcp, sctp or detect",
                "line 12: warning: node id 0 is not one that corosync gives: ignored; write the nodeid of corosync.conf",
                "line 13: warning: node 3: mark `x` counts as 0; write a number from 0 to 4294967295",
                "line 14: warning: node 6: mark `-1` counts as 0; write a number from 0 to 4294967295",
                "line 15: error: no lockspace can have this name: ignored; write `lockspace <name> [nodir=<0|1>]`",
                "line 16: error: this master line belongs to no lockspace: ignored; put it right behind `lockspace foo` and its masters",
                "line 17: warning: unknown key `help`: ignored; see dlm.conf(5) for the keys",
                "line 18: warning: holds a NUL byte: ignored from there on; remove it",
            ]
        );
        assert_eq!(conf.options.get(&Key::LogDebug), Some(&Value::Int(1)));
        assert_eq!(conf.options.get(&Key::FenceAgentTimeout), None);
    }

    #[test]
    fn diagnostics_are_bounded() {
        assert_eq!(parse(&"x\n".repeat(5000)).1.len(), DIAGNOSTICS_MAX);
    }

    /// Every case was run on the C daemon 4.2.0, which takes ids up to 127 only.
    #[test]
    fn node_lines_give_marks_or_stop_the_start() {
        let mark = |text: &str, node: u32| match DlmConf::parse(text.as_bytes()) {
            Ok((conf, _)) => {
                NodeId::new(node).and_then(|node| conf.mark(node)).map_or(-1, i64::from)
            }
            Err(ConfigError::NodeLine { line: 2, .. }) => -2,
            Err(error) => panic!("{error}"),
        };
        for (text, node, expected) in [
            ("node id=1 mark=5", 1, 5),
            ("node id=2 mark=0x6", 2, 6),
            ("node id=3000000 mark=7", 3_000_000, 7),
            ("node id=4 mark=5 foo", 4, 5),
            ("node id=5 mark=7foo", 5, 7),
            ("node id=6 mark=-1", 6, 0),
            ("node  id=1 mark=5", 1, 5),
            ("node\tid=1  mark= 5", 1, 5),
            ("node id= +1mark=5", 1, 5),
            ("nodeid=1 mark=5", 1, 5),
            ("node id=-1 mark=1", 1, -1),
            ("#node", 1, -1),
            (" node x", 1, -1),
            ("nodeid=1", 1, -2),
            ("node", 1, -2),
            ("node id=1", 1, -2),
            ("node id=x mark=5", 1, -2),
            ("node id=1x mark=5", 1, -2),
            ("node id=1 mark=", 1, -2),
            ("node id=1 mark= ", 1, -2),
        ] {
            assert_eq!(mark(&format!("\n{text}\n"), node), expected, "{text}");
        }
    }

    #[test]
    fn a_node_line_that_stops_the_start_is_shown() {
        let error = DlmConf::parse(b"log_debug=1\nnodes=3\n").err().map(|error| error.to_string());
        assert_eq!(
            error.as_deref(),
            Some(
                "Invalid configuration line: nodes=3 (line 2; write `node id=<nodeid> mark=<mark>`)"
            )
        );
    }

    #[test]
    fn masters_follow_their_lockspace() {
        let (conf, found) = parse(
            "lockspace foo nodir=1\n# c\nmaster    foo node=1 weight=2\nmaster foo node=70000\n\n\
             lockspace bar\nmaster bar node=2 weight=x\nlockspace baz nodir=0\nmaster baz weight=3\nmaster baz node=4\n\
             lockspace foo\nmaster bar node=9\n",
        );
        let masters = |name: &[u8]| {
            let options = LockspaceName::new(name).and_then(|name| conf.lockspaces().get(&name));
            let options = options.cloned().unwrap_or_default();
            let masters: Vec<(u32, u32)> =
                options.masters.iter().map(|(node, weight)| (node.get(), *weight)).collect();
            (options.nodir, masters)
        };
        assert_eq!(masters(b"foo"), (true, vec![(1, 2), (70000, 1)]));
        assert_eq!(masters(b"bar"), (false, vec![(2, 0)]));
        assert_eq!(masters(b"baz"), (false, vec![]));
        let lines: Vec<&str> = found.iter().filter_map(|text| text.split(':').next()).collect();
        assert_eq!(lines, ["line 7", "line 9", "line 10", "line 12"]);
    }

    #[test]
    fn more_masters_than_the_c_daemon_keeps() {
        let mut text = String::from("lockspace foo nodir=1\n");
        for node in 1..=500 {
            text += &format!("master foo node={node}\n");
        }
        let (conf, found) = parse(&text);
        assert_eq!(found, [""; 0]);
        assert_eq!(
            conf.lockspaces().values().map(|options| options.masters.len()).sum::<usize>(),
            500
        );
    }
}
