//! `/dev/misc/dlm_plock` while POSIX locks are not served: every request is answered with ENOSYS, as with
//! `enable_plock=0` (spec/plocks.md section 1), so that no process hangs in fcntl.

use crate::kernel::error::{KernelError, Operation};
use crate::kernel::ready;
use nix::errno::Errno;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// `struct dlm_plock_info` of linux/dlm_plock.h.
const RECORD_SIZE: usize = 64;
/// Byte of the flags.
const FLAGS_OFFSET: usize = 15;
/// The kernel has forgotten this request: an answer would be taken for another's.
const FLAG_CLOSE: u8 = 1;
/// Bytes of the result.
const RESULT_RANGE: std::ops::Range<usize> = 24..28;

/// The answer to a request; `None` where the kernel expects none.
#[must_use]
pub fn refusal(request: &[u8; RECORD_SIZE]) -> Option<[u8; RECORD_SIZE]> {
    if request.get(FLAGS_OFFSET).is_none_or(|flags| flags & FLAG_CLOSE != 0) {
        return None;
    }
    let mut answer = *request;
    let errno = i32::wrapping_neg(libc::ENOSYS);
    answer.get_mut(RESULT_RANGE)?.copy_from_slice(&errno.to_ne_bytes());
    Some(answer)
}

/// Answer requests until the device fails.
///
/// # Errors
/// The device cannot be read or written any more.
pub async fn refuse_all(device: OwnedFd, path: PathBuf) -> Result<(), KernelError> {
    let device = ready::register(device).map_err(KernelError::path(Operation::Register, &path))?;
    let mut request = [0; RECORD_SIZE];
    loop {
        let mut ready =
            device.readable().await.map_err(KernelError::path(Operation::Read, &path))?;
        match nix::unistd::read(device.get_ref(), &mut request) {
            Ok(RECORD_SIZE) => {
                if let Some(answer) = refusal(&request) {
                    nix::unistd::write(device.get_ref(), &answer).map_err(|errno| {
                        KernelError::Write {
                            value: "result of a plock request".to_owned(),
                            path: path.clone(),
                            source: errno.into(),
                        }
                    })?;
                }
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => ready.clear_ready(),
            Err(errno) => return Err(KernelError::path(Operation::Read, &path)(errno.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_close_is_not_answered_and_all_else_gets_enosys() {
        let mut request = [7; RECORD_SIZE];
        request[FLAGS_OFFSET] = 0;
        let answer = refusal(&request).unwrap();
        assert_eq!(answer[RESULT_RANGE], (-libc::ENOSYS).to_ne_bytes());
        assert_eq!(answer[..24], request[..24]);
        assert_eq!(answer[28..], request[28..]);
        request[FLAGS_OFFSET] = FLAG_CLOSE;
        assert_eq!(refusal(&request), None);
    }
}
