//! Who is who on the network: certificates of one authority, each for one node, shown by both sides.
//!
//! A certificate is for the node whose name it holds as the URI `provost:NAME`. The side that connects knows whom it wants
//! and checks that here; the side that answers compares the name with the hello that follows.

mod stream;

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error,
    OtherError, RootCertStore, ServerConfig, ServerConnection, SignatureScheme,
};
use tokio::net::TcpStream;

use super::error::ConnectError;
use super::network::{NetworkError, Tls};
pub(super) use stream::TlsStream;

/// What a certificate calls the node `engine`: `provost:engine`.
pub(crate) const SCHEME: &str = "provost:";

/// This node's certificate, and what it takes from others.
#[derive(Debug)]
pub(super) struct Badge {
    certificate: PathBuf,
    authority: PathBuf,
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
    own: Arc<SingleCertAndKey>,
    answering: Arc<ServerConfig>,
}

impl Badge {
    /// Reads the files of the node `name`, and checks that its peers will take what they say.
    pub(super) fn load(tls: &Tls, name: &str) -> Result<Badge, NetworkError> {
        let (certificate, key, authority) = match tls {
            Tls::Files { certificate, key, authority } => {
                (certificate.clone(), key.clone(), authority.clone())
            }
            Tls::Folder(folder) => (
                folder.join(format!("{name}.pem")),
                folder.join(format!("{name}.key")),
                folder.join("authority.pem"),
            ),
        };
        let provider = Arc::new(ring::default_provider());
        let mut roots = RootCertStore::empty();
        for root in certificates(&authority)? {
            roots.add(root).map_err(|error| unusable(&authority, error))?;
        }
        let roots = Arc::new(roots);
        let chain = certificates(&certificate)?;
        let callers = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider));
        let callers = callers.build().map_err(|error| unusable(&authority, error))?;
        let own_names = names(&chain[0]);
        if !own_names.iter().any(|own| own == name) {
            return Err(unusable(&certificate, WrongNode { names: own_names, wanted: name.to_owned() }));
        }
        callers
            .verify_client_cert(&chain[0], &chain[1..], UnixTime::now())
            .map_err(|error| unusable(&certificate, describe(&error, &authority)))?;
        let secret = secret(&key)?;
        let own = CertifiedKey::from_der(chain, secret, &provider).map_err(|error| match error {
            Error::InconsistentKeys(_) => {
                unusable(&key, format!("it is not the key of {}", certificate.display()))
            }
            error => unusable(&key, error),
        })?;
        let own = Arc::new(SingleCertAndKey::from(own));
        let mut answering = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| unusable(&certificate, error))?
            .with_client_cert_verifier(callers)
            .with_cert_resolver(Arc::clone(&own) as _);
        // Each connection is checked anew.
        answering.send_tls13_tickets = 0;
        Ok(Badge { certificate, authority, roots, provider, own, answering: Arc::new(answering) })
    }

    /// Makes sure that the other end of a fresh connection to `place` is the node `node`.
    pub(super) async fn greet(
        &self,
        stream: TcpStream,
        place: &str,
        node: &str,
    ) -> Result<Rc<TlsStream>, ConnectError> {
        let peer = stream.peer_addr().map_err(|error| self.explain(place, &error))?;
        let session = self.calling(node).and_then(|config| {
            ClientConnection::new(Arc::new(config), ServerName::IpAddress(peer.ip().into()))
        });
        let session = session.map_err(|error| self.explain(place, &io::Error::other(error)))?;
        let stream = Rc::new(TlsStream::new(stream, session.into()));
        stream.shake_hands().await.map_err(|error| self.explain(place, &error))?;
        Ok(stream)
    }

    fn calling(&self, node: &str) -> Result<ClientConfig, Error> {
        let expecting = Expecting {
            node: node.to_owned(),
            roots: Arc::clone(&self.roots),
            algorithms: self.provider.signature_verification_algorithms,
        };
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(expecting))
            .with_client_cert_resolver(Arc::clone(&self.own) as _);
        config.resumption = Resumption::disabled();
        Ok(config)
    }

    /// Hears who has connected. The names are those of the nodes that the peer's certificate is for.
    pub(super) async fn admit(&self, stream: TcpStream) -> io::Result<(Rc<TlsStream>, Vec<String>)> {
        let session = ServerConnection::new(Arc::clone(&self.answering)).map_err(io::Error::other)?;
        let stream = Rc::new(TlsStream::new(stream, session.into()));
        stream.shake_hands().await?;
        let names = stream.certificate().map(|certificate| names(&certificate));
        Ok((stream, names.unwrap_or_default()))
    }

    /// Why there is no connection to `place`.
    pub(super) fn explain(&self, place: &str, error: &io::Error) -> ConnectError {
        let path = PathBuf::from(format!("tcp:{place}"));
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(error @ Error::InvalidCertificate(_)) => {
                ConnectError::Certificate { path, why: describe(error, &self.authority) }
            }
            Some(error @ Error::AlertReceived(alert)) if concerns_certificate(*alert) => {
                let certificate = self.certificate.clone();
                ConnectError::CertificateRefused { path, certificate, why: describe(error, &self.authority) }
            }
            Some(error) => ConnectError::Failed { path, why: describe(error, &self.authority) },
            None => ConnectError::Failed { path, why: error.to_string() },
        }
    }

    /// Why a connection was not let in.
    pub(super) fn told(&self, error: &io::Error) -> String {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(error @ Error::InvalidCertificate(_)) => {
                format!("its certificate is not accepted: {}", describe(error, &self.authority))
            }
            Some(error @ Error::AlertReceived(alert)) if concerns_certificate(*alert) => format!(
                "it does not accept this node's certificate {}: {}",
                self.certificate.display(),
                describe(error, &self.authority)
            ),
            Some(error) => describe(error, &self.authority),
            None => error.to_string(),
        }
    }
}

