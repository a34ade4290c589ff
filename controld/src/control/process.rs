//! What this process takes of the machine, as the kernel counts it.

use dlmcontrol::state::Process;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{SysconfVar, sysconf};
use std::fs;

/// Memory in pages: all of it, then what is resident (proc(5)).
const STATM: &str = "/proc/self/statm";

/// One entry a descriptor.
const DESCRIPTORS: &str = "/proc/self/fd";

/// Now; 0 where the kernel does not say.
pub(super) fn document() -> Process {
    let pages = fs::read_to_string(STATM).ok();
    let pages = pages.and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok());
    let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
    let page = page.and_then(|size| u64::try_from(size).ok());
    let used = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).ok();
    // The listing's own descriptor is one of them.
    let open = fs::read_dir(DESCRIPTORS).map_or(0, |entries| entries.count().saturating_sub(1));
    Process {
        resident_bytes: pages.unwrap_or(0).saturating_mul(page.unwrap_or(0)),
        cpu_us: used.map_or(0, |time| {
            let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
            let nanos = u64::try_from(time.tv_nsec()).unwrap_or(0);
            seconds.saturating_mul(1_000_000).saturating_add(nanos / 1000)
        }),
        open_files: u64::try_from(open).unwrap_or(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_process_takes_something() {
        let taken = super::document();
        assert!(taken.resident_bytes > 1 << 16 && taken.open_files >= 3, "{taken:?}");
        assert!(super::document().cpu_us >= taken.cpu_us && taken.cpu_us > 0, "{taken:?}");
    }
}
