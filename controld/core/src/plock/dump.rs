//! What `dlm_tool plocks` shows, as plain data (spec/plocks.md section 8).
//!
//! There may be any number of locks, and whoever looks at them holds up the rest: so they are shown part by part. First the
//! files, by their numbers, which the reader puts into the order of their creation; then the lines of each. Between two parts
//! locks come and go. Members of a list keep their numbers and their order, so a lock that is there all the
//! time is shown once.

use crate::plock::record::TransferEntry;
use crate::plock::resource::Lock;
use crate::plock::resources::Entry;
use crate::plock::space::Plocks;
use crate::plock::transfer::transfer_entry;
use crate::types::Instant;
use alloc::vec::Vec;

/// One resource with everybody's locks, or some of its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlockResource {
    /// Inode number.
    pub number: u64,
    /// -1 while it is not known who owns it, 0 nobody, else the node (`rown`).
    pub owner: i64,
    /// Since its last use, milliseconds.
    pub unused_millis: u64,
    /// Granted, then waiting (`waiter`), each in list order.
    pub entries: Vec<TransferEntry>,
    /// Own requests that wait until the owner is known.
    pub pending: Vec<TransferEntry>,
}

impl PlockResource {
    fn add(&mut self, line: Line, shown: TransferEntry) {
        match line {
            Line::Granted(_) | Line::Waiting(_) => self.entries.push(shown),
            Line::Pending(_) => self.pending.push(shown),
        }
    }
}

/// A resource's place in a dump: the oldest is the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PlockFile {
    /// Number of its creation.
    pub created: u64,
    /// Inode number.
    pub number: u64,
}

/// Where the next part of a dump begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DumpPlace {
    /// In which file of the list.
    file: usize,
    line: Line,
}

/// A line of a file: a member of one of its lists, by the member's number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Granted(u64),
    Waiting(u64),
    Pending(u64),
}

impl Default for Line {
    fn default() -> Self {
        Self::Granted(0)
    }
}

/// A part of a dump.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DumpPart {
    /// What there is to show; two parts may have lines of the same resource.
    pub resources: Vec<PlockResource>,
    /// Lines that were left out, as was asked for.
    pub skipped: usize,
    /// The rest; `None`: this was all.
    pub next: Option<DumpPlace>,
}

impl Plocks {
    /// All resources, oldest first; each is made when it is asked for.
    pub(crate) fn dump(&self, now: Instant) -> impl Iterator<Item = PlockResource> {
        self.resources.in_order().into_iter().map(move |(number, entry)| {
            let mut resource = bare(number, entry, now);
            lines(entry, Line::default()).for_each(|(line, shown)| resource.add(line, shown));
            resource
        })
    }

    /// Files whose numbers are behind that of `last`, so many at most, in the order of their numbers.
    pub(crate) fn dump_files(&self, last: Option<PlockFile>, most: usize) -> Vec<PlockFile> {
        let behind = self.resources.behind(last.map(|file| file.number)).take(most);
        behind.map(|(number, entry)| PlockFile { created: entry.created, number }).collect()
    }

    /// A part of what these files have, but for the first `skip` lines: so many files and lines are looked at, at most.
    pub(crate) fn dump_part(
        &self,
        now: Instant,
        files: &[PlockFile],
        place: DumpPlace,
        skip: usize,
        most: usize,
    ) -> DumpPart {
        let mut walk = Walk { part: DumpPart::default(), skip, left: most };
        for (file, PlockFile { number, .. }) in files.iter().enumerate().skip(place.file) {
            let first = if file == place.file { place.line } else { Line::default() };
            let next = match self.resources.get(*number) {
                _ if walk.left == 0 => Some(first),
                Some(entry) => walk.resource(bare(*number, entry, now), entry, first),
                // It was freed meanwhile.
                None => {
                    walk.look();
                    None
                }
            };
            if let Some(line) = next {
                walk.part.next = Some(DumpPlace { file, line });
                break;
            }
        }
        walk.part
    }
}

/// On the way through files and lines.
struct Walk {
    part: DumpPart,
    /// Lines to be left out, in all.
    skip: usize,
    /// Lines, and files without any, that may still be looked at.
    left: usize,
}