fn unusable(file: &Path, why: impl ToString) -> NetworkError {
    NetworkError::File { file: file.to_owned(), why: why.to_string() }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, NetworkError> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(chain) if chain.is_empty() => Err(unusable(file, "there is no certificate in it")),
        Ok(chain) => Ok(chain),
        Err(rustls::pki_types::pem::Error::Io(error)) => Err(unusable(file, error)),
        Err(error) => Err(unusable(file, error)),
    }
}

/// The key, which nobody but its owner and his group may be able to read.
fn secret(file: &Path) -> Result<PrivateKeyDer<'static>, NetworkError> {
    let mode = fs::metadata(file).map_err(|error| unusable(file, error))?.permissions().mode();
    if mode & 0o007 != 0 {
        return Err(unusable(file, format!("everybody may use it (mode {:o}); chmod 600 it", mode & 0o777)));
    }
    PrivateKeyDer::from_pem_file(file).map_err(|error| match error {
        rustls::pki_types::pem::Error::Io(error) => unusable(file, error),
        rustls::pki_types::pem::Error::NoItemsFound => unusable(file, "there is no key in it"),
        error => unusable(file, error),
    })
}

/// The nodes that a certificate is for.
fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok(parsed) = webpki::EndEntityCert::try_from(certificate) else { return Vec::new() };
    parsed.valid_uri_names().filter_map(|name| name.strip_prefix(SCHEME)).map(str::to_owned).collect()
}

/// A good certificate of another node.
#[derive(Clone, Debug, thiserror::Error)]
#[error("it is for {}, not for {SCHEME}{wanted}", listed(.names))]
struct WrongNode {
    names: Vec<String>,
    wanted: String,
}

/// Names as a certificate has them.
pub(super) fn listed(names: &[String]) -> String {
    if names.is_empty() {
        return "no node".to_owned();
    }
    let names: Vec<String> = names.iter().map(|name| format!("{SCHEME}{}", name.escape_default())).collect();
    names.join(" and ")
}

fn concerns_certificate(alert: AlertDescription) -> bool {
    use AlertDescription as Alert;
    matches!(
        alert,
        Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::DecryptError
            | Alert::CertificateRequired
    )
}

/// What is wrong, of a certificate: "it ...".
fn describe(error: &Error, authority: &Path) -> String {
    use CertificateError as Fault;
    match error {
        Error::InvalidCertificate(fault) => match fault {
            Fault::UnknownIssuer | Fault::BadSignature => {
                format!("it was not issued by the authority of {}", authority.display())
            }
            Fault::Expired | Fault::ExpiredContext { .. } => "it has expired".to_owned(),
            Fault::NotValidYet | Fault::NotValidYetContext { .. } => {
                "it is not valid yet; compare the clocks of both machines".to_owned()
            }
            Fault::Other(OtherError(other)) => other.to_string(),
            fault => fault.to_string(),
        },
        Error::AlertReceived(AlertDescription::UnknownCA | AlertDescription::DecryptError) => {
            "it was issued by another authority than that node's".to_owned()
        }
        Error::AlertReceived(AlertDescription::CertificateExpired) => "it has expired".to_owned(),
        Error::AlertReceived(AlertDescription::CertificateUnknown) => {
            "it is for another node than was expected".to_owned()
        }
        Error::AlertReceived(AlertDescription::CertificateRequired) => "none was shown".to_owned(),
        Error::InvalidMessage(_) => "the other side does not speak TLS".to_owned(),
        error => error.to_string(),
    }
}

