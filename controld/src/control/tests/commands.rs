//! Commands, good and bad ones.

use super::*;

fn reply(stream: &mut StdStream) -> Header {
    let mut bytes = [0; 96];
    stream.read_exact(&mut bytes).unwrap();
    Header::read_from_bytes(&bytes).unwrap()
}

#[test]
fn commands_reach_the_driver_in_order() {
    let daemon = Daemon::start();
    let client = daemon.client();
    let commands = daemon.drive(|_| ());
    let next = || commands.recv_timeout(PROMPT).unwrap();
    client.fence_ack(3).unwrap();
    assert!(matches!(next(), Command::FenceAck(node) if node == id(3)));
    client.set_config(b"plock_debug=1").unwrap();
    assert!(matches!(next(), Command::SetConfig(text) if text == "plock_debug=1"));
    client.reload_config().unwrap();
    assert!(matches!(next(), Command::ReloadConfig));
    assert_eq!(client.run_start(b"lvm lvs", 0, 1).unwrap(), "ab4c9f22-f6c9-409e");
    let check = |uuid| client.run_check(uuid, Duration::ZERO, 1).unwrap();
    assert_eq!(check(b"known").status, proto::RUN_DONE);
    assert_eq!((check(b"unknown").status, check(b"unknown").result), (0, -1));
}

#[test]
fn query_after_a_reply_sees_what_the_command_did() {
    let daemon = Daemon::start();
    let client = daemon.client();
    let publish = daemon.publish.clone();
    let _commands = daemon.drive(move |_| {
        publish.send_replace(Arc::new(Published { snapshot: locks(), ..Published::default() }));
    });
    assert_eq!(client.lockspaces().unwrap().len(), 0);
    client.run_check(b"known", Duration::ZERO, 0).unwrap();
    assert_eq!(client.lockspaces().unwrap().len(), 2);
}

#[test]
fn defect_25_file_systems_are_told_that_they_are_not_served() {
    let daemon = Daemon::start();
    let mut connection = daemon.client().fs_connect().unwrap();
    connection.register(b"fs").unwrap();
    let registered = connection.result().unwrap();
    assert_eq!(registered.command, Some(proto::Command::FsRegister));
    assert_eq!(registered.lockspace, b"fs");
    connection.unregister(b"fs").unwrap();
    connection.notified(b"fs", 3).unwrap();
    let notified = connection.result().unwrap();
    assert_eq!((notified.node, notified.result), (3, -errno::EOPNOTSUPP));
}

#[test]
fn bad_commands_leave_the_connection_in_step() {
    let daemon = Daemon::start();
    let mut stream = daemon.connect(&daemon.command_socket);
    let commands = daemon.drive(|_| ());
    let too_long = vec![b'x'; 1025];
    for bad in [
        request(77, b"payload of an unknown command"),
        request(10, b""),
        request(12, b""),
        request(19, &too_long),
        request(1, b""),
    ] {
        stream.write_all(&bad).unwrap();
    }
    stream.write_all(&request(18, b"")).unwrap();
    assert!(matches!(commands.recv_timeout(PROMPT).unwrap(), Command::ReloadConfig));
}

#[test]
fn run_start_is_answered_and_closed_whatever_is_wrong() {
    let daemon = Daemon::start();
    for (payload, result) in [(vec![b'x'; 1025], -1), (Vec::new(), -22), (vec![0; 1024], -22)] {
        let mut stream = daemon.connect(&daemon.command_socket);
        stream.write_all(&request(15, &payload)).unwrap();
        assert_eq!(reply(&mut stream).data, result);
        assert!(is_closed(&mut stream));
    }
    let socket = daemon.command_socket.clone();
    // A driver that drops the reply: switched off.
    let mut daemon = daemon;
    thread::spawn(move || while daemon.commands.blocking_recv().is_some() {});
    let client = Client::with_sockets(socket.as_bytes(), b"");
    assert_eq!(client.run_start(b"lvm lvs", 0, 1).unwrap_err().errno(), 1);
    let mut stream = connect(&socket);
    stream.write_all(&request(16, b"")).unwrap();
    let header = reply(&mut stream);
    assert_eq!((header.data, header.len), (-1, 100));
}
