//! Staying connected.

use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use tokio::task::AbortHandle;

use super::Node;
use crate::node::backoff::Backoff;

/// A connection that lasted for so long was a good one.
const LASTED: Duration = Duration::from_secs(2);

/// Keeps a node connected to another one. Dropped, it stops trying; a connection that is there stays.
#[derive(Debug)]
pub struct Keeper(AbortHandle);

impl Drop for Keeper {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Keeper {
    pub(super) fn start(node: Node, name: &str) -> Keeper {
        let name = name.to_owned();
        Keeper(tokio::task::spawn_local(async move { keep(&node, &name).await }).abort_handle())
    }
}

async fn keep(node: &Node, name: &str) {
    let mut backoff = Backoff::default();
    let mut random = ChaCha8Rng::from_os_rng();
    let mut told = None;
    loop {
        match node.shared.link_to(name, node.shared.options.patience).await {
            Ok(link) => {
                told = None;
                let begun = Instant::now();
                let lost = link.ended().await;
                tracing::info!("{name}: {lost}; looking for it again");
                // A peer that goes as soon as it comes is not to be asked as fast as it comes back.
                if begun.elapsed() >= LASTED {
                    backoff.reset();
                }
            }
            // Told when it changes, not for every attempt.
            Err(error) if told.as_ref() != Some(&error) => {
                tracing::warn!("{name} not available: {error}; trying again until it is there");
                told = Some(error);
            }
            Err(_) => {}
        }
        tokio::time::sleep(backoff.next(&mut random)).await;
    }
}
