//! Peers that send what no honest peer sends: they lose their own connection, and nobody else anything.

mod node_support;

use std::time::Duration;

use node_support::{Hood, PATIENCE, Raw, local};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use provost::node::{CallError, Identity, Kind, Mailbox, Node, Ping, Request, Service, frame};
use tokio::io::AsyncWriteExt;

/// An engine that serves `echo`, and a client that is connected to it.
async fn pair(hood: &Hood) -> (Node, Service, Node) {
    let engine = hood.start("engine");
    let echo = engine.serve("echo", |text: String| text).await.unwrap();
    let polite = hood.hidden("polite");
    polite.connect("engine").await.unwrap();
    (engine, echo, polite)
}

async fn is_served(polite: &Node) {
    let reply: String = polite.call("echo", &"still there?", PATIENCE).await.unwrap();
    assert_eq!(reply, "still there?");
}

#[test]
fn bytes_without_meaning_cost_only_the_connection_they_came_over() {
    local(async {
        let hood = Hood::new();
        let (_engine, _echo, polite) = pair(&hood).await;
        let four_gib = u32::MAX.to_le_bytes();
        let hostile: [&[u8]; 6] = [
            &[0; 64],
            &[0xff; 64],
            &four_gib,
            b"GET / HTTP/1.1\r\n\r\n",
            &[10, 0, 0, 0, 1, 4],
            &[6, 0, 0, 0, 2],
        ];
        for bytes in hostile {
            for welcome in [false, true] {
                let mut raw = if welcome {
                    Raw::enter(&hood, "engine", "rude").await
                } else {
                    Raw::stranger(&hood, "engine").await
                };
                raw.stream.write_all(bytes).await.unwrap();
                raw.stream.shutdown().await.unwrap();
                raw.closed().await;
                is_served(&polite).await;
            }
        }
    });
}

#[test]
fn random_bytes_cost_only_the_connection_they_came_over() {
    local(async {
        let hood = Hood::new();
        let (_engine, _echo, polite) = pair(&hood).await;
        let mut runner =
            TestRunner::new(Config { cases: 200, failure_persistence: None, ..Config::default() });
        let junk = prop::collection::vec(any::<u8>(), 1..300);
        let spoilt = (3u8..=12, any::<u32>(), prop::collection::vec(any::<u8>(), 0..60));
        let strategy = prop_oneof![
            (junk, any::<bool>()).prop_map(|(bytes, welcome)| (bytes, welcome)),
            // A sound header before a body of junk, which gets further.
            spoilt.prop_map(|(kind, request, body)| {
                let mut bytes = (6 + body.len() as u32).to_le_bytes().to_vec();
                bytes.extend([frame::VERSION, kind]);
                bytes.extend(request.to_le_bytes());
                bytes.extend(body);
                (bytes, true)
            }),
        ];
        for _ in 0..200 {
            let (bytes, welcome) = strategy.new_tree(&mut runner).unwrap().current();
            let mut raw = if welcome {
                Raw::enter(&hood, "engine", "rude").await
            } else {
                Raw::stranger(&hood, "engine").await
            };
            // It may have been cut off in the middle of it.
            let _ = raw.stream.write_all(&bytes).await;
            let _ = raw.stream.shutdown().await;
            raw.closed().await;
        }
        is_served(&polite).await;
    });
}

#[test]
fn replies_that_nobody_asked_for_and_notices_that_cannot_be_end_a_connection() {
    local(async {
        let hood = Hood::new();
        let (engine, _echo, polite) = pair(&hood).await;
        for round in 0..7 {
            let mut raw = Raw::enter(&hood, "engine", "rude").await;
            match round {
                0 => raw.send(Kind::Reply, 3, &"surprise").await,
                1 => raw.send(Kind::Hello, 0, &()).await,
                // Names after the first words were over.
                2 => raw.send(Kind::Notice, 0, &(0u32, vec![("late", 1u32)])).await,
                3 => raw.send(Kind::Notice, 0, &(2u32, "bad \u{1b}[2J name", 1u32)).await,
                // Casts taken that were never sent.
                4 => raw.send(Kind::Notice, 0, &(5u32, 7u32)).await,
                5 => raw.send(Kind::Fault, 1, &77u32).await,
                _ => raw.send(Kind::Notice, 0, &99u32).await,
            }
            raw.closed().await;
            is_served(&polite).await;
        }
        assert_eq!(engine.registered().len(), 1);
    });
}

