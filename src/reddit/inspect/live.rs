//! An engine that runs, asked what it is.

use std::time::Duration;

use super::CheckError;
use crate::node::{Listen, Options, blocking};
use crate::reddit::Whereabouts;
use crate::reddit::model::check::{Examination, Violation};
use crate::reddit::protocol::{Actor, Answer, EngineRequest, Envelope, Reply, Request};
use crate::reddit::store::Contents;

/// How long a large engine may take to look at itself.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn examine(engine: &Whereabouts) -> Result<Examination, CheckError> {
    let failed = |error: &dyn std::error::Error| CheckError::Engine(error.to_string());
    let options = Options { listen: Listen::Nowhere, ..engine.options() };
    let name = format!("check-{}", std::process::id());
    let node = blocking::Node::start_with(&name, options).map_err(|error| failed(&error))?;
    node.connect(engine.node()).map_err(|error| failed(&error))?;
    let request: Envelope = Request::Engine(EngineRequest::Examine).into();
    let answer: Answer =
        node.call(Actor::Engine.name(), request, PATIENCE).map_err(|error| failed(&error))?;
    match answer {
        Ok(Reply::Examined(examined)) => Ok(examined),
        Ok(_) => Err(CheckError::Engine("it gave another answer".to_owned())),
        Err(error) => Err(failed(&error)),
    }
}

/// The moment at which the engine looked must be one that its store has.
pub(super) fn must_be_of(
    engine: &Examination,
    contents: &Contents,
    compared: bool,
) -> Result<(), CheckError> {
    let (position, next) = (engine.position, contents.next);
    match compared {
        true => Ok(()),
        false if position > next => {
            let example = format!("the engine keeps {position} records, its store holds {next}");
            Err(Violation { invariant: "I16", example }.into())
        }
        // A snapshot was made between the two looks.
        false => Err(CheckError::Engine(format!(
            "since it looked at itself after {position} records, a snapshot of its store took their place; try again"
        ))),
    }
}
