//! What the exporter says of states of the daemon, and of daemons that do not answer.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use dlm_tools::exporter::family::{ALL, Kind};
use dlm_tools::exporter::server::{self, Exporter};
use dlm_tools::exporter::{Cause, Failures, Reading, page};
use dlmcontrol::Client;
use dlmcontrol::history::PhaseKind;
use dlmcontrol::proto::{Command, Header};
use dlmcontrol::state::{
    Bucket, Clients, DaemonPhase, FencingMeter, LockspaceMeters, LockspaceState, Meters,
    PlockMeters, Process, Reason, Slot, SlotsKnown, State, Time, Timing, Wait, WriteKind,
};
use expect_test::expect_file;
use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use zerocopy::IntoBytes as _;

/// What the daemon's own test has the daemon say: node 3 must be fenced, our agent failed twice.
const FENCING: &str = include_str!("../../controld/src/control/testdata/state.json");

fn fencing() -> State {
    serde_json::from_str(FENCING).unwrap()
}

fn meters() -> Meters {
    let counts = |words: &[(&str, u64)]| {
        words.iter().map(|(word, count)| ((*word).to_owned(), *count)).collect()
    };
    let bucket = |up_to_us, count| Bucket { up_to_us, count };
    let timing = |count, sum_us| Timing {
        count,
        sum_us,
        buckets: vec![bucket(100, 1), bucket(1_000_000, count - 1)],
    };
    Meters {
        sent: counts(&[("protocol", 1), ("start", 4)]),
        received: counts(&[("protocol", 3), ("start", 12)]),
        bad_messages: 1,
        send_retries: 6,
        kernel_writes: [
            (WriteKind::Stop, timing(4, 2_500_000)),
            (WriteKind::Start, timing(3, 900)),
        ]
        .into(),
        failed_kernel_writes: [(WriteKind::Start, 1)].into(),
        fence_agents: counts(&[("failed", 1), ("signalled", 1), ("success", 1)]),
        events: timing(100, 123_456),
        late_deadlines: timing(5, 2000),
        loop_answers: timing(7, 700),
        fencing: vec![FencingMeter {
            node: 3,
            device: "power".to_owned(),
            outcomes: counts(&[("failed", 1), ("signalled", 1), ("success", 1)]),
            taken: timing(3, 6_000_000),
        }],
        fencings: [(3, timing(1, 8_000_000))].into(),
        starts: [(2, timing(4, 12_000))].into(),
        clients: [("queries".to_owned(), Clients { connected: 1, accepted: 9, turned_away: 2 })]
            .into(),
        process: Process { resident_bytes: 9_000_000, cpu_us: 1_500_000, open_files: 40 },
    }
}

fn of_lockspace() -> LockspaceMeters {
    let timing = |count, sum_us| Timing {
        count,
        sum_us,
        buckets: vec![Bucket { up_to_us: 1000, count: 1 }],
    };
    LockspaceMeters {
        changes: [("joined".to_owned(), 2), ("failed".to_owned(), 1)].into(),
        recoveries: timing(3, 8_100_000),
        phases: [(PhaseKind::Stop, timing(3, 2_000)), (PhaseKind::Fencing, timing(1, 8_000_000))]
            .into(),
        plocks: PlockMeters {
            requests: [("lock".to_owned(), 3), ("unlock".to_owned(), 2)].into(),
            results: [("done".to_owned(), 4), ("conflict".to_owned(), 1)].into(),
            answers: timing(5, 900),
            waits: timing(1, 500),
            received: 7,
            moves: [("owned".to_owned(), 1)].into(),
            resources: 2,
            waiting: 1,
            in_flight: 0,
        },
    }
}

