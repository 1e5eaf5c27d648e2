//! A master with a replica, and three sentinels that watch over them. Two have to agree that the master is down, which
//! it is for them after half a second.

use std::net::SocketAddr;

use super::{QUICKLY, Redis, Reply, SOON, ports, until};

/// What the sentinels call the master.
pub const SERVICE: &str = "forebay";

/// The sentinels and what they watch.
pub struct Sentinel {
    /// The master at the start, and its replica.
    pub servers: [Redis; 2],
    pub sentinels: Vec<Redis>,
}

impl Sentinel {
    pub async fn start() -> Self {
        let master = Redis::start_with(&QUICKLY).await;
        let port = master.address().port().to_string();
        let replica = Redis::start_with(&[&QUICKLY[..], &["--replicaof", "127.0.0.1", &port]].concat()).await;
        let lines = format!(
            "sentinel monitor {SERVICE} 127.0.0.1 {port} 2\n\
             sentinel down-after-milliseconds {SERVICE} 500\n\
             sentinel failover-timeout {SERVICE} 5000\n"
        );
        until("the replica follows", async || replica.info("master_link_status").await.as_deref() == Some("up")).await;
        let mut sentinels = Vec::new();
        for _ in 0..3 {
            let sentinel = Redis::start_sentinel(&lines).await;
            // They find each other by what they publish, and replicas by what the master says: quickly, where a version can
            // be told so, and else within some seconds.
            sentinel.command(&["SENTINEL", "DEBUG", "publish-period", "100", "info-period", "200"]).await;
            sentinels.push(sentinel);
        }
        let this = Self { servers: [master, replica], sentinels };
        until("all sentinels know each other and the replica", async || {
            for sentinel in &this.sentinels {
                let known = sentinel.command(&["SENTINEL", "MASTER", SERVICE]).await;
                if field(&known, "num-other-sentinels") != "2" || field(&known, "num-slaves") != "1" {
                    return false;
                }
            }
            true
        })
        .await;
        this
    }

    /// `redis-sentinel://…` with all sentinels.
    pub fn url(&self) -> String {
        let others: Vec<_> = self.sentinels[1..].iter().map(|other| format!("node={}", other.address())).collect();
        let first = self.sentinels[0].address();
        format!("redis-sentinel://{first}?sentinelServiceName={SERVICE}&{}", others.join("&"))
    }

    /// The master, as a sentinel that lives says.
    pub async fn master(&self) -> &Redis {
        let sentinel = self.sentinels.iter().find(|sentinel| sentinel.is_running()).expect("a sentinel that lives");
        let address = master_by(sentinel).await;
        self.servers.iter().find(|server| Some(server.address()) == address).expect("one of the two servers")
    }

    /// Kills the master, and says which it was.
    pub async fn kill_master(&self) -> SocketAddr {
        let master = self.master().await;
        master.kill();
        master.address()
    }

    /// Waits until all sentinels that live take another one than `dead` for the master, and that one does too.
    pub async fn wait_for_failover(&self, dead: SocketAddr) -> SocketAddr {
        until("another master", async || {
            for sentinel in self.sentinels.iter().filter(|sentinel| sentinel.is_running()) {
                if master_by(sentinel).await.is_none_or(|master| master == dead) {
                    return false;
                }
            }
            self.master().await.info("role").await.as_deref() == Some("master")
        })
        .await;
        self.master().await.address()
    }
}

/// The master's address, as this sentinel says.
async fn master_by(sentinel: &Redis) -> Option<SocketAddr> {
    let asked = sentinel.try_command(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE], SOON).await.ok()?;
    asked.items().get(1)?.text().parse().ok().map(ports::loopback)
}

/// A value of a list of names and values.
fn field(list: &Reply, name: &str) -> String {
    list.items().chunks(2).find(|pair| pair[0].text() == name).map_or_else(String::new, |pair| pair[1].text())
}
