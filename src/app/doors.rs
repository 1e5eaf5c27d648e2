//! What the listeners serve: the gateway on the data listener, an axum router on the admin's.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::Body as AxumBody;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use crate::listen::{BodyError, Peer, RequestBody, Serve};
use crate::serve::Gateway;
use crate::serve::admit::Client;
use crate::serve::body::{Body, BoxError, ClientStalled};
use crate::upstream::InterimSink;

/// The data listener's service.
#[derive(Clone)]
pub(super) struct DataDoor(Gateway);

impl DataDoor {
    pub(super) fn new(gateway: Gateway) -> Self {
        Self(gateway)
    }
}

impl Serve for DataDoor {
    type Body = Body;

    async fn serve(&self, peer: &Arc<Peer>, request: Request<RequestBody>) -> Response<Body> {
        let client = Client { address: peer.address, secure: peer.secure };
        let interim = || {
            let writer = peer.interim.clone()?;
            let sink: InterimSink = Arc::new(move |status: StatusCode, fields: &HeaderMap| {
                writer.send(status, fields);
            });
            Some(sink)
        };
        let request = request.map(|body| body.map_err(stalled));
        self.0.handle(client, &interim, request).await
    }
}

/// The data path answers 408 to a client that stalls; it knows it by this error.
fn stalled(error: BoxError) -> BoxError {
    match error.downcast_ref::<BodyError>() {
        Some(BodyError::Paused | BodyError::TooSlow) => Box::new(ClientStalled),
        _ => error,
    }
}

/// The admin listener's service.
#[derive(Clone)]
pub(super) struct AdminDoor(Router);

impl AdminDoor {
    pub(super) fn new(router: Router) -> Self {
        Self(router)
    }
}

impl Serve for AdminDoor {
    type Body = AxumBody;

    async fn serve(&self, _: &Arc<Peer>, request: Request<RequestBody>) -> Response<AxumBody> {
        let answered: Result<_, Infallible> = self.0.clone().oneshot(request.map(AxumBody::new)).await;
        answered.unwrap_or_else(|never| match never {})
    }
}
