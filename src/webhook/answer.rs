//! One delivery, in its order: its body within bounds, its signature, then what it says, that it is new, and the bus.
//! Whoever has not signed is told the same, whatever is wrong, after the same work.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Bytes},
    header,
};
use serde_json::json;

use super::{
    ask::{Asked, Asker, Refusal},
    crowd::{Crowd, Guest},
    delivery::{self, Delivery},
    event::{self, Event, Kind},
    replay::{self, Claim, Replay},
    secrets::Secrets,
    signature::{self, Proof},
};
use crate::{
    model::{AppName, DeploymentId, events, printable},
    system::journal::{self, Priority},
};

/// The largest body, in bytes. GitHub's largest push has 25 MiB; what names a ref is far below.
pub const LARGEST: usize = 1024 * 1024;

/// An answer.
pub type Answer = Response<Full<Bytes>>;

/// What takes deliveries.
pub struct Receiver {
    pub secrets: Secrets,
    pub replay: Replay,
    pub asker: Asker,
    pub crowd: Crowd,
    pub times: Times,
}

/// How long a sender may take.
pub struct Times {
    /// For the head of a request. hyper forgets it where it has no timer.
    pub head: Duration,
    /// For its body.
    pub body: Duration,
    /// For all of it, the answer included; a forge waits for 10 s.
    pub whole: Duration,
}

impl Default for Times {
    fn default() -> Self {
        let [head, body, whole] = [5, 10, 30].map(Duration::from_secs);
        Self { head, body, whole }
    }
}

/// A delivery that goes no further: the status, and what the sender is told.
type Stopped = (StatusCode, String);

impl Receiver {
    /// Serves one request.
    pub async fn answer<B: Body<Data = Bytes> + Unpin>(&self, request: Request<B>, guest: &Guest) -> Answer {
        let (status, told) = match self.serve(request, guest).await {
            Ok((status, told)) => (status, told),
            Err((status, why)) => (status, json!({ "error": why })),
        };
        let mut response = Response::new(Full::new(Bytes::from(format!("{told}\n"))));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
        if status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(header::ALLOW, header::HeaderValue::from_static("POST"));
        }
        response
    }

    async fn serve<B: Body<Data = Bytes> + Unpin>(
        &self,
        request: Request<B>,
        guest: &Guest,
    ) -> Result<(StatusCode, serde_json::Value), Stopped> {
        let (head, body) = request.into_parts();
        if head.method != Method::POST {
            return Err((StatusCode::METHOD_NOT_ALLOWED, "deliveries are posted".into()));
        }
        let length = length(&head.headers)?;
        let body = match tokio::time::timeout(self.times.body, whole(body, length, guest)).await {
            Ok(body) => body?,
            Err(_) => return Err((StatusCode::REQUEST_TIMEOUT, format!("no whole body within {:?}", self.times.body))),
        };
        let (app, delivery) = self.verified(head.uri.path(), &head.headers, &body)?;
        guest.proved();
        self.carry_out(&app, &delivery, &body).await
    }

    /// Who signed it is the app's own. Of every other it is said that it is not, and nothing else.
    fn verified(&self, path: &str, headers: &header::HeaderMap, body: &[u8]) -> Result<(AppName, Delivery), Stopped> {
        let app: Option<AppName> = path.strip_prefix('/').and_then(|name| name.parse().ok());
        let delivery = delivery::read(headers);
        let (pair, known) = self.secrets.of(app.as_ref());
        let nothing = Proof::none();
        let proof = delivery.as_ref().map_or(&nothing, |delivery| &delivery.proof);
        let good = signature::is_good(&pair.0, proof, body, now());
        let why = match (app, delivery, known && good) {
            (Some(app), Ok(delivery), true) => return Ok((app, delivery)),
            (_, Err(why), _) => why,
            (_, _, _) if !known => "no secret is kept for an app of this name",
            _ => "it was not signed with the app's secret",
        };
        let path: String = path.chars().take(64).collect();
        let text = format!("a delivery to \"{}\" was refused: {why}", printable(&path));
        journal::event(events::WEBHOOK_REFUSED, Priority::Warning, &text, &[]);
        Err((StatusCode::UNAUTHORIZED, "not signed with the secret of this app".into()))
    }

    async fn carry_out(
        &self,
        app: &AppName,
        delivery: &Delivery,
        body: &[u8],
    ) -> Result<(StatusCode, serde_json::Value), Stopped> {
        let reference = match event::read(Kind::of(&delivery.event), body) {
            Ok(Event::Moved(reference)) => reference,
            Ok(Event::Nothing(why)) => return Ok((StatusCode::OK, json!({ "ignored": why }))),
            Err(why) => return Err((StatusCode::BAD_REQUEST, why)),
        };
        let claim = self.replay.claim(app, replay::marks(delivery, body)).map_err(|error| {
            tracing::error!(DEPLOYD_APP = %app, "cannot read what was used already of app {app}: {error}; nothing is asked for");
            (StatusCode::SERVICE_UNAVAILABLE, "what was used already is not known".to_owned())
        })?;
        let Some(claim) = claim else {
            let why = "this delivery was used already; push again, or run `deployctl deploy`";
            return Err((StatusCode::CONFLICT, why.into()));
        };
        let id = match self.use_it(app, &reference, claim).await {
            Ok(id) => id,
            // Signed, and no mistake of the sender's: forges turn off a hook whose deliveries fail.
            Err(Refusal::Denied) => {
                let why = format!("{reference} of {app} is not deployed by webhook; [webhook] refs says which are");
                return Ok((StatusCode::OK, json!({ "ignored": why })));
            }
            Err(Refusal::Invalid(why)) => return Err((StatusCode::BAD_REQUEST, why)),
            Err(Refusal::Failed(why)) => {
                tracing::error!(DEPLOYD_APP = %app, "{reference} of app {app} was not asked for: {}", printable(&why));
                return Err((StatusCode::SERVICE_UNAVAILABLE, "deployd could not be asked".into()));
            }
        };
        tell(app, delivery, &reference, &id);
        Ok((StatusCode::ACCEPTED, json!({ "app": app, "ref": reference, "deployment": id })))
    }
}

