//! What is shipped beside the binary is true to it.

use std::fs;
use std::path::Path;

use forebay::config::{self, Overrides};

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// The block that follows `key: |`, without its indentation.
fn block(yaml: &str, key: &str) -> String {
    let marker = format!("{key}: |\n");
    let after = &yaml[yaml.find(&marker).expect(key) + marker.len()..];
    let lines = after.lines().take_while(|line| line.is_empty() || line.starts_with("    "));
    lines.map(|line| format!("{}\n", line.strip_prefix("    ").unwrap_or_default())).collect()
}

#[test]
fn the_config_map_of_the_cluster_is_a_configuration() {
    let yaml = read("k8s/forebay.yaml");
    let text = block(&yaml, "config.toml").replace("env:FOREBAY_ADMIN_TOKEN", "a-token-of-the-test");
    let config = config::parse(&text, "k8s/forebay.yaml", &Overrides::default()).unwrap_or_else(|p| panic!("{p}"));
    // Ports, probes and the time to drain are written twice: in the configuration and around it.
    let port = |address: Option<std::net::SocketAddr>| format!("containerPort: {} }}", address.unwrap().port());
    assert!(yaml.contains(&port(config.listen.http)) && yaml.contains(&port(config.admin.listen)));
    assert!(yaml.contains("path: /livez") && yaml.contains("path: /readyz"));
    let seconds = config.listen.grace.as_secs();
    let allowed = yaml.split("terminationGracePeriodSeconds: ").nth(1).unwrap();
    let allowed: u64 = allowed.split_whitespace().next().unwrap().parse().unwrap();
    assert!(allowed > seconds + config.listen.drain_delay.as_secs(), "killed before it has drained");
}

#[test]
fn the_image_starts_with_flags_that_exist() {
    let dockerfile = read("Dockerfile");
    let help = include_str!("../../src/cli/mod.rs");
    let flags = dockerfile.lines().filter(|line| line.starts_with("CMD") || line.starts_with("HEALTHCHECK"));
    let flags: Vec<&str> = flags.flat_map(|line| line.split('"')).filter_map(|word| word.strip_prefix("--")).collect();
    assert!(flags.contains(&"config") && flags.contains(&"listen"), "{flags:?}");
    for flag in flags {
        assert!(help.contains(&format!("    {flag}: ")), "--{flag} is no flag of the command line");
    }
}
