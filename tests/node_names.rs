//! Nodes that find each other by name: names, calls, casts and monitors, over real sockets in one process.

mod node_support;

use std::rc::Rc;
use std::time::{Duration, Instant};

use node_support::{Hood, PATIENCE, local};
use provost::node::{
    CallError, CastError, ConnectError, Fault, Listen, Lost, Mailbox, Node, Options, Ping, Reason, Refusal,
    RegisterError, Request, StartError,
};

#[test]
fn a_name_is_found_over_every_connected_node_and_called() {
    local(async {
        let hood = Hood::new();
        let engine = hood.start("engine");
        let _users = engine.serve("users", |id: u32| format!("user {id}")).await.unwrap();
        let client = hood.start("client@1");
        assert!(client.whereis("users").is_none(), "not connected yet");
        let met = client.connect("engine").await.unwrap();
        assert_eq!(&met, engine.identity());
        let users = client.whereis("users").unwrap();
        assert_eq!((users.node(), users.location()), (engine.identity(), engine.location()));
        let reply: String = client.call(&users, &7u32, PATIENCE).await.unwrap();
        assert_eq!(reply, "user 7");
        let _posts = engine.serve("posts", |id: u32| id + 1).await.unwrap();
        let reply: u32 = client.call("posts", &7u32, PATIENCE).await.unwrap();
        assert_eq!(reply, 8, "a name that was registered after they met");
        let names: Vec<_> = client.registered().into_iter().map(|entry| (entry.name, entry.node)).collect();
        let of_engine = |name: &str| (name.to_owned(), engine.identity().clone());
        assert_eq!(names, [of_engine("posts"), of_engine("users")]);
        assert_eq!(client.nodes(), [engine.identity().clone()]);
        assert_eq!(engine.nodes(), [client.identity().clone()]);
    });
}

#[test]
fn the_side_that_was_connected_to_calls_back_over_the_same_connection() {
    local(async {
        let hood = Hood::new();
        let engine = hood.start("engine");
        let client = hood.hidden("client@1");
        let _mirror =
            client.serve("mirror", |text: String| text.chars().rev().collect::<String>()).await.unwrap();
        client.connect("engine").await.unwrap();
        let mirror = engine.find("mirror", PATIENCE).await.unwrap();
        let reply: String = engine.call(&mirror, &"abc", PATIENCE).await.unwrap();
        assert_eq!(reply, "cba");
        let unreachable = engine.connect("client@1").await.map(|peer| peer.node);
        assert_eq!(unreachable.unwrap(), "client@1", "it is connected already");
    });
}

#[test]
fn both_ends_count_the_same_bytes_over_all_their_connections() {
    local(async {
        let hood = Hood::new();
        let engine = hood.start("engine");
        let _echo = engine.serve("echo", |text: String| text).await.unwrap();
        let client = hood.start("client@1");
        for _ in 0..2 {
            client.connect("engine").await.unwrap();
            let before = client.traffic();
            let text = "x".repeat(1000);
            let _: String = client.call("echo", &text, PATIENCE).await.unwrap();
            let of_call = client.traffic() - before;
            assert!(of_call.sent > 1000 && of_call.received > 1000, "{of_call:?}");
            let down = engine.monitor_node("client@1").await;
            client.disconnect("engine");
            down.await;
        }
        let (ours, theirs) = (client.traffic(), engine.traffic());
        assert_eq!((ours.sent, ours.received), (theirs.received, theirs.sent));
    });
}

