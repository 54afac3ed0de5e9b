//! Asks the site for a page over HTTP/1.1, or HTTPS, of this very host: one request, nothing followed, all bounded.

use std::{
    path::Path,
    pin::pin,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use futures_util::future::{Either, select};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{
    Request, Response, Uri,
    body::{Bytes, Incoming},
    http::request::Builder,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, ConfigBuilder, RootCertStore, client::WantsClientCert, crypto, pki_types::ServerName},
};

use sha2::{Digest, Sha256};

use super::order::{Answer, HttpProbe};
use crate::model::{ReleaseId, printable};

/// The most that a page may have, in bytes.
const MAX_BODY: usize = 1024 * 1024;
/// The longest detail, in characters.
const MAX_DETAIL: usize = 300;

/// Carries out [`super::order::Order::ProbeHttp`], trusting what this host trusts.
pub async fn probe(probe: &HttpProbe) -> Answer {
    probe_with(probe, host_trust).await
}

async fn probe_with(probe: &HttpProbe, trust: impl Fn() -> Result<Arc<ClientConfig>, String>) -> Answer {
    let started = Instant::now();
    let verdict = match tokio::time::timeout(probe.timeout, ask_patiently(probe, &trust)).await {
        Ok(Ok((status, body))) => judge(probe, status, &body, started.elapsed()),
        Ok(Err(problem)) => Err(problem),
        Err(_) => Err(format!("no answer within {} ms", probe.timeout.as_millis())),
    };
    let (healthy, detail) = match verdict {
        Ok(detail) => (true, detail),
        Err(detail) => (false, detail),
    };
    Answer::Probed { healthy, detail: printable(&detail).chars().take(MAX_DETAIL).collect() }
}

/// Carries out [`super::order::Order::Fetch`].
pub async fn fetch(page: &HttpProbe, root: &Path) -> Answer {
    match tokio::time::timeout(page.timeout, ask_with(page, None, host_trust)).await {
        Ok(Ok(response)) => {
            let status = Some(response.status().as_u16());
            Answer::Fetched { status, digest: hex::encode(Sha256::digest(placeless(response.body(), root))) }
        }
        Ok(Err(problem)) => Answer::Fetched { status: None, digest: printable(&problem) },
        Err(_) => Answer::Fetched { status: None, digest: "no answer in time".into() },
    }
}

/// A page without where its release is: `ROOT/current` and `ROOT/releases/ID` are as `ROOT`, and an id as its last part.
fn placeless(body: &[u8], root: &Path) -> Vec<u8> {
    let text = String::from_utf8_lossy(body);
    let name = root.file_name().unwrap_or_default().to_string_lossy();
    let in_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let mut out = String::with_capacity(text.len());
    let mut rest = &*text;
    while let Some(at) = rest.find(in_name) {
        let (before, tail) = rest.split_at(at);
        let (word, tail) = tail.split_at(tail.find(|c| !in_name(c)).unwrap_or(tail.len()));
        out.push_str(before);
        out.push_str(if word.parse::<ReleaseId>().is_ok() { &name } else { word });
        rest = tail;
    }
    out.push_str(rest);
    let root = root.display().to_string();
    let in_releases = format!("{root}/releases/{name}");
    let current = format!("{root}/current/");
    out.replace(&in_releases, &root).replace(&current, &format!("{root}/")).into_bytes()
}