impl Walk {
    /// At one more.
    fn look(&mut self) {
        self.left = self.left.saturating_sub(1);
    }

    /// Whether so many lines are to be left out.
    fn skips(&mut self, lines: usize) -> bool {
        let skipped = self.part.skipped.saturating_add(lines);
        let skips = skipped <= self.skip;
        if skips {
            self.part.skipped = skipped;
        }
        skips
    }

    /// The lines of a resource from this one on; the one that is next where there was no time for all.
    fn resource(&mut self, mut shown: PlockResource, entry: &Entry, first: Line) -> Option<Line> {
        let whole = first == Line::default();
        let length = entry.resource.len().saturating_add(entry.pending.len());
        // A resource without any has a line that says so.
        if whole && self.skips(length.max(1)) {
            self.look();
            return None;
        }
        if whole && length == 0 {
            self.look();
            self.part.resources.push(shown);
            return None;
        }
        let mut next = None;
        for (line, of) in lines(entry, first) {
            if self.left == 0 {
                next = Some(line);
                break;
            }
            self.look();
            if !self.skips(1) {
                shown.add(line, of);
            }
        }
        if !shown.entries.is_empty() || !shown.pending.is_empty() {
            self.part.resources.push(shown);
        }
        next
    }
}

fn bare(number: u64, entry: &Entry, now: Instant) -> PlockResource {
    PlockResource {
        number,
        owner: entry.owner.number(),
        unused_millis: now.millis_since(entry.used),
        entries: Vec::new(),
        pending: Vec::new(),
    }
}

