//! `provost add`.

use super::args::AddArgs;
use super::change::settle;
use super::exit::Exit;
use super::{Failure, status};
use crate::config::{self, Context};
use crate::control::{Add, Client};

pub(super) async fn run(client: &Client, args: AddArgs) -> Result<Exit, Failure> {
    let AddArgs { child, child_option, parent, name, args, output, .. } = args;
    let add = match child.or(child_option) {
        Some(file) => {
            let text = config::read_addition(&file, &Context::of_process()).map_err(Failure::BadFile)?;
            Add::Child { parent, file: file.display().to_string(), text }
        }
        None => Add::Instance { parent, name, args },
    };
    settle(client.add(add).await, output.format(), |status| status::line(&status.child))
}