/// Carries out [`super::order::Order::AskNginx`].
pub async fn sent_there(page: &HttpProbe, header: &str, ask: &str) -> Option<bool> {
    let asked = tokio::time::timeout(page.timeout, ask_with(page, Some((header, ask)), host_trust)).await;
    let answer = asked.ok()?.ok()?;
    let (said, word) = answer.headers().get(header)?.to_str().ok()?.split_once(' ')?;
    // An answer to somebody else's question is none.
    match said {
        _ if Some(word) != ask.rsplit(' ').next() => None,
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

/// The first answer of one request, or of two ([`HttpProbe::beside`]).
async fn ask_patiently(
    probe: &HttpProbe,
    trust: &impl Fn() -> Result<Arc<ClientConfig>, String>,
) -> Result<(u16, Bytes), String> {
    let first = pin!(ask(probe, trust));
    let Some(after) = probe.beside else { return first.await };
    match select(first, pin!(tokio::time::sleep(after))).await {
        Either::Left((answer, _)) => answer,
        Either::Right(((), first)) => match select(first, pin!(ask(probe, trust))).await {
            Either::Left((Err(_), second)) => second.await,
            Either::Right((Err(_), first)) => first.await,
            answered => answered.factor_first().0,
        },
    }
}

async fn ask(
    probe: &HttpProbe,
    trust: &impl Fn() -> Result<Arc<ClientConfig>, String>,
) -> Result<(u16, Bytes), String> {
    let response = ask_with(probe, None, trust).await?;
    Ok((response.status().as_u16(), response.into_body()))
}

async fn ask_with(
    probe: &HttpProbe,
    header: Option<(&str, &str)>,
    trust: impl FnOnce() -> Result<Arc<ClientConfig>, String>,
) -> Result<Response<Bytes>, String> {
    let uri: Uri = probe.url.parse().map_err(|_| format!("{} is no url", probe.url))?;
    let authority = uri.authority().ok_or_else(|| format!("{} has no host", probe.url))?;
    let host = probe.host.as_deref().unwrap_or(authority.as_str());
    let target = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::get(target)
        .header("host", host)
        .header("user-agent", "deployd-probe")
        .header("accept", "*/*")
        .header("connection", "close");
    let request = header.into_iter().fold(request, |request, (name, value)| request.header(name, value));
    let request = request.body(Full::default()).map_err(|error| format!("cannot ask for {target}: {error}"))?;
    send(&uri, probe.host.as_deref(), request, trust).await
}

/// The head of a request that posts JSON to a url. Where the url has no host, sending it tells so.
pub fn json_post(uri: &Uri) -> Builder {
    let target = uri.path_and_query().map_or("/", |path| path.as_str());
    let host = uri.authority().map_or("", |authority| authority.as_str());
    Request::post(target)
        .header("host", host)
        .header("user-agent", "deployd")
        .header("content-type", "application/json")
        .header("connection", "close")
}

/// Sends a request to where a url leads; `named` is what the server is called, when not as the url calls it. What it
/// says of a failure names no more of the url than host and port.
pub async fn send(
    uri: &Uri,
    named: Option<&str>,
    request: Request<Full<Bytes>>,
    trust: impl FnOnce() -> Result<Arc<ClientConfig>, String>,
) -> Result<Response<Bytes>, String> {
    exchange(connect(uri, named, trust).await?, request).await
}

/// A connection, plain or within TLS.
pub(super) trait Transport: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Transport for T {}

/// Connects to where a url leads, as [`send`] does.
pub(super) async fn connect(
    uri: &Uri,
    named: Option<&str>,
    trust: impl FnOnce() -> Result<Arc<ClientConfig>, String>,
) -> Result<Box<dyn Transport>, String> {
    let tls = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => return Err("the url is neither http:// nor https://".to_owned()),
    };
    let authority = uri.authority().ok_or_else(|| "the url has no host".to_owned())?;
    if authority.as_str().contains('@') {
        return Err("the url carries a user or a password".to_owned());
    }
    let address = authority.host().trim_start_matches('[').trim_end_matches(']');
    let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
    let stream = TcpStream::connect((address, port))
        .await
        .map_err(|error| format!("cannot connect to {address} port {port}: {error}"))?;
    let _ = stream.set_nodelay(true);
    if !tls {
        return Ok(Box::new(stream));
    }
    let name = named.map_or(address, without_port);
    let server = ServerName::try_from(name.to_owned()).map_err(|_| format!("{name} is no name for TLS"))?;
    let stream = TlsConnector::from(trust()?)
        .connect(server, stream)
        .await
        .map_err(|error| format!("TLS with {address} port {port} as {name}: {error}"))?;
    Ok(Box::new(stream))
}

/// Sends the request and reads the answer.
async fn exchange(stream: Box<dyn Transport>, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, String> {
    let broken = |error: hyper::Error| format!("the connection broke: {}", with_cause(&error));
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let answer = async {
        let response: Response<Incoming> = sender.send_request(request).await.map_err(broken)?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MAX_BODY).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() {
                "the page is larger than 1 MiB".to_owned()
            } else {
                format!("the page broke off: {error}")
            }
        })?;
        Ok(Response::from_parts(head, body.to_bytes()))
    };
    tokio::pin!(answer, connection);
    // The connection is what moves the bytes; it may end before the answer has been taken out of it.
    tokio::select! {
        answer = &mut answer => answer,
        _ = &mut connection => answer.await,
    }
}

