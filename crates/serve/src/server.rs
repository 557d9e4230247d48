//! The listening socket, connections with time limits, shutdown.
//!
//! `axum::serve` has no time limits, so the accept loop is ours: at most [`Options::max_connections`] at a time, a header
//! must arrive within [`HEADER_TIMEOUT`], and a client that stops reading is cut off after [`WRITE_TIMEOUT`]. Where all
//! connections are taken, the one that has been silent the longest since it was opened makes room.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutStream;
use tsumugi_base::hosts::is_loopback;

use crate::routes::{App, router};
use crate::worker::Queue;
use crate::{Model, Options, Ready, ServeError};

/// To send a whole header; an idle keep-alive connection counts too.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// Without a byte of the answer being taken.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// How often it is looked whether the client of a waiting request is still there.
const CLIENT_POLL: Duration = Duration::from_millis(200);
/// How often the caller is asked whether to stop.
const SHUTDOWN_POLL: Duration = Duration::from_millis(50);
/// For the running answer to end by itself.
const FINISH_TIMEOUT: Duration = Duration::from_secs(2);
/// For connections to close after the running answer was broken off.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Tokens of a prompt are counted on these, away from the thread of the sockets.
const COUNTING_THREADS: usize = 2;

/// Listens, says so, answers until `shutdown`.
pub fn run(
    options: Options,
    models: Vec<Model>,
    on_ready: impl FnOnce(Ready),
    shutdown: impl Fn() -> bool,
) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(COUNTING_THREADS)
        .build()
        .map_err(|source| ServeError::Start { source })?;
    let queue = Arc::new(Queue::new(options.max_waiting));
    let outcome = runtime.block_on(listen_and_answer(options, models, queue.clone(), on_ready, shutdown));
    queue.stop();
    queue.cancel_running();
    // A large model may be within a chunk of a prompt; its thread must not hold up the exit.
    runtime.shutdown_background();
    outcome
}

async fn listen_and_answer(
    options: Options,
    models: Vec<Model>,
    queue: Arc<Queue>,
    on_ready: impl FnOnce(Ready),
    shutdown: impl Fn() -> bool,
) -> Result<(), ServeError> {
    let asked = SocketAddr::new(options.address, options.port);
    let listener = TcpListener::bind(asked).await.map_err(|source| ServeError::Listen { address: asked, source })?;
    let address = listener.local_addr().map_err(|source| ServeError::Listen { address: asked, source })?;
    let open_to_network = !is_loopback(address.ip()) && options.api_keys.is_empty();

    let worker_queue = queue.clone();
    std::thread::Builder::new()
        .name("generate".into())
        .spawn(move || worker_queue.work())
        .map_err(|source| ServeError::Start { source })?;

    let slots = Arc::new(Semaphore::new(options.max_connections.max(1)));
    let app = Arc::new(App::new(options, models, queue.clone()));
    on_ready(Ready { address, open_to_network });
    let connections = accept_until(&listener, app, slots, shutdown).await;
    drop(listener);

    queue.stop();
    let closed = connections.shutdown();
    tokio::pin!(closed);
    if timeout(FINISH_TIMEOUT, &mut closed).await.is_err() {
        queue.cancel_running();
        let _ = timeout(CLOSE_TIMEOUT, closed).await; // what is still open then is cut off
    }
    Ok(())
}

