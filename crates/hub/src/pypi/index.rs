//! The simple interface of a package index, as JSON (PEP 691) or as HTML (PEP 503), whichever the index has.

use serde::Deserialize;
use tsumugi_base::limits::{LISTING_BYTES_MAX, LISTING_FILES_MAX};
use tsumugi_base::progress::Observer;
use url::Url;

use crate::error::HubError;
use crate::http::{Ask, Client, HttpError, host_of, shown};
use crate::names::{SHA256_DIGITS, is_hex, is_safe_path};
use crate::settings::{IndexSettings, Secret};
use crate::source::{PackageFile, normalized_package};

const ACCEPT: &str = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.01";

/// A wheel that an index offers.
#[derive(Debug, Clone)]
pub(super) struct Distribution {
    pub(super) file_name: String,
    pub(super) url: Url,
    pub(super) sha256: String,
    pub(super) bytes: Option<u64>,
    /// The index's own, if its address has one.
    pub(super) secret: Option<Secret>,
}

/// A file as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Listed {
    file_name: String,
    href: String,
    sha256: Option<String>,
    bytes: Option<u64>,
}

/// The wheel of a package, from the first index that has it.
pub(super) fn find(
    client: &Client,
    settings: &IndexSettings,
    package: &PackageFile,
    observer: &dyn Observer,
) -> Result<Distribution, HubError> {
    let mut known: Option<Vec<String>> = None;
    for index in &settings.urls {
        let Some((page, listed)) = page(client, index, &package.package, observer)? else { continue };
        let wheels: Vec<(&Listed, String)> =
            listed.iter().filter_map(|file| Some((file, wheel_version(&file.file_name, &package.package)?))).collect();
        let wanted = normalized_version(&package.version);
        let matching = wheels.iter().filter(|(_, version)| normalized_version(version) == wanted);
        // A model is the same on every machine: the wheel for any is taken where there are several.
        let chosen = matching.map(|(file, _)| *file).min_by_key(|file| (!is_for_any(&file.file_name), &file.file_name));
        if let Some(file) = chosen {
            return distribution(file, &page, index);
        }
        known.get_or_insert_default().extend(wheels.into_iter().map(|(_, version)| version));
    }
    match known {
        None => {
            let index = settings.urls.iter().map(host_of).collect::<Vec<_>>().join(", ");
            Err(HubError::NoPackage { package: package.package.clone(), index })
        }
        Some(mut known) => {
            known.dedup();
            const SHOWN: usize = 10;
            let known = known.split_off(known.len().saturating_sub(SHOWN));
            Err(HubError::NoWheel { package: package.package.clone(), version: package.version.clone(), known })
        }
    }
}

fn distribution(file: &Listed, page: &Url, index: &Url) -> Result<Distribution, HubError> {
    let answer = |reason: String| HubError::Answer { url: shown(page), expected: "a page of packages", reason };
    let mut url = page.join(&file.href).map_err(|error| answer(format!("`{}`: {error}", file.href)))?;
    url.set_fragment(None);
    if page.scheme() == "https" && url.scheme() != "https" {
        return Err(answer(format!("`{}` leads away from https", file.href)));
    }
    let Some(sha256) = file.sha256.clone() else {
        return Err(HubError::NoHash { index: host_of(index), file: file.file_name.clone() });
    };
    let secret = Secret::of_url(index);
    Ok(Distribution { file_name: file.file_name.clone(), url, sha256, bytes: file.bytes, secret })
}

/// What an index lists of a package, and where; none if it does not have the package.
fn page(
    client: &Client,
    index: &Url,
    package: &str,
    observer: &dyn Observer,
) -> Result<Option<(Url, Vec<Listed>)>, HubError> {
    let mut url = index.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend([package, ""]);
    }
    let secret = Secret::of_url(index);
    let ask = Ask { accept: Some(ACCEPT), secret: secret.as_ref(), ..Ask::default() };
    let answer = match client.get(&url, ask, observer) {
        Err(HttpError::Status { status: 404, .. }) => return Ok(None),
        other => other?,
    };
    let is_json = answer.header("content-type").is_some_and(|kind| kind.contains("json"));
    let page = answer.url.clone();
    let bytes = client.read(answer, LISTING_BYTES_MAX)?;
    let listed = match is_json {
        true => parse_json(&bytes),
        false => parse_html(&String::from_utf8_lossy(&bytes)),
    };
    let listed = listed.and_then(|listed| match listed.len() {
        ..=LISTING_FILES_MAX => Ok(listed),
        count => Err(format!("{count} files, but at most {LISTING_FILES_MAX} are read")),
    });
    let wrong = |reason| HubError::Answer { url: shown(&page), expected: "a page of packages", reason };
    Ok(Some((page.clone(), listed.map_err(wrong)?)))
}

