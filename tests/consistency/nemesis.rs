//! Who breaks things: one kind of fault in each run, again and again, with time to heal in between.

use std::time::Duration;

use tokio::time::sleep;

use super::backend::Trouble;
use super::dice::Dice;
use super::redis::Redis;
use super::world::{NAMESPACE, Node, Shared, World};

/// A fault. The names in the table are those of the scenarios.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Nothing,
    RedisKilled,
    RedisEmptied,
    RedisOld,
    RedisPaused,
    RedisBusy,
    RedisFlushed,
    RedisSlow,
    RedisCut,
    ConnectionsKilled,
    LinkRefused,
    LinkSilent,
    LinkDeaf,
    GatewayPaused,
    GatewayKilled,
    BackendSlow,
    BackendFails,
    BackendHangs,
    FailoverBySentinel,
    FailoverInCluster,
}

/// How long after its return Redis may be left alone.
const RECOVERY: Duration = Duration::from_secs(2);

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

impl Fault {
    /// Whether it cannot strike a node that runs alone.
    pub fn needs_redis(self) -> bool {
        !matches!(
            self,
            Self::Nothing
                | Self::GatewayPaused
                | Self::GatewayKilled
                | Self::BackendSlow
                | Self::BackendFails
                | Self::BackendHangs
        )
    }

    /// Strikes, holds, heals, and lets things be for a while.
    pub async fn round(self, world: &World, dice: &mut Dice) {
        let hold = dice.between(world.delta / 2, world.delta * 2);
        match self {
            Self::Nothing => {}
            Self::GatewayPaused | Self::GatewayKilled => self.at_a_gateway(world, dice, hold).await,
            Self::BackendSlow | Self::BackendFails | Self::BackendHangs => self.at_the_backend(world, hold).await,
            Self::RedisSlow | Self::RedisCut | Self::LinkRefused | Self::LinkSilent | Self::LinkDeaf => {
                self.on_the_way(world, dice, hold).await;
            }
            _ => match &world.shared {
                Shared::Nothing => panic!("{self:?} needs a Redis"),
                Shared::Single(redis) => self.at_redis(redis, dice, hold).await,
                Shared::Sentinel(_) | Shared::Cluster(_) => fail_over(world).await,
            },
        }
        sleep(if self.needs_redis() { RECOVERY } else { Duration::ZERO } + dice.between(world.delta / 2, world.delta))
            .await;
    }

    async fn at_a_gateway(self, world: &World, dice: &mut Dice, hold: Duration) {
        let node = one_of(world, dice);
        if self == Self::GatewayPaused {
            node.signal("STOP").await;
            // Longer than a lease: it wakes up and must know that it was away.
            sleep(world.delta + hold).await;
            node.signal("CONT").await;
        } else {
            node.kill().await;
            sleep(hold / 4).await;
            node.start(world).await;
        }
    }

    async fn at_the_backend(self, world: &World, hold: Duration) {
        world.backend.trouble(match self {
            Self::BackendSlow => Trouble::Slow(ms(500)),
            Self::BackendFails => Trouble::Fails,
            _ => Trouble::Hangs,
        });
        sleep(hold).await;
        world.backend.trouble(Trouble::Nothing);
    }

    async fn on_the_way(self, world: &World, dice: &mut Dice, hold: Duration) {
        let struck = one_of(world, dice).link.as_ref().expect("a node with its own way to Redis");
        let everywhere = || world.nodes.iter().filter_map(|node| node.link.as_ref());
        match self {
            Self::RedisSlow => everywhere().for_each(|link| link.down.delay(ms(200))),
            Self::RedisCut => {
                for link in everywhere() {
                    link.down.jitter(ms(400), dice.next());
                    link.down.cut_after(dice.up_to(20_000));
                }
            }
            Self::LinkRefused => {
                struck.refuse().await;
                struck.reset();
            }
            Self::LinkSilent => {
                struck.up.stall();
                struck.down.stall();
            }
            _ => struck.down.stall(),
        }
        sleep(hold).await;
        for link in everywhere() {
            link.heal().await;
        }
    }

    async fn at_redis(self, redis: &Redis, dice: &mut Dice, hold: Duration) {
        match self {
            Self::RedisKilled => {
                redis.kill();
                sleep(hold).await;
                redis.restart_empty().await;
            }
            Self::RedisEmptied => redis.restart_empty().await,
            Self::RedisOld => {
                redis.save().await;
                sleep(hold).await;
                redis.restart().await;
            }
            Self::RedisPaused => {
                redis.pause();
                sleep(hold).await;
                redis.resume();
            }
            Self::RedisBusy => {
                let _ = redis.try_command(&["DEBUG", "SLEEP", "2"], ms(5_000)).await;
            }
            Self::RedisFlushed => {
                let _ = redis.try_command(&["FLUSHALL"], ms(5_000)).await;
            }
            _ => {
                let kind = if dice.one_in(2) { "normal" } else { "pubsub" };
                let _ = redis.try_command(&["CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"], ms(5_000)).await;
            }
        }
    }
}

fn one_of<'a>(world: &'a World, dice: &mut Dice) -> &'a Node {
    &world.nodes[dice.up_to(world.nodes.len())]
}

/// Kills the master that has the ledger while its replica lags behind, waits for the next one, and brings the old one back.
async fn fail_over(world: &World) {
    match &world.shared {
        Shared::Sentinel(watched) => {
            let replica = {
                let master = watched.master().await.address();
                watched.servers.iter().find(|server| server.address() != master).expect("two servers")
            };
            // What the master takes now dies with it.
            replica.pause();
            sleep(ms(300)).await;
            let dead = watched.kill_master().await;
            replica.resume();
            watched.wait_for_failover(dead).await;
            let old = watched.servers.iter().find(|server| server.address() == dead).expect("it was one of them");
            old.restart().await;
        }
        Shared::Cluster(cluster) => {
            let key = format!("{{{NAMESPACE}:inv}}");
            let dead = cluster.kill_master_of(&key).await;
            cluster.wait_for_failover(&key, dead).await;
            cluster.node(dead).restart().await;
        }
        Shared::Nothing | Shared::Single(_) => panic!("there is nobody who could take over"),
    }
}
