//! The files of a node's certificate, read again whenever they change.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{CertificateError, Error};
use webpki::{CertRevocationList, OwnedCertRevocationList};

use super::authority::{Authority, Shown, Verifier};
use super::{WrongNode, describe, names};
use crate::node::network::{NetworkError, Tls};
use crate::os::trust;

/// Where they are.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
    pub(super) authority: PathBuf,
    /// Beside the authority's certificate; it need not be there.
    pub(super) revoked: PathBuf,
}

/// What tells one content of the files from another.
pub(super) type Look = [Option<(u64, u64, i64, i64, u64)>; 4];

impl Files {
    /// Those of the node `name`.
    pub(super) fn of(tls: &Tls, name: &str) -> Files {
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
        Files { revoked: authority.with_extension("crl"), certificate, key, authority }
    }

    pub(super) fn look(&self) -> Look {
        [&self.certificate, &self.key, &self.authority, &self.revoked].map(|file| {
            let found = fs::metadata(file).ok()?;
            Some((found.dev(), found.ino(), found.ctime(), found.ctime_nsec(), found.size()))
        })
    }
}

/// This node's certificate, and what it takes from others, at one time.
#[derive(Debug)]
pub(super) struct Papers {
    pub(super) authority: Arc<Authority>,
    pub(super) own: Arc<SingleCertAndKey>,
    chain: Vec<CertificateDer<'static>>,
    pub(super) answering: Arc<ServerConfig>,
}

impl Papers {
    /// Reads the files of the node `name`, and checks that its peers will take what they say.
    pub(super) fn read(
        files: &Files,
        name: &str,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Papers, NetworkError> {
        let authority = authority(files, revoked(&files.revoked)?.unwrap_or_default(), provider)?;
        Papers::of(files, name, authority, provider)
    }

    /// Reads them again after a change. What cannot be used is left as it was, and told; a list of revoked certificates counts
    /// also where the node's own certificate is of no use any more.
    pub(super) fn again(
        &self,
        files: &Files,
        name: &str,
        provider: &Arc<CryptoProvider>,
    ) -> Result<(Papers, Option<NetworkError>), NetworkError> {
        let (lists, missing) = match revoked(&files.revoked)? {
            Some(lists) => (lists, None),
            None if self.authority.revoked().is_empty() => (Arc::default(), None),
            None => {
                let why = "it is gone; what it revoked stays revoked until this node ends";
                (self.authority.revoked(), Some(unusable(&files.revoked, why)))
            }
        };
        let authority = authority(files, lists, provider)?;
        let error = match Papers::of(files, name, Arc::clone(&authority), provider) {
            Ok(papers) => return Ok((papers, missing)),
            Err(error) => error,
        };
        match authority.check(&self.chain[0], &self.chain[1..], Shown::ByClient, UnixTime::now()) {
            Ok(())
            | Err(Error::InvalidCertificate(CertificateError::Revoked | CertificateError::Expired)) => {
                let own = Arc::clone(&self.own);
                Ok((Papers::with(files, authority, own, self.chain.clone(), provider)?, Some(error)))
            }
            // The authority is not that of this node's certificate, or the list not that of the authority.
            Err(_) => Err(error),
        }
    }

    fn of(
        files: &Files,
        name: &str,
        authority: Arc<Authority>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Papers, NetworkError> {
        let Files { certificate, key, authority: authority_file, revoked } = files;
        let chain = certificates(certificate)?;
        let own_names = names(&chain[0]);
        if !own_names.iter().any(|own| own == name) {
            return Err(unusable(certificate, WrongNode { names: own_names, wanted: name.to_owned() }));
        }
        authority.check(&chain[0], &chain[1..], Shown::ByClient, UnixTime::now()).map_err(|error| {
            let file =
                if matches!(error, Error::InvalidCertRevocationList(_)) { revoked } else { certificate };
            unusable(file, describe(&error, authority_file))
        })?;
        let own =
            CertifiedKey::from_der(chain.clone(), secret(key)?, provider).map_err(|error| match error {
                Error::InconsistentKeys(_) => {
                    unusable(key, format!("it is not the key of {}", certificate.display()))
                }
                error => unusable(key, error),
            })?;
        Papers::with(files, authority, Arc::new(SingleCertAndKey::from(own)), chain, provider)
    }

    fn with(
        files: &Files,
        authority: Arc<Authority>,
        own: Arc<SingleCertAndKey>,
        chain: Vec<CertificateDer<'static>>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Papers, NetworkError> {
        let callers = Verifier { authority: Arc::clone(&authority), wanted: None };
        let mut answering = ServerConfig::builder_with_provider(Arc::clone(provider))
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| unusable(&files.certificate, error))?
            .with_client_cert_verifier(Arc::new(callers))
            .with_cert_resolver(Arc::clone(&own) as _);
        // Each connection is checked anew.
        answering.send_tls13_tickets = 0;
        Ok(Papers { authority, own, chain, answering: Arc::new(answering) })
    }
}

fn authority(
    files: &Files,
    revoked: Arc<Vec<CertRevocationList<'static>>>,
    provider: &CryptoProvider,
) -> Result<Arc<Authority>, NetworkError> {
    let roots = certificates(&files.authority)?;
    let authority = Authority::new(&roots, revoked, provider.signature_verification_algorithms);
    authority.map(Arc::new).map_err(|error| {
        let list = matches!(error, Error::InvalidCertRevocationList(_));
        let file = if list { &files.revoked } else { &files.authority };
        unusable(file, describe(&error, &files.authority))
    })
}

pub(super) fn unusable(file: &Path, why: impl ToString) -> NetworkError {
    NetworkError::File { file: file.to_owned(), why: why.to_string() }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, NetworkError> {
    let (pem, _) = trust::read(file).map_err(|error| unusable(file, error))?;
    match CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>() {
        Ok(chain) if chain.is_empty() => Err(unusable(file, "there is no certificate in it")),
        Ok(chain) => Ok(chain),
        Err(error) => Err(unusable(file, error)),
    }
}

/// Lists of revoked certificates, one for each authority that has any; `None` where there is no such file.
fn revoked(file: &Path) -> Result<Option<Arc<Vec<CertRevocationList<'static>>>>, NetworkError> {
    let pem = match trust::read(file) {
        Ok((pem, _)) => pem,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unusable(file, error)),
    };
    let mut lists = Vec::new();
    for list in CertificateRevocationListDer::pem_slice_iter(&pem) {
        let list = list.map_err(|error| unusable(file, error))?;
        let list = OwnedCertRevocationList::from_der(&list).map_err(|error| unusable(file, error))?;
        lists.push(CertRevocationList::from(list));
    }
    if lists.is_empty() {
        return Err(unusable(file, "there is no list in it"));
    }
    Ok(Some(Arc::new(lists)))
}

/// The key, which nobody but its owner and his group may be able to read.
fn secret(file: &Path) -> Result<PrivateKeyDer<'static>, NetworkError> {
    let (pem, found) = trust::read(file).map_err(|error| unusable(file, error))?;
    let mode = found.mode();
    if mode & 0o007 != 0 {
        return Err(unusable(file, format!("everybody may use it (mode {:o}); chmod 600 it", mode & 0o777)));
    }
    PrivateKeyDer::from_pem_slice(&pem).map_err(|error| match error {
        rustls::pki_types::pem::Error::NoItemsFound => unusable(file, "there is no key in it"),
        error => unusable(file, error),
    })
}
