//! Tokens that are good, and every way in which one is not.

use std::{fs, os::unix::fs::PermissionsExt};

use ring::{
    hmac,
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
        EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _,
    },
};
use serde_json::{Value, json};

use super::{NoToken, Tokens, unbase64};
use crate::{
    config::{JwksPlace, JwtConfig},
    domain::limits::{JWKS_REFRESH, JWKS_RETRY},
    sys::Trust,
    wire::base64,
};

const ISSUER: &str = "https://login.example";
const US: &str = "https://gate.example/mcp";
const NOW_S: u64 = 1_800_000_000;

fn url64(bytes: &[u8]) -> String {
    base64::encode(bytes).replace('+', "-").replace('/', "_").trim_end_matches('=').to_owned()
}

/// An issuer with a key of each kind.
struct Issuer {
    p256: EcdsaKeyPair,
    p384: EcdsaKeyPair,
    ed: Ed25519KeyPair,
}

fn ecdsa(of: &'static EcdsaSigningAlgorithm) -> EcdsaKeyPair {
    let random = SystemRandom::new();
    let key = EcdsaKeyPair::generate_pkcs8(of, &random).unwrap();
    EcdsaKeyPair::from_pkcs8(of, key.as_ref(), &random).unwrap()
}

impl Issuer {
    fn new() -> Self {
        let random = SystemRandom::new();
        let ed = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        Self {
            p256: ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING),
            p384: ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING),
            ed: Ed25519KeyPair::from_pkcs8(ed.as_ref()).unwrap(),
        }
    }

    fn jwks(&self) -> Value {
        let point = |kid: &str, crv: &str, public: &[u8]| {
            let (x, y) = public[1..].split_at(public.len() / 2);
            json!({ "kty": "EC", "kid": kid, "crv": crv, "x": url64(x), "y": url64(y), "use": "sig" })
        };
        let x = url64(self.ed.public_key().as_ref());
        let mut keys = vec![
            point("p256", "P-256", self.p256.public_key().as_ref()),
            point("p384", "P-384", self.p384.public_key().as_ref()),
            json!({ "kty": "OKP", "kid": "ed", "crv": "Ed25519", "x": x, "alg": "EdDSA" }),
            json!({ "kty": "oct", "kid": "secret", "k": "AAAA" }),
        ];
        let mut encrypting = keys[0].clone();
        encrypting["kid"] = "enc".into();
        encrypting["use"] = "enc".into();
        let mut wrapping = keys[0].clone();
        wrapping["kid"] = "wrap".into();
        wrapping["key_ops"] = json!(["wrapKey"]);
        keys.extend([encrypting, wrapping]);
        json!({ "keys": keys })
    }

    fn sign(&self, alg: &str, text: &str) -> Vec<u8> {
        let random = SystemRandom::new();
        match alg {
            "ES256" => self.p256.sign(&random, text.as_bytes()).unwrap().as_ref().to_vec(),
            "ES384" => self.p384.sign(&random, text.as_bytes()).unwrap().as_ref().to_vec(),
            "EdDSA" => self.ed.sign(text.as_bytes()).as_ref().to_vec(),
            // What a library that is told to by the token would verify: the public key as secret.
            "HS256" => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, self.p256.public_key().as_ref());
                hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
            }
            _ => Vec::new(),
        }
    }

    fn token(&self, header: &Value, claims: &Value) -> String {
        self.signed(&header.to_string(), &claims.to_string())
    }

    fn signed(&self, header: &str, claims: &str) -> String {
        let text = format!("{}.{}", url64(header.as_bytes()), url64(claims.as_bytes()));
        let header: Value = serde_json::from_str(header).unwrap();
        let signature = self.sign(header["alg"].as_str().unwrap(), &text);
        format!("{text}.{}", url64(&signature))
    }
}

fn good() -> Value {
    json!({ "iss": ISSUER, "sub": "ann", "aud": US, "exp": NOW_S + 60, "nbf": NOW_S - 60 })
}

fn with(key: &str, value: Value) -> Value {
    let mut claims = good();
    claims[key] = value;
    claims
}

fn without(key: &str) -> Value {
    let mut claims = good();
    claims.as_object_mut().unwrap().remove(key);
    claims
}

struct Room {
    tokens: std::sync::Arc<Tokens>,
    tending: tokio::task::JoinSet<()>,
    dir: tempfile::TempDir,
}

/// What reads tokens of that issuer; they need these scopes.
fn room(issuer: &Issuer, scopes: &[&str]) -> Room {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("jwks.json");
    fs::write(&path, issuer.jwks().to_string()).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let tokens = std::sync::Arc::new(Tokens::new(
        JwtConfig {
            issuer: ISSUER.to_owned(),
            resource: US.to_owned(),
            jwks: JwksPlace::File(path),
            scopes: scopes.iter().map(|one| (*one).to_owned()).collect(),
            groups_claim: "groups".to_owned(),
        },
        Trust::of(dir.path()),
    ));
    let mut tending = tokio::task::JoinSet::new();
    let keys = tokens.clone();
    tending.spawn(async move { keys.keys.tend().await });
    Room { tokens, tending, dir }
}

