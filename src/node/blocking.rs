//! A node for plain programs: every call blocks until it is done.
//!
//! The node lives on a thread of its own, so it answers pings, serves its names and notices the end of its peers also
//! while the program does something else. Each call costs two hand-overs between threads more than on the node's own.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::rc::Rc;
use std::sync::mpsc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc as queue;
use tokio::task::LocalSet;

use super::error::{CallError, ConnectError};
use super::hello::Identity;
use super::local::{self, Ping, RegisterError, Registered, Service, StartError};
use super::monitor::Down;
use super::options::Options;

/// What the node's thread has and works with.
struct Home {
    node: local::Node,
    services: std::cell::RefCell<BTreeMap<String, Service>>,
}

type Job = Box<dyn FnOnce(Rc<Home>) + Send>;

/// A [`Node`](super::Node) whose calls block. It can be shared among threads; it ends when it is dropped.
#[derive(Debug)]
pub struct Node {
    // As many jobs are waiting as threads are: none of them goes on before its job is done.
    jobs: queue::UnboundedSender<Job>,
    identity: Identity,
    location: String,
}

impl Node {
    /// Starts a node called `name`; see [`Node::start`](super::Node::start).
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(name: &str) -> Result<Node, StartError> {
        Node::start_with(name, Options::default())
    }

