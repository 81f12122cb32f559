//! An engine that keeps what it acknowledged: killed, out of room, on a broken disk, asked twice. The rows E01 to E08 of
//! the list of faults, with real processes.

mod payload;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output};
use std::rc::Rc;
use std::time::Instant;

use nix::sys::signal::Signal;
use payload::{BOUND, ENGINE, Place, Process, ask, place, stats};
use provost::node::{CallError, Fault};
use provost::reddit::Remote;
use provost::reddit::model::{Field, Flaw};
use provost::reddit::protocol::{
    Answer, Asked, CommentId, EngineRequest, Envelope, Error, OpId, PostId, Reply, Request, Secret, Session,
    SubredditId, comment_manager, post_manager, subreddit_manager, user_registry,
};
use tokio::task::{JoinSet, LocalSet};

impl Place {
    fn store(&self) -> std::path::PathBuf {
        self.dir.path().join("store")
    }

    /// An engine that keeps what happens in this place's store, serving.
    fn keeper(&self, options: &[&str]) -> Process {
        let mut engine = self.begin(&mut Command::new(ENGINE), options);
        engine.wait_for("listening on");
        engine
    }

    /// The same, by a command that becomes the engine, and not waited for.
    fn begin(&self, command: &mut Command, options: &[&str]) -> Process {
        Process::start(
            command.arg("--listen").arg(&self.socket).arg("--store").arg(self.store()).args(options),
        )
    }

    /// A verb about the store.
    fn verb(&self, verb: &str, options: &[&str]) -> Output {
        Command::new(ENGINE).arg(verb).arg("--store").arg(self.store()).args(options).output().unwrap()
    }

    fn must_be_sound(&self) -> String {
        let check = self.verb("check", &[]);
        let text = String::from_utf8(check.stdout).unwrap();
        assert!(check.status.success(), "{text} {}", String::from_utf8_lossy(&check.stderr));
        text
    }
}

fn op(number: u32) -> OpId {
    OpId { stream: 77, number }
}

async fn connect(socket: &Path) -> Rc<Remote> {
    Rc::new(payload::connect(socket).await)
}

/// Ada's session at this engine, whatever it remembers.
async fn log_in(engine: &Remote) -> Session {
    let secret = Secret([9; 16]);
    let register = user_registry::Request::Register { name: "ada".into(), secret, key: None };
    match engine.call(&Request::UserRegistry(register).into(), BOUND).await.unwrap() {
        Ok(Reply::UserRegistry(user_registry::Reply::LoggedIn(session))) => session,
        other => panic!("{other:?}"),
    }
}

/// A post to comment on, the first one.
async fn first_post(engine: &Remote, session: Session) {
    let (name, subreddit) = ("rust".into(), SubredditId(1));
    let create = subreddit_manager::Request::Create { session, name, description: "".into() };
    engine.call(&Request::SubredditManager(create).into(), BOUND).await.unwrap().unwrap();
    let post = post_manager::Request::Create {
        session,
        subreddit,
        title: "title".into(),
        body: "".into(),
        signature: None,
    };
    engine.call(&Request::PostManager(post).into(), BOUND).await.unwrap().unwrap();
}

/// The comment that says its number, as an operation with that number.
fn comment(session: Session, number: u32) -> Envelope {
    let body = format!("comment {number}").into();
    let create = comment_manager::Request::Create { session, post: PostId(1), parent: None, body };
    Request::CommentManager(create).once(op(number))
}

fn created(answer: &Answer) -> CommentId {
    match answer {
        Ok(Reply::CommentManager(comment_manager::Reply::Created { id, .. })) => *id,
        other => panic!("{other:?}"),
    }
}

