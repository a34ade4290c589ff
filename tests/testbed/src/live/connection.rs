//! Connections of daemons: a thread reads, a thread writes, the world's thread waits for neither.

use super::server::Input;
use super::{Record, What};
use crate::harness::Brain;
use controld::testbed::{
    Notice, QUEUE_MAX, Request, is_of_kernel, notice_of, read_frame, write_frame,
};
use dlm_core::effect::Effect;
use dlm_core::event::Event;
use dlm_core::snapshot::Snapshot;
use dlm_core::types::{Instant, NodeId, Now};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

/// Names a connection.
pub(super) type ConnectionId = u64;

/// The writing end of a connection.
#[derive(Clone)]
pub(super) struct Line {
    notices: SyncSender<Notice>,
    stream: Arc<UnixStream>,
    /// The daemon has a corosync: it hears of its kernel alone.
    corosync: bool,
}

impl Line {
    /// Say something. A daemon that does not read is a hung node: its connection is broken.
    pub(super) fn say(&self, notice: Notice) {
        if self.notices.try_send(notice).is_err() {
            self.hang_up();
        }
    }

    /// Break the connection.
    pub(super) fn hang_up(&self) {
        // Fails only if it is broken already.
        let _broken = self.stream.shutdown(Shutdown::Both);
    }
}

/// The thread that accepts daemons.
pub(super) fn accept(listener: &UnixListener, inputs: &SyncSender<Input>) {
    for (stream, id) in listener.incoming().zip(1..) {
        let Ok(stream) = stream else { return };
        let inputs = inputs.clone();
        thread::spawn(move || serve(id, stream, &inputs));
    }
}

/// A connection's reader.
fn serve(id: ConnectionId, mut stream: UnixStream, inputs: &SyncSender<Input>) {
    let (Ok(mut writer), Ok(end)) = (stream.try_clone(), stream.try_clone()) else { return };
    let (notices, queue) = sync_channel::<Notice>(QUEUE_MAX);
    thread::spawn(move || {
        for notice in queue {
            if write_frame(&mut writer, &notice).is_err() {
                return;
            }
        }
        // Nobody has anything to say to this daemon any more.
        let _broken = writer.shutdown(Shutdown::Both);
    });
    let mut line = Some(Line { notices, stream: Arc::new(end), corosync: false });
    while let Ok(request) = read_frame::<Request>(&mut stream) {
        let input = match (request, line.take()) {
            (Request::Hello { version, node, corosync }, Some(mut line)) => {
                line.corosync = corosync;
                Input::Hello { id, version, node, line }
            }
            (Request::Hello { .. }, None) | (_, Some(_)) => break,
            (request, None) => Input::Request(id, request),
        };
        if inputs.send(input).is_err() {
            return;
        }
    }
    let _ended = inputs.send(Input::Lost(id));
}

/// Stands in the world for a daemon's decisions: passes events on, asks for nothing.
pub(super) struct Remote {
    pub(super) node: NodeId,
    pub(super) line: Option<Line>,
    pub(super) record: Record,
}

impl Brain for Remote {
    fn step(&mut self, _now: Now, event: Event, _effects: &mut Vec<Effect>) {
        let Some(line) = self.line.as_ref().filter(|line| !line.corosync || is_of_kernel(&event))
        else {
            return;
        };
        if let Some(notice) = notice_of(&event) {
            // Seen before it is said, so that nothing it leads to is seen earlier.
            self.record.add(self.node, What::Told(event));
            line.say(notice);
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        None
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot::default()
    }
}
