//! Blocking HTTP as a pull needs it: redirects followed here, so that a secret goes to its own host only and nothing
//! leads from `https` to `http`; short waits for a connection; a busy server asked again when it says.

use std::io::{self, Read};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tsumugi_base::hosts::{is_loopback_host, may_be_this_machine};
use tsumugi_base::progress::{Event, Observer};
use tsumugi_base::{Hint, units};
use ureq::Agent;
use ureq::http::{HeaderMap, Response, StatusCode, header};
use ureq::tls::{RootCerts, TlsConfig};
use url::Url;

use crate::settings::{HttpSettings, Secret};

/// Redirects of one request; hubs use one or two.
const REDIRECTS_MAX: usize = 8;
/// How often a request that a busy server turned away is made in all.
const TRIES_MAX: u32 = 4;
/// The longest that we wait because a server asks us to; beyond it the user is told.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Between two looks at whether the user wants to stop.
const STOP_INTERVAL: Duration = Duration::from_millis(100);
/// Of the text that comes with an error, what is read, and what is shown of it.
const MESSAGE_BYTES_MAX: u64 = 64 << 10;
const MESSAGE_CHARS_MAX: usize = 200;

/// What a request may say beside its address.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Ask<'a> {
    /// Kinds of content.
    pub(crate) accept: Option<&'a str>,
    /// Begin at this byte; 0 is the whole.
    pub(crate) from_byte: u64,
    /// Begin there only if it is still this version.
    pub(crate) if_version: Option<&'a str>,
    /// Sent to the host that it is for, and to no other.
    pub(crate) secret: Option<&'a Secret>,
}

/// An answer with success in its status.
pub(crate) struct Answer {
    /// 200 or 206.
    pub(crate) status: StatusCode,
    /// Where it came from in the end.
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Box<dyn Read>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        text_of(&self.headers, name)
    }
}

fn text_of<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// A request that got no good answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// No connection, or none of the certificate that it must have.
    #[error("cannot reach {host}: {reason}")]
    Unreachable {
        /// Host, and port where it is not the usual one.
        host: String,
        /// As the system says it.
        reason: String,
    },
    /// The connection was there, then not.
    #[error("the connection to {host} broke: {reason}")]
    Broken {
        /// The host.
        host: String,
        /// As the system says it.
        reason: String,
    },
    /// An answer that is no success.
    #[error("{url} answers {status}{message}", message = after(.message))]
    Status {
        /// Without what is secret in it.
        url: String,
        /// Three digits.
        status: u16,
        /// The hub's word for what is wrong (`X-Error-Code`).
        code: Option<String>,
        /// What the server says about it.
        message: Option<String>,
    },
    /// The server has no time for us, and will not soon.
    #[error("{host} has had too many requests and asks to wait {wait}", wait = units::duration(*.seconds as f64))]
    Busy {
        /// The host.
        host: String,
        /// How long to wait.
        seconds: u64,
    },
    /// `http` where `https` is wanted.
    #[error("{url} is not encrypted: what comes from there could be anybody's")]
    NotEncrypted {
        /// The address.
        url: String,
    },
    /// A redirect that leads nowhere good.
    #[error("{url} redirects {reason}")]
    Redirect {
        /// The address.
        url: String,
        /// To where, or how often.
        reason: String,
    },
    /// More than what is asked for can have.
    #[error("{url} answers with more than {limit}", limit = units::bytes(*.limit_bytes))]
    TooLarge {
        /// The address.
        url: String,
        /// The limit.
        limit_bytes: u64,
    },
    /// The user asked to stop.
    #[error("stopped")]
    Stopped,
}

fn after(message: &Option<String>) -> String {
    message.as_ref().map(|message| format!(": {message}")).unwrap_or_default()
}

impl Hint for HttpError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Unreachable { reason, .. } if reason.contains("certificate") => {
                "if your network has a certificate authority of its own, set SSL_CERT_FILE to its certificates".into()
            }
            Self::Unreachable { .. } => "check the network; a proxy is taken from HTTPS_PROXY".into(),
            Self::Broken { .. } => "run the same command again: it goes on where it stopped".into(),
            Self::Status { status: 401 | 403, .. } => {
                "check that you may read it, and that the address is right".into()
            }
            Self::Status { status: 404, .. } => "check the address".into(),
            Self::Status { .. } => return None,
            Self::Busy { seconds, .. } => format!("run the same command in {}", units::duration(*seconds as f64)),
            Self::NotEncrypted { .. } => "use https, or allow it with `--allow-http`".into(),
            Self::Redirect { .. } | Self::TooLarge { .. } | Self::Stopped => return None,
        })
    }
}

