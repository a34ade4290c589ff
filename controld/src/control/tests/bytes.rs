//! Bytes that are no request.

use super::*;

#[test]
fn bad_streams_are_closed() {
    let daemon = Daemon::start();
    let no_magic = [b'x'; 96];
    let mut old = Header::new(proto::Command::DumpDebug);
    old.version = 0x0002_0000;
    let huge = request(15, &[b'x'; 5000]);
    for bad in [&no_magic[..], old.as_bytes(), &huge] {
        let mut stream = daemon.connect(&daemon.command_socket);
        // The daemon may close before all is written.
        let _ = stream.write_all(bad);
        assert!(is_closed(&mut stream));
    }
    for bad in [&no_magic[..], old.as_bytes(), &request(77, b""), &request(12, b"")] {
        let mut stream = daemon.connect(&daemon.query_socket);
        stream.write_all(bad).unwrap();
        assert!(is_closed(&mut stream));
    }
}

/// Requests of all commands, and of some that there are not, cut and with bytes that are not theirs.
fn damaged(times: usize) -> impl Iterator<Item = Vec<u8>> {
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed.to_ne_bytes()[0]
    };
    let numbers = proto::Command::ALL.into_iter().map(proto::Command::number);
    let numbers: Vec<u32> = numbers.chain([0, 20, 1000, u32::MAX]).collect();
    let damage = move |number: u32| {
        let mut bytes = request(number, &[b'7'; 40]);
        // The magic number and the version are spared half of the time, or all would end there.
        let spared = if next() % 2 == 0 { 8 } else { 0 };
        for _ in 0..next() % 5 {
            let at = spared + usize::from(next()) % (bytes.len() - spared);
            bytes[at] = next();
        }
        if next() % 4 == 0 {
            bytes.truncate(usize::from(next()));
        }
        bytes
    };
    std::iter::repeat_n(numbers, times).flatten().map(damage)
}

#[test]
fn any_bytes_are_survived() {
    for number in 0..=20 {
        let whole = request(number, &[b'7'; 40]);
        for length in 0..=whole.len() {
            fuzz_request(&whole[..length]);
        }
    }
    damaged(500).for_each(|bytes| fuzz_request(&bytes));
}

/// Whatever comes is answered or ends the connection; nothing of it is left behind.
#[test]
fn any_bytes_on_either_socket_leave_a_daemon_that_serves() {
    let daemon = Daemon::start();
    daemon.publish(fencing_with_pause());
    let client = daemon.client();
    let sockets = [daemon.query_socket.clone(), daemon.command_socket.clone()];
    let taken = daemon.drive(|_| ());
    // Each is dropped when it has been looked at, as a driver does that cannot answer.
    let last = thread::spawn(move || {
        taken.iter().find(|taken| matches!(taken, Command::SetConfig(text) if text == "last=1"))
    });
    for socket in &sockets {
        for bytes in damaged(20) {
            let mut stream = connect(socket);
            // A daemon that has seen enough closes before all is written.
            let _refused = stream.write_all(&bytes);
            let _closed = stream.shutdown(std::net::Shutdown::Write);
            let mut answer = Vec::new();
            match stream.read_to_end(&mut answer) {
                Ok(_) => {}
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
            }
        }
    }
    assert!(!client.status().unwrap().is_empty());
    assert_eq!(client.state().unwrap().meters.unwrap().clients["queries"].connected, 1);
    client.set_config(b"last=1").unwrap();
    assert!(last.join().unwrap().is_some());
}
