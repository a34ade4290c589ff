//! `dlm_controld`: reads the command line, and becomes the daemon.

use controld::config::{Config, DEBUG_VARIABLE, Invocation};
use controld::daemon;
use std::env;
use std::io::Write as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    let variable = env::var_os(DEBUG_VARIABLE);
    match Config::from_args(env::args_os().skip(1), variable.as_deref()) {
        Ok(Invocation::Run(config)) => ExitCode::from(daemon::run(config)),
        Ok(Invocation::Print(text)) => print(&text, 0),
        Ok(Invocation::CheckConfig(mut config)) => {
            let (text, code) = config.check();
            print(&text, code)
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// A reader that has gone away is no failure of ours.
fn print(text: &str, code: u8) -> ExitCode {
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::from(code)
}
