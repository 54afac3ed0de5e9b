//! Fetches an archive from an https server: every redirect stays https, the size and the time are bounded, and the host
//! must prove itself to what this host trusts. One GET, nothing kept but the file.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    path::Path,
    sync::Arc,
    time::Duration,
};

use http_body_util::{BodyExt, Empty};
use hyper::{
    Request, Response, Uri,
    body::{Bytes, Incoming},
    header::LOCATION,
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, pki_types::ServerName},
};

use super::{
    super::{http::host_trust, order::ArchiveOrder, refusal::Refusal},
    open::LARGEST,
};
use crate::model::printable;

/// How many redirects are followed.
const REDIRECTS: usize = 8;
/// For a connection, and for every piece of the answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// For all of it.
const LIMIT: Duration = Duration::from_secs(25 * 60);

/// How long is waited, and for how much.
#[derive(Clone, Copy)]
struct Limits {
    patience: Duration,
    whole: Duration,
    largest: u64,
}

/// Fetches it into `to`, which is replaced when all of it is there.
pub fn fetch(order: &ArchiveOrder, to: &Path) -> Result<(), Refusal> {
    fetch_with(&order.at, to, host_trust, Limits { patience: PATIENCE, whole: LIMIT, largest: LARGEST })
}

/// The same with something small.
pub fn fetch_small(at: &str, to: &Path, largest: u64) -> Result<(), Refusal> {
    fetch_with(at, to, host_trust, Limits { patience: PATIENCE, whole: PATIENCE, largest })
}

fn fetch_with(
    at: &str,
    to: &Path,
    trust: impl FnOnce() -> Result<Arc<ClientConfig>, String>,
    limits: Limits,
) -> Result<(), Refusal> {
    let beside = to.with_extension("new");
    let _ = std::fs::remove_file(&beside);
    let out = OpenOptions::new().write(true).create_new(true).open(&beside);
    let mut out = out.map_err(|error| Refusal::io("make", &beside, error))?;
    let told = |why: String| {
        let remedy = "check its address and the ref in [source], and that this host reaches the server";
        Refusal::with(format!("cannot fetch {at}: {}", printable(&why)), remedy)
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| told(error.to_string()))?;
    let fetched = runtime.block_on(async {
        match timeout(limits.whole, download(at, trust()?, &mut out, limits)).await {
            Ok(done) => done,
            Err(_) => Err(format!("it took longer than {} s", limits.whole.as_secs())),
        }
    });
    let done = fetched
        .map_err(told)
        .and_then(|()| std::fs::rename(&beside, to).map_err(|error| Refusal::io("rename", &beside, error)));
    if done.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    done
}

async fn download(url: &str, trust: Arc<ClientConfig>, out: &mut File, limits: Limits) -> Result<(), String> {
    let mut at = checked(url)?;
    for _ in 0..=REDIRECTS {
        let response = ask(&at, Arc::clone(&trust), limits.patience).await?;
        match response.status().as_u16() {
            200 => return save(response, out, limits).await,
            301 | 302 | 303 | 307 | 308 => {
                let to = response.headers().get(LOCATION).and_then(|to| to.to_str().ok());
                at = next(&at, to.ok_or_else(|| format!("{at} redirects to nowhere"))?)?;
            }
            status => return Err(format!("{} answered {status}", at.authority().map_or("", |host| host.as_str()))),
        }
    }
    Err(format!("more than {REDIRECTS} redirects"))
}

/// A place that may be asked: https, without credentials.
fn checked(url: &str) -> Result<Uri, String> {
    let uri: Uri = url.parse().map_err(|_| format!("{url} is no url"))?;
    if uri.scheme_str() != Some("https") {
        return Err(format!("{url} is not https: whoever is on the way could put code of theirs into the release"));
    }
    match uri.authority() {
        Some(host) if !host.as_str().contains('@') && !host.host().is_empty() => Ok(uri),
        _ => Err(format!("{url} has no host, or credentials")),
    }
}

