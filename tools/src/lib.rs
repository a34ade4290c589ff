//! Shared parts of `dlm_tool`, `dlm_stonith` and `dlm_exporter`: everything but the few lines of their main functions.
//!
//! Texts are made by pure functions over the answers of [`dlmcontrol`] and the contents of files, so that they can be
//! compared to what the C tools print without a daemon or a kernel.

pub mod args;
pub mod budget;
pub mod check;
pub mod commands;
pub mod device;
pub mod explain;
pub mod exporter;
pub mod ffi;
mod fields;
pub mod getopt;
pub mod hints;
pub mod history;
mod insight;
pub mod json;
pub mod listing;
pub mod lockdebug;
pub mod lockdump;
pub mod number;
mod replay;
pub mod run;
pub mod stonith;
pub mod usage;
pub mod watch;
pub mod words;
