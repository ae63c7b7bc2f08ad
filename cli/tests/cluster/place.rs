//! Which cluster, which side, as whom.

use std::os::unix::fs::symlink;

use serde_json::json;

use crate::{
    cases::submit,
    embedded::{Embedded, TEAM, kubeconfig},
    harness::{Home, NUMBER, Said},
};

#[test]
fn a_run_of_this_machine_comes_first_and_options_say_otherwise() {
    let embedded = Embedded::new();
    let site = &embedded.site;
    submit(site, "both");
    let shown = site.braid(&["get", "both"]).exits(0);
    assert!(shown.out.contains("in namespace team"), "{}", shown.out);
    let file = site.home.numbers("both", 3, NUMBER);
    site.braid(&["run", file.to_str().unwrap(), "--progress", "none"])
        .exits(0);
    for words in [vec!["get", "both"], vec!["get", "both", "--local"]] {
        let shown = site.braid(&words).exits(0);
        assert!(shown.out.contains("state: "), "{words:?}: {}", shown.out);
    }
    for words in [
        vec!["get", "both", "-n", TEAM],
        vec!["get", "both", "--context", "here"],
    ] {
        let shown = site.braid(&words).exits(0);
        assert!(shown.out.contains("both  Pending"), "{words:?}: {}", shown.out);
    }
    assert!(site.braid(&["ls"]).exits(0).out.contains("STATE"));
    assert!(site.braid(&["ls", "-A"]).exits(0).out.contains("NAMESPACE"));
    let waited = site.braid(&["wait", "both"]).exits(0);
    assert!(waited.out.starts_with("both: Succeeded"), "{}", waited.out);
    site.braid(&["watch", "both", "--progress", "none"]).exits(0);
}

#[test]
fn as_a_plugin_the_cluster_is_meant_and_usage_says_kubectl() {
    let embedded = Embedded::new();
    let site = &embedded.site;
    submit(site, "plugged");
    let file = site.home.numbers("plugged", 3, NUMBER);
    site.braid(&["run", file.to_str().unwrap(), "--progress", "none"])
        .exits(0);
    let plugin = site.home.path("kubectl-braid");
    symlink(env!("CARGO_BIN_EXE_braid"), &plugin).unwrap();
    let call = |words: &[&str]| {
        let mut command = std::process::Command::new(&plugin);
        let like = site.command(words);
        command.args(words);
        for (key, value) in like.get_envs() {
            match value {
                Some(value) => command.env(key, value),
                None => command.env_remove(key),
            };
        }
        Said::from(command.output().unwrap())
    };
    let shown = call(&["get", "plugged"]).exits(0);
    assert!(shown.out.contains("in namespace team"), "{}", shown.out);
    assert!(call(&["get", "plugged", "--local"]).exits(0).out.contains("state: "));
    let help = call(&["--help"]).exits(0);
    assert!(help.out.contains("Usage: kubectl braid <COMMAND>"), "{}", help.out);
    let help = call(&["submit", "--help"]).exits(0);
    assert!(help.out.contains("Usage: kubectl braid submit"), "{}", help.out);
    let missing = call(&["get", "nobody"]).exits(2);
    assert!(missing.err.contains("`kubectl braid ls -n team`"), "{}", missing.err);
}

#[test]
fn options_choose_namespace_context_and_user() {
    let embedded = Embedded::new();
    let site = &embedded.site;
    let file = site.home.numbers("there", 3, NUMBER);
    let file = file.to_str().unwrap();
    site.braid(&["submit", file, "-n", "other"]).exits(0);
    assert_eq!(vec!["there"], site.names("other"));
    site.braid(&["get", "there", "-n", "other", "--as", "ana"]).exits(0);
    let asked = embedded.asked();
    assert!(
        asked
            .iter()
            .any(|line| line.contains("/namespaces/other/workflows/there") && line.ends_with(" as ana")),
        "{asked:#?}"
    );
    assert!(
        asked
            .iter()
            .any(|line| line.starts_with("POST ") && line.contains("fieldValidation=Strict")),
        "{asked:#?}"
    );
    let said = site.braid(&["get", "there", "--context", "nobody"]).exits(6);
    assert!(
        said.err.contains("context nobody") && said.err.contains("cannot be reached: client error (Connect)"),
        "{}",
        said.err
    );
    let said = site.braid(&["get", "there", "--context", "typo"]).exits(6);
    assert!(said.err.contains("no context \"typo\""), "{}", said.err);
}

