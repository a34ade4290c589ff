//! Who runs first on a busy machine (spec/defects-and-latency.md item 93).

use nix::unistd::getpid;
use std::io;

/// Before every ordinary process, behind corosync and whatever else has a realtime priority. The lowest of them.
const MAIN: i32 = 1;

/// Before the main thread too: what the kernel is told begins at once, and does not wait on a machine with one processor until
/// the main thread has said all that it has to say.
const LANE: i32 = MAIN + 1;

/// The calling thread runs before all ordinary ones, and is not interrupted by those that it wakes: a recovery does not wait for
/// the load that waits for it. What is started from here on, threads and programs, is ordinary.
///
/// # Errors
/// The kernel says no, as it does in a container or in a control group without realtime. Worth a line in the log; the daemon
/// can go on.
pub(crate) fn before_others() -> io::Result<()> {
    set(libc::SCHED_RR | libc::SCHED_RESET_ON_FORK, MAIN)
}

/// The calling thread works for the main thread: it runs before ordinary ones if that does.
pub(crate) fn as_the_main_thread() {
    as_important(MAIN);
}

/// The calling thread gives the kernel what the main thread has decided: it runs before that, if that runs before others.
pub(crate) fn before_the_main_thread() {
    as_important(LANE);
}

fn as_important(priority: i32) {
    if is_before_others() {
        // Where the main thread was allowed to, nothing is in the way.
        let _refused = set(libc::SCHED_RR | libc::SCHED_RESET_ON_FORK, priority);
    }
}

/// The calling thread does not run before others because it was woken: a line of the log must not take the processor from
/// the loop that says it, on machines that have one processor.
pub(crate) fn give_way() {
    // The log is as complete without, and a recovery slower.
    let _refused = set(libc::SCHED_BATCH, 0);
}

/// Has the main thread a realtime priority?
#[expect(unsafe_code, reason = "neither std nor nix has sched_getscheduler")]
fn is_before_others() -> bool {
    // SAFETY: the call has no pointers.
    let policy = unsafe { libc::sched_getscheduler(getpid().as_raw()) };
    policy & !libc::SCHED_RESET_ON_FORK == libc::SCHED_RR
}

#[expect(unsafe_code, reason = "neither std nor nix has sched_setscheduler")]
fn set(policy: i32, priority: i32) -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: priority };
    // SAFETY: the call reads the parameters, which live until it returns; 0 is the calling thread.
    match unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::errno::Errno;

    #[expect(unsafe_code, reason = "neither std nor nix has sched_getscheduler")]
    fn own_policy() -> i32 {
        // SAFETY: the call has no pointers.
        unsafe { libc::sched_getscheduler(0) }
    }

    fn on_a_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
        std::thread::spawn(work).join().unwrap()
    }

    #[test]
    fn threads_of_a_thread_that_runs_first_are_ordinary() {
        let (own, child) = on_a_thread(|| match before_others() {
            Ok(()) => (own_policy(), on_a_thread(own_policy)),
            // Root of a container may not.
            Err(error) => {
                assert_eq!(error.raw_os_error().map(Errno::from_raw), Some(Errno::EPERM));
                (libc::SCHED_RR | libc::SCHED_RESET_ON_FORK, own_policy())
            }
        });
        assert_eq!(own, libc::SCHED_RR | libc::SCHED_RESET_ON_FORK);
        assert_eq!(child, libc::SCHED_OTHER);
    }

    #[test]
    fn beside_an_ordinary_main_thread_all_are_ordinary() {
        let policy = on_a_thread(|| {
            as_the_main_thread();
            own_policy()
        });
        assert_eq!(policy, libc::SCHED_OTHER);
    }

    #[test]
    fn who_gives_way_is_a_batch_thread() {
        let policy = on_a_thread(|| {
            give_way();
            own_policy()
        });
        assert_eq!(policy, libc::SCHED_BATCH);
    }
}
