//! The real Prometheus (Debian: package prometheus) with the alerts and the dashboard that we ship, against the exporter
//! of a node of the testbed: a node dies, an alert fires, and the histograms move. Needs root; `tests/check/tiers/alerts`
//! builds the programs.

mod daemons;

use daemons::{join, programs, start, wait_for_members};
use serde_json::Value;
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};
use testbed::lab::{Lab, PATIENCE};
use testbed::live::Options;

/// Where the exporter listens unless it is told otherwise.
const EXPORTER: &str = "127.0.0.1:9966";

/// Prometheus, in the node's own network.
const PROMETHEUS: &str = "127.0.0.1:9090";

/// Between two questions to Prometheus, which can only be asked.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The node that is looked at, and the one that dies.
const NODE: u32 = 1;
const VICTIM: u32 = 3;

/// A program that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _ended = self.0.wait();
    }
}

fn contrib(file: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../contrib");
    root.join(file).canonicalize().unwrap()
}

fn start_prometheus(lab: &Lab) -> Running {
    let config = format!(
        "global: {{scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 500ms}}\n\
         rule_files: ['{}']\n\
         scrape_configs:\n  - job_name: dlm\n    static_configs: [{{targets: ['{EXPORTER}']}}]\n",
        contrib("prometheus/alerts.yml").display()
    );
    let file = lab.directory().join("prometheus.yml");
    std::fs::write(&file, config).unwrap();
    let arguments = [
        format!("--config.file={}", file.display()),
        format!("--storage.tsdb.path={}", lab.directory().join("prometheus").display()),
        format!("--web.listen-address={PROMETHEUS}"),
        "--log.level=warn".to_owned(),
    ];
    Running(lab.spawn(NODE, Path::new("prometheus"), &arguments).unwrap())
}

/// The body of an answer to GET; `None` while nobody listens there.
fn get(lab: &Lab, address: &str, path: &str) -> Option<String> {
    let address: SocketAddr = address.parse().unwrap();
    let mut stream = lab.in_network(NODE, || TcpStream::connect(address)).unwrap().ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // Version 1.0: the body comes in one piece, and ends with the connection.
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    Some(body.to_owned())
}

/// Prometheus's answer to an expression.
fn evaluate(lab: &Lab, expression: &str) -> Option<Value> {
    let mut path = "/api/v1/query?query=".to_owned();
    for byte in expression.bytes() {
        write!(path, "%{byte:02x}").unwrap();
    }
    serde_json::from_str(&get(lab, PROMETHEUS, &path)?).ok()
}

/// The values of an expression's series.
fn values(lab: &Lab, expression: &str) -> Vec<f64> {
    let Some(answer) = evaluate(lab, expression) else { return Vec::new() };
    assert_eq!(answer["status"], "success", "{expression}: {answer}");
    let series = answer["data"]["result"].as_array().unwrap();
    series.iter().map(|one| one["value"][1].as_str().unwrap().parse().unwrap()).collect()
}

/// Until the expression has the wanted values.
fn wait_for(lab: &Lab, expression: &str, wanted: impl Fn(&[f64]) -> bool) {
    let end = Instant::now() + PATIENCE;
    loop {
        let found = values(lab, expression);
        if wanted(&found) {
            return;
        }
        let page = || get(lab, EXPORTER, "/metrics").unwrap_or_default();
        assert!(Instant::now() < end, "{expression} is still {found:?}\n{}", page());
        std::thread::sleep(LOOK_AGAIN);
    }
}

fn wait_until_true(lab: &Lab, expression: &str) {
    wait_for(lab, expression, |values| !values.is_empty());
}

#[test]
fn dead_node_is_an_alert_and_its_recovery_is_in_the_histograms() {
    let options = Options { nodes: 3, seed: 1, token: Duration::from_millis(300) };
    let mut lab = Lab::new(programs(), options, "post_join_delay=5\n").unwrap();
    start(&mut lab, 3);
    join(&mut lab, 3, "fs");
    lab.bring_up_loopback(NODE).unwrap();
    let exporter = programs().tool.with_file_name("dlm_exporter");
    let _exporter = Running(lab.spawn(NODE, &exporter, &[]).unwrap());
    let _prometheus = start_prometheus(&lab);

    wait_until_true(&lab, "dlm_up == 1");
    wait_until_true(&lab, r#"dlm_lockspace_state{lockspace="fs", state="running"} == 1"#);
    wait_until_true(&lab, r#"dlm_lockspace_changes_total{lockspace="fs", cause="failed"} == 0"#);
    let recoveries = r#"dlm_lockspace_recovery_seconds_count{lockspace="fs"}"#;
    let before = values(&lab, recoveries);
    assert!(matches!(before.as_slice(), [count] if *count >= 1.0), "{before:?}");
    assert_eq!(values(&lab, "ALERTS"), [0.0; 0]);

    lab.command("fence 3 fails").unwrap();
    lab.kill_daemon(VICTIM).unwrap();
    wait_until_true(&lab, r#"ALERTS{alertname="DlmFencingFails", alertstate="firing", node="3"}"#);
    // This one waits for a minute before it fires: the rules' own test has that.
    wait_until_true(
        &lab,
        r#"ALERTS{alertname="DlmLockspaceWaitsForFencing", alertstate="pending"}"#,
    );
    wait_until_true(&lab, r#"dlm_lockspace_waiting{lockspace="fs", reason="fencing"} == 1"#);

    lab.command("fence 3 works").unwrap();
    for node in [1, 2] {
        wait_for_members(&mut lab, node, "1 2 ");
    }
    wait_for(&lab, "ALERTS", |values| values.is_empty());
    wait_for(&lab, recoveries, |values| values.iter().zip(&before).any(|(now, then)| now > then));
    for moved in [
        r#"dlm_lockspace_changes_total{lockspace="fs", cause="failed"} == 1"#,
        r#"dlm_lockspace_phase_seconds_count{lockspace="fs", phase="fencing"} == 1"#,
        r#"dlm_lockspace_phase_seconds_sum{lockspace="fs", phase="fencing"} > 0.3"#,
        r#"dlm_fencing_seconds_count{node="3"} == 1"#,
        r#"dlm_start_delay_seconds_count{node="2"} >= 2"#,
        r#"histogram_quantile(0.5, dlm_lockspace_recovery_seconds_bucket{lockspace="fs"}) > 0"#,
    ] {
        wait_until_true(&lab, moved);
    }
    dashboard_is_understood(&lab);
    lab.discard();
}

/// Every expression of the dashboard is one, and most have something to show here.
fn dashboard_is_understood(lab: &Lab) {
    let text = std::fs::read_to_string(contrib("grafana/dlm.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let mut empty = Vec::new();
    let mut count = 0;
    for target in targets {
        let expression = target["expr"].as_str().unwrap();
        let expression = expression
            .replace("$__rate_interval", "1m")
            .replace("$instance", ".*")
            .replace("$lockspace", ".*");
        let answer = evaluate(lab, &expression).unwrap();
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
        count += 1;
        if answer["data"]["result"].as_array().is_none_or(Vec::is_empty) {
            empty.push(expression);
        }
    }
    assert!(count > 15 && empty.len() * 4 < count, "{count}, without a series: {empty:#?}");
}