/// Asks for these comments, all at once, and returns what was acknowledged until the connection ended. `enough`
/// acknowledgements are answered by `then`.
async fn comments(
    engine: &Rc<Remote>,
    session: Session,
    numbers: impl IntoIterator<Item = u32>,
    enough: usize,
    mut then: impl FnMut(),
) -> BTreeMap<u32, CommentId> {
    let mut open = JoinSet::new();
    for number in numbers {
        let engine = Rc::clone(engine);
        open.spawn_local(async move { (number, engine.call(&comment(session, number), BOUND).await) });
    }
    let mut acknowledged = BTreeMap::new();
    while let Some(done) = open.join_next().await {
        let (number, answer) = done.unwrap();
        match answer {
            Ok(answer) => {
                acknowledged.insert(number, created(&answer));
            }
            // The engine is gone, or going because its store failed.
            Err(CallError::Lost(_) | CallError::Refused(Fault::GivenUp)) => {}
            Err(error) => panic!("{error}"),
        }
        if acknowledged.len() == enough {
            then();
        }
    }
    acknowledged
}

/// Whether this machine lets a command do its work.
fn works(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, test)
}

#[test]
fn e01_every_acknowledged_write_is_there_once_however_often_the_engine_is_killed() {
    const ROUNDS: u32 = 20;
    const BATCH: u32 = 100;
    let place = place();
    let mut told = BTreeMap::new();
    for round in 0..ROUNDS {
        let mut process = place.keeper(&[]);
        run(async {
            let engine = connect(&place.socket).await;
            let session = log_in(&engine).await;
            if round == 0 {
                first_post(&engine, session).await;
            }
            // What was not answered in the last life is asked for again, under the same names, before the new ones.
            let new = (round + 1) * BATCH;
            let open: Vec<u32> = (0..new).filter(|number| !told.contains_key(number)).collect();
            let enough = open.len() / 2 + round as usize;
            let victim = &mut process.child;
            told.extend(comments(&engine, session, open, enough, || victim.kill().unwrap()).await);
        });
        process.wait();
    }
    let _engine = place.keeper(&[]);
    run(async {
        let engine = connect(&place.socket).await;
        let session = log_in(&engine).await;
        let open: Vec<u32> = (0..ROUNDS * BATCH).filter(|number| !told.contains_key(number)).collect();
        told.extend(comments(&engine, session, open, usize::MAX, || ()).await);
        assert_eq!(told.len() as u32, ROUNDS * BATCH);
        assert_eq!(u64::from(ROUNDS * BATCH), stats(&engine).await.comments, "none is there twice");
        for (&number, &id) in &told {
            let get = Request::CommentManager(comment_manager::Request::Get { comment: id });
            match engine.call(&get.into(), BOUND).await.unwrap() {
                Ok(Reply::CommentManager(comment_manager::Reply::Comment(view))) => {
                    assert_eq!(*view.body, format!("comment {number}"));
                }
                other => panic!("{number}: {other:?}"),
            }
        }
    });
    place.must_be_sound();
}

#[test]
fn e04_an_error_of_the_disk_is_never_acknowledged_and_ends_the_engine() {
    let place = place();
    // A file must not grow beyond 8 KiB, and the signal that says so is ignored: writing fails.
    let script = "trap '' XFSZ; ulimit -f 8; exec \"$0\" \"$@\"";
    let mut process = place.begin(Command::new("bash").args(["-c", script, ENGINE]), &[]);
    process.wait_for("listening on");
    let told = run(async {
        let engine = connect(&place.socket).await;
        let session = log_in(&engine).await;
        first_post(&engine, session).await;
        let mut told = BTreeMap::new();
        for first in (0..).step_by(100) {
            told.extend(comments(&engine, session, first..first + 100, usize::MAX, || ()).await);
            if engine.lost().is_some() {
                break;
            }
        }
        told
    });
    assert_eq!(process.wait().code(), Some(74), "{:?}", process.seen);
    assert_eq!(process.count("the store cannot be written"), 1);
    all_there(&place, &told);
}