#[test]
fn who_disconnects_loses_the_calls_under_way_and_may_connect_again() {
    local(async {
        let hood = Hood::new();
        let engine = hood.start("engine");
        let silent: Mailbox<u32, u32> = engine.mailbox();
        engine.register("silent", &silent).await.unwrap();
        let client = hood.start("client@1");
        assert!(!client.disconnect("engine"), "not connected yet");
        client.connect("engine").await.unwrap();
        let address = client.find("silent", PATIENCE).await.unwrap();
        let monitor = client.monitor(&address);
        let mut requests = Vec::new();
        let (reply, ()) = tokio::join!(client.call::<_, u32>(&address, &1u32, PATIENCE), async {
            silent.turn(&mut requests).await;
            assert!(client.disconnect("engine"));
        });
        assert_eq!(reply.unwrap_err(), CallError::Lost(Lost::Closed));
        assert_eq!(monitor.await.node, "engine");
        client.connect("engine").await.unwrap();
        assert!(client.find("silent", PATIENCE).await.is_some());
    });
}

#[test]
fn own_names_are_called_as_any_others() {
    local(async {
        let hood = Hood::new();
        let node = hood.start("engine");
        let _double = node.serve("double", |number: u64| 2 * number).await.unwrap();
        let reply: u64 = node.call("double", &21u64, PATIENCE).await.unwrap();
        assert_eq!(reply, 42);
        let address = node.whereis("double").unwrap();
        assert_eq!(address.node(), node.identity());
        assert_eq!(node.ping("engine").await, Ping::Pong(node.identity().clone()));
    });
}

#[test]
fn a_name_taken_twice_is_an_error_that_names_the_holder() {
    local(async {
        let hood = Hood::new();
        let engine = hood.start("engine");
        let _held = engine.serve("users", |id: u32| id).await.unwrap();
        let taken = RegisterError::Taken { name: "users".to_owned(), holder: engine.identity().clone() };
        assert_eq!(engine.serve("users", |id: u32| id).await.unwrap_err(), taken);

        let client = hood.start("client@1");
        client.connect("engine").await.unwrap();
        assert_eq!(client.serve("users", |id: u32| id).await.unwrap_err(), taken);

        // Two that are not connected to each other, but both to the engine.
        let other = hood.start("client@2");
        other.connect("engine").await.unwrap();
        let _first = client.serve("shared", |id: u32| id).await.unwrap();
        let refused = other.serve("shared", |id: u32| id).await.unwrap_err();
        assert_eq!(
            refused,
            RegisterError::Taken { name: "shared".to_owned(), holder: client.identity().clone() }
        );
        let reply: u32 = engine.call("shared", &5u32, PATIENCE).await.unwrap();
        assert_eq!(reply, 5);
    });
}

#[test]
fn of_two_who_register_a_name_at_once_exactly_one_gets_it() {
    local(async {
        let hood = Hood::new();
        let (a, b) = (hood.start("a"), hood.start("b"));
        a.connect("b").await.unwrap();
        for round in 0..50 {
            let name = format!("name{round}");
            let (first, second) =
                tokio::join!(a.serve(&name, |id: u32| id), b.serve(&name, |id: u32| id + 1000));
            assert_eq!(u32::from(first.is_ok()) + u32::from(second.is_ok()), 1, "{first:?} {second:?}");
            let (won, expected) = if first.is_ok() { (&a, 1) } else { (&b, 1001) };
            for node in [&a, &b] {
                assert_eq!(node.find(&name, PATIENCE).await.unwrap().node(), won.identity());
                let reply: u32 = node.call(name.as_str(), &1u32, PATIENCE).await.unwrap();
                assert_eq!(reply, expected);
            }
        }
    });
}

#[test]
fn two_nodes_that_hold_one_name_do_not_connect() {
    local(async {
        let hood = Hood::new();
        let (engine, rival) = (hood.start("engine"), hood.start("rival"));
        let _one = engine.serve("users", |id: u32| id).await.unwrap();
        let _two = rival.serve("users", |id: u32| id).await.unwrap();
        let error = rival.connect("engine").await.unwrap_err();
        let holder = engine.identity().clone();
        assert_eq!(error, ConnectError::NameTwice { name: "users".to_owned(), holder });
        // Nor does one that holds what a third one holds that is connected there.
        let third = hood.start("third");
        let _three = third.serve("other", |id: u32| id).await.unwrap();
        third.connect("engine").await.unwrap();
        let fourth = hood.start("fourth");
        let _four = fourth.serve("other", |id: u32| id).await.unwrap();
        let error = fourth.connect("engine").await.unwrap_err();
        let holder = third.identity().clone();
        assert_eq!(error, ConnectError::NameTwice { name: "other".to_owned(), holder });
        assert!(engine.nodes().contains(third.identity()), "those that were there stay");
    });
}

