//! `provost certs`: an authority for one project, and certificates that it issues for nodes.
//!
//! Whoever has `authority.key` can be any node. Nothing else is secret but each node's own key, and nothing has to be looked
//! up anywhere: the name of the authority is made of its public key, so two authorities never look alike.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateRevocationListParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams,
    SanType, SerialNumber,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use webpki::{BorrowedCertRevocationList, EndEntityCert};

use super::args::{CertsVerb, InitArgs, IssueArgs, RevokeArgs};
use super::{Exit, tell};
use crate::node::{CERTIFICATE_SCHEME, Identity, TLS_DIR};
use crate::os::trust;

/// The name of the authority's two files, which no node may have.
const AUTHORITY: &str = "authority";

/// Clocks of two machines may differ by this much.
const CLOCKS: Duration = Duration::from_secs(24 * 60 * 60);

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("cannot {what} {file}: {error}")]
    File { what: &'static str, file: PathBuf, error: io::Error },
    #[error("{0} exists, and is never overwritten; nothing was written. To make a new one, remove it first")]
    Exists(PathBuf),
    #[error("keys are not kept in {folder}: {why}")]
    Untrusted { folder: PathBuf, why: io::Error },
    #[error("there is no authority in {}; make one with: provost certs init --dir {}", .0.display(), .0.display())]
    NoAuthority(PathBuf),
    #[error("{file} cannot be used: {why}")]
    Unreadable { file: PathBuf, why: String },
    #[error("{0} can be used by others; chmod 600 it")]
    Exposed(PathBuf),
    #[error("{0} holds no key that can be used: {1}")]
    Key(PathBuf, rcgen::Error),
    #[error("{name}: {why}")]
    Name { name: String, why: String },
    #[error("the certificate cannot be made: {0}")]
    Made(#[from] rcgen::Error),
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
}

pub(super) fn run(verb: &CertsVerb) -> Exit {
    let mut told = String::new();
    let done = match verb {
        CertsVerb::Init(args) => init(args, &mut told),
        CertsVerb::Issue(args) => issue(args, &mut told),
        CertsVerb::Revoke(args) => revoke(args, &mut told),
    };
    // What was made before something failed is told too.
    match super::print(&told).map_err(Failure::Output).and(done) {
        Ok(()) => Exit::Ok,
        Err(failure @ Failure::Name { .. }) => tell(&failure, Exit::Usage),
        Err(failure) => tell(&failure, Exit::Failed),
    }
}

fn init(args: &InitArgs, told: &mut String) -> Result<(), Failure> {
    make(&args.dir)?;
    trusted(&args.dir)?;
    check(&args.dir, &[AUTHORITY])?;
    let key = KeyPair::generate()?;
    let mut params = authority(&key)?;
    limit(&mut params, args.days);
    write(&args.dir, AUTHORITY, &key, &params.self_signed(&key)?, told)?;
    let dir = args.dir.display();
    told.push_str(&format!("now: provost certs issue --dir {dir} NAME..., once for each node\n"));
    Ok(())
}

fn issue(args: &IssueArgs, told: &mut String) -> Result<(), Failure> {
    let hosts: Vec<SanType> = args.hosts.iter().map(|host| host_name(host)).collect::<Result<_, _>>()?;
    for name in &args.names {
        let refused = |why: &dyn ToString| Failure::Name { name: name.clone(), why: why.to_string() };
        Identity::check_name(name).map_err(|error| refused(&error))?;
        if name == AUTHORITY {
            return Err(refused(&"the files of that name are the authority's"));
        }
    }
    trusted(&args.dir)?;
    let issuer = read_authority(&args.dir)?;
    check(&args.dir, &args.names)?;
    for name in &args.names {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = called(name);
        params.subject_alt_names = vec![SanType::URI(format!("{CERTIFICATE_SCHEME}{name}").try_into()?)];
        params.subject_alt_names.extend(hosts.iter().cloned());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        limit(&mut params, args.days);
        write(&args.dir, name, &key, &params.signed_by(&key, &issuer)?, told)?;
    }
    let dir = fs::canonicalize(&args.dir).unwrap_or_else(|_| args.dir.clone());
    told.push_str(&format!(
        "now: on each node's machine, its two files and {AUTHORITY}.pem in one folder, and {TLS_DIR}={}\n",
        dir.display()
    ));
    Ok(())
}

/// Adds certificates to the list of those that the authority revoked.
fn revoke(args: &RevokeArgs, told: &mut String) -> Result<(), Failure> {
    trusted(&args.dir)?;
    let issuer = read_authority(&args.dir)?;
    let file = args.dir.join(format!("{AUTHORITY}.crl"));
    let (mut list, number) = read_list(&file)?;
    let own = args.dir.join(format!("{AUTHORITY}.pem"));
    let subject = parsed(&own, |authority| authority.subject().to_owned())?;
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let now = epoch + SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    for named in &args.certificates {
        let certificate = match named.to_str() {
            Some(name) if Identity::check_name(name).is_ok() && !name.ends_with(".pem") => {
                args.dir.join(format!("{name}.pem"))
            }
            Some(_) | None => named.clone(),
        };
        let (issuer, serial) = parsed(&certificate, |certificate| {
            (certificate.issuer().to_owned(), SerialNumber::from_slice(certificate.serial()))
        })?;
        if issuer != subject {
            let why = format!("it was not issued by the authority of {}", args.dir.display());
            return Err(Failure::Unreadable { file: certificate, why });
        }
        if list.iter().any(|revoked| revoked.serial_number == serial) {
            told.push_str(&format!("{} was revoked before\n", certificate.display()));
            continue;
        }
        list.push(RevokedCertParams {
            serial_number: serial,
            revocation_time: now,
            reason_code: None,
            invalidity_date: None,
        });
    }
    let list = CertificateRevocationListParams {
        this_update: now,
        // Nodes take a list until there is another one.
        next_update: now + CLOCKS * 365 * 10,
        crl_number: SerialNumber::from(number + 1),
        issuing_distribution_point: None,
        revoked_certs: list,
        key_identifier_method: KeyIdMethod::Sha256,
    };
    replace(&file, &list.signed_by(&issuer)?.pem()?)?;
    told.push_str(&format!("{}\n", file.display()));
    told.push_str(&format!(
        "now: put it beside {AUTHORITY}.pem on every node's machine; nodes that run take it at once\n"
    ));
    Ok(())
}

/// What is revoked so far, and how often the list was written.
fn read_list(file: &Path) -> Result<(Vec<RevokedCertParams>, u64), Failure> {
    let pem = match trust::read(file) {
        Ok((pem, _)) => pem,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), 0)),
        Err(error) => return Err(Failure::File { what: "read", file: file.to_owned(), error }),
    };
    let unreadable = |why: &dyn ToString| Failure::Unreadable { file: file.to_owned(), why: why.to_string() };
    let list = CertificateRevocationListDer::from_pem_slice(&pem).map_err(|error| unreadable(&error))?;
    let list = BorrowedCertRevocationList::from_der(&list).map_err(|error| unreadable(&error))?;
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let mut revoked = Vec::new();
    for entry in &list {
        let entry = entry.map_err(|error| unreadable(&error))?;
        revoked.push(RevokedCertParams {
            serial_number: SerialNumber::from_slice(entry.serial_number),
            revocation_time: epoch + Duration::from_secs(entry.revocation_date.as_secs()),
            reason_code: None,
            invalidity_date: None,
        });
    }
    // It grows by at least one certificate each time.
    let number = revoked.len() as u64;
    Ok((revoked, number))
}

