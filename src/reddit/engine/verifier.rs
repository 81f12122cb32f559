//! Whether signatures fit, found out beside the engine's one thread.
//!
//! Verifying a signature takes as long as answering ten requests, so a signed post waits here while one thread of its own
//! does the arithmetic, and comes to a later turn. The thread is started for the first of them.

use std::collections::VecDeque;
use std::sync::mpsc as blocking;
use std::{io, thread};

use tokio::sync::mpsc;

use crate::reddit::model::Claim;

/// What may wait at once; more is refused. The last of so many waits a tenth of a second.
const WAITING: usize = 1024;

/// What waits for its verdict, and the thread that gives it.
#[derive(Debug)]
pub(super) struct Verifier<T> {
    thread: Option<Thread>,
    /// In the order of their claims, which is that of the verdicts.
    waiting: VecDeque<T>,
    /// Verdicts that have come.
    come: Vec<bool>,
}

#[derive(Debug)]
struct Thread {
    claims: blocking::Sender<Claim>,
    verdicts: mpsc::UnboundedReceiver<bool>,
}

impl<T> Verifier<T> {
    pub(super) fn new() -> Verifier<T> {
        Verifier { thread: None, waiting: VecDeque::new(), come: Vec::new() }
    }

    /// Has a claim verified while `what` waits for it.
    ///
    /// # Errors
    /// Too much waits, or there is no thread; `what` comes back.
    pub(super) fn put(&mut self, claim: Claim, what: T) -> Result<(), T> {
        if self.waiting.len() == WAITING {
            return Err(what);
        }
        let thread = match self.thread.take().map_or_else(Thread::start, Ok) {
            Ok(thread) => self.thread.insert(thread),
            Err(error) => {
                tracing::error!("no signature can be verified: {error}");
                return Err(what);
            }
        };
        thread.claims.send(claim).expect("it ends when this does");
        self.waiting.push_back(what);
        Ok(())
    }

    /// Waits until there is a verdict, if need be for ever. Safe to cancel.
    pub(super) async fn ready(&mut self) {
        match &mut self.thread {
            Some(thread) if self.come.is_empty() => {
                let verdict = thread.verdicts.recv().await;
                self.come.push(verdict.expect("it ends when this does"));
            }
            Some(_) => {}
            None => std::future::pending().await,
        }
    }

    /// Everything that has its verdict, with that.
    pub(super) fn judged(&mut self) -> impl Iterator<Item = (T, bool)> + '_ {
        if let Some(thread) = &mut self.thread {
            self.come.extend(std::iter::from_fn(|| thread.verdicts.try_recv().ok()));
        }
        let judged = self.come.len();
        self.waiting.drain(..judged).zip(self.come.drain(..))
    }
}

impl Thread {
    fn start() -> io::Result<Thread> {
        let (claims, claimed) = blocking::channel::<Claim>();
        let (tell, verdicts) = mpsc::unbounded_channel();
        thread::Builder::new().name("verifier".to_owned()).spawn(move || {
            for claim in claimed {
                if tell.send(claim.holds()).is_err() {
                    return;
                }
            }
        })?;
        Ok(Thread { claims, verdicts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reddit::Signer;
    use crate::reddit::model::{Command, Decision, Model, Secret, SubredditId, UserId};

    /// A claim that holds, and as many as wanted that do not.
    fn claim(holds: bool) -> Claim {
        let (signer, _) = Signer::generate().unwrap();
        let mut model = Model::default();
        let key = Some(Box::new(signer.public_key()));
        let creator = UserId(1);
        for command in [
            Command::Register { name: "ada".into(), secret: Secret([0; 16]), key },
            Command::CreateSubreddit { creator, name: "rust".into(), description: "".into() },
        ] {
            let Ok(Decision::Apply(record)) = model.decide(command, 1) else { panic!("refused") };
            model.apply(record);
        }
        let (author, subreddit, title, body) = ("ada", "rust", "title", "");
        let signed = crate::reddit::model::Signed { author, subreddit, title, body, signed_at_ms: 1 };
        let signature = signer.sign(&signed).unwrap();
        let title = if holds { title } else { "another" };
        model.claim((creator, SubredditId(1)), (title, body), &signature).unwrap()
    }

    #[tokio::test]
    async fn each_gets_its_own_verdict_in_the_order_of_the_claims() {
        let mut verifier = Verifier::new();
        let fits = [true, false, false, true];
        for (number, holds) in fits.into_iter().enumerate() {
            verifier.put(claim(holds), number).unwrap();
        }
        let mut judged = Vec::new();
        while judged.len() < fits.len() {
            verifier.ready().await;
            judged.extend(verifier.judged());
        }
        assert_eq!(judged, fits.into_iter().enumerate().collect::<Vec<_>>());
        assert_eq!(verifier.judged().count(), 0);
    }

    #[test]
    fn what_is_too_much_comes_back() {
        let mut verifier = Verifier::new();
        verifier.waiting.extend(0..WAITING);
        assert_eq!(verifier.put(claim(true), 7), Err(7));
    }
}
