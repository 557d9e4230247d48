//! A signature as a file: a DSSE envelope (secure-systems-lab/dsse, v1) in a Sigstore bundle (v0.3, JSON).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::json;

/// The kind of bundle that is written and read.
const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// What is in the envelope.
pub(super) const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// A signature, and what is needed to check it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    pub(super) payload: Vec<u8>,
    pub(super) payload_type: String,
    pub(super) signature: Vec<u8>,
    pub(super) material: Material,
}

/// Who signed, as the bundle says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Material {
    /// The hash of the public key, if it says one.
    Key {
        /// SHA-256 of its PEM file.
        hint: Option<String>,
    },
    /// Certificates in DER, the signer's first.
    Chain(Vec<Vec<u8>>),
}

/// What is signed: the type and the payload, each with its length before it ("pre-authentication encoding").
pub(super) fn signed_bytes(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    media_type: String,
    verification_material: FileMaterial,
    dsse_envelope: Envelope,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FileMaterial {
    public_key: Option<KeyHint>,
    x509_certificate_chain: Option<Chain>,
}

#[derive(Deserialize)]
struct KeyHint {
    hint: Option<String>,
}

#[derive(Deserialize)]
struct Chain {
    certificates: Vec<RawCertificate>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawCertificate {
    raw_bytes: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<Signature>,
}

#[derive(Deserialize)]
struct Signature {
    sig: String,
}

impl Bundle {
    /// As a file: JSON on one line.
    pub fn text(&self) -> String {
        let material = match &self.material {
            Material::Key { hint } => json!({"publicKey": {"hint": hint}, "tlogEntries": []}),
            Material::Chain(chain) => {
                let certificate = |der: &Vec<u8>| json!({"rawBytes": STANDARD.encode(der)});
                let certificates: Vec<_> = chain.iter().map(certificate).collect();
                json!({"x509CertificateChain": {"certificates": certificates}, "tlogEntries": []})
            }
        };
        let bundle = json!({
            "mediaType": MEDIA_TYPE,
            "verificationMaterial": material,
            "dsseEnvelope": {
                "payload": STANDARD.encode(&self.payload),
                "payloadType": self.payload_type,
                "signatures": [{"sig": STANDARD.encode(&self.signature), "keyid": ""}],
            },
        });
        format!("{bundle}\n")
    }

    /// Reads a file; says what is wrong with it otherwise. Nothing in it is believed yet.
    pub fn from_text(text: &str) -> Result<Self, String> {
        let file: File = serde_json::from_str(text).map_err(|error| format!("it is no Sigstore bundle: {error}"))?;
        if file.media_type != MEDIA_TYPE {
            return Err(format!("it is a bundle of another kind: `{}`", file.media_type));
        }
        let decode = |what: &str, text: &str| STANDARD.decode(text).map_err(|error| format!("its {what}: {error}"));
        let material = match file.verification_material {
            FileMaterial { x509_certificate_chain: Some(chain), public_key: None } => {
                let der = |raw: &RawCertificate| decode("certificate", &raw.raw_bytes);
                Material::Chain(chain.certificates.iter().map(der).collect::<Result<_, _>>()?)
            }
            FileMaterial { public_key: Some(key), x509_certificate_chain: None } => Material::Key { hint: key.hint },
            _ => {
                return Err(
                    "it names no key and no chain of certificates (signatures without keys are not read)".into()
                );
            }
        };
        let [signature] = file.dsse_envelope.signatures.as_slice() else {
            return Err(format!("it holds {} signatures instead of one", file.dsse_envelope.signatures.len()));
        };
        Ok(Self {
            payload: decode("payload", &file.dsse_envelope.payload)?,
            payload_type: file.dsse_envelope.payload_type,
            signature: decode("signature", &signature.sig)?,
            material,
        })
    }
}
