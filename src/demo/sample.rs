//! What the sample backend knows when it starts: 50 users, 6 roles, 12 operations, 200 devices and a small
//! organisation.

use std::collections::{BTreeMap, VecDeque};

use super::world::{AuditEntry, CreditConfig, Credits, Device, Entity, Metadata, Role, Stamp, User};

/// What a user's `status` may be.
pub const STATUSES: [&str; 3] = ["active", "invited", "suspended"];

const USERS: u32 = 50;
const DEVICES: u32 = 200;
const FIRST_NAMES: [&str; 10] = ["Ada", "Björn", "Chidi", "Dalia", "Emeka", "Fatima", "Goran", "Hana", "Ines", "Joon"];
const LAST_NAMES: [&str; 5] = ["Archer", "Brandt", "Castillo", "Devi", "Eriksson"];
const TITLES: [&str; 4] = ["Account Executive", "Support Engineer", "Analyst", "Team Lead"];
const DEPARTMENTS: [&str; 6] = ["sales-emea", "sales-apac", "support-chat", "support-phone", "engineering", "finance"];

const ROLES: [(&str, &str, &[&str]); 6] = [
    ("admin", "Administrator", &["*"]),
    ("manager", "Manager", &["crm.leads.create", "crm.leads.delete", "crm.reports.run", "crm.users.invite"]),
    ("sales", "Sales", &["crm.leads.create", "crm.contacts.create", "crm.deals.create", "crm.emails.send"]),
    ("support", "Support", &["crm.contacts.update", "crm.tickets.create", "crm.tickets.close"]),
    ("analyst", "Analyst", &["crm.reports.run", "crm.exports.run"]),
    ("auditor", "Auditor", &["crm.audit.read"]),
];

const OPERATIONS: [(&str, u32); 12] = [
    ("crm.leads.create", 2_500),
    ("crm.leads.delete", 500),
    ("crm.contacts.create", 1_000),
    ("crm.contacts.update", 250),
    ("crm.deals.create", 3_000),
    ("crm.emails.send", 100),
    ("crm.tickets.create", 750),
    ("crm.tickets.close", 0),
    ("crm.reports.run", 5_000),
    ("crm.exports.run", 10_000),
    ("crm.users.invite", 1_500),
    ("crm.audit.read", 50),
];

const ENTITIES: [(&str, &str, Option<&str>); 9] = [
    ("acme", "Acme", None),
    ("sales", "Sales", Some("acme")),
    ("support", "Support", Some("acme")),
    ("engineering", "Engineering", Some("acme")),
    ("finance", "Finance", Some("acme")),
    ("sales-emea", "Sales EMEA", Some("sales")),
    ("sales-apac", "Sales APAC", Some("sales")),
    ("support-chat", "Chat Support", Some("support")),
    ("support-phone", "Phone Support", Some("support")),
];

const DATATYPES: [(&str, &str, &str); 4] =
    [("1", "temperature", "°C"), ("2", "humidity", "%"), ("3", "pressure", "hPa"), ("4", "voltage", "V")];

/// The `index`-th of a list that is walked round and round.
fn pick<T: Copy>(list: &[T], index: u32) -> Option<T> {
    list.iter().copied().cycle().nth(usize::try_from(index).ok()?)
}

/// Users 1 to 50. Everyone has one role, every seventh another one; user 1 is an administrator.
pub fn users(stamp: Stamp) -> BTreeMap<u32, User> {
    (1..=USERS).filter_map(|id| Some((id, user(id, stamp)?))).collect()
}

fn user(id: u32, stamp: Stamp) -> Option<User> {
    let index = id - 1;
    let first = pick(&FIRST_NAMES, index)?;
    let last = pick(&LAST_NAMES, index / 10)?;
    let role = pick(&ROLES, index)?.0.to_owned();
    let second = (id.is_multiple_of(7) && role != "auditor").then(|| "auditor".to_owned());
    Some(User {
        id,
        name: format!("{first} {last}"),
        email: format!("user{id}@example.com"),
        title: pick(&TITLES, index)?.to_owned(),
        department: pick(&DEPARTMENTS, index)?.to_owned(),
        roles: std::iter::once(role).chain(second).collect(),
        status: if id.is_multiple_of(10) { "suspended" } else { "active" }.to_owned(),
        credits: Credits(id * 2_000),
        stamp,
    })
}

/// The six roles.
pub fn roles(stamp: Stamp) -> BTreeMap<String, Role> {
    ROLES
        .iter()
        .map(|&(id, name, permissions)| {
            let permissions = permissions.iter().map(|&permission| permission.to_owned()).collect();
            (id.to_owned(), Role { id: id.to_owned(), name: name.to_owned(), permissions, stamp })
        })
        .collect()
}

/// The twelve operations and their prices.
pub fn configs(stamp: Stamp) -> BTreeMap<String, CreditConfig> {
    OPERATIONS
        .iter()
        .map(|&(code, cost)| {
            let config =
                CreditConfig { operation_code: code.to_owned(), credit_cost: Credits(cost), active: true, stamp };
            (code.to_owned(), config)
        })
        .collect()
}

/// The organisation's tree, `acme` at its root.
pub fn entities(stamp: Stamp) -> BTreeMap<String, Entity> {
    ENTITIES
        .iter()
        .map(|&(id, name, parent)| {
            let parent_id = parent.map(str::to_owned);
            (id.to_owned(), Entity { id: id.to_owned(), name: name.to_owned(), parent_id, stamp })
        })
        .collect()
}

/// Devices 1 to 200.
pub fn devices(stamp: Stamp) -> BTreeMap<u32, Device> {
    (1..=DEVICES)
        .map(|id| {
            let (datatype_id, datatype_name, datatype_unit) = pick(&DATATYPES, id - 1).unwrap_or_default();
            let metadata = Metadata {
                datatype_id: datatype_id.to_owned(),
                datatype_name: datatype_name.to_owned(),
                datatype_unit: datatype_unit.to_owned(),
                persist: id % 5 != 0,
                stamp,
            };
            let device = Device {
                id,
                name: format!("sensor-{id:03}"),
                asset_id: format!("asset-{}", (id - 1) / 4 + 1),
                organization_id: format!("org-{}", (id - 1) / 50 + 1),
                active: true,
                metadata,
                stamp,
            };
            (id, device)
        })
        .collect()
}

/// One line per user: how they came to be.
pub fn audit(users: &BTreeMap<u32, User>, stamp: Stamp) -> VecDeque<AuditEntry> {
    users
        .keys()
        .map(|&id| AuditEntry { id: u64::from(id), action: "user.created", subject: format!("user:{id}"), stamp })
        .collect()
}
