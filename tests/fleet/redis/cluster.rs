//! A cluster of three masters with a replica each, formed over plain connections.

use std::net::SocketAddr;

use super::{QUICKLY, Redis, Reply, SOON, ports, until};

const MASTERS: usize = 3;
const SLOTS: usize = 16_384;

/// The cluster. Its nodes are the masters first and then, in the same order, what was their replicas at the start.
pub struct Cluster {
    pub nodes: Vec<Redis>,
}

impl Cluster {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// A cluster whose nodes have further settings, as on the command line.
    pub async fn start_with(arguments: &[&str]) -> Self {
        let mut all = vec!["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"];
        all.extend(QUICKLY.iter().chain(arguments));
        let mut nodes = Vec::new();
        for _ in 0..2 * MASTERS {
            nodes.push(Redis::start_with(&all).await);
        }
        let this = Self { nodes };
        this.form().await;
        this
    }

    /// `redis-cluster://…` with all nodes.
    pub fn url(&self) -> String {
        let mut addresses = self.nodes.iter().map(|node| node.address().to_string());
        let first = addresses.next().unwrap();
        let others: Vec<_> = addresses.map(|address| format!("node={address}")).collect();
        format!("redis-cluster://{first}?{}", others.join("&"))
    }

    /// The node at this address.
    pub fn node(&self, address: SocketAddr) -> &Redis {
        self.nodes.iter().find(|node| node.address() == address).expect("a node of the cluster")
    }

    /// The master that has this key, as the nodes that live say.
    pub async fn master_of(&self, key: &str) -> &Redis {
        let node = self.living().next().expect("a node that lives");
        let slot = slot_of(node, key).await;
        self.node(owner(node, slot).await.expect("an owner of the slot"))
    }

    /// Kills the master that has this key, and says which it was.
    pub async fn kill_master_of(&self, key: &str) -> SocketAddr {
        let master = self.master_of(key).await;
        master.kill();
        master.address()
    }

    /// Waits until all nodes that live take another one than `dead` for the master of this key; returns that one.
    pub async fn wait_for_failover(&self, key: &str, dead: SocketAddr) -> SocketAddr {
        let slot = slot_of(self.living().next().expect("a node that lives"), key).await;
        until("another master", async || {
            for node in self.living() {
                if !is_ok(node).await || owner(node, slot).await.is_none_or(|owner| owner == dead) {
                    return false;
                }
            }
            true
        })
        .await;
        self.master_of(key).await.address()
    }

    /// Moves the slot of this key, and what is in it, to another master.
    pub async fn move_slot_of(&self, key: &str, to: &Redis) {
        let from = self.master_of(key).await;
        let slot = slot_of(from, key).await.to_string();
        let (from_id, to_id) = (id(from).await, id(to).await);
        to.command(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id]).await.is_ok();
        from.command(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id]).await.is_ok();
        let port = to.address().port().to_string();
        loop {
            let keys = from.command(&["CLUSTER", "GETKEYSINSLOT", &slot, "100"]).await;
            if keys.items().is_empty() {
                break;
            }
            for key in keys.items() {
                from.command(&["MIGRATE", "127.0.0.1", &port, &key.text(), "0", "5000"]).await.is_ok();
            }
        }
        // The new owner first, so that there is always one.
        for node in [to, from] {
            node.command(&["CLUSTER", "SETSLOT", &slot, "NODE", &to_id]).await.is_ok();
        }
        let slot = slot.parse().unwrap();
        until("all nodes know who has the slot", async || {
            for node in self.living() {
                if owner(node, slot).await != Some(to.address()) {
                    return false;
                }
            }
            true
        })
        .await;
    }

    /// The nodes that have not been killed.
    pub fn living(&self) -> impl Iterator<Item = &Redis> {
        self.nodes.iter().filter(|node| node.is_running())
    }

    async fn form(&self) {
        let (masters, replicas) = self.nodes.split_at(MASTERS);
        for (number, master) in masters.iter().enumerate() {
            let (first, end) = (SLOTS * number / MASTERS, SLOTS * (number + 1) / MASTERS);
            let slots = [first.to_string(), (end - 1).to_string()];
            master.command(&["CLUSTER", "ADDSLOTSRANGE", &slots[0], &slots[1]]).await.is_ok();
            master.command(&["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()]).await.is_ok();
        }
        for node in &self.nodes[1..] {
            let port = node.address().port().to_string();
            self.nodes[0].command(&["CLUSTER", "MEET", "127.0.0.1", &port]).await.is_ok();
        }
        until("all nodes know each other", async || {
            for node in &self.nodes {
                let known = node.command(&["CLUSTER", "NODES"]).await.text();
                if known.lines().count() != self.nodes.len() || known.contains("handshake") {
                    return false;
                }
            }
            true
        })
        .await;
        for (master, replica) in masters.iter().zip(replicas) {
            replica.command(&["CLUSTER", "REPLICATE", &id(master).await]).await.is_ok();
        }
        until("all nodes agree, and replicas follow", async || {
            for node in &self.nodes {
                if !is_ok(node).await || !knows_all_replicas(node).await {
                    return false;
                }
            }
            for replica in replicas {
                if replica.info("master_link_status").await.as_deref() != Some("up") {
                    return false;
                }
            }
            true
        })
        .await;
    }
}

async fn id(node: &Redis) -> String {
    node.command(&["CLUSTER", "MYID"]).await.text()
}

async fn slot_of(node: &Redis, key: &str) -> i64 {
    node.command(&["CLUSTER", "KEYSLOT", key]).await.int()
}

async fn is_ok(node: &Redis) -> bool {
    node.command(&["CLUSTER", "INFO"]).await.text().contains("cluster_state:ok")
}

/// Who has this slot, as this node says.
async fn owner(node: &Redis, slot: i64) -> Option<SocketAddr> {
    let Ok(ranges) = node.try_command(&["CLUSTER", "SLOTS"], SOON).await else { return None };
    let range =
        ranges.items().iter().map(Reply::items).find(|range| (range[0].int()..=range[1].int()).contains(&slot))?;
    Some(ports::loopback(u16::try_from(range[2].items()[1].int()).ok()?))
}

/// Each range of slots has a master and a replica, as this node says.
async fn knows_all_replicas(node: &Redis) -> bool {
    let ranges = node.command(&["CLUSTER", "SLOTS"]).await;
    ranges.items().len() == MASTERS && ranges.items().iter().all(|range| range.items().len() == 4)
}