/// Accepts connections until `shutdown` returns true, and returns the open ones.
async fn accept_until(
    listener: &TcpListener,
    app: Arc<App>,
    slots: Arc<Semaphore>,
    shutdown: impl Fn() -> bool,
) -> GracefulShutdown {
    let routes = TowerToHyperService::new(router(app));
    let connections = GracefulShutdown::new();
    let silent = Silent::default();
    let stop = async {
        while !shutdown() {
            sleep(SHUTDOWN_POLL).await;
        }
    };
    tokio::pin!(stop);
    loop {
        let next = async {
            let (stream, _) = listener.accept().await?;
            if slots.available_permits() == 0 {
                silent.close_oldest();
            }
            // Where all of them are asking something, this one waits, and those behind it in the system's backlog.
            Ok::<_, io::Error>((stream, slots.clone().acquire_owned().await))
        };
        let accepted = tokio::select! {
            () = &mut stop => return connections,
            accepted = next => accepted,
        };
        // Out of file handles, or a client that was gone again: both pass.
        let Ok((stream, slot)) = accepted else {
            sleep(SHUTDOWN_POLL).await;
            continue;
        };
        let Ok((stream, client)) = Client::watch(stream) else { continue };
        let (opened, close) = silent.open();
        let service = ForClient { routes: routes.clone(), client, opened };
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .serve_connection(TokioIo::new(with_write_timeout(stream)), service);
        let connection = connections.watch(connection);
        tokio::spawn(async move {
            // An error here is the client's: garbage, a time-out, a connection that was cut.
            tokio::select! {
                _ = connection => {}
                () = close.notified() => {}
            }
            drop(slot);
        });
    }
}

/// Connections that have not sent a whole header yet, by the order in which they were opened.
#[derive(Clone, Default)]
struct Silent(Arc<Mutex<SilentList>>);

#[derive(Default)]
struct SilentList {
    opened: u64,
    waiting: BTreeMap<u64, Arc<Notify>>,
}

/// A connection's place among the silent ones, until it speaks or ends.
struct Opened {
    number: u64,
    silent: Silent,
}

impl Silent {
    fn list(&self) -> MutexGuard<'_, SilentList> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new connection; it is to be closed when it is notified.
    fn open(&self) -> (Opened, Arc<Notify>) {
        let mut list = self.list();
        let (number, close) = (list.opened, Arc::new(Notify::new()));
        list.opened += 1;
        list.waiting.insert(number, close.clone());
        (Opened { number, silent: self.clone() }, close)
    }

    fn close_oldest(&self) {
        if let Some((_, close)) = self.list().waiting.pop_first() {
            close.notify_one();
        }
    }
}

impl Opened {
    fn spoke(&self) {
        self.silent.list().waiting.remove(&self.number);
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.spoke();
    }
}

/// A second handle of a connection's socket, to see whether the client is still there.
///
/// hyper watches for that only on connections that will be kept alive; after `Connection: close` it does not
/// read any more, and a long answer would be generated for nobody.
#[derive(Debug, Clone)]
pub struct Client(Arc<TcpStream>);

impl Client {
    /// Also returns the socket, which had to leave the runtime for a moment to be duplicated.
    fn watch(stream: TcpStream) -> io::Result<(TcpStream, Self)> {
        let stream = stream.into_std()?;
        let client = Self(Arc::new(TcpStream::from_std(stream.try_clone()?)?));
        Ok((TcpStream::from_std(stream)?, client))
    }

    /// Returns when the client has closed the connection, or the half of it on which it sends. Asked of the system and
    /// not by a read: what the client sent before it left, and nobody reads, must not hide that it left.
    pub async fn gone(&self) {
        while let Ok(ready) = self.0.ready(Interest::READABLE).await {
            if ready.is_read_closed() {
                return;
            }
            sleep(CLIENT_POLL).await;
        }
    }
}

/// The routes, told whom they answer.
struct ForClient {
    routes: TowerToHyperService<axum::Router>,
    client: Client,
    opened: Opened,
}

impl Service<Request<Incoming>> for ForClient {
    type Response = <TowerToHyperService<axum::Router> as Service<Request<Incoming>>>::Response;
    type Error = <TowerToHyperService<axum::Router> as Service<Request<Incoming>>>::Error;
    type Future = <TowerToHyperService<axum::Router> as Service<Request<Incoming>>>::Future;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        self.opened.spoke();
        request.extensions_mut().insert(self.client.clone());
        self.routes.call(request)
    }
}

fn with_write_timeout(stream: TcpStream) -> std::pin::Pin<Box<TimeoutStream<TcpStream>>> {
    // A token is a small packet that should leave at once; where that cannot be set it is only slower.
    let _ = stream.set_nodelay(true);
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(WRITE_TIMEOUT));
    Box::pin(stream)
}