impl HttpError {
    /// Whether the same request may do better a moment later.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self, Self::Broken { .. })
    }
}

/// Makes requests.
#[derive(Debug)]
pub(crate) struct Client {
    agent: Agent,
    settings: HttpSettings,
}

impl Client {
    pub(crate) fn new(settings: HttpSettings) -> Self {
        let tls = TlsConfig::builder()
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .root_certs(RootCerts::PlatformVerifier)
            .build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_resolve(Some(settings.connect_timeout))
            .timeout_connect(Some(settings.connect_timeout))
            .timeout_recv_response(Some(settings.answer_timeout))
            .timeout_per_read(Some(settings.answer_timeout))
            .user_agent(concat!("tsumugi/", env!("CARGO_PKG_VERSION")));
        Self { agent: config.build().into(), settings }
    }

    /// Asks for `url`, follows where it leads, and asks again where the server is busy.
    pub(crate) fn get(&self, url: &Url, ask: Ask<'_>, observer: &dyn Observer) -> Result<Answer, HttpError> {
        let mut tries = 1;
        loop {
            let (url, response) = self.follow(url, ask)?;
            let status = response.status();
            if matches!(status, StatusCode::OK | StatusCode::PARTIAL_CONTENT) {
                let (parts, body) = response.into_parts();
                return Ok(Answer { status, url, headers: parts.headers, body: Box::new(body.into_reader()) });
            }
            let Some(wait) = wanted_wait(&response, self.settings.retry_pause * tries) else {
                return Err(status_error(&url, response));
            };
            if wait > WAIT_MAX {
                return Err(HttpError::Busy { host: host_of(&url), seconds: wait.as_secs() });
            }
            if tries == TRIES_MAX {
                return Err(status_error(&url, response));
            }
            let wait_text = units::duration(wait.as_secs_f64());
            let message = format!("{} is busy ({}); asking again in {wait_text}", host_of(&url), status.as_u16());
            observer.event(&Event::Note { message });
            pause(wait, observer)?;
            tries += 1;
        }
    }

    /// The whole of a short answer.
    pub(crate) fn read(&self, answer: Answer, limit_bytes: u64) -> Result<Vec<u8>, HttpError> {
        let mut bytes = Vec::new();
        answer.body.take(limit_bytes + 1).read_to_end(&mut bytes).map_err(|error| broken(&answer.url, &error))?;
        if bytes.len() as u64 > limit_bytes {
            return Err(HttpError::TooLarge { url: shown(&answer.url), limit_bytes });
        }
        Ok(bytes)
    }

    /// How long to wait before a broken download goes on.
    pub(crate) fn pause_before_retry(&self, tries: u32, observer: &dyn Observer) -> Result<(), HttpError> {
        pause(self.settings.retry_pause * tries, observer)
    }

    fn follow(&self, url: &Url, ask: Ask<'_>) -> Result<(Url, Response<ureq::Body>), HttpError> {
        let mut url = url.clone();
        for _ in 0..=REDIRECTS_MAX {
            self.check_encrypted(&url)?;
            let response = self.ask_once(&url, ask)?;
            if !response.status().is_redirection() {
                return Ok((url, response));
            }
            url = redirected(&url, text_of(response.headers(), "location"))?;
        }
        Err(HttpError::Redirect { url: shown(&url), reason: format!("more than {REDIRECTS_MAX} times") })
    }

    fn check_encrypted(&self, url: &Url) -> Result<(), HttpError> {
        match url.scheme() {
            "https" => Ok(()),
            "http" if self.settings.allow_http || is_loopback(url) => Ok(()),
            _ => Err(HttpError::NotEncrypted { url: shown(url) }),
        }
    }

