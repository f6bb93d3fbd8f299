//! Which signatures count, and the public keys that they are made with.
//!
//! `none` and everything with a shared secret are not in the list, so no key of an issuer can be
//! taken for a secret. A key is used only for what its type, and what it says of itself, is for.

use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde::Deserialize;

use super::unbase64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Es256,
    Es384,
    EdDsa,
}

/// One public key of an issuer.
#[derive(Clone, Debug)]
pub(super) struct PublicKey {
    pub(super) kid: Option<String>,
    /// The only algorithm that it is for, if it says so.
    only: Option<String>,
    material: Material,
}

#[derive(Clone, Debug)]
enum Material {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// The point, uncompressed.
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

/// A key as RFC 7517 writes it.
#[derive(Debug, Deserialize)]
pub(super) struct Written {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Algorithm {
    const ALL: [(Self, &str); 7] = [
        (Self::Rs256, "RS256"),
        (Self::Rs384, "RS384"),
        (Self::Rs512, "RS512"),
        (Self::Ps256, "PS256"),
        (Self::Es256, "ES256"),
        (Self::Es384, "ES384"),
        (Self::EdDsa, "EdDSA"),
    ];

    pub(super) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(_, known)| *known == name).map(|(algorithm, _)| algorithm)
    }

    fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(one, _)| *one == self).map_or("", |(_, name)| name)
    }

    fn rsa(self) -> Option<&'static RsaParameters> {
        Some(match self {
            Self::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
            Self::Rs384 => &RSA_PKCS1_2048_8192_SHA384,
            Self::Rs512 => &RSA_PKCS1_2048_8192_SHA512,
            Self::Ps256 => &RSA_PSS_2048_8192_SHA256,
            Self::Es256 | Self::Es384 | Self::EdDsa => return None,
        })
    }
}

impl PublicKey {
    /// A key that can verify something; others of the set do not matter.
    pub(super) fn of(written: Written) -> Option<Self> {
        let signs = written.purpose.as_deref().is_none_or(|purpose| purpose == "sig");
        let ops = written.key_ops.as_ref();
        if !signs || ops.is_some_and(|ops| !ops.iter().any(|op| op == "verify")) {
            return None;
        }
        let part = |part: &Option<String>| unbase64(part.as_deref()?);
        let point = |n_bytes: usize| {
            let (x, y) = (part(&written.x)?, part(&written.y)?);
            let fits = x.len() == n_bytes && y.len() == n_bytes;
            fits.then(|| [&[4], x.as_slice(), &y].concat())
        };
        let material = match (written.kty.as_str(), written.crv.as_deref()) {
            ("RSA", _) => Material::Rsa { n: part(&written.n)?, e: part(&written.e)? },
            ("EC", Some("P-256")) => Material::P256(point(32)?),
            ("EC", Some("P-384")) => Material::P384(point(48)?),
            ("OKP", Some("Ed25519")) => Material::Ed25519(part(&written.x)?),
            _ => return None,
        };
        Some(Self { kid: written.kid, only: written.alg, material })
    }

    pub(super) fn fits(&self, algorithm: Algorithm) -> bool {
        let is_kind = match self.material {
            Material::Rsa { .. } => algorithm.rsa().is_some(),
            Material::P256(_) => algorithm == Algorithm::Es256,
            Material::P384(_) => algorithm == Algorithm::Es384,
            Material::Ed25519(_) => algorithm == Algorithm::EdDsa,
        };
        is_kind && self.only.as_deref().is_none_or(|only| only == algorithm.name())
    }

    pub(super) fn verifies(&self, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> bool {
        match (&self.material, algorithm.rsa()) {
            (Material::Rsa { n, e }, Some(rsa)) => {
                RsaPublicKeyComponents { n, e }.verify(rsa, signed, signature).is_ok()
            }
            (Material::P256(point), _) => {
                let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
                key.verify(signed, signature).is_ok()
            }
            (Material::P384(point), _) => {
                let key = UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point);
                key.verify(signed, signature).is_ok()
            }
            (Material::Ed25519(key), _) => {
                UnparsedPublicKey::new(&ED25519, key).verify(signed, signature).is_ok()
            }
            (Material::Rsa { .. }, None) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Algorithm, PublicKey, unbase64};

    /// Made by OpenSSL: keys of 2048 and 1024 bits, and what they have signed.
    const VECTORS: &str = include_str!("rsa.json");

    #[test]
    fn signatures_of_rsa_count_for_their_own_algorithm_and_from_2048_bits_on() {
        let vectors: Value = serde_json::from_str(VECTORS).unwrap();
        let signed = vectors["signed"].as_str().unwrap().as_bytes();
        let key = |n: &Value, alg: Value| {
            let written = json!({ "kty": "RSA", "n": n, "e": "AQAB", "alg": alg });
            PublicKey::of(serde_json::from_value(written).unwrap()).unwrap()
        };
        let of = |name: &Value| unbase64(name.as_str().unwrap()).unwrap();
        let whole = key(&vectors["n"], Value::Null);
        let names = ["RS256", "RS384", "RS512", "PS256"];
        for (made, judged) in names.iter().flat_map(|one| names.map(|other| (*one, other))) {
            let algorithm = Algorithm::parse(judged).unwrap();
            let counts = whole.verifies(algorithm, signed, &of(&vectors[made]));
            assert_eq!(counts, made == judged, "{made} as {judged}");
            assert!(!whole.verifies(algorithm, b"signed by others", &of(&vectors[made])));
        }
        let (rs256, ps256) = (Algorithm::Rs256, Algorithm::Ps256);
        assert!(whole.fits(rs256) && whole.fits(ps256) && !whole.fits(Algorithm::Es256));
        let bound = key(&vectors["n"], "RS256".into());
        assert!(bound.fits(rs256) && !bound.fits(ps256), "a key is for what it says");
        let short = key(&vectors["short"]["n"], Value::Null);
        assert!(!short.verifies(rs256, signed, &of(&vectors["short"]["RS256"])));
    }
}
