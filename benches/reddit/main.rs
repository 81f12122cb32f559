//! The Reddit under load: one engine process, four client processes, the targets beside what was measured.
//!
//! The engine is the real program with its store on a real disk. The clients are this program in another role: what they
//! ask is drawn as simulated users would ask, without the bookkeeping of the simulator, and every answer is decoded. All
//! five share the machine's cores.
//!
//! With words as arguments only those rows are measured: load, paced, users, restart.

use std::path::Path;
use std::time::{Duration, Instant};

mod client;
mod draw;
mod engine;
mod figures;

use client::{Client, Order};
use engine::{Durability, Engine};
use figures::{Figures, row};

/// Client processes.
const CLIENTS: usize = 4;

/// Users of each client while load is measured, and while nothing but their number is.
const USERS: u32 = 2_500;
const MANY: u32 = 250_000;

/// Measured seconds of a row.
const SECONDS: f64 = 5.0;

/// Requests a second of all clients together in a paced row.
const RATE: u32 = 20_000;

/// Records in the store that is restarted and checked.
const RECORDS: u64 = 1_000_000;

/// Restarts, of which the median and the longest are told.
const RESTARTS: usize = 5;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    if let [role, number, socket] = &words[..]
        && role == "client"
    {
        return client::play(number.parse().expect("a number"), Path::new(socket));
    }
    let wanted = |row: &str| words.is_empty() || words.iter().any(|word| word == row);
    if wanted("load") {
        load();
    }
    if wanted("paced") {
        paced();
    }
    if wanted("users") {
        users();
    }
    if wanted("restart") {
        restart();
    }
}

/// Clients with their users registered, members, and with something to read.
fn clients(engine: &Engine, users: u32, posts: u32) -> Vec<Client> {
    let mut clients: Vec<Client> =
        (0..CLIENTS).map(|number| Client::start(number, engine.socket())).collect();
    for step in [Order::Found, Order::Register { users }, Order::Join, Order::Write { posts }] {
        each(&mut clients, step);
    }
    clients
}

/// All at once, and waits for all.
fn each(clients: &mut [Client], order: Order) -> Figures {
    clients.iter_mut().for_each(|client| client.tell(order));
    clients.iter_mut().map(Client::figures).fold(Figures::default(), Figures::and)
}

fn load() {
    for (durability, target) in
        [(Durability::Process, Some(200e3)), (Durability::Power, Some(120e3)), (Durability::None, None)]
    {
        let engine = Engine::start(durability);
        let mut clients = clients(&engine, USERS, 5_000);
        each(&mut clients, Order::Act { seconds: 1.0 });
        let (before, cpu) = (engine.stats(), engine.cpu());
        let figures = each(&mut clients, Order::Act { seconds: SECONDS });
        let (after, cpu) = (engine.stats(), engine.cpu() - cpu);
        println!("\n{CLIENTS} clients with {} in flight each, {durability}\n", client::DEPTH);
        let rate = figures.acknowledged() as f64 / SECONDS;
        row(
            "acknowledged",
            format!("{:.1} k/s", rate / 1e3),
            target.map(|rate| format!(">= {:.0} k/s", rate / 1e3)),
        );
        let p99 = figures.all().value_at_quantile(0.99);
        row("p99 of all", format!("{:.2} ms", ms(p99)), Some("<= 5 ms".to_owned()));
        figures.print();
        let served = (after.requests - before.requests) as f64;
        row("engine's CPU", format!("{:.2} us/op", cpu.as_secs_f64() * 1e6 / served), None);
        row("clients' CPU", format!("{:.2} us/op", figures.cpu_s * 1e6 / served), None);
        row("requests in a turn", format!("{:.0}", served / (after.turns - before.turns) as f64), None);
        row("engine's RSS", engine.rss().to_string(), None);
    }
}

fn paced() {
    for (durability, target) in [(Durability::Process, "<= 1 ms"), (Durability::Power, "<= 5 ms")] {
        let engine = Engine::start(durability);
        let mut clients = clients(&engine, USERS, 5_000);
        let rate = RATE / CLIENTS as u32;
        each(&mut clients, Order::Pace { rate, seconds: 1.0 });
        let figures = each(&mut clients, Order::Pace { rate, seconds: SECONDS });
        println!("\n{RATE} requests a second, whatever the engine does, {durability}\n");
        let p99 = figures.all().value_at_quantile(0.99);
        row("p99 of all, since it was due", format!("{:.3} ms", ms(p99)), Some(target.to_owned()));
        figures.print();

        // The segment is filled up, so that the next one, and a snapshot with it, begins while time is measured.
        while engine.left_in_segment() > 2 << 20 {
            each(&mut clients, Order::Act { seconds: 0.1 });
        }
        let snapshots = engine.snapshots();
        let mut during = Figures::default();
        let begun = Instant::now();
        while engine.snapshots() == snapshots && begun.elapsed() < Duration::from_secs(60) {
            during = during.and(each(&mut clients, Order::Pace { rate, seconds: 1.0 }));
        }
        let (p99, max) = (during.all().value_at_quantile(0.99), during.all().max());
        let position = engine.stats().position;
        println!("\nthe same until a snapshot of {position} records is written, {durability}\n");
        row("p99 of all, since it was due", format!("{:.3} ms", ms(p99)), Some(target.to_owned()));
        row("the longest", format!("{:.3} ms", ms(max)), None);
    }
}

fn users() {
    let engine = Engine::start(Durability::Process);
    let mut clients: Vec<Client> =
        (0..CLIENTS).map(|number| Client::start(number, engine.socket())).collect();
    each(&mut clients, Order::Found);
    let begun = Instant::now();
    each(&mut clients, Order::Register { users: MANY });
    let count = engine.stats().users;
    println!("\n{count} users\n");
    row("registered", format!("{:.1} k/s", count as f64 / begun.elapsed().as_secs_f64() / 1e3), None);
    row("engine's RSS, all online", engine.rss().to_string(), Some("<= 1.5 GB".to_owned()));
    each(&mut clients, Order::Join);
    row("and with 5 memberships each", engine.rss().to_string(), Some("<= 1.5 GB".to_owned()));
    row("at its highest", engine.highest_rss().to_string(), None);
}

fn restart() {
    let mut engine = Engine::start(Durability::Process);
    let mut clients = clients(&engine, USERS, 5_000);
    while engine.stats().position < RECORDS {
        each(&mut clients, Order::Act { seconds: 0.2 });
    }
    drop(clients);
    let records = engine.stats().position;
    let mut times: Vec<u64> = (0..RESTARTS).map(|_| engine.restart().as_nanos() as u64).collect();
    times.sort_unstable();
    println!("\na store of {records} records\n");
    let longest = times[RESTARTS - 1];
    row("kill -9 to the next acknowledged write", format!("{:.3} s", ms(times[RESTARTS / 2]) / 1e3), None);
    row("the longest", format!("{:.3} s", ms(longest) / 1e3), Some("< 1 s".to_owned()));
    let check = engine.check();
    row("check", format!("{:.2} s", check.as_secs_f64()), Some("< 5 s".to_owned()));
}

fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}
