//! A lone connection to a server: no names, one kind of request.

use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use provost::node::{Call, Connection, Identity, Limits, Listener, Server};

use crate::{CALLS, DEPTH, PATIENCE, Record, SECONDS, id, run};

const PROTOCOL: u16 = 1;

pub(crate) fn serve(path: &Path) {
    run(async {
        let listener = Listener::bind(path).expect("bind");
        let identity = Identity::of_this_process("server");
        let mut server = Server::<u64>::start(listener, identity, PROTOCOL, Limits::default());
        println!("ready");
        let mut calls = Vec::new();
        loop {
            server.turn(&mut calls).await;
            for Call { from, request } in calls.drain(..) {
                server.reply(from, &Record::of(request));
            }
            server.flush();
        }
    });
}

async fn connect(path: &Path) -> Connection<u64, Record> {
    let me = Identity::of_this_process("client");
    Connection::open(path, &me, PROTOCOL, PATIENCE).await.expect("a connection")
}

pub(crate) fn one_by_one(path: &Path) -> Vec<u64> {
    run(async {
        let server = connect(path).await;
        let mut times = Vec::with_capacity(CALLS);
        for number in 0..CALLS {
            let begun = Instant::now();
            let record = server.call(&id(number), PATIENCE).await.expect("a reply");
            times.push(begun.elapsed().as_nanos() as u64);
            assert_eq!(record.id, id(number));
        }
        times
    })
}

/// Prints calls a second with so many in flight.
pub(crate) fn load(path: &Path) {
    run(async {
        let server = Rc::new(connect(path).await);
        let until = Instant::now() + Duration::from_secs_f64(SECONDS);
        let callers: Vec<_> = (0..DEPTH)
            .map(|caller| {
                let server = Rc::clone(&server);
                tokio::task::spawn_local(async move {
                    let mut done = 0_u64;
                    while Instant::now() < until {
                        server.call(&id(caller), PATIENCE).await.expect("a reply");
                        done += 1;
                    }
                    done
                })
            })
            .collect();
        let mut sum = 0;
        for caller in callers {
            sum += caller.await.expect("a caller");
        }
        println!("{}", sum as f64 / SECONDS);
    });
}