/// The lines of a resource from this one on.
fn lines(entry: &Entry, first: Line) -> impl Iterator<Item = (Line, TransferEntry)> {
    let (granted, waiting, pending) = match first {
        Line::Granted(seq) => (seq, 0, 0),
        Line::Waiting(seq) => (u64::MAX, seq, 0),
        Line::Pending(serial) => (u64::MAX, u64::MAX, serial),
    };
    let resource = &entry.resource;
    let granted = resource.locks_from(granted);
    let granted = granted.map(|(seq, lock)| (Line::Granted(seq), transfer_entry(lock, false)));
    let waiting = resource.waiters_from(waiting).map(|(seq, info)| (Line::Waiting(seq), info));
    let pending = entry.pending_from(pending).map(|(serial, info)| (Line::Pending(serial), info));
    let asked = waiting.chain(pending);
    granted.chain(asked.map(|(line, info)| (line, transfer_entry(&Lock::of(info), true))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plock::agreement::Word;
    use crate::plock::resources::Owner;
    use crate::plock::{Answer, Mode, Op, PlockInfo};
    use crate::types::{GlobalId, NodeId};
    use alloc::format;
    use alloc::string::String;

    const NOW: Instant = Instant::from_nanos(0);

    /// Of a process of its own.
    fn request(number: u64, owner: u64, wait: bool) -> PlockInfo {
        PlockInfo {
            version: [1, 2, 0],
            op: Op::Lock,
            mode: Mode::Write,
            wait,
            flags: 0,
            pid: 7,
            node: NodeId::new(1).unwrap(),
            result: 0,
            fsid: GlobalId(1),
            number,
            start: if wait { 0 } else { owner },
            end: if wait { u64::MAX } else { owner },
            owner,
        }
    }

    impl Plocks {
        fn file(&mut self, number: u64) -> &mut Entry {
            self.resources.find_or_make(number, Owner::Nobody { established: true }, NOW).0
        }

        fn held(&mut self, number: u64, owners: impl IntoIterator<Item = u64>) {
            let resource = &mut self.file(number).resource;
            for owner in owners {
                assert_eq!(resource.lock(&request(number, owner, false)), Answer::Granted);
            }
        }

        fn free(&mut self, number: u64, owner: u64) {
            self.file(number).resource.unlock(&request(number, owner, false), &mut Vec::new());
        }
    }

    /// Younger files with lower numbers; long lists and short ones, a file without anything.
    fn busy() -> Plocks {
        let mut plocks = Plocks::new(Word::Nothing);
        plocks.held(9, 1..=5);
        plocks.file(8);
        plocks.held(4, [6]);
        for owner in [7, 8, 9] {
            let answer = plocks.file(4).resource.lock(&request(4, owner, true));
            assert_eq!(answer, Answer::Queued);
        }
        for owner in [10, 11] {
            let asked = plocks.results.asked(request(4, owner, true), NOW);
            plocks.file(4).keep(asked);
        }
        plocks.file(3);
        plocks
    }

    fn files(plocks: &Plocks, most: usize) -> Vec<PlockFile> {
        let mut files: Vec<PlockFile> = Vec::new();
        loop {
            let more = plocks.dump_files(files.last().copied(), most);
            if more.is_empty() {
                files.sort_unstable();
                return files;
            }
            assert!(more.len() <= most);
            files.extend(more);
        }
    }

    fn said(resources: impl IntoIterator<Item = PlockResource>) -> Vec<String> {
        let mut said = Vec::new();
        for PlockResource { number, entries, pending, .. } in resources {
            if entries.is_empty() && pending.is_empty() {
                said.push(format!("{number} unused"));
            }
            let line =
                |word, entry: &TransferEntry| format!("{number} {word} {}", entry.holder.owner);
            let word = |entry: &TransferEntry| if entry.waiter { "waits" } else { "holds" };
            said.extend(entries.iter().map(|entry| line(word(entry), entry)));
            said.extend(pending.iter().map(|entry| line("asks", entry)));
        }
        said
    }

    /// What is said in parts; `between` two of them something may happen.
    fn parts(
        plocks: &mut Plocks,
        skip: usize,
        most: usize,
        mut between: impl FnMut(&mut Plocks),
    ) -> Vec<String> {
        let files = files(plocks, most);
        let (mut all, mut place, mut skip) = (Vec::new(), DumpPlace::default(), skip);
        loop {
            let part = plocks.dump_part(NOW, &files, place, skip, most);
            let lines = said(part.resources);
            assert!(lines.len() <= most, "{most}: {lines:?}");
            all.extend(lines);
            skip -= part.skipped;
            let Some(next) = part.next else { return all };
            place = next;
            between(plocks);
        }
    }

    #[test]
    fn parts_from_any_line_on_make_the_whole() {
        let mut plocks = busy();
        let whole = said(plocks.dump(NOW));
        let some = [
            "9 holds 1",
            "9 holds 5",
            "8 unused",
            "4 holds 6",
            "4 waits 7",
            "4 asks 10",
            "3 unused",
        ];
        let places = some.map(|line| whole.iter().position(|other| other == line));
        assert_eq!(places, [0, 4, 5, 6, 7, 10, 12].map(Some), "{whole:?}");
        for most in 1..=whole.len() {
            for skip in 0..=whole.len() + 1 {
                let rest = whole.get(skip..).unwrap_or_default();
                assert_eq!(
                    parts(&mut plocks, skip, most, |_| ()),
                    rest,
                    "{skip} skipped, {most} at once"
                );
            }
        }
    }

    #[test]
    fn what_stays_is_shown_once_whatever_comes_and_goes() {
        for most in 1..8 {
            let mut plocks = busy();
            let mut owner = 100;
            let all = parts(&mut plocks, 0, most, |plocks| {
                // Those that stay are 1, 3, 5 and all of the second file with locks.
                plocks.free(9, 2);
                plocks.free(9, 4);
                plocks.resources.remove(8);
                if owner < 120 {
                    plocks.held(9, [owner]);
                    plocks.held(owner, [1]);
                    owner += 1;
                }
            });
            for line in [
                "9 holds 1",
                "9 holds 3",
                "9 holds 5",
                "4 holds 6",
                "4 waits 9",
                "4 asks 11",
                "3 unused",
            ] {
                let times = all.iter().filter(|other| *other == line).count();
                assert_eq!(times, 1, "{line}, {most} at once: {all:?}");
            }
        }
    }

    #[test]
    fn a_file_whose_locks_go_meanwhile_is_not_called_unused() {
        let mut plocks = busy();
        let all =
            parts(&mut plocks, 0, 2, |plocks| (3..=5).for_each(|owner| plocks.free(9, owner)));
        assert_eq!(all[..3], ["9 holds 1", "9 holds 2", "8 unused"]);
    }
}
