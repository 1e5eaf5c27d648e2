//! The data of the sample backend and the one way to alter it.
//!
//! Every write gets the next version of the world and stamps the records it altered with it. A document's version is
//! the highest stamp of the records it was made from, so it rises whenever the document may have changed, and a test
//! that sees it fall has seen an older document. What a write touched is kept by name (`user:1`), which is also the tag
//! of every document that was made from it.
//!
//! Everything is deterministic: the same records at every start.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::answer::Problem;
use super::sample;
use crate::telemetry::timestamp;

/// When a record was last altered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stamp {
    /// The version of the world that altered it; 1 for what was there at the start.
    pub version: u64,
    /// The wall time of it, since the Unix epoch.
    #[serde(rename = "updatedAt", serialize_with = "as_timestamp")]
    pub modified: Duration,
}

impl Stamp {
    /// The later of both, each on its own scale.
    #[must_use]
    pub fn or_later(self, other: Self) -> Self {
        Self { version: self.version.max(other.version), modified: self.modified.max(other.modified) }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde hands out references.
fn as_timestamp<S: Serializer>(wall: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&timestamp(*wall))
}

/// An amount of credits, in thousandths, so that sums stay exact. JSON shows it as a decimal number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Credits(pub u32);

impl Credits {
    /// From a decimal number of credits, 0 to 1,000,000, rounded to thousandths; `None` for anything else.
    pub fn from_decimal(amount: f64) -> Option<Self> {
        if !(0.0..=1_000_000.0).contains(&amount) {
            return None;
        }
        // Printed and read back: exact, and no cast that could cut.
        format!("{:.0}", amount * 1000.0).parse().ok().map(Self)
    }
}

impl Serialize for Credits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(f64::from(self.0) / 1000.0)
    }
}

/// Someone who uses the system.
#[derive(Clone, Debug, Serialize)]
pub struct User {
    pub id: u32,
    pub name: String,
    pub email: String,
    pub title: String,
    /// The id of an [`Entity`].
    pub department: String,
    /// Ids of [`Role`]s.
    pub roles: Vec<String>,
    /// One of [`sample::STATUSES`].
    pub status: String,
    /// What the user may still spend.
    pub credits: Credits,
    #[serde(flatten)]
    pub stamp: Stamp,
}

/// A named set of permissions.
#[derive(Clone, Debug, Serialize)]
pub struct Role {
    pub id: String,
    pub name: String,
    pub permissions: Vec<String>,
    #[serde(flatten)]
    pub stamp: Stamp,
}

/// What an operation costs.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CreditConfig {
    pub operation_code: String,
    pub credit_cost: Credits,
    pub active: bool,
    #[serde(flatten)]
    pub stamp: Stamp,
}

/// A node of the organisation's tree.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entity {
    pub id: String,
    pub name: String,
    /// `None` for the root.
    pub parent_id: Option<String>,
    #[serde(flatten)]
    pub stamp: Stamp,
}

/// A device in the field: the mapping record.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    pub id: u32,
    pub name: String,
    pub asset_id: String,
    pub organization_id: String,
    pub active: bool,
    #[serde(skip)]
    pub metadata: Metadata,
    #[serde(flatten)]
    pub stamp: Stamp,
}

/// The latest description of what a device sends.
#[derive(Clone, Debug, Default)]
pub struct Metadata {
    pub datatype_id: String,
    pub datatype_name: String,
    pub datatype_unit: String,
    pub persist: bool,
    pub stamp: Stamp,
}

/// One line of the audit log. Never altered once written.
#[derive(Clone, Debug, Serialize)]
pub struct AuditEntry {
    pub id: u64,
    /// What was done, as `kind.verb`.
    pub action: &'static str,
    /// The name of the thing it was done to, as in tags: `user:1`.
    pub subject: String,
    #[serde(flatten)]
    pub stamp: Stamp,
}

/// Records of one kind, and when their *set* last changed; a record's own changes are on the record.
#[derive(Debug)]
pub struct Table<K, V> {
    pub rows: BTreeMap<K, V>,
    pub stamp: Stamp,
}