#[test]
fn a_node_s_names_vanish_with_it_and_a_successor_brings_them_back() {
    local(async {
        let hood = Hood::new();
        let client = hood.start("client@1");
        let keeper = client.keep_connected("engine");
        for _ in 0..3 {
            let engine = hood.start("engine");
            let users = engine.serve("users", |id: u32| id).await.unwrap();
            let found = client.find("users", PATIENCE).await.unwrap();
            assert_eq!(found.node(), engine.identity());
            let monitor = client.monitor(&found);
            drop((users, engine));
            assert_eq!(monitor.await.reason, Reason::Exited);
            assert!(client.whereis("users").is_none());
            let error = client.call::<_, u32>(&found, &1u32, PATIENCE).await.unwrap_err();
            assert!(matches!(error, CallError::Lost(_) | CallError::Refused(Fault::NoMailbox)), "{error}");
        }
        drop(keeper);
    });
}

#[test]
fn a_dropped_service_is_gone_with_its_name_and_its_node_lives_on() {
    local(async {
        let hood = Hood::new();
        let (engine, client) = (hood.start("engine"), hood.start("client@1"));
        let users = engine.serve("users", |id: u32| id).await.unwrap();
        client.connect("engine").await.unwrap();
        let address = client.whereis("users").unwrap();
        let monitor = client.monitor(&address);
        drop(users);
        let down = monitor.await;
        assert_eq!((down.node.as_str(), down.reason), ("engine", Reason::Exited));
        assert!(client.whereis("users").is_none());
        let error = client.call::<_, u32>(&address, &1u32, PATIENCE).await.unwrap_err();
        assert_eq!(error, CallError::Refused(Fault::NoMailbox));
        assert_eq!(client.monitor(&address).await.reason, Reason::Exited, "it was gone before");
        assert!(matches!(client.ping("engine").await, Ping::Pong(_)));
        let error = client.call::<_, u32>("users", &1u32, PATIENCE).await.unwrap_err();
        assert_eq!(error, CallError::NoName("users".to_owned()));
    });
}

#[test]
fn an_unregistered_name_is_free_and_its_mailbox_is_still_there() {
    local(async {
        let hood = Hood::new();
        let (engine, client) = (hood.start("engine"), hood.start("client@1"));
        let _users = engine.serve("users", |id: u32| id).await.unwrap();
        client.connect("engine").await.unwrap();
        let address = client.whereis("users").unwrap();
        client.unregister("users");
        assert!(client.whereis("users").is_some(), "another node's name is not one's to give up");
        engine.unregister("users");
        let _mine = {
            // The word that it is free may still be under way.
            loop {
                match client.serve("users", |id: u32| id + 1).await {
                    Ok(service) => break service,
                    Err(RegisterError::Taken { .. }) => tokio::task::yield_now().await,
                    Err(error) => panic!("{error}"),
                }
            }
        };
        let reply: u32 = engine.call("users", &1u32, PATIENCE).await.unwrap();
        assert_eq!(reply, 2);
        let reply: u32 = client.call(&address, &1u32, PATIENCE).await.unwrap();
        assert_eq!(reply, 1);
    });
}

