//! A TCP service of the host for the guests, one thread a connection.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result};

use super::network::Network;
use crate::protocol::HOST;

/// A running service; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Service {
    network: Network,
    address: SocketAddr,
    ended: Arc<AtomicBool>,
}

impl Service {
    /// Listens on a port of the host's management address.
    pub(crate) fn start(
        network: &Network,
        port: u16,
        serve: impl Fn(TcpStream) + Send + Sync + 'static,
    ) -> Result<Self> {
        let address = SocketAddr::from((HOST, port));
        let listener = network
            .within(|| TcpListener::bind(address))?
            .with_context(|| format!("listen on {address}"))?;
        let ended = Arc::new(AtomicBool::new(false));
        let (serve, end) = (Arc::new(serve), Arc::clone(&ended));
        thread::spawn(move || {
            for stream in listener.incoming() {
                if end.load(Ordering::Relaxed) {
                    return;
                }
                let serve = Arc::clone(&serve);
                if let Ok(stream) = stream {
                    thread::spawn(move || serve(stream));
                }
            }
        });
        Ok(Self { network: network.clone(), address, ended })
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // The listener sits in accept: a last connection makes it look.
        let _ = self.network.within(|| TcpStream::connect(self.address));
    }
}