/// All there is.
#[derive(Debug)]
pub struct World {
    /// Rises by one with every write.
    pub version: u64,
    pub users: Table<u32, User>,
    pub roles: Table<String, Role>,
    pub configs: Table<String, CreditConfig>,
    pub devices: Table<u32, Device>,
    pub entities: Table<String, Entity>,
    /// Oldest first; never empty.
    pub audit: VecDeque<AuditEntry>,
    next_user: u32,
    next_device: u32,
}

/// A write in the making: its stamp, and the names of what it has touched so far.
#[derive(Debug)]
pub struct Change {
    /// What the altered records are stamped with.
    pub stamp: Stamp,
    touched: Vec<String>,
}

impl Change {
    /// Notes that every document made from the thing of this name is out of date. The first one named is what the
    /// audit log says the write was about.
    pub fn touch(&mut self, name: impl Into<String>) {
        let name = name.into();
        if !self.touched.contains(&name) {
            self.touched.push(name);
        }
    }
}

/// No table grows beyond this many records: a sample must not fill the machine.
const MAX_RECORDS: usize = 10_000;

/// The audit log keeps this many lines; the oldest go first.
const MAX_AUDIT: usize = 1_000;

impl World {
    /// The sample data, last altered a day before `now` (wall time since the Unix epoch).
    pub fn new(now: Duration) -> Self {
        let stamp = Stamp { version: 1, modified: now.saturating_sub(Duration::from_hours(24)) };
        let users = sample::users(stamp);
        let devices = sample::devices(stamp);
        Self {
            version: 1,
            next_user: next_id(&users),
            next_device: next_id(&devices),
            audit: sample::audit(&users, stamp),
            users: Table { rows: users, stamp },
            roles: Table { rows: sample::roles(stamp), stamp },
            configs: Table { rows: sample::configs(stamp), stamp },
            devices: Table { rows: devices, stamp },
            entities: Table { rows: sample::entities(stamp), stamp },
        }
    }

    /// Runs one write at `now` (wall time since the Unix epoch). `alter` checks first and alters then: when it fails,
    /// nothing has happened and the version stays. Returns its answer and the names of everything it touched.
    pub fn change<T>(
        &mut self,
        now: Duration,
        action: &'static str,
        alter: impl FnOnce(&mut Self, &mut Change) -> Result<T, Problem>,
    ) -> Result<(T, Vec<String>), Problem> {
        let mut change =
            Change { stamp: Stamp { version: self.version.saturating_add(1), modified: now }, touched: Vec::new() };
        let said = alter(self, &mut change)?;
        self.version = change.stamp.version;
        let subject = change.touched.first().cloned().unwrap_or_default();
        let id = self.audit.back().map_or(1, |last| last.id + 1);
        self.audit.push_back(AuditEntry { id, action, subject, stamp: change.stamp });
        while self.audit.len() > MAX_AUDIT {
            self.audit.pop_front();
        }
        change.touch("audit-logs");
        Ok((said, change.touched))
    }

    /// The user with this id, as it stands in a path.
    pub fn user(&self, id: &str) -> Result<&User, Problem> {
        number(id).and_then(|id| self.users.rows.get(&id)).ok_or_else(|| Problem::unknown("user", id))
    }

    /// The role with this id.
    pub fn role(&self, id: &str) -> Result<&Role, Problem> {
        self.roles.rows.get(id).ok_or_else(|| Problem::unknown("role", id))
    }

    /// The configuration of an operation.
    pub fn config(&self, operation_code: &str) -> Result<&CreditConfig, Problem> {
        self.configs.rows.get(operation_code).ok_or_else(|| Problem {
            error: "Operation not configured".to_owned(),
            ..Problem::unknown("credit-config", operation_code)
        })
    }

    /// The device with this id, as it stands in a path.
    pub fn device(&self, id: &str) -> Result<&Device, Problem> {
        number(id).and_then(|id| self.devices.rows.get(&id)).ok_or_else(|| Problem::unknown("device", id))
    }

