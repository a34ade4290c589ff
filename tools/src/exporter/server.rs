//! The HTTP side: `/metrics`, a page that points there, and limits on everything that a stranger can hold open.

use super::daemon::{Cause, Failures, ask};
use super::reading::{Reading, page};
use dlmcontrol::client::Client;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus::core::Collector as _;
use prometheus::process_collector::ProcessCollector;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// Connections at a time; more wait to be accepted.
const CONNECTIONS_MAX: usize = 32;

/// A request's head must be there within this time, and a whole connection may last for so long. Prometheus connects anew
/// where its connection was closed.
const HEAD_TIME: Duration = Duration::from_secs(10);

/// How long a connection may last: several scrapes of any usual interval.
const CONNECTION_TIME: Duration = Duration::from_secs(600);

/// The pause after a connection could not be accepted, which happens where descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Where to look.
const INDEX: &str = "<!doctype html><title>dlm_exporter</title><p><a href=\"/metrics\">Metrics</a> of dlm_controld.\n";

/// What answers.
#[derive(Debug)]
pub struct Exporter {
    client: Client,
    timeout: Duration,
    failures: Mutex<Failures>,
    /// Held while the daemon is being asked, by the thread that asks: a daemon that hangs holds one thread and no more.
    asking: Arc<Semaphore>,
    process: ProcessCollector,
}

impl Exporter {
    /// An exporter that asks by `client`, and waits for the whole answer no longer than `timeout`.
    #[must_use]
    pub fn new(client: Client, timeout: Duration) -> Self {
        Self {
            client: client.with_timeout(Some(timeout)),
            timeout,
            failures: Mutex::default(),
            asking: Arc::new(Semaphore::new(1)),
            process: ProcessCollector::for_self(),
        }
    }

    /// One scrape.
    async fn read(&self) -> Reading {
        let begin = Instant::now();
        let state =
            tokio::time::timeout(self.timeout, self.ask()).await.unwrap_or(Err(Cause::Timeout));
        let took = begin.elapsed();
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(cause) = &state {
            failures.count(*cause);
        }
        Reading { state, took, failures: failures.clone() }
    }

    async fn ask(&self) -> Result<dlmcontrol::state::State, Cause> {
        let permit = Arc::clone(&self.asking).acquire_owned().await.map_err(|_| Cause::Other)?;
        let client = self.client.clone();
        let asking = tokio::task::spawn_blocking(move || {
            let _until_answered = permit;
            ask(&client)
        });
        asking.await.unwrap_or(Err(Cause::Other))
    }

    async fn metrics(&self) -> Response<Full<Bytes>> {
        let reading = self.read().await;
        match page(&reading, &self.process.collect()) {
            Ok(text) => answer(StatusCode::OK, prometheus::TEXT_FORMAT, text),
            Err(error) => {
                let text = format!("the page of metrics cannot be written: {error}\n");
                answer(StatusCode::INTERNAL_SERVER_ERROR, PLAIN, text)
            }
        }
    }

    async fn respond(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            let text = "only GET and HEAD\n".to_owned();
            let mut refusal = answer(StatusCode::METHOD_NOT_ALLOWED, PLAIN, text);
            refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return refusal;
        }
        match path {
            "/metrics" => self.metrics().await,
            "/" => answer(StatusCode::OK, "text/html; charset=utf-8", INDEX.to_owned()),
            _ => answer(StatusCode::NOT_FOUND, PLAIN, "not here; see /metrics\n".to_owned()),
        }
    }
}

const PLAIN: &str = "text/plain; charset=utf-8";

fn answer(status: StatusCode, kind: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// Serves for ever.
pub async fn serve(listener: TcpListener, exporter: Arc<Exporter>) -> Infallible {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let permit = Arc::clone(&connections).acquire_owned().await;
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let exporter = Arc::clone(&exporter);
        tokio::spawn(async move {
            let _while_it_lasts = permit;
            let service = service_fn(move |request: Request<Incoming>| {
                let exporter = Arc::clone(&exporter);
                async move {
                    let response = exporter.respond(request.method(), request.uri().path()).await;
                    Ok::<_, Infallible>(response)
                }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIME)
                .serve_connection(TokioIo::new(stream), service);
            // However it ends, it concerns the other side alone.
            let _ = tokio::time::timeout(CONNECTION_TIME, connection).await;
        });
    }
}
