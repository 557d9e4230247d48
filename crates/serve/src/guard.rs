//! Who may ask: `Host`, `Origin`, API keys.
//!
//! A server on a loopback address is still within reach of every web page that the user has open. A page of another
//! origin can send requests (the browser says so in `Origin`), and a page whose name was made to resolve to 127.0.0.1
//! ("DNS rebinding") is of the same origin and can read the answers too; only its `Host` gives it away. So both
//! are checked, and no CORS header is ever sent. On an address that other machines reach it is the same, with
//! that address in place of 127.0.0.1; there a key keeps such pages out, or else a name is no `Host`.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderName, Uri};
use axum::middleware::Next;
use axum::response::Response;
use sha2::{Digest, Sha256};
use tsumugi_base::hosts::{is_loopback, is_loopback_host};

use crate::Options;
use crate::openai::error::ApiError;
use crate::routes::App;

/// Runs before every route.
pub async fn check(State(app): State<Arc<App>>, request: Request, next: Next) -> Result<Response, ApiError> {
    check_host_and_origin(request.headers(), request.uri(), Hosts::of(&app.options))?;
    if needs_key(request.uri().path()) {
        check_key(request.headers(), &app.options.api_keys)?;
    }
    Ok(next.run(request).await)
}

/// The page and the health check hold no secret; everything that names or runs a model does.
fn needs_key(path: &str) -> bool {
    path.starts_with("/v1/") || path.starts_with("/tsumugi/")
}

/// Which hosts a request may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hosts {
    /// This machine's own names.
    Loopback,
    /// Those and any IP address: a name may have been made to resolve to us, an address cannot.
    Addresses,
    /// Any: whoever asks has a key, which a page of another origin has not.
    Any,
}

impl Hosts {
    fn of(options: &Options) -> Self {
        match (is_loopback(options.address), options.api_keys.is_empty()) {
            (true, _) => Self::Loopback,
            (false, true) => Self::Addresses,
            (false, false) => Self::Any,
        }
    }

    fn allow(self, authority: &str) -> bool {
        let named = host_of(authority);
        match self {
            Self::Loopback => named.is_some_and(is_loopback_host),
            Self::Addresses => named.is_some_and(|host| is_loopback_host(host) || host.parse::<IpAddr>().is_ok()),
            Self::Any => true,
        }
    }

    fn refusal(self, asked: &str) -> ApiError {
        let asked = shorten(asked);
        ApiError::forbidden(match self {
            Self::Loopback | Self::Any => {
                format!("this server answers only requests to localhost, and this one was sent to `{asked}`")
            }
            Self::Addresses => format!(
                "without an API key this server answers only requests to an IP address, and this one was sent to `{asked}`: \
                 use the machine's address, or start the server with `--api-key KEY`"
            ),
        })
    }
}

fn check_host_and_origin(headers: &HeaderMap, uri: &Uri, hosts: Hosts) -> Result<(), ApiError> {
    let host = single(headers, &HOST)?.ok_or_else(|| ApiError::bad_request("the request has no `Host` header"))?;
    let target = uri.authority().map_or(host, |authority| authority.as_str());
    if let Some(asked) = [host, target].into_iter().find(|asked| !hosts.allow(asked)) {
        return Err(hosts.refusal(asked));
    }
    let Some(origin) = single(headers, &ORIGIN)? else { return Ok(()) };
    let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    if authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host)) {
        return Ok(());
    }
    Err(ApiError::forbidden(format!("requests from web pages of another origin (`{}`) are refused", shorten(origin))))
}

/// A header that may be there once, as text.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, ApiError> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    match (value.to_str(), values.next()) {
        (Ok(text), None) => Ok(Some(text)),
        _ => Err(ApiError::bad_request(format!("the `{name}` header is repeated or not text"))),
    }
}

/// The host of an authority, with any port: behind a forwarded port it is not ours.
fn host_of(authority: &str) -> Option<&str> {
    match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((ip, "")) => Some(ip),
        Some((ip, port)) => is_port(port.strip_prefix(':')).then_some(ip),
        None => match authority.split_once(':') {
            None => Some(authority),
            Some((host, port)) => is_port(Some(port)).then_some(host),
        },
    }
}

