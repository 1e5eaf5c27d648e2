//! `forebay explain --event` as a command: what it says, and how it ends.

use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::gateway::Scratch;

const RULES: &str = "[origin]\nurl = \"demo\"\n[[change]]\nchannel = \"tenant:*:users\"\nevent = \"user-profile-changed\"\n\
                     purge = [\"tag:user:{data.userId}\", \"url:/api/users/{data.userId}\"]\n";
const PROFILE: &str = r#"{"eventType":"user-profile-changed","tenantId":"123","data":{"userId":"user-456"}}"#;

/// Explains `message` by [`RULES`], from a file and from standard input: exit code, standard output, standard error.
async fn explain(message: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
    let (config, file) = (Scratch::new("config.toml", RULES), Scratch::new("event.json", message));
    let mut said = Vec::new();
    for from_file in [true, false] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
        command.args(["explain", "--config"]).arg(config.path()).arg("--event");
        if from_file {
            command.arg(file.path())
        } else {
            command.arg("-")
        };
        let command = command.args(arguments).kill_on_drop(true).stdin(Stdio::piped());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // A file is read in its place: then nobody takes what is written here.
        let _ = stdin.write_all(message.as_bytes()).await;
        drop(stdin);
        let output = child.wait_with_output().await.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        said.push((output.status.code(), text(output.stdout), text(output.stderr)));
    }
    assert_eq!(said[0], said[1]);
    said.swap_remove(0)
}

#[tokio::test]
async fn a_message_that_changes_something_is_explained_and_is_a_success() {
    let (code, out, err) = explain(PROFILE, &["--channel", "tenant:123:users"]).await;
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    assert!(out.contains("tag:user:user-456") && out.contains("url:/api/users/user-456"), "{out}");
    let (code, out, _) = explain(PROFILE, &["--json"]).await;
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &json["rules"][0]["purge"][0]), (Some(0), &"tag:user:user-456".into()));
}

#[tokio::test]
async fn ps_01_a_message_that_would_be_dropped_is_a_failure_with_the_reason() {
    for (message, arguments, reason) in [
        (PROFILE, &["--channel", "tenant:123:roles"][..], "no rule is about this message"),
        ("{\"eventType\":", &[], "the message is no JSON"),
        ("[]", &["--json"], "no object"),
        (&"[".repeat(1 << 16), &[], "levels deep"),
        (&" ".repeat(1 << 20), &[], "the limit is 65536"),
        (r#"{"eventType":"user-profile-changed"}"#, &[], "no value at `data.userId`"),
    ] {
        let (code, out, err) = explain(message, arguments).await;
        assert_eq!(code, Some(1), "{out}{err}");
        assert!(err.contains(reason), "{reason}: {err}");
    }
}
