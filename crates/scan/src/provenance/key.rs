//! Keys as openssl writes them: private ones as PKCS#8 or SEC 1, public ones as SPKI (RFC 5280), in PEM (RFC 7468).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1, ECDSA_P384_SHA384_ASN1_SIGNING,
    ED25519, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey, VerificationAlgorithm,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{PrivateKeyDer, SubjectPublicKeyInfoDer};
use tsumugi_base::Hint;
use tsumugi_base::run_record::sha256;

/// How signatures are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// ECDSA over P-256 with SHA-256: what the `model-signing` tool checks.
    P256,
    /// ECDSA over P-384 with SHA-384.
    P384,
    /// Ed25519 (RFC 8032).
    Ed25519,
}

impl Algorithm {
    const ALL: [Self; 3] = [Self::P256, Self::P384, Self::Ed25519];

    /// Its usual name.
    pub fn name(self) -> &'static str {
        match self {
            Self::P256 => "ECDSA P-256",
            Self::P384 => "ECDSA P-384",
            Self::Ed25519 => "Ed25519",
        }
    }

    /// What stands before the point in an SPKI, which is the same for every key of the algorithm, and the point's length.
    fn spki(self) -> (&'static [u8], usize) {
        match self {
            Self::P256 => (
                b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00",
                65,
            ),
            Self::P384 => (
                b"\x30\x76\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22\x03\x62\x00",
                97,
            ),
            Self::Ed25519 => (b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00", 32),
        }
    }

    /// The algorithm's name in a PKCS#8 file (`AlgorithmIdentifier`).
    fn identifier(self) -> &'static [u8] {
        let (spki, _) = self.spki();
        &spki[2..4 + usize::from(spki[3])]
    }

    fn verification(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Self::P256 => &ECDSA_P256_SHA256_ASN1,
            Self::P384 => &ECDSA_P384_SHA384_ASN1,
            Self::Ed25519 => &ED25519,
        }
    }
}

/// A key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No key of the wanted sort stands in the text.
    #[error("there is no {wanted} key in it, as PEM has them")]
    NoKey {
        /// `private` or `public`.
        wanted: &'static str,
    },
    /// The key is locked with a password.
    #[error("the key is locked with a password")]
    Locked,
    /// The key is of another algorithm, or damaged.
    #[error("the key is damaged, or none of ECDSA P-256, ECDSA P-384 and Ed25519")]
    Unknown,
    /// The certificate is of another key.
    #[error("the certificate is of another key")]
    OtherCertificate,
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    NoRandomness,
}

impl Hint for KeyError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::NoKey { .. } | Self::Unknown => {
                Some("`tsumugi keygen FILE` makes a pair: FILE signs, FILE.pub verifies".into())
            }
            Self::Locked => Some("unlock it: `openssl pkcs8 -in KEY -out UNLOCKED.pem -topk8 -nocrypt`".into()),
            Self::OtherCertificate => Some("give the certificate that was issued for this key".into()),
            Self::NoRandomness => None,
        }
    }
}

/// A key that checks signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    algorithm: Algorithm,
    point: Vec<u8>,
}

impl PublicKey {
    /// From a PEM file.
    pub fn from_pem(text: &[u8]) -> Result<Self, KeyError> {
        let spki = SubjectPublicKeyInfoDer::from_pem_slice(text).map_err(|_| KeyError::NoKey { wanted: "public" })?;
        Self::from_spki(&spki)
    }

    /// From the DER inside of one.
    pub fn from_spki(spki: &[u8]) -> Result<Self, KeyError> {
        for algorithm in Algorithm::ALL {
            let (start, length) = algorithm.spki();
            if let Some(point) = spki.strip_prefix(start).filter(|point| point.len() == length) {
                return Ok(Self { algorithm, point: point.to_vec() });
            }
        }
        Err(KeyError::Unknown)
    }

    /// Its algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// As a PEM file.
    pub fn pem(&self) -> String {
        pem("PUBLIC KEY", &[self.algorithm.spki().0, &self.point].concat())
    }

    /// SHA-256 of its PEM file, in hexadecimal: by this a bundle says which key signed it.
    pub fn hash(&self) -> String {
        sha256(self.pem().as_bytes())
    }

    /// Whether `signature` is this key's for `message`. ECDSA's are in ASN.1.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(self.algorithm.verification(), &self.point).verify(message, signature).is_ok()
    }
}

