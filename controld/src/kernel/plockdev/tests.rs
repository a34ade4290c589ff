use super::*;
use crate::reactor::Reactor;
use nix::sys::epoll::EpollTimeout;
use nix::sys::socket::{AddressFamily, Shutdown, SockFlag, SockType, shutdown, socketpair};
use std::future::poll_fn;
use std::os::fd::AsRawFd as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A pair that keeps records apart, as the device does.
fn pair() -> (OwnedFd, OwnedFd) {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).unwrap()
}

fn us() -> NodeId {
    NodeId::new(3).unwrap()
}

fn sink() -> (LogSink, Arc<Mutex<Vec<String>>>) {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&lines);
    (Arc::new(move |line: LogLine| into.lock().unwrap().push(line.text)), lines)
}

fn info(number: u64) -> PlockInfo {
    PlockInfo {
        version: [1, 2, 0],
        op: Op::Lock,
        mode: Mode::Write,
        wait: true,
        flags: 0,
        pid: 77,
        node: us(),
        result: 0,
        fsid: GlobalId(0x1234_5678),
        number,
        start: 5,
        end: 9,
        owner: 0xffff_8000_0000_0001,
    }
}

/// As the kernel sends it: its node id is 0.
fn request(info: &PlockInfo) -> [u8; RECORD_SIZE] {
    let mut record = encode(info);
    record[20..24].fill(0);
    record
}

struct Reading {
    kernel: OwnedFd,
    requests: Requests,
    reactor: Reactor,
    limit: RateLimit,
    said: Arc<Mutex<Vec<String>>>,
}

fn reading(rate: u32) -> Reading {
    let (kernel, device) = pair();
    let limit = RateLimit::new(rate);
    let (log, said) = sink();
    let path = Path::new("/dev/misc/dlm_plock");
    let reactor = Reactor::new().unwrap();
    let requests =
        Requests::new(device, path, us(), limit.clone(), log, reactor.registry()).unwrap();
    Reading { kernel, requests, reactor, limit, said }
}

impl Reading {
    fn ask(&self, record: &[u8]) {
        assert_eq!(nix::unistd::write(&self.kernel, record), Ok(record.len()));
    }

    fn ask_for(&self, numbers: std::ops::Range<u64>) {
        numbers.for_each(|number| self.ask(&request(&info(number))));
    }

    /// Tokio's time passes meanwhile.
    async fn next_event(&mut self) -> Option<Event> {
        poll_fn(|context| {
            loop {
                let next = self.requests.poll_next(context);
                if next.is_ready() || self.reactor.look(EpollTimeout::ZERO) == 0 {
                    return next;
                }
            }
        })
        .await
    }

