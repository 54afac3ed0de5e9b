//! An answer over HTTP that goes on: read line by line, each bounded.

use std::sync::Arc;

use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Uri,
    body::{Bytes, Incoming},
};
use hyper_util::rt::TokioIo;
use tokio::task::JoinHandle;
use tokio_rustls::rustls::ClientConfig;

use crate::worker::http::{connect, with_cause};

/// The longest line, in bytes.
const MAX_LINE: usize = 256 * 1024;

/// An answer that goes on, until it is dropped.
pub struct Lines {
    /// Its status.
    pub status: u16,
    body: Incoming,
    kept: Vec<u8>,
    connection: JoinHandle<()>,
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Lines {
    /// Sends the request; returns when the answer has begun.
    pub async fn open(
        uri: &Uri,
        request: Request<Full<Bytes>>,
        trust: impl FnOnce() -> Result<Arc<ClientConfig>, String>,
    ) -> Result<Self, String> {
        let broken = |error: hyper::Error| format!("the connection broke: {}", with_cause(&error));
        let stream = TokioIo::new(connect(uri, None, trust).await?);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.map_err(broken)?;
        let connection = tokio::spawn(async move {
            // What breaks it is seen where the answer is read.
            let _ = connection.await;
        });
        match sender.send_request(request).await {
            Ok(response) => {
                let (head, body) = response.into_parts();
                Ok(Self { status: head.status.as_u16(), body, kept: Vec::new(), connection })
            }
            Err(error) => {
                connection.abort();
                Err(broken(error))
            }
        }
    }

    /// The next line without its end; none: the answer has ended.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, String> {
        loop {
            if let Some(at) = self.kept.iter().position(|byte| *byte == b'\n') {
                let rest = self.kept.split_off(at + 1);
                let mut line = std::mem::replace(&mut self.kept, rest);
                line.pop();
                return Ok(Some(line));
            }
            if self.kept.len() > MAX_LINE {
                return Err(format!("a line of the answer is longer than {MAX_LINE} bytes"));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(format!("the answer broke off: {}", with_cause(&error))),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.kept.extend_from_slice(&data);
                    }
                }
            }
        }
    }
}
