//! `dlm-vm`: virtual clusters by hand, as scenarios, and as a demonstration.

mod demo;
mod help;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use dlm_vm::image::{self, Existing, Recipe};
use dlm_vm::scenarios::{self, Outcome, Scenario, UnderTest};
use dlm_vm::{Cluster, Daemon, Fencing, IpVersion, Link, Node, Options, State, Votes};
use nix::sys::signal::{SigSet, Signal};

/// How long a command given by hand may take.
const BY_HAND: Duration = Duration::from_secs(3600);
/// Around each line of a shell in a node: it begins where the last one ended.
const GO_ON: &str = r#"cd "$(cat /run/shell-is-in 2>/dev/null || echo /)""#;
const REMEMBER: &str = "status=$?; pwd >/run/shell-is-in; exit $status";
/// How many rounds are measured when nothing is said.
const BENCH_ROUNDS: u32 = 3;
/// The hidden command that answers fence agents of a cluster that outlives `dlm-vm up`.
const POWER: &str = "power-switch";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("dlm-vm: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> Result<ExitCode> {
    if words.is_empty() || words.iter().any(|word| matches!(*word, "--help" | "-h" | "help")) {
        print!("{}", help::TEXT);
        return Ok(if words.is_empty() { ExitCode::from(2) } else { ExitCode::SUCCESS });
    }
    let done = ExitCode::SUCCESS;
    match words {
        ["needs"] => println!("{}", image::HOST_NEEDS.join(" ")),
        ["build", options @ ..] => image::build(&State::from_environment()?, &recipe(options)?)?,
        ["up", rest @ ..] => up(rest)?,
        ["test", "--list"] => list(),
        ["test", rest @ ..] => return test(rest),
        ["demo", rest @ ..] => {
            let state = prepare()?;
            tear_down_on_signals(&state)?;
            let (options, _) = options(rest)?;
            demo::run(&state, options)?;
        }
        ["bench-recovery", rest @ ..] => bench(rest, dlm_vm::bench::run)?,
        ["bench-deaths", rest @ ..] => bench(rest, dlm_vm::bench::run_deaths)?,
        ["bench-plock", rest @ ..] => bench(rest, dlm_vm::bench::run_plocks)?,
        ["down"] => dlm_vm::tear_down(&State::from_environment()?)?,
        [POWER] => Cluster::serve_power(&State::from_environment()?)?,
        other => return by_hand(&Cluster::attach(&State::from_environment()?)?, other),
    }
    Ok(done)
}

/// Commands on the cluster that runs.
fn by_hand(cluster: &Cluster, words: &[&str]) -> Result<ExitCode> {
    match words {
        ["status"] => status(cluster),
        ["sh", id] => return shell(node(cluster, id)?),
        ["sh", id, command @ ..] => return sh(node(cluster, id)?, &command.join(" ")),
        ["all", command @ ..] => {
            let mut worst = ExitCode::SUCCESS;
            for node in cluster.nodes() {
                println!("--- node {}", node.id());
                let code =
                    if node.runs() { sh(node, &command.join(" "))? } else { ExitCode::FAILURE };
                if code != ExitCode::SUCCESS {
                    worst = code;
                }
            }
            return Ok(worst);
        }
        ["kill", id] => node(cluster, id)?.kill()?,
        ["boot", id] => node(cluster, id)?.boot()?,
        ["stop", id] => node(cluster, id)?.hang()?,
        ["cont", id] => node(cluster, id)?.resume()?,
        ["link", id, "up"] => node(cluster, id)?.link(Link::Up)?,
        ["link", id, "down"] => node(cluster, id)?.link(Link::Down)?,
        ["fence", mode @ ..] => cluster.fence_mode(dlm_vm::parse_mode(&mode.join(" "))?)?,
        ["gfs2"] => {
            let ids: Vec<u8> = cluster.running().iter().map(Node::id).collect();
            cluster.mount_gfs2(&ids)?;
        }
        ["put", id, from, to] => {
            let content = std::fs::read(from).with_context(|| format!("read {from}"))?;
            node(cluster, id)?.put(to, 0o755, &content)?;
        }
        ["console", id] => print!("{}", node(cluster, id)?.console()?),
        ["timeline"] => print!("{}", demo::whole_timeline(cluster)?),
        other => bail!("not a command: {}; try dlm-vm --help", other.join(" ")),
    }
    Ok(ExitCode::SUCCESS)
}

fn up(words: &[&str]) -> Result<()> {
    let (mut options, rest) = options(words)?;
    match rest.as_slice() {
        [] => {}
        [count] => {
            options.nodes = count.parse().with_context(|| format!("count of nodes {count:?}"))?
        }
        other => bail!("not an option of up: {}", other.join(" ")),
    }
    let state = prepare()?;
    let mut power = Command::new(std::env::current_exe().context("own path")?);
    // It outlives this command, so it must not hold this command's output open.
    power.arg(POWER).stdout(Stdio::null()).stderr(Stdio::null());
    let cluster = Cluster::boot_detached(&state, options, power)?;
    status(&cluster);
    Ok(())
}