#[test]
fn the_replies_of_a_turn_leave_only_when_it_is_flushed() {
    local(async {
        let hood = Hood::new();
        let (engine, client) = (hood.start("engine"), hood.start("client@1"));
        let mut mailbox: Mailbox<u32, u32> = engine.mailbox();
        for name in ["users", "posts"] {
            engine.register(name, &mailbox).await.unwrap();
        }
        client.connect("engine").await.unwrap();
        let ask = |name: &'static str| {
            let client = client.clone();
            tokio::task::spawn_local(async move { client.call::<_, u32>(name, &1u32, PATIENCE).await })
        };
        let asked = [ask("users"), ask("posts"), ask("users")];
        let mut requests = Vec::new();
        let mut all = Vec::new();
        while all.len() < 3 {
            mailbox.turn(&mut requests).await;
            all.append(&mut requests);
        }
        for (reply, Request { from, body: _ }) in (10u32..).zip(all) {
            assert_eq!(from.node(), Some(client.identity()));
            mailbox.reply(from, &reply);
        }
        // Whatever else the two say to each other meanwhile, the replies stay.
        assert!(matches!(client.ping("engine").await, Ping::Pong(_)));
        assert!(asked.iter().all(|call| !call.is_finished()));
        mailbox.flush();
        let mut replies = Vec::new();
        for call in asked {
            replies.push(call.await.unwrap().unwrap());
        }
        assert_eq!(replies, [10, 11, 12]);
    });
}

#[test]
fn a_request_that_is_dropped_or_not_flushed_or_not_understood_is_refused_at_once() {
    local(async {
        let hood = Hood::new();
        let (engine, client) = (hood.start("engine"), hood.start("client@1"));
        let mut mailbox: Mailbox<(u32, String), u32> = engine.mailbox();
        engine.register("users", &mailbox).await.unwrap();
        client.connect("engine").await.unwrap();
        let error = client.call::<_, u32>("users", &vec![0xffu8; 3], PATIENCE).await.unwrap_err();
        assert_eq!(error, CallError::Refused(Fault::BadRequest));

        let ask = || {
            let client = client.clone();
            tokio::task::spawn_local(
                async move { client.call::<_, u32>("users", &(1u32, "x"), PATIENCE).await },
            )
        };
        let (dropped, unflushed) = (ask(), ask());
        let mut requests = Vec::new();
        while requests.len() < 2 {
            let mut more = Vec::new();
            mailbox.turn(&mut more).await;
            requests.append(&mut more);
        }
        drop(requests.remove(0));
        assert_eq!(dropped.await.unwrap(), Err(CallError::Refused(Fault::GivenUp)));
        mailbox.reply(requests.remove(0).from, &1);
        let waiting = ask();
        assert!(matches!(client.ping("engine").await, Ping::Pong(_)), "so the last request has arrived");
        drop(mailbox);
        assert_eq!(unflushed.await.unwrap(), Err(CallError::Refused(Fault::GivenUp)));
        assert_eq!(waiting.await.unwrap(), Err(CallError::Refused(Fault::NoMailbox)));

        let _other = engine.serve("text", |_: u32| "not a number".to_owned()).await.unwrap();
        let error = client.call::<_, bool>("text", &1u32, PATIENCE).await.unwrap_err();
        assert_eq!(error, CallError::BadReply);
    });
}

#[test]
fn two_mailboxes_that_reply_by_turns_to_two_peers_each_let_go_of_their_own_replies() {
    local(async {
        let hood = Hood::new();
        let engine = hood.start("engine");
        let mut mailboxes: [Mailbox<u32, u32>; 2] = [engine.mailbox(), engine.mailbox()];
        let names = ["first", "second"];
        for (name, mailbox) in names.iter().zip(&mailboxes) {
            engine.register(name, mailbox).await.unwrap();
        }
        let mut asked = Vec::new();
        for peer in ["client@1", "client@2"] {
            let client = hood.hidden(peer);
            client.connect("engine").await.unwrap();
            for number in 0..10u32 {
                for name in names {
                    let client = client.clone();
                    asked.push(tokio::task::spawn_local(async move {
                        (name, number, client.call::<_, u32>(name, &number, PATIENCE).await)
                    }));
                }
            }
        }
        let mut held = [Vec::new(), Vec::new()];
        for (mailbox, held) in mailboxes.iter().zip(&mut held) {
            while held.len() < 20 {
                let mut requests = Vec::new();
                mailbox.turn(&mut requests).await;
                held.append(&mut requests);
            }
        }
        let [first, second] = &mut mailboxes;
        let [ones, others] = held;
        for (one, other) in ones.into_iter().zip(others.into_iter().rev()) {
            first.reply(one.from, &(one.body + 100));
            second.reply(other.from, &(other.body + 200));
        }
        first.flush();
        second.flush();
        for call in asked {
            let (name, number, reply) = call.await.unwrap();
            assert_eq!(reply, Ok(number + if name == "first" { 100 } else { 200 }));
        }
    });
}

