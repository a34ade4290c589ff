//! `dlm_tool`: asks dlm_controld, creates and removes lockspaces, shows the kernel's locks.

use dlm_tools::args::{self, Parsed};
use dlm_tools::hints::Hints;
use dlm_tools::run::{Environment, Tool};
use dlm_tools::{ffi, usage};
use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;

fn main() -> ExitCode {
    ffi::end_on_closed_pipe();
    let mut words = std::env::args_os().map(OsStringExt::into_vec);
    let program = words.next().unwrap_or_default();
    let words: Vec<Vec<u8>> = words.collect();
    // A full disk behind stdout does not change what was done, so as in the C tool it does not change the exit code.
    ExitCode::from(act(&program, &words).unwrap_or(0))
}

fn act(program: &[u8], words: &[Vec<u8>]) -> io::Result<u8> {
    let mut out = io::stdout();
    let mut err = io::stderr();
    let code = match args::parse(program, words) {
        Ok(Parsed::Help) => out.write_all(usage::USAGE.as_bytes()).map(|()| 0),
        Ok(Parsed::LongHelp) => out
            .write_all(usage::USAGE.as_bytes())
            .and_then(|()| out.write_all(usage::OURS.as_bytes()))
            .map(|()| 0),
        Ok(Parsed::NoCommand) => out.write_all(usage::USAGE.as_bytes()).map(|()| 1),
        Ok(Parsed::Version) => out.write_all(&usage::version(program)).map(|()| 0),
        Ok(Parsed::Run(invocation)) => {
            let hints = if err.is_terminal() { Hints::Given } else { Hints::Left };
            let environment = Environment { hints, ..Environment::default() };
            Tool { environment: &environment, out: &mut out, err: &mut err }.run(&invocation)
        }
        Err(error) => err.write_all(error.text()).map(|()| 1),
    }?;
    out.flush()?;
    Ok(code)
}
