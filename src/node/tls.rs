//! Who is who on the network: certificates of one authority, each for one node, shown by both sides.
//!
//! A certificate is for the node whose name it holds as the URI `provost:NAME`. The side that connects knows whom it wants
//! and checks that here; the side that answers compares the name with the hello that follows. The files are looked at before
//! each handshake and once a second: a renewed certificate is shown from then on, and a session ends whose certificate is
//! not accepted any more.

mod authority;
mod papers;
mod stream;

use std::cell::{Cell, RefCell};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::TLS13;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, ClientConnection, Error, OtherError, ServerConnection,
};
use tokio::net::TcpStream;

use super::error::ConnectError;
use super::network::{NetworkError, Tls};
pub(super) use authority::Shown;
use authority::Verifier;
use papers::{Files, Look, Papers};
pub(super) use stream::TlsStream;

/// How often the files are looked at for the sake of sessions that are open.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What a certificate calls the node `engine`: `provost:engine`.
pub(crate) const SCHEME: &str = "provost:";

/// This node's certificate, and what it takes from others.
#[derive(Debug)]
pub(super) struct Badge {
    name: String,
    files: Files,
    provider: Arc<CryptoProvider>,
    papers: RefCell<Rc<Papers>>,
    look: Cell<Look>,
    /// What was wrong with the files when they were read last.
    told: RefCell<Option<String>>,
    /// How often the papers have changed.
    edition: Cell<u64>,
}

impl Badge {
    /// Reads the files of the node `name`, and checks that its peers will take what they say.
    pub(super) fn load(tls: &Tls, name: &str) -> Result<Badge, NetworkError> {
        let (files, provider) = (Files::of(tls, name), Arc::new(ring::default_provider()));
        let look = Cell::new(files.look());
        let papers = RefCell::new(Rc::new(Papers::read(&files, name, &provider)?));
        Ok(Badge {
            name: name.to_owned(),
            files,
            provider,
            papers,
            look,
            told: RefCell::default(),
            edition: Cell::new(0),
        })
    }

    /// What the files say now, or said when they could last be used.
    fn papers(&self) -> Rc<Papers> {
        let look = self.files.look();
        if self.look.replace(look) != look {
            let again = self.papers.borrow().again(&self.files, &self.name, &self.provider);
            let left = match again {
                Ok((papers, left)) => {
                    *self.papers.borrow_mut() = Rc::new(papers);
                    self.edition.set(self.edition.get() + 1);
                    tracing::info!("the files beside {} were read again", self.files.authority.display());
                    left
                }
                Err(error) => {
                    // Perhaps it is being written, or no descriptor was left.
                    self.look.set(Look::default());
                    Some(error)
                }
            };
            let left = left.map(|error| error.to_string());
            if let Some(error) = left.as_ref().filter(|_| *self.told.borrow() != left) {
                tracing::warn!("{error}; what it said before still counts");
            }
            self.told.replace(left);
        }
        Rc::clone(&self.papers.borrow())
    }

    /// Whether the certificate that was shown over a connection is still accepted. Looks at the files.
    pub(super) fn still_accepts(&self, stream: &TlsStream, shown: Shown) -> bool {
        let papers = self.papers();
        if stream.edition.replace(self.edition.get()) == self.edition.get() {
            return true;
        }
        let chain = stream.certificates();
        let Some((certificate, others)) = chain.split_first() else { return false };
        papers.authority.check(certificate, others, shown, UnixTime::now()).is_ok()
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
        let stream = Rc::new(TlsStream::new(stream, session.into(), self.edition.get()));
        stream.shake_hands().await.map_err(|error| self.explain(place, &error))?;
        Ok(stream)
    }

