//! Keys and signatures that `openssl` made.

use super::super::{Command, Decision, Record, Secret};
use super::*;
use crate::reddit::{BadKey, Signer};

/// `openssl pkey -pubout -outform DER` of a P-256 key.
const P256_KEY: &str = "\
    3059301306072a8648ce3d020106082a8648ce3d03010703420004a94a95c32043e56c58e61c3208fce1f759ac403c5b\
    e5e4f22f5019c7c555fb37c7cfa58872b57d34492653b63c7d5d4b69e67d7e1a8f08be0420e26b55f1594e";
/// What `openssl dgst -sha256 -sign` makes with it of the bytes of [`SIGNED`]: r and s.
const P256_SIGNATURE: &str = "\
    6b116e48359f0fc91da5afd78fa9ad493aaa9e873eff8220162641f3fd0432dadba1cada8dabf9f1167278c706c15cdd\
    2c87b4fa3ecced1d4fadcb5ebc27d71d";
/// The key of `tests/payload/rsa-for-tests-only.pem`.
const RSA_KEY: &str = "\
    30820122300d06092a864886f70d01010105000382010f003082010a0282010100cdee50d05f4b3abbb36af32159feb7\
    71745bc41c4946978e4b3591ffe59269e323a6ab3d0307d3bd061ed6e3c770602c96b77840d2a8955a479b244c4a7158\
    10b24c82e0f2172ddd41ca7347fdcc4a40269daf7a5fbdc7eec35a80a19f5e9c3ab74a0ba699d4ae21749223f9f607f4\
    acc60210d7ca8d4d125fadcdfa894df2269fc51dcebb4880e8b4f195b881e0e539a8e66631f6c5278d43f4b820533b23\
    9ca3f28a44b268d0c2c72a82232d3e10666334a0443d6d977af7d54e68c9aad9e298728e0231474ae15501770c4e9abe\
    9aa02489b729784515ba01fe389e34e8e56c4ac9271af85ce9afc84bf224da7e44514302cc9df08df310b2bdb76b7b5e\
    bb0203010001";
/// The same bytes, signed with it.
const RSA_SIGNATURE: &str = "\
    3d13069748d986239e1aab0bc4d1eeaa56e35ab8f52e2c6ec0062c28362d926f294d9395d1c9be49d591eb17bee93921\
    45291e23b4a162878bafaf51073c0f51371566fb1209cfa0192c77dab1ab16688bb8b1287c16819aa8fb62c6ed0d6cc1\
    dcbc67a0c5fba80ac361174d3fd989361cc48c8ad414f67de55b05b32c8e7b283074a37a67a7b5b0caebc8666058a40d\
    303879b35e8eaada33e8401566542557fdc8c4c5a3239ee959a5b0d8ac88c36ced57f96eb17b73aa2ba95fd376c27395\
    d3afe386208d71ecece86874027955c944751e8a0a60f44e9979bb68731beff71bd76c3a5828ddd9d68e053bafb629f2\
    24e65df2d872cf52b1f5327eaf401bba";

const SIGNED: Signed<'static> = Signed {
    author: "Ada",
    subreddit: "RUST",
    title: "A title",
    body: "Käse|body",
    signed_at_ms: 1_700_000_000_123,
};

