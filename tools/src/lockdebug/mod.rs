//! The text of `dlm_tool lockdebug`, from the kernel's debug files of a lockspace (spec/cli.md section 4, formats in
//! spec/kernel-interfaces.md section 7).
//!
//! Pure: file contents in, text out. One known difference from the C tool: the flags of a resource, which the kernel
//! prints in hex, are read as hex; the C tool reads them as decimal and drops the line at the first letter.

mod parse;

pub use parse::{Inactive, Lock, Master, Resource, Status, Waiter};

use crate::fields;
use parse::Line;
use std::fmt::Write as _;

/// Contents of the debug files. A missing file of toss or waiters is an empty one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DebugFiles {
    /// Active resources and their locks.
    pub active: Active,
    /// Inactive resources: `<ls>_toss`.
    pub toss: Vec<u8>,
    /// Locks that expect a reply: `<ls>_waiters`.
    pub waiters: Vec<u8>,
}

/// Where the active resources come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Active {
    /// `<ls>_all`, to be formatted.
    Records(Vec<u8>),
    /// `<ls>`, the kernel's own readable text, where there is no `<ls>_all`.
    Plain(Vec<u8>),
}

impl Default for Active {
    fn default() -> Self {
        Self::Records(Vec::new())
    }
}

/// What to show: `-v`, `-w` and `-s`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Times, flags and pid of each lock.
    pub verbose: bool,
    /// No line breaks within a lock or value block.
    pub wide: bool,
    /// Counts at the end.
    pub summary: bool,
}

/// What goes to stdout and to stderr.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// stdout
    pub out: Vec<u8>,
    /// stderr
    pub err: Vec<u8>,
}

/// The whole report.
#[must_use]
pub fn report(files: &DebugFiles, view: View) -> Report {
    let mut writer = Writer { view, ..Writer::default() };
    match &files.active {
        Active::Records(records) => writer.active(records),
        Active::Plain(text) => writer.report.out.extend_from_slice(text),
    }
    writer.text("\n");
    writer.inactive(&files.toss);
    writer.waiters(&files.waiters);
    if view.summary {
        writer.summary();
    }
    writer.report
}

/// Mode of a lock as its two letters (`DLM_LOCK_*` of linux/dlmconstants.h).
#[must_use]
pub const fn mode(number: i32) -> &'static str {
    match number {
        -1 => "IV",
        0 => "NL",
        1 => "CR",
        2 => "CW",
        3 => "PR",
        4 => "PW",
        5 => "EX",
        _ => "??",
    }
}

/// Counts for `-s`.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    active: u32,
    master: u32,
    remote_master: u32,
    lookup_master: u32,
    with_lvb: u32,
    no_locks: u32,
    nodeid_error: u32,
    inactive: u32,
    locks: u32,
    granted: u32,
    convert: u32,
    waiting: u32,
    local_copy: u32,
    master_copy: u32,
    process_copy: u32,
    rsb_lookup: u32,
    wait_message: u32,
    expect_reply: u32,
}

/// Headings above the locks of a resource, each shown once.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Heading {
    Granted,
    Convert,
    Waiting,
    Lookup,
}

impl Heading {
    const fn text(self) -> &'static str {
        match self {
            Self::Granted => "Granted\n",
            Self::Convert => "Convert\n",
            Self::Waiting => "Waiting\n",
            Self::Lookup => "Lookup\n",
        }
    }
}

/// The resource whose locks are being read.
#[derive(Default)]
struct Open {
    node: i32,
    locks: u32,
    headings: Vec<Heading>,
}

#[derive(Default)]
struct Writer {
    view: View,
    report: Report,
    counts: Counts,
    open: Option<Open>,
}

fn bump(count: &mut u32) {
    *count = count.saturating_add(1);
}

impl Writer {
    fn text(&mut self, text: &str) {
        self.report.out.extend_from_slice(text.as_bytes());
    }

    /// A line that should have been understood, with its newline as the C tool quotes it.
    fn complain(&mut self, line: &[u8], what: &str, understood: usize) {
        let head = format!("{what} error rv {understood} line \"");
        self.report.err.extend_from_slice(&[head.as_bytes(), line, b"\n\"\n"].concat());
    }