#[derive(Deserialize)]
struct Page {
    files: Vec<PageFile>,
}

#[derive(Deserialize)]
struct PageFile {
    filename: String,
    url: String,
    #[serde(default)]
    hashes: Hashes,
    size: Option<u64>,
}

#[derive(Deserialize, Default)]
struct Hashes {
    sha256: Option<String>,
}

fn parse_json(bytes: &[u8]) -> Result<Vec<Listed>, String> {
    let page: Page = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let listed = |file: PageFile| {
        let sha256 = file.hashes.sha256.as_deref().and_then(sha256_of);
        Listed { file_name: file.filename, href: file.url, sha256, bytes: file.size }
    };
    Ok(page.files.into_iter().map(listed).filter(has_safe_name).collect())
}

/// A hash, if it is one.
fn sha256_of(digits: &str) -> Option<String> {
    Some(digits.to_ascii_lowercase()).filter(|digits| is_hex(digits, SHA256_DIGITS))
}

fn has_safe_name(file: &Listed) -> bool {
    is_safe_path(&file.file_name) && !file.file_name.contains('/')
}

/// The anchors of a page: `<a href="../x-1.0-py3-none-any.whl#sha256=…">x-1.0-py3-none-any.whl</a>`.
fn parse_html(text: &str) -> Result<Vec<Listed>, String> {
    let mut listed = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        if !rest.starts_with(['a', 'A']) || !rest[1..].starts_with(char::is_whitespace) {
            continue;
        }
        let Some((tag, after)) = rest.split_once('>') else { break };
        let Some((label, after)) = after.split_once('<') else { break };
        rest = &text[text.len() - after.len() - 1..];
        let Some(href) = attribute(tag, "href") else { continue };
        let (address, fragment) = href.split_once('#').unwrap_or((&href, ""));
        let sha256 = fragment.split('&').find_map(|part| part.strip_prefix("sha256=")).and_then(sha256_of);
        let file = Listed { file_name: unescaped(label.trim()), href: address.to_owned(), sha256, bytes: None };
        listed.extend(Some(file).filter(has_safe_name));
    }
    Ok(listed)
}

/// The value of an attribute in quotes.
fn attribute(tag: &str, name: &str) -> Option<String> {
    let mut rest = tag;
    loop {
        let (key, after) = rest.split_once('=')?;
        let after = after.trim_start();
        let quote = after.chars().next().filter(|quote| "\"'".contains(*quote))?;
        let (value, after) = after[1..].split_once(quote)?;
        if key.split_whitespace().next_back()?.eq_ignore_ascii_case(name) {
            return Some(unescaped(value));
        }
        rest = after;
    }
}

/// The escapes that stand in addresses and names of files.
fn unescaped(text: &str) -> String {
    let simple = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&#39;", "'");
    simple.replace("&#43;", "+").replace("&#x2B;", "+").replace("&amp;", "&")
}

/// The version in a wheel's name, if it is a wheel of `package`: `NAME-VERSION(-BUILD)-PYTHON-ABI-PLATFORM.whl`.
fn wheel_version(file_name: &str, package: &str) -> Option<String> {
    let parts: Vec<&str> = file_name.strip_suffix(".whl")?.split('-').collect();
    let is_wheel = matches!(parts.len(), 5 | 6) && normalized_package(parts[0]) == package;
    is_wheel.then(|| parts[1].to_owned())
}

fn is_for_any(file_name: &str) -> bool {
    file_name.ends_with("-none-any.whl")
}