fn bytes(digits: &str) -> Vec<u8> {
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

fn keys() -> [(Algorithm, PublicKey, Vec<u8>); 2] {
    let both = [(Algorithm::P256, P256_KEY, P256_SIGNATURE), (Algorithm::Rsa2048, RSA_KEY, RSA_SIGNATURE)];
    both.map(|(algorithm, key, signature)| (algorithm, PublicKey::from_spki(&bytes(key)), bytes(signature)))
}

#[test]
fn what_openssl_signed_is_verified_and_nothing_else() {
    for (algorithm, key, signature) in keys() {
        assert_eq!(key.check(), Ok(algorithm));
        assert!(key.verifies(&SIGNED.bytes(), &signature), "{algorithm}");
        let others = [
            Signed { author: "adb", ..SIGNED },
            Signed { subreddit: "rusty", ..SIGNED },
            Signed { title: "A titl", ..SIGNED },
            Signed { title: "A titleK", body: "äse|body", ..SIGNED },
            Signed { body: "", ..SIGNED },
            Signed { signed_at_ms: 1_700_000_000_124, ..SIGNED },
        ];
        for other in others {
            assert!(!key.verifies(&other.bytes(), &signature), "{algorithm}: {other:?}");
        }
        let same = Signed { author: "aDA", subreddit: "rust", ..SIGNED };
        assert!(key.verifies(&same.bytes(), &signature), "names are one in any case");
        for at in 0..signature.len() {
            let mut changed = signature.clone();
            changed[at] ^= 1;
            assert!(!key.verifies(&SIGNED.bytes(), &changed), "{algorithm}: byte {at}");
        }
        assert!(!key.verifies(&SIGNED.bytes(), &signature[1..]) && !key.verifies(&SIGNED.bytes(), b""));
    }
    let [(_, one, _), (_, _, signature)] = keys();
    assert!(!one.verifies(&SIGNED.bytes(), &signature), "the other key's");
}

#[test]
fn what_is_no_key_of_these_kinds_is_refused() {
    let wrong = Err(Error::BadRequest { field: Field::PublicKey, flaw: Flaw::NoKey });
    for (algorithm, key, _) in keys() {
        let der = key.spki();
        let changed = |at: usize| {
            let mut changed = der.to_vec();
            changed[at] ^= 1;
            PublicKey::from_spki(&changed).check()
        };
        assert_eq!(changed(10), wrong, "{algorithm}: another kind");
        assert_eq!(PublicKey::from_spki(&der[..der.len() - 1]).check(), wrong, "{algorithm}: too short");
        assert_eq!(PublicKey::from_spki(&[der, b"x"].concat()).check(), wrong, "{algorithm}: too long");
        assert_eq!(changed(der.len() - 1), wrong, "{algorithm}: not on the curve, or another exponent");
    }
    let [_, (_, rsa, _)] = keys();
    let mut even = rsa.spki().to_vec();
    even[RSA.len() + MODULUS - 1] &= !1;
    assert_eq!(PublicKey::from_spki(&even).check(), wrong, "an even modulus");
    assert_eq!(PublicKey::from_spki(b"").check(), wrong);
    assert!(!PublicKey::from_spki(b"").verifies(b"", b""));
    assert_eq!(PublicKey::from_point(&[4; POINT]).check(), wrong);
}

#[test]
fn whoever_has_the_private_key_signs() {
    let pem = include_str!("../../../../tests/payload/rsa-for-tests-only.pem");
    let rsa = Signer::from_pkcs8(pem::parse(pem).unwrap().contents()).unwrap();
    assert_eq!(rsa.public_key(), keys()[1].1);
    let (made, document) = Signer::generate().unwrap();
    assert_eq!(Signer::from_pkcs8(&document).unwrap().public_key(), made.public_key());
    let drawn = Signer::from_number([7; 32]).unwrap();
    assert_eq!(drawn.public_key(), Signer::from_number([7; 32]).unwrap().public_key());
    for signer in [rsa, made, drawn] {
        let signature = signer.sign(&SIGNED).unwrap();
        assert_eq!(signature.signed_at_ms, SIGNED.signed_at_ms);
        assert!(signer.public_key().verifies(&SIGNED.bytes(), &signature.bytes), "{signer:?}");
    }
    assert_eq!(Signer::from_number([0; 32]).err(), Some(BadKey::Kind));
    assert_eq!(Signer::from_pkcs8(b"no key").err(), Some(BadKey::Kind));
}

#[test]
fn users_with_a_key_sign_and_others_cannot() {
    let mut model = Model::default();
    let apply = |model: &mut Model, command: Command| match model.decide(command, 1) {
        Ok(Decision::Apply(record)) => {
            let _ = model.apply(record.clone());
            record
        }
        other => panic!("{other:?}"),
    };
    let [(_, key, bytes), _] = keys();
    let register = |name: &str, key: Option<&PublicKey>| {
        let key = key.cloned().map(Box::new);
        Command::Register { name: name.into(), secret: Secret([0; 16]), key }
    };
    let (ada, bob, rust) = (UserId(1), UserId(2), SubredditId(1));
    apply(&mut model, register("ADA", Some(&key)));
    apply(&mut model, register("bob", None));
    let wrong = Err(Error::BadRequest { field: Field::PublicKey, flaw: Flaw::NoKey });
    assert_eq!(model.decide(register("eve", Some(&PublicKey::from_spki(b"x"))), 1), wrong);
    apply(&mut model, Command::CreateSubreddit { creator: ada, name: "Rust".into(), description: "".into() });
    apply(&mut model, Command::Join { user: bob, subreddit: rust });

    let Signed { title, body, signed_at_ms, .. } = SIGNED;
    let signature = Signature { signed_at_ms, bytes };
    let post = |author, signature: Option<&Signature>| {
        let signature = signature.cloned().map(Box::new);
        Command::Post { author, subreddit: rust, title: title.into(), body: body.into(), signature }
    };
    assert_eq!(model.decide(post(ada, None), 1), Err(Error::Unsigned));
    assert_eq!(model.decide(post(bob, Some(&signature)), 1), Err(Error::KeyMissing));
    let claimed = |author, subreddit, title, signature: &Signature| {
        model.claim((author, subreddit), (title, body), signature).map(|claim| claim.holds())
    };
    assert_eq!(claimed(ada, rust, title, &signature), Ok(true));
    assert_eq!(claimed(ada, rust, "another", &signature), Ok(false));
    assert_eq!(claimed(bob, rust, title, &signature), Err(Error::KeyMissing));
    let short = Signature { bytes: vec![0; 63], ..signature.clone() };
    assert_eq!(claimed(ada, rust, title, &short), Err(Error::BadSignature));
    assert!(matches!(claimed(ada, SubredditId(9), title, &signature), Err(Error::NotFound(_))));
    assert!(matches!(apply(&mut model, post(ada, Some(&signature))), Record::PostCreated { .. }));
    let original = crate::reddit::model::PostId(1);
    let repost = Command::Repost { author: ada, subreddit: rust, original, title: None };
    assert!(matches!(apply(&mut model, repost), Record::PostReposted { .. }));
    assert!(model.posts().get(original).unwrap().signature.is_some());
}

#[test]
fn an_unsigned_post_costs_a_byte_and_a_pointer() {
    assert_eq!(size_of::<Option<Box<Signature>>>(), size_of::<usize>());
    assert_eq!(postcard::to_stdvec(&None::<Box<Signature>>).unwrap().len(), 1);
}
