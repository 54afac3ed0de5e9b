//! A semaphore in etcd: hosts stand in a queue by the revision at which they came, and those in front have a slot. A
//! place is bound to a lease that its host keeps alive, so that one that is dead leaves it.
//!
//! At any revision at most `slots` places have fewer than `slots` before them, and who is in front stays there until it
//! leaves: no two hosts need to agree on more than the queue.

use std::{cell::Cell, time::Duration};

use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::etcd::{Etcd, Trouble, after, decoded, encoded, number};
use crate::{model::printable, worker::fleet_order::FleetOrder};

/// Where all fleets are.
const ALL: &str = "/deployd/fleet";
/// How long it is remembered that a host went back from a revision, in seconds: 30 days.
const REMEMBERED: u64 = 30 * 24 * 3600;
/// Between two tries while etcd cannot be reached.
const AGAIN: Duration = Duration::from_secs(1);
/// The most places that are looked at: more would not fit an answer.
const MOST: usize = 1000;

/// One host's place.
pub struct Queue<'a> {
    etcd: &'a Etcd,
    order: &'a FleetOrder,
    slots: u32,
    /// How long it is kept without a word.
    ttl: Duration,
    lease: Cell<Option<i64>>,
    /// When it was renewed last: looking at the queue again and again must not put that off.
    renewed: Cell<Instant>,
}

/// What waiting for a slot has come to.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn {
    /// There is a slot for this host.
    Slot,
    /// Another host went back from the revision: which, and when.
    Held(String),
}

/// How this host stands.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    /// It need not wait.
    Turn(Turn),
    /// Not yet: who has the slots; and the revision at which that was so.
    Behind(String, i64),
    /// This host's place is gone: its lease has run out.
    Lost,
}

impl<'a> Queue<'a> {
    /// Nothing is asked yet.
    pub fn new(etcd: &'a Etcd, order: &'a FleetOrder, slots: u32, ttl: Duration) -> Self {
        Self { etcd, order, slots, ttl, lease: Cell::new(None), renewed: Cell::new(Instant::now()) }
    }

    /// Waits for a slot, and tells what for; or tells why this host is not to go on. Returns when etcd refuses, too.
    pub async fn take(&self, tell: &impl Fn(String)) -> Result<Turn, Trouble> {
        loop {
            match self.wait(tell).await {
                Ok(Some(turn)) => return Ok(turn),
                Ok(None) => {
                    // What is left of it; that it has ended is no error.
                    let _ = self.leave().await;
                    self.lease.set(None);
                }
                Err(why @ Trouble::Unreachable(_)) => tell(format!("waits: {why}")),
                Err(why) => return Err(why),
            }
            sleep(AGAIN).await;
        }
    }

    /// The same, as long as there is a place; none: it is gone.
    async fn wait(&self, tell: &impl Fn(String)) -> Result<Option<Turn>, Trouble> {
        if self.lease.get().is_none() {
            self.enter(tell).await?;
        }
        tokio::select! {
            turn = self.watch(tell) => turn,
            () = self.keep() => Ok(None),
        }
    }

    async fn watch(&self, tell: &impl Fn(String)) -> Result<Option<Turn>, Trouble> {
        let queue = self.place("queue/");
        loop {
            match self.standing().await? {
                Standing::Behind(why, revision) => {
                    tell(why);
                    // A member that is gone tells no change: look again now and then.
                    let changed = timeout(self.ttl, self.etcd.changed(&queue, revision + 1));
                    changed.await.unwrap_or(Ok(()))?;
                }
                Standing::Turn(turn) => return Ok(Some(turn)),
                Standing::Lost => return Ok(None),
            }
        }
    }

    /// Goes to the end of the queue, or where an earlier process of this host stands.
    async fn enter(&self, tell: &impl Fn(String)) -> Result<(), Trouble> {
        while !self.put_in().await? {
            tell(format!("waits until this host's place in {} of before it was started ends", self.order.group));
            let _ = self.leave().await;
            sleep(AGAIN).await;
        }
        Ok(())
    }

