//! A client: a process that asks with so many requests in flight, or so many a second, as it is told on its standard
//! input.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use nix::sys::time::{TimeSpec, TimeValLike};
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use provost::reddit::Remote;
use provost::reddit::protocol::{
    Envelope, Reply, Request, Secret, Session, comment_manager, dm_manager, feed_generator, post_manager,
    subreddit_manager, user_registry,
};
use serde::{Deserialize, Serialize};
use tokio::net::unix::pipe::Receiver;

use crate::draw::{Action, MIX, SUBREDDITS, World};
use crate::engine::{self, find, run};
use crate::figures::{Figures, histogram};

/// Requests in flight for each client.
pub(crate) const DEPTH: usize = 64;

const PATIENCE: Duration = Duration::from_secs(60);

/// What a client is to do next.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Make the subreddits; the first client does.
    Found,
    /// Register users.
    Register { users: u32 },
    /// Let each join its subreddits.
    Join,
    /// Post, so that there is something to read, and half as much below that.
    Write { posts: u32 },
    /// Ask as fast as answers come.
    Act { seconds: f64 },
    /// Ask so many times a second, whatever comes back.
    Pace { rate: u32, seconds: f64 },
}

/// A client as its parent has it. Dropped, it ends.
pub(crate) struct Client {
    process: Child,
    orders: ChildStdin,
    results: BufReader<ChildStdout>,
}

impl Client {
    pub(crate) fn start(number: usize, socket: PathBuf) -> Client {
        let own = std::env::current_exe().expect("own program");
        let mut process = Command::new(own)
            .args(["client", &number.to_string()])
            .arg(socket)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a client starts");
        let orders = process.stdin.take().expect("a pipe");
        let results = BufReader::new(process.stdout.take().expect("a pipe"));
        Client { process, orders, results }
    }

    pub(crate) fn tell(&mut self, order: Order) {
        let order = serde_json::to_string(&order).expect("an order is JSON");
        writeln!(self.orders, "{order}").expect("the client lives");
    }

