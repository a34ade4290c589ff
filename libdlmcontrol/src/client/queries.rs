//! Queries: they change nothing, and anybody may ask.

use super::connection::LIST_MAX;
use super::{Client, Result, named};
use crate::proto::{self, Command, Header, Lockspace, Node, NodeList, StatusKind};
use crate::status::StatusRecord;

/// Most bytes of a JSON document: thousands of lockspaces. Keeps a broken peer from making us allocate without bound.
const DOCUMENT_MAX: usize = 64 * 1024 * 1024;

/// The answer of `dump_plocks`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plocks {
    /// One line a lock.
    pub text: Vec<u8>,
    /// 0, or the negative errno of the daemon: -ENOENT unknown lockspace, -ENOSPC the text is cut.
    pub result: i32,
}

/// The answer of `lockspaces` or `lockspace_nodes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing<T> {
    /// What was listed, in the daemon's order.
    pub entries: Vec<T>,
    /// There were more than asked for.
    pub truncated: bool,
}

impl Client {
    /// Text of the debug ring, up to 1 MiB, without the last newline.
    ///
    /// # Errors
    /// Connection or answer.
    pub fn dump_debug(&self) -> Result<Vec<u8>> {
        self.dump(Command::DumpDebug)
    }

    /// Text of the ring of POSIX lock messages, up to 1 MiB, without the last newline.
    ///
    /// # Errors
    /// Connection or answer.
    pub fn dump_log_plock(&self) -> Result<Vec<u8>> {
        self.dump(Command::DumpLogPlock)
    }

    /// Options, one `name=value` a line.
    ///
    /// # Errors
    /// Connection or answer.
    pub fn dump_config(&self) -> Result<Vec<u8>> {
        self.dump(Command::DumpConfig)
    }

    /// Commands that were started on other nodes.
    ///
    /// # Errors
    /// Connection or answer.
    pub fn dump_run(&self) -> Result<Vec<u8>> {
        self.dump(Command::DumpRun)
    }

    /// POSIX locks of a lockspace, all of them: where the daemon has more than goes into one answer, it is asked for the
    /// rest, so that locks which come and go meanwhile may be missing or there twice. Of a C daemon, as
    /// [`Client::dump_plocks`].
    ///
    /// # Errors
    /// Name, connection or answer.
    pub fn all_plocks(&self, lockspace: &[u8]) -> Result<Plocks> {
        let mut all = self.dump_plocks(lockspace)?;
        while all.result == -proto::errno::ENOSPC && all.text.len() < DOCUMENT_MAX {
            let lines = all.text.iter().filter(|byte| **byte == b'\n').count();
            let from = u32::try_from(lines).unwrap_or(u32::MAX);
            let request = named(Command::PlocksFrom, lockspace)?;
            let more = match self.plocks(&Header { option: from, ..request }) {
                Err(error) if error.is_unknown_command() => break,
                more => more?,
            };
            if more.text.is_empty() {
                // They were taken back meanwhile.
                all.result = 0;
                break;
            }
            all.text.extend(more.text);
            all.result = more.result;
        }
        Ok(all)
    }

    /// POSIX locks of a lockspace, as many as go into one answer. An unknown lockspace is no error here, as the C library has it: see
    /// [`Plocks::result`].
    ///
    /// # Errors
    /// Name, connection or answer.
    pub fn dump_plocks(&self, lockspace: &[u8]) -> Result<Plocks> {
        self.plocks(&named(Command::DumpPlocks, lockspace)?)
    }

    fn plocks(&self, request: &Header) -> Result<Plocks> {
        let mut connection = self.query(request)?;
        let reply = connection.header()?;
        let text = connection.payload(&reply, proto::DUMP_MAX, "text")?;
        Ok(Plocks { text, result: reply.data })
    }

    /// All lockspaces, newest first. Asks for all of them; a C daemon 4.1 answers that with none.
    ///
    /// # Errors
    /// Connection, answer or refusal.
    pub fn lockspaces(&self) -> Result<Vec<Lockspace>> {
        Ok(self.lockspaces_up_to(0)?.entries)
    }

    /// Lockspaces, newest first, at most `max`; 0 for all of them, which a C daemon 4.1 takes literally.
    ///
    /// # Errors
    /// Connection, answer or refusal.
    pub fn lockspaces_up_to(&self, max: u16) -> Result<Listing<Lockspace>> {
        let mut request = Header::new(Command::Lockspaces);
        request.data = i32::from(max);
        self.query(&request)?.listing()
    }

    /// One lockspace.
    ///
    /// # Errors
    /// Name, connection, answer; refusal with ENOENT for an unknown lockspace.
    pub fn lockspace_info(&self, lockspace: &[u8]) -> Result<Lockspace> {
        self.query(&named(Command::LockspaceInfo, lockspace)?)?.structure()
    }

    /// One node of a lockspace. A node that was never seen is no error: only its id is set.
    ///
    /// # Errors
    /// Name, connection, answer; refusal with ENOENT for an unknown lockspace.
    pub fn node_info(&self, lockspace: &[u8], node: i32) -> Result<Node> {
        let mut request = named(Command::NodeInfo, lockspace)?;
        request.data = node;
        self.query(&request)?.structure()
    }

    /// Nodes of a lockspace, at most `max`.
    ///
    /// # Errors
    /// Name, connection, answer; refusal with ENOENT for an unknown lockspace.
    pub fn lockspace_nodes(
        &self,
        lockspace: &[u8],
        list: NodeList,
        max: u16,
    ) -> Result<Listing<Node>> {
        let mut request = named(Command::LockspaceNodes, lockspace)?;
        request.option = list.number();
        request.data = i32::from(max);
        self.query(&request)?.listing()
    }

