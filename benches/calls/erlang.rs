//! The same in distributed Erlang: a `gen_server` under a global name, nodes in processes of their own.
//!
//! It gets an epmd of its own on a port of its own, so that none is left behind.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::{CALLS, DEPTH, Peer, SECONDS};

const MODULE: &str = r#"
-module(calls).
-behaviour(gen_server).
-export([serve/0, one_by_one/1, load/2, init/1, handle_call/3, handle_cast/2]).

init([]) -> {ok, nothing}.
handle_call(Id, _From, State) -> {reply, {Id, <<"somebody-with-a-name">>, -7}, State}.
handle_cast(_, State) -> {noreply, State}.

serve() ->
    {ok, Pid} = gen_server:start(?MODULE, [], []),
    yes = global:register_name(records, Pid),
    io:format("ready~n"),
    receive never -> ok end.

connect() ->
    pong = net_adm:ping('server@127.0.0.1'),
    ok = global:sync(),
    true = is_pid(global:whereis_name(records)).

one_by_one(Calls) ->
    connect(),
    Times = lists:sort([begin
        Begun = erlang:monotonic_time(nanosecond),
        {_, _, _} = gen_server:call({global, records}, 268435456 + N),
        erlang:monotonic_time(nanosecond) - Begun
    end || N <- lists:seq(1, Calls)]),
    io:format("~p ~p~n", [lists:nth(Calls div 2, Times), lists:nth(Calls * 99 div 100, Times)]),
    halt(0, [{flush, true}]).

load(Depth, Milliseconds) ->
    connect(),
    Until = erlang:monotonic_time(millisecond) + Milliseconds,
    Self = self(),
    Loop = fun Loop(Done) ->
        case erlang:monotonic_time(millisecond) < Until of
            true -> {_, _, _} = gen_server:call({global, records}, 268435456), Loop(Done + 1);
            false -> Self ! {done, Done}
        end
    end,
    [spawn(fun() -> Loop(0) end) || _ <- lists:seq(1, Depth)],
    Sum = lists:sum([receive {done, Done} -> Done end || _ <- lists:seq(1, Depth)]),
    io:format("~p~n", [Sum * 1000 / Milliseconds]),
    halt(0, [{flush, true}]).
"#;

/// Its server, running.
pub(crate) struct Erlang {
    folder: PathBuf,
    port: u16,
    _server: Peer,
    epmd: Child,
}

impl Erlang {
    /// `None`: it is not installed.
    pub(crate) fn find(folder: &Path) -> Option<Erlang> {
        std::fs::create_dir_all(folder).expect("a folder");
        std::fs::write(folder.join("calls.erl"), MODULE).expect("write the module");
        let compiled = Command::new("erlc").arg("calls.erl").current_dir(folder).status().ok()?;
        assert!(compiled.success(), "erlc calls.erl");
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|free| free.local_addr());
        let port = port.expect("a free port").port();
        let epmd = Command::new("epmd")
            .args(["-address", "127.0.0.1", "-port", &port.to_string()])
            .stdin(Stdio::null())
            .spawn()
            .ok()?;
        let server = Peer::of(erl(folder, port, "server", "calls:serve()."));
        Some(Erlang { folder: folder.to_owned(), port, _server: server, epmd })
    }

    /// p50 and p99 of one call in flight, in microseconds.
    pub(crate) fn one_by_one(&self) -> [f64; 2] {
        let client = erl(&self.folder, self.port, "one", &format!("calls:one_by_one({CALLS})."));
        let output = client.wait_with_output().expect("wait");
        let text = String::from_utf8_lossy(&output.stdout);
        let times: Vec<f64> = text.split_whitespace().map(|word| word.parse().expect("a number")).collect();
        [times[0] / 1e3, times[1] / 1e3]
    }

    /// A client that prints its calls a second.
    pub(crate) fn load(&self) -> Child {
        use std::sync::atomic::{AtomicU32, Ordering};
        static CLIENT: AtomicU32 = AtomicU32::new(0);
        let name = format!("client{}", CLIENT.fetch_add(1, Ordering::Relaxed));
        let work = format!("calls:load({DEPTH}, {}).", (SECONDS * 1e3) as u32);
        erl(&self.folder, self.port, &name, &work)
    }
}

impl Drop for Erlang {
    fn drop(&mut self) {
        let _ = self.epmd.kill();
        let _ = self.epmd.wait();
    }
}

fn erl(folder: &Path, port: u16, name: &str, work: &str) -> Child {
    Command::new("erl")
        .args(["-noshell", "-start_epmd", "false", "-setcookie", "bench"])
        // Clients that end one after the other are no partition of the network.
        .args(["-kernel", "prevent_overlapping_partitions", "false"])
        .args(["-name", &format!("{name}@127.0.0.1"), "-eval", work])
        .env("ERL_EPMD_PORT", port.to_string())
        .env("HOME", folder)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("erl starts")
}
