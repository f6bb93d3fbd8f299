//! Who may come in from where: what is written of it must fit together.

use crate::config::{
    AuthMode, JwksPlace,
    tests::{ONE_SERVER, accepted, places},
};

const TLS: &str = "tls = { cert = \"c.pem\", key = \"k.pem\" }\n";

#[track_caller]
fn check(gateway: &str, auth: &str, want: &[(&str, usize, usize)]) {
    let text = format!("[gateway]\n{gateway}[auth]\n{auth}{ONE_SERVER}");
    if want.is_empty() {
        accepted(&text);
    } else {
        assert_eq!(places(&text), want, "{text}");
    }
}

#[test]
fn what_other_machines_can_reach_has_tls_and_asks_who_they_are() {
    let wide = "listen = \"0.0.0.0:7411\"\n";
    let both = format!("{wide}{TLS}");
    let keys = "modes = [\"keys\"]\n";
    let at_listen = [("C013", 2, 10)];
    check(wide, "", &at_listen);
    check(wide, keys, &at_listen);
    check(&both, "", &at_listen);
    check(&both, "modes = [\"none\"]\n", &at_listen);
    check(&both, keys, &[]);
    check("listen = \"[::]:1\"\n", keys, &at_listen);
    check("listen = \"[::ffff:127.0.0.1]:1\"\n", "", &[]);
    // The admin surface never is, whatever else there is.
    check(&format!("admin = \"192.0.2.1:1\"\n{TLS}"), keys, &[("C013", 2, 9)]);
}

#[test]
fn ways_that_do_not_fit_together_or_lead_nowhere_are_refused() {
    let at_modes = [("C028", 3, 9)];
    let jwt = "jwt = { issuer = \"https://a.example\", resource = \"https://g.example/mcp\", \
               jwks = \"https://a.example/jwks\" }\n";
    for (modes, more, want) in [
        ("[\"none\", \"keys\"]", "", &at_modes[..]),
        ("[]", "", &at_modes),
        ("[\"peer\"]", "", &at_modes),
        ("[\"jwt\"]", "", &at_modes),
        ("[\"keys\"]", jwt, &at_modes),
        ("[\"mtls\"]", "", &at_modes),
        ("[\"basic\"]", "", &[("C005", 3, 10)]),
        ("[\"keys\", \"peer\", \"jwt\"]", jwt, &[]),
    ] {
        check("", &format!("modes = {modes}\n{more}"), want);
    }
    let unix = "listen = \"unix:l.sock\"\n";
    check(unix, "modes = [\"peer\"]\n", &[]);
    check(&format!("{unix}{TLS}"), "", &[("C009", 3, 1)]);
    let ca = "tls = { cert = \"c\", key = \"k\", client_ca = \"ca\" }\n";
    check(ca, "modes = [\"keys\"]\n", &[("C028", 4, 9)]);
    check(ca, "modes = [\"keys\", \"mtls\"]\n", &[]);
    let named = |names: &str| ca.replace(" }", &format!(", client_names = {names} }}"));
    check(&named("[\"dns\", \"uri\"]"), "", &[]);
    check(&named("[]"), "", &[("C021", 2, 65)]);
    check(&named("[\"ip\"]"), "", &[("C005", 2, 66)]);
    let nobodys = TLS.replace(" }", ", client_names = [\"dns\"] }");
    check(&nobodys, "", &[("C009", 2, 55)]);
    check("tls = { cert = \"c\" }\n", "", &[("C029", 2, 1)]);
    check("tls = { cert = \"c\", key = \"k\", ca = \"x\" }\n", "", &[("C003", 2, 32)]);
}

#[test]
fn tokens_come_from_an_issuer_that_is_reached_safely() {
    let of = |issuer: &str, jwks: &str| {
        format!(
            "jwt = {{ issuer = \"{issuer}\", resource = \"https://g.example/mcp\", \
             jwks = \"{jwks}\", scopes = [\"a\"], groups_claim = \"roles\" }}\n"
        )
    };
    let at_issuer = [("C014", 3, 18)];
    check("", &of("http://a.example", "k.json"), &at_issuer);
    check("", &of("a.example", "k.json"), &at_issuer);
    check("", &of("https://a.example", "https://a.example/k"), &[]);
    check("", &of("https://a.example", "http://127.0.0.1:9/k"), &[]);
    check("", &of("https://a.example", "http://a.example/k"), &[("C014", 3, 82)]);
    check("", "jwt = { issuer = \"https://a.example\" }\n", &[("C029", 3, 1)]);

    let text = format!("[auth]\n{}{ONE_SERVER}", of("https://a.example", "k.json"));
    let auth = accepted(&text).auth;
    assert!(auth.has(AuthMode::Jwt) && auth.has(AuthMode::Peer) && !auth.has(AuthMode::None));
    let jwt = auth.jwt.unwrap();
    assert_eq!(jwt.jwks, JwksPlace::File("/etc/portcullis/k.json".into()));
    assert_eq!(
        (jwt.scopes.as_slice(), jwt.groups_claim.as_str()),
        (&["a".to_owned()][..], "roles")
    );
    let known = "https://g.example/.well-known/oauth-protected-resource/mcp";
    assert_eq!(jwt.metadata_url(), known);
}