    /// Whether there is a place now. One of another boot may be another host's that has the same identity: it has to
    /// end by itself.
    async fn put_in(&self) -> Result<bool, Trouble> {
        let asked = Instant::now();
        let granted = self.etcd.call("lease/grant", &json!({ "TTL": self.ttl.as_secs() })).await?;
        let lease = number(&granted["ID"]).ok_or_else(|| Trouble::Refused("it gave no lease".into()))?;
        self.lease.set(Some(lease));
        self.renewed.set(asked);
        let (key, value) = (self.own_place(), self.value());
        let put =
            json!({ "request_put": { "key": encoded(&key), "value": encoded(&value), "lease": lease.to_string() } });
        let absent = json!({ "key": encoded(&key), "target": "VERSION", "result": "EQUAL", "version": "0" });
        let look = json!({ "request_range": { "key": encoded(&key) } });
        let body = json!({ "compare": [absent], "success": [put], "failure": [look] });
        let answer = self.etcd.call("kv/txn", &body).await?;
        if answer["succeeded"] == Value::Bool(true) {
            return Ok(true);
        }
        let there = first(&answer["responses"][0]["response_range"]).unwrap_or_default();
        let host = there["host"].as_str().unwrap_or_default();
        if !host.is_empty() && host != self.order.host {
            return Err(Trouble::Refused(format!(
                "{} has the same /etc/machine-id as this host: make another one there or here \
                 (systemd-machine-id-setup after removing the file)",
                printable(host)
            )));
        }
        if there["boot"] != boot().as_str() {
            return Ok(false);
        }
        // It keeps the revision at which it came.
        self.etcd.call("kv/put", &put["request_put"]).await.map(|_| true)
    }

    /// How this host stands, and whether another one went back from the revision: seen at one moment.
    async fn standing(&self) -> Result<Standing, Trouble> {
        let queue = self.place("queue/");
        let range = json!({ "request_range": {
            "key": encoded(&queue), "range_end": encoded(&after(&queue)), "limit": MOST.to_string(),
            "sort_order": "ASCEND", "sort_target": "CREATE",
        } });
        let bad = json!({ "request_range": { "key": encoded(&self.mark()) } });
        let own = encoded(&self.own_place());
        let place = json!({ "request_range": { "key": own } });
        let seen = self.etcd.call("kv/txn", &json!({ "success": [range, bad, place] })).await?;
        if let Some(bad) = first(&seen["responses"][1]["response_range"])
            && !self.order.force
        {
            return Ok(Standing::Turn(Turn::Held(self.held(&bad))));
        }
        if first(&seen["responses"][2]["response_range"]).is_none() {
            return Ok(Standing::Lost);
        }
        let places = seen["responses"][0]["response_range"]["kvs"].as_array().map(Vec::as_slice).unwrap_or_default();
        let rank = places.iter().position(|place| place["key"] == own.as_str()).unwrap_or(MOST);
        let slots = usize::try_from(self.slots).unwrap_or(usize::MAX);
        if rank < slots {
            return Ok(Standing::Turn(Turn::Slot));
        }
        let revision = number(&seen["header"]["revision"]).unwrap_or_default();
        let holders: Vec<_> = places.iter().take(slots.min(3)).filter_map(|place| holder(&place["value"])).collect();
        let more = if slots > 3 { format!(" and {} more", slots - 3) } else { String::new() };
        let (group, before) = (&self.order.group, rank - slots);
        let line = if before == 0 { String::new() } else { format!("; {before} before this host") };
        Ok(Standing::Behind(
            format!("waits for a slot of {group}: taken by {}{more}{line}", holders.join(", ")),
            revision,
        ))
    }

