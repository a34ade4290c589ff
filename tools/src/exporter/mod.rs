//! `dlm_exporter`: the daemon's state for Prometheus.
//!
//! Each scrape asks the daemon once, on its query socket, for the document of `docs/json.md`, and turns it into a page of
//! metrics. The exporter holds no state but the count of its failed scrapes, needs no privilege, and lets nothing take
//! longer than its limits say, so a hung daemon is a fact on the page and not a hung page.

mod daemon;
pub mod family;
mod lockspaces;
mod meters;
mod nodes;
mod page;
mod plocks;
mod reading;
pub mod server;

pub use daemon::{Cause, Failures};
pub use reading::{Reading, page};
