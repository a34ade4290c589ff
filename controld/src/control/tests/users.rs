//! Who may do what, and that nobody keeps root out. Parts are played by this program again, as other users.

use super::*;

/// `nobody` of every Linux.
const NOBODY: u32 = 65534;

/// Names the part that a child process plays; unset in an ordinary run.
const ROLE: &str = "DLM_TEST_ROLE";

const SOCKETS: &str = "DLM_TEST_SOCKETS";

/// This test program again, as nobody. `None`: only root can do that.
fn as_nobody(daemon: &Daemon, role: &str) -> Option<Child> {
    as_user(NOBODY, daemon, role)
}

/// This test program again, as this user. `None`: only root can do that.
fn as_user(user: u32, daemon: &Daemon, role: &str) -> Option<Child> {
    if !Uid::effective().is_root() {
        crate::skipped::skipped("root, who can be anybody");
        return None;
    }
    let sockets = format!("{} {}", daemon.command_socket, daemon.query_socket);
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "control::tests::users::part_of_a_child_process", "--nocapture"])
        .env(ROLE, role)
        .env(SOCKETS, sockets)
        .uid(user)
        .gid(user)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    Some(child.unwrap())
}

/// Returns the rest of the output: a child that cannot write any more would fail.
fn wait_for_line(child: &mut Child, text: &str) -> impl Iterator<Item = io::Result<String>> {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let said = lines.by_ref().any(|line| line.unwrap().contains(text));
    assert!(said, "child did not say {text}");
    lines
}

#[test]
fn part_of_a_child_process() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let sockets = std::env::var(SOCKETS).unwrap();
    let (command, query) = sockets.split_once(' ').unwrap();
    match role.as_str() {
        "flood" => {
            let held: Vec<_> = [query, command]
                .into_iter()
                .flat_map(|socket| (0..200).map(move |_| connect(socket)))
                .collect();
            println!("\nheld");
            // Until the parent is done.
            let _ = std::io::stdin().read(&mut [0; 1]);
            drop(held);
        }
        "ask" => {
            let client = Client::with_sockets(command.as_bytes(), query.as_bytes());
            client.fence_ack(3).unwrap();
            client.set_config(b"enable_quorum_lockspace=0").unwrap();
            let started = client.run_start(b"lvm lvs", 0, 1);
            assert!(matches!(started, Err(Error::Refused { errno: errno::EPERM, .. })));
            let checked = client.run_check(b"known", Duration::ZERO, 2).unwrap();
            assert_eq!((checked.result, checked.status), (-errno::EPERM, 0));
            let mut connection = client.fs_connect().unwrap();
            connection.register(b"fs").unwrap();
            assert_eq!(connection.result().unwrap().result, -errno::EPERM);
            assert_eq!(client.status().unwrap().len(), 1);
            println!("\nrefused");
        }
        "command" => {
            let client = Client::with_sockets(command.as_bytes(), query.as_bytes());
            assert_eq!(client.run_start(b"lvm lvs", 0, 1).unwrap(), "ab4c9f22-f6c9-409e");
            client.fence_ack(3).unwrap();
            println!("\ncommanded");
        }
        "crowd" => {
            crowd(&Client::with_sockets(command.as_bytes(), query.as_bytes()));
            println!("\nanswered");
        }
        other => unreachable!("{other}"),
    }
}

/// Clients of one process: its descriptors may be bounded to 1024.
const CROWD: usize = 250;

/// So many clients ask at once, and each gets a whole answer; of the ring's text the last newline is not sent.
fn crowd(client: &Client) {
    let begin = Barrier::new(CROWD);
    thread::scope(|scope| {
        let ask = || {
            begin.wait();
            let client = client.clone().with_timeout(Some(4 * PROMPT));
            let names = client.lockspaces().unwrap().len();
            (names, client.status().unwrap().len(), client.dump_debug().unwrap().len())
        };
        let clients: Vec<_> = (0..CROWD).map(|_| scope.spawn(ask)).collect();
        for client in clients {
            assert_eq!(client.join().unwrap(), (2, 4, 99_999));
        }
    });
}

/// More than are served side by side: those of root wait for their turn, in the backlog if need be, and a command among them
/// is not lost in the crowd.
#[test]
fn thousand_clients_at_once_get_a_whole_answer_each() {
    if !Uid::effective().is_root() {
        crate::skipped::skipped("root, whose clients are never turned away");
        return;
    }
    let daemon = Daemon::start();
    daemon.debug_log.append(&vec![b'x'; 100_000]);
    daemon.publish(Published { snapshot: fencing_wait(), ..Published::default() });
    let started = Instant::now();
    let children: Vec<_> = (0..1000 / CROWD).filter_map(|_| as_user(0, &daemon, "crowd")).collect();
    let client = daemon.client();
    let commands = daemon.drive(|_| ());
    client.reload_config().unwrap();
    assert!(matches!(commands.recv_timeout(PROMPT).unwrap(), Command::ReloadConfig));
    for mut child in children {
        drop(wait_for_line(&mut child, "answered").last());
        assert!(child.wait().unwrap().success());
    }
    let taken = started.elapsed();
    println!("a thousand clients with three questions each: {taken:?}");
    assert!(taken < 4 * PROMPT, "{taken:?}");
}

/// Nobody's own group is the one that dlm.conf names.
#[test]
fn members_of_the_group_may_command() {
    let names =
        ["commands", "queries"].map(|kind| format!("dlm-test-group-{kind}-{}", std::process::id()));
    let Ok(Some(group)) = nix::unistd::Group::from_gid(NOBODY.into()) else {
        return;
    };
    let access = Access::root_and_group(&group.name).unwrap();
    let daemon = Daemon::start_as(&names[0], &names[1], access);
    let Some(mut child) = as_nobody(&daemon, "command") else {
        return;
    };
    let commands = daemon.drive(|_| ());
    drop(wait_for_line(&mut child, "commanded").last());
    assert!(child.wait().unwrap().success());
    assert!(
        matches!(commands.recv_timeout(PROMPT).unwrap(), Command::FenceAck(node) if node == id(3))
    );
}

#[test]
fn nobody_may_ask_but_not_command() {
    let daemon = Daemon::start();
    let Some(mut child) = as_nobody(&daemon, "ask") else {
        return;
    };
    let output = wait_for_line(&mut child, "refused");
    drop(output.last());
    assert!(child.wait().unwrap().success());
    let client = daemon.client();
    let commands = daemon.drive(|_| ());
    client.reload_config().unwrap();
    // Nothing of the child's comes before it.
    assert!(matches!(commands.recv_timeout(PROMPT).unwrap(), Command::ReloadConfig));
}

#[test]
fn flood_of_nobody_keeps_root_out_of_nothing() {
    let daemon = Daemon::start();
    let Some(mut child) = as_nobody(&daemon, "flood") else {
        return;
    };
    let input = child.stdin.take();
    let output = wait_for_line(&mut child, "held");
    let client = daemon.client();
    let commands = daemon.drive(|_| ());
    let started = Instant::now();
    assert_eq!(client.status().unwrap().len(), 1);
    client.reload_config().unwrap();
    assert!(matches!(commands.recv_timeout(PROMPT).unwrap(), Command::ReloadConfig));
    assert!(started.elapsed() < PROMPT);
    drop(input);
    drop(output.last());
    assert!(child.wait().unwrap().success());
}
