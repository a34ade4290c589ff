//! The document of the state, and how often the driver is asked for it.

use super::*;

#[test]
fn state_is_one_document_and_comes_back_as_it_was() {
    let daemon = Daemon::start();
    let client = daemon.client();
    daemon.publish(fencing_with_pause());
    let _commands = daemon.drive(|_| ());
    let text = client.state_json().unwrap();
    let mut state = client.state().unwrap();
    let lockspaces = serde_json::from_slice::<State>(&text).unwrap().lockspaces;
    assert_eq!(lockspaces, state.lockspaces);
    assert_eq!(state.daemon.pid, std::process::id());
    state.daemon.pid = 4242;
    let meters = state.meters.as_mut().unwrap();
    // Of this machine.
    let process = std::mem::take(&mut meters.process);
    assert!(process.resident_bytes > 0 && process.open_files > 0, "{process:?}");
    assert_eq!(std::mem::take(&mut meters.loop_answers).count, 2);
    let clients = std::mem::take(&mut meters.clients);
    assert_eq!((clients["queries"].accepted, clients["commands"].accepted), (2, 0));
    assert_eq!(clients["queries"].turned_away, 0);
    let version = env!("CARGO_PKG_VERSION");
    let pretty = serde_json::to_string_pretty(&state).unwrap().replace(version, "VERSION") + "\n";
    expect_test::expect_file!["../testdata/state.json"].assert_eq(&pretty);
}

/// How often the driver is asked for the state.
fn counted() -> (Arc<AtomicU32>, impl Fn(&Command) + Send + 'static) {
    let asked = Arc::new(AtomicU32::new(0));
    let counting = Arc::clone(&asked);
    let count = move |command: &Command| {
        if matches!(command, Command::State { .. }) {
            counting.fetch_add(1, Ordering::Relaxed);
        }
    };
    (asked, count)
}

#[test]
fn driver_is_asked_only_where_something_has_changed_or_the_document_is_wanted() {
    let daemon = Daemon::start();
    let client = daemon.client();
    let published = fencing_with_pause();
    daemon.publish(published.clone());
    let (asked, count) = counted();
    let _commands = daemon.drive(count);
    let all = |client: &Client| {
        assert!(!client.status().unwrap().is_empty());
        assert_eq!(client.lockspaces().unwrap().len(), 2);
        assert!(!client.dump_config().unwrap().is_empty());
    };
    all(&client);
    assert_eq!(asked.load(Ordering::Relaxed), 0, "nothing has changed");
    client.state().unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), 1, "the document has counts and times");
    // This driver never makes a new one.
    published.outdate();
    all(&client);
    assert_eq!(asked.load(Ordering::Relaxed), 4);
}

/// What a question costs the driver bounds how often it is asked.
#[test]
fn driver_is_left_alone_after_an_answer() {
    let daemon = Daemon::start();
    let client = daemon.client();
    let made_in = Duration::from_millis(50);
    daemon.publish(Published { made_in, ..fencing_with_pause() });
    let (asked, count) = counted();
    let _commands = daemon.drive(count);
    let begin = Instant::now();
    client.state().unwrap();
    client.state().unwrap();
    assert!(begin.elapsed() >= made_in * 4, "{:?}", begin.elapsed());
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

/// However many ask, the driver is waited for once.
#[test]
fn state_of_a_driver_that_is_stuck_says_how_old_it_is() {
    let daemon = Daemon::start();
    let client = daemon.client();
    let taken = dlm_core::types::Instant::default().plus_seconds(100);
    daemon.publish(Published { taken, ..fencing_with_pause() });
    daemon.take_only();
    let started = Instant::now();
    let asking: Vec<_> = (0..20)
        .map(|_| {
            let client = client.clone();
            thread::spawn(move || client.state().unwrap().stale_ms)
        })
        .collect();
    let ages: Vec<_> = asking.into_iter().map(|asking| asking.join().unwrap()).collect();
    assert_eq!(ages, vec![Some(4_000); 20]);
    assert!(started.elapsed() < PROMPT, "{:?}", started.elapsed());
    // What the C tool asks for comes too.
    assert_eq!(client.status().unwrap().len(), 4);
}

#[test]
fn state_may_be_longer_than_the_buffers_of_c_callers() {
    let daemon = Daemon::start();
    let mut snapshot = locks();
    snapshot.lockspaces =
        (0..4000).map(|number| lockspace(number, &format!("lockspace-{number}"))).collect();
    daemon.publish(Published { snapshot, ..Published::default() });
    let text = daemon.client().state_json().unwrap();
    assert!(text.len() > proto::DUMP_MAX, "{} bytes", text.len());
    assert_eq!(daemon.client().state().unwrap().lockspaces.len(), 4000);
}