/// The same after the fencing; a node without an address wants to join.
fn running() -> State {
    let mut state = fencing();
    let fenced = Time { boot_ms: 103_500, wall_ms: 1_700_000_103_500 };
    state.meters = Some(meters());
    let since = Time { boot_ms: 103_900, wall_ms: 1_700_000_103_900 };
    let (until, write) = (None, None);
    let reason = Reason::Addresses;
    state.cluster.waits =
        vec![Wait { reason, nodes: vec![4], since, waiting_ms: 100, until, write, count: None }];
    state.cluster.protocol = Some("3.2.0".to_owned());
    for node in &mut state.nodes {
        node.waits.clear();
        node.fencing.needed = false;
        node.fencing.failed_by.clear();
        node.fencing.fenced = node.fencing.failed.map(|_| fenced);
    }
    for lockspace in &mut state.lockspaces {
        lockspace.waits.clear();
        lockspace.started = lockspace.pending.take();
        lockspace.members = vec![1, 2];
        lockspace.nodes.iter_mut().for_each(|node| node.need_fencing = false);
        lockspace.state = LockspaceState::Running;
        lockspace.meters = Some(of_lockspace());
        lockspace.slots_known = SlotsKnown::Confirmed;
        lockspace.slots =
            vec![Slot { slot: 1, jid: 0, node: 2 }, Slot { slot: 2, jid: 1, node: 1 }];
    }
    state
}

fn text(state: Result<State, Cause>) -> String {
    let mut failures = Failures::default();
    failures.count(Cause::Timeout);
    page(&Reading { state, took: Duration::from_millis(3), failures }, &[]).unwrap()
}

/// The names of a page's metrics.
fn names(page: &str) -> BTreeSet<&str> {
    page.lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .filter_map(|line| line.split(' ').next())
        .collect()
}

#[test]
fn pages_are_as_recorded() {
    expect_file!["pages/fencing.prom"].assert_eq(&text(Ok(fencing())));
    expect_file!["pages/running.prom"].assert_eq(&text(Ok(running())));
    expect_file!["pages/absent.prom"].assert_eq(&text(Err(Cause::Timeout)));
}

#[test]
fn every_metric_occurs_and_no_other() {
    let (fencing, running) = (text(Ok(fencing())), text(Ok(running())));
    let found: BTreeSet<&str> = names(&fencing).union(&names(&running)).copied().collect();
    let declared: BTreeSet<&str> = ALL.iter().map(|family| family.name).collect();
    assert_eq!(found, declared);
    assert_eq!(declared.len(), ALL.len());
}

/// Prometheus's rules for names.
#[test]
fn names_follow_the_conventions() {
    for family in ALL {
        let counts = family.name.ends_with("_total");
        assert_eq!(family.kind == Kind::Counter, counts, "{}", family.name);
        assert!(family.name.starts_with("dlm_"), "{}", family.name);
        let times = family.kind != Kind::Histogram || family.name.ends_with("_seconds");
        assert!(times, "{}", family.name);
        assert!(!family.name.contains("_ms") && !family.help.is_empty(), "{}", family.name);
    }
}

#[test]
fn metrics_are_documented() {
    let row = |family: &dlm_tools::exporter::family::Family| {
        let kind = match family.kind {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
            Kind::Histogram => "histogram",
        };
        let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        format!("| `{}` | {kind} | {} | {} |", family.name, labels.join(", "), family.help)
    };
    let declared: Vec<String> = ALL.iter().map(row).collect();
    let manual = include_str!("../../docs/metrics.md");
    let documented: Vec<&str> = manual.lines().filter(|line| line.starts_with("| `dlm_")).collect();
    assert_eq!(documented, declared, "the table should be:\n{}\n", declared.join("\n"));
}

/// A metric, or a part of a histogram.
fn is_there(name: &str) -> bool {
    ["", "_bucket", "_count", "_sum"].into_iter().any(|suffix| {
        let of = name.strip_suffix(suffix);
        let family = of.and_then(|of| ALL.iter().find(|family| family.name == of));
        family.is_some_and(|family| suffix.is_empty() || family.kind == Kind::Histogram)
    })
}

