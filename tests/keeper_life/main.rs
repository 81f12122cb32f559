//! The keeper with real processes: this executable plays the keeper, a supervisor process that does what the test says,
//! and children.
//!
//! `cases.rs` is what must hold; each case runs twice, the second time on the paths for kernels that refuse `clone3` and
//! `close_range`.

mod cases;
mod child;
mod launch;
mod supervisor;

use nix::sys::signal::Signal;
use std::env;
use std::panic;
use std::process::exit;

use launch::Kernel;
use provost::os::process;

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if !arguments.first().is_some_and(|first| first.starts_with("role:")) {
        // Whoever runs the tests in the background may have had these ignored, and a keeper would take that over.
        for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT] {
            provost::os::signals::reset(signal);
        }
    }
    match arguments.first().map(String::as_str) {
        Some("role:keeper") => exit(launch::become_keeper(&arguments[1..])),
        Some("role:supervisor") => supervisor::run(),
        Some("role:storm-supervisor") => supervisor::storm(&arguments[1]),
        Some("role:forger") => child::forge(&arguments[1..]),
        Some("role:child") => child::run(&arguments[1..]),
        _ => exit(run_cases(&arguments)),
    }
}

/// What libtest does, on the main thread: a name given selects the cases that contain it.
fn run_cases(arguments: &[String]) -> i32 {
    process::adopt_orphans().unwrap();
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    let wanted = |name: &String| filter.is_none_or(|filter| name.contains(filter.as_str()));
    let listing = arguments.iter().any(|argument| argument == "--list");
    let mut failed = Vec::new();
    for kernel in [Kernel::Present, Kernel::Old] {
        for (name, case) in cases::ALL {
            let name = format!("{}{name}", kernel.prefix());
            if listing {
                println!("{name}: test");
            } else if wanted(&name) {
                let passed = panic::catch_unwind(|| case(kernel)).is_ok();
                println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
                if !passed {
                    failed.push(name);
                }
            }
        }
    }
    if failed.is_empty() {
        return 0;
    }
    println!("\nfailures: {}", failed.join(", "));
    101
}