    /// The entity with this id.
    pub fn entity(&self, id: &str) -> Result<&Entity, Problem> {
        self.entities.rows.get(id).ok_or_else(|| Problem::unknown("hierarchy", id))
    }

    /// The entity and its ancestors up to the root, nearest first. Writes never close a circle, so it ends.
    pub fn line_of(&self, id: &str) -> Vec<&Entity> {
        std::iter::successors(self.entities.rows.get(id), |entity| self.entities.rows.get(entity.parent_id.as_ref()?))
            .collect()
    }

    /// Puts a user into its place, new or altered.
    pub fn save_user(&mut self, mut user: User, change: &mut Change) {
        user.stamp = change.stamp;
        change.touch(format!("user:{}", user.id));
        let department = user.department.clone();
        let before = self.users.rows.insert(user.id, user);
        if before.is_none() {
            self.users.stamp = change.stamp;
            change.touch("users");
        }
        // Who belongs to an entity is part of the entity's document.
        if before.as_ref().is_none_or(|before| before.department != department) {
            self.touch_entity(&department, change);
            if let Some(before) = before {
                self.touch_entity(&before.department, change);
            }
        }
    }

    /// Takes a user out.
    pub fn remove_user(&mut self, id: u32, change: &mut Change) {
        if let Some(user) = self.users.rows.remove(&id) {
            self.users.stamp = change.stamp;
            change.touch(format!("user:{id}"));
            change.touch("users");
            self.touch_entity(&user.department, change);
        }
    }

    /// Puts a role into its place, new or altered.
    pub fn save_role(&mut self, mut role: Role, change: &mut Change) {
        role.stamp = change.stamp;
        change.touch(format!("role:{}", role.id));
        if self.roles.rows.insert(role.id.clone(), role).is_none() {
            self.roles.stamp = change.stamp;
            change.touch("roles");
        }
    }

    /// Takes a role out, and away from everyone who had it.
    pub fn remove_role(&mut self, id: &str, change: &mut Change) {
        if self.roles.rows.remove(id).is_none() {
            return;
        }
        self.roles.stamp = change.stamp;
        change.touch(format!("role:{id}"));
        change.touch("roles");
        for user in self.users.rows.values_mut().filter(|user| user.roles.iter().any(|role| role == id)) {
            user.roles.retain(|role| role != id);
            user.stamp = change.stamp;
            change.touch(format!("user:{}", user.id));
        }
    }

    /// Puts an operation's configuration into its place, new or altered.
    pub fn save_config(&mut self, mut config: CreditConfig, change: &mut Change) {
        config.stamp = change.stamp;
        change.touch(format!("credit-config:{}", config.operation_code));
        if self.configs.rows.insert(config.operation_code.clone(), config).is_none() {
            self.configs.stamp = change.stamp;
            change.touch("credit-configs");
        }
    }

    /// Takes an operation's configuration out.
    pub fn remove_config(&mut self, operation_code: &str, change: &mut Change) {
        if self.configs.rows.remove(operation_code).is_some() {
            self.configs.stamp = change.stamp;
            change.touch(format!("credit-config:{operation_code}"));
            change.touch("credit-configs");
        }
    }

    /// Puts a device into its place, new or altered. Its metadata keep their own stamp.
    pub fn save_device(&mut self, mut device: Device, change: &mut Change) {
        device.stamp = change.stamp;
        change.touch(format!("device:{}", device.id));
        if self.devices.rows.insert(device.id, device).is_none() {
            self.devices.stamp = change.stamp;
            change.touch("devices");
        }
    }

    /// Replaces what is known about what a device sends. The mapping record stays as it is.
    pub fn save_metadata(&mut self, id: u32, mut metadata: Metadata, change: &mut Change) {
        metadata.stamp = change.stamp;
        if let Some(device) = self.devices.rows.get_mut(&id) {
            device.metadata = metadata;
            change.touch(format!("device-metadata:{id}"));
        }
    }

