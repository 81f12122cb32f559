//! Public keys and signatures: whose a post is, for everybody who would rather not take the engine's word for it.

use std::fmt;

use ring::signature::{ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

use super::Model;
use super::error::{Error, Field, Flaw};
use super::id::{SubredditId, UserId};

/// What comes before the point of a P-256 key.
const P256: &[u8] = b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00";
/// An uncompressed point.
const POINT: usize = 65;

/// What comes before the modulus of an RSA key of 2048 bits.
const RSA: &[u8] = b"\x30\x82\x01\x22\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00\x03\x82\x01\x0f\x00\x30\x82\x01\x0a\x02\x82\x01\x01\x00";
/// Where in it the `RSAPublicKey` begins.
const PKCS1: usize = 24;
const MODULUS: usize = 256;
/// The exponent 65537, which comes after the modulus.
const EXPONENT: &[u8] = b"\x02\x03\x01\x00\x01";

/// A user's public key as a `SubjectPublicKeyInfo` (RFC 5280), which is what `openssl pkey -pubout -outform DER` writes: a
/// point of P-256, or an RSA key of 2048 bits with the exponent 65537. That it is one of these is only certain after
/// [`PublicKey::check`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicKey(Vec<u8>);

/// What a key is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// ECDSA over P-256 with SHA-256; a signature is r and s, 32 bytes each (as in JWS and `WebCrypto`).
    P256,
    /// PKCS #1 v1.5 with SHA-256; a signature has 256 bytes.
    Rsa2048,
}

impl Algorithm {
    /// Bytes of a signature.
    fn signature(self) -> usize {
        match self {
            Algorithm::P256 => 64,
            Algorithm::Rsa2048 => 256,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Algorithm::P256 => "P-256",
            Algorithm::Rsa2048 => "RSA-2048",
        })
    }
}

impl PublicKey {
    /// Not checked yet.
    #[must_use]
    pub fn from_spki(der: &[u8]) -> PublicKey {
        PublicKey(der.to_vec())
    }

    /// The P-256 key that is this uncompressed point. Not checked yet.
    #[must_use]
    pub fn from_point(point: &[u8]) -> PublicKey {
        PublicKey([P256, point].concat())
    }

    /// The RSA key that is this `RSAPublicKey` of PKCS #1. Not checked yet.
    #[must_use]
    pub fn from_pkcs1(der: &[u8]) -> PublicKey {
        PublicKey([&RSA[..PKCS1], der].concat())
    }

    /// The `SubjectPublicKeyInfo`, DER.
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        &self.0
    }

    /// Says what kind of key it is.
    ///
    /// # Errors
    /// It is none.
    pub fn check(&self) -> Result<Algorithm, Error> {
        let sound = self.parts().filter(|&(algorithm, key)| match algorithm {
            // Infinity has another encoding, so what is a point of the curve is a key.
            Algorithm::P256 => p256::PublicKey::from_sec1_bytes(key).is_ok(),
            Algorithm::Rsa2048 => {
                let modulus = &self.0[RSA.len()..][..MODULUS];
                modulus[0] & 0x80 != 0 && modulus[MODULUS - 1] & 1 != 0
            }
        });
        let wrong = Error::BadRequest { field: Field::PublicKey, flaw: Flaw::NoKey };
        sound.map(|(algorithm, _)| algorithm).ok_or(wrong)
    }

    /// Whether `signature` is of these bytes and was made with the private key that belongs to this one. It takes some
    /// 30 to 90 microseconds.
    #[must_use]
    pub fn verifies(&self, bytes: &[u8], signature: &[u8]) -> bool {
        let verified = self.parts().map(|(algorithm, key)| match algorithm {
            Algorithm::P256 => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key).verify(bytes, signature),
            Algorithm::Rsa2048 => {
                UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key).verify(bytes, signature)
            }
        });
        verified.is_some_and(|verified| verified.is_ok())
    }

    /// What it looks like, and what verifies with it.
    fn parts(&self) -> Option<(Algorithm, &[u8])> {
        let key = &self.0;
        if key.starts_with(P256) && key.len() == P256.len() + POINT {
            return Some((Algorithm::P256, &key[P256.len()..]));
        }
        let length = RSA.len() + MODULUS + EXPONENT.len();
        let rsa = key.starts_with(RSA) && key.ends_with(EXPONENT) && key.len() == length;
        rsa.then(|| (Algorithm::Rsa2048, &key[PKCS1..]))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({:?}, {} bytes)", self.parts().map(|(algorithm, _)| algorithm), self.0.len())
    }
}

