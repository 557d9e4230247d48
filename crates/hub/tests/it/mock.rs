//! A small HTTP/1.1 server for one test. It answers with what a function says, one connection per request, and keeps
//! every request.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use sha1::Digest as _;

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    /// Path and query.
    pub target: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// Where a resumed download begins.
    pub fn begin(&self) -> usize {
        let range = self.header("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-'));
        range.map_or(0, |range| range.parse().unwrap())
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The connection ends after so many bytes of the body, whatever `Content-Length` says.
    pub cut_after: Option<usize>,
}

impl Reply {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into(), cut_after: None }
    }

    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The file from where the request wants it.
    pub fn file(request: &Request, bytes: &[u8]) -> Self {
        match request.begin() {
            0 => Self::new(200, bytes),
            from if from >= bytes.len() => Self::new(416, ""),
            from => {
                let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
                Self::new(206, &bytes[from..]).with("Content-Range", range)
            }
        }
    }

    pub fn cut(mut self, after: usize) -> Self {
        self.cut_after = Some(after);
        self
    }
}

/// A running server.
pub struct Mock {
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Mock {
    /// Serves until the test process ends; `answer` gets the request and how many there were for the same target before.
    pub fn start(answer: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::<Request>::new()));
        let kept = Arc::clone(&requests);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that goes away is no failure of the test.
                let _ = serve(stream, &answer, &kept);
            }
        });
        Self { address, requests }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// Targets of all requests, in order.
    pub fn targets(&self) -> Vec<String> {
        self.requests().into_iter().map(|request| request.target).collect()
    }
}

fn serve(
    stream: TcpStream,
    answer: &impl Fn(&Request, usize) -> Reply,
    kept: &Mutex<Vec<Request>>,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().unwrap_or(Ok(String::new()))?;
    let target = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = BTreeMap::new();
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let request = Request { target, headers };
    let before = {
        let mut kept = kept.lock().unwrap();
        let before = kept.iter().filter(|other| other.target == request.target).count();
        kept.push(request.clone());
        before
    };
    let reply = answer(&request, before);
    write_reply(stream, &reply)
}

fn write_reply(mut stream: TcpStream, reply: &Reply) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {} Mock\r\nConnection: close\r\n", reply.status);
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("Content-Length: {}\r\n\r\n", reply.body.len()));
    stream.write_all(head.as_bytes())?;
    let end = reply.cut_after.unwrap_or(reply.body.len());
    stream.write_all(&reply.body[..end.min(reply.body.len())])
}

/// A port on which nothing listens.
pub fn dead_url() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

pub fn sha256(bytes: &[u8]) -> String {
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Git's name of a file.
pub fn git_blob(bytes: &[u8]) -> String {
    let digest = sha1::Sha1::new().chain_update(format!("blob {}\0", bytes.len())).chain_update(bytes).finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Settings for a test: a store and a cache in `folder`, short waits, no token, and servers that are not there.
pub fn settings(folder: &std::path::Path) -> tsumugi_hub::Settings {
    use std::time::Duration;
    use tsumugi_hub::{HttpSettings, HuggingFaceSettings, IndexSettings, Settings};
    let dead: ::url::Url = dead_url().parse().unwrap();
    let http = HttpSettings { retry_pause: Duration::ZERO, ..HttpSettings::default() };
    let cache = folder.join("cache");
    let huggingface = HuggingFaceSettings { endpoint: dead.clone(), token: None, cache, offline: false };
    let index = IndexSettings { urls: vec![dead], is_forbidden: false };
    Settings { home: folder.join("home"), huggingface, index, http }
}