#[test]
fn casts_arrive_in_order_and_as_many_as_were_sent() {
    local(async {
        const CASTS: u32 = 10_000;
        let hood = Hood::new();
        let (engine, client) = (hood.start("engine"), hood.start("client@1"));
        let mailbox: Mailbox<u32, ()> = engine.mailbox();
        engine.register("log", &mailbox).await.unwrap();
        client.connect("engine").await.unwrap();
        let sender = client.clone();
        let sent = tokio::task::spawn_local(async move {
            for number in 0..CASTS {
                sender.cast("log", &number).await.unwrap();
            }
        });
        let mut seen = Vec::new();
        let mut requests = Vec::new();
        while seen.len() < CASTS as usize {
            mailbox.turn(&mut requests).await;
            assert!(requests.iter().all(|request| request.from.is_cast()));
            seen.extend(requests.drain(..).map(|request| request.body));
        }
        assert_eq!(seen, (0..CASTS).collect::<Vec<_>>());
        sent.await.unwrap();
    });
}

#[test]
fn casts_to_a_mailbox_that_nobody_empties_stop_at_the_window_and_calls_still_go() {
    local(async {
        let hood = Hood::new();
        let (engine, client) = (hood.start("engine"), hood.start("client@1"));
        let lazy: Mailbox<u32, ()> = engine.mailbox();
        engine.register("lazy", &lazy).await.unwrap();
        let _busy = engine.serve("busy", |id: u32| id).await.unwrap();
        client.connect("engine").await.unwrap();
        let sent = Rc::new(std::cell::Cell::new(0u32));
        let (sender, count) = (client.clone(), Rc::clone(&sent));
        let casting = tokio::task::spawn_local(async move {
            for number in 0..5000u32 {
                sender.cast("lazy", &number).await.unwrap();
                count.set(number + 1);
            }
        });
        for number in 0..100u32 {
            let reply: u32 = client.call("busy", &number, PATIENCE).await.unwrap();
            assert_eq!(reply, number);
        }
        assert!(sent.get() <= 1024, "{} casts are under way", sent.get());
        let mut taken = 0;
        let mut requests = Vec::new();
        while taken < 5000 {
            lazy.turn(&mut requests).await;
            taken += requests.drain(..).len();
        }
        casting.await.unwrap();
    });
}

