//! What simulated users are called, and how they prove who they are.

use rand::RngCore;
use rand_chacha::ChaCha8Rng;

use crate::reddit::model::Secret;

/// A username has at most 20 characters: the client's part, an underscore, and up to 7 digits of base 36.
const CLIENT_PART: usize = 12;

/// The name of a client's user, an allowed username that no other client uses.
pub(super) fn of_user(client: &str, user: u32) -> String {
    format!("{}_{}", client_part(client), base36(user.into()))
}

/// The client's name in the alphabet of usernames. Where that loses something, a hash of the whole name stands in
/// for it, so that two different clients keep different users.
fn client_part(client: &str) -> String {
    let plain: String =
        client.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(CLIENT_PART).collect();
    // '@' is the one character that every client's name has and no username may have.
    let lossless = (1..=CLIENT_PART).contains(&client.len())
        && client.chars().all(|c| c.is_ascii_alphanumeric() || c == '@')
        && client.matches('@').count() <= 1
        && client == client.to_ascii_lowercase();
    if lossless {
        return plain;
    }
    let hash = base36(fnv1a(client.as_bytes()) % 36_u64.pow(7));
    format!("{}-{hash}", &plain[..plain.len().min(CLIENT_PART - 1 - 7)])
}

/// The same secret whenever the same generator comes to the same user.
pub(super) fn secret(random: &mut ChaCha8Rng) -> Secret {
    let mut bytes = [0; 16];
    random.fill_bytes(&mut bytes);
    Secret(bytes)
}

/// FNV-1a, 64 bits: spreads names over seeds, keeps nothing secret.
pub(super) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn base36(mut rest: u64) -> String {
    let mut digits = Vec::new();
    loop {
        digits
            .push(char::from_digit((rest % 36) as u32, 36).expect("a remainder of 36 is a digit of base 36"));
        rest /= 36;
        if rest == 0 {
            return digits.into_iter().rev().collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_named_after_their_client() {
        assert_eq!(of_user("client@1", 0), "client-1_0");
        assert_eq!(of_user("client@1", 1295), "client-1_zz");
    }

    #[test]
    fn every_name_is_an_allowed_username() {
        for client in ["client@1", "a-very-long-client-name@123456", "käse", "", "UPPER", "a@b@c"] {
            let name = of_user(client, u32::MAX);
            assert!((3..=20).contains(&name.len()), "{name}");
            assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-'), "{name}");
        }
    }

    #[test]
    fn clients_that_look_alike_keep_different_users() {
        let names =
            ["client@1", "client-1", "Client@1", "long-client-name@1", "long-client-name@2", "a@b@", "a@b-"];
        let mut users: Vec<_> = names.iter().map(|client| of_user(client, 0).to_ascii_lowercase()).collect();
        users.sort();
        users.dedup();
        assert_eq!(users.len(), names.len());
    }
}
