//! A master that dies under sentinels, and a cluster that moves and loses its parts.

use std::time::Duration;

use super::super::redis::{Cluster, Sentinel};
use super::{House, USUAL, ended, lasting};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r_07_a_failover_is_noticed_by_no_client_and_undoes_no_purge() {
    let sentinels = Sentinel::start().await;
    let house = House::of(2, &sentinels.url()).await;
    let master = sentinels.master().await.address();
    let load = house.load().await;
    let before = load.goes_on(USUAL).await;
    let began = load.now();
    // The replica misses what is acknowledged in the master's last moments.
    let replica = sentinels.servers.iter().find(|server| server.address() != master).unwrap();
    replica.pause();
    load.goes_on(Duration::from_millis(400)).await;
    let dead = sentinels.kill_master().await;
    replica.resume();
    sentinels.wait_for_failover(dead).await;
    let during = (began, load.now());
    let course = ended(&house, load, before, during).await;
    course.is_well();
    course.record.holds_for_queued_within(super::BOUND);
    assert!(house.metric(0, "forebay_fleet_epochs_total").await > 0.5, "nobody has noticed");
    course.report("R-07", "the master killed under three sentinels");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r_08_a_cluster_that_moves_the_log_and_loses_its_master_goes_on() {
    let cluster = Cluster::start().await;
    let house = House::of(2, &cluster.url()).await;
    let log = "{forebay:inv}:log";
    let load = house.load().await;
    let before = load.goes_on(USUAL).await;
    let began = load.now();
    let from = cluster.master_of(log).await.address();
    let to = cluster.nodes[..3].iter().find(|node| node.address() != from).unwrap();
    let redirected = moved(&cluster).await;
    cluster.move_slot_of(log, to).await;
    load.goes_on(lasting(1)).await;
    house.used_again().await;
    let redirected = moved(&cluster).await - redirected;
    assert!(redirected < 500, "{redirected} redirections for one slot");
    let dead = cluster.kill_master_of(log).await;
    cluster.wait_for_failover(log, dead).await;
    let during = (began, load.now());
    let course = ended(&house, load, before, during).await;
    course.is_well();
    course.record.holds_for_queued_within(super::BOUND);
    course.report("R-08", "the log's slot moved, then its master killed");
}

/// How often the nodes of a cluster have answered MOVED or ASK.
async fn moved(cluster: &Cluster) -> i64 {
    let mut count = 0;
    for node in cluster.living() {
        let text = node.command(&["INFO", "errorstats"]).await.text();
        for line in text.lines().filter(|line| line.starts_with("errorstat_MOVED") || line.starts_with("errorstat_ASK"))
        {
            count += line.trim().rsplit('=').next().and_then(|number| number.parse::<i64>().ok()).unwrap_or(0);
        }
    }
    count
}
