//! The private side of a user's key: what signs posts. No engine ever sees one.

use std::fmt;

use p256::elliptic_curve::sec1::ToSec1Point;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};

use super::model::{PublicKey, Signature, Signed};

/// A private key.
pub struct Signer {
    pair: Pair,
    random: SystemRandom,
}

enum Pair {
    P256(Box<EcdsaKeyPair>),
    Rsa(Box<RsaKeyPair>),
}

/// Why something is no private key, or cannot sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// Neither of the two kinds.
    #[error("it is neither a P-256 key nor an RSA key of 2048 bits with the exponent 65537, in PKCS #8")]
    Kind,
    /// The kernel gave no random numbers.
    #[error("there are no random numbers")]
    Random,
}

impl Signer {
    /// A new P-256 key, and its PKCS #8 document (DER).
    ///
    /// # Errors
    /// [`BadKey::Random`].
    pub fn generate() -> Result<(Signer, Vec<u8>), BadKey> {
        let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        let document = made.map_err(|_| BadKey::Random)?.as_ref().to_vec();
        Signer::from_pkcs8(&document).map(|signer| (signer, document))
    }

    /// The key in a PKCS #8 document (DER), as `openssl genpkey` makes it.
    ///
    /// # Errors
    /// [`BadKey::Kind`].
    pub fn from_pkcs8(document: &[u8]) -> Result<Signer, BadKey> {
        let random = SystemRandom::new();
        let pair = match EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document, &random) {
            Ok(pair) => Pair::P256(Box::new(pair)),
            Err(_) => Pair::Rsa(Box::new(RsaKeyPair::from_pkcs8(document).map_err(|_| BadKey::Kind)?)),
        };
        let signer = Signer { pair, random };
        signer.public_key().check().map_err(|_| BadKey::Kind)?;
        Ok(signer)
    }

    /// The P-256 key with this private number (big endian): the same number, the same key.
    ///
    /// # Errors
    /// [`BadKey::Kind`] where the number is 0 or too large, which of 2^32 random ones is not expected of one.
    pub fn from_number(number: [u8; 32]) -> Result<Signer, BadKey> {
        let random = SystemRandom::new();
        let public = p256::SecretKey::from_slice(&number).map_err(|_| BadKey::Kind)?.public_key();
        let point = public.to_sec1_point(false);
        let pair = EcdsaKeyPair::from_private_key_and_public_key(
            &ECDSA_P256_SHA256_FIXED_SIGNING,
            &number,
            point.as_bytes(),
            &random,
        );
        Ok(Signer { pair: Pair::P256(Box::new(pair.map_err(|_| BadKey::Kind)?)), random })
    }

    /// What others verify with.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        match &self.pair {
            Pair::P256(pair) => PublicKey::from_point(pair.public_key().as_ref()),
            Pair::Rsa(pair) => PublicKey::from_pkcs1(pair.public_key().as_ref()),
        }
    }

    /// Signs a post.
    ///
    /// # Errors
    /// [`BadKey::Random`].
    pub fn sign(&self, signed: &Signed<'_>) -> Result<Signature, BadKey> {
        let message = signed.bytes();
        let bytes = match &self.pair {
            Pair::P256(pair) => pair.sign(&self.random, &message).map(|made| made.as_ref().to_vec()),
            Pair::Rsa(pair) => {
                let mut made = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &self.random, &message, &mut made).map(|()| made)
            }
        };
        let bytes = bytes.map_err(|_| BadKey::Random)?;
        Ok(Signature { signed_at_ms: signed.signed_at_ms, bytes })
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({:?})", self.public_key())
    }
}