/// The engine's way to whoever subscribed: over the connection that the other side opened, and without waiting.
#[test]
fn a_cast_that_must_not_wait_goes_back_over_the_connection_or_says_why_not() {
    local(async {
        let hood = Hood::new();
        let engine = hood.start("engine");
        let _busy = engine.serve("busy", |id: u32| id).await.unwrap();
        let (client, other) = (hood.hidden("client@1"), hood.hidden("client@2"));
        let lazy: Mailbox<u32, ()> = client.mailbox();
        client.register("lazy", &lazy).await.unwrap();
        client.connect("engine").await.unwrap();
        other.connect("engine").await.unwrap();
        let address = engine.find("lazy", PATIENCE).await.unwrap();
        assert!(engine.is_there(&address));
        let sent = (0..5000u32).take_while(|number| engine.try_cast(&address, number).is_ok()).count();
        assert_eq!(sent, 1024, "as many as may be under way");
        assert_eq!(engine.try_cast(&address, &0u32), Err(CastError::Full));
        let reply: u32 = other.call("busy", &7u32, PATIENCE).await.unwrap();
        assert_eq!(reply, 7, "nobody waits for the one who does not read");
        let (mut requests, mut taken) = (Vec::new(), Vec::new());
        while taken.len() < sent {
            lazy.turn(&mut requests).await;
            taken.extend(requests.drain(..).map(|request| request.body));
        }
        assert!(taken.into_iter().eq(0..1024));
        while engine.try_cast(&address, &9u32).is_err() {
            // What was taken is told in between.
            let _: u32 = client.call("busy", &1u32, PATIENCE).await.unwrap();
        }
        let large = engine.try_cast(&address, &vec![0u8; 2 << 20]);
        assert_eq!(large, Err(CastError::TooLarge { limit: 1 << 20 }));
        let down = engine.monitor(&address);
        drop(lazy);
        down.await;
        assert_eq!(engine.try_cast(&address, &1u32), Err(CastError::Gone));
        assert!(!engine.is_there(&address));
        // A name of its own is reached the same way, and a mailbox of a node that is gone not at all.
        let own: Mailbox<u32, ()> = engine.mailbox();
        engine.register("own", &own).await.unwrap();
        engine.try_cast(&engine.whereis("own").unwrap(), &3u32).unwrap();
        own.turn(&mut requests).await;
        assert_eq!(requests.pop().unwrap().body, 3);
        let again: Mailbox<u32, ()> = client.mailbox();
        client.register("again", &again).await.unwrap();
        let address = engine.find("again", PATIENCE).await.unwrap();
        let down = engine.monitor(&address);
        client.disconnect("engine");
        down.await;
        assert_eq!(engine.try_cast(&address, &1u32), Err(CastError::Gone));
    });
}

#[test]
fn a_call_that_times_out_says_how_long_it_waited_and_its_late_reply_is_dropped() {
    local(async {
        let hood = Hood::new();
        let (engine, client) = (hood.start("engine"), hood.start("client@1"));
        let mut mailbox: Mailbox<u32, u32> = engine.mailbox();
        engine.register("slow", &mailbox).await.unwrap();
        client.connect("engine").await.unwrap();
        let timeout = Duration::from_millis(30);
        let error = client.call::<_, u32>("slow", &1u32, timeout).await.unwrap_err();
        let CallError::TimedOut { waited } = error else { panic!("{error}") };
        assert!(waited >= timeout);
        let mut late = Vec::new();
        mailbox.turn(&mut late).await;
        mailbox.reply(late.remove(0).from, &111);
        mailbox.flush();
        let next = {
            let client = client.clone();
            tokio::task::spawn_local(async move { client.call::<_, u32>("slow", &2u32, PATIENCE).await })
        };
        mailbox.turn(&mut late).await;
        mailbox.reply(late.remove(0).from, &222);
        mailbox.flush();
        assert_eq!(next.await.unwrap(), Ok(222));
    });
}

#[test]
fn a_message_over_the_limit_is_an_error_at_the_sender_that_names_the_limit() {
    local(async {
        let hood = Hood::new();
        let engine = hood.start_with("engine", |options| options.frame = 8192);
        let client = hood.start_with("client@1", |options| options.frame = 4096);
        let _echo = engine.serve("echo", |text: String| text).await.unwrap();
        client.connect("engine").await.unwrap();
        let error = client.call::<_, String>("echo", &"x".repeat(9000), PATIENCE).await.unwrap_err();
        assert_eq!(error, CallError::TooLarge { limit: 8192 });
        assert!(error.to_string().contains("8192"), "{error}");
        let error = client.call::<_, String>("echo", &"x".repeat(5000), PATIENCE).await.unwrap_err();
        assert_eq!(error, CallError::Refused(Fault::ReplyTooLarge { limit: 4096 }));
        let reply: String = client.call("echo", &"x".repeat(4000), PATIENCE).await.unwrap();
        assert_eq!(reply.len(), 4000);
    });
}

