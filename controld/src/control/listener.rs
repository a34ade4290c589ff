//! Binding the abstract sockets, and accepting clients with bounds that nobody can use against others.
//!
//! Clients are accepted at once and sorted by what the kernel says of them: those who may command, and the rest. Each
//! class has its own room: so many are served side by side, so many more wait in order of arrival. Beyond that, those who
//! may command wait in the backlog, and the rest are turned away. So a flood of unprivileged connections neither fills
//! the backlog nor takes a place from root.

use super::ControlError;
use super::clients::{Clients, Connected, OfSocket};
use super::peer::{Access, Peer, Trust};
use std::future::Future;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener as StdListener};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Commands that may wait for the driver; further clients wait with theirs.
pub const COMMANDS_MAX: usize = 64;

/// Clients of one class that are served side by side on one socket.
pub(crate) const SERVED_MAX: usize = 64;

/// Clients of one class that may be connected to one socket, the served ones included.
pub(crate) const QUERIES_CONNECTED_MAX: usize = 128;

/// Clients without rights on the command socket: they are there to be refused.
const REFUSED_CONNECTED_MAX: usize = 16;

/// Pause after a failed accept, which leaves the connection in the backlog: out of descriptors, most likely, and no
/// event tells when there are some again.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Binds an abstract name, given without the leading NUL, and listens. The socket is close-on-exec.
///
/// # Errors
/// Another daemon has it, or the kernel says no.
pub fn bind(name: &[u8]) -> Result<StdListener, ControlError> {
    let open = || {
        let listener = StdListener::bind_addr(&SocketAddr::from_abstract_name(name)?)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    open().map_err(|source: io::Error| {
        let socket = String::from_utf8_lossy(name).into_owned();
        match source.kind() {
            io::ErrorKind::AddrInUse => ControlError::InUse { socket },
            _ => ControlError::Bind { socket, source },
        }
    })
}

/// What is done with a client. A clone for each.
pub(crate) trait Served: Clone + Send + 'static {
    /// Serves one client to its end.
    fn client(self, stream: UnixStream, peer: Peer) -> impl Future<Output = ()> + Send;
}

/// Bounds on one class of clients.
struct Room {
    connected: Arc<Semaphore>,
    served: Arc<Semaphore>,
    /// A client of this class was turned away, and that was logged.
    overflowed: bool,
}

impl Room {
    fn new(served: usize, connected: usize) -> Self {
        Self {
            connected: Arc::new(Semaphore::new(connected)),
            served: Arc::new(Semaphore::new(served)),
            overflowed: false,
        }
    }
}

/// Bounds of a socket, and who is counted there.
pub(crate) struct Rooms {
    commanding: Room,
    others: Room,
    clients: Arc<OfSocket>,
}

impl Rooms {
    /// Of the query socket.
    pub(crate) fn queries(clients: &Clients) -> Self {
        let room = || Room::new(SERVED_MAX, QUERIES_CONNECTED_MAX);
        Self { commanding: room(), others: room(), clients: Arc::clone(&clients.queries) }
    }

    /// Of the command socket.
    pub(crate) fn commands(clients: &Clients) -> Self {
        Self {
            commanding: Room::new(SERVED_MAX, SERVED_MAX),
            others: Room::new(REFUSED_CONNECTED_MAX, REFUSED_CONNECTED_MAX),
            clients: Arc::clone(&clients.commands),
        }
    }

    fn of(&mut self, trust: Trust) -> &mut Room {
        match trust {
            Trust::Commands => &mut self.commanding,
            Trust::Queries => &mut self.others,
        }
    }
}

/// Accepts for ever; each client becomes a task.
pub(crate) async fn serve(
    listener: UnixListener,
    access: Access,
    mut rooms: Rooms,
    served: impl Served,
) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!("cannot accept a client of a local socket: {error}");
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        // Without credentials there is nothing to decide by.
        if let Ok(credentials) = stream.peer_cred() {
            let peer = Peer::new(&credentials, &access);
            let place = rooms.of(peer.trust).place(peer).await;
            match place {
                Some(place) => begin(stream, peer, place, rooms.clients.accept(), served.clone()),
                None => rooms.clients.turn_away(),
            }
        }
    }
}

/// A client's place among the connected, and the queue for being served.
struct Place {
    connected: OwnedSemaphorePermit,
    turn: Arc<Semaphore>,
}

impl Room {
    /// `None`: this client is turned away. Who may command waits, and whoever comes later behind it in the backlog:
    /// that can be trusted not to be a means of attack.
    async fn place(&mut self, peer: Peer) -> Option<Place> {
        let connected = Arc::clone(&self.connected);
        let connected = match peer.trust {
            Trust::Commands => connected.acquire_owned().await.ok(),
            Trust::Queries => connected.try_acquire_owned().ok(),
        };
        if connected.is_none() && !self.overflowed {
            self.overflowed = true;
            let uid = peer.uid;
            tracing::warn!(uid, "too many clients of a local socket: some are turned away");
        }
        Some(Place { connected: connected?, turn: Arc::clone(&self.served) })
    }
}

fn begin(stream: UnixStream, peer: Peer, place: Place, counted: Connected, served: impl Served) {
    tokio::spawn(async move {
        // The semaphore is fair, so clients are served in the order in which they came. It is never closed.
        let _turn = place.turn.acquire_owned().await;
        served.client(stream, peer).await;
        drop((place.connected, counted));
    });
}