/// What of PEP 440's normal form tells two versions apart that people write: case, a leading `v`, and zeros at the end.
fn normalized_version(version: &str) -> String {
    let lower = version.to_ascii_lowercase().replace(['-', '_'], ".");
    let mut normal = lower.strip_prefix('v').unwrap_or(&lower);
    while let Some(shorter) = normal.strip_suffix(".0") {
        normal = shorter;
    }
    normal.to_owned()
}

#[cfg(test)]
mod tests {
    use tsumugi_base::testing::mutations;

    use super::*;

    const HASH: &str = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70";

    fn html() -> String {
        format!(
            "<!DOCTYPE html><html><body><h1>Links for a</h1>\n\
             <abbr>x</abbr><a href=\"../../p/a-1.0-py3-none-any.whl#sha256={HASH}\" data-requires-python=\"&gt;=3.9\">\
             a-1.0-py3-none-any.whl</a><br/>\n\
             <A class='x' HREF = 'https://f.example/a-2.0%2Bcpu-py3-none-any.whl?x=1&amp;y=2'>a-2.0+cpu-py3-none-any.whl</A>\n\
             <a href=\"/../../etc\">../passwd</a></body></html>"
        )
    }

    #[test]
    fn both_forms_of_a_page_say_the_same() {
        let listed = parse_html(&html()).unwrap();
        let names: Vec<&str> = listed.iter().map(|file| file.file_name.as_str()).collect();
        assert_eq!(names, ["a-1.0-py3-none-any.whl", "a-2.0+cpu-py3-none-any.whl"], "unsafe names are left out");
        assert_eq!(
            (listed[0].href.as_str(), listed[0].sha256.as_deref()),
            ("../../p/a-1.0-py3-none-any.whl", Some(HASH))
        );
        assert_eq!(listed[1].href, "https://f.example/a-2.0%2Bcpu-py3-none-any.whl?x=1&y=2");
        let json = format!(
            r#"{{"files":[{{"filename":"a-1.0-py3-none-any.whl","url":"../../p/a-1.0-py3-none-any.whl","hashes":{{"sha256":"{HASH}"}},
                "size":7,"yanked":false}},{{"filename":"../b","url":"c","hashes":{{}}}}]}}"#
        );
        let of_json = parse_json(json.as_bytes()).unwrap();
        assert_eq!(of_json, [Listed { bytes: Some(7), ..listed[0].clone() }]);
    }

    #[test]
    fn addresses_are_taken_from_where_the_page_is() {
        let (page, index) = ("https://i.example/root/simple/a/", "https://u:p@i.example/root/simple");
        let file =
            Listed { file_name: "a.whl".into(), href: "../../p/a.whl".into(), sha256: Some(HASH.into()), bytes: None };
        let found = distribution(&file, &Url::parse(page).unwrap(), &Url::parse(index).unwrap()).unwrap();
        assert_eq!(found.url.as_str(), "https://i.example/root/p/a.whl");
        assert!(found.secret.is_some());
        let unsaid = Listed { sha256: None, ..file };
        let error = distribution(&unsaid, &Url::parse(page).unwrap(), &Url::parse(index).unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "i.example does not say which SHA-256 a.whl has");
    }

    #[test]
    fn wheels_are_known_by_their_names() {
        assert_eq!(wheel_version("My_Pkg-1.0-py3-none-any.whl", "my-pkg"), Some("1.0".into()));
        assert_eq!(wheel_version("a-1.0-1-cp311-cp311-manylinux_2_17_x86_64.whl", "a"), Some("1.0".into()));
        assert_eq!(wheel_version("a-1.0.tar.gz", "a"), None);
        assert_eq!(wheel_version("b-1.0-py3-none-any.whl", "a"), None);
        assert_eq!(normalized_version("v1.0.0"), normalized_version("1"));
        assert_ne!(normalized_version("1.0.1"), normalized_version("1.0"));
    }

    #[test]
    fn broken_pages_do_no_harm() {
        for mutation in mutations(html().as_bytes(), 5, 10_000) {
            let text = String::from_utf8_lossy(&mutation.bytes);
            assert!(parse_html(&text).unwrap().iter().all(has_safe_name), "{}", mutation.number);
        }
    }
}
