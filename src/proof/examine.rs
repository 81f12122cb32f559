//! One claim after the other.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::subject::{Named, Subject, wait_for};
use super::{
    Claim, Evidence, Proof, Topic, VERSION, contrast, deaths, identity, machines, memory, sockets, terminals,
};

/// What is examined.
#[derive(Clone, Debug)]
pub struct Options {
    /// Only these claims.
    pub topics: Vec<Topic>,
    /// What is sent to those who are to die.
    pub signal: i32,
    /// How long everybody may take to have a process and a connection before it is judged that they have none.
    pub settle: Duration,
    /// Who is examined, in words.
    pub subject: String,
    /// The folder of the programs that are started for some claims.
    pub programs: PathBuf,
}

/// Examines; `tell` hears of each claim as soon as it is judged.
pub fn examine(subject: &Subject, options: &Options, mut tell: impl FnMut(&Claim)) -> Proof {
    let at = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
    let mut claims = Vec::new();
    for topic in Topic::ALL.into_iter().filter(|topic| options.topics.contains(topic)) {
        let why_not = |why: String| Evidence::Nothing { of: topic, why };
        let claim = Claim::on(evidence(subject, topic, options).unwrap_or_else(why_not));
        tell(&claim);
        claims.push(claim);
    }
    Proof {
        version: VERSION,
        subject: options.subject.clone(),
        at,
        kernel: kernel(),
        proven: claims.iter().any(|claim| claim.proven)
            && claims.iter().all(|claim| claim.proven || claim.skipped.is_some()),
        claims,
    }
}

fn evidence(subject: &Subject, topic: Topic, options: &Options) -> Result<Evidence, String> {
    Ok(match topic {
        Topic::Identity => Evidence::Identity(identity::gather(&settled(subject, options.settle)?)),
        Topic::Deaths => Evidence::Deaths(deaths::gather(subject, options.signal, options.settle)?),
        Topic::Sockets => {
            let seen = sockets::gather(&settled(subject, options.settle)?);
            Evidence::Sockets(
                seen.map_err(|error| format!("cannot read the kernel's list of sockets: {error}"))?,
            )
        }
        Topic::Memory => Evidence::Memory(Box::new(memory::gather(&settled(subject, options.settle)?))),
        Topic::Machines => machines::gather(&options.programs, !subject.is_supervised())?,
        Topic::Contrast => Evidence::Contrast(Box::new(contrast::gather(subject, options)?)),
        Topic::Terminals => {
            let one = !subject.is_supervised();
            let seen = terminals::gather(&options.programs, one)
                .map_err(|error| format!("cannot start them: {error}"))?;
            Evidence::Terminals(Box::new(seen))
        }
    })
}

/// Everybody, once all have a process and each client a connection, or after some patience as they are.
pub(super) fn settled(subject: &Subject, patience: Duration) -> Result<Vec<Named>, String> {
    let whole = || {
        let members = subject.members().ok()?;
        let seen = sockets::connections(&members).ok()?;
        let settled = seen.clients.iter().all(|(client, _)| seen.is_connected(client));
        let gone = !subject.is_supervised() && members.iter().all(|member| member.pid.is_none());
        (gone || settled && members.iter().all(|member| member.pid.is_some())).then_some(members)
    };
    match wait_for(patience, whole) {
        Some(members) => Ok(members),
        None => subject.members().map_err(|error| error.to_string()),
    }
}

fn kernel() -> String {
    nix::sys::utsname::uname().map_or_else(
        |_| "unknown".to_owned(),
        |name| format!("{} {}", name.sysname().to_string_lossy(), name.release().to_string_lossy()),
    )
}