    /// Takes a device out, and its metadata with it.
    pub fn remove_device(&mut self, id: u32, change: &mut Change) {
        if self.devices.rows.remove(&id).is_some() {
            self.devices.stamp = change.stamp;
            change.touch(format!("device:{id}"));
            change.touch(format!("device-metadata:{id}"));
            change.touch("devices");
        }
    }

    /// Alters an entity. A new parent's and an old parent's documents list their children, so they change too.
    pub fn save_entity(&mut self, mut entity: Entity, change: &mut Change) {
        entity.stamp = change.stamp;
        change.touch(format!("hierarchy:{}", entity.id));
        let parent = entity.parent_id.clone();
        let before = self.entities.rows.insert(entity.id.clone(), entity).and_then(|before| before.parent_id);
        if before != parent {
            for id in [before, parent].into_iter().flatten() {
                self.touch_entity(&id, change);
            }
        }
    }

    /// An id for a user to be made.
    pub fn new_user_id(&mut self) -> Result<u32, Problem> {
        admit(&self.users)?;
        let id = self.next_user;
        self.next_user = id.saturating_add(1);
        Ok(id)
    }

    /// An id for a device to be made.
    pub fn new_device_id(&mut self) -> Result<u32, Problem> {
        admit(&self.devices)?;
        let id = self.next_device;
        self.next_device = id.saturating_add(1);
        Ok(id)
    }

    fn touch_entity(&mut self, id: &str, change: &mut Change) {
        if let Some(entity) = self.entities.rows.get_mut(id) {
            entity.stamp = change.stamp;
            change.touch(format!("hierarchy:{id}"));
        }
    }
}

/// Whether the table has room for one more record.
pub fn admit<K, V>(table: &Table<K, V>) -> Result<(), Problem> {
    if table.rows.len() >= MAX_RECORDS { Err(Problem::full()) } else { Ok(()) }
}

/// A record number as it stands in a path: digits without a leading zero or sign, so that one record has one URL.
fn number(text: &str) -> Option<u32> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    if plain { text.parse().ok() } else { None }
}

fn next_id<V>(rows: &BTreeMap<u32, V>) -> u32 {
    rows.last_key_value().map_or(1, |(id, _)| id.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credits_are_exact_and_bounded() {
        for (amount, expected) in [
            (0.0, Some(0)),
            (2.5, Some(2500)),
            (0.1 + 0.2, Some(300)),
            (1_000_000.0, Some(1_000_000_000)),
            (1_000_000.1, None),
            (-1.0, None),
            (f64::NAN, None),
            (f64::INFINITY, None),
        ] {
            assert_eq!(Credits::from_decimal(amount).map(|credits| credits.0), expected, "{amount}");
        }
    }

    #[test]
    fn a_failed_write_leaves_no_trace() {
        let mut world = World::new(Duration::from_secs(1_000_000));
        let lines = world.audit.len();
        let said = world.change(Duration::from_secs(1_000_001), "user.updated", |world, _| world.user("0").map(|_| ()));
        assert!(said.is_err());
        assert_eq!((world.version, world.audit.len()), (1, lines));
    }

    #[test]
    fn a_role_that_goes_takes_its_holders_along() {
        let mut world = World::new(Duration::from_secs(1_000_000));
        let holders: Vec<u32> =
            world.users.rows.values().filter(|user| user.roles.contains(&"admin".to_owned())).map(|u| u.id).collect();
        assert!(!holders.is_empty());
        let ((), touched) = world
            .change(Duration::from_secs(1_000_001), "role.deleted", |world, change| {
                world.remove_role("admin", change);
                Ok(())
            })
            .unwrap();
        assert_eq!(touched[0], "role:admin");
        for id in holders {
            assert!(touched.contains(&format!("user:{id}")));
            assert_eq!(world.users.rows[&id].stamp.version, 2);
        }
    }

    #[test]
    fn a_record_has_one_url() {
        let world = World::new(Duration::ZERO);
        for id in ["01", "+1", "0", "", "1 ", "51", "99999999999999999999"] {
            assert!(world.user(id).is_err(), "{id}");
        }
        assert!(world.user("1").is_ok() && world.user("50").is_ok());
    }
}