/// Where a redirect leads.
fn next(from: &Uri, to: &str) -> Result<Uri, String> {
    let host = from.authority().map_or("", |host| host.as_str());
    let to = to.split('#').next().unwrap_or_default();
    let whole = if to.contains("://") {
        to.to_owned()
    } else if let Some(rest) = to.strip_prefix("//") {
        format!("https://{rest}")
    } else if to.starts_with('/') {
        format!("https://{host}{to}")
    } else {
        let dir = from.path().rsplit_once('/').map_or("", |(dir, _)| dir);
        format!("https://{host}{dir}/{to}")
    };
    checked(&whole).map_err(|why| format!("it is redirected, and {why}"))
}

async fn ask(at: &Uri, trust: Arc<ClientConfig>, patience: Duration) -> Result<Response<Incoming>, String> {
    let authority = at.authority().ok_or_else(|| format!("{at} has no host"))?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
    let late = |what: &str| format!("{host} did not {what} within {} s", patience.as_secs());
    let port = authority.port_u16().unwrap_or(443);
    let stream = timeout(patience, TcpStream::connect((&*host, port))).await.map_err(|_| late("accept"))?;
    let stream = stream.map_err(|error| format!("cannot connect to {host} port {port}: {error}"))?;
    let server = ServerName::try_from(host.clone()).map_err(|_| format!("{host} is no name for TLS"))?;
    let tls = timeout(patience, TlsConnector::from(trust).connect(server, stream)).await;
    let tls = tls.map_err(|_| late("speak TLS"))?.map_err(|error| format!("TLS with {host}: {error}"))?;
    let broken = |error: hyper::Error| format!("the connection to {host} broke: {error}");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tls)).await.map_err(broken)?;
    // It moves the bytes, and ends when the answer has been taken.
    tokio::spawn(connection);
    let request = Request::get(at.path_and_query().map_or("/", |path| path.as_str()))
        .header("host", authority.as_str())
        .header("user-agent", concat!("deployd/", env!("CARGO_PKG_VERSION")))
        .header("accept", "*/*")
        .header("connection", "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| format!("cannot ask for {at}: {error}"))?;
    timeout(patience, sender.send_request(request)).await.map_err(|_| late("answer"))?.map_err(broken)
}