    async fn next(&mut self) -> Option<PlockInfo> {
        match self.next_event().await? {
            Event::PlockRequest(info) => Some(info),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn fields_are_where_the_kernel_has_them() {
    let bytes = encode(&PlockInfo { result: -11, flags: 1, op: Op::Cancel, ..info(8) });
    let words = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
    let longs = |at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap());
    assert_eq!([words(0), words(4), words(8)], [1, 2, 0]);
    assert_eq!(bytes[12..16], [4, 1, 1, 1]);
    assert_eq!([words(16), words(20), words(28)], [77, 3, 0x1234_5678]);
    assert_eq!(bytes[24..28], (-11_i32).to_ne_bytes());
    assert_eq!([longs(32), longs(40), longs(48), longs(56)], [8, 5, 9, 0xffff_8000_0000_0001]);
}

#[test]
fn requests_get_our_node_and_keep_the_rest() {
    assert_eq!(decode(&request(&info(8)), us()), Ok((info(8), None)));
    let unknown = PlockInfo { op: Op::Unknown(9), flags: 0x81, version: [1, 0, 7], ..info(8) };
    assert_eq!(decode(&request(&unknown), us()), Ok((unknown, None)));
}

#[test]
fn another_version_is_kept_for_a_refusal() {
    for version in [[0, 2, 0], [2, 0, 0], [1, 3, 0], [u32::MAX; 3]] {
        let (refused, complaint) =
            decode(&request(&PlockInfo { version, ..info(8) }), us()).unwrap();
        assert_eq!(complaint, Some(BadRecord::Version(version)));
        // Unknown to the core, and yet what the kernel sent when it is written back.
        assert_eq!(refused.op, Op::Unknown(1));
        assert_eq!(encode(&refused)[..16], request(&PlockInfo { version, ..info(8) })[..16]);
    }
}

#[test]
fn no_bytes_panic() {
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        u8::try_from(seed & 0xff).unwrap()
    };
    for length in 0..=2 * RECORD_SIZE {
        for _ in 0..20 {
            let bytes: Vec<u8> = (0..length).map(|_| random()).collect();
            fuzz_record(&bytes);
            assert_eq!(decode(&bytes, us()).is_ok(), length == RECORD_SIZE);
        }
    }
}

#[tokio::test]
async fn everything_that_is_there_is_read_in_order() {
    let mut reading = reading(0);
    reading.ask_for(0..50);
    assert_eq!(reading.next().await, Some(info(0)));
    for number in 1..50 {
        assert_eq!(reading.requests.try_next(), Some(Event::PlockRequest(info(number))));
    }
    assert_eq!(reading.requests.try_next(), None);
    reading.ask_for(50..51);
    assert_eq!(reading.next().await, Some(info(50)));
}

/// The device is not asked in vain for more, and yet nothing is left there.
#[tokio::test]
async fn one_at_a_time_is_expected_after_a_while_and_more_are_found_all_the_same() {
    let mut reading = reading(0);
    for number in 0..100 {
        reading.ask_for(number..number + 1);
        assert_eq!(reading.next().await, Some(info(number)));
        let more = reading.requests.device.is_readable();
        assert_eq!(reading.requests.try_next(), None);
        assert!(more, "it could have been asked");
    }
    reading.ask_for(100..300);
    for number in 100..300 {
        assert_eq!(reading.next().await, Some(info(number)));
    }
    assert_eq!(reading.requests.try_next(), None);
    // Several at once are known of by now.
    reading.ask_for(300..302);
    assert_eq!(reading.next().await, Some(info(300)));
    assert_eq!(reading.requests.try_next(), Some(Event::PlockRequest(info(301))));
}

/// A limit leaves requests in the device, which must not end every wait at once.
#[tokio::test(start_paused = true)]
async fn a_device_that_has_to_wait_for_the_limit_is_not_watched_for_long() {
    let mut reading = reading(1);
    reading.ask_for(0..2);
    assert_eq!(reading.next().await, Some(info(0)));
    let waits = poll_fn(|context| Poll::Ready(reading.requests.poll_next(context))).await;
    assert_eq!(waits, Poll::Pending);
    assert_eq!([0; 3].map(|_| reading.reactor.look(EpollTimeout::ZERO)), [1, 0, 0]);
    assert_eq!(reading.next().await, Some(info(1)));
    assert_eq!(reading.requests.try_next(), None);
    reading.ask_for(2..3);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(reading.next().await, Some(info(2)), "it is watched again");
}

#[tokio::test]
async fn a_bad_record_is_told_and_the_next_one_is_read() {
    let mut reading = reading(0);
    reading.ask(&[7; 10]);
    let version = [3, 0, 0];
    reading.ask(&request(&PlockInfo { version, ..info(1) }));
    reading.ask_for(2..3);
    let refused = reading.next().await.unwrap();
    assert_eq!((refused.number, refused.op), (1, Op::Unknown(1)));
    assert_eq!(reading.next().await, Some(info(2)));
    let said = reading.said.lock().unwrap().clone();
    assert!(said[0].starts_with("plock device gave 10 bytes instead of 64"), "{said:?}");
    assert!(said[1].starts_with("plock request of version 3.0.0, known is 1.0 to 1.2"), "{said:?}");
    assert_eq!(said.len(), 2);
}

#[tokio::test]
async fn the_end_of_the_device_is_the_daemons() {
    let mut reading = reading(0);
    reading.kernel = pair().0;
    let end = reading.next_event().await;
    let Some(Event::ClusterLost { why }) = end else { panic!("{end:?}") };
    assert!(why.starts_with("plock device: ") && why.contains("/dev/misc/dlm_plock"), "{why}");
    assert_eq!(reading.next_event().await, None);
}

/// When the requests of one burst come, in milliseconds.
async fn burst(reading: &mut Reading, count: u64) -> Vec<u128> {
    let begin = Instant::now();
    reading.ask_for(0..count);
    let mut at = Vec::new();
    for _ in 0..count {
        reading.next().await.unwrap();
        at.push(begin.elapsed().as_millis());
    }
    at
}

#[tokio::test(start_paused = true)]
async fn defect_42_limit_lets_a_burst_pass_and_then_one_at_a_time() {
    let mut reading = reading(10);
    let at = burst(&mut reading, 15).await;
    assert_eq!(at[..10], [0; 10]);
    // The clock of the timer has milliseconds.
    for (index, at) in at[10..].iter().enumerate() {
        let due = 100 * (u128::try_from(index).unwrap() + 1);
        assert!((due..=due + 2).contains(at), "request {index} after the burst at {at} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn the_limit_counts_for_what_is_there_already() {
    let mut reading = reading(2);
    reading.ask_for(0..3);
    assert_eq!(reading.next().await, Some(info(0)));
    assert_eq!(reading.requests.try_next(), Some(Event::PlockRequest(info(1))));
    assert_eq!(reading.requests.try_next(), None);
    tokio::time::advance(Duration::from_millis(500)).await;
    assert_eq!(reading.requests.try_next(), Some(Event::PlockRequest(info(2))));
}

#[tokio::test(start_paused = true)]
async fn a_new_limit_counts_at_once() {
    let mut reading = reading(1);
    reading.ask_for(0..3);
    assert_eq!(reading.next().await, Some(info(0)));
    let begin = Instant::now();
    reading.limit.set(0);
    assert_eq!(reading.next().await, Some(info(1)));
    assert_eq!(reading.next().await, Some(info(2)));
    assert_eq!(begin.elapsed(), Duration::ZERO);
}

/// Only requests that are there are held back, an empty bucket alone holds nobody.
#[tokio::test(start_paused = true)]
async fn what_the_limit_holds_back_is_told_with_its_times() {
    let (kernel, device) = pair();
    let (limit, (log, said)) = (RateLimit::new(2), sink());
    let path = Path::new("/dev/misc/dlm_plock");
    let results = device.try_clone().unwrap();
    let results = Results::new(results, path.into(), limit.clone(), log.clone(), log.clone());
    let reactor = Reactor::new().unwrap();
    let requests =
        Requests::new(device, path, us(), limit.clone(), log, reactor.registry()).unwrap();
    let mut reading = Reading { kernel, requests, reactor, limit, said };
    reading.ask_for(0..2);
    assert_eq!(reading.next().await, Some(info(0)));
    assert_eq!(reading.next().await, Some(info(1)));
    assert_eq!(reading.requests.try_next(), None);
    assert_eq!(results.held_back(), None, "nobody asks");

    reading.ask_for(2..4);
    let next = Duration::from_millis(500);
    assert_eq!(results.held_back(), Some(HeldBack { lasted: Duration::ZERO, next }));
    tokio::time::advance(Duration::from_millis(200)).await;
    assert_eq!(reading.requests.try_next(), None);
    let (lasted, next) = (Duration::from_millis(200), Duration::from_millis(300));
    assert_eq!(results.held_back(), Some(HeldBack { lasted, next }));

    assert_eq!(reading.next().await, Some(info(2)));
    assert_eq!(reading.requests.try_next(), None);
    let held = results.held_back().unwrap();
    assert!(held.lasted >= Duration::from_millis(500), "all the time: {held:?}");
    assert_eq!(reading.next().await, Some(info(3)));
    assert_eq!(results.held_back(), None, "all are read");
    assert_eq!(
        (results.take_delayed(), results.take_delayed()),
        (2, 0),
        "the third and the fourth"
    );
    // The bucket has a token again, and nobody wants it.
    tokio::time::advance(Duration::from_secs(9)).await;
    assert_eq!(reading.requests.try_next(), None);

    reading.ask_for(4..8);
    assert_eq!(reading.next().await, Some(info(4)));
    assert_eq!(reading.next().await, Some(info(5)));
    assert_eq!(results.take_delayed(), 0, "there was a token for each");
    assert_eq!(reading.requests.try_next(), None);
    assert_eq!(results.held_back().map(|held| held.lasted), Some(Duration::ZERO), "since now");
    reading.limit.set(0);
    assert_eq!(results.held_back(), None, "no limit");
}

#[test]
fn results_are_written_in_order_and_a_caller_that_is_gone_is_no_error() {
    let (kernel, device) = pair();
    let (log, said) = sink();
    let (plock_log, plock_said) = sink();
    let results =
        Results::new(device, "/dev/misc/dlm_plock".into(), RateLimit::default(), log, plock_log);
    for number in 0..5 {
        results.write(&PlockInfo { result: -11, ..info(number) });
    }
    for number in 0..5 {
        let mut record = [0; RECORD_SIZE];
        assert_eq!(nix::unistd::read(&kernel, &mut record), Ok(RECORD_SIZE));
        assert_eq!(record, encode(&PlockInfo { result: -11, ..info(number) }));
    }
    // A closing alone counts when no child of another test has a copy of the descriptor any more.
    shutdown(kernel.as_raw_fd(), Shutdown::Both).unwrap();
    results.write(&info(6));
    let said = said.lock().unwrap();
    assert!(said[0].contains("result 0 of plock 6, pid 77 lost"), "{said:?}");
    assert_eq!(plock_said.lock().unwrap().len(), 0);
}
