//! Clusters, sentinels and TLS do what the tests that use them rely on.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, IpAddr, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::redis::{Certificate, Cluster, Redis, Reply, SERVICE, Sentinel};

#[tokio::test]
async fn a_cluster_has_three_masters_and_survives_the_loss_of_one() {
    let cluster = Cluster::start().await;
    let owner = cluster.master_of("a").await;
    owner.replicated(&["SET", "a", "b"]).await.is_ok();
    let other = cluster.nodes[..3].iter().find(|node| node.address() != owner.address()).unwrap();
    assert!(matches!(other.command(&["GET", "a"]).await, Reply::Error(why) if why.starts_with("MOVED ")));
    let nodes: Vec<_> = cluster.nodes[1..].iter().map(|node| format!("node={}", node.address())).collect();
    assert_eq!(cluster.url(), format!("redis-cluster://{}?{}", cluster.nodes[0].address(), nodes.join("&")));

    let dead = cluster.kill_master_of("a").await;
    assert_eq!((dead, cluster.living().count()), (owner.address(), 5));
    let heir = cluster.wait_for_failover("a", dead).await;
    assert!(cluster.nodes[3..].iter().any(|node| node.address() == heir));
    assert_eq!(cluster.node(heir).command(&["GET", "a"]).await.text(), "b");

    cluster.node(dead).restart().await;
    assert_eq!(cluster.master_of("a").await.address(), heir);
}

#[tokio::test]
async fn a_slot_moves_with_what_is_in_it() {
    let cluster = Cluster::start_with(&["--maxmemory", "50mb"]).await;
    let from = cluster.master_of("a").await;
    assert_eq!(from.info("maxmemory").await.as_deref(), Some("52428800"));
    for key in ["a", "{a}1", "{a}2"] {
        from.command(&["SET", key, key]).await.is_ok();
    }
    let to = cluster.nodes[..3].iter().find(|node| node.address() != from.address()).unwrap();
    cluster.move_slot_of("a", to).await;
    assert_eq!(cluster.master_of("{a}1").await.address(), to.address());
    assert_eq!(to.command(&["GET", "{a}2"]).await.text(), "{a}2");
    assert!(matches!(from.command(&["GET", "a"]).await, Reply::Error(why) if why.starts_with("MOVED ")));
}

#[tokio::test]
async fn sentinels_put_the_replica_in_the_place_of_a_dead_master() {
    let watched = Sentinel::start().await;
    let [master, replica] = &watched.servers;
    assert_eq!(watched.master().await.address(), master.address());
    let [one, two, three] = [0, 1, 2].map(|number: usize| watched.sentinels[number].address());
    let url = format!("redis-sentinel://{one}?sentinelServiceName={SERVICE}&node={two}&node={three}");
    assert_eq!(watched.url(), url);
    master.replicated(&["SET", "a", "b"]).await.is_ok();

    let dead = watched.kill_master().await;
    assert_eq!(dead, master.address());
    assert_eq!(watched.wait_for_failover(dead).await, replica.address());
    assert_eq!(replica.command(&["GET", "a"]).await.text(), "b");
    replica.command(&["SET", "a", "c"]).await.is_ok();
}

/// Says PING on TLS to a server that shows this certificate; what it answers, or why there is no connection.
async fn ping(certificate: &Certificate) -> Result<String, String> {
    let redis = Redis::start_tls(certificate).await;
    assert_eq!(redis.url(), format!("rediss://{}", redis.address()));
    assert_eq!(redis.command(&["PING"]).await.text(), "PONG", "tests can always ask in the clear");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(certificate.authority.as_bytes()).unwrap()).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::IpAddress(IpAddr::from(redis.address().ip()));
    let socket = TcpStream::connect(redis.address()).await.unwrap();
    let connected = TlsConnector::from(Arc::new(config)).connect(name, socket).await;
    let mut stream = connected.map_err(|error| error.to_string())?;
    stream.write_all(b"PING\r\n").await.unwrap();
    let mut answer = [0; 7];
    stream.read_exact(&mut answer).await.unwrap();
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[tokio::test]
async fn certificates_are_wrong_in_one_thing_at_most() {
    assert_eq!(ping(&Certificate::good()).await.as_deref(), Ok("+PONG\r\n"));
    for (certificate, reason) in
        [(Certificate::expired(), "expired"), (Certificate::wrong_name(), "not valid for name")]
    {
        let refused = ping(&certificate).await.unwrap_err();
        assert!(refused.contains(reason), "{refused}");
    }
}