fn test(words: &[&str]) -> Result<ExitCode> {
    let (options, names) = options(words)?;
    let mut chosen: Vec<Scenario> = Vec::new();
    for name in &names {
        let found = scenarios::ALL.iter().find(|scenario| scenario.name == *name);
        chosen.push(*found.with_context(|| format!("no scenario {name}; see dlm-vm test --list"))?);
    }
    if chosen.is_empty() {
        chosen.extend(scenarios::ALL);
    }
    let state = prepare()?;
    tear_down_on_signals(&state)?;
    let Options { daemon, tool, library, token, .. } = options;
    let under_test = UnderTest { daemon, tool, library, token };
    let report = scenarios::run(&state, &under_test, &chosen)?;
    println!("{report}");
    let kept = report.count(Outcome::Failed) == 0;
    Ok(if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn bench(words: &[&str], run: fn(&State, Options, u32) -> Result<()>) -> Result<()> {
    let (options, rest) = options(words)?;
    let rounds = match rest.as_slice() {
        [] => BENCH_ROUNDS,
        ["--rounds", count] => count.parse().context("--rounds")?,
        other => bail!("not an option of a bench: {}", other.join(" ")),
    };
    let state = prepare()?;
    tear_down_on_signals(&state)?;
    run(&state, options, rounds)
}

fn list() {
    for scenario in scenarios::ALL {
        println!("{:16} {}", scenario.name, scenario.promise);
    }
}

fn status(cluster: &Cluster) {
    for node in cluster.nodes() {
        let daemon = match cluster.options().daemon_of(node.id()) {
            Daemon::C => "C daemon".to_owned(),
            Daemon::Ours(path) => path.display().to_string(),
        };
        let members = match node.members() {
            _ if !node.runs() => "off".to_owned(),
            Ok(members) => format!("sees members {members:?}"),
            Err(error) => format!("does not answer: {error:#}"),
        };
        println!("node {}: {daemon}; {members}", node.id());
    }
}

/// Commands from standard input, line by line, each where the last one has gone to, until its end or `exit`.
fn shell(node: Node<'_>) -> Result<ExitCode> {
    let input = std::io::stdin();
    let prompt = || {
        if input.is_terminal() {
            eprint!("node {}# ", node.id());
        }
    };
    let mut last = ExitCode::SUCCESS;
    prompt();
    for line in std::io::stdin().lines() {
        let line = line.context("standard input")?;
        if line.trim() == "exit" {
            break;
        }
        last = sh(node, &format!("{GO_ON}\n{line}\n{REMEMBER}"))?;
        prompt();
    }
    Ok(last)
}

fn sh(node: Node<'_>, command: &str) -> Result<ExitCode> {
    let output = node.sh_within(command, BY_HAND)?;
    print!("{}", output.out);
    eprint!("{}", output.err);
    Ok(u8::try_from(output.status).map_or(ExitCode::FAILURE, ExitCode::from))
}

fn node<'a>(cluster: &'a Cluster, id: &str) -> Result<Node<'a>> {
    let found = cluster.nodes().find(|node| node.id().to_string() == id);
    found.with_context(|| format!("no node {id} in this cluster"))
}

/// The state directory, with an image in it.
fn prepare() -> Result<State> {
    let state = State::from_environment()?;
    image::build(&state, &Recipe::default())?;
    Ok(state)
}

fn recipe(words: &[&str]) -> Result<Recipe> {
    match words {
        [] => Ok(Recipe::default()),
        ["--fresh"] => Ok(Recipe { existing: Existing::Replace, ..Recipe::default() }),
        ["--kernel", kernel] => {
            Ok(Recipe { kernel: (*kernel).to_owned(), existing: Existing::Replace })
        }
        other => bail!("not an option of build: {}", other.join(" ")),
    }
}

/// Options of a cluster, and the words that are none.
fn options<'a>(words: &[&'a str]) -> Result<(Options, Vec<&'a str>)> {
    let mut options = Options::default();
    let mut rest = Vec::new();
    let mut words = words.iter().copied();
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("{word} needs a value"));
        match word {
            "--daemon" => options.daemon = daemon(value()?)?,
            "--daemon-of" => {
                let value = value()?;
                let (id, path) = value.split_once('=').context("--daemon-of wants NODE=PATH")?;
                options.daemon_of.insert(id.parse().context("node")?, daemon(path)?);
            }
            "--tool" => options.tool = Some(absolute(value()?)?),
            "--library" => options.library = Some(absolute(value()?)?),
            "--token" => {
                options.token = Duration::from_millis(value()?.parse().context("--token")?)
            }
            "--memory" => options.memory_mib = value()?.parse().context("--memory")?,
            "--conf" => options.dlm_conf.push(value()?.to_owned()),
            "--no-fencing" => options.fencing = Fencing::Off,
            "--ipv6" => options.ip = IpVersion::V6,
            "--two-node" => (options.votes, options.nodes) = (Votes::TwoNode, 2),
            "--rounds" => rest.extend([word, value()?]),
            _ if word.starts_with("--") => bail!("no option {word}; try dlm-vm --help"),
            _ => rest.push(word),
        }
    }
    Ok((options, rest))
}

fn daemon(word: &str) -> Result<Daemon> {
    if word == "c" { Ok(Daemon::C) } else { Ok(Daemon::Ours(absolute(word)?)) }
}

fn absolute(path: &str) -> Result<PathBuf> {
    std::fs::canonicalize(path).with_context(|| format!("find {path}"))
}

/// A run that is interrupted must not leave machines behind. The signals are blocked before any thread
/// starts, so that only the thread that waits for them gets them.
fn tear_down_on_signals(state: &State) -> Result<()> {
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
    signals.thread_block().context("block signals")?;
    let state = state.clone();
    std::thread::spawn(move || {
        if let Ok(signal) = signals.wait() {
            eprintln!("dlm-vm: {signal}: tearing down");
            let _ = dlm_vm::tear_down(&state);
            std::process::exit(130);
        }
    });
    Ok(())
}
