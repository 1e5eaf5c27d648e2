//! Rates and numbers of requests, per client and route.
//!
//! The rate is kept by the generic cell rate algorithm: one instant per client says when its allowance would be full
//! again. Both tables are bounded; a table that is full forgets those whose allowance is full anyway, and lets requests
//! pass rather than refuse somebody for a lack of memory.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::policy::Rule;
use crate::rfc::{Moment, Reason};

/// The limits' memory.
#[derive(Debug, Default)]
pub struct Limits {
    /// (rule, client) → when its allowance is full again, on the monotonic clock.
    full_at: Mutex<HashMap<(usize, IpAddr), Duration>>,
    under_way: Mutex<HashMap<(usize, Option<IpAddr>), u32>>,
}

/// A refusal, and when to come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub reason: Reason,
    /// In how many seconds it may work.
    pub retry_after: u64,
}

/// The places taken by one request; given back when it is dropped, which is when the answer's body has ended.
#[derive(Debug, Default)]
pub struct Places {
    limits: Option<Arc<Limits>>,
    rule: usize,
    client: Option<IpAddr>,
    of_route: bool,
}

impl Limits {
    /// Lets a request of `client` through `rule`, or says why not.
    pub fn admit(self: &Arc<Self>, rule: &Rule, client: IpAddr, now: Moment) -> Result<Places, Refused> {
        if let Some(limit) = &rule.rate_limit {
            let interval = limit.per / limit.requests.max(1);
            self.rate((rule.id, client), interval, limit.burst.max(1), now.mono)?;
        }
        let mut places = Places { limits: None, rule: rule.id, client: None, of_route: false };
        if rule.max_concurrent.is_none() && rule.max_concurrent_per_client.is_none() {
            return Ok(places);
        }
        places.limits = Some(Arc::clone(self));
        let mut under_way = lock(&self.under_way);
        if let Some(most) = rule.max_concurrent {
            places.of_route = take(&mut under_way, (rule.id, None), most)?;
        }
        if let Some(most) = rule.max_concurrent_per_client {
            let taken = take(&mut under_way, (rule.id, Some(client)), most);
            drop(under_way);
            taken?;
            places.client = Some(client);
        }
        Ok(places)
    }

    fn rate(&self, key: (usize, IpAddr), interval: Duration, burst: u32, now: Duration) -> Result<(), Refused> {
        let mut full_at = lock(&self.full_at);
        if full_at.len() >= MOST_CLIENTS {
            full_at.retain(|_, at| *at > now);
            if full_at.len() >= MOST_CLIENTS {
                return Ok(());
            }
        }
        let at = full_at.entry(key).or_default();
        let next = (*at).max(now) + interval;
        let ahead = next.saturating_sub(now);
        let allowance = interval * burst;
        if ahead > allowance {
            let wait = ahead.saturating_sub(allowance);
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            return Err(Refused { reason: Reason::RateLimited, retry_after: seconds.max(1) });
        }
        *at = next;
        Ok(())
    }

    fn give_back(&self, key: (usize, Option<IpAddr>)) {
        let mut under_way = lock(&self.under_way);
        if let Some(count) = under_way.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                under_way.remove(&key);
            }
        }
    }
}

impl Places {
    /// Whether no place was taken, because nothing is limited.
    pub fn is_empty(&self) -> bool {
        self.limits.is_none()
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        let Some(limits) = self.limits.take() else { return };
        if self.of_route {
            limits.give_back((self.rule, None));
        }
        if self.client.is_some() {
            limits.give_back((self.rule, self.client));
        }
    }
}

fn take(
    under_way: &mut HashMap<(usize, Option<IpAddr>), u32>,
    key: (usize, Option<IpAddr>),
    most: u32,
) -> Result<bool, Refused> {
    let count = under_way.entry(key).or_default();
    if *count >= most {
        return Err(Refused { reason: Reason::TooManyRequests, retry_after: 1 });
    }
    *count += 1;
    Ok(true)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many clients' rates are remembered.
const MOST_CLIENTS: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let limits = Limits::default();
        let key = (0, IpAddr::from([127, 0, 0, 1]));
        let interval = Duration::from_millis(100);
        let ask = |at: u64| limits.rate(key, interval, 3, Duration::from_millis(at)).is_ok();
        assert_eq!([ask(1000), ask(1000), ask(1000), ask(1000)], [true, true, true, false]);
        assert_eq!([ask(1099), ask(1100), ask(1100)], [false, true, false]);
        assert_eq!([ask(9000), ask(9000), ask(9000), ask(9000)], [true, true, true, false]);
    }
}
