//! What a node takes from others: chains of certificates that lead to an authority, and are not revoked.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertRevocationListError, CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError,
    SignatureScheme,
};
use webpki::{
    CertRevocationList, EndEntityCert, KeyUsage, RevocationOptionsBuilder, UnknownStatusPolicy, VerifiedPath,
};

use super::{WrongNode, names};

/// Which side of a connection shows a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Shown {
    /// The one that connects.
    ByClient,
    /// The one that answers.
    ByServer,
}

/// Certificates of authorities, and what they revoked.
#[derive(Debug)]
pub(super) struct Authority {
    roots: Vec<TrustAnchor<'static>>,
    /// Of each root, how many authorities may stand between it and a node (RFC 5280, 4.2.1.9). `None`: any number.
    path_lengths: Vec<Option<u64>>,
    revoked: Arc<Vec<CertRevocationList<'static>>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Authority {
    pub(super) fn new(
        roots: &[CertificateDer<'static>],
        revoked: Arc<Vec<CertRevocationList<'static>>>,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Result<Authority, Error> {
        let anchor = |root: &CertificateDer<'static>| {
            Ok(webpki::anchor_from_trusted_cert(root).map_err(rejected)?.to_owned())
        };
        let anchors: Vec<TrustAnchor<'static>> = roots.iter().map(anchor).collect::<Result<_, Error>>()?;
        // One that belongs to nobody here would revoke nothing, and nobody would notice.
        let is_ours = |list: &CertRevocationList<'_>| {
            anchors.iter().any(|anchor| anchor.subject.as_ref() == list.issuer())
        };
        if !revoked.iter().all(is_ours) {
            return Err(CertRevocationListError::IssuerInvalidForCrl.into());
        }
        Ok(Authority {
            roots: anchors,
            path_lengths: roots.iter().map(|root| path_length(root)).collect(),
            revoked,
            algorithms,
        })
    }

    pub(super) fn revoked(&self) -> Arc<Vec<CertRevocationList<'static>>> {
        Arc::clone(&self.revoked)
    }

    /// Whether a certificate and those that came with it lead to a root, and nothing on the way is revoked.
    pub(super) fn check(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        shown: Shown,
        now: UnixTime,
    ) -> Result<(), Error> {
        let parsed = EndEntityCert::try_from(certificate).map_err(rejected)?;
        let usage = match shown {
            Shown::ByClient => KeyUsage::client_auth(),
            Shown::ByServer => KeyUsage::server_auth(),
        };
        let lists: Vec<&CertRevocationList<'_>> = self.revoked.iter().collect();
        // An authority without a list has revoked nothing. How old a list is does not matter: it holds until there is another.
        let revocation = RevocationOptionsBuilder::new(&lists).ok();
        let revocation =
            revocation.map(|options| options.with_status_policy(UnknownStatusPolicy::Allow).build());
        let path_allowed = |path: &VerifiedPath<'_>| self.allows(path);
        parsed
            .verify_for_usage(
                self.algorithms.all,
                &self.roots,
                others,
                now,
                usage,
                revocation,
                Some(&path_allowed),
            )
            .map(drop)
            .map_err(rejected)
    }

    /// webpki keeps the path lengths of all authorities but the root's.
    fn allows(&self, path: &VerifiedPath<'_>) -> Result<(), webpki::Error> {
        let between = path.intermediate_certificates().count() as u64;
        let root = path.anchor();
        let is_root = |anchor: &TrustAnchor<'_>| {
            anchor.subject == root.subject && anchor.subject_public_key_info == root.subject_public_key_info
        };
        let mut lengths = self
            .roots
            .iter()
            .zip(&self.path_lengths)
            .filter(|(anchor, _)| is_root(anchor))
            .map(|(_, length)| length);
        if lengths.any(|length| length.is_none_or(|most| between <= most)) {
            Ok(())
        } else {
            Err(webpki::Error::PathLenConstraintViolated)
        }
    }
}

/// A chain that an authority does not allow.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("its authority may not let another one issue certificates")]
struct PathTooLong;

