//! What the workloads have acknowledged: for each, by name, the highest number complete.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;

use super::network::Network;
use super::service::Service;
use crate::protocol::LEDGER_PORT;

type Entries = Arc<Mutex<BTreeMap<String, u64>>>;

/// The ledger and the service that fills it.
#[derive(Debug)]
pub(crate) struct Ledger {
    entries: Entries,
    _service: Service,
}

impl Ledger {
    pub(crate) fn start(network: &Network) -> Result<Self> {
        let entries = Entries::default();
        let shared = Arc::clone(&entries);
        let service = Service::start(network, LEDGER_PORT, move |stream| keep(&shared, stream))?;
        Ok(Self { entries, _service: service })
    }

    /// The highest number acknowledged under a name, 0 if none.
    pub(crate) fn acknowledged(&self, name: &str) -> u64 {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.get(name).copied().unwrap_or_default()
    }
}

fn keep(entries: &Entries, stream: TcpStream) {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let Some(name) = lines.next() else { return };
    for number in lines.filter_map(|line| line.parse().ok()) {
        let mut entries = entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.insert(name.clone(), number);
    }
}
