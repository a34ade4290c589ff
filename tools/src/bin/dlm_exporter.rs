//! `dlm_exporter`: serves the state of `dlm_controld` to Prometheus.

use clap::Parser;
use dlm_tools::exporter::server::{self, Exporter};
use dlmcontrol::Client;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// Serves the state of dlm_controld to Prometheus, at /metrics.
#[derive(Debug, Parser)]
#[command(name = "dlm_exporter", version)]
struct Options {
    /// Address and port to listen on
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9966")]
    listen: String,

    /// Seconds to wait for the daemon's answer; keep it below Prometheus's scrape_timeout
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = clap::value_parser!(u64).range(1..=60))]
    timeout: u64,
}

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(never) => match never {},
        Err(error) => {
            let listen = &options.listen;
            eprintln!(
                "dlm_exporter: cannot serve on {listen}: {error}; another address can be given by --listen"
            );
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> io::Result<std::convert::Infallible> {
    let timeout = Duration::from_secs(options.timeout);
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let listener = TcpListener::bind(&options.listen).await?;
        let exporter = Arc::new(Exporter::new(Client::new(), timeout));
        Ok(server::serve(listener, exporter).await)
    })
}