    fn ask_once(&self, url: &Url, ask: Ask<'_>) -> Result<Response<ureq::Body>, HttpError> {
        // A password in the address is a secret of its own: `Secret::of_url` has taken it.
        let mut request = self.agent.get(without_password(url).as_str());
        if let Some(accept) = ask.accept {
            request = request.header(header::ACCEPT, accept);
        }
        if ask.from_byte > 0 {
            request = request.header(header::RANGE, format!("bytes={}-", ask.from_byte));
            if let Some(version) = ask.if_version {
                request = request.header(header::IF_RANGE, version);
            }
        }
        if let Some(secret) = ask.secret.filter(|secret| may_have(url, secret)) {
            request = request.header(header::AUTHORIZATION, secret.authorization());
        }
        request.call().map_err(|error| failed(url, &error))
    }
}

/// Whether `url` is of the host that a secret is for, and nobody between can read it.
fn may_have(url: &Url, secret: &Secret) -> bool {
    url.origin() == *secret.origin() && (url.scheme() == "https" || is_loopback(url))
}

/// This machine itself: what comes from there passes no network.
fn is_loopback(url: &Url) -> bool {
    is_loopback_host(host_without_brackets(url))
}

fn host_without_brackets(url: &Url) -> &str {
    url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']')
}

/// Where a redirect leads.
fn redirected(url: &Url, location: Option<&str>) -> Result<Url, HttpError> {
    let refuse = |reason: String| HttpError::Redirect { url: shown(url), reason };
    let location = location.ok_or_else(|| refuse("to nowhere".into()))?;
    let next = url.join(location).map_err(|error| refuse(format!("to what is no address ({error})")))?;
    if url.scheme() == "https" && next.scheme() != "https" {
        return Err(refuse(format!("from https to {}", shown(&next))));
    }
    // Nobody outside may make us ask the services of this machine.
    if may_be_this_machine(host_without_brackets(&next)) && !is_loopback(url) {
        return Err(refuse(format!("into this machine, to {}", shown(&next))));
    }
    Ok(next)
}

/// How long a busy server wants us to wait; none if its answer is final.
fn wanted_wait(response: &Response<ureq::Body>, usual: Duration) -> Option<Duration> {
    let is_busy = matches!(response.status().as_u16(), 429 | 500 | 502 | 503 | 504);
    let asked = text_of(response.headers(), "retry-after").and_then(|text| text.trim().parse().ok());
    is_busy.then(|| asked.map_or(usual, Duration::from_secs))
}

fn pause(wait: Duration, observer: &dyn Observer) -> Result<(), HttpError> {
    let end = Instant::now() + wait;
    loop {
        if observer.stop_requested() {
            return Err(HttpError::Stopped);
        }
        match end.saturating_duration_since(Instant::now()) {
            Duration::ZERO => return Ok(()),
            left => thread::sleep(left.min(STOP_INTERVAL)),
        }
    }
}

fn status_error(url: &Url, response: Response<ureq::Body>) -> HttpError {
    let (status, headers) = (response.status().as_u16(), response.headers());
    let code = text_of(headers, "x-error-code").map(str::to_owned);
    let said = text_of(headers, "x-error-message").map(str::to_owned);
    let is_text = text_of(headers, "content-type").is_some_and(|kind| kind.starts_with("text/plain"));
    let said = said.or_else(|| {
        let mut bytes = Vec::new();
        let body = response.into_body().into_reader().take(MESSAGE_BYTES_MAX);
        is_text.then(|| io::BufReader::new(body).read_to_end(&mut bytes).ok())??;
        String::from_utf8(bytes).ok()
    });
    let message = said.map(|text| one_line(&text)).filter(|text| !text.is_empty());
    HttpError::Status { url: shown(url), status, code, message }
}

/// A server's words as one short line without control characters.
fn one_line(text: &str) -> String {
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()).collect();
    words.join(" ").chars().take(MESSAGE_CHARS_MAX).collect()
}

fn failed(url: &Url, error: &ureq::Error) -> HttpError {
    let host = host_of(url);
    match error {
        // After the connection: the server may do better the next time.
        ureq::Error::Timeout(ureq::Timeout::RecvResponse | ureq::Timeout::PerCall) => {
            HttpError::Broken { host, reason: "no answer".into() }
        }
        ureq::Error::Timeout(_) => HttpError::Unreachable { host, reason: "no connection in time".into() },
        ureq::Error::HostNotFound => HttpError::Unreachable { host, reason: "there is no such host".into() },
        ureq::Error::Io(source) if is_cut(source.kind()) => HttpError::Broken { host, reason: source.to_string() },
        ureq::Error::Io(source) => HttpError::Unreachable { host, reason: source.to_string() },
        other => HttpError::Unreachable { host, reason: other.to_string() },
    }
}