/// What is wanted of the certificate in a file.
fn parsed<T>(file: &Path, wanted: impl FnOnce(&EndEntityCert<'_>) -> T) -> Result<T, Failure> {
    let unreadable = |why: &dyn ToString| Failure::Unreadable { file: file.to_owned(), why: why.to_string() };
    let (pem, _) =
        trust::read(file).map_err(|error| Failure::File { what: "read", file: file.to_owned(), error })?;
    let certificate = CertificateDer::from_pem_slice(&pem).map_err(|error| unreadable(&error))?;
    let parsed = EndEntityCert::try_from(&certificate).map_err(|error| unreadable(&error))?;
    Ok(wanted(&parsed))
}

/// Puts a file in the place of another one, whole at any time.
fn replace(file: &Path, text: &str) -> Result<(), Failure> {
    let mut fresh = file.as_os_str().to_owned();
    fresh.push(format!(".{}", std::process::id()));
    let fresh = PathBuf::from(fresh);
    create(&fresh, text, 0o644)?;
    fs::rename(&fresh, file).map_err(|error| {
        let _ = fs::remove_file(&fresh);
        Failure::File { what: "write", file: file.to_owned(), error }
    })
}

/// The authority of a key, without the time for which it is valid.
fn authority(key: &KeyPair) -> Result<CertificateParams, rcgen::Error> {
    // Behind the byte that says how a point is written.
    let public = key.public_key_raw().get(1..9).unwrap_or_default();
    let public: String = public.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut params = CertificateParams::default();
    params.distinguished_name = called(&format!("provost authority {public}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn read_authority(dir: &Path) -> Result<Issuer<'static, KeyPair>, Failure> {
    let file = dir.join(format!("{AUTHORITY}.key"));
    let (pem, found) = trust::read(&file).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Failure::NoAuthority(dir.to_owned()),
        _ => Failure::File { what: "read", file: file.clone(), error },
    })?;
    if found.mode() & 0o077 != 0 {
        return Err(Failure::Exposed(file));
    }
    let key = KeyPair::from_pem(&String::from_utf8_lossy(&pem)).map_err(|error| Failure::Key(file, error))?;
    Ok(Issuer::new(authority(&key)?, key))
}

fn called(name: &str) -> DistinguishedName {
    let mut called = DistinguishedName::new();
    called.push(DnType::CommonName, name);
    called
}

fn host_name(host: &str) -> Result<SanType, Failure> {
    if let Ok(address) = host.parse() {
        return Ok(SanType::IpAddress(address));
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    let why = "is neither a host name nor an IP address".to_owned();
    let wrong = Failure::Name { name: host.to_owned(), why };
    if host.is_empty() || !host.bytes().all(allowed) {
        return Err(wrong);
    }
    host.try_into().map(SanType::DnsName).map_err(|_| wrong)
}

/// Makes it valid from now on.
fn limit(params: &mut CertificateParams, days: u32) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    params.not_before = epoch + now.saturating_sub(CLOCKS);
    params.not_after = epoch + now + Duration::from_secs(u64::from(days) * 24 * 60 * 60);
}

/// Makes the folder, for its owner alone, if it is missing.
fn make(dir: &Path) -> Result<(), Failure> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(Failure::File { what: "make", file: dir.to_owned(), error })
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Nobody else may put keys into the folder, or put another folder in its place.
fn trusted(dir: &Path) -> Result<(), Failure> {
    trust::directory(dir).map_err(|why| match why.kind() {
        io::ErrorKind::NotFound => Failure::NoAuthority(dir.to_owned()),
        _ => Failure::Untrusted { folder: dir.to_owned(), why },
    })
}

/// What is to be written must not be there.
fn check(dir: &Path, names: &[impl AsRef<str>]) -> Result<(), Failure> {
    for name in names {
        for file in files(dir, name.as_ref()) {
            if file.symlink_metadata().is_ok() {
                return Err(Failure::Exists(file));
            }
        }
    }
    Ok(())
}

/// The key of a name, and its certificate.
fn files(dir: &Path, name: &str) -> [PathBuf; 2] {
    ["key", "pem"].map(|ending| dir.join(format!("{name}.{ending}")))
}

/// Writes a key and its certificate, or neither.
fn write(
    dir: &Path,
    name: &str,
    key: &KeyPair,
    certificate: &Certificate,
    told: &mut String,
) -> Result<(), Failure> {
    let [key_file, certificate_file] = files(dir, name);
    create(&key_file, &key.serialize_pem(), 0o600)?;
    create(&certificate_file, &certificate.pem(), 0o644).inspect_err(|_| {
        // Without its certificate it is of no use, and would be in the way of the next attempt.
        let _ = fs::remove_file(&key_file);
    })?;
    told.push_str(&format!("{} (secret)\n{}\n", key_file.display(), certificate_file.display()));
    Ok(())
}

fn create(file: &Path, text: &str, mode: u32) -> Result<(), Failure> {
    let opened = OpenOptions::new().write(true).create_new(true).mode(mode).open(file);
    let written = opened.and_then(|mut opened| {
        opened.write_all(text.as_bytes())?;
        opened.sync_all()
    });
    written.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Failure::Exists(file.to_owned()),
        _ => Failure::File { what: "write", file: file.to_owned(), error },
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn issue_to(dir: &Path, names: &[&str]) -> Result<(), String> {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let args =
            IssueArgs { names, hosts: vec!["10.0.0.1".into(), "a.example".into()], dir: dir.into(), days: 1 };
        issue(&args, &mut String::new()).map_err(|failure| failure.to_string())
    }

    fn init_in(dir: &Path) -> Result<(), String> {
        init(&InitArgs { dir: dir.into(), days: 1 }, &mut String::new())
            .map_err(|failure| failure.to_string())
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn folder_and_keys_are_private_and_each_name_gets_two_files() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("certs");
        init_in(&dir).unwrap();
        issue_to(&dir, &["engine", "client@1"]).unwrap();
        assert_eq!(mode(&dir), 0o700);
        for name in [AUTHORITY, "engine", "client@1"] {
            let [key, certificate] = files(&dir, name);
            assert_eq!(mode(&key), 0o600, "{name}");
            assert!(fs::read_to_string(certificate).unwrap().starts_with("-----BEGIN CERTIFICATE-----"));
        }
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 6);
    }

    #[test]
    fn nothing_is_overwritten_and_nothing_is_half_done() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path();
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
        init_in(dir).unwrap();
        issue_to(dir, &["engine"]).unwrap();
        let read = |name: &str| files(dir, name).map(|file| fs::read_to_string(file).unwrap());
        let before = [read(AUTHORITY), read("engine")];
        for (again, file) in
            [(init_in(dir), "authority.key"), (issue_to(dir, &["new", "engine"]), "engine.key")]
        {
            let told =
                format!("{} exists, and is never overwritten; nothing was written", dir.join(file).display());
            assert!(again.as_ref().is_err_and(|error| error.starts_with(&told)), "{again:?}");
        }
        assert_eq!([read(AUTHORITY), read("engine")], before);
        assert_eq!(fs::read_dir(dir).unwrap().count(), 4);
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_to_do() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path();
        let told = issue_to(dir, &["engine"]).unwrap_err();
        assert_eq!(
            told,
            format!(
                "there is no authority in {0}; make one with: provost certs init --dir {0}",
                dir.display()
            )
        );
        init_in(dir).unwrap();
        assert_eq!(
            issue_to(dir, &[AUTHORITY]).unwrap_err(),
            "authority: the files of that name are the authority's"
        );
        assert!(issue_to(dir, &["../x"]).unwrap_err().starts_with("../x: a node's name has 1 to 64 letters"));
        fs::set_permissions(dir, fs::Permissions::from_mode(0o770)).unwrap();
        let told = issue_to(dir, &["engine"]).unwrap_err();
        assert!(told.starts_with("keys are not kept in "), "{told}");
        assert!(told.ends_with("can be written by others (mode 770): chmod go-w it"), "{told}");
        assert!(host_name("a b").is_err() && host_name("").is_err() && host_name("a.b-c").is_ok());
    }
}