/// Takes certificates of one authority for one node.
#[derive(Debug)]
struct Expecting {
    node: String,
    roots: Arc<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Expecting {
    /// The name that is checked is that of the node. That of the machine says nothing about who answers there.
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        _machine: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let parsed = ParsedCertificate::try_from(certificate)?;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, chain, now, self.algorithms.all)?;
        let names = names(certificate);
        if names.contains(&self.node) {
            return Ok(ServerCertVerified::assertion());
        }
        let wrong = WrongNode { names, wanted: self.node.clone() };
        Err(CertificateError::Other(OtherError(Arc::new(wrong))).into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};

    use super::*;

    /// A folder with an authority's certificate in it.
    struct Made {
        dir: tempfile::TempDir,
        issuer: Issuer<'static, KeyPair>,
    }

    impl Made {
        fn new() -> Made {
            let dir = tempfile::tempdir().unwrap();
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, "test authority");
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
            let certificate = params.self_signed(&key).unwrap();
            fs::write(dir.path().join("authority.pem"), certificate.pem()).unwrap();
            Made { dir, issuer: Issuer::new(params, key) }
        }

        /// Writes what a node called `node` needs, and returns what is said of it.
        fn load(&self, change: impl FnOnce(&mut CertificateParams)) -> Result<Badge, String> {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::default();
            params.subject_alt_names = vec![SanType::URI("provost:node".try_into().unwrap())];
            change(&mut params);
            let certificate = params.signed_by(&key, &self.issuer).unwrap();
            self.write("node.pem", &certificate.pem());
            self.write("node.key", &key.serialize_pem());
            self.again()
        }

        fn write(&self, file: &str, text: &str) {
            let file = self.dir.path().join(file);
            fs::write(&file, text).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        }

        fn again(&self) -> Result<Badge, String> {
            let folder = format!("{}/", self.dir.path().display());
            Badge::load(&Tls::Folder(self.dir.path().to_owned()), "node")
                .map_err(|error| error.to_string().replace(&folder, ""))
        }
    }

    #[test]
    fn what_peers_would_refuse_is_told_at_the_start() {
        let made = Made::new();
        made.load(|_| {}).unwrap();
        let day = Duration::from_secs(86400);
        let now = rcgen::date_time_ymd(1970, 1, 1)
            + std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let told = |loaded: Result<Badge, String>| loaded.unwrap_err();
        let expired = told(made.load(|params| params.not_after = now - day));
        assert_eq!(expired, "node.pem cannot be used: it has expired");
        let early = told(made.load(|params| params.not_before = now + day));
        assert_eq!(
            early,
            "node.pem cannot be used: it is not valid yet; compare the clocks of both machines"
        );
        let nobody = told(made.load(|params| params.subject_alt_names.clear()));
        assert_eq!(nobody, "node.pem cannot be used: it is for no node, not for provost:node");
        let strange = Made::new();
        made.load(|_| {}).unwrap();
        fs::copy(strange.dir.path().join("authority.pem"), made.dir.path().join("authority.pem")).unwrap();
        assert_eq!(
            told(made.again()),
            "node.pem cannot be used: it was not issued by the authority of authority.pem"
        );
    }

    #[test]
    fn files_that_do_not_go_together_are_told() {
        let made = Made::new();
        made.load(|_| {}).unwrap();
        let told = |made: &Made| made.again().unwrap_err();
        let key = made.dir.path().join("node.key");
        made.write("node.key", &KeyPair::generate().unwrap().serialize_pem());
        assert!(told(&made).starts_with("node.key cannot be used: it is not the key of "), "{}", told(&made));
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(told(&made), "node.key cannot be used: everybody may use it (mode 644); chmod 600 it");
        made.write("node.key", "nothing");
        assert_eq!(told(&made), "node.key cannot be used: there is no key in it");
        fs::remove_file(&key).unwrap();
        assert!(told(&made).starts_with("node.key cannot be used: No such file"), "{}", told(&made));
        made.write("node.pem", "");
        assert_eq!(told(&made), "node.pem cannot be used: there is no certificate in it");
    }
}