#[test]
fn more_names_than_a_node_may_have_end_a_connection() {
    local(async {
        let hood = Hood::new();
        let (engine, _echo, polite) = pair(&hood).await;
        let mut raw = Raw::enter(&hood, "engine", "rude").await;
        let mut bytes = Vec::new();
        for number in 0..5000u32 {
            frame::append(&mut bytes, Kind::Notice, number, &(2u32, format!("n{number}"), 1u32)).unwrap();
        }
        let _ = raw.stream.write_all(&bytes).await;
        raw.closed().await;
        is_served(&polite).await;
        assert_eq!(engine.registered().len(), 1, "they went with it");
    });
}

#[test]
fn more_requests_than_may_be_under_way_end_a_connection() {
    local(async {
        let hood = Hood::new();
        let (engine, _echo, polite) = pair(&hood).await;
        let lazy: Mailbox<u32, u32> = engine.mailbox();
        engine.register("lazy", &lazy).await.unwrap();
        for (kind, count) in [(Kind::Call, 513u32), (Kind::Cast, 1025)] {
            let mut raw = Raw::enter(&hood, "engine", "rude").await;
            let mut bytes = Vec::new();
            for number in 0..count {
                // The second mailbox of the engine.
                frame::append(&mut bytes, kind, number, &(1u32, number)).unwrap();
            }
            let _ = raw.stream.write_all(&bytes).await;
            raw.closed().await;
            is_served(&polite).await;
        }
    });
}

#[test]
fn a_peer_that_asks_and_does_not_read_makes_nobody_else_wait() {
    local(async {
        let hood = Hood::new();
        let engine = hood.start("engine");
        let _large = engine.serve("large", |size: u32| "x".repeat(size as usize)).await.unwrap();
        let _echo = engine.serve("echo", |text: String| text).await.unwrap();
        let polite = hood.hidden("polite");
        polite.connect("engine").await.unwrap();
        let mut raw = Raw::enter(&hood, "engine", "deaf").await;
        let asking = tokio::task::spawn_local(async move {
            for round in 0..20u32 {
                let mut bytes = Vec::new();
                for number in 0..20 {
                    frame::append(&mut bytes, Kind::Call, 20 * round + number, &(0u32, 1_000_000u32))
                        .unwrap();
                }
                // Blocks once the engine reads no further.
                if raw.stream.write_all(&bytes).await.is_err() {
                    break;
                }
            }
            raw
        });
        for _ in 0..50 {
            is_served(&polite).await;
        }
        asking.abort();
    });
}

#[test]
fn strangers_that_say_no_hello_are_let_go_and_half_a_frame_holds_nobody_up() {
    local(async {
        let hood = Hood::new();
        let engine = hood.start_with("engine", |options| options.limits.connections = 4);
        let _echo = engine.serve("echo", |text: String| text).await.unwrap();
        let mut half = Raw::enter(&hood, "engine", "half").await;
        half.stream.write_all(&[200, 0, 0]).await.unwrap();
        let mut strangers = Vec::new();
        for _ in 0..3 {
            let mut stranger = Raw::stranger(&hood, "engine").await;
            stranger.stream.write_all(&[60, 0]).await.unwrap();
            strangers.push(stranger);
        }
        let polite = hood.hidden("polite");
        let full = polite.connect("engine").await.unwrap_err();
        assert!(full.is_temporary(), "{full}");
        for mut stranger in strangers {
            stranger.closed().await;
        }
        while polite.connect("engine").await.is_err() {
            tokio::task::yield_now().await;
        }
        is_served(&polite).await;
        assert!(matches!(polite.ping("engine").await, Ping::Pong(_)));
        assert!(engine.nodes().iter().any(|node| node.node == "half"), "it may take its time");
    });
}

