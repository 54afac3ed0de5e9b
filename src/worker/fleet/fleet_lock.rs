//! The FleetLock protocol (coreos.github.io/zincati/development/fleetlock/protocol): one request takes a slot, another
//! gives it back. The server tells nobody when one is free, so that it is asked again now and then.

use std::time::Duration;

use http_body_util::Full;
use hyper::{Uri, body::Bytes};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::trust::{Tls, trusted};
use crate::{
    model::printable,
    worker::{
        fleet_order::FleetOrder,
        http::{json_post, send},
    },
};

/// For one request.
const CALL: Duration = Duration::from_secs(10);
/// Between two requests for a slot that is not free.
pub const AGAIN: Duration = Duration::from_secs(10);
/// The longest detail, in characters.
const MAX_DETAIL: usize = 300;

/// A request that was not granted.
#[derive(Debug)]
pub struct NotNow {
    /// What was answered, or not.
    pub why: String,
    /// It may be another time.
    pub later: bool,
}

impl NotNow {
    fn new(why: &str, later: bool) -> Self {
        Self { why: printable(why).chars().take(MAX_DETAIL).collect(), later }
    }
}

/// A server, and this host as it knows it.
pub struct FleetLock<'a> {
    /// Its address.
    pub url: &'a str,
    /// Who asks.
    pub order: &'a FleetOrder,
    /// TLS.
    pub tls: Tls,
}

impl FleetLock<'_> {
    /// Asks for a slot once; one that this host has already is given again.
    pub async fn take(&self) -> Result<(), NotNow> {
        self.ask("pre-reboot").await
    }

    /// Gives the slot back; one that this host does not have is no error there.
    pub async fn leave(&self) -> Result<(), NotNow> {
        self.ask("steady-state").await
    }

    async fn ask(&self, method: &str) -> Result<(), NotNow> {
        let no_url = || NotNow::new(&format!("{} is no url", self.url), false);
        let uri: Uri = format!("{}/v1/{method}", self.url).parse().map_err(|_| no_url())?;
        let body = json!({ "client_params": { "id": self.order.id, "group": self.order.group } });
        let request = json_post(&uri).header("fleet-lock-protocol", "true");
        let request = request.body(Full::new(Bytes::from(body.to_string()))).map_err(|_| no_url())?;
        let sent = timeout(CALL, send(&uri, None, request, || trusted(&self.tls))).await;
        let sent = sent.unwrap_or_else(|_| Err(format!("no answer within {} s", CALL.as_secs())));
        let response = sent.map_err(|why| NotNow::new(&why, true))?;
        let status = response.status().as_u16();
        if (200..300).contains(&status) {
            return Ok(());
        }
        let said: Value = serde_json::from_slice(response.body()).unwrap_or_default();
        let detail = said["value"].as_str().unwrap_or("no reason was given");
        // What is asked for wrongly is so the next time too.
        let later = !(400..500).contains(&status) || [408, 409, 423, 429].contains(&status);
        Err(NotNow::new(&format!("the server answered {status}: {detail}"), later))
    }
}

#[cfg(test)]
pub mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;
    use crate::worker::fleet_order::{FleetWhat, SemaphoreOrder};

    /// One of a host.
    pub fn order() -> FleetOrder {
        FleetOrder {
            app: "shop".into(),
            host: "web1".into(),
            id: "00ff".into(),
            group: "web".into(),
            release: "r".into(),
            revision: "a".into(),
            force: false,
            untold: None,
            what: FleetWhat::Take,
            semaphore: SemaphoreOrder::FleetLock { url: String::new() },
        }
    }

    /// Stands for airlock, which Debian has not: it answers as its protocol says.
    #[tokio::test]
    async fn it_asks_until_there_is_a_slot_and_gives_it_back() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/locks", listener.local_addr().unwrap());
        let full = r#"{"kind":"failed_lock","value":"all\u001b[2J 1 semaphore slots currently locked"}"#;
        let mock = tokio::spawn(async move {
            let mut asked = Vec::new();
            let no = [("409 Conflict", full), ("502 Bad Gateway", "<html>"), ("404 Not Found", "")];
            for (status, body) in no.into_iter().chain([("200 OK", ""); 2]) {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = vec![0; 4096];
                let n = stream.read(&mut request).await.unwrap();
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                stream.write_all(answer.as_bytes()).await.unwrap();
                asked.push(String::from_utf8_lossy(&request[..n]).into_owned());
            }
            asked
        });
        let order = order();
        let lock = FleetLock { url: &url, order: &order, tls: None };
        let mut told = Vec::new();
        while let Err(error) = lock.take().await {
            told.push((error.why, error.later));
        }
        lock.leave().await.unwrap();
        let asked = mock.await.unwrap();
        assert!(asked[0].starts_with("POST /locks/v1/pre-reboot HTTP/1.1\r\n"), "{asked:?}");
        assert!(asked[4].starts_with("POST /locks/v1/steady-state HTTP/1.1\r\n"), "{asked:?}");
        for request in &asked {
            assert!(request.contains("\r\nfleet-lock-protocol: true\r\n"), "{request}");
            assert!(request.ends_with(r#"{"client_params":{"group":"web","id":"00ff"}}"#), "{request}");
        }
        assert!(told[0].0.contains("409: all\\u{1b}[2J 1 semaphore slots") && told[0].1, "{told:?}");
        assert!(told[1].0.contains("502: no reason") && told[1].1 && !told[2].1 && told.len() == 3, "{told:?}");
    }
}