    /// Keeps the place while it is polled. Ends only when etcd says that it is gone: while nobody can be asked, nobody
    /// else gets it either, unless only this host is cut off.
    pub async fn keep(&self) {
        loop {
            sleep_until(self.renewed.get() + self.ttl / 3).await;
            let Some(lease) = self.lease.get() else { return };
            let asked = Instant::now();
            let body = json!({ "ID": lease.to_string() });
            match timeout(self.ttl / 3, self.etcd.call("lease/keepalive", &body)).await {
                Ok(Ok(answer)) if number(&answer["result"]["TTL"]).is_some_and(|left| left > 0) => {
                    self.renewed.set(asked);
                }
                // Without a time it has run out.
                Ok(Ok(_) | Err(Trouble::NotFound(_))) => return,
                Ok(Err(why)) => {
                    tracing::debug!("the place is not renewed: {why}, trying again");
                    sleep(AGAIN).await;
                }
                Err(_) => tracing::debug!("the place is not renewed: no answer, trying again"),
            }
        }
    }

    /// Leaves the queue.
    pub async fn leave(&self) -> Result<(), Trouble> {
        let Some(lease) = self.lease.get() else { return Ok(()) };
        match self.etcd.call("lease/revoke", &json!({ "ID": lease.to_string() })).await {
            Ok(_) | Err(Trouble::NotFound(_)) => {
                self.lease.set(None);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Says that this host went back from a revision.
    pub async fn report(&self, revision: &str) -> Result<(), Trouble> {
        let granted = self.etcd.call("lease/grant", &json!({ "TTL": REMEMBERED })).await?;
        let lease = number(&granted["ID"]).unwrap_or_default();
        let body = json!({ "key": encoded(&self.mark_of(revision)), "value": encoded(&self.value()), "lease": lease.to_string() });
        self.etcd.call("kv/put", &body).await.map(drop)
    }

    /// The revision was confirmed here, though another host had gone back from it: that is not said any more.
    pub async fn clear(&self) -> Result<(), Trouble> {
        if !self.order.force {
            return Ok(());
        }
        self.etcd.call("kv/deleterange", &json!({ "key": encoded(&self.mark()) })).await.map(drop)
    }

    fn place(&self, below: &str) -> String {
        format!("{ALL}/{}/{below}", self.order.group)
    }

    fn own_place(&self) -> String {
        self.place(&format!("queue/{}/{}", self.order.id, self.order.app))
    }

    fn mark(&self) -> String {
        self.mark_of(&self.order.revision)
    }

    fn mark_of(&self, revision: &str) -> String {
        self.place(&format!("bad/{}/{revision}", self.order.app))
    }

    fn value(&self) -> String {
        let FleetOrder { host, app, release, .. } = self.order;
        let at = jiff::Timestamp::now().as_second();
        json!({ "host": host, "boot": boot(), "app": app, "release": release, "at": at }).to_string()
    }

    fn held(&self, bad: &Value) -> String {
        let host = printable(bad["host"].as_str().unwrap_or("another host"));
        let at = bad["at"].as_i64().and_then(|at| jiff::Timestamp::from_second(at).ok());
        let at = at.map(|at| format!(" at {}", at.strftime("%Y-%m-%d %H:%M UTC"))).unwrap_or_default();
        format!("{host} went back from this revision ({}){at}", printable(&self.order.revision))
    }
}

/// When this host was started, as the kernel names it.
fn boot() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}

/// The value of the first key in a range's answer.
fn first(range: &Value) -> Option<Value> {
    let text = decoded(&range["kvs"][0]["value"])?;
    Some(serde_json::from_str(&text).unwrap_or(Value::Null))
}

/// Who stands there, for people.
fn holder(value: &Value) -> Option<String> {
    let value: Value = serde_json::from_str(&decoded(value)?).ok()?;
    let word = |key: &str| value[key].as_str().map(printable).unwrap_or_default();
    Some(format!("{} ({} {})", word("host"), word("app"), word("release")).chars().take(120).collect())
}
