//! Certificates (X.509, RFC 5280): who they name, and whether a chain of them leads to a root that is trusted.

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use tsumugi_base::Hint;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::{ExtendedKeyUsage, KeyUsage as UsageBits};

use super::key::PublicKey;

/// `id-kp-codeSigning`, 1.3.6.1.5.5.7.3.3, without tag and length.
const CODE_SIGNING: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 3];

/// Why a certificate is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// There is none in the text.
    #[error("there is no certificate in it, as PEM has them")]
    None,
    /// It cannot be read.
    #[error("the certificate cannot be read")]
    Unreadable,
    /// It is given as a root, and cannot be one.
    #[error("the root {subject} cannot be read: {reason}")]
    Root {
        /// Whom it names.
        subject: String,
        /// What is wrong.
        reason: String,
    },
    /// It is one, but does not lead to a root.
    #[error("the certificate of {subject} {reason}")]
    Refused {
        /// Whom it names.
        subject: String,
        /// What is wrong.
        reason: String,
    },
}

impl Hint for CertificateError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::None | Self::Unreadable => Some("give a PEM file with `-----BEGIN CERTIFICATE-----`".into()),
            Self::Root { .. } => Some("leave this root out, or give it as its authority publishes it".into()),
            Self::Refused { .. } => None,
        }
    }
}

/// One certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    der: CertificateDer<'static>,
    subject: String,
    public: Option<PublicKey>,
    may_sign: bool,
}

impl Certificate {
    /// Reads one.
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        let parsed = x509_cert::Certificate::from_der(der).map_err(|_| CertificateError::Unreadable)?;
        let body = parsed.tbs_certificate();
        let may_sign_by_usage =
            matches!(body.get_extension::<UsageBits>(), Ok(Some((_, usage))) if usage.digital_signature());
        let may_sign_by_purpose = matches!(body.get_extension::<ExtendedKeyUsage>(), Ok(Some((_, purposes)))
            if purposes.0.iter().any(|purpose| purpose.as_bytes() == CODE_SIGNING));
        let spki = EndEntityCert::try_from(&CertificateDer::from(der))
            .map(|certificate| certificate.subject_public_key_info().as_ref().to_vec());
        Ok(Self {
            der: CertificateDer::from(der.to_vec()),
            subject: body.subject().to_string(),
            public: spki.ok().and_then(|spki| PublicKey::from_spki(&spki).ok()),
            may_sign: may_sign_by_usage || may_sign_by_purpose,
        })
    }

    /// Its bytes.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Whom it names: `CN=Models,O=Example`.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The key that it is for; none if that is of an algorithm that is not known here.
    pub fn public(&self) -> Option<&PublicKey> {
        self.public.as_ref()
    }

    /// The key, if a chain of the others leads from this one to a root, all are valid at that time, and it may sign: its
    /// usage says `digitalSignature`, or its purposes have code signing, which they must if there are any.
    ///
    /// A root is believed for its name and key alone: neither its dates, nor its `KeyUsage` (`keyCertSign`), nor whether
    /// it is an authority at all are checked, as RFC 5280 (6.2) leaves open. Of those between, dates and `cA` are checked
    /// and their `KeyUsage` is not. A root that cannot be read is an error, and none of the others is asked.
    pub fn trusted(&self, others: &[Self], roots: &[Self], seconds: u64) -> Result<&PublicKey, CertificateError> {
        let refused = |reason: String| CertificateError::Refused { subject: self.subject.clone(), reason };
        let anchors = roots.iter().map(Self::anchor).collect::<Result<Vec<_>, _>>()?;
        let others: Vec<CertificateDer<'_>> = others.iter().map(|other| other.der.clone()).collect();
        let leaf = EndEntityCert::try_from(&self.der).map_err(|error| refused(explained(&error)))?;
        leaf.verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            &anchors,
            &others,
            UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds)),
            KeyUsage::required_if_present(CODE_SIGNING),
            None,
            None,
        )
        .map_err(|error| refused(explained(&error)))?;
        if !self.may_sign {
            return Err(refused("does not say that it may sign (`digitalSignature`, or code signing)".into()));
        }
        self.public.as_ref().ok_or_else(|| refused("is for a key that is not known here".into()))
    }

    /// As a root.
    fn anchor(&self) -> Result<TrustAnchor<'_>, CertificateError> {
        let unreadable =
            |error: webpki::Error| CertificateError::Root { subject: self.subject.clone(), reason: error.to_string() };
        anchor_from_trusted_cert(&self.der).map_err(unreadable)
    }
}

/// What webpki says, in words.
fn explained(error: &webpki::Error) -> String {
    use webpki::Error::{
        CaUsedAsEndEntity, CertExpired, CertNotValidYet, InvalidSignatureForPublicKey, RequiredEkuNotFoundContext,
        UnknownIssuer,
    };
    match error {
        CertExpired { not_after, .. } => format!("expired on {}", day(*not_after)),
        CertNotValidYet { not_before, .. } => format!("is valid only from {} on", day(*not_before)),
        UnknownIssuer => "does not lead to a root that is trusted".into(),
        CaUsedAsEndEntity => "is one of an authority, which signs certificates and nothing else".into(),
        RequiredEkuNotFoundContext(_) => "is not for signing code or models".into(),
        InvalidSignatureForPublicKey => "was not signed by its issuer".into(),
        other => format!("is not valid: {other}"),
    }
}

/// `2026-01-31`.
fn day(time: UnixTime) -> String {
    let moment = std::time::UNIX_EPOCH + std::time::Duration::from_secs(time.as_secs());
    let stamp = tsumugi_base::run_record::utc_timestamp(moment);
    stamp.split('T').next().unwrap_or_default().to_owned()
}

/// Every certificate of a PEM file, of which there is at least one.
pub fn certificates_from_pem(text: &[u8]) -> Result<Vec<Certificate>, CertificateError> {
    let mut certificates = Vec::new();
    for der in CertificateDer::pem_slice_iter(text) {
        certificates.push(Certificate::from_der(&der.map_err(|_| CertificateError::Unreadable)?)?);
    }
    if certificates.is_empty() { Err(CertificateError::None) } else { Ok(certificates) }
}

/// The same of a file of roots, each of which can be one.
pub fn roots_from_pem(text: &[u8]) -> Result<Vec<Certificate>, CertificateError> {
    let roots = certificates_from_pem(text)?;
    roots.iter().try_for_each(|root| root.anchor().map(drop))?;
    Ok(roots)
}
