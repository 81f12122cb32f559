//! Whatever a peer sends: `cargo +nightly fuzz run decoders`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u16, &[u8])| provost::node::decode_anything(input.1, usize::from(input.0)));