    /// The status stream: the daemon, its nodes, the nodes of its start-up list. Records of a kind that is not known
    /// here are left out.
    ///
    /// # Errors
    /// Connection or answer.
    pub fn status(&self) -> Result<Vec<StatusRecord>> {
        let mut connection = self.query(&Header::new(Command::DumpStatus))?;
        let mut records = Vec::new();
        let mut taken = 0_usize;
        while let Some(header) = connection.status_header()? {
            let (text, length) = connection.status_text(&header)?;
            taken = taken.saturating_add(length);
            if taken > LIST_MAX {
                return Err(connection.bad_length("status records", LIST_MAX));
            }
            if let Some(kind) = StatusKind::from_number(header.kind) {
                records.push(StatusRecord::new(kind, header.nodeid, text));
            }
        }
        Ok(records)
    }

    /// The state as the JSON text that the daemon sends. A C daemon does not know the question:
    /// [`Error::is_unknown_command`](crate::Error::is_unknown_command).
    ///
    /// # Errors
    /// Connection or answer.
    pub fn state_json(&self) -> Result<Vec<u8>> {
        self.document(Command::State)
    }

    /// The state.
    ///
    /// # Errors
    /// Connection or answer.
    #[cfg(feature = "state")]
    pub fn state(&self) -> Result<crate::state::State> {
        let text = self.state_json()?;
        parsed(Command::State, &text)
    }

    /// The recoveries of the last hours as JSON.
    ///
    /// # Errors
    /// Connection or answer.
    pub fn history_json(&self) -> Result<Vec<u8>> {
        self.document(Command::History)
    }

    /// The recoveries of the last hours.
    ///
    /// # Errors
    /// Connection or answer.
    #[cfg(feature = "state")]
    pub fn history(&self) -> Result<crate::history::History> {
        let text = self.history_json()?;
        parsed(Command::History, &text)
    }

    /// A text answer that no buffer of a C caller bounds.
    fn document(&self, command: Command) -> Result<Vec<u8>> {
        self.query(&Header::new(command))?.accepted(DOCUMENT_MAX, "document")
    }

    fn dump(&self, command: Command) -> Result<Vec<u8>> {
        self.query(&Header::new(command))?.accepted(proto::DUMP_MAX, "text")
    }
}

#[cfg(feature = "state")]
fn parsed<T: serde::de::DeserializeOwned>(operation: Command, text: &[u8]) -> Result<T> {
    serde_json::from_slice(text).map_err(|source| super::Error::Json { operation, source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Error;
    use crate::client::served::{daemon, reply};
    use crate::proto::StatusHeader;
    use zerocopy::IntoBytes as _;

    #[test]
    fn lockspaces_are_read_by_their_count() {
        let entry = Lockspace { global_id: 7, ..Lockspace::default() };
        let payload = [entry.as_bytes(), entry.as_bytes()].concat();
        let (client, server) = daemon("ls", 96, reply(Command::Lockspaces, 2, &payload));
        assert_eq!(client.lockspaces().unwrap(), [entry, entry]);
        assert_eq!(
            server.join().unwrap()[8..24],
            [5, 0, 0, 0, 0, 0, 0, 0, 96, 0, 0, 0, 0, 0, 0, 0]
        );
        let (client, server) = daemon("ls-short", 96, reply(Command::Lockspaces, 3, &payload));
        assert!(matches!(client.lockspaces(), Err(Error::BadLength { .. })));
        server.join().unwrap();
    }

    #[test]
    fn too_many_nodes_are_no_error() {
        let node = Node { nodeid: 3, ..Node::default() };
        let answer = reply(Command::LockspaceNodes, -proto::errno::E2BIG, node.as_bytes());
        let (client, server) = daemon("nodes", 96, answer);
        let listing = client.lockspace_nodes(b"fs", NodeList::All, 1).unwrap();
        assert_eq!((listing.entries, listing.truncated), (vec![node], true));
        server.join().unwrap();
    }

    #[test]
    fn refusals_keep_their_errno() {
        let empty = Lockspace::default();
        let answer = reply(Command::LockspaceInfo, -proto::errno::ENOENT, empty.as_bytes());
        let (client, server) = daemon("info", 96, answer);
        let error = client.lockspace_info(b"fs").unwrap_err();
        assert_eq!((error.errno(), error.operation()), (2, Command::LockspaceInfo));
        server.join().unwrap();
    }

    #[test]
    fn oversized_answers_are_not_allocated() {
        let mut answer = reply(Command::DumpDebug, 0, &[]);
        answer[16..20].copy_from_slice(&u32::MAX.to_ne_bytes());
        let (client, server) = daemon("big", 96, answer);
        assert!(matches!(client.dump_debug(), Err(Error::BadLength { .. })));
        server.join().unwrap();
    }

    #[test]
    fn truncated_status_is_an_error_and_a_whole_one_is_not() {
        let text = b"member_count=3 monotime=43 \0";
        let header = StatusHeader {
            kind: 1,
            flags: 0,
            nodeid: 1,
            data32: 0,
            data64: 0,
            str_len: 28,
            bin_len: 0,
        };
        let whole = [header.as_bytes(), text].concat();
        for cut in 1..whole.len() {
            let (client, server) = daemon(&format!("cut{cut}"), 96, whole[..cut].to_vec());
            assert!(matches!(client.status(), Err(Error::Receive { .. })), "{cut}");
            server.join().unwrap();
        }
        let (client, server) = daemon("whole", 96, whole);
        let records = client.status().unwrap();
        assert_eq!(records[0].daemon().unwrap().monotime, 43);
        server.join().unwrap();
    }
}