/// A key that signs.
#[derive(Debug)]
pub struct PrivateKey {
    pair: Pair,
    public: PublicKey,
}

#[derive(Debug)]
enum Pair {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl PrivateKey {
    /// From a PEM file that is not locked.
    pub fn from_pem(text: &[u8]) -> Result<Self, KeyError> {
        match PrivateKeyDer::from_pem_slice(text) {
            Ok(PrivateKeyDer::Pkcs8(key)) => Self::from_pkcs8(key.secret_pkcs8_der()),
            Ok(PrivateKeyDer::Sec1(key)) => {
                let wrapped = |algorithm: Algorithm| pkcs8(algorithm, key.secret_sec1_der());
                Self::from_pkcs8(&wrapped(Algorithm::P256)).or_else(|_| Self::from_pkcs8(&wrapped(Algorithm::P384)))
            }
            Ok(_) => Err(KeyError::Unknown),
            Err(_) if memchr::memmem::find(text, b"ENCRYPTED").is_some() => Err(KeyError::Locked),
            Err(_) => Err(KeyError::NoKey { wanted: "private" }),
        }
    }

    fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
            let public = PublicKey { algorithm: Algorithm::Ed25519, point: pair.public_key().as_ref().to_vec() };
            return Ok(Self { pair: Pair::Ed25519(pair), public });
        }
        let random = SystemRandom::new();
        let curves =
            [(Algorithm::P256, &ECDSA_P256_SHA256_ASN1_SIGNING), (Algorithm::P384, &ECDSA_P384_SHA384_ASN1_SIGNING)];
        for (algorithm, signing) in curves {
            if let Ok(pair) = EcdsaKeyPair::from_pkcs8(signing, der, &random) {
                let public = PublicKey { algorithm, point: pair.public_key().as_ref().to_vec() };
                return Ok(Self { pair: Pair::Ecdsa(pair), public });
            }
        }
        Err(KeyError::Unknown)
    }

    /// The other half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs a message.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        match &self.pair {
            Pair::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Pair::Ecdsa(pair) => {
                let signature = pair.sign(&SystemRandom::new(), message).map_err(|_| KeyError::NoRandomness)?;
                Ok(signature.as_ref().to_vec())
            }
        }
    }

    /// A new key, and its PEM file (PKCS#8).
    pub fn generate(algorithm: Algorithm) -> Result<(Self, String), KeyError> {
        let random = SystemRandom::new();
        let failed = |_| KeyError::NoRandomness;
        let der = match algorithm {
            Algorithm::P256 => {
                EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).map_err(failed)?
            }
            Algorithm::P384 => {
                EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_ASN1_SIGNING, &random).map_err(failed)?
            }
            Algorithm::Ed25519 => {
                // In version 1 of PKCS#8 (RFC 8410), which every openssl reads; ring's own is version 2.
                let mut seed = [0; 32];
                random.fill(&mut seed).map_err(failed)?;
                let der = pkcs8(algorithm, &[b"\x04\x20", seed.as_slice()].concat());
                return Ok((Self::from_pkcs8(&der)?, pem("PRIVATE KEY", &der)));
            }
        };
        Ok((Self::from_pkcs8(der.as_ref())?, pem("PRIVATE KEY", der.as_ref())))
    }
}

/// `PrivateKeyInfo` of RFC 5208: a version, the algorithm, and the key as the algorithm has it. Below 256 bytes.
fn pkcs8(algorithm: Algorithm, key: &[u8]) -> Vec<u8> {
    let octets = der_value(0x04, key);
    let content = [b"\x02\x01\x00", algorithm.identifier(), octets.as_slice()].concat();
    der_value(0x30, &content)
}

/// A value of ASN.1 with its tag and length.
fn der_value(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = match u8::try_from(content.len()) {
        Ok(short @ ..128) => vec![short],
        Ok(long) => vec![0x81, long],
        Err(_) => [&[0x82], u16::try_from(content.len()).unwrap_or(u16::MAX).to_be_bytes().as_slice()].concat(),
    };
    [&[tag], length.as_slice(), content].concat()
}

/// Lines of 64 characters between two that say what it is: the bytes that Python's `cryptography` and openssl write.
fn pem(what: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut lines = format!("-----BEGIN {what}-----\n");
    for start in (0..text.len()).step_by(64) {
        lines.push_str(&text[start..text.len().min(start + 64)]);
        lines.push('\n');
    }
    lines + &format!("-----END {what}-----\n")
}
