//! One request, one connection, to 127.0.0.1 of a test host and to nothing else.

use std::{
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Longer than the longest page and any drain.
const LIMIT: Duration = Duration::from_secs(60);

/// What a site answered.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// The status; 0 when there was none.
    pub status: u16,
    /// The body, or the error when there was no answer.
    pub body: String,
    /// The session cookie that was set, as `name=value`.
    pub cookie: Option<String>,
}

impl Answer {
    /// The value of a line `key=value` of the body.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.body.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
    }

    /// Whether this is a page of the app under test from its first line to its last.
    pub fn is_whole(&self) -> bool {
        self.status == 200 && self.value("start").is_some() && self.value("end").is_some()
    }

    /// Whether it began in one release and ended in another.
    pub fn is_mixed(&self) -> bool {
        let (start, file, end) = (self.value("start"), self.value("file"), self.value("end"));
        start != end || file.is_some_and(|file| Some(file) != end)
    }
}

/// Runs `work` on a thread of its own inside a network namespace, and gives back what it gives.
pub fn within<T: Send + 'static, F>(network: OwnedFd, work: impl FnOnce() -> F + Send + 'static) -> T
where
    F: Future<Output = T>,
{
    spawn_within(network, work).join().expect("the thread in the host's network does not panic")
}

/// Starts `work` on a thread of its own inside a network namespace.
pub fn spawn_within<T: Send + 'static, F>(
    network: OwnedFd,
    work: impl FnOnce() -> F + Send + 'static,
) -> std::thread::JoinHandle<T>
where
    F: Future<Output = T>,
{
    use std::os::fd::AsFd;
    std::thread::spawn(move || {
        move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network)).expect("root may join it");
        // The meter is not to be delayed by what it measures. Of a thread, on Linux.
        let _ = rustix::process::setpriority_process(None, -10);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        tokio::task::LocalSet::new().block_on(&runtime, work())
    })
}

/// Asks for one page.
pub fn get(network: OwnedFd, domain: &str, path: &str) -> Answer {
    let (domain, path) = (domain.to_owned(), path.to_owned());
    within(network, move || async move { ask(&domain, &path, None).await })
}

/// Asks for a page again and again, 5 ms apart, until `wanted` says yes of an answer, and gives the moment at which that one had
/// come; nothing after `limit`.
pub fn watch(
    network: OwnedFd,
    domain: &str,
    path: &str,
    limit: Duration,
    wanted: impl Fn(&Answer) -> bool + Send + 'static,
) -> std::thread::JoinHandle<Option<Instant>> {
    let (domain, path, until) = (domain.to_owned(), path.to_owned(), Instant::now() + limit);
    spawn_within(network, move || async move {
        while Instant::now() < until {
            if wanted(&ask(&domain, &path, None).await) {
                return Some(Instant::now());
            }
            // An idle host is what is measured: asked without a pause, a site takes a processor for itself.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        None
    })
}

/// Asks for one page, on the network the thread is in. A failure is an answer with status 0.
pub async fn ask(domain: &str, path: &str, cookie: Option<&str>) -> Answer {
    let failed = |why: String| Answer { body: why, ..Answer::default() };
    match timeout(LIMIT, exchange(domain, path, cookie)).await {
        Ok(Ok(bytes)) => parse(&bytes),
        Ok(Err(error)) => failed(error.to_string()),
        Err(_) => failed(format!("no answer in {} s", LIMIT.as_secs())),
    }
}

/// HTTP/1.0: the answer ends with the connection; that it is whole shows in its last line.
async fn exchange(domain: &str, path: &str, cookie: Option<&str>) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(("127.0.0.1", 80)).await?;
    let cookie = cookie.map(|c| format!("Cookie: {c}\r\n")).unwrap_or_default();
    let request = format!("GET {path} HTTP/1.0\r\nHost: {domain}\r\n{cookie}Connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await?;
    Ok(bytes)
}

/// What the bytes of an answer say.
pub fn parse(bytes: &[u8]) -> Answer {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let cookie = head.lines().find_map(|line| {
        let value = line.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"))?.1;
        Some(value.split(';').next()?.trim().to_owned())
    });
    Answer { status, body: body.to_owned(), cookie }
}