#[test]
fn without_a_cluster_it_says_so() {
    let home = Home::new();
    let file = home.numbers("alone", 3, NUMBER);
    for words in [vec!["submit", file.to_str().unwrap()], vec!["get", "x", "-n", "team"]] {
        let said = home.braid(&words).exits(6);
        assert!(said.err.contains("there is no cluster to speak to"), "{}", said.err);
        assert!(said.err.contains("braid run FILE"), "{}", said.err);
    }
    let said = home.braid(&["get", "x", "--kubeconfig", "nowhere"]).exits(6);
    assert!(said.err.contains("cannot read nowhere"), "{}", said.err);
}

#[test]
fn what_a_kubeconfig_holds_is_never_told() {
    let home = Home::new();
    let secret = "s3cr3t-t0ken";
    let good = kubeconfig("http://127.0.0.1:1", TEAM).to_string();
    let broken = home.write(
        "broken",
        &format!("users:\n- name: me\n  user: {{token: {secret}\n  x: ["),
    );
    let mistyped = home.write(
        "mistyped",
        &good.replace(&format!("\"{secret}\""), &format!("[\"{secret}\"]")),
    );
    let unusable = home.write("unusable", &good.replace(secret, &format!("{secret}\\n")));
    let plugin = home.write(
        "plugin",
        &good.replace(
            &format!("\"token\":\"{secret}\""),
            &format!(
                "\"exec\":{{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"interactiveMode\":\"Never\",\
             \"command\":\"sh\",\"args\":[\"-c\",\"echo {secret}; echo {secret} >&2; exit 3\"]}}"
            ),
        ),
    );
    for file in [broken, mistyped, unusable, plugin] {
        let mut command = home.command(&["get", "x", "--context", "here", "--kubeconfig", file.to_str().unwrap()]);
        let said = Said::from(command.env("BRAID_LOG", "trace").output().unwrap()).exits(6);
        let ours: Vec<&str> = said.err.lines().filter(|line| line.starts_with("braid: ")).collect();
        assert!(!ours.is_empty(), "{}", said.err);
        assert!(!said.err.contains(secret), "{}: {}", file.display(), said.err);
    }
}

#[test]
fn kubeconfigs_are_merged_and_proxies_are_not_for_this_machine() {
    let embedded = Embedded::new();
    let site = &embedded.site;
    submit(site, "found");
    let missing = site.home.path("missing");
    let first = site
        .home
        .write("first", "apiVersion: v1\nkind: Config\ncurrent-context: here\n");
    let list = std::env::join_paths([missing, first, site.home.path("kubeconfig")]).unwrap();
    let mut command = site.command(&["get", "found"]);
    command.env("KUBECONFIG", list).env("HTTPS_PROXY", "http://127.0.0.1:1");
    let said = Said::from(command.output().unwrap()).exits(0);
    assert!(said.out.contains("in namespace team"), "{}", said.out);
    // Without a word the file is where kubectl looks for it.
    std::fs::create_dir_all(site.home.path("home/.kube")).unwrap();
    std::fs::copy(site.home.path("kubeconfig"), site.home.path("home/.kube/config")).unwrap();
    site.home.braid(&["get", "found"]).exits(0);
}

#[test]
fn plugins_give_credentials_and_pods_have_accounts() {
    let embedded = Embedded::new();
    let site = &embedded.site;
    submit(site, "plugged");
    let mut config = kubeconfig("http://127.0.0.1:1", TEAM);
    let text = std::fs::read_to_string(site.home.path("kubeconfig")).unwrap();
    let own: serde_json::Value = serde_json::from_str(&text).unwrap();
    config["clusters"] = own["clusters"].clone();
    let credential = json!({
        "apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "of-a-plugin"},
    });
    config["users"][0]["user"] = json!({"exec": {
        "apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "Never", "command": "echo",
        "args": [credential.to_string()],
    }});
    let file = site.home.write("plugin", &config.to_string());
    site.braid(&["get", "plugged", "--kubeconfig", file.to_str().unwrap()])
        .exits(0);
    assert_eq!(Some("Bearer of-a-plugin"), embedded.authorized().as_deref());
    site.braid(&["get", "plugged"]).exits(0);
    assert_eq!(Some("Bearer s3cr3t-t0ken"), embedded.authorized().as_deref());

    let home = Home::new();
    let mut command = home.command(&["ls", "-A"]);
    command
        .env("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        .env("KUBERNETES_SERVICE_PORT", "1");
    let said = Said::from(command.output().unwrap()).exits(6);
    assert!(
        said.err.contains("this is a pod, but its account cannot be used"),
        "{}",
        said.err
    );
}