#[test]
fn e04_a_failed_sync_is_never_acknowledged_and_not_tried_again() {
    let place = place();
    if !works(Command::new("strace").args(["-o", "/dev/null", "true"])) {
        println!("skipped: strace is not installed, or may trace nothing here");
        return;
    }
    let inject =
        ["-f", "-o", "/dev/null", "-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO:when=12"];
    let mut process =
        place.begin(Command::new("strace").args(inject).arg(ENGINE), &["--durability", "power"]);
    process.wait_for("listening on");
    let told = run(async {
        let engine = connect(&place.socket).await;
        let session = log_in(&engine).await;
        first_post(&engine, session).await;
        let mut told = BTreeMap::new();
        for number in 0..100 {
            told.extend(comments(&engine, session, [number], usize::MAX, || ()).await);
        }
        told
    });
    // Only the twelfth fails: a second try would have succeeded, and everything would be acknowledged.
    assert!((1..20).contains(&told.len()), "{told:?}");
    assert_eq!(process.wait().code(), Some(74), "{:?}", process.seen);
    all_there(&place, &told);
}

/// The store is sound, and an engine finds everything in it that was acknowledged.
fn all_there(place: &Place, told: &BTreeMap<u32, CommentId>) {
    place.must_be_sound();
    let _engine = place.keeper(&[]);
    run(async {
        let engine = connect(&place.socket).await;
        let session = log_in(&engine).await;
        let again = comments(&engine, session, told.keys().copied(), usize::MAX, || ()).await;
        assert_eq!(&again, told, "answered alike");
    });
}

#[test]
fn e05_a_full_disk_refuses_writes_goes_on_reading_and_resumes_when_there_is_room() {
    let place = place();
    fs::create_dir(place.store()).unwrap();
    // The engine sees a small file system of its own where its store is. What fills it can be removed from outside.
    let script = "mount -t tmpfs -o size=256k none \"$1\" && head -c 200k /dev/zero >\"$1/filler\"; shift; exec \"$0\" \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "bash", "-c", script, ENGINE]).arg(place.store());
    let try_it = "mount -t tmpfs -o size=4k none \"$0\"";
    let namespace = ["--user", "--map-root-user", "--mount", "bash", "-c", try_it];
    if !works(Command::new("unshare").args(namespace).arg(place.store())) {
        println!("skipped: no namespace of its own can be made here");
        return;
    }
    let mut process = place.begin(&mut command, &[]);
    process.wait_for("listening on");
    run(async {
        let engine = connect(&place.socket).await;
        let secret = Secret([9; 16]);
        let register = user_registry::Request::Register { name: "ada".into(), secret, key: None };
        let register = Request::UserRegistry(register).into();
        assert_eq!(engine.call(&register, BOUND).await.unwrap(), Err(Error::StoreFull));
        assert_eq!(stats(&engine).await.users, 0, "it answers, and nothing has happened");
        let filler = format!("/proc/{}/root{}/filler", process.child.id(), place.store().display());
        fs::remove_file(filler).unwrap();
        assert!(engine.call(&register, BOUND).await.unwrap().is_ok());
        assert_eq!(stats(&engine).await.users, 1);
    });
}

#[test]
fn e06_a_second_engine_on_the_store_ends_and_names_the_first() {
    let place = place();
    let first = place.keeper(&[]);
    let before = fs::read(place.store().join(format!("log-{:020}", 0))).unwrap();
    let other = place.dir.path().join("other.sock");
    let mut command = Command::new(ENGINE);
    let mut second = Process::start(command.arg("--listen").arg(&other).arg("--store").arg(place.store()));
    assert_eq!(second.wait().code(), Some(75));
    assert_eq!(second.count(&format!("(pid {})", first.pid())), 1, "{:?}", second.seen);
    assert_eq!(fs::read(place.store().join(format!("log-{:020}", 0))).unwrap(), before);
}

