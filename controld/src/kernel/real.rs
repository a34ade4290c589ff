//! The seam's real side: this machine's kernel.

use crate::kernel::configfs::CommOptions;
use crate::kernel::error::KernelError;
use crate::kernel::files::OsFiles;
use crate::kernel::lanes::{Completions, Lanes};
use crate::kernel::plockdev::Results;
use crate::kernel::root::Root;
use crate::kernel::write::Writer;
use crate::kernel::{HeldBack, Kernel, LogSink};
use crate::reactor::Registry;
use dlm_core::effect::{KernelWrite, Lane};
use dlm_core::event::Token;
use dlm_core::options::Switch;
use dlm_core::plock::PlockInfo;

/// Kernel writes through sysfs and configfs.
pub struct RealKernel {
    lanes: Lanes<OsFiles>,
    plocks: Results,
}

impl RealKernel {
    /// The kernel whose file systems are below `root`, and what comes of writes, for which `registry` will watch. `plocks` takes
    /// results of POSIX locks.
    ///
    /// # Errors
    /// As [`Lanes::new`].
    pub fn new(
        root: Root,
        comms: CommOptions,
        log: LogSink,
        plocks: Results,
        registry: &Registry,
    ) -> Result<(Self, Completions), KernelError> {
        let writer = Writer { files: OsFiles, root, comms };
        let (lanes, completions) = Lanes::new(writer, log, registry)?;
        Ok((Self { lanes, plocks }, completions))
    }
}

impl Kernel for RealKernel {
    fn write(&mut self, token: Token, lane: Lane, write: KernelWrite) {
        self.lanes.write(token, lane, write);
    }

    fn prepare(&mut self, lane: Lane) {
        self.lanes.prepare(lane);
    }

    fn retire(&mut self, lane: &Lane) {
        self.lanes.retire(lane);
    }

    fn plock_result(&mut self, result: &PlockInfo) {
        self.plocks.write(result);
    }

    fn set_plock_rate_limit(&mut self, rate: u32) {
        self.plocks.set_rate_limit(rate);
    }

    fn plocks_held_back(&self) -> Option<HeldBack> {
        self.plocks.held_back()
    }

    fn take_plocks_delayed(&mut self) -> u64 {
        self.plocks.take_delayed()
    }

    fn set_log_debug(&mut self, log_debug: Switch) {
        self.lanes.set_log_debug(log_debug);
    }
}
