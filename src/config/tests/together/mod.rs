//! All mistakes at once, in their order, for people and for programs.

mod auth;

use std::path::PathBuf;

use super::{ONE_SERVER, accepted, places, read, read_with};
use crate::config::{Config, Listen, Target};

#[test]
fn unknown_keys_wrong_types_and_semantic_errors_come_together_in_order() {
    let text = "[servers.web]\nurl = 5\nurk = 1\n[gateway]\nlisen = \"x\"\nnames = \"both\"\n\
                listen = \"10.0.0.1:80\"\n[limits]\nsessions = 0\nbody = 1\n";
    let want = [
        ("C004", 2, 7),
        ("C003", 3, 1),
        ("C003", 5, 1),
        ("C005", 6, 9),
        ("C013", 7, 10),
        ("C006", 9, 12),
        ("C003", 10, 1),
    ];
    assert_eq!(places(text), want);
}

#[test]
fn a_replica_has_what_it_does_not_say_from_its_server() {
    let text = "[servers.a]\nurl = \"http://a/mcp\"\nhttp_headers = { X-K = \"1\" }\n\
                [[servers.a.replica]]\nurl = \"http://b/mcp\"\nweight = 2\n\
                [[servers.a.replica]]\nurl = \"http://c/mcp\"\nhttp_headers = { X-K = \"2\" }\n\
                [servers.b]\ncommand = \"git-mcp\"\ncwd = \"/srv\"\nenv = { A = \"1\" }\nreplicas = 2\n\
                [[servers.b.replica]]\ncommand = \"git-mcp\"\n\
                [[servers.b.replica]]\ncommand = \"git-mcp\"\nenv = { A = \"2\" }\n";
    let config = accepted(text);
    let targets = config.servers.iter().flat_map(|server| &server.replicas);
    let said = targets.map(|replica| match &replica.target {
        Target::Http(http) => format!("{} {}", http.url, http.headers[0].1.expose()),
        Target::Stdio(stdio) => {
            format!("{} {}", stdio.cwd.as_ref().unwrap().display(), stdio.env["A"].expose())
        }
    });
    let want = [
        "http://a/mcp 1",
        "http://b/mcp 1",
        "http://c/mcp 2",
        "/srv 1",
        "/srv 1",
        "/srv 1",
        "/srv 2",
    ];
    assert_eq!(said.collect::<Vec<_>>(), want);
}

#[test]
fn replicas_are_checked_like_servers() {
    let only_tables = accepted("[servers.a]\n[[servers.a.replica]]\nurl = \"http://b/mcp\"\n");
    assert_eq!(only_tables.servers[0].replicas.len(), 1);
    let text = "[servers.a]\nurl = \"http://a/mcp\"\nreplicas = 2\nweight = 0\n\
                [[servers.a.replica]]\nurk = \"http://b/mcp\"\n\
                [[servers.a.replica]]\nweight = 3\n[[servers.a.replica]]\nurl = 1\n\
                [servers.b]\ncommand = \"git-mcp\"\nreplicas = 65\nreplica = 1\n";
    let want = [
        ("C009", 3, 1),
        ("C006", 4, 10),
        ("C003", 6, 1),
        ("C008", 7, 1),
        ("C004", 10, 7),
        ("C006", 13, 12),
        ("C004", 14, 11),
    ];
    assert_eq!(places(text), want);
}

#[test]
fn columns_count_characters_not_bytes() {
    let text = "[servers.a]\ncommand = \"git-mcp\"\nenv = { A = \"äöü\", B = \"${x}\" }\n";
    assert_eq!(places(text), [("C017", 3, 24)]);
}

#[test]
fn one_misspelt_command_is_one_mistake() {
    assert_eq!(places("[servers.a]\ncomand = \"git-mcp\"\n"), [("C003", 2, 1)]);
}

#[test]
fn a_server_without_a_target_is_checked_to_the_end() {
    let both = "[servers.a]\ncommand = \"/usr/x\"\nurl = \"ftp://a\"\nargs = 1\nhttp_headers = 2\n";
    let want = [("C010", 2, 11), ("C008", 3, 1), ("C014", 3, 7), ("C004", 4, 8), ("C004", 5, 16)];
    assert_eq!(places(both), want);
}