#[test]
fn an_idempotent_request_that_arrives_twice_is_carried_out_once_and_answered_twice() {
    local(async {
        let hood = Hood::new();
        let engine = hood.start("engine");
        let mut mailbox: Mailbox<u32, u32> = engine.mailbox();
        engine.register("count", &mailbox).await.unwrap();
        let life = Identity::of_this_process("client@1");
        let mut first = Raw::enter_as(&hood, "engine", life.clone()).await;
        let request = (0u32, 77u64, 5u32);
        first.send(Kind::Once, 1, &request).await;
        let mut requests = Vec::new();
        mailbox.turn(&mut requests).await;
        let Request { from, body } = requests.remove(0);
        assert_eq!((body, from.once()), (5, Some(77)));
        // It is asked again over a new connection before it is answered, and once more after.
        let mut second = Raw::enter_as(&hood, "engine", life.clone()).await;
        first.closed().await;
        second.send(Kind::Once, 9, &request).await;
        second.send(Kind::Ping, 10, &()).await;
        second.hear(Kind::Pong).await;
        mailbox.reply(from, &500);
        mailbox.flush();
        let reply: u32 = postcard::from_bytes(&second.hear(Kind::Reply).await).unwrap();
        assert_eq!(reply, 500);
        second.send(Kind::Once, 11, &request).await;
        let reply: u32 = postcard::from_bytes(&second.hear(Kind::Reply).await).unwrap();
        assert_eq!(reply, 500);
        // Another number is another request, and so is the same one of another life.
        second.send(Kind::Once, 12, &(0u32, 78u64, 6u32)).await;
        mailbox.turn(&mut requests).await;
        assert_eq!(requests.remove(0).body, 6);
        drop(second);
        let mut other = Raw::enter(&hood, "engine", "client@1").await;
        other.send(Kind::Once, 1, &request).await;
        mailbox.turn(&mut requests).await;
        assert_eq!(requests.remove(0).body, 5);
    });
}

#[test]
fn two_hundred_clients_come_back_to_a_restarted_engine() {
    local(async {
        let hood = Hood::new();
        let clients: Vec<Node> = (0..200).map(|number| hood.hidden(&format!("client@{number}"))).collect();
        let _keepers: Vec<_> = clients.iter().map(|client| client.keep_connected("engine")).collect();
        for _ in 0..2 {
            let engine = hood.start("engine");
            let mut mailbox: Mailbox<String, ()> = engine.mailbox();
            engine.register("hello", &mailbox).await.unwrap();
            let calls: Vec<_> = clients
                .iter()
                .map(|client| {
                    let client = client.clone();
                    tokio::task::spawn_local(async move {
                        client.find("hello", PATIENCE).await.expect("it came back");
                        client.call::<_, ()>("hello", &client.identity().node, PATIENCE).await
                    })
                })
                .collect();
            let mut seen = std::collections::BTreeSet::new();
            let mut requests = Vec::new();
            while seen.len() < clients.len() {
                mailbox.turn(&mut requests).await;
                for Request { from, body } in requests.drain(..) {
                    seen.insert(body);
                    mailbox.reply(from, &());
                }
                mailbox.flush();
            }
            for call in calls {
                call.await.unwrap().unwrap();
            }
            let monitor = clients[0].monitor_node("engine").await;
            drop((mailbox, engine));
            monitor.await;
            let error = clients[0].call::<_, ()>("hello", &"", Duration::from_secs(1)).await.unwrap_err();
            assert_eq!(error, CallError::NoName("hello".to_owned()));
        }
    });
}

#[test]
fn connections_of_two_hundred_clients_arrive_spread_out() {
    local(async {
        let hood = Hood::new();
        let clients: Vec<Node> = (0..200).map(|number| hood.hidden(&format!("client@{number}"))).collect();
        let engine = hood.start("engine");
        let _keepers: Vec<_> = clients.iter().map(|client| client.keep_connected("engine")).collect();
        for client in &clients {
            client.connect("engine").await.unwrap();
        }
        drop(engine);
        let listener = std::os::unix::net::UnixListener::bind(hood.socket("engine")).unwrap();
        let waiting = clients.len();
        let arrivals = tokio::task::spawn_blocking(move || {
            let begun = std::time::Instant::now();
            let arrived = |_| {
                let connection = listener.accept().unwrap();
                (begun.elapsed(), connection)
            };
            (0..waiting).map(arrived).collect::<Vec<_>>()
        });
        let arrivals: Vec<Duration> = arrivals.await.unwrap().into_iter().map(|(time, _)| time).collect();
        let mut of_each_millisecond = std::collections::BTreeMap::new();
        for time in &arrivals {
            *of_each_millisecond.entry(time.as_millis()).or_insert(0) += 1;
        }
        let most = of_each_millisecond.values().max();
        println!(
            "{} connections, at most {most:?} in one ms, the last after {:?}",
            arrivals.len(),
            arrivals[199]
        );
    });
}
