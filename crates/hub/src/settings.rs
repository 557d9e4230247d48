//! Where things are and what is allowed, from the environment: the variables of `huggingface_hub` and of `pip` mean here
//! what they mean there.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use tsumugi_base::io::read_limited;
use url::{Origin, Url};

use crate::error::HubError;
use crate::pypi::configuration;

/// Everything that a pull depends on besides its source.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The store: `TSUMUGI_HOME`, else `tsumugi` in the user's data folder.
    pub home: PathBuf,
    /// The Hugging Face hub.
    pub huggingface: HuggingFaceSettings,
    /// The package index.
    pub index: IndexSettings,
    /// How requests are made.
    pub http: HttpSettings,
}

/// The Hugging Face hub.
#[derive(Debug, Clone)]
pub struct HuggingFaceSettings {
    /// `HF_ENDPOINT`.
    pub endpoint: Url,
    /// `HF_TOKEN`, else the file that `hf auth login` leaves (`HF_TOKEN_PATH`).
    pub token: Option<Secret>,
    /// `HF_HUB_CACHE`, else `HF_HOME/hub`.
    pub cache: PathBuf,
    /// `HF_HUB_OFFLINE`: only what the cache has.
    pub offline: bool,
}

/// The package index, as `pip` is configured.
#[derive(Debug, Clone, Default)]
pub struct IndexSettings {
    /// `index-url`, then those of `extra-index-url`.
    pub urls: Vec<Url>,
    /// `no-index`: no package is fetched.
    pub is_forbidden: bool,
}

/// How requests are made.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// Whether `http` to other machines is allowed.
    pub allow_http: bool,
    /// For a name to be resolved, and for a connection to be there: then the next origin is tried.
    pub connect_timeout: Duration,
    /// For an answer to begin, and between two pieces of it.
    pub answer_timeout: Duration,
    /// Before what failed is tried again; each time longer.
    pub retry_pause: Duration,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            allow_http: false,
            connect_timeout: Duration::from_secs(3),
            // An index that scans a large file before its first byte has been seen to take half a minute.
            answer_timeout: Duration::from_secs(60),
            retry_pause: Duration::from_secs(1),
        }
    }
}

/// A token or password, and the one origin that may have it. Neither [`fmt::Debug`] nor an error shows it.
#[derive(Clone)]
pub struct Secret {
    authorization: String,
    origin: Origin,
}

impl Secret {
    /// A token for the origin of `url`.
    pub fn bearer(url: &Url, token: &str) -> Self {
        Self { authorization: format!("Bearer {token}"), origin: url.origin() }
    }

    /// User and password that stand in an address.
    pub fn of_url(url: &Url) -> Option<Self> {
        if url.username().is_empty() && url.password().is_none() {
            return None;
        }
        let plain = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let pair = format!("{}:{}", plain(url.username()), plain(url.password().unwrap_or_default()));
        Some(Self { authorization: format!("Basic {}", STANDARD.encode(pair)), origin: url.origin() })
    }