#[test]
fn broken_toml_is_shown_with_what_is_certain_before_it() {
    let text = "xyzzy = 1\n[servers.a]\nenabled = 1\nargs = [\"x\nnope = 1\ncommand = \"x\n";
    let want = [("C003", 1, 1), ("C004", 3, 11), ("C002", 4, 11)];
    assert_eq!(places(text), want);
    assert_eq!(places("[gateway]\nnames = \"plain\"\nnames = \"plain\"\n"), [("C002", 3, 1)]);
}

#[test]
fn programs_get_every_field_as_json() {
    let json = read("[servers.a]\ncomand = \"x\"\n").unwrap_err().to_json();
    let error = &json["errors"][0];
    assert_eq!(error["severity"], "error");
    assert_eq!(error["code"], "C003");
    assert_eq!(error["file"], super::FILE);
    assert_eq!((error["line"].as_u64(), error["column"].as_u64()), (Some(2), Some(1)));
    assert_eq!(error["message"], "unknown key `comand` in [servers.a]");
    assert_eq!(error["label"], "did you mean `command`?");
    assert!(error["help"].as_str().unwrap().starts_with("one of command, args"));
    assert_eq!(json["warnings"].as_array().unwrap().len(), 0);
}

#[test]
fn one_line_says_what_and_where() {
    let errors = read("[servers.a]\ncomand = \"x\"\n").unwrap_err();
    let want = "error[C003]: unknown key `comand` in [servers.a] at \
                /etc/portcullis/servers.toml:2:1";
    assert_eq!(errors.to_string(), want);
}

#[test]
fn warnings_do_not_refuse_the_file() {
    let config = accepted("[servers.a]\nurl = \"http://a.example/mcp\"\n");
    let codes: Vec<_> = config.warnings.iter().map(|w| w.code.as_str()).collect();
    assert_eq!(codes, ["C101"]);
    for loopback in ["http://localhost:1", "http://127.0.0.2", "http://[::1]:9/mcp"] {
        let config = accepted(&format!("[servers.a]\nurl = \"{loopback}\"\n"));
        assert_eq!(config.warnings.len(), 0, "{loopback}");
    }
}

#[test]
fn a_disabled_server_is_checked_as_written_but_needs_nothing_of_the_machine() {
    let absent = "[servers.a]\ncommand = \"/usr/nosuch\"\ncwd = \"/nowhere/x\"\n\
                  env = { A = \"${env:NOPE}\" }\nenabled = false\n";
    assert_eq!(accepted(absent).disabled.len(), 1);
    assert_eq!(places(&absent.replace("${env", "${nv")), [("C017", 4, 13)]);
    assert_eq!(places(&absent.replace("cwd", "cvd")), [("C003", 3, 1)]);
    assert_eq!(places(&absent.replace("false", "true")).len(), 3);
}

#[test]
fn plain_names_count_enabled_servers_only() {
    let two = "[gateway]\nnames = \"plain\"\n[servers.a]\ncommand = \"git-mcp\"\n[servers.b]\n\
               command = \"git-mcp\"\n";
    assert_eq!(places(two), [("C019", 5, 10)]);
    assert_eq!(accepted(&format!("{two}enabled = false\n")).servers.len(), 1);
    assert_eq!(places("[gateway]\nnames = \"plain\"\n"), [("C019", 2, 9)]);
}

#[test]
fn urls_have_a_host_and_a_port_that_exist() {
    let url = |url: &str| format!("[servers.a]\nurl = \"{url}\"\n");
    for fine in ["https://a.example", "https://a.example:8443/mcp?x=1", "http://[::1]:9/mcp"] {
        accepted(&url(fine));
    }
    for bad in ["https://a:99999", "https://a:0/", "https://a:", "https:///mcp", "https://a/#x", ""]
    {
        assert_eq!(places(&url(bad)), [("C014", 2, 7)], "{bad}");
    }
}

#[test]
fn headers_of_the_protocol_and_of_http_cannot_be_set() {
    let with = |name: &str| {
        format!("[servers.a]\nurl = \"https://a.example\"\nhttp_headers = {{ {name} = \"x\" }}\n")
    };
    let ours = "mcp-session-id MCP-Protocol-Version Mcp-Param-X Content-Type content-length \
                Proxy-Authorization Host Accept Connection Keep-Alive TE Trailer \
                Transfer-Encoding Upgrade Expect Last-Event-ID";
    for name in ours.split_whitespace() {
        assert_eq!(places(&with(name)), [("C015", 3, 18)], "{name}");
    }
    accepted(&with("X-Mcp-Team"));
}