#[test]
fn many_names_are_told_whatever_the_smallest_frame() {
    local(async {
        let hood = Hood::new();
        let engine = hood.start("engine");
        let mailbox: Mailbox<u32, u32> = engine.mailbox();
        for number in 0..500 {
            engine.register(&format!("{number}.{}", "x".repeat(60)), &mailbox).await.unwrap();
        }
        let client = hood.start_with("client@1", |options| options.frame = 4096);
        client.connect("engine").await.unwrap();
        assert_eq!(client.registered().len(), 500);
    });
}

#[test]
fn starting_twice_under_one_name_is_an_error_that_tells_the_process() {
    local(async {
        let hood = Hood::new();
        let first = hood.start("engine");
        let error = Node::start_with("engine", hood.options()).unwrap_err();
        assert!(matches!(error, StartError::Listen(_)), "{error}");
        assert!(error.to_string().contains(&format!("this process (pid {})", std::process::id())), "{error}");
        drop(first);
        let _second = hood.start("engine");
        assert!(matches!(Node::start_with("bad name", hood.options()), Err(StartError::Name(_))));
    });
}

#[test]
fn versions_of_the_messages_are_negotiated_and_incompatible_peers_refused_plainly() {
    local(async {
        let hood = Hood::new();
        let engine = hood.start_with("engine", |options| options.messages = 2..=4);
        let mailbox: Mailbox<u32, u32> = engine.mailbox();
        engine.register("users", &mailbox).await.unwrap();
        let client = hood.start_with("client@1", |options| options.messages = 1..=3);
        client.connect("engine").await.unwrap();
        client.cast("users", &1u32).await.unwrap();
        let mut requests = Vec::new();
        mailbox.turn(&mut requests).await;
        assert_eq!(requests[0].from.messages(), Some(3));

        let old = hood.start_with("client@2", |options| options.messages = 1..=1);
        let error = old.connect("engine").await.unwrap_err();
        assert_eq!(error, ConnectError::TurnedAway(Refusal::Messages { ours: (2, 4), theirs: (1, 1) }));
        assert!(!error.is_temporary());
        assert!(error.to_string().contains("versions 2 to 4"), "{error}");
    });
}

#[test]
fn nobody_there_is_a_pang_within_a_second_and_unreachable_to_a_monitor() {
    local(async {
        let hood = Hood::new();
        let client = hood.start("client@1");
        let begun = Instant::now();
        assert!(matches!(client.ping("engine").await, Ping::Pang(ConnectError::NoSocket(_))));
        drop(std::os::unix::net::UnixListener::bind(hood.socket("stale")).unwrap());
        assert!(matches!(client.ping("stale").await, Ping::Pang(ConnectError::Refused(_))));
        let _silent = std::os::unix::net::UnixListener::bind(hood.socket("silent")).unwrap();
        assert!(matches!(client.ping("silent").await, Ping::Pang(ConnectError::NoAnswer { .. })));
        assert!(begun.elapsed() >= Duration::from_millis(900));
        let down = client.monitor_node("engine").await.await;
        assert_eq!((down.node.as_str(), down.reason), ("engine", Reason::Unreachable));
    });
}

#[test]
fn two_that_connect_to_each_other_at_once_have_one_connection() {
    local(async {
        for _ in 0..20 {
            let hood = Hood::new();
            let (a, b) = (hood.start("a"), hood.start("b"));
            let (one, two) = tokio::join!(a.connect("b"), b.connect("a"));
            assert_eq!((one.unwrap().node, two.unwrap().node), ("b".to_owned(), "a".to_owned()));
            let _echo = a.serve("echo", |id: u32| id).await.unwrap();
            let found = b.find("echo", PATIENCE).await.unwrap();
            assert_eq!(b.call::<_, u32>(&found, &3u32, PATIENCE).await, Ok(3));
            assert_eq!((a.nodes().len(), b.nodes().len()), (1, 1));
        }
    });
}

