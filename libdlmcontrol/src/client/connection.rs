//! One connection to the daemon: what goes over it, and the lengths that an answer may name.

use super::{Error, Listing, Result, RunStatus, Socket};
use crate::proto::{self, Command, HEADER_LEN, Header, STATUS_PART_MAX, StatusHeader};
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use zerocopy::{FromBytes, IntoBytes as _};

/// Most bytes of a list answer: some 100,000 lockspaces. Keeps a broken peer from making us allocate without bound.
pub(super) const LIST_MAX: usize = 16 * 1024 * 1024;

/// One connection, with what is attempted on it.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) stream: UnixStream,
    pub(super) operation: Command,
    pub(super) socket: Socket,
}

impl Connection {
    pub(super) fn send(&mut self, request: &Header, payload: &[u8]) -> Result<()> {
        self.operation = Command::from_number(request.command).unwrap_or(self.operation);
        let mut bytes = request.followed_by(payload.len()).as_bytes().to_vec();
        bytes.extend_from_slice(payload);
        let (operation, socket) = (self.operation, self.socket);
        self.stream.write_all(&bytes).map_err(|source| Error::Send { operation, socket, source })
    }

    fn read(&mut self, length: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        let (operation, socket) = (self.operation, self.socket);
        match self.stream.read_exact(&mut bytes) {
            Ok(()) => Ok(bytes),
            Err(source) => Err(Error::Receive { operation, socket, source }),
        }
    }

    fn read_struct<T: FromBytes>(&mut self, part: &'static str) -> Result<T> {
        let bytes = self.read(size_of::<T>())?;
        T::read_from_bytes(&bytes).map_err(|_| self.bad_length(part, bytes.len()))
    }

    pub(super) fn header(&mut self) -> Result<Header> {
        let header: Header = self.read_struct("header")?;
        let (operation, socket) = (self.operation, self.socket);
        match header.payload_len() {
            Ok(_) => Ok(header),
            Err(source) => Err(Error::BadHeader { operation, socket, source }),
        }
    }

    pub(super) fn payload(
        &mut self,
        header: &Header,
        max: usize,
        part: &'static str,
    ) -> Result<Vec<u8>> {
        let length = usize::try_from(header.len.saturating_sub(HEADER_LEN)).unwrap_or(usize::MAX);
        if length > max {
            return Err(self.bad_length(part, length));
        }
        self.read(length)
    }

    pub(super) fn refused(&self, header: &Header) -> Result<()> {
        if header.data >= 0 {
            return Ok(());
        }
        Err(Error::Refused { operation: self.operation, errno: header.data.saturating_neg() })
    }

    /// A header that does not say no, and all that is behind it.
    pub(super) fn accepted(&mut self, max: usize, part: &'static str) -> Result<Vec<u8>> {
        let reply = self.header()?;
        self.refused(&reply)?;
        self.payload(&reply, max, part)
    }

    /// A header, and always one structure behind it, which means nothing if the header says no.
    pub(super) fn structure<T: FromBytes>(&mut self) -> Result<T> {
        let reply = self.header()?;
        self.refused(&reply)?;
        self.read_struct("structure")
    }

    /// A header, and the entries that its length names; -E2BIG says that there were more.
    pub(super) fn listing<T: FromBytes>(&mut self) -> Result<Listing<T>> {
        let reply = self.header()?;
        let truncated = reply.data == -proto::errno::E2BIG;
        if !truncated {
            self.refused(&reply)?;
        }
        let bytes = self.payload(&reply, LIST_MAX, "entries")?;
        let chunks = bytes.chunks_exact(size_of::<T>());
        let complete = chunks.remainder().is_empty();
        let entries: Vec<T> = chunks.filter_map(|entry| T::read_from_bytes(entry).ok()).collect();
        let counted = truncated || usize::try_from(reply.data) == Ok(entries.len());
        if !complete || !counted {
            return Err(self.bad_length("entries", bytes.len()));
        }
        Ok(Listing { entries, truncated })
    }

    /// The head of the next status record; `None` at the end of the stream.
    pub(super) fn status_header(&mut self) -> Result<Option<StatusHeader>> {
        let (operation, socket) = (self.operation, self.socket);
        let mut bytes = [0; size_of::<StatusHeader>()];
        let mut filled = 0_usize;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.stream.read(rest) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => {
                    let source = io::ErrorKind::UnexpectedEof.into();
                    return Err(Error::Receive { operation, socket, source });
                }
                Ok(count) => filled = filled.saturating_add(count),
                Err(source) if source.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(Error::Receive { operation, socket, source }),
            }
        }
        Ok(StatusHeader::read_from_bytes(&bytes).ok())
    }

    /// The text of a status record without its NUL, and the bytes that the record took.
    pub(super) fn status_text(&mut self, header: &StatusHeader) -> Result<(String, usize)> {
        let mut parts = [0_usize; 2];
        for (part, length) in parts.iter_mut().zip([header.str_len, header.bin_len]) {
            if length > STATUS_PART_MAX {
                return Err(self.bad_length("a status record", length));
            }
            *part = usize::try_from(length).unwrap_or(0);
        }
        let [text, binary] = parts;
        let text = self.read(text)?;
        let binary = self.read(binary)?;
        let taken =
            size_of::<StatusHeader>().saturating_add(text.len()).saturating_add(binary.len());
        Ok((String::from_utf8_lossy(proto::until_nul(&text)).into_owned(), taken))
    }

    pub(super) fn run_status(&mut self) -> Result<RunStatus> {
        let reply = self.header()?;
        let status = self.read(size_of::<u32>())?;
        let status = u32::read_from_bytes(&status).unwrap_or(0);
        Ok(RunStatus { status, result: reply.data })
    }

    pub(super) fn bad_length(&self, part: &'static str, length: impl TryInto<i64>) -> Error {
        let length = length.try_into().unwrap_or(i64::MAX);
        Error::BadLength { operation: self.operation, socket: self.socket, part, length }
    }
}
