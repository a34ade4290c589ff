//! Lines of the kernel's debug files as typed records.

use crate::fields::{Fields, hex};

/// A line of `<ls>_all`.
pub(super) enum Line<'a> {
    /// Versions of the formats, not shown.
    Version,
    /// A resource.
    Resource(Resource<'a>),
    /// Its lock value block.
    ValueBlock {
        /// Sequence number.
        sequence: u32,
        /// Length in bytes.
        length: i32,
        /// The bytes as words of hex digits.
        hex: &'a [u8],
    },
    /// One of its locks.
    Lock(Lock),
    /// Shown as it is.
    Other,
    /// Begins like a record that it is not.
    Bad {
        /// Where the C tool says that it failed.
        what: &'static str,
        /// Fields that could be read.
        understood: usize,
    },
}

/// A resource name as the kernel prints it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name<'a> {
    /// All bytes are printable.
    Text(&'a [u8]),
    /// Otherwise: words of hex digits.
    Hex(&'a [u8]),
}

/// Who is master of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Master {
    /// This node.
    Here,
    /// Another node.
    At(i32),
    /// It is being looked up.
    Unknown,
    /// No node id at all.
    Invalid,
}

/// An active resource (`rsb` line).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource<'a> {
    /// Master: 0 this node, -1 not known yet.
    pub node: i32,
    /// Lock that waits for the lookup, hex digits; `0`: none.
    pub first_lock: &'a [u8],
    /// Flags of the kernel.
    pub flags: u32,
    /// On the list of resources to recover.
    pub root: i32,
    /// On the list of resources in recovery.
    pub recover: i32,
    /// Locks still to be recovered.
    pub recover_locks: u32,
    /// Bytes of the name.
    pub length: u32,
    /// Name.
    pub name: Name<'a>,
}

impl Resource<'_> {
    /// Who is master.
    #[must_use]
    pub const fn master(&self) -> Master {
        match self.node {
            0 => Master::Here,
            -1 => Master::Unknown,
            node if node > 0 => Master::At(node),
            _ => Master::Invalid,
        }
    }

    /// Whether there is nothing to say but its master.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.flags == 0
            && hex(self.first_lock) == Some(0)
            && (self.root, self.recover, self.recover_locks) == (0, 0, 0)
    }
}

/// State of a lock within its resource (`DLM_LKSTS_*` of the kernel).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// 1
    Waiting,
    /// 2
    Granted,
    /// 3
    Convert,
    /// 0, and the master is being looked up.
    Lookup,
    /// Anything else.
    Unknown,
}

/// A lock (`lkb` line).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// Id here.
    pub id: u32,
    /// The node that has the other copy; 0: none.
    pub node: i32,
    /// Id there.
    pub remote_id: u32,
    /// Process.
    pub pid: i32,
    /// Flags of the caller.
    pub external_flags: u32,
    /// Flags of the kernel.
    pub flags: u32,
    /// Queue.
    pub status: Status,
    /// Granted mode, -1 none.
    pub granted: i32,
    /// Requested mode, -1 none.
    pub requested: i32,
    /// Highest mode that was reported as blocked.
    pub blocking_mode: i32,
    /// Waits for the lookup of the resource's master.
    pub rsb_lookup: i32,
    /// Message whose reply is expected, 0 none.
    pub wait_type: i32,
    /// Time stamp of the kernel, nanoseconds or microseconds as its version has it.
    pub time: u64,
    /// The same, of the last blocking callback.
    pub blocking_time: u64,
}

/// An inactive resource (`rsb` line of `<ls>_toss`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inactive<'a> {
    /// Master as active resources have it: 0 this node.
    pub node: i32,
    /// Master by its id.
    pub master: i32,
    /// The node that knows the master.
    pub directory: i32,
    /// This node.
    pub our_node: i32,
    /// Bytes of the name.
    pub length: u32,
    /// Name.
    pub name: Name<'a>,
}

/// A lock that expects a reply (line of `<ls>_waiters`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiter<'a> {
    /// Id of the lock.
    pub lock: u32,
    /// Number of the message that was sent.
    pub message: i32,
    /// Where to.
    pub node: i32,
    /// Name of the resource.
    pub name: &'a [u8],
}

fn name<'a>(fields: &mut Fields<'a>) -> Option<Name<'a>> {
    let kind = fields.parsed(|word| match word {
        b"str" => Some(Name::Text(b"")),
        b"hex" => Some(Name::Hex(b"")),
        _ => None,
    })?;
    Some(match kind {
        Name::Text(_) => Name::Text(fields.tail()),
        Name::Hex(_) => Name::Hex(fields.tail()),
    })
}