    fn calling(&self, node: &str) -> Result<ClientConfig, Error> {
        let papers = self.papers();
        let verifier = Verifier { authority: Arc::clone(&papers.authority), wanted: Some(node.to_owned()) };
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::clone(&papers.own) as _);
        config.resumption = Resumption::disabled();
        Ok(config)
    }

    /// Hears who has connected. The names are those of the nodes that the peer's certificate is for.
    pub(super) async fn admit(&self, stream: TcpStream) -> io::Result<(Rc<TlsStream>, Vec<String>)> {
        let answering = Arc::clone(&self.papers().answering);
        let session = ServerConnection::new(answering).map_err(io::Error::other)?;
        let stream = Rc::new(TlsStream::new(stream, session.into(), self.edition.get()));
        stream.shake_hands().await?;
        let names = stream.certificates().first().map(names);
        Ok((stream, names.unwrap_or_default()))
    }

    /// Why there is no connection to `place`.
    pub(super) fn explain(&self, place: &str, error: &io::Error) -> ConnectError {
        let path = PathBuf::from(format!("tcp:{place}"));
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(error @ Error::InvalidCertificate(_)) => {
                ConnectError::Certificate { path, why: describe(error, &self.files.authority) }
            }
            Some(error @ Error::AlertReceived(alert)) if concerns_certificate(*alert) => {
                let certificate = self.files.certificate.clone();
                ConnectError::CertificateRefused {
                    path,
                    certificate,
                    why: describe(error, &self.files.authority),
                }
            }
            Some(error) => ConnectError::Failed { path, why: describe(error, &self.files.authority) },
            None => ConnectError::Failed { path, why: error.to_string() },
        }
    }

    /// Why a connection was not let in.
    pub(super) fn told(&self, error: &io::Error) -> String {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(error @ Error::InvalidCertificate(_)) => {
                format!("its certificate is not accepted: {}", describe(error, &self.files.authority))
            }
            Some(error @ Error::AlertReceived(alert)) if concerns_certificate(*alert) => format!(
                "it does not accept this node's certificate {}: {}",
                self.files.certificate.display(),
                describe(error, &self.files.authority)
            ),
            Some(error) => describe(error, &self.files.authority),
            None => error.to_string(),
        }
    }
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
            Fault::Revoked => "it was revoked".to_owned(),
            Fault::Other(OtherError(other)) => other.to_string(),
            fault => fault.to_string(),
        },
        Error::AlertReceived(AlertDescription::UnknownCA | AlertDescription::DecryptError) => {
            "it was issued by another authority than that node's".to_owned()
        }
        Error::AlertReceived(AlertDescription::CertificateExpired) => "it has expired".to_owned(),
        Error::AlertReceived(AlertDescription::CertificateRevoked) => "it was revoked".to_owned(),
        Error::AlertReceived(AlertDescription::CertificateUnknown) => {
            "it is for another node than was expected, or its issuer may issue none".to_owned()
        }
        Error::InvalidCertRevocationList(_) => {
            format!("it is not a list of the authority of {}", authority.display())
        }
        Error::AlertReceived(AlertDescription::CertificateRequired) => "none was shown".to_owned(),
        Error::InvalidMessage(_) => "the other side does not speak TLS".to_owned(),
        error => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};

    use super::*;

    /// A folder with an authority's certificate in it.
    struct Made {
        dir: tempfile::TempDir,
        issuer: Issuer<'static, KeyPair>,
    }

    impl Made {
        fn new() -> Made {
            Made::of(BasicConstraints::Constrained(0))
        }

        fn of(constraints: BasicConstraints) -> Made {
            let dir = tempfile::tempdir().unwrap();
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, "test authority");
            params.is_ca = IsCa::Ca(constraints);
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
    fn the_path_length_of_the_authority_is_kept() {
        for (allowed, told) in
            [(0, Some("its authority may not let another one issue certificates")), (1, None)]
        {
            let made = Made::of(BasicConstraints::Constrained(allowed));
            let between_key = KeyPair::generate().unwrap();
            let mut between = CertificateParams::default();
            between.distinguished_name.push(DnType::CommonName, "between");
            between.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
            let its_certificate = between.signed_by(&between_key, &made.issuer).unwrap();
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::default();
            params.subject_alt_names = vec![SanType::URI("provost:node".try_into().unwrap())];
            let certificate = params.signed_by(&key, &Issuer::new(between, between_key)).unwrap();
            made.write("node.pem", &(certificate.pem() + &its_certificate.pem()));
            made.write("node.key", &key.serialize_pem());
            let expected = told.map(|told| format!("node.pem cannot be used: {told}"));
            assert_eq!(made.again().err(), expected);
        }
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
