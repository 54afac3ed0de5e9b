//! Posts JSON to a webhook. Its address is a secret: no message here names more of it than the host.

use std::{io, time::Duration};

use http_body_util::Full;
use hyper::{Uri, body::Bytes};

use super::{
    http::{host_trust, json_post, send},
    order::{Answer, Hook},
    refusal::Refusal,
};
use crate::{model::printable, system::credentials};

/// Of a credential with an address, in bytes.
const LARGEST: u64 = 4096;
/// The longest detail, in characters.
const MAX_DETAIL: usize = 200;

/// Carries out [`super::order::Order::Post`].
pub async fn run(hook: &Hook, body: &str, timeout: Duration) -> Result<Answer, Refusal> {
    let url = match hook {
        Hook::Url(url) => url.clone(),
        Hook::Credential(name) => credential(name)?,
    };
    let sent = match tokio::time::timeout(timeout, post(url.trim(), body)).await {
        Ok(sent) => sent,
        Err(_) => Err(format!("no answer within {} ms", timeout.as_millis())),
    };
    let (healthy, detail) = match sent {
        Ok(status) => ((200..300).contains(&status), format!("it answered {status}")),
        Err(detail) => (false, detail),
    };
    Ok(Answer::Probed { healthy, detail: printable(&detail).chars().take(MAX_DETAIL).collect() })
}

async fn post(url: &str, body: &str) -> Result<u16, String> {
    let uri: Uri = url.parse().map_err(|_| "its address is no url".to_owned())?;
    let request = json_post(&uri).body(Full::new(Bytes::copy_from_slice(body.as_bytes())));
    let request = request.map_err(|_| "its address is no url".to_owned())?;
    send(&uri, None, request, host_trust).await.map(|response| response.status().as_u16())
}

fn credential(name: &str) -> Result<String, Refusal> {
    let handed = credentials::read(name, LARGEST).ok_or_else(|| Refusal::new("no credential was handed over"))?;
    let text = handed.and_then(|bytes| io::read_to_string(bytes.as_slice()));
    text.map_err(|error| Refusal::new(format!("the credential {name}: {error}")))
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    #[tokio::test]
    async fn a_body_is_posted_and_the_address_is_not_told() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/secret-path?x=1", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let n = stream.read(&mut request).await.unwrap();
            stream.write_all(b"HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            String::from_utf8_lossy(&request[..n]).into_owned()
        });
        let answer = run(&Hook::Url(url), "{\"a\":1}", Duration::from_secs(10)).await.unwrap();
        assert_eq!(answer, Answer::Probed { healthy: false, detail: "it answered 403".into() });
        let request = server.await.unwrap();
        assert!(request.starts_with("POST /secret-path?x=1 HTTP/1.1") && request.ends_with("{\"a\":1}"), "{request}");
        for bad in ["ftp://h/secret", "http://", "no url secret", "http://127.0.0.1:1/secret"] {
            let Answer::Probed { healthy, detail } =
                run(&Hook::Url(bad.into()), "", Duration::from_secs(5)).await.unwrap()
            else {
                panic!("a verdict")
            };
            assert!(!healthy && !detail.contains("secret"), "{detail}");
        }
    }
}
