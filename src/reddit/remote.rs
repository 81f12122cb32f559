//! The engine as other processes have it: the names of its actors, each good for calls until that engine ends.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;

use super::protocol::{Actor, Answer, Envelope};
use crate::node::{Address, CallError, ConnectError, Identity, Node, Reason};

/// One life of the engine. What comes after it is another one: it knows no session of this one.
#[derive(Debug)]
pub struct Remote {
    node: Node,
    engine: Identity,
    /// By the number of the actor.
    actors: [Address; Actor::ALL.len()],
    end: Rc<End>,
}

#[derive(Debug, Default)]
struct End {
    reason: Cell<Option<Reason>>,
    news: Notify,
}

impl Remote {
    /// Connects `node` to the engine called `engine` and looks up its actors, at most for `patience`. Inside a
    /// [`LocalSet`](tokio::task::LocalSet).
    ///
    /// # Errors
    /// [`ConnectError`], which also tells whether trying again is of use.
    pub async fn find(node: &Node, engine: &str, patience: Duration) -> Result<Remote, ConnectError> {
        let identity = node.connect(engine).await?;
        let mut actors = Vec::new();
        for actor in Actor::ALL {
            let found = node.find(actor.name(), patience).await.filter(|found| *found.node() == identity);
            let missing = || ConnectError::Failed {
                path: engine.into(),
                why: format!("it has no actor called {}", actor.name()),
            };
            actors.push(found.ok_or_else(missing)?);
        }
        let actors: [Address; Actor::ALL.len()] = actors.try_into().expect("one for each");
        let end = Rc::new(End::default());
        let (told, monitor) = (Rc::clone(&end), node.monitor(&actors[Actor::Engine as usize]));
        tokio::task::spawn_local(async move {
            told.reason.set(Some(monitor.await.reason));
            told.news.notify_waiters();
        });
        Ok(Remote { node: node.clone(), engine: identity, actors, end })
    }

    /// Which life of which process it is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.engine
    }

    /// How it ended, if it did.
    #[must_use]
    pub fn lost(&self) -> Option<Reason> {
        self.end.reason.get()
    }

    /// Waits until it has ended. Safe to cancel.
    pub async fn ended(&self) -> Reason {
        loop {
            // One thread: nothing can come between the look and the wait.
            match self.lost() {
                Some(reason) => return reason,
                None => self.end.news.notified().await,
            }
        }
    }

    /// Asks the actor whom the request is for, and waits for its answer at most `timeout`.
    ///
    /// # Errors
    /// [`CallError`]. All calls fail at once when the engine ends; whether they were carried out is unknown.
    pub async fn call(&self, request: &Envelope, timeout: Duration) -> Result<Answer, CallError> {
        let actor = &self.actors[request.request.actor() as usize];
        self.node.call(actor, request, timeout).await
    }
}