/// Made by the author of a post with the private key, over [`Signed::bytes`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// When, by the author's clock: ms since 1970.
    pub signed_at_ms: u64,
    /// As the key's [`Algorithm`] has it.
    pub bytes: Vec<u8>,
}

/// What a signature is of. The identity of the post is not in it, because nobody knows that before it is posted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signed<'a> {
    /// The name of who wrote it.
    pub author: &'a str,
    /// The name of the subreddit that it was written for.
    pub subreddit: &'a str,
    /// One line.
    pub title: &'a str,
    /// The whole text.
    pub body: &'a str,
    /// When, by the author's clock: ms since 1970.
    pub signed_at_ms: u64,
}

impl Signed<'_> {
    /// The bytes that are signed: `reddit-post-v1` and a zero byte, then the five fields, each behind its length (u32, little
    /// endian), so that no text can pass for a part of the next. Names are in lower case, because they are one in any
    /// case; the time is a u64, little endian.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        const TAG: &[u8] = b"reddit-post-v1\0";
        let (author, subreddit) = (self.author.to_ascii_lowercase(), self.subreddit.to_ascii_lowercase());
        let (time, mut bytes) = (self.signed_at_ms.to_le_bytes(), TAG.to_vec());
        for field in
            [author.as_bytes(), subreddit.as_bytes(), self.title.as_bytes(), self.body.as_bytes(), &time]
        {
            bytes.extend_from_slice(&(field.len() as u32).to_le_bytes());
            bytes.extend_from_slice(field);
        }
        bytes
    }
}

/// A signature that somebody still has to verify, with everything that takes: on another thread, say.
#[derive(Debug)]
pub struct Claim {
    key: PublicKey,
    signed: Vec<u8>,
    signature: Vec<u8>,
}

impl Claim {
    /// Whether the signature fits.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.key.verifies(&self.signed, &self.signature)
    }
}

impl Model {
    /// What must be verified before a post with a signature may be decided on. Names and keys never change, so what holds
    /// once holds.
    ///
    /// # Errors
    /// Why it need not be verified: it cannot be posted.
    pub fn claim(
        &self,
        (author, subreddit): (UserId, SubredditId),
        (title, body): (&str, &str),
        signature: &Signature,
    ) -> Result<Claim, Error> {
        let user = self.users.get(author)?;
        let key = user.key.as_deref().ok_or(Error::KeyMissing)?;
        let &Signature { signed_at_ms, ref bytes } = signature;
        if key.parts().is_none_or(|(algorithm, _)| bytes.len() != algorithm.signature()) {
            return Err(Error::BadSignature);
        }
        let subreddit = &self.subreddits.get(subreddit)?.name;
        let signed = Signed { author: &user.name, subreddit, title, body, signed_at_ms };
        Ok(Claim { key: key.clone(), signed: signed.bytes(), signature: bytes.clone() })
    }

    /// Whether a post of `author` has a signature exactly if it must have one.
    ///
    /// # Errors
    /// [`Error::KeyMissing`], [`Error::Unsigned`].
    pub(super) fn signs(&self, author: UserId, signature: Option<&Signature>) -> Result<(), Error> {
        match (&self.users.get(author)?.key, signature) {
            (Some(_), None) => Err(Error::Unsigned),
            (None, Some(_)) => Err(Error::KeyMissing),
            (Some(_), Some(_)) | (None, None) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