impl Room {
    async fn check(&self, token: &str, want: Result<&str, NoToken>) {
        let told = self.tokens.read(token, NOW_S * 1000).await;
        let got = told.as_ref().map(|told| told.principal.as_str()).map_err(|why| *why);
        assert_eq!(got, want, "{token}");
    }
}

#[tokio::test]
async fn a_token_of_the_issuer_for_us_is_good_by_each_algorithm() {
    let issuer = Issuer::new();
    let mut room = room(&issuer, &[]);
    for (alg, kid) in [("ES256", "p256"), ("ES384", "p384"), ("EdDSA", "ed")] {
        let token = issuer.token(&json!({ "alg": alg, "kid": kid, "typ": "at+jwt" }), &good());
        room.check(&token, Ok("https://login.example|ann")).await;
    }
    room.tending.shutdown().await;
}

#[tokio::test]
async fn a_token_that_is_wrong_in_any_way_lets_nobody_in() {
    use NoToken as No;
    let (issuer, room_of) = (Issuer::new(), Issuer::new());
    let room = room(&issuer, &[]);
    let header = json!({ "alg": "ES256", "kid": "p256" });
    let es = |claims: &Value| issuer.token(&header, claims);
    for (claims, want) in [
        (with("iss", "https://evil.example".into()), No::Issuer),
        (with("iss", format!("{ISSUER}/").into()), No::Issuer),
        (without("iss"), No::Issuer),
        (with("aud", "https://other.example/mcp".into()), No::Audience),
        (with("aud", format!("{US}/").into()), No::Audience),
        (with("aud", "https://gate.example".into()), No::Audience),
        (with("aud", json!(["https://other.example", "a"])), No::Audience),
        (without("aud"), No::Audience),
        (with("exp", (NOW_S - 30).into()), No::Expired),
        (with("exp", 0.into()), No::Expired),
        (with("exp", "tomorrow".into()), No::Form),
        (without("exp"), No::Form),
        (with("nbf", (NOW_S + 31).into()), No::NotYet),
        (with("iat", (NOW_S + 31).into()), No::NotYet),
        (without("sub"), No::Form),
        (with("sub", "a\nb".into()), No::Form),
        (with("sub", "\u{202e}a".into()), No::Form),
        (with("sub", "a".repeat(257).into()), No::Form),
        (with("cnf", json!({ "jkt": "x" })), No::Bound),
    ] {
        room.check(&es(&claims), Err(want)).await;
    }
    // Clocks may be off by so much.
    for claims in [with("exp", (NOW_S - 29).into()), with("nbf", (NOW_S + 30).into())] {
        room.check(&es(&claims), Ok("https://login.example|ann")).await;
    }
    room.check(&es(&with("aud", json!(["x", US]))), Ok("https://login.example|ann")).await;
    for (alg, kid, want) in [
        ("none", "p256", No::Algorithm),
        ("None", "p256", No::Algorithm),
        ("HS256", "p256", No::Algorithm),
        ("HS256", "secret", No::Algorithm),
        // A key is for what it is for.
        ("ES384", "p256", No::UnknownKey),
        ("EdDSA", "p256", No::UnknownKey),
        ("ES256", "enc", No::UnknownKey),
        ("ES256", "wrap", No::UnknownKey),
        ("ES256", "nobody", No::UnknownKey),
    ] {
        let token = issuer.token(&json!({ "alg": alg, "kid": kid }), &good());
        room.check(&token, Err(want)).await;
    }
    let token = issuer.token(&json!({ "alg": "ES256" }), &good());
    room.check(&token, Err(No::UnknownKey)).await;
    let critical = json!({ "alg": "ES256", "kid": "p256", "crit": ["b64"], "b64": false });
    room.check(&issuer.token(&critical, &good()), Err(No::Form)).await;
    // Somebody else's key by the same name, another text under the same signature, none at all.
    room.check(&room_of.token(&header, &good()), Err(No::Signature)).await;
    let (ann, eve) = (es(&good()), es(&with("sub", "eve".into())));
    let signature = ann.rsplit_once('.').unwrap().1;
    let forged = format!("{}.{signature}", eve.rsplit_once('.').unwrap().0);
    room.check(&forged, Err(No::Signature)).await;
    room.check(&format!("{}.", ann.rsplit_once('.').unwrap().0), Err(No::Signature)).await;
    for no_token in ["", "a", "a.b", "a.b.c", "..", &ann.replace('.', ""), &"x".repeat(9000)] {
        room.check(no_token, Err(No::Form)).await;
    }
}