impl Receiver {
    /// Asks, and remembers that it was asked for; in a task of its own, for the sender may go in between.
    async fn use_it(&self, app: &AppName, reference: &str, claim: Claim) -> Asked {
        let (asker, app, reference) = (self.asker.clone(), app.clone(), reference.to_owned());
        let task = tokio::spawn(async move {
            let asked = asker.deploy(&app, &reference).await;
            if asked.is_ok()
                && let Err(error) = claim.keep()
            {
                tracing::error!(DEPLOYD_APP = %app, "that a delivery of app {app} was used is not on disk: {error}, going on");
            }
            asked
        });
        task.await.unwrap_or_else(|error| Err(Refusal::Failed(error.to_string())))
    }
}

fn tell(app: &AppName, delivery: &Delivery, reference: &str, id: &DeploymentId) {
    let actor = format!("webhook:{}", delivery.forge.as_str());
    let text = format!("{actor} asked for {} of {app}: deployment {id}", printable(reference));
    let fields =
        [("DEPLOYD_APP", app.as_str()), ("DEPLOYD_DEPLOYMENT", id.as_str()), ("DEPLOYD_ACTOR", actor.as_str())];
    journal::event(events::WEBHOOK_ASKED, Priority::Info, &text, &fields);
}

/// How long the body will be. Without a length, or in chunks, nothing is read: no forge sends so, and of a body that is
/// as long in one reading as in another there is but one.
fn length(headers: &header::HeaderMap) -> Result<usize, Stopped> {
    if headers.contains_key(header::TRANSFER_ENCODING) {
        return Err((StatusCode::LENGTH_REQUIRED, "a body in chunks is not taken; send its length".into()));
    }
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    match length {
        None => Err((StatusCode::LENGTH_REQUIRED, "the body has no length".into())),
        Some(length) if length > LARGEST => {
            Err((StatusCode::PAYLOAD_TOO_LARGE, format!("the body is larger than {LARGEST} bytes")))
        }
        Some(length) => Ok(length),
    }
}

async fn whole<B: Body<Data = Bytes> + Unpin>(mut body: B, length: usize, guest: &Guest) -> Result<Vec<u8>, Stopped> {
    let broken = || (StatusCode::BAD_REQUEST, "the body broke off".to_owned());
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| broken())?.into_data() else { continue };
        if bytes.len() + data.len() > length {
            return Err((StatusCode::BAD_REQUEST, "the body is longer than it was said to be".into()));
        }
        guest.holds(data.len());
        bytes.extend_from_slice(&data);
    }
    if bytes.len() == length { Ok(bytes) } else { Err(broken()) }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