#[test]
fn alerts_use_metrics_that_there_are() {
    let alerts = include_str!("../../contrib/prometheus/alerts.yml");
    let mut used = BTreeSet::new();
    for line in alerts.lines().filter(|line| line.trim_start().starts_with("expr:")) {
        let words =
            line.split(|character: char| !character.is_ascii_lowercase() && character != '_');
        used.extend(words.filter(|word| word.starts_with("dlm_")));
    }
    assert!(used.contains("dlm_up") && used.len() > 5, "{used:?}");
    for name in used {
        assert!(is_there(name), "{name}");
    }
}

#[test]
fn dashboard_uses_metrics_that_there_are() {
    let text = include_str!("../../contrib/grafana/dlm.json");
    let dashboard: serde_json::Value = serde_json::from_str(text).unwrap();
    let mut used = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(panel["title"].as_str().is_some_and(|title| !title.is_empty()), "{panel}");
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().unwrap();
            let is_of_name = |character: char| character.is_ascii_lowercase() || character == '_';
            let words = expression.split(|character| !is_of_name(character));
            used.extend(words.filter(|word| word.starts_with("dlm_")));
        }
    }
    assert!(used.len() > 20, "{used:?}");
    for name in used {
        assert!(is_there(name), "{name}");
    }
}

#[test]
fn a_page_has_bounds() {
    let mut state = running();
    let lockspace = state.lockspaces.remove(0);
    state.lockspaces = (0..300)
        .map(|number| {
            let mut lockspace = lockspace.clone();
            lockspace.name = format!("ls{number}");
            lockspace
        })
        .collect();
    let page = text(Ok(state));
    assert_eq!(page.matches("\ndlm_lockspace_info{").count(), 256);
    assert!(page.contains("\ndlm_lockspaces 300\n"));
    assert!(page.contains("\ndlm_exporter_left_out{what=\"lockspaces\"} 44\n"));
}

#[test]
fn words_of_a_newer_daemon_and_old_state_are_shown() {
    let mut state = fencing();
    assert!(text(Ok(state.clone())).contains("\ndlm_daemon_state_age_seconds 0\n"));
    state.stale_ms = Some(12_500);
    state.daemon.phase = DaemonPhase::Other;
    for lockspace in &mut state.lockspaces {
        lockspace.state = LockspaceState::Other;
        lockspace.waits.iter_mut().for_each(|wait| wait.reason = Reason::Other);
    }
    let page = text(Ok(state));
    for line in [
        "dlm_daemon_state_age_seconds 12.5",
        "dlm_daemon_phase{phase=\"other\"} 1",
        "dlm_daemon_phase{phase=\"running\"} 0",
        "dlm_lockspace_state{lockspace=\"fs\",state=\"other\"} 1",
        "dlm_lockspace_waiting{lockspace=\"fs\",reason=\"other\"} 1",
    ] {
        assert!(page.contains(&format!("\n{line}\n")), "no {line} in:\n{page}");
    }
}

/// A name that would end its label, or its line, does not.
#[test]
fn label_values_are_escaped() {
    let mut state = running();
    for lockspace in &mut state.lockspaces {
        lockspace.name = "a\"} 1\nb\\".to_owned();
    }
    let page = text(Ok(state));
    assert!(page.contains("\ndlm_lockspace_members{lockspace=\"a\\\"} 1\\nb\\\\\"} 2\n"), "{page}");
}

fn socket(name: &str) -> String {
    format!("dlm-exporter-{name}-{}", std::process::id())
}

fn listener(name: &str) -> UnixListener {
    let address = std::os::unix::net::SocketAddr::from_abstract_name(socket(name)).unwrap();
    UnixListener::bind_addr(&address).unwrap()
}

/// An exporter of the daemon at the socket, for as long as the test process lives.
fn exporter(name: &str, timeout: Duration) -> SocketAddr {
    let socket = socket(name);
    let client = Client::with_sockets(socket.as_bytes(), socket.as_bytes());
    let http = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = http.local_addr().unwrap();
    http.set_nonblocking(true).unwrap();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let http = tokio::net::TcpListener::from_std(http).unwrap();
            server::serve(http, Arc::new(Exporter::new(client, timeout))).await
        })
    });
    address
}