fn judge(probe: &HttpProbe, status: u16, body: &[u8], took: Duration) -> Result<String, String> {
    match probe.status {
        Some(expected) if status != expected => return Err(format!("{status}, expected {expected}")),
        None if !(200..300).contains(&status) => return Err(format!("{status}, expected 200 to 299")),
        _ => {}
    }
    if let Some(text) = &probe.body
        && !body.windows(text.len().max(1)).any(|window| window == text.as_bytes())
        && !text.is_empty()
    {
        return Err(format!("{status}, but the page does not contain \"{text}\""));
    }
    if let Some((pointer, expected)) = &probe.json {
        let value: serde_json::Value =
            serde_json::from_slice(body).map_err(|_| format!("{status}, but the page is not JSON"))?;
        let found = match value.pointer(pointer) {
            None => return Err(format!("{status}, but there is nothing at {pointer}")),
            Some(serde_json::Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        if found != *expected {
            return Err(format!("{status}, but {pointer} is \"{found}\", expected \"{expected}\""));
        }
    }
    Ok(format!("{status} in {} ms", took.as_millis()))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') && port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host.trim_start_matches('[').trim_end_matches(']'),
    }
}

pub(super) fn with_cause(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// What this host trusts; read once.
pub fn host_trust() -> Result<Arc<ClientConfig>, String> {
    static TRUST: OnceLock<Result<Arc<ClientConfig>, String>> = OnceLock::new();
    TRUST
        .get_or_init(|| {
            let roots = host_roots();
            if roots.is_empty() {
                return Err("this host trusts no certificates (is ca-certificates installed?)".to_owned());
            }
            client(roots)
        })
        .clone()
}

/// The authorities that this host trusts.
pub(super) fn host_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

fn client(roots: RootCertStore) -> Result<Arc<ClientConfig>, String> {
    Ok(Arc::new(trusting(roots)?.with_no_client_auth()))
}

/// A client that trusts these; what it shows of itself is still to be said.
pub(super) fn trusting(roots: RootCertStore) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, String> {
    let config = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(config.with_root_certificates(roots))
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };
    use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};

    use super::*;

    #[test]
    fn where_a_release_is_makes_no_difference() {
        let of = |text: &str| String::from_utf8(placeless(text.as_bytes(), Path::new("/srv/shop"))).unwrap();
        let page = "in /srv/shop/public, of /srv/shop (shop)";
        let live = "in /srv/shop/current/public, of /srv/shop/releases/20260101T120000Z-ab.2 (20260101T120000Z-ab.2)";
        assert_eq!((of(live).as_str(), of(page).as_str(), of("/srv/shops/x").as_str()), (page, page, "/srv/shops/x"));
    }

    fn page(url: String) -> HttpProbe {
        HttpProbe {
            url,
            host: None,
            status: None,
            body: None,
            json: None,
            timeout: Duration::from_millis(500),
            beside: None,
        }
    }

    fn verdict(answer: Answer) -> (bool, String) {
        match answer {
            Answer::Probed { healthy, detail } => (healthy, detail),
            other => panic!("{other:?}"),
        }
    }

    /// Answers one connection with `answer`, and returns the probe's verdict and what was asked.
    async fn answered(answer: &str, adjust: impl FnOnce(&mut HttpProbe)) -> ((bool, String), String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut asked = page(format!("http://{}/up?full=1", listener.local_addr().unwrap()));
        adjust(&mut asked);
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut got = vec![0; 4096];
            let n = stream.read(&mut got).await.unwrap();
            let _ = stream.write_all(answer.as_bytes()).await;
            String::from_utf8_lossy(&got[..n]).into_owned()
        };
        let (answer, got) = tokio::join!(probe(&asked), serve);
        (verdict(answer), got)
    }

    #[tokio::test]
    async fn it_asks_as_a_visitor_of_that_host() {
        let ((healthy, detail), got) =
            answered("HTTP/1.1 204 No Content\r\n\r\n", |probe| probe.host = Some("shop.example.org".into())).await;
        assert!(healthy && detail.starts_with("204 in "), "{detail}");
        assert!(got.starts_with("GET /up?full=1 HTTP/1.1\r\n"), "{got}");
        assert!(got.contains("host: shop.example.org\r\n") && got.contains("connection: close\r\n"), "{got}");
    }

    #[tokio::test]
    async fn nginx_says_where_it_sends_a_request_or_nothing() {
        let answers = [
            ("\r\nX-There: yes w1", Some(true)),
            ("\r\nx-there: no w1", Some(false)),
            ("\r\nx-there: no w0", None),
            ("\r\nx-there: no", None),
            ("", None),
        ];
        for (said, there) in answers {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let asked = page(format!("http://{}/up", listener.local_addr().unwrap()));
            let serve = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut got = vec![0; 4096];
                let n = stream.read(&mut got).await.unwrap();
                let answer = format!("HTTP/1.1 503 X\r\ncontent-length: 0{said}\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
                String::from_utf8_lossy(&got[..n]).into_owned()
            };
            let (answer, got) = tokio::join!(sent_there(&asked, "x-there", "shop r2 w1"), serve);
            assert_eq!(answer, there, "{said}");
            assert!(got.contains("\r\nx-there: shop r2 w1\r\n"), "{got}");
        }
        assert_eq!(sent_there(&page("http://127.0.0.1:1/".into()), "x-there", "shop r2 w1").await, None);
    }

    #[tokio::test]
    async fn what_is_not_as_expected_is_told() {
        const JSON: &str = "HTTP/1.1 200 OK\r\ncontent-length: 30\r\n\r\n{\"db\":{\"ok\":true},\"name\":\"a\"}\n";
        let moved = "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";
        type Adjust = fn(&mut HttpProbe);
        let cases: [(&str, Adjust, bool, &str); 10] = [
            ("HTTP/1.1 503 X\r\ncontent-length: 0\r\n\r\n", |_| {}, false, "503, expected 200 to 299"),
            (moved, |_| {}, false, "302, expected 200 to 299"),
            (moved, |probe| probe.status = Some(302), true, "302 in "),
            (JSON, |probe| probe.json = Some(("/db/ok".into(), "true".into())), true, "200 in "),
            (JSON, |probe| probe.json = Some(("/name".into(), "b".into())), false, "/name is \"a\", expected \"b\""),
            (JSON, |probe| probe.json = Some(("/none".into(), "b".into())), false, "nothing at /none"),
            (JSON, |probe| probe.body = Some("\"ok\":true".into()), true, "200 in "),
            (JSON, |probe| probe.body = Some("release 2".into()), false, "does not contain \"release 2\""),
            ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort", |_| {}, false, "broke off"),
            ("SSH-2.0-OpenSSH\r\n", |_| {}, false, "the connection broke"),
        ];
        for (answer, adjust, healthy, said) in cases {
            let ((was, detail), _) = answered(answer, adjust).await;
            assert!(was == healthy && detail.contains(said), "{said}: {was} {detail}");
        }
        let large = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(MAX_BODY + 1));
        let ((was, detail), _) = answered(&large, |probe| probe.timeout = Duration::from_secs(10)).await;
        assert!(!was && detail.contains("larger than 1 MiB"), "{detail}");
    }

    #[tokio::test]
    async fn nobody_there_and_nobody_answering() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let mut silent = page(url.clone());
        silent.timeout = Duration::from_millis(50);
        assert_eq!(verdict(probe(&silent).await), (false, "no answer within 50 ms".to_owned()));
        drop(listener);
        assert!(verdict(probe(&page(url)).await).1.contains("cannot connect"));
        for bad in ["ftp://x/", "http://u:p@127.0.0.1/", "/up"] {
            assert!(!verdict(probe(&page(bad.to_owned())).await).0, "{bad}");
        }
    }

    #[tokio::test]
    async fn a_request_that_is_never_answered_is_asked_once_more_where_that_is_wanted() {
        for (beside, healthy) in [(Some(Duration::from_millis(50)), true), (None, false)] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut asked = page(format!("http://{}/up", listener.local_addr().unwrap()));
            asked.beside = beside;
            let serve = async {
                let _never_answered = listener.accept().await.unwrap();
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = stream.read(&mut [0; 4096]).await.unwrap();
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
                std::future::pending::<()>().await;
            };
            let answer = tokio::select! { answer = probe(&asked) => answer, () = serve => unreachable!() };
            assert_eq!(verdict(answer).0, healthy, "{beside:?}");
        }
    }

    #[tokio::test]
    async fn the_name_in_tls_is_the_hosts_and_the_certificate_is_checked() {
        let made = rcgen::generate_simple_self_signed(["shop.example.org".to_owned()]).unwrap();
        let key = tokio_rustls::rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let certificate = made.cert.der().clone();
        let config = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}/", listener.local_addr().unwrap());
        for (host, trusted, healthy) in [
            ("shop.example.org:443", true, true),
            ("other.example.org", true, false),
            ("shop.example.org", false, false),
        ] {
            let mut roots = RootCertStore::empty();
            if trusted {
                roots.add(certificate.clone()).unwrap();
            }
            let mut asked = page(url.clone());
            asked.host = Some(host.to_owned());
            let serve = async {
                let (stream, _) = listener.accept().await.unwrap();
                let mut stream = acceptor.accept(stream).await.ok()?;
                let name = stream.get_ref().1.server_name().map(str::to_owned);
                let _ = stream.read(&mut [0; 4096]).await;
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.ok()?;
                name
            };
            let (answer, name) = tokio::join!(probe_with(&asked, || client(roots.clone())), serve);
            let (was, detail) = verdict(answer);
            assert_eq!(was, healthy, "{host}: {detail}");
            assert_eq!(name.is_some(), healthy);
            assert!(name.is_none_or(|name| name == "shop.example.org"));
            assert!(healthy || detail.contains("certificate"), "{detail}");
        }
    }
}