    pub(crate) fn authorization(&self) -> &str {
        &self.authorization
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Largest file with a token; a token has 37 characters.
const TOKEN_BYTES_MAX: u64 = 4096;

/// Looks a variable up; one that is empty is not set.
pub(crate) type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Settings {
    /// From this process's environment and the user's files.
    pub fn from_environment() -> Result<Self, HubError> {
        Self::from_variables(&|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    /// From `variables`, and from the files that they lead to.
    pub fn from_variables(variables: Variables<'_>) -> Result<Self, HubError> {
        let home = variables("HOME").or_else(|| variables("USERPROFILE")).map(PathBuf::from);
        let below_home = |variable: &str, path: &str| {
            let named = variables(variable).map(PathBuf::from);
            named.or_else(|| home.as_ref().map(|home| home.join(path))).ok_or(HubError::NoHome)
        };
        let store = match variables("TSUMUGI_HOME") {
            Some(store) => store.into(),
            None => below_home("XDG_DATA_HOME", ".local/share")?.join("tsumugi"),
        };
        let huggingface_home = match variables("HF_HOME") {
            Some(path) => path.into(),
            None => below_home("XDG_CACHE_HOME", ".cache")?.join("huggingface"),
        };
        Ok(Self {
            home: store,
            huggingface: HuggingFaceSettings::of(variables, &huggingface_home)?,
            index: configuration::read(variables, home.as_deref())?,
            http: HttpSettings::default(),
        })
    }
}

impl HuggingFaceSettings {
    fn of(variables: Variables<'_>, home: &Path) -> Result<Self, HubError> {
        let endpoint = variables("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".into());
        let endpoint = parse_url("HF_ENDPOINT", &endpoint)?;
        let token_path = variables("HF_TOKEN_PATH").map_or_else(|| home.join("token"), PathBuf::from);
        let saved = || {
            let bytes = read_limited(&token_path, TOKEN_BYTES_MAX).ok()?;
            String::from_utf8(bytes).ok()
        };
        // A header cannot have line feeds, and a token has none.
        let is_token = |token: &String| !token.is_empty() && token.chars().all(|c| c.is_ascii_graphic());
        let token = variables("HF_TOKEN").or_else(saved).map(|token| token.trim().to_owned()).filter(is_token);
        let cache = variables("HF_HUB_CACHE").map_or_else(|| home.join("hub"), PathBuf::from);
        let is_on = |name| variables(name).is_some_and(|value| is_true(&value));
        Ok(Self {
            token: token.map(|token| Secret::bearer(&endpoint, &token)),
            endpoint,
            cache,
            offline: is_on("HF_HUB_OFFLINE") || is_on("TRANSFORMERS_OFFLINE"),
        })
    }
}

/// The words that `huggingface_hub` and `pip` both take for yes.
pub(crate) fn is_true(value: &str) -> bool {
    ["1", "on", "yes", "true"].contains(&value.to_ascii_lowercase().as_str())
}

/// An address that can be asked; `name` is where it was found.
pub(crate) fn parse_url(name: &str, text: &str) -> Result<Url, HubError> {
    let wrong = |reason: String| HubError::Setting { name: name.into(), reason };
    let url = Url::parse(text.trim()).map_err(|error| wrong(error.to_string()))?;
    match url.scheme() {
        "http" | "https" if url.has_host() => Ok(url),
        _ => Err(wrong("it is no http address".into())),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tsumugi_base::testing::temporary_folder;

    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Result<Settings, HubError> {
        let variables: BTreeMap<&str, &str> = variables.iter().copied().collect();
        Settings::from_variables(&|name| variables.get(name).map(|&value| value.to_owned()))
    }

    #[test]
    fn defaults_are_those_of_the_tools() {
        let folder = temporary_folder();
        let home = folder.path().to_str().unwrap();
        let found = settings(&[("HOME", home), ("PIP_CONFIG_FILE", "/dev/null")]).unwrap();
        assert_eq!(found.home, folder.path().join(".local/share/tsumugi"));
        assert_eq!(found.huggingface.cache, folder.path().join(".cache/huggingface/hub"));
        assert_eq!(found.huggingface.endpoint.as_str(), "https://huggingface.co/");
        assert!(found.huggingface.token.is_none() && !found.huggingface.offline && !found.http.allow_http);
        assert!(matches!(settings(&[]), Err(HubError::NoHome)));
    }

    #[test]
    fn variables_win() {
        let folder = temporary_folder();
        let home = folder.path().to_str().unwrap();
        std::fs::write(folder.path().join("token"), "hf_saved\n").unwrap();
        let pip = ("PIP_CONFIG_FILE", "/dev/null");
        let found = settings(&[("HOME", "/nowhere"), ("HF_HOME", home), ("HF_HUB_OFFLINE", "Yes"), pip]).unwrap();
        assert_eq!(found.huggingface.cache, folder.path().join("hub"));
        assert!(found.huggingface.offline);
        assert_eq!(found.huggingface.token.unwrap().authorization(), "Bearer hf_saved");
        let given = [("TSUMUGI_HOME", "/a"), ("HF_HOME", home), ("HF_HUB_CACHE", "/b"), ("HF_TOKEN", "hf_given"), pip];
        let found = settings(&given).unwrap();
        assert_eq!((found.home, found.huggingface.cache), ("/a".into(), "/b".into()));
        assert_eq!(found.huggingface.token.unwrap().authorization(), "Bearer hf_given");
        let wrong = settings(&[("HOME", home), ("HF_ENDPOINT", "huggingface.co"), pip]).unwrap_err();
        assert!(wrong.to_string().starts_with("HF_ENDPOINT cannot be used: "), "{wrong}");
    }

    #[test]
    fn a_secret_is_not_shown_and_a_password_is_decoded() {
        let url = Url::parse("https://user:p%40s+s@index.example/simple").unwrap();
        let secret = Secret::of_url(&url).unwrap();
        assert_eq!(secret.authorization(), format!("Basic {}", STANDARD.encode("user:p@s+s")));
        assert_eq!(format!("{secret:?}"), "Secret");
        assert!(Secret::of_url(&Url::parse("https://index.example").unwrap()).is_none());
    }
}
