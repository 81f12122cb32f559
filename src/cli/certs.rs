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
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};

use super::args::{CertsVerb, InitArgs, IssueArgs};
use super::{Exit, tell};
use crate::node::{CERTIFICATE_SCHEME, Identity, TLS_DIR};

/// The name of the authority's two files, which no node may have.
const AUTHORITY: &str = "authority";

/// Clocks of two machines may differ by this much.
const CLOCKS: Duration = Duration::from_secs(24 * 60 * 60);

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("cannot {what} {file}: {error}")]
    File { what: &'static str, file: PathBuf, error: io::Error },
    #[error(
        "{0} exists, and keys are never overwritten; nothing was written. To make a new one, remove it first"
    )]
    Exists(PathBuf),
    #[error("{} can be written by others; chmod 700 it", .0.display())]
    Open(PathBuf),
    #[error("there is no authority in {}; make one with: provost certs init --dir {}", .0.display(), .0.display())]
    NoAuthority(PathBuf),
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
    let done = match verb {
        CertsVerb::Init(args) => init(args),
        CertsVerb::Issue(args) => issue(args),
    };
    match done {
        Ok(()) => Exit::Ok,
        Err(failure @ Failure::Name { .. }) => tell(&failure, Exit::Usage),
        Err(failure) => tell(&failure, Exit::Failed),
    }
}

fn init(args: &InitArgs) -> Result<(), Failure> {
    private(&args.dir)?;
    let key = KeyPair::generate()?;
    let mut params = authority(&key)?;
    limit(&mut params, args.days);
    let certificate = params.self_signed(&key)?;
    let written = write(&args.dir, AUTHORITY, &key, &certificate.pem())?;
    let dir = args.dir.display();
    super::print(&format!("{written}\nnow: provost certs issue --dir {dir} NAME..., once for each node\n"))?;
    Ok(())
}

fn issue(args: &IssueArgs) -> Result<(), Failure> {
    let hosts: Vec<SanType> = args.hosts.iter().map(|host| host_name(host)).collect::<Result<_, _>>()?;
    for name in &args.names {
        let refused = |why: &dyn ToString| Failure::Name { name: name.clone(), why: why.to_string() };
        Identity::check_name(name).map_err(|error| refused(&error))?;
        if name == AUTHORITY {
            return Err(refused(&"the files of that name are the authority's"));
        }
    }
    let issuer = read_authority(&args.dir)?;
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
        let certificate = params.signed_by(&key, &issuer)?;
        let written = write(&args.dir, name, &key, &certificate.pem())?;
        super::print(&format!("{written}\n"))?;
    }
    let files: Vec<String> = args.names.iter().map(|name| format!("{name}.pem and {name}.key")).collect();
    super::print(&format!(
        "on the node's machine: {} beside {AUTHORITY}.pem, and {TLS_DIR}={} (or where they are there)\n",
        files.join(", "),
        fs::canonicalize(&args.dir).unwrap_or_else(|_| args.dir.clone()).display()
    ))?;
    Ok(())
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
    let pem = fs::read_to_string(&file).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Failure::NoAuthority(dir.to_owned()),
        _ => Failure::File { what: "read", file: file.clone(), error },
    })?;
    let key = KeyPair::from_pem(&pem).map_err(|error| Failure::Key(file, error))?;
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

/// Makes the folder, or checks that nobody else can put keys into it.
fn private(dir: &Path) -> Result<(), Failure> {
    let failed = |error| Failure::File { what: "make", file: dir.to_owned(), error };
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(failed(error)),
        Ok(()) | Err(_) => {
            let folder = fs::metadata(dir).map_err(failed)?;
            if folder.mode() & 0o022 != 0 { Err(Failure::Open(dir.to_owned())) } else { Ok(()) }
        }
    }
}

/// Writes a key and its certificate, or neither. Returns what to tell of it.
fn write(dir: &Path, name: &str, key: &KeyPair, certificate: &str) -> Result<String, Failure> {
    let place = |ending: &str| dir.join(format!("{name}.{ending}"));
    let (key_file, certificate_file) = (place("key"), place("pem"));
    if certificate_file.exists() {
        return Err(Failure::Exists(certificate_file));
    }
    create(&key_file, &key.serialize_pem(), 0o600)?;
    create(&certificate_file, certificate, 0o644).inspect_err(|_| {
        // Without its certificate it is of no use, and would be in the way of the next attempt.
        let _ = fs::remove_file(&key_file);
    })?;
    Ok(format!("{} (secret)\n{}", key_file.display(), certificate_file.display()))
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