    /// Starts a node that is set up as `options` say.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start_with(name: &str, options: Options) -> Result<Node, StartError> {
        let name = name.to_owned();
        let (tell, hear) = mpsc::channel();
        let (jobs, work) = queue::unbounded_channel();
        let thread = std::thread::Builder::new().name(format!("node {name}"));
        thread.spawn(move || live(&name, options, &tell, work)).map_err(StartError::Thread)?;
        let (identity, location) =
            hear.recv().unwrap_or_else(|_| Err(StartError::Thread(io::Error::other("it panicked"))))?;
        Ok(Node { jobs, identity, location })
    }

    /// Who this node is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Where it listens.
    #[must_use]
    pub fn location(&self) -> &str {
        &self.location
    }

    /// The nodes this one is connected to; see [`Node::nodes`](super::Node::nodes).
    #[must_use]
    pub fn nodes(&self) -> Vec<Identity> {
        self.run(|home| async move { home.node.nodes() })
    }

    /// Whether the node `name` is there; see [`Node::ping`](super::Node::ping).
    #[must_use]
    pub fn ping(&self, name: &str) -> Ping {
        let name = name.to_owned();
        self.run(move |home| async move { home.node.ping(&name).await })
    }

    /// Connects to the node `name`; see [`Node::connect`](super::Node::connect).
    ///
    /// # Errors
    /// [`ConnectError`].
    pub fn connect(&self, name: &str) -> Result<Identity, ConnectError> {
        let name = name.to_owned();
        self.run(move |home| async move { home.node.connect(&name).await })
    }

    /// Registers `name` and answers every request to it with what `handler`, on the node's thread, makes of it; see
    /// [`Node::serve`](super::Node::serve). Ends with [`unregister`](Node::unregister).
    ///
    /// # Errors
    /// [`RegisterError`].
    pub fn serve<Q, R>(
        &self,
        name: &str,
        handler: impl FnMut(Q) -> R + Send + 'static,
    ) -> Result<(), RegisterError>
    where
        Q: DeserializeOwned + 'static,
        R: Serialize + 'static,
    {
        let name = name.to_owned();
        self.run(move |home| async move {
            let service = home.node.serve(&name, handler).await?;
            home.services.borrow_mut().insert(name, service);
            Ok(())
        })
    }

    /// Gives up a name of this node and what serves it.
    pub fn unregister(&self, name: &str) {
        let name = name.to_owned();
        self.run(move |home| async move {
            home.node.unregister(&name);
            home.services.borrow_mut().remove(&name);
        });
    }

    /// The node that has a name now; see [`Node::whereis`](super::Node::whereis).
    #[must_use]
    pub fn whereis(&self, name: &str) -> Option<Identity> {
        let name = name.to_owned();
        self.run(move |home| async move { home.node.whereis(&name).map(|address| address.node().clone()) })
    }

    /// Waits until somebody has a name; see [`Node::find`](super::Node::find).
    #[must_use]
    pub fn find(&self, name: &str, patience: Duration) -> Option<Identity> {
        let name = name.to_owned();
        self.run(move |home| async move {
            home.node.find(&name, patience).await.map(|address| address.node().clone())
        })
    }

    /// Every name that this node knows; see [`Node::registered`](super::Node::registered).
    #[must_use]
    pub fn registered(&self) -> Vec<Registered> {
        self.run(|home| async move { home.node.registered() })
    }

    /// Sends a request to whoever has `name` and waits for the reply; see [`Node::call`](super::Node::call).
    ///
    /// # Errors
    /// [`CallError`].
    pub fn call<Q, R>(&self, name: &str, request: Q, timeout: Duration) -> Result<R, CallError>
    where
        Q: Serialize + Send + 'static,
        R: DeserializeOwned + Send + 'static,
    {
        let name = name.to_owned();
        self.run(move |home| async move { home.node.call(name.as_str(), &request, timeout).await })
    }

    /// As [`call`](Node::call), but the request may be sent again; see
    /// [`Node::call_idempotent`](super::Node::call_idempotent).
    ///
    /// # Errors
    /// [`CallError`].
    pub fn call_idempotent<Q, R>(&self, name: &str, request: Q, timeout: Duration) -> Result<R, CallError>
    where
        Q: Serialize + Send + 'static,
        R: DeserializeOwned + Send + 'static,
    {
        let name = name.to_owned();
        self.run(move |home| async move { home.node.call_idempotent(&name, &request, timeout).await })
    }

    /// Sends a request that wants no reply; see [`Node::cast`](super::Node::cast).
    ///
    /// # Errors
    /// [`CallError`].
    pub fn cast<Q: Serialize + Send + 'static>(&self, name: &str, request: Q) -> Result<(), CallError> {
        let name = name.to_owned();
        self.run(move |home| async move { home.node.cast(name.as_str(), &request).await })
    }

    /// Watches for the end of a node; see [`Node::monitor_node`](super::Node::monitor_node).
    #[must_use]
    pub fn monitor_node(&self, name: &str) -> Monitor {
        let name = name.to_owned();
        let (tell, hear) = mpsc::channel();
        self.run(move |home| async move {
            let monitor = home.node.monitor_node(&name).await;
            tokio::task::spawn_local(async move {
                // Whoever dropped the monitor wants to hear nothing.
                let _ = tell.send(monitor.await);
            });
        });
        Monitor(hear)
    }

    /// Does something on the node's thread and waits for what comes of it.
    fn run<T, F>(&self, work: impl FnOnce(Rc<Home>) -> F + Send + 'static) -> T
    where
        T: Send + 'static,
        F: Future<Output = T> + 'static,
    {
        let (tell, hear) = mpsc::sync_channel(1);
        let job: Job = Box::new(move |home| {
            tokio::task::spawn_local(async move {
                // There is always somebody who waits for it.
                let _ = tell.send(work(home).await);
            });
        });
        let taken = self.jobs.send(job).is_ok();
        let done = taken.then(|| hear.recv().ok()).flatten();
        done.expect("the node's thread lives as long as the node, unless a handler panicked")
    }
}

/// Waits for the end of a node.
#[derive(Debug)]
pub struct Monitor(mpsc::Receiver<Down>);

impl Monitor {
    /// Waits until the one who is watched is gone, at most `patience`; exactly one [`Down`] is ever told.
    #[must_use]
    pub fn wait(&self, patience: Duration) -> Option<Down> {
        self.0.recv_timeout(patience).ok()
    }
}

type Started = Result<(Identity, String), StartError>;

/// The node's thread.
fn live(
    name: &str,
    options: Options,
    started: &mpsc::Sender<Started>,
    mut work: queue::UnboundedReceiver<Job>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            // Whoever starts it waits for this.
            let _ = started.send(Err(StartError::Thread(error)));
            return;
        }
    };
    LocalSet::new().block_on(&runtime, async {
        let node = match local::Node::start_with(name, options) {
            Ok(node) => node,
            Err(error) => {
                let _ = started.send(Err(error));
                return;
            }
        };
        let _ = started.send(Ok((node.identity().clone(), node.location().to_owned())));
        let home = Rc::new(Home { node, services: std::cell::RefCell::default() });
        while let Some(job) = work.recv().await {
            job(Rc::clone(&home));
        }
    });
}
