//! Devices: the mapping records, and the latest description of what each one sends.

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::json;

use super::Backend;
use super::answer::{Done, Freshness, Problem, View, check_preconditions, is_name};
use super::pages::{List, PagingQuery};
use super::world::{Device, Metadata};

pub(super) fn routes() -> Router<Backend> {
    Router::new()
        .route("/api/devices", get(devices).post(create_device))
        .route("/api/devices/{id}", get(device).put(update_device).delete(delete_device))
        .route("/api/devices/{id}/metadata", get(metadata).put(put_metadata))
}

async fn devices(State(backend): State<Backend>, query: PagingQuery, request: HeaderMap) -> Response {
    backend.read(&request, |world| {
        let table = &world.devices;
        let total = table.rows.len();
        List { tag: "devices", stamp: table.stamp, freshness: Freshness::DeviceMap, total }.page(
            query,
            table.rows.values(),
            |device| (format!("device:{}", device.id), device.stamp),
        )
    })
}

async fn device(State(backend): State<Backend>, Path(id): Path<String>, request: HeaderMap) -> Response {
    backend.read(&request, |world| Ok(device_view(world.device(&id)?)))
}

fn device_view(device: &Device) -> View {
    View::new(device, Freshness::DeviceMap).made_from(format!("device:{}", device.id), device.stamp)
}

/// What may be said of a device in a write. A PUT leaves what it does not name as it was.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DeviceInput {
    name: Option<String>,
    asset_id: Option<String>,
    organization_id: Option<String>,
    active: Option<bool>,
}

impl DeviceInput {
    fn apply(self, device: &mut Device) -> Result<(), Problem> {
        let parts = [
            ("name", self.name, &mut device.name),
            ("assetId", self.asset_id, &mut device.asset_id),
            ("organizationId", self.organization_id, &mut device.organization_id),
        ];
        for (field, given, place) in parts {
            if let Some(given) = given {
                if !is_name(&given) {
                    return Err(Problem::bad_request(format!("{field} is made of letters, digits, . _ -")));
                }
                *place = given;
            }
        }
        device.active = self.active.unwrap_or(device.active);
        Ok(())
    }
}

async fn create_device(State(backend): State<Backend>, body: Bytes) -> Response {
    backend.write("device.created", |world, change| {
        let input: DeviceInput = serde_json::from_slice(&body)?;
        if input.name.is_none() {
            return Err(Problem::bad_request("a device needs a name"));
        }
        let mut device = Device {
            id: 0,
            name: String::new(),
            asset_id: "asset-1".to_owned(),
            organization_id: "org-1".to_owned(),
            active: true,
            metadata: Metadata { stamp: change.stamp, ..Metadata::default() },
            stamp: change.stamp,
        };
        input.apply(&mut device)?;
        device.id = world.new_device_id()?;
        let view = device_view(&device);
        let place = format!("/api/devices/{}", device.id);
        // The metadata come into being with the device: a remembered 404 for them must go.
        let id = device.id;
        world.save_device(device, change);
        change.touch(format!("device-metadata:{id}"));
        Ok(Done::created(&view, place))
    })
}

async fn update_device(
    State(backend): State<Backend>,
    Path(id): Path<String>,
    request: HeaderMap,
    body: Bytes,
) -> Response {
    backend.write("device.updated", |world, change| {
        check_preconditions(&request, world.device(&id).ok().map(device_view).as_ref())?;
        let mut device = world.device(&id)?.clone();
        let input: DeviceInput = serde_json::from_slice(&body)?;
        input.apply(&mut device)?;
        world.save_device(device, change);
        Ok(Done::updated(&device_view(world.device(&id)?)))
    })
}

async fn delete_device(State(backend): State<Backend>, Path(id): Path<String>, request: HeaderMap) -> Response {
    backend.write("device.deleted", |world, change| {
        check_preconditions(&request, world.device(&id).ok().map(device_view).as_ref())?;
        let id = world.device(&id)?.id;
        world.remove_device(id, change);
        Ok(Done::deleted())
    })
}

async fn metadata(State(backend): State<Backend>, Path(id): Path<String>, request: HeaderMap) -> Response {
    backend.read(&request, |world| Ok(metadata_view(world.device(&id)?)))
}

/// Not made from the mapping record: renaming a device leaves its metadata as they are.
fn metadata_view(device: &Device) -> View {
    let known = &device.metadata;
    let content = json!({
        "deviceId": device.id,
        "datatypeId": known.datatype_id,
        "datatypeName": known.datatype_name,
        "datatypeUnit": known.datatype_unit,
        "persist": known.persist,
    });
    View::new(content, Freshness::DeviceMetadata).made_from(format!("device-metadata:{}", device.id), known.stamp)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct MetadataInput {
    datatype_id: Option<String>,
    datatype_name: Option<String>,
    datatype_unit: Option<String>,
    persist: Option<bool>,
}

async fn put_metadata(
    State(backend): State<Backend>,
    Path(id): Path<String>,
    request: HeaderMap,
    body: Bytes,
) -> Response {
    backend.write("device-metadata.updated", |world, change| {
        check_preconditions(&request, world.device(&id).ok().map(metadata_view).as_ref())?;
        let device = world.device(&id)?;
        let number = device.id;
        let mut known = device.metadata.clone();
        let input: MetadataInput = serde_json::from_slice(&body)?;
        known.datatype_id = input.datatype_id.unwrap_or(known.datatype_id);
        known.datatype_name = input.datatype_name.unwrap_or(known.datatype_name);
        known.datatype_unit = input.datatype_unit.unwrap_or(known.datatype_unit);
        known.persist = input.persist.unwrap_or(known.persist);
        if [&known.datatype_id, &known.datatype_name, &known.datatype_unit].iter().any(|text| text.len() > 200) {
            return Err(Problem::bad_request("a description is at most 200 bytes long"));
        }
        world.save_metadata(number, known, change);
        Ok(Done::updated(&metadata_view(world.device(&id)?)))
    })
}