/// Writes the answer's content, as much as may be.
async fn save(response: Response<Incoming>, out: &mut File, limits: Limits) -> Result<(), String> {
    let mut body = response.into_body();
    let mut size = 0;
    loop {
        let frame = timeout(limits.patience, body.frame()).await;
        let frame = frame.map_err(|_| format!("nothing came for {} s", limits.patience.as_secs()))?;
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|error| format!("it broke off after {size} bytes: {error}"))?;
        let Some(piece) = frame.data_ref() else { continue };
        size += piece.len() as u64;
        if size > limits.largest {
            return Err(format!("it is larger than {} bytes", limits.largest));
        }
        out.write_all(piece).map_err(|error| format!("it cannot be written: {error}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_rustls::{
        TlsAcceptor,
        rustls::{RootCertStore, ServerConfig, crypto, pki_types::PrivateKeyDer},
    };

    use super::*;

    /// A server on this host that answers what `answers` says for a path, and what it was asked.
    struct Server {
        port: u16,
        trust: Arc<ClientConfig>,
        asked: Arc<Mutex<Vec<String>>>,
        dir: tempfile::TempDir,
    }

    impl Server {
        fn start(answers: impl Fn(&str, u16) -> String + Send + 'static) -> Self {
            let key = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
            let cert = key.cert.der().clone();
            let private = PrivateKeyDer::try_from(key.signing_key.serialize_der()).unwrap();
            let ring = || Arc::new(crypto::ring::default_provider());
            let config = ServerConfig::builder_with_provider(ring()).with_safe_default_protocol_versions().unwrap();
            let config = config.with_no_client_auth().with_single_cert(vec![cert.clone()], private).unwrap();
            let mut roots = RootCertStore::empty();
            roots.add(cert).unwrap();
            let trust = ClientConfig::builder_with_provider(ring()).with_safe_default_protocol_versions().unwrap();
            let trust = Arc::new(trust.with_root_certificates(roots).with_no_client_auth());
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.set_nonblocking(true).unwrap();
            let port = listener.local_addr().unwrap().port();
            let asked = Arc::new(Mutex::new(Vec::new()));
            let (told, acceptor) = (Arc::clone(&asked), TlsAcceptor::from(Arc::new(config)));
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                    while let Ok((stream, _)) = listener.accept().await {
                        let Ok(mut tls) = acceptor.accept(stream).await else { continue };
                        let mut got = vec![0; 4096];
                        let n = tls.read(&mut got).await.unwrap_or(0);
                        let got = String::from_utf8_lossy(&got[..n]).into_owned();
                        let path = got.split(' ').nth(1).unwrap_or_default().to_owned();
                        told.lock().unwrap().push(got);
                        let answer = answers(&path, port);
                        let _ = tls.write_all(answer.as_bytes()).await;
                        if !answer.contains("content-length: 99\r\n") {
                            let _ = tls.shutdown().await;
                        } else {
                            // Never more: who waits must give up.
                            tokio::spawn(async move {
                                let _ = tls.read(&mut [0; 1]).await;
                            });
                        }
                    }
                });
            });
            Self { port, trust, asked, dir: tempfile::tempdir().unwrap() }
        }

        fn fetch(&self, path: &str) -> Result<String, String> {
            let at = format!("https://localhost:{}{path}", self.port);
            let to = self.dir.path().join("archive");
            let limits = Limits { patience: Duration::from_secs(1), whole: Duration::from_secs(5), largest: 1000 };
            let trust = Arc::clone(&self.trust);
            fetch_with(&at, &to, || Ok(trust), limits).map_err(|refusal| refusal.reason().to_owned())?;
            Ok(std::fs::read_to_string(to).unwrap())
        }
    }

    fn ok(body: &str) -> String {
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    }

    fn moved(to: &str) -> String {
        format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n")
    }

    #[test]
    fn redirects_are_followed_as_long_as_they_stay_https() {
        let server = Server::start(|path, port| match path {
            "/a/one" => moved("../two?x=1"),
            "/a/../two?x=1" => moved(&format!("https://localhost:{port}/three#part")),
            "/three" => moved("/four"),
            "/four" => moved(&format!("//localhost:{port}/five")),
            "/five" => ok("content"),
            "/plain" => moved(&format!("http://localhost:{port}/five")),
            "/file" => moved("file:///etc/passwd"),
            "/secret" => moved(&format!("https://u:p@localhost:{port}/five")),
            "/round" => moved("/round"),
            _ => "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".into(),
        });
        assert_eq!(server.fetch("/a/one").unwrap(), "content");
        assert!(server.asked.lock().unwrap()[0].contains("host: localhost:"));
        for (path, why) in [
            ("/plain", "not https"),
            ("/file", "is no url"),
            ("/secret", "credentials"),
            ("/round", "more than 8 redirects"),
            ("/nothing", "answered 404"),
        ] {
            let told = server.fetch(path).unwrap_err();
            assert!(told.contains(why), "{path}: {told}");
        }
        assert_eq!(std::fs::read_dir(server.dir.path()).unwrap().count(), 1, "half a file is not kept");
    }

    #[test]
    fn what_is_too_large_broken_off_or_stands_still_is_refused() {
        let server = Server::start(|path, _| match path {
            "/large" => ok(&"x".repeat(1001)),
            "/endless" => {
                format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{}", "a\r\n0123456789\r\n".repeat(200))
            }
            "/short" => "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf".into(),
            _ => "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nhalf".into(),
        });
        for (path, why) in
            [("/large", "larger"), ("/endless", "larger"), ("/short", "broke off"), ("/still", "nothing came")]
        {
            let told = server.fetch(path).unwrap_err();
            assert!(told.contains(why), "{path}: {told}");
        }
        assert_eq!(std::fs::read_dir(server.dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_server_that_nobody_vouches_for_is_refused() {
        let (server, other) = (Server::start(|_, _| ok("x")), Server::start(|_, _| ok("x")));
        let server = Server { trust: Arc::clone(&other.trust), ..server };
        assert!(server.fetch("/x").unwrap_err().contains("TLS with localhost"));
        assert!(server.asked.lock().unwrap().is_empty());
    }
}