/// An answer, head and body.
fn request(address: SocketAddr, line: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "{line} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

const PATIENT: Duration = Duration::from_secs(30);

#[test]
fn state_is_served() {
    let daemon = listener("serves");
    let answering = thread::spawn(move || {
        let (mut stream, _) = daemon.accept().unwrap();
        let mut question = [0; 96];
        stream.read_exact(&mut question).unwrap();
        let head = Header::new(Command::State).followed_by(FENCING.len());
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(FENCING.as_bytes()).unwrap();
    });
    let answer = request(exporter("serves", PATIENT), "GET /metrics");
    answering.join().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("content-type: text/plain; version=0.0.4\r\n"), "{answer}");
    assert!(answer.contains("\ndlm_up 1\n"), "{answer}");
    assert!(
        answer.contains("\ndlm_lockspace_waiting{lockspace=\"fs\",reason=\"fencing\"} 1\n"),
        "{answer}"
    );
    assert!(answer.contains("\nprocess_resident_memory_bytes "), "{answer}");
}

#[test]
fn absent_daemon_is_a_fact_on_the_page() {
    let address = exporter("nobody", PATIENT);
    for failures in 1..=2 {
        let answer = request(address, "GET /metrics");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("\ndlm_up 0\n"), "{answer}");
        let count = format!("\ndlm_exporter_failures_total{{cause=\"not_running\"}} {failures}\n");
        assert!(answer.contains(&count), "{answer}");
    }
}

/// It never accepts. The first scrape's thread waits for it, and so does the second scrape; both end in time.
#[test]
fn hung_daemon_is_a_fact_on_the_page() {
    let daemon = listener("hangs");
    let address = exporter("hangs", Duration::from_millis(200));
    let begin = Instant::now();
    let both = [
        thread::spawn(move || request(address, "GET /metrics")),
        thread::spawn(move || request(address, "GET /metrics")),
    ];
    for scrape in both {
        let answer = scrape.join().unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("\ndlm_up 0\n"), "{answer}");
    }
    assert!(begin.elapsed() < PATIENT);
    let answer = request(address, "GET /metrics");
    assert!(answer.contains("\ndlm_exporter_failures_total{cause=\"timeout\"} 3\n"), "{answer}");
    drop(daemon);
}

#[test]
fn c_daemon_is_recognised() {
    let daemon = listener("c");
    let closing = thread::spawn(move || {
        let (mut stream, _) = daemon.accept().unwrap();
        stream.read_exact(&mut [0; 96]).unwrap();
    });
    let answer = request(exporter("c", PATIENT), "GET /metrics");
    closing.join().unwrap();
    assert!(answer.contains("\ndlm_up 0\n"), "{answer}");
    assert!(answer.contains("\ndlm_exporter_failures_total{cause=\"not_ours\"} 1\n"), "{answer}");
}

#[test]
fn a_document_of_another_version_is_not_guessed_at() {
    let daemon = listener("schema");
    let document = FENCING.replacen("\"schema_version\": 1", "\"schema_version\": 2", 1);
    let answering = thread::spawn(move || {
        let (mut stream, _) = daemon.accept().unwrap();
        stream.read_exact(&mut [0; 96]).unwrap();
        let head = Header::new(Command::State).followed_by(document.len());
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(document.as_bytes()).unwrap();
    });
    let answer = request(exporter("schema", PATIENT), "GET /metrics");
    answering.join().unwrap();
    assert!(answer.contains("\ndlm_exporter_failures_total{cause=\"schema\"} 1\n"), "{answer}");
}

#[test]
fn other_paths_and_methods_are_refused() {
    let address = exporter("paths", PATIENT);
    for path in ["/nothing", "/metrics/", "/../etc/passwd"] {
        let answer = request(address, &format!("GET {path}"));
        assert!(answer.starts_with("HTTP/1.1 404 Not Found\r\n"), "{path}: {answer}");
    }
    assert!(request(address, "GET /").contains("href=\"/metrics\""));
    let answer = request(address, "POST /metrics");
    assert!(answer.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"), "{answer}");
    assert!(answer.contains("allow: GET, HEAD\r\n"), "{answer}");
}