fn is_cut(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(kind, BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}

/// A body that could not be read to its end.
pub(crate) fn broken(url: &Url, error: &io::Error) -> HttpError {
    HttpError::Broken { host: host_of(url), reason: error.to_string() }
}

/// The host, with its port where that is not the scheme's own.
pub(crate) fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or("nowhere");
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// An address without user and password.
pub(crate) fn without_password(url: &Url) -> Url {
    let mut plain = url.clone();
    let _ = plain.set_username("").and_then(|()| plain.set_password(None)); // fails only where there can be none
    plain
}

/// An address for people: without user and password, and without the query of a redirect, where signatures stand.
pub(crate) fn shown(url: &Url) -> String {
    let mut plain = without_password(url);
    let is_signed = plain.query().is_some_and(|query| query.len() > 64);
    if is_signed {
        plain.set_query(None);
    }
    plain.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn redirects_stay_encrypted_and_outside() {
        let from = url("https://hub.example/a/b");
        assert_eq!(redirected(&from, Some("/c")).unwrap().as_str(), "https://hub.example/c");
        assert_eq!(redirected(&from, Some("https://cdn.example/x?y")).unwrap().as_str(), "https://cdn.example/x?y");
        for (location, reason) in [
            (None, "to nowhere"),
            (Some("http://hub.example/a"), "from https to http://hub.example/a"),
            (Some("file:///etc/passwd"), "from https to file:///etc/passwd"),
            (Some("https://localhost/a"), "into this machine, to https://localhost/a"),
            (Some("https://127.1/a"), "into this machine, to https://127.0.0.1/a"),
            (Some("https://[::1]/a"), "into this machine, to https://[::1]/a"),
            (Some("https://[::]/a"), "into this machine, to https://[::]/a"),
            (Some("https://0/a"), "into this machine, to https://0.0.0.0/a"),
            (Some("https://[::ffff:127.0.0.1]/a"), "into this machine, to https://[::ffff:7f00:1]/a"),
            (Some("https://localhost./a"), "into this machine, to https://localhost./a"),
        ] {
            let error = redirected(&from, location).unwrap_err();
            assert_eq!(error.to_string(), format!("https://hub.example/a/b redirects {reason}"));
        }
    }

    #[test]
    fn a_secret_is_for_one_host_that_nobody_can_listen_to() {
        let secret = Secret::bearer(&url("https://hub.example"), "word");
        assert!(may_have(&url("https://hub.example/a"), &secret));
        for other in ["http://hub.example/a", "https://hub.example:8443/a", "https://hub.example.evil/a"] {
            assert!(!may_have(&url(other), &secret), "{other}");
        }
        let plain = Secret::bearer(&url("http://hub.example"), "word");
        assert!(!may_have(&url("http://hub.example/a"), &plain));
        let mock = Secret::bearer(&url("http://127.0.0.1:80"), "word");
        assert!(may_have(&url("http://127.0.0.1/a"), &mock));
    }

    #[test]
    fn only_encrypted_addresses_are_asked_unless_it_is_allowed() {
        let refusing = Client::new(HttpSettings::default());
        let error = refusing.check_encrypted(&url("http://hub.example/a")).unwrap_err();
        assert!(error.to_string().starts_with("http://hub.example/a is not encrypted"));
        assert!(refusing.check_encrypted(&url("http://localhost:1/a")).is_ok());
        assert!(refusing.check_encrypted(&url("http://[::ffff:127.0.0.1]:1/a")).is_ok());
        for outside in ["ftp://hub.example/a", "http://0.0.0.0/a", "http://[::]/a", "http://localhost.example/a"] {
            assert!(refusing.check_encrypted(&url(outside)).is_err(), "{outside}");
        }
        let allowing = Client::new(HttpSettings { allow_http: true, ..HttpSettings::default() });
        assert!(allowing.check_encrypted(&url("http://hub.example/a")).is_ok());
    }

    #[test]
    fn what_is_shown_has_no_secrets() {
        let signed = format!("https://u:p@cdn.example/x?Signature={}", "a".repeat(64));
        assert_eq!(shown(&url(&signed)), "https://cdn.example/x");
        assert_eq!(one_line("a\x1b[2J\r\nb"), "a [2J b");
    }
}