#[test]
fn e07_a_write_whose_reply_was_lost_with_the_engine_is_done_once_and_answered_alike() {
    let place = place();
    let mut process = place.keeper(&[]);
    run(async {
        let engine = connect(&place.socket).await;
        let session = log_in(&engine).await;
        first_post(&engine, session).await;
        let position = stats(&engine).await.position;
        // Asked, and nobody waits for the answer: it is as lost as if the engine had died before it.
        let asked = {
            let engine = Rc::clone(&engine);
            tokio::task::spawn_local(async move { engine.call(&comment(session, 1), BOUND).await })
        };
        while stats(&engine).await.position == position {
            tokio::task::yield_now().await;
        }
        asked.abort();
        process.child.kill().unwrap();
    });
    process.wait();
    let _engine = place.keeper(&[]);
    run(async {
        let engine = connect(&place.socket).await;
        let session = log_in(&engine).await;
        let first = engine.call(&comment(session, 1), BOUND).await.unwrap();
        assert_eq!(created(&first), CommentId(1));
        assert_eq!(engine.call(&comment(session, 1), BOUND).await.unwrap(), first);
        assert_eq!(stats(&engine).await.comments, 1);
    });
}

#[test]
fn a_write_of_a_forgotten_stream_is_too_old_and_never_done_twice() {
    let place = place();
    let mut process = place.keeper(&[]);
    let too_old = Err(Error::BadRequest { field: Field::Operation, flaw: Flaw::TooOld });
    let since = run(async {
        let engine = connect(&place.socket).await;
        let session = log_in(&engine).await;
        first_post(&engine, session).await;
        let since = stats(&engine).await.operations;
        let asked = |number| comment(session, number).request.asked(Asked { op: op(number), since });
        engine.call(&asked(1), BOUND).await.unwrap().unwrap();
        payload::crowd_out_streams(&engine).await;
        for again in [asked(1), asked(2), comment(session, 1)] {
            assert_eq!(engine.call(&again, BOUND).await.unwrap(), too_old);
        }
        assert_eq!(stats(&engine).await.comments, 1);
        since
    });
    process.child.kill().unwrap();
    process.wait();
    let _engine = place.keeper(&[]);
    run(async {
        let engine = connect(&place.socket).await;
        let session = log_in(&engine).await;
        let again = comment(session, 1).request.asked(Asked { op: op(1), since });
        assert_eq!(engine.call(&again, BOUND).await.unwrap(), too_old, "the next engine knows it too");
        let since = stats(&engine).await.operations;
        let new = Asked { op: OpId { stream: 78, number: 1 }, since };
        engine.call(&comment(session, 1).request.asked(new), BOUND).await.unwrap().unwrap();
        assert_eq!(stats(&engine).await.comments, 2, "a stream that is begun now is a new one");
    });
}

#[test]
fn who_repeats_another_one_s_registration_gets_no_session() {
    let place = place();
    let _engine = place.keeper(&[]);
    ask(&place.socket, async |engine| {
        let register = |name: &str, secret| {
            let register = user_registry::Request::Register {
                name: name.into(),
                secret: Secret([secret; 16]),
                key: None,
            };
            Request::UserRegistry(register).once(op(1))
        };
        engine.call(&register("ada", 1), BOUND).await.unwrap().unwrap();
        let reused = Err(Error::BadRequest { field: Field::Operation, flaw: Flaw::Reused });
        assert_eq!(engine.call(&register("eve", 2), BOUND).await.unwrap(), reused);
        engine.call(&register("ada", 1), BOUND).await.unwrap().unwrap();
    });
}

#[test]
fn e08_hostile_frames_cost_their_connection_and_nobody_else() {
    let place = place();
    let _engine = place.keeper(&[]);
    run(async {
        let engine = connect(&place.socket).await;
        let session = log_in(&engine).await;
        first_post(&engine, session).await;
        let hostile: [&[u8]; 5] = [
            &[0; 4],
            &[0xff; 4],
            &[0xff, 0xff, 0xff, 0x7f, 1],
            b"GET / HTTP/1.1\r\n\r\n",
            &[7, 0, 0, 0, 1, 9, 0],
        ];
        let closed = hostile.map(|bytes| {
            let mut stream = UnixStream::connect(&place.socket).unwrap();
            stream.write_all(bytes).unwrap();
            stream
        });
        // And one that says hello a byte at a time, for ever.
        let mut slow = UnixStream::connect(&place.socket).unwrap();
        for number in 0..20 {
            let _ = slow.write_all(&[100]);
            assert_eq!(comments(&engine, session, [number], 1, || ()).await.len(), 1, "others are served");
        }
        for mut stream in closed {
            stream.set_read_timeout(Some(BOUND)).unwrap();
            let mut rest = Vec::new();
            // Closed with a word of explanation or reset, but closed.
            let _ = stream.read_to_end(&mut rest);
            assert!(rest.len() < 1000, "{rest:?}");
        }
    });
}