/// A line of `<ls>_all`.
pub(super) fn active(line: &[u8]) -> Line<'_> {
    let mut fields = Fields::new(line);
    let (what, record) = match fields.word() {
        Some(b"version") => return Line::Version,
        Some(b"rsb") => ("print_rsb", resource(&mut fields).map(Line::Resource)),
        Some(b"lvb") => ("print_lvb", value_block(&mut fields)),
        Some(b"lkb") => ("print_lkb", lock(&mut fields).map(Line::Lock)),
        _ => return Line::Other,
    };
    record.unwrap_or(Line::Bad { what, understood: fields.understood() })
}

fn resource<'a>(fields: &mut Fields<'a>) -> Option<Resource<'a>> {
    fields.word()?;
    Some(Resource {
        node: fields.decimal()?,
        first_lock: fields.word()?,
        flags: fields.hex()?,
        root: fields.decimal()?,
        recover: fields.decimal()?,
        recover_locks: fields.decimal()?,
        length: fields.decimal()?,
        name: name(fields)?,
    })
}

fn value_block<'a>(fields: &mut Fields<'a>) -> Option<Line<'a>> {
    let sequence = fields.decimal()?;
    let length = fields.decimal()?;
    Some(Line::ValueBlock { sequence, length, hex: fields.tail() })
}

fn lock(fields: &mut Fields<'_>) -> Option<Lock> {
    let id = fields.hex()?;
    let node = fields.decimal()?;
    let remote_id = fields.hex()?;
    let pid = fields.decimal()?;
    fields.word()?; // xid, of no use to a reader
    let external_flags = fields.hex()?;
    let flags = fields.hex()?;
    let status: i32 = fields.decimal()?;
    let granted = fields.decimal()?;
    let requested = fields.decimal()?;
    let blocking_mode = fields.decimal()?;
    let rsb_lookup = fields.decimal()?;
    let wait_type = fields.decimal()?;
    fields.word()?; // sequence number of the value block
    let time = fields.decimal()?;
    let blocking_time = fields.decimal()?;
    let status = match (status, rsb_lookup) {
        (1, _) => Status::Waiting,
        (2, _) => Status::Granted,
        (3, _) => Status::Convert,
        (0, 1..) => Status::Lookup,
        _ => Status::Unknown,
    };
    Some(Lock {
        id,
        node,
        remote_id,
        pid,
        external_flags,
        flags,
        status,
        granted,
        requested,
        blocking_mode,
        rsb_lookup,
        wait_type,
        time,
        blocking_time,
    })
}

/// A line of `<ls>_toss`: `None` for the version line, else the number of fields that could be read.
pub(super) fn inactive(line: &[u8]) -> Result<Option<Inactive<'_>>, usize> {
    let mut fields = Fields::new(line);
    if fields.word() == Some(b"version") {
        return Ok(None);
    }
    toss_fields(&mut fields).map(Some).ok_or(fields.understood())
}

fn toss_fields<'a>(fields: &mut Fields<'a>) -> Option<Inactive<'a>> {
    fields.word()?;
    let node = fields.decimal()?;
    let master = fields.decimal()?;
    let directory = fields.decimal()?;
    let our_node = fields.decimal()?;
    fields.word()?; // when it became inactive, in jiffies
    fields.hex()?; // flags
    let length = fields.decimal()?;
    Some(Inactive { node, master, directory, our_node, length, name: name(fields)? })
}

/// A line of `<ls>_waiters`.
pub(super) fn waiter(line: &[u8]) -> Option<Waiter<'_>> {
    let mut fields = Fields::new(line);
    let lock = fields.hex()?;
    let message = fields.decimal()?;
    let node = fields.decimal()?;
    Some(Waiter { lock, message, node, name: fields.tail() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_blanks() {
        let Line::Resource(resource) = active(b"rsb a 3 0 0 0 0 0 6 str a b c ") else {
            panic!("no resource");
        };
        assert_eq!(resource.name, Name::Text(b"a b c "));
        assert_eq!(waiter(b"5 3 2 y  z ").unwrap().name, b"y  z ");
        assert_eq!(waiter(b"5 3 2").unwrap().name, b"");
    }

    #[test]
    fn flags_are_hex_as_the_kernel_prints_them() {
        let Line::Resource(resource) = active(b"rsb a 3 0 af 0 0 0 3 str abc") else {
            panic!("no resource");
        };
        assert_eq!(resource.flags, 0xaf);
    }

    #[test]
    fn any_cut_line_is_reported_or_shown() {
        let whole = b"lkb 4 2 44 100 0 0 10000 2 3 -1 0 0 2 7 1111 0";
        for cut in 4..whole.len() {
            assert!(!matches!(active(&whole[..cut]), Line::Version | Line::Resource(_)));
        }
        assert!(matches!(active(b"rsb a b"), Line::Bad { what: "print_rsb", understood: 2 }));
        assert_eq!(inactive(b"rsb a"), Err(2));
        assert_eq!(waiter(b"zz 1 2"), None);
    }
}