fn rejected(error: webpki::Error) -> Error {
    use webpki::Error as Fault;
    match error {
        Fault::CertExpired { .. } | Fault::InvalidCertValidity => CertificateError::Expired.into(),
        Fault::CertNotValidYet { .. } => CertificateError::NotValidYet.into(),
        Fault::UnknownIssuer => CertificateError::UnknownIssuer.into(),
        Fault::InvalidSignatureForPublicKey => CertificateError::BadSignature.into(),
        Fault::CertRevoked => CertificateError::Revoked.into(),
        Fault::InvalidCrlSignatureForPublicKey => CertRevocationListError::BadSignature.into(),
        Fault::IssuerNotCrlSigner => CertRevocationListError::IssuerInvalidForCrl.into(),
        Fault::PathLenConstraintViolated => CertificateError::Other(OtherError(Arc::new(PathTooLong))).into(),
        Fault::BadDer | Fault::BadDerTime | Fault::TrailingData(_) => CertificateError::BadEncoding.into(),
        other => CertificateError::Other(OtherError(Arc::new(other))).into(),
    }
}

/// What rustls asks in a handshake.
#[derive(Debug)]
pub(super) struct Verifier {
    pub(super) authority: Arc<Authority>,
    /// Whom the side that connects wants. The other side compares the certificate with the hello that follows.
    pub(super) wanted: Option<String>,
}

impl ServerCertVerifier for Verifier {
    /// The name that is checked is that of the node. That of the machine says nothing about who answers there.
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _machine: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.authority.check(certificate, others, Shown::ByServer, now)?;
        let names = names(certificate);
        match &self.wanted {
            Some(wanted) if !names.contains(wanted) => {
                let wrong = WrongNode { names, wanted: wanted.clone() };
                Err(CertificateError::Other(OtherError(Arc::new(wrong))).into())
            }
            Some(_) | None => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.authority.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.authority.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authority.algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.authority.check(certificate, others, Shown::ByClient, now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.authority.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.authority.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authority.algorithms.supported_schemes()
    }
}

/// `id-ce-basicConstraints`, 2.5.29.19.
const BASIC_CONSTRAINTS: [u8; 3] = [0x55, 0x1d, 0x13];
const INTEGER: u8 = 0x02;
/// `extensions [3]` of a certificate.
const EXTENSIONS: u8 = 0xa3;

/// How many authorities may stand below that of a certificate, if it says so. webpki drops this of a root.
fn path_length(certificate: &[u8]) -> Option<u64> {
    let signed = elements(elements(certificate).next()?.1).next()?.1;
    let (_, extensions) = elements(signed).find(|(tag, _)| *tag == EXTENSIONS)?;
    let constraints = elements(elements(extensions).next()?.1).find_map(|(_, extension)| {
        let mut parts = elements(extension);
        let is_wanted = parts.next().is_some_and(|(_, id)| id == BASIC_CONSTRAINTS);
        parts.last().filter(|_| is_wanted)
    })?;
    let (_, most) = elements(elements(constraints.1).next()?.1).find(|(tag, _)| *tag == INTEGER)?;
    Some(most.iter().fold(0u64, |number, &digit| number.saturating_mul(256).saturating_add(digit.into())))
}

/// The elements of DER one after the other, as tag and content, until what is none.
fn elements(mut der: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let [tag, first, rest @ ..] = der else { return None };
        let digits = usize::from(first & 0x7f);
        let (length, rest) = match first {
            0..=0x7f => (digits, rest),
            _ => {
                let (length, rest) = rest.split_at_checked(digits).filter(|_| digits <= 4)?;
                (length.iter().fold(0, |length, &digit| length << 8 | usize::from(digit)), rest)
            }
        };
        let (content, rest) = rest.split_at_checked(length)?;
        der = rest;
        Some((*tag, content))
    })
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

    use super::*;

    #[test]
    fn the_path_length_of_a_root_is_read() {
        let key = KeyPair::generate().unwrap();
        let of = |is_ca| {
            let mut params = CertificateParams::default();
            params.is_ca = is_ca;
            path_length(params.self_signed(&key).unwrap().der())
        };
        assert_eq!(of(IsCa::Ca(BasicConstraints::Constrained(0))), Some(0));
        assert_eq!(of(IsCa::Ca(BasicConstraints::Constrained(200))), Some(200));
        assert_eq!(of(IsCa::Ca(BasicConstraints::Unconstrained)), None);
        assert_eq!(of(IsCa::NoCa), None);
        for junk in [&[][..], &[0x30], &[0x30, 0x84, 1], &[0x30, 0x88, 1, 1, 1, 1, 1, 1, 1, 1], &[0x30, 0x80]]
        {
            assert_eq!(path_length(junk), None);
        }
    }
}