#[test]
fn a_restarted_engine_is_the_same_engine_and_says_how_much_it_read() {
    let place = place();
    let mut process = place.keeper(&[]);
    let fingerprint = |place: &Place| {
        ask(&place.socket, async |engine| {
            let session = log_in(&engine).await;
            if stats(&engine).await.posts == 0 {
                first_post(&engine, session).await;
            }
            match engine.call(&Request::Engine(EngineRequest::Examine).into(), BOUND).await.unwrap() {
                Ok(Reply::Examined(found)) => found.fingerprint,
                other => panic!("{other:?}"),
            }
        })
    };
    let before = fingerprint(&place);
    process.signal(Signal::SIGTERM);
    assert_eq!(process.wait().code(), Some(0));
    let mut process = place.keeper(&[]);
    assert_eq!(process.count("3 entries read"), 1, "{:?}", process.seen);
    assert_eq!(fingerprint(&place), before);
    process.child.kill().unwrap();
    process.wait();
    let stats = String::from_utf8(place.verb("stats", &["--json"]).stdout).unwrap();
    assert!(stats.contains(&format!("\"fingerprint\":\"{before:016x}\"")), "{stats}");
}

#[test]
fn a_damaged_store_is_not_served_and_the_place_is_named() {
    let place = place();
    let power = ["--durability", "power"];
    let mut process = place.keeper(&power);
    ask(&place.socket, async |engine| {
        let session = log_in(&engine).await;
        first_post(&engine, session).await;
    });
    process.child.kill().unwrap();
    process.wait();
    let path = place.store().join(format!("log-{:020}", 0));
    let mut bytes = fs::read(&path).unwrap();
    bytes[50] ^= 4;
    fs::write(&path, &bytes).unwrap();
    let mut process = place.begin(&mut Command::new(ENGINE), &power);
    assert_eq!(process.wait().code(), Some(65));
    let text = format!("{} is damaged at byte 40", path.display());
    assert_eq!(process.count(&text), 1, "{:?}", process.seen);
    for verb in ["check", "stats"] {
        assert_eq!(place.verb(verb, &[]).status.code(), Some(65));
    }
    assert_eq!(fs::read(&path).unwrap(), bytes);

    let looked = place.verb("repair", &[]);
    let said = String::from_utf8(looked.stdout).unwrap();
    assert_eq!(looked.status.code(), Some(65), "{said}");
    assert!(said.contains("kept: nothing\nlost: at least 3 records, numbers 0 to 2\n"), "{said}");
    assert!(said.contains(&format!("{}, the whole file of {} bytes", path.display(), bytes.len())), "{said}");
    assert_eq!(fs::read(&path).unwrap(), bytes, "it only looked");
    let repaired = place.verb("repair", &["--drop"]);
    assert!(repaired.status.success(), "{repaired:?}");
    let aside = place.store().join("dropped-1").join(path.file_name().unwrap());
    assert_eq!(fs::read(aside).unwrap(), bytes, "nothing is destroyed");
    let _engine = place.keeper(&[]);
    let again = place.verb("repair", &[]);
    assert_eq!(again.status.code(), Some(75), "an engine uses it");
}

