//! The text of `dlm_tool lockdump`: one line a lock, from `<ls>_locks` of the kernel's debug files (spec/cli.md
//! section 4, format in spec/kernel-interfaces.md section 7).

use crate::fields::{self, Fields};
use crate::lockdebug::{Report, mode};

/// Which locks to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// Those of this node's processes.
    Own,
    /// Also the copies held for other nodes' processes: `-M`.
    MasterCopies,
}

/// The queue of granted locks (`DLM_LKSTS_GRANTED` of the kernel).
const GRANTED: i32 = 2;
/// `DLM_LOCK_IV` of linux/dlmconstants.h
const NO_MODE: i32 = -1;

/// The dump of a file; the first line of it names its columns.
#[must_use]
pub fn report(file: &[u8], show: Show) -> Report {
    let mut report = Report::default();
    for line in fields::lines(file).skip(1) {
        let mut fields = Fields::new(line);
        let Some(lock) = parse(&mut fields) else {
            // As the C tool has it: the number is that of the fields understood, and the rest of the file is not read.
            let head = format!("invalid debugfs line {}: ", fields.understood());
            report.err.extend_from_slice(&[head.as_bytes(), line, b"\n\n"].concat());
            break;
        };
        if lock.owner == Owner::OtherNode && show == Show::Own {
            continue;
        }
        report.out.extend_from_slice(&lock.line());
    }
    report
}

struct Lock<'a> {
    id: u32,
    node: i32,
    pid: u32,
    owner: Owner,
    granted: i32,
    requested: i32,
    name: &'a [u8],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// A process of this node.
    ThisNode,
    /// A process of another node: this node is master and holds a copy.
    OtherNode,
}

impl Lock<'_> {
    fn line(&self) -> Vec<u8> {
        let word = match self.owner {
            Owner::ThisNode => "master",
            Owner::OtherNode => "MSTCPY",
        };
        let head = format!(
            "id {:08x} gr {} rq {} pid {} {word} {} \"",
            self.id,
            mode(self.granted),
            mode(self.requested),
            self.pid,
            self.node
        );
        [head.as_bytes(), self.name, b"\"\n"].concat()
    }
}

fn parse<'a>(fields: &mut Fields<'a>) -> Option<Lock<'a>> {
    let id = fields.hex()?;
    let node = fields.decimal()?;
    fields.hex()?; // id on the other node
    let pid = fields.decimal()?;
    fields.decimal::<u64>()?; // xid
    fields.hex()?; // flags of the caller
    fields.hex()?; // flags of the kernel
    let queue: i32 = fields.decimal()?;
    let granted = fields.decimal()?;
    let requested = fields.decimal()?;
    fields.decimal::<u64>()?; // age
    let master: i32 = fields.decimal()?;
    fields.decimal::<i32>()?; // length of the name
    let name = quoted(fields.tail());
    let owner = if master == 0 && node != 0 { Owner::OtherNode } else { Owner::ThisNode };
    // A granted lock may keep the mode of its last conversion: nothing is requested. Copies are shown as they are.
    let settled = queue == GRANTED && owner == Owner::ThisNode;
    let requested = if settled { NO_MODE } else { requested };
    Some(Lock { id, node, pid, owner, granted, requested, name })
}

/// The text between the first two quotes, empty without them.
fn quoted(text: &[u8]) -> &[u8] {
    text.split(|byte| *byte == b'"').nth(1).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &[u8] =
        b"id nodeid remid pid xid exflags flags sts grmode rqmode time_ms r_nodeid r_len r_name
1 0 0 100 0 0 10000 2 5 3 1000 0 5 \"hello\"
2 2 33 101 0 4 10001 1 -1 3 1000 0 5 \"hello\"
3 2 0 102 0 4 10001 3 3 5 1000 2 7 \"he l\xfflo\"
";

    #[test]
    fn copies_for_other_nodes_show_on_request_only() {
        let own = report(FILE, Show::Own);
        assert_eq!(
            own.out,
            b"id 00000001 gr EX rq IV pid 100 master 0 \"hello\"\n\
              id 00000003 gr PR rq EX pid 102 master 2 \"he l\xfflo\"\n"
        );
        assert_eq!(own.err, b"");
        let all = report(FILE, Show::MasterCopies);
        let copy: &[u8] = b"\nid 00000002 gr IV rq PR pid 101 MSTCPY 2 \"hello\"\n";
        assert!(all.out.windows(copy.len()).any(|window| window == copy));
    }

    #[test]
    fn an_invalid_line_ends_the_dump() {
        let report = report(b"columns\n5 7 0\n1 0 0\n", Show::Own);
        assert_eq!(report.err, b"invalid debugfs line 3: 5 7 0\n\n");
        assert_eq!(report.out, b"");
    }
}
