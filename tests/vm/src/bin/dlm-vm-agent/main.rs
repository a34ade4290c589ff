//! The one program of the harness inside a guest, linked statically, chosen by name or first word:
//!
//! - `init`: process 1; starts `serve` and reaps orphans
//! - `serve`: carries out the host's requests ([`dlm_vm::protocol`])
//! - `stamp FILE`: appends standard input to FILE, each line behind `MONOTONIC REALTIME `
//! - `write NAME FILE`, `churn NAME DIR`, `lock NAME FILE`: workloads, acknowledged to the host
//! - `actor NAME`: takes and gives back POSIX locks as the host says
//! - `crowd FILE PROCESSES LOCKS SEED`: processes that count in a file under random locks
//! - `pairs FILE WARM_UP SECONDS PROCESSES own|same`: how fast they lock and unlock
//! - `take FILE BYTE`: takes one lock
//! - `silent FILE`: puts a file in FILE's place that lets its users wait in the kernel for ever
//! - `uevent STRING..`: has the kernel tell of what has not happened
//! - `verify FILE`: prints how many whole records FILE begins with
//! - called as `fence_vm`: the fence agent; asks the host to switch a node off

mod actor;
mod clocks;
mod crowd;
mod fence;
mod serve;
mod silent;
mod stamp;
mod uevent;
mod workload;

use std::process::ExitCode;

use anyhow::{Result, bail};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dlm-vm-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> Result<()> {
    if words.first().is_some_and(|name| name.ends_with("fence_vm")) {
        return fence::ask();
    }
    match words.get(1..).unwrap_or_default() {
        ["init"] => serve::init(),
        ["serve"] => serve::serve(),
        ["stamp", file] => stamp::stamp(file.as_ref()),
        ["write", name, file] => workload::write(name, file.as_ref()),
        ["churn", name, folder] => workload::churn(name, folder.as_ref()),
        ["lock", name, file] => workload::lock(name, file.as_ref()),
        ["actor", name] => actor::act(name),
        ["crowd", file, processes, locks, seed] => {
            crowd::crowd(file.as_ref(), processes.parse()?, locks.parse()?, seed.parse()?)
        }
        ["crowd-one", file, locks, seed] => {
            crowd::crowd_one(file.as_ref(), locks.parse()?, seed.parse()?)
        }
        ["pairs", file, warm_up, seconds, processes, whose] => {
            let own = *whose == "own";
            let (warm_up, seconds) = (warm_up.parse()?, seconds.parse()?);
            crowd::pairs(file.as_ref(), warm_up, seconds, processes.parse()?, own)
        }
        ["pairs-one", file, warm_up, seconds] => {
            crowd::pairs_one(file.as_ref(), warm_up.parse()?, seconds.parse()?)
        }
        ["take", file, start] => crowd::take(file.as_ref(), start.parse()?),
        ["silent", file] => silent::silent(file.as_ref()),
        ["uevent", strings @ ..] => uevent::uevent(strings),
        ["verify", file] => workload::verify(file.as_ref()),
        other => bail!("not a command of the agent: {other:?}"),
    }
}