#[test]
fn a_log_that_was_not_synced_is_cut_where_it_breaks_and_that_is_told() {
    let place = place();
    let mut process = place.keeper(&[]);
    ask(&place.socket, async |engine| {
        let session = log_in(&engine).await;
        first_post(&engine, session).await;
    });
    process.child.kill().unwrap();
    process.wait();
    let path = place.store().join(format!("log-{:020}", 0));
    let mut bytes = fs::read(&path).unwrap();
    bytes[50] ^= 4;
    fs::write(&path, &bytes).unwrap();
    assert!(place.must_be_sound().contains("3 records behind the end of the log"));
    let engine = place.keeper(&[]);
    assert_eq!(engine.count("3 entries written after it was last synced are lost"), 1, "{:?}", engine.seen);
    ask(&place.socket, async |engine| assert_eq!(stats(&engine).await.users, 0));
    let aside = place.store().join("dropped-1").join(path.file_name().unwrap());
    assert_eq!(fs::read(aside).unwrap(), bytes[40..], "what was written is still there");
}

#[test]
fn the_store_is_exported_as_a_database() {
    let place = place();
    let _engine = place.keeper(&[]);
    run(async {
        let engine = connect(&place.socket).await;
        let session = log_in(&engine).await;
        first_post(&engine, session).await;
        comments(&engine, session, 0..10, usize::MAX, || ()).await;
    });
    let file = place.dir.path().join("reddit.db");
    let export = place.verb("export", &["--sqlite", file.to_str().unwrap()]);
    assert!(export.status.success(), "{export:?}");
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "for its owner only: messages are in it");
    let database = rusqlite::Connection::open(&file).unwrap();
    let question = "SELECT name, count(*) FROM comments JOIN users ON users.id = author GROUP BY name";
    let row: (String, u32) = database.query_row(question, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    assert_eq!(row, ("ada".to_owned(), 10));
    let again = place.verb("export", &["--sqlite", file.to_str().unwrap()]);
    assert_eq!(again.status.code(), Some(1), "nothing is overwritten");
    let (link, elsewhere) = (place.dir.path().join("link.db"), place.dir.path().join("elsewhere.db"));
    std::os::unix::fs::symlink(&elsewhere, &link).unwrap();
    let led = place.verb("export", &["--sqlite", link.to_str().unwrap()]);
    assert_eq!((led.status.code(), elsewhere.exists()), (Some(1), false), "no link is followed");
}

#[test]
fn a_store_that_breaks_a_rule_is_told_with_the_first_example() {
    use provost::reddit::model::{Entry, Record, UserId};
    use provost::reddit::store::{Durability, Store};
    let place = place();
    let (mut store, _, _) = Store::open(&place.store(), Durability::Process).unwrap();
    let text = || "text".into();
    let records = [
        Record::UserRegistered { name: "ada".into(), secret: Secret([0; 16]), key: None, at_ms: 1 },
        Record::SubredditCreated { creator: UserId(1), name: "rust".into(), description: text(), at_ms: 2 },
        Record::SubredditLeft { user: UserId(1), subreddit: SubredditId(1) },
        Record::PostCreated {
            author: UserId(1),
            subreddit: SubredditId(1),
            title: text(),
            body: text(),
            signature: None,
            at_ms: 3,
        },
    ];
    for record in records {
        store.append(&Entry { op: None, record }).unwrap();
    }
    store.commit().unwrap();
    drop(store);
    let check = place.verb("check", &[]);
    assert_eq!(check.status.code(), Some(1));
    let told = String::from_utf8(check.stdout).unwrap();
    assert_eq!(told, "I5 does not hold: line 4: t2_1 posts in t5_1 and is no member\n");
}

#[test]
fn a_store_that_cannot_be_made_says_where() {
    let place = place();
    let file = place.dir.path().join("file");
    fs::write(&file, "").unwrap();
    let mut command = Command::new(ENGINE);
    command.arg("--listen").arg(&place.socket).arg("--store").arg(file.join("below"));
    let begun = Instant::now();
    let mut engine = Process::start(&mut command);
    assert_eq!(engine.wait().code(), Some(74), "{:?}", begun.elapsed());
    assert_eq!(engine.count("cannot make"), 1, "{:?}", engine.seen);
}