#[test]
fn two_free_ports_are_two_addresses() {
    let config = accepted("[gateway]\nlisten = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n");
    assert_eq!(config.gateway.listen, config.gateway.admin);
}

#[test]
fn a_socket_path_fits_the_kernel() {
    let listen = |n_bytes: usize| {
        let name = "x".repeat(n_bytes - "/".len());
        format!("[gateway]\nlisten = \"unix:/{name}\"\n")
    };
    assert!(matches!(accepted(&listen(107)).gateway.listen, Listen::Unix(_)));
    assert_eq!(places(&listen(108)), [("C012", 2, 10)]);
}

#[test]
fn servers_are_sorted_by_name() {
    let config =
        accepted("[servers.b]\ncommand = \"git-mcp\"\n[servers.a]\ncommand = \"git-mcp\"\n");
    let names: Vec<_> = config.servers.iter().map(|s| s.name.as_str().to_owned()).collect();
    assert_eq!(names, ["a", "b"]);
}

/// The user's runtime directory is there at one start and not at another.
#[test]
fn a_stop_marks_memory_that_is_there_at_each_start() {
    let memory = |variables: &[(&str, &str)]| {
        read_with(ONE_SERVER, &[variables, &[("PATH", "/bin")]].concat()).unwrap().stop.memory
    };
    let user = [("HOME", "/h"), ("XDG_RUNTIME_DIR", "/r")];
    assert_eq!(memory(&user), [PathBuf::from("/dev/shm")]);
    let systemd = [("STATE_DIRECTORY", "/var/lib/p"), ("RUNTIME_DIRECTORY", "/run/p:/x")];
    assert_eq!(memory(&systemd), ["/run/p", "/dev/shm"].map(PathBuf::from));
}

#[track_caller]
fn directories(variables: &[(&str, &str)], state_dir: &str, admin: &str) {
    let variables = [variables, &[("PATH", "/bin")]].concat();
    let config: Config = read_with(ONE_SERVER, &variables).unwrap();
    assert_eq!(config.gateway.state_dir.to_str(), Some(state_dir));
    assert_eq!(config.gateway.admin, Listen::Unix(admin.into()));
}

#[test]
fn directories_are_those_of_systemd_then_those_of_the_user() {
    const HOME: (&str, &str) = ("HOME", "/h");
    const STATE: (&str, &str) = ("XDG_STATE_HOME", "/s");
    const RUN: (&str, &str) = ("XDG_RUNTIME_DIR", "/r");
    directories(&[HOME], "/h/.local/state/portcullis", "/h/.local/state/portcullis/admin.sock");
    directories(&[HOME, STATE], "/s/portcullis", "/s/portcullis/admin.sock");
    directories(&[HOME, STATE, RUN], "/s/portcullis", "/r/portcullis/admin.sock");
    let systemd = [("STATE_DIRECTORY", "/var/lib/p:/x"), ("RUNTIME_DIRECTORY", "/run/p")];
    directories(&[&systemd[..], &[HOME, STATE, RUN]].concat(), "/var/lib/p", "/run/p/admin.sock");
    directories(
        &[HOME, ("XDG_STATE_HOME", "relative")],
        "/h/.local/state/portcullis",
        "/h/.local/state/portcullis/admin.sock",
    );
}

#[test]
fn command_and_url_decide_the_target() {
    let program = |command: &str| {
        let config = accepted(&format!("[servers.a]\ncommand = \"{command}\"\n"));
        let Target::Stdio(stdio) = config.servers[0].replicas[0].target.clone() else {
            panic!("not stdio")
        };
        format!("{:?}", stdio.program)
    };
    assert_eq!(program("@self"), "SelfExe");
    assert_eq!(program("git-mcp"), "Path(\"/bin/git-mcp\")");
    assert_eq!(program("/bin/x"), "Path(\"/bin/x\")");
    assert_eq!(program("tools/x"), "Path(\"/etc/portcullis/tools/x\")");

    let config = accepted("[servers.a]\nurl = \"http://127.0.0.1:9/mcp\"\n");
    let Target::Http(http) = &config.servers[0].replicas[0].target else { panic!("not http") };
    assert_eq!(http.url, "http://127.0.0.1:9/mcp");
    assert!(http.headers.is_empty());
}