#[tokio::test]
async fn a_token_has_one_reading_and_is_for_access_alone() {
    use NoToken as No;
    let issuer = Issuer::new();
    let room = room(&issuer, &[]);
    // What a token says of itself: for what it is made, and by which key.
    for (header, want) in [
        (json!({ "alg": "ES256", "kid": "p256", "typ": "dpop+jwt" }), No::Kind),
        (json!({ "alg": "ES256", "kid": "p256", "typ": "logout+jwt" }), No::Kind),
        (json!({ "alg": "ES256", "kid": "p256", "typ": 1 }), No::Kind),
        (json!({ "alg": "ES256", "kid": 1 }), No::Form),
        (json!({ "alg": "ES256", "kid": null }), No::Form),
        (json!({ "alg": "ES256", "kid": "p256", "crit": null }), No::Form),
    ] {
        room.check(&issuer.token(&header, &good()), Err(want)).await;
    }
    // Two readings: what another sees in it is not what we see.
    let twice = good().to_string().replacen('{', "{\"sub\":\"eve\",", 1);
    room.check(&issuer.signed("{\"alg\":\"ES256\",\"kid\":\"p256\"}", &twice), Err(No::Form)).await;
    let twice = "{\"alg\":\"ES256\",\"kid\":\"p256\",\"kid\":\"p256\"}";
    room.check(&issuer.signed(twice, &good().to_string()), Err(No::Form)).await;
}

#[tokio::test]
async fn scopes_and_groups_of_a_token_are_groups_and_a_missing_scope_is_named() {
    let issuer = Issuer::new();
    let room = room(&issuer, &["mcp:call"]);
    let header = json!({ "alg": "EdDSA", "kid": "ed" });
    let mut claims = with("scope", "mcp:call mcp:write".into());
    claims["groups"] = json!(["editors", "scope:root", 7]);
    let told = room.tokens.read(&issuer.token(&header, &claims), NOW_S * 1000).await.unwrap();
    let groups = ["editors", "scope:mcp:call", "scope:mcp:write"];
    assert_eq!(told.principal.groups(), groups, "no claim makes a scope of a group");
    assert_eq!(told.lasts.as_secs(), 90);
    // One group that is written as a text is one group, whatever is in its name.
    claims["groups"] = "Project admins".into();
    let told = room.tokens.read(&issuer.token(&header, &claims), NOW_S * 1000).await.unwrap();
    assert_eq!(told.principal.groups()[0], "Project admins");
    assert_eq!(told.principal.groups().len(), 3);
    for claims in [good(), with("scope", "mcp:write".into()), with("scope", 7.into())] {
        room.check(&issuer.token(&header, &claims), Err(NoToken::Scope)).await;
    }
    let list = with("scp", json!(["mcp:call"]));
    room.check(&issuer.token(&header, &list), Ok("https://login.example|ann")).await;
    let place =
        "resource_metadata=\"https://gate.example/.well-known/oauth-protected-resource/mcp\"";
    let challenge = |why| room.tokens.challenge(why).unwrap().to_str().unwrap().to_owned();
    assert_eq!(challenge(None), format!("Bearer {place}, scope=\"mcp:call\""));
    assert_eq!(
        challenge(Some(NoToken::Scope)),
        format!("Bearer error=\"insufficient_scope\", {place}, scope=\"mcp:call\"")
    );
    const PLACE: &str = "/.well-known/oauth-protected-resource";
    for (path, is_it) in [("", true), ("/mcp", true), ("/mcp/", false), ("/other", false)] {
        let told = room.tokens.metadata(&format!("{PLACE}{path}"));
        let told = told.map(|told| told["authorization_servers"].clone());
        assert_eq!(told, is_it.then(|| json!([ISSUER])), "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_takes_its_keys_back_is_believed_and_one_that_is_silent_is_not() {
    let issuer = Issuer::new();
    let room = room(&issuer, &[]);
    let token = issuer.token(&json!({ "alg": "EdDSA", "kid": "ed" }), &good());
    let path = room.dir.path().join("jwks.json");
    let is_good = async || room.tokens.read(&token, NOW_S * 1000).await.is_ok();
    assert!(is_good().await);
    fs::write(&path, "no JSON").unwrap();
    tokio::time::sleep(JWKS_REFRESH).await;
    assert!(is_good().await, "for an hour");
    fs::write(&path, "{\"keys\":[]}").unwrap();
    tokio::time::sleep(JWKS_RETRY * 2).await;
    assert!(!is_good().await);
    assert!(room.tokens.keys.trouble().is_some());
}

#[tokio::test(start_paused = true)]
async fn keys_of_an_issuer_that_others_could_write_are_not_taken() {
    let issuer = Issuer::new();
    let room = room(&issuer, &[]);
    let token = issuer.token(&json!({ "alg": "EdDSA", "kid": "ed" }), &good());
    let path = room.dir.path().join("jwks.json");
    let chmod = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    chmod(0o620);
    room.check(&token, Err(NoToken::UnknownKey)).await;
    assert!(room.tokens.keys.trouble().unwrap().contains("run `chmod go-w "));
    chmod(0o600);
    tokio::time::sleep(JWKS_RETRY * 2).await;
    room.check(&token, Ok("https://login.example|ann")).await;
}

#[test]
fn base_64_for_urls_has_one_spelling() {
    assert_eq!(unbase64("-_8").unwrap(), [0xfb, 0xff]);
    for wrong in ["+/8", "-_8=", "-_9", "a", "a b"] {
        assert_eq!(unbase64(wrong), None, "{wrong}");
    }
}