    pub(crate) fn figures(&mut self) -> Figures {
        let mut line = String::new();
        self.results.read_line(&mut line).expect("the client lives");
        serde_json::from_str(&line).expect("figures")
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The client's whole life.
pub(crate) fn play(number: usize, socket: &Path) {
    run(async {
        let engine = find(socket, "client").await;
        let client = Rc::new(Playing {
            number,
            engine,
            world: RefCell::new(World::new(number)),
            seen: RefCell::default(),
        });
        for line in io::stdin().lines() {
            let order = serde_json::from_str(&line.expect("the parent lives")).expect("an order");
            let cpu = engine::cpu(std::process::id());
            client.obey(order).await;
            let cpu = engine::cpu(std::process::id()) - cpu;
            let figures = client.seen.take().figures(cpu.as_secs_f64());
            println!("{}", serde_json::to_string(&figures).expect("figures are JSON"));
        }
    });
}

struct Playing {
    number: usize,
    engine: Remote,
    world: RefCell<World>,
    seen: RefCell<Seen>,
}

struct Seen {
    times: [Histogram<u64>; MIX.len()],
    refused: BTreeMap<String, u64>,
}

impl Default for Seen {
    fn default() -> Seen {
        Seen { times: std::array::from_fn(|_| histogram()), refused: BTreeMap::new() }
    }
}

impl Seen {
    fn figures(self, cpu_s: f64) -> Figures {
        let times: Vec<_> =
            MIX.iter().map(|&(action, _)| (action.name(), &self.times[action as usize])).collect();
        Figures::new(&times, self.refused, cpu_s)
    }
}

impl Playing {
    async fn obey(self: &Rc<Playing>, order: Order) {
        match order {
            Order::Found if self.number == 0 => {
                let session = self.register(0, "founder").await;
                engine::found(&self.engine, session, SUBREDDITS).await;
            }
            Order::Found => {}
            Order::Register { users } => {
                self.many(users, async |client, index| {
                    let session = client.register(index, &format!("user_{}_{index}", client.number)).await;
                    client.world.borrow_mut().add(session);
                })
                .await;
            }
            Order::Join => {
                let users = self.world.borrow().users.len() as u32;
                self.many(users, async |client, index| {
                    let joined = client.world.borrow_mut().memberships();
                    let session = client.world.borrow().users[index as usize].session;
                    for &subreddit in &joined {
                        let join = subreddit_manager::Request::Join { session, subreddit };
                        client.must(Request::SubredditManager(join)).await;
                    }
                    client.world.borrow_mut().users[index as usize].joined = joined;
                })
                .await;
            }
            Order::Write { posts } => {
                self.many(posts, async |client, index| {
                    client.act(Action::Post, Instant::now()).await;
                    client.act(Action::Feed, Instant::now()).await;
                    if index % 2 == 0 {
                        client.act(Action::Comment, Instant::now()).await;
                    }
                })
                .await;
            }
            Order::Act { seconds } => {
                let until = Instant::now() + Duration::from_secs_f64(seconds);
                self.many(DEPTH as u32, async move |client, _| {
                    while Instant::now() < until {
                        let action = client.world.borrow_mut().action();
                        client.act(action, Instant::now()).await;
                    }
                })
                .await;
            }
            Order::Pace { rate, seconds } => self.pace(rate, seconds).await,
        }
    }

    /// Does `work` so many times, as many at once as may be in flight.
    async fn many(self: &Rc<Playing>, count: u32, work: impl AsyncFn(&Playing, u32) + 'static) {
        let (work, next) = (Rc::new(work), Rc::new(std::cell::Cell::new(0)));
        let workers: Vec<_> = (0..DEPTH)
            .map(|_| {
                let (client, work, next) = (Rc::clone(self), Rc::clone(&work), Rc::clone(&next));
                tokio::task::spawn_local(async move {
                    while next.get() < count {
                        let index = next.replace(next.get() + 1);
                        work(&client, index).await;
                    }
                })
            })
            .collect();
        for worker in workers {
            worker.await.expect("a worker");
        }
    }

    /// Tokio's timers ring in steps of a millisecond, which is longer than an answer takes.
    async fn pace(self: &Rc<Playing>, rate: u32, seconds: f64) {
        let gap = Duration::from_secs(1) / rate;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK).expect("a timer");
        let every = TimeSpec::nanoseconds(gap.as_nanos() as i64);
        let (begun, count) = (Instant::now(), (f64::from(rate) * seconds) as u32);
        timer.set(Expiration::Interval(every), TimerSetTimeFlags::empty()).expect("set");
        let descriptor = timer.as_fd().try_clone_to_owned().expect("a descriptor");
        let rung = Receiver::from_owned_fd_unchecked(descriptor).expect("it is read like a pipe");
        let mut open = tokio::task::JoinSet::new();
        let mut given = 0;
        while given < count {
            rung.readable().await.expect("a timer");
            // How often it rang is no matter: what is due follows from the time.
            let _ = rung.try_read(&mut [0; 8]);
            while given < count && begun + gap * given <= Instant::now() {
                let (client, due) = (Rc::clone(self), begun + gap * given);
                open.spawn_local(async move {
                    let action = client.world.borrow_mut().action();
                    client.act(action, due).await;
                });
                given += 1;
            }
            while open.try_join_next().is_some() {}
        }
        while open.join_next().await.is_some() {}
    }

    async fn register(&self, index: u32, name: &str) -> Session {
        let mut secret = [0; 16];
        secret[..4].copy_from_slice(&index.to_le_bytes());
        let register =
            user_registry::Request::Register { name: name.into(), secret: Secret(secret), key: None };
        match self.must(Request::UserRegistry(register)).await {
            Reply::UserRegistry(user_registry::Reply::LoggedIn(session)) => session,
            other => panic!("{other:?}"),
        }
    }

    async fn must(&self, request: Request) -> Reply {
        let op = self.world.borrow_mut().op();
        let answer = self.engine.call(&request.once(op), PATIENCE).await.expect("an answer");
        answer.unwrap_or_else(|error| panic!("{error}"))
    }

    /// One action of some user, timed since `begun`.
    async fn act(&self, wanted: Action, begun: Instant) {
        let (action, request) = {
            let mut world = self.world.borrow_mut();
            let index = world.user();
            let (action, request) = world.request(wanted, index);
            let only_reads = matches!(action, Action::Feed | Action::Thread)
                || matches!(request, Request::DmManager(dm_manager::Request::List { .. }));
            (action, if only_reads { Envelope::from(request) } else { request.once(world.op()) })
        };
        let answer = self.engine.call(&request, PATIENCE).await.expect("an answer");
        let took = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let mut seen = self.seen.borrow_mut();
        match answer {
            Ok(reply) => {
                seen.times[action as usize].saturating_record(took);
                self.learn(&request.request, &reply);
            }
            Err(error) => *seen.refused.entry(error.to_string()).or_default() += 1,
        }
    }

    fn learn(&self, request: &Request, reply: &Reply) {
        let mut world = self.world.borrow_mut();
        match (request, reply) {
            (_, Reply::FeedGenerator(feed_generator::Reply::Posts(posts))) => {
                world.saw_posts(posts.iter().map(|post| post.id));
            }
            (_, Reply::PostManager(post_manager::Reply::Created(post))) => {
                world.saw_posts([*post].into_iter())
            }
            (
                Request::CommentManager(comment_manager::Request::Create { post, .. }),
                Reply::CommentManager(comment_manager::Reply::Created { id, .. }),
            ) => world.saw_comment(*post, *id),
            (_, Reply::CommentManager(comment_manager::Reply::Thread(comments))) => {
                comments.iter().take(2).for_each(|comment| world.saw_comment(comment.post, comment.id));
            }
            (
                Request::DmManager(dm_manager::Request::Send { to, .. }),
                Reply::DmManager(dm_manager::Reply::Sent { id, .. }),
            ) => world.got(*to, *id),
            _ => {}
        }
    }
}
