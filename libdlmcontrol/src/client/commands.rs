//! Commands: those that change something or show what is not everybody's, for which the daemon wants rights.

use super::{Client, Error, Result, named};
use crate::proto::{self, Command, Header, NAME_LEN, TEXT_LEN};
use std::time::{Duration, Instant};

/// Most bytes of a recording: the daemon's own limit is half of it. Keeps a broken peer from making us allocate without
/// bound.
const RECORDING_MAX: usize = 128 * 1024 * 1024;

/// How often `run_check` asks again: the protocol has no way to be told.
const RUN_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// What became of a command that `run_start` began: bits `RUN_*` of [`proto`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunStatus {
    /// `RUN_*`; 0: the daemon does not know the uuid.
    pub status: u32,
    /// 0, or the negative number that the daemon said.
    pub result: i32,
}

impl Client {
    /// What the daemon's flight recorder has, as the bytes of a file. A daemon that does not know the question does not
    /// answer: give a limit with [`Self::with_timeout`].
    ///
    /// # Errors
    /// Connection, answer; refusal with EPERM, or EOPNOTSUPP where the recorder is switched off.
    pub fn record_save(&self) -> Result<Vec<u8>> {
        let request = Header::new(Command::RecordSave);
        self.command(&request, &[])?.accepted(RECORDING_MAX, "recording")
    }

    /// Tells the daemon that a node is fenced. Returns when the request is handed over; there is no answer.
    ///
    /// # Errors
    /// Connection.
    pub fn fence_ack(&self, node: u32) -> Result<()> {
        self.fence_ack_text(node.to_string().as_bytes())
    }

    /// The same with the node id as an operator wrote it.
    ///
    /// # Errors
    /// Name, connection.
    pub fn fence_ack_text(&self, node: &[u8]) -> Result<()> {
        self.command(&named(Command::FenceAck, node)?, &[]).map(drop)
    }

    /// Changes options: words `name=value`, `name=restore`, or `restore_all`. There is no answer.
    ///
    /// # Errors
    /// Text, connection.
    pub fn set_config(&self, text: &[u8]) -> Result<()> {
        let payload = padded(Command::SetConfig, text)?;
        self.command(&Header::new(Command::SetConfig), &payload).map(drop)
    }

    /// Has dlm.conf read again. There is no answer.
    ///
    /// # Errors
    /// Connection.
    pub fn reload_config(&self) -> Result<()> {
        self.command(&Header::new(Command::ReloadConfig), &[]).map(drop)
    }

    /// Has a command run on `node`, 0 for all. `flags`: one of `RUN_NODE_*`. Returns the uuid to ask for it with
    /// [`Self::run_check`].
    ///
    /// # Errors
    /// Text, connection, answer; refusal.
    pub fn run_start(&self, command: &[u8], node: i32, flags: i32) -> Result<String> {
        let payload = padded(Command::RunStart, command)?;
        let mut request = Header::new(Command::RunStart);
        request.data = node;
        request.flags = flags;
        let mut connection = self.command(&request, &payload)?;
        let reply = connection.header()?;
        connection.refused(&reply)?;
        Ok(String::from_utf8_lossy(reply.name_bytes()).into_owned())
    }

    /// Asks for a search for deadlocks, which no daemon has ever made.
    ///
    /// # Errors
    /// Name, connection.
    pub fn deadlock_check(&self, lockspace: &[u8]) -> Result<()> {
        self.command(&named(Command::DeadlockCheck, lockspace)?, &[]).map(drop)
    }

    /// Asks what became of a command, once a second until it is done or `wait` is over. `flags`: `RUN_CHECK_*`.
    ///
    /// # Errors
    /// Name, connection, answer. What the daemon says of an unknown uuid is in [`RunStatus::result`].
    pub fn run_check(&self, uuid: &[u8], wait: Duration, flags: i32) -> Result<RunStatus> {
        let mut request = named(Command::RunCheck, uuid)?;
        request.flags = flags;
        let started = Instant::now();
        let mut connection = self.command(&request, &[])?;
        loop {
            let status = connection.run_status()?;
            let left = wait.saturating_sub(started.elapsed());
            if status.status & proto::RUN_WAITING == 0 || left.is_zero() {
                return Ok(status);
            }
            std::thread::sleep(RUN_CHECK_INTERVAL.min(left));
            connection.send(&request, &[])?;
        }
    }
}

/// The fixed payload of `run_start` and `set_config`.
fn padded(operation: Command, text: &[u8]) -> Result<[u8; TEXT_LEN]> {
    let error = || Error::Text { operation, length: text.len() };
    if text.len() >= TEXT_LEN || text.contains(&0) {
        return Err(error());
    }
    let mut payload = [0; TEXT_LEN];
    payload.get_mut(..text.len()).ok_or_else(error)?.copy_from_slice(text);
    Ok(payload)
}

const _: () = assert!(NAME_LEN == 64, "room for a uuid (DLMC_RUN_UUID_LEN) and a lockspace name");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::served::{daemon, reply};

    #[test]
    fn texts_are_sent_padded_and_never_cut() {
        let (client, server) = daemon("set", 96 + 1024, Vec::new());
        client.set_config(b"plock_debug=1").unwrap();
        let sent = server.join().unwrap();
        assert_eq!(sent[16..20], 1120_u32.to_ne_bytes());
        assert_eq!(sent[96..110], *b"plock_debug=1\0");
        let error = client.set_config(&[b'x'; 1024]).unwrap_err();
        assert!(matches!(error, Error::Text { length: 1024, .. }));
    }

    #[test]
    fn run_check_reports_the_status_behind_the_header() {
        let answer = reply(Command::RunCheck, 0, &proto::RUN_DONE.to_ne_bytes());
        let (client, server) = daemon("check", 96, answer);
        let status = client.run_check(b"ab4c9f22", Duration::ZERO, 1).unwrap();
        assert_eq!(status, RunStatus { status: proto::RUN_DONE, result: 0 });
        server.join().unwrap();
    }
}