#[test]
fn a_second_node_of_a_name_is_refused_while_the_first_is_connected() {
    local(async {
        let (hood, elsewhere) = (Hood::new(), Hood::new());
        let engine = hood.start("engine");
        let client = hood.start("client@1");
        client.connect("engine").await.unwrap();
        let double = Node::start_with(
            "client@1",
            Options { listen: Listen::Nowhere, folder: hood.options().folder, ..elsewhere.options() },
        )
        .unwrap();
        let error = double.connect("engine").await.unwrap_err();
        assert_eq!(error, ConnectError::TurnedAway(Refusal::NodeTwice { pid: std::process::id() }));
        drop(client);
        while double.connect("engine").await.is_err() {
            tokio::task::yield_now().await;
        }
        assert_eq!(engine.nodes(), [double.identity().clone()]);
    });
}

#[test]
fn the_connections_of_a_node_are_limited() {
    local(async {
        let hood = Hood::new();
        let _engine = hood.start_with("engine", |options| options.limits.connections = 2);
        let clients: Vec<_> = (0..3).map(|number| hood.hidden(&format!("client@{number}"))).collect();
        clients[0].connect("engine").await.unwrap();
        clients[1].connect("engine").await.unwrap();
        let error = clients[2].connect("engine").await.unwrap_err();
        assert_eq!(error, ConnectError::TurnedAway(Refusal::Full { limit: 2 }));
        assert!(error.is_temporary());
    });
}

#[test]
fn many_more_calls_than_may_be_in_flight_all_get_their_own_reply() {
    local(async {
        let hood = Hood::new();
        let engine = hood.start_with("engine", |options| options.limits.in_flight = 16);
        let client = hood.start("client@1");
        let _double = engine.serve("double", |number: u32| 2 * number).await.unwrap();
        client.connect("engine").await.unwrap();
        let calls: Vec<_> = (0..2000u32)
            .map(|number| {
                let client = client.clone();
                tokio::task::spawn_local(
                    async move { client.call::<_, u32>("double", &number, PATIENCE).await },
                )
            })
            .collect();
        for (number, call) in (0..).zip(calls) {
            assert_eq!(call.await.unwrap(), Ok(2 * number));
        }
    });
}

#[test]
fn large_messages_both_ways_at_once_do_not_wait_for_each_other() {
    local(async {
        let hood = Hood::new();
        let (a, b) = (hood.start("a"), hood.start("b"));
        let _at_a = a.serve("at-a", |text: String| text).await.unwrap();
        let _at_b = b.serve("at-b", |text: String| text).await.unwrap();
        a.connect("b").await.unwrap();
        let text = Rc::new("x".repeat(900_000));
        let calls: Vec<_> = (0..40)
            .map(|number| {
                let (node, name) = if number % 2 == 0 { (a.clone(), "at-b") } else { (b.clone(), "at-a") };
                let text = Rc::clone(&text);
                tokio::task::spawn_local(async move {
                    node.call::<_, String>(name, &*text, PATIENCE).await.map(|reply| reply.len())
                })
            })
            .collect();
        for call in calls {
            assert_eq!(call.await.unwrap(), Ok(900_000));
        }
    });
}

#[test]
fn a_lost_connection_is_told_as_such_while_the_peer_s_process_lives() {
    local(async {
        let hood = Hood::new();
        let client = hood.start("client@1");
        let peer = node_support::Raw::listen(&hood, "engine");
        let (met, mut raw) = tokio::join!(client.connect("engine"), peer.welcome());
        met.unwrap();
        let monitor = client.monitor_node("engine").await;
        raw.claim("users").await;
        let users = client.find("users", PATIENCE).await.unwrap();
        let waiting = {
            let client = client.clone();
            tokio::task::spawn_local(async move { client.call::<_, u32>(&users, &1u32, PATIENCE).await })
        };
        raw.read_some().await;
        drop(raw);
        assert_eq!(monitor.await.reason, Reason::ConnectionLost);
        assert_eq!(waiting.await.unwrap(), Err(CallError::Lost(Lost::Closed)));
    });
}