fn is_port(text: Option<&str>) -> bool {
    text.is_some_and(|text| text.parse::<u16>().is_ok())
}

fn check_key(headers: &HeaderMap, keys: &[String]) -> Result<(), ApiError> {
    if keys.is_empty() {
        return Ok(());
    }
    let Some(value) = headers.get(AUTHORIZATION) else {
        return Err(ApiError::unauthorized("no API key was given: send `Authorization: Bearer KEY`"));
    };
    let given = value.to_str().ok().and_then(|text| text.split_once(' '));
    match given {
        Some((scheme, key)) if scheme.eq_ignore_ascii_case("bearer") && is_one_of(key.trim(), keys) => Ok(()),
        _ => Err(ApiError::unauthorized("the API key is not one of this server's")),
    }
}

/// Compares digests, and all of each, so that the time taken tells nothing about a key: not its length, not how
/// much of a guess was right.
fn is_one_of(given: &str, keys: &[String]) -> bool {
    let given = Sha256::digest(given.as_bytes());
    let mut found = false;
    for key in keys {
        let key = Sha256::digest(key.as_bytes());
        let difference = given.iter().zip(key.iter()).fold(0, |all, (a, b)| std::hint::black_box(all | (a ^ b)));
        found |= difference == 0;
    }
    found
}

/// Enough of a header to recognize it by.
fn shorten(text: &str) -> String {
    text.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_loopback() {
        for yes in [
            "localhost",
            "LOCALHOST:1",
            "localhost.",
            "a.localhost:80",
            "127.0.0.1",
            "127.9.9.9:65535",
            "[::1]:8080",
            "[::ffff:127.0.0.1]",
        ] {
            assert!(Hosts::Loopback.allow(yes), "{yes}");
            assert!(Hosts::Addresses.allow(yes), "{yes}");
        }
        let no = [
            "",
            "example.com",
            "localhost.example.com",
            "xlocalhost",
            "127.0.0.1.example.com",
            "localhost:99999",
            "localhost:",
            "0.0.0.0",
            "[::]:80",
            "[::ffff:0.0.0.0]",
            ".localhost",
            "[::2]",
            "[::1",
            "::1]",
            "[::1]x",
            "192.168.0.1",
            "user@localhost",
            "localhost:80:80",
        ];
        for no in no {
            assert!(!Hosts::Loopback.allow(no), "{no}");
        }
        for address in ["0.0.0.0", "192.168.0.1:8080", "[::2]", "[fe80::1]:80"] {
            assert!(Hosts::Addresses.allow(address), "{address}");
        }
        for name in ["", "evil.example", "127.0.0.1.example.com", "my-machine:8080", "user@192.168.0.1", "[::2]x"] {
            assert!(!Hosts::Addresses.allow(name), "{name}");
        }
    }

    #[test]
    fn names_are_answered_where_a_key_is_asked_for() {
        let options = |address: &str, keys: &[&str]| Options {
            address: address.parse().expect("an address"),
            api_keys: keys.iter().map(|&key| key.to_owned()).collect(),
            ..Options::default()
        };
        for loopback in ["127.0.0.1", "127.8.0.1", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(Hosts::of(&options(loopback, &["key"])), Hosts::Loopback, "{loopback}");
        }
        assert_eq!(Hosts::of(&options("0.0.0.0", &[])), Hosts::Addresses);
        assert_eq!(Hosts::of(&options("::", &["key"])), Hosts::Any);
        assert!(Hosts::Any.allow("llm.example"));
    }

    #[test]
    fn a_key_must_be_whole() {
        let keys = ["first".to_owned(), "second".to_owned()];
        assert!(is_one_of("first", &keys) && is_one_of("second", &keys));
        for no in ["", "firs", "firstt", "First", "firstsecond"] {
            assert!(!is_one_of(no, &keys), "{no}");
        }
    }
}