    fn active(&mut self, records: &[u8]) {
        for line in fields::lines(records) {
            match parse::active(line) {
                Line::Version => {}
                Line::Resource(resource) => self.resource(&resource),
                Line::ValueBlock { sequence, length, hex } => {
                    self.value_block(sequence, length, hex);
                }
                Line::Lock(lock) => self.lock(&lock),
                Line::Other => {
                    self.report.out.extend_from_slice(line);
                    self.text("\n");
                }
                Line::Bad { what, understood } => self.complain(line, what, understood),
            }
        }
        self.close_resource();
    }

    fn close_resource(&mut self) {
        if self.open.take().is_some_and(|open| open.locks == 0) {
            bump(&mut self.counts.no_locks);
            self.text("no locks\n");
        }
    }

    fn resource(&mut self, resource: &Resource<'_>) {
        self.close_resource();
        self.open = Some(Open { node: resource.node, ..Open::default() });
        bump(&mut self.counts.active);
        let (master, count) = match resource.master() {
            Master::Here => ("Master".to_owned(), &mut self.counts.master),
            Master::At(node) => (format!("Master:{node}"), &mut self.counts.remote_master),
            Master::Unknown => ("Lookup".to_owned(), &mut self.counts.lookup_master),
            Master::Invalid => (String::new(), &mut self.counts.nodeid_error),
        };
        bump(count);
        self.text("\n");
        self.name(resource.length, &resource.name);
        let extra = if resource.is_plain() {
            String::new()
        } else {
            format!(
                "flags {:08x} first_lkid {} root {} recover {} locks {}",
                resource.flags,
                String::from_utf8_lossy(resource.first_lock),
                resource.root,
                resource.recover,
                resource.recover_locks
            )
        };
        self.text(&format!("{master:<16} {extra}\n"));
    }

    fn name(&mut self, length: u32, name: &parse::Name<'_>) {
        match name {
            parse::Name::Text(bytes) => {
                self.text(&format!("Resource len {length:2}  \""));
                self.report.out.extend_from_slice(bytes);
                self.text("\"\n");
            }
            parse::Name::Hex(digits) => {
                self.text(&format!("Resource len {length:2} hex "));
                self.report.out.extend_from_slice(digits);
                self.text("\n");
            }
        }
    }

    fn value_block(&mut self, sequence: u32, length: i32, hex: &[u8]) {
        /// Bytes on a line.
        const WIDTH: usize = 16;
        bump(&mut self.counts.with_lvb);
        self.text(&format!("LVB len {length} seq {sequence}\n"));
        for (at, byte) in fields::words(hex).enumerate() {
            if at > 0 {
                self.text(if !self.view.wide && at % WIDTH == 0 { " \n" } else { " " });
            }
            self.report.out.extend_from_slice(byte);
        }
        self.text("\n");
    }

    fn lock(&mut self, lock: &Lock) {
        self.count_lock(lock);
        let queue = match lock.status {
            Status::Granted => Some(Heading::Granted),
            Status::Convert => Some(Heading::Convert),
            Status::Waiting => Some(Heading::Waiting),
            Status::Lookup | Status::Unknown => None,
        };
        let lookup = (lock.rsb_lookup != 0).then_some(Heading::Lookup);
        let mut open = self.open.take().unwrap_or_default();
        bump(&mut open.locks);
        for heading in queue.into_iter().chain(lookup) {
            if !open.headings.contains(&heading) {
                open.headings.push(heading);
                self.text(heading.text());
            }
        }
        let text = lock_line(lock, open.node, self.view);
        self.text(&text);
        self.open = Some(open);
    }

    fn count_lock(&mut self, lock: &Lock) {
        let master = self.open.as_ref().is_some_and(|open| open.node == 0);
        let counts = &mut self.counts;
        bump(&mut counts.locks);
        match lock.status {
            Status::Granted => bump(&mut counts.granted),
            Status::Convert => bump(&mut counts.convert),
            Status::Waiting => bump(&mut counts.waiting),
            Status::Lookup | Status::Unknown => {}
        }
        bump(match (master, lock.node) {
            (true, 0) => &mut counts.local_copy,
            (true, _) => &mut counts.master_copy,
            (false, _) => &mut counts.process_copy,
        });
        if lock.rsb_lookup != 0 {
            bump(&mut counts.rsb_lookup);
        }
        if lock.wait_type != 0 {
            bump(&mut counts.wait_message);
        }
    }

    fn inactive(&mut self, toss: &[u8]) {
        for line in fields::lines(toss) {
            match parse::inactive(line) {
                Ok(None) => {}
                Ok(Some(inactive)) => {
                    bump(&mut self.counts.inactive);
                    self.name(inactive.length, &inactive.name);
                    self.text(&inactive_line(&inactive));
                }
                Err(understood) => {
                    self.complain(line, "print_rsb_toss", understood);
                }
            }
        }
    }

