//! How many clients each socket has, and has had.

use dlmcontrol::state::Clients as Document;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Clients of both sockets. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Clients {
    pub(super) queries: Arc<OfSocket>,
    pub(super) commands: Arc<OfSocket>,
}

/// Clients of one socket.
#[derive(Debug, Default)]
pub(super) struct OfSocket {
    connected: AtomicU64,
    accepted: AtomicU64,
    turned_away: AtomicU64,
}

/// A client that is there until this is dropped.
#[derive(Debug)]
pub(super) struct Connected(Arc<OfSocket>);

impl OfSocket {
    /// One was let in.
    pub(super) fn accept(self: &Arc<Self>) -> Connected {
        self.connected.fetch_add(1, Ordering::Relaxed);
        self.accepted.fetch_add(1, Ordering::Relaxed);
        Connected(Arc::clone(self))
    }

    /// One found no place.
    pub(super) fn turn_away(&self) {
        self.turned_away.fetch_add(1, Ordering::Relaxed);
    }

    fn document(&self) -> Document {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Document {
            connected: read(&self.connected),
            accepted: read(&self.accepted),
            turned_away: read(&self.turned_away),
        }
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.connected.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Clients {
    pub(super) fn document(&self) -> BTreeMap<String, Document> {
        let sockets = [("queries", &self.queries), ("commands", &self.commands)];
        sockets.into_iter().map(|(name, of)| (name.to_owned(), of.document())).collect()
    }
}
