//! Who may ask: `Host`, `Origin`, API keys.
//!
//! A server on a loopback address is still within reach of every web page that the user has open. A page of another
//! origin can send requests (the browser says so in `Origin`), and a page whose name was made to resolve to 127.0.0.1
//! ("DNS rebinding") is of the same origin and can read the answers too; only its `Host` gives it away. So both
//! are checked, and no CORS header is ever sent.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderName, Uri};
use axum::middleware::Next;
use axum::response::Response;
use sha2::{Digest, Sha256};

use crate::openai::error::ApiError;
use crate::routes::App;

/// Runs before every route.
pub async fn check(State(app): State<Arc<App>>, request: Request, next: Next) -> Result<Response, ApiError> {
    check_host_and_origin(request.headers(), request.uri(), app.options.address.is_loopback())?;
    if needs_key(request.uri().path()) {
        check_key(request.headers(), &app.options.api_keys)?;
    }
    Ok(next.run(request).await)
}

/// The page and the health check hold no secret; everything that names or runs a model does.
fn needs_key(path: &str) -> bool {
    path.starts_with("/v1/") || path.starts_with("/tsumugi/")
}

fn check_host_and_origin(headers: &HeaderMap, uri: &Uri, loopback: bool) -> Result<(), ApiError> {
    let host = single(headers, &HOST)?.ok_or_else(|| ApiError::bad_request("the request has no `Host` header"))?;
    let target = uri.authority().map_or(host, |authority| authority.as_str());
    if loopback && !(names_loopback(host) && names_loopback(target)) {
        return Err(ApiError::forbidden(format!(
            "this server answers only requests to localhost, and this one was sent to `{}`",
            shorten(if names_loopback(host) { target } else { host }),
        )));
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

/// `localhost`, `NAME.localhost` (RFC 6761: always this machine) or a loopback address, with any port: behind a
/// forwarded port it is not ours.
fn names_loopback(authority: &str) -> bool {
    let host = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((ip, "")) => ip,
        Some((ip, port)) if is_port(port.strip_prefix(':')) => ip,
        Some(_) => return false,
        None => match authority.split_once(':') {
            None => authority,
            Some((host, port)) if is_port(Some(port)) => host,
            Some(_) => return false,
        },
    };
    if let Ok(ip) = host.parse::<IpAddr>() {
        return ip.is_loopback();
    }
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost")
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
        for yes in
            ["localhost", "LOCALHOST:1", "localhost.", "a.localhost:80", "127.0.0.1", "127.9.9.9:65535", "[::1]:8080"]
        {
            assert!(names_loopback(yes), "{yes}");
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
            "[::2]",
            "[::1",
            "::1]",
            "[::1]x",
            "192.168.0.1",
            "user@localhost",
            "localhost:80:80",
        ];
        for no in no {
            assert!(!names_loopback(no), "{no}");
        }
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