    fn waiters(&mut self, waiters: &[u8]) {
        if waiters.is_empty() {
            return;
        }
        self.text("\nExpecting reply\n");
        for line in fields::lines(waiters) {
            let Some(waiter) = parse::waiter(line) else {
                let quoted = [b"waiters: ", line, b"\n"].concat();
                self.report.err.extend_from_slice(&quoted);
                continue;
            };
            bump(&mut self.counts.expect_reply);
            let Waiter { lock, message, node, name } = waiter;
            let message = message_name(message);
            self.text(&format!("nodeid {node:2} msg {message} lkid {lock:08x} resource \""));
            self.report.out.extend_from_slice(name);
            self.text("\"\n");
        }
    }

    fn summary(&mut self) {
        let counts = self.counts;
        let resources = [
            ("active", counts.active),
            ("master", counts.master),
            ("remote master", counts.remote_master),
            ("lookup master", counts.lookup_master),
            ("with lvb", counts.with_lvb),
            ("with no locks", counts.no_locks),
            ("nodeid error", counts.nodeid_error),
            ("inactive", counts.inactive),
        ];
        let locks = [
            ("total", counts.locks),
            ("granted", counts.granted),
            ("convert", counts.convert),
            ("waiting", counts.waiting),
            ("local copy", counts.local_copy),
            ("master copy", counts.master_copy),
            ("process copy", counts.process_copy),
            ("rsb lookup", counts.rsb_lookup),
            ("wait message", counts.wait_message),
            ("expect reply", counts.expect_reply),
        ];
        self.text("\nrsb\n");
        self.count_lines(&resources);
        self.text("\nlkb\n");
        self.count_lines(&locks);
    }

    fn count_lines(&mut self, counts: &[(&str, u32)]) {
        for (label, count) in counts {
            self.text(&format!("  {label:<13} {count}\n"));
        }
    }
}

/// One lock of a resource that has its master at `node` (0: here).
fn lock_line(lock: &Lock, node: i32, view: View) -> String {
    let requested = || format!("({})", mode(lock.requested));
    let (granted, requested) = match lock.status {
        Status::Granted => (mode(lock.granted), " ".repeat(4)),
        Status::Convert => (mode(lock.granted), requested()),
        Status::Waiting | Status::Lookup => ("--", requested()),
        Status::Unknown => ("XX", "(XX)".to_owned()),
    };
    let remote = match lock.node {
        0 => " ".repeat(20),
        id if id == node => format!("Master: {id:3} {:08x}", lock.remote_id),
        id => format!("Remote: {id:3} {:08x}", lock.remote_id),
    };
    let wait =
        if lock.wait_type == 0 { " ".repeat(8) } else { format!(" wait {:02}", lock.wait_type) };
    let mut line = format!("{:08x} {granted} {requested} {remote} {wait} ", lock.id);
    if view.verbose {
        line.push_str(if view.wide { "" } else { "\n" });
        let _ = write!(
            line,
            "time {:016} flags {:08x} {:08x} bast {} {} pid {}",
            lock.time,
            lock.external_flags,
            lock.flags,
            lock.blocking_mode,
            lock.blocking_time,
            lock.pid
        );
    }
    line.push('\n');
    line
}

/// Second line of an inactive resource, with the empty line behind it.
fn inactive_line(inactive: &Inactive<'_>) -> String {
    let here = |node: i32, word: &str| {
        if node == inactive.our_node { word.to_owned() } else { format!("{word}:{node}") }
    };
    let mut line =
        format!("{} {}", here(inactive.master, "Master"), here(inactive.directory, "Dir"));
    if inactive.master == inactive.our_node && inactive.node != 0 {
        let _ = write!(line, " res_nodeid {}", inactive.node);
    }
    line.push_str("\n\n");
    line
}

/// A message number of the kernel (`DLM_MSG_*`) as the C tool names it; 8 stands for the reply of a cancel.
const fn message_name(number: i32) -> &'static str {
    match number {
        1 => "request",
        2 => "convert",
        3 => "unlock ",
        4 => "cancel ",
        5 => "r_reply",
        6 | 8 => "c_reply",
        7 => "u_reply",
        9 => "grant  ",
        10 => "bast   ",
        11 => "lookup ",
        12 => "remove ",
        13 => "l_reply",
        14 => "purge  ",
        _ => "unknown",
    }
}
