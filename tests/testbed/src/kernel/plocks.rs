//! The model of the plock device: requests that were read, and results that find them as a kernel's do (spec/plocks.md
//! section 1, Matching: kernels from 6.5).

use dlm_core::plock::PlockInfo;

/// Requests of one node that wait for an answer.
#[derive(Clone, Debug, Default, Hash)]
pub struct PlockDevice {
    /// In the order in which the daemon has read them.
    waiting: Vec<PlockInfo>,
}

impl PlockDevice {
    /// The daemon reads a request. One that closes the file is forgotten with that.
    pub fn read(&mut self, request: PlockInfo) {
        if !request.is_close() {
            self.waiting.push(request);
        }
    }

    /// Requests without an answer, oldest first.
    #[must_use]
    pub fn waiting(&self) -> &[PlockInfo] {
        &self.waiting
    }

    /// The daemon writes a result; the request that it ends.
    ///
    /// # Errors
    /// The result went to nobody, or to a request that it was not meant for, in words.
    pub fn write(&mut self, result: &PlockInfo) -> Result<PlockInfo, String> {
        let place = if result.wait {
            self.waiting.iter().position(|asked| is_waiting_for(asked, result))
        } else {
            // Nothing but the order tells these apart.
            self.waiting.iter().position(|asked| !asked.wait && asked.fsid == result.fsid)
        };
        let Some(place) = place else {
            return Err(format!("plock result without a request: {result:?}"));
        };
        let asked = self.waiting.remove(place);
        let meant =
            (asked.number, asked.owner, asked.op) == (result.number, result.owner, result.op);
        if meant {
            Ok(asked)
        } else {
            Err(format!("plock result {result:?} goes to another request: {asked:?}"))
        }
    }
}

/// A result with `wait` names its request.
fn is_waiting_for(asked: &PlockInfo, result: &PlockInfo) -> bool {
    let key = |info: &PlockInfo| {
        let range = (info.start, info.end);
        (info.wait, info.fsid, info.number, info.owner, info.pid, range, info.mode)
    };
    key(asked) == key(result)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dlm_core::plock::{FLAG_CLOSE, Mode, Op};
    use dlm_core::types::{GlobalId, NodeId};

    fn request(number: u64, wait: bool) -> PlockInfo {
        PlockInfo {
            version: [1, 2, 0],
            op: Op::Lock,
            mode: Mode::Write,
            wait,
            flags: 0,
            pid: 9,
            node: NodeId::new(1).unwrap(),
            result: 0,
            fsid: GlobalId(7),
            number,
            start: 0,
            end: 9,
            owner: 5,
        }
    }

    #[test]
    fn results_without_wait_are_told_apart_by_their_order_alone() {
        let mut device = PlockDevice::default();
        (1..=3).for_each(|number| device.read(request(number, false)));
        assert_eq!(device.write(&request(1, false)), Ok(request(1, false)));
        assert!(device.write(&request(3, false)).unwrap_err().contains("another request"));
        assert_eq!(device.waiting(), [request(3, false)]);
        let elsewhere = PlockInfo { fsid: GlobalId(8), ..request(3, false) };
        assert!(device.write(&elsewhere).unwrap_err().contains("without a request"));
    }

    #[test]
    fn results_with_wait_name_their_request() {
        let mut device = PlockDevice::default();
        (1..=3).for_each(|number| device.read(request(number, true)));
        assert_eq!(device.write(&request(3, true)), Ok(request(3, true)));
        assert!(device.write(&request(3, true)).is_err());
        assert_eq!(device.waiting(), [request(1, true), request(2, true)]);
    }

    #[test]
    fn a_close_is_forgotten_when_it_is_read() {
        let mut device = PlockDevice::default();
        device.read(PlockInfo { flags: FLAG_CLOSE, ..request(1, false) });
        assert_eq!(device.waiting(), []);
        assert!(device.write(&request(1, false)).is_err());
    }
}
