//! Clients in numbers, and such as do not read, or not write.

use super::*;

#[test]
fn defect_53_busy_driver_holds_up_no_query() {
    let daemon = Daemon::start();
    let started = Instant::now();
    for _ in 0..COMMANDS_MAX * 2 {
        daemon.client().reload_config().unwrap();
    }
    assert_eq!(daemon.client().status().unwrap()[0].kind(), StatusKind::Daemon);
    assert!(started.elapsed() < PROMPT);
}

#[test]
fn hundred_clients_at_once_get_a_whole_dump_each() {
    let daemon = Daemon::start();
    let text = vec![b'x'; proto::DUMP_MAX];
    daemon.debug_log.append(&text);
    thread::scope(|scope| {
        let ask = || daemon.client().dump_debug().unwrap();
        let clients: Vec<_> = (0..100).map(|_| scope.spawn(ask)).collect();
        for client in clients {
            assert!(client.join().unwrap() == text);
        }
    });
}

#[test]
fn defect_52_clients_that_do_not_read_or_write_hold_up_nobody() {
    let daemon = Daemon::start();
    daemon.debug_log.append(&vec![b'x'; proto::DUMP_MAX]);
    let mut idle = Vec::new();
    for _ in 0..25 {
        let mut deaf = daemon.connect(&daemon.query_socket);
        deaf.write_all(&request(1, b"")).unwrap();
        let mut half = daemon.connect(&daemon.query_socket);
        half.write_all(&request(1, b"")[..50]).unwrap();
        let mut half_command = daemon.connect(&daemon.command_socket);
        half_command.write_all(&request(18, b"")[..95]).unwrap();
        idle.extend([deaf, half, half_command]);
    }
    assert_eq!(daemon.client().dump_debug().unwrap().len(), proto::DUMP_MAX);
    let client = daemon.client();
    let commands = daemon.drive(|_| ());
    client.reload_config().unwrap();
    assert!(matches!(commands.recv_timeout(PROMPT).unwrap(), Command::ReloadConfig));
}

/// Both sockets served on the test's own runtime, whose clock can be stopped.
fn serve_here(name: &str) -> (UnixStreamPair, mpsc::Receiver<Command>) {
    let names = [format!("dlm-test-{name}-q"), format!("dlm-test-{name}-c")];
    let listen = |name: &str| UnixListener::from_std(bind(name.as_bytes()).unwrap()).unwrap();
    let (send, commands) = mpsc::channel(1);
    let sources = Sources {
        published: watch::channel(Arc::default()).1,
        debug_log: LogRing::new(),
        plock_log: PlockLog::default(),
        commands: send.clone(),
        history: History::default(),
        meters: Meters::default(),
        started: Time::default(),
        clock: Time::default,
    };
    tokio::spawn(serve_queries(listen(&names[0]), sources));
    let meters = Meters::default();
    tokio::spawn(serve_commands(listen(&names[1]), Access::root_only(), send, meters));
    let [query, command] = names.map(|name| {
        let stream = connect(&name);
        stream.set_nonblocking(true).unwrap();
        UnixStream::from_std(stream).unwrap()
    });
    ((query, command), commands)
}

type UnixStreamPair = (UnixStream, UnixStream);

#[tokio::test(start_paused = true)]
async fn half_a_request_is_given_up_after_seconds() {
    let ((mut query, mut command), _commands) = serve_here("half");
    let started = tokio::time::Instant::now();
    query.write_all(&request(1, b"")[..50]).await.unwrap();
    assert_eq!(query.read(&mut [0; 1]).await.unwrap_or(0), 0);
    command.write_all(&request(19, &[0; 1024])[..200]).await.unwrap();
    assert_eq!(command.read(&mut [0; 1]).await.unwrap_or(0), 0);
    assert!(started.elapsed() <= Duration::from_secs(21));
}

#[tokio::test(start_paused = true)]
async fn silent_query_client_is_given_up_and_a_silent_commander_is_not() {
    let ((mut query, mut command), mut commands) = serve_here("silent");
    assert_eq!(query.read(&mut [0; 1]).await.unwrap_or(0), 0);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    command.write_all(&request(18, b"")).await.unwrap();
    assert!(matches!(commands.recv().await, Some(Command::ReloadConfig)));
}
