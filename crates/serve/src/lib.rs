//! OpenAI-compatible HTTP server and the chat page.
//!
//! [`serve`] blocks: the async code stays inside this crate. Requests are read and checked on one
//! thread, and what models compute, which is CPU work, runs on one other thread that takes jobs from a bounded queue,
//! so a model never runs twice at once and a full server says so instead of growing.
//!
//! | module | what |
//! |---|---|
//! | `server` | the listening socket, connections with time limits, shutdown |
//! | `routes` | paths, the headers of every answer, `/health`, `/tsumugi/info` |
//! | `guard` | who may ask: API keys, `Host`, `Origin` |
//! | `worker` | the queue and the thread that computes |
//! | `openai` | `/v1/...`: requests in, answers out, errors in the API's shape |
//! | `web` | the chat page, embedded |
//!
//! **Invariant:** a model is known only through [`TextModel`] or [`VectorModel`]; no tensor, cache or file is named here.
//! **Invariant:** nothing that a client sends can panic the server, make it allocate without a limit, or
//! keep the model busy after the client has gone.

mod error;
mod guard;
mod openai;
mod routes;
mod server;
mod web;
mod worker;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

pub use error::ServeError;
use tsumugi_base::limits::REQUEST_BYTES_MAX;
use tsumugi_infer::text::{SamplingParameters, TextModel, VectorModel};

/// How to serve. `Options::default()` is what `tsumugi serve MODEL` does.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// The address to listen on. On a loopback address only requests that name a loopback host are answered; on another
    /// one without API keys, only those that name an IP address or a loopback host.
    pub address: IpAddr,
    /// The port; 0 takes any free one.
    pub port: u16,
    /// Who may ask: `Authorization: Bearer KEY`. Empty lets everybody in who can reach the address.
    pub api_keys: Vec<String>,
    /// Requests that may wait while another is answered; more get 503 with `Retry-After`.
    pub max_waiting: usize,
    /// Open connections. Where one more comes, the oldest that has asked nothing yet is closed; if all have, it waits.
    /// With the limit of a body this bounds the memory of requests.
    pub max_connections: usize,
    /// A request body above this gets 413.
    pub max_body_bytes: usize,
    /// What a request that says nothing gets, and what the page starts with. Its seed is not used: a request
    /// without a seed gets a fresh one.
    pub sampling: SamplingParameters,
    /// System messages that the page offers with a chat model that has none of its own; for a model of drama
    /// `You are NAME.` for each character.
    pub suggested_system_messages: Vec<String>,
    /// First messages that the page offers in an empty conversation.
    pub opening_prompts: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 8080,
            api_keys: Vec::new(),
            max_waiting: 32,
            max_connections: 256,
            max_body_bytes: REQUEST_BYTES_MAX,
            sampling: SamplingParameters::default(),
            suggested_system_messages: Vec::new(),
            opening_prompts: Vec::new(),
        }
    }
}

/// Told once, when requests are being accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ready {
    /// Where; the port is the real one when 0 was asked for.
    pub address: SocketAddr,
    /// Other machines can reach it and no API key is asked for: worth a warning.
    pub open_to_network: bool,
}

impl Ready {
    /// The address of the chat page, for a browser on this machine.
    pub fn url(&self) -> String {
        let port = self.address.port();
        match self.address.ip() {
            ip if ip.is_unspecified() => format!("http://localhost:{port}/"),
            IpAddr::V4(ip) => format!("http://{ip}:{port}/"),
            IpAddr::V6(ip) => format!("http://[{ip}]:{port}/"),
        }
    }
}

/// A model to serve.
#[derive(Clone)]
pub enum Model {
    /// It answers in text.
    Text(Arc<dyn TextModel>),
    /// It makes vectors of texts.
    Vectors(Arc<dyn VectorModel>),
}

impl Model {
    /// The name that requests say.
    pub fn name(&self) -> &str {
        match self {
            Self::Text(model) => model.name(),
            Self::Vectors(model) => model.name(),
        }
    }
}

/// Serves `models` until `shutdown` returns true (it is asked about twenty times a second).
///
/// Running answers then get two seconds to end; what is still waiting gets 503.
pub fn serve(
    options: Options,
    models: Vec<Model>,
    on_ready: impl FnOnce(Ready),
    shutdown: impl Fn() -> bool,
) -> Result<(), ServeError> {
    error::check(&options, &models)?;
    server::run(options, models, on_ready, shutdown)
}
