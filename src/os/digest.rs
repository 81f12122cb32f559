//! Short names for long ones.

/// FNV-1a, 64 bits: the same on every version and machine, which the standard library's hashes are not promised to be. Not
/// for what an enemy may choose.
pub fn stable(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
