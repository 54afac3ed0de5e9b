//! Asks a php-fpm slot for a page, over FastCGI (its specification 1.0), before any visitor does: one GET, bounded.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

use super::order::Answer;
use crate::model::printable;

/// Of the page and of the messages, in bytes: the beginning.
const KEPT: usize = 64 * 1024;
/// The most that a page may send, in bytes.
const MAX_ANSWER: usize = 16 * 1024 * 1024;
/// The longest detail, in characters.
const MAX_DETAIL: usize = 300;

const BEGIN_REQUEST: u8 = 1;
const END_REQUEST: u8 = 3;
const PARAMS: u8 = 4;
const STDIN: u8 = 5;
const STDOUT: u8 = 6;
const STDERR: u8 = 7;

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// Unix socket.
    pub socket: &'a Path,
    /// `DOCUMENT_ROOT`.
    pub document_root: &'a Path,
    /// `SCRIPT_FILENAME`.
    pub script: &'a Path,
    /// `REQUEST_URI`.
    pub uri: &'a str,
    /// `HTTP_HOST`.
    pub host: &'a str,
    /// The process that must be listening.
    pub listener: Option<u32>,
}

/// No more is asked after so long, though not each process was reached.
const WARM_LIMIT: Duration = Duration::from_secs(3);

/// Carries out [`super::order::Order::ProbeFastcgi`]. Each process gets one request: its first, which costs several times
/// a later one, is then no visitor's. They are asked one at a time, so that live traffic keeps the processors; but all
/// connections are there before, and each process holds one and waits for its request. Connected one after the other,
/// a process that has just answered takes the next connection before the one that the kernel wakes for it.
pub async fn probe_each(question: Question<'_>, times: u32, timeout: Duration) -> Answer {
    let until = Instant::now() + WARM_LIMIT;
    let first = probe(question, None, timeout).await;
    if times < 2 || !is_healthy(&first) {
        return first;
    }
    for stream in connections(question, times).await {
        if Instant::now() >= until {
            break;
        }
        let answer = probe(question, Some(stream), timeout).await;
        if !is_healthy(&answer) {
            return answer;
        }
    }
    first
}

fn is_healthy(answer: &Answer) -> bool {
    matches!(answer, Answer::Probed { healthy: true, .. })
}

/// As many as the socket takes: a full backlog has fewer.
async fn connections(question: Question<'_>, times: u32) -> Vec<UnixStream> {
    let mut streams = Vec::new();
    for _ in 0..times {
        match connect(question).await {
            Ok(stream) => streams.push(stream),
            Err(_) => break,
        }
    }
    streams
}

/// Asks on this connection, or on a new one.
async fn probe(question: Question<'_>, stream: Option<UnixStream>, timeout: Duration) -> Answer {
    let started = Instant::now();
    let verdict = match tokio::time::timeout(timeout, ask(question, stream)).await {
        Ok(Ok(page)) => page.judge(started.elapsed()),
        Ok(Err(problem)) => Err(problem),
        Err(_) => Err(format!("no answer within {} ms", timeout.as_millis())),
    };
    let (healthy, detail) = match verdict {
        Ok(detail) => (true, detail),
        Err(detail) => (false, detail),
    };
    Answer::Probed { healthy, detail: printable(&detail).chars().take(MAX_DETAIL).collect() }
}

#[derive(Debug, Default)]
struct Page {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    received: usize,
    ended: Option<(u32, u8)>,
}

async fn connect(question: Question<'_>) -> Result<UnixStream, String> {
    let place = question.socket.display();
    let stream =
        UnixStream::connect(question.socket).await.map_err(|error| format!("cannot connect to {place}: {error}"))?;
    if let Some(listener) = question.listener {
        // The credentials of whoever called listen(2), taken by the kernel at that time.
        let pid = stream.peer_cred().ok().and_then(|cred| cred.pid()).and_then(|pid| u32::try_from(pid).ok());
        if pid != Some(listener) {
            let other = pid.map_or_else(|| "nobody known".to_owned(), |pid| format!("process {pid}"));
            return Err(format!("{place} is answered by {other}, not by process {listener}"));
        }
    }
    Ok(stream)
}

async fn ask(question: Question<'_>, stream: Option<UnixStream>) -> Result<Page, String> {
    let place = question.socket.display();
    let mut stream = match stream {
        Some(stream) => stream,
        None => connect(question).await?,
    };
    stream.write_all(&request(question)).await.map_err(|error| format!("cannot ask at {place}: {error}"))?;
    let mut page = Page::default();
    while page.ended.is_none() {
        page.read_record(&mut stream).await.map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => page_cut(&page),
            _ => format!("{place} ended the connection: {error}"),
        })?;
    }
    Ok(page)
}

fn page_cut(page: &Page) -> String {
    match first_line(&page.stderr) {
        Some(line) => format!("the connection was closed before the answer was complete: {line}"),
        None => "the connection was closed before the answer was complete".to_owned(),
    }
}

fn request(question: Question<'_>) -> Vec<u8> {
    let (path, query) = question.uri.split_once('?').unwrap_or((question.uri, ""));
    let script_name = question.script.strip_prefix(question.document_root).unwrap_or(Path::new("index.php"));
    let (script, root) = (question.script.to_string_lossy(), question.document_root.to_string_lossy());
    let mut params = Vec::new();
    for (name, value) in [
        ("GATEWAY_INTERFACE", "CGI/1.1"),
        ("SCRIPT_FILENAME", &script),
        ("SCRIPT_NAME", &format!("/{}", script_name.display())),
        ("DOCUMENT_ROOT", &root),
        ("DOCUMENT_URI", path),
        ("REQUEST_URI", question.uri),
        ("QUERY_STRING", query),
        ("REQUEST_METHOD", "GET"),
        ("REQUEST_SCHEME", "http"),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("SERVER_SOFTWARE", "deployd"),
        ("SERVER_NAME", question.host),
        ("SERVER_ADDR", "127.0.0.1"),
        ("SERVER_PORT", "80"),
        ("REMOTE_ADDR", "127.0.0.1"),
        ("REMOTE_PORT", "0"),
        ("REDIRECT_STATUS", "200"),
        ("CONTENT_TYPE", ""),
        ("CONTENT_LENGTH", ""),
        ("HTTP_HOST", question.host),
        ("HTTP_USER_AGENT", "deployd-probe"),
        ("HTTP_ACCEPT", "*/*"),
    ] {
        pair(&mut params, name, value);
    }
    // Role: responder; flags: the application closes the connection.
    let mut out = record(BEGIN_REQUEST, &[0, 1, 0, 0, 0, 0, 0, 0]);
    for piece in params.chunks(usize::from(u16::MAX)) {
        out.extend(record(PARAMS, piece));
    }
    out.extend(record(PARAMS, &[]));
    out.extend(record(STDIN, &[]));
    out
}

fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(content.len()).unwrap_or(u16::MAX).to_be_bytes();
    let mut out = vec![1, kind, 0, 1, high, low, 0, 0];
    out.extend_from_slice(content);
    out
}

fn pair(out: &mut Vec<u8>, name: &str, value: &str) {
    for length in [name.len(), value.len()] {
        match u8::try_from(length) {
            Ok(short) if short < 128 => out.push(short),
            _ => out.extend((u32::try_from(length).unwrap_or(0) | 1 << 31).to_be_bytes()),
        }
    }
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(value.as_bytes());
}

impl Page {
    async fn read_record(&mut self, stream: &mut UnixStream) -> std::io::Result<()> {
        let mut header = [0; 8];
        stream.read_exact(&mut header).await?;
        let [version, kind, _, _, high, low, padding, _] = header;
        if version != 1 {
            return Err(std::io::Error::other("it does not speak FastCGI"));
        }
        let length = usize::from(u16::from_be_bytes([high, low]));
        let mut content = vec![0; length + usize::from(padding)];
        stream.read_exact(&mut content).await?;
        content.truncate(length);
        self.received += length;
        if self.received > MAX_ANSWER {
            return Err(std::io::Error::other("the page is larger than 16 MiB"));
        }
        match kind {
            STDOUT => keep(&mut self.stdout, &content),
            STDERR => keep(&mut self.stderr, &content),
            END_REQUEST => match content.first_chunk::<5>() {
                Some([a, b, c, d, protocol]) => self.ended = Some((u32::from_be_bytes([*a, *b, *c, *d]), *protocol)),
                None => return Err(std::io::Error::other("its end is too short")),
            },
            _ => {}
        }
        Ok(())
    }

    /// `Ok`: healthy.
    fn judge(&self, took: Duration) -> Result<String, String> {
        let (exit, protocol) = self.ended.unwrap_or_default();
        if protocol != 0 {
            // 1: cannot multiplex, 2: overloaded, 3: unknown role.
            return Err(format!("php-fpm refused the request (FastCGI status {protocol})"));
        }
        let (head, body) = split(&self.stdout);
        let status = status(head);
        let Some(status) = status else { return Err("its Status header is no number".to_owned()) };
        let mut said = format!("{status} in {} ms", took.as_millis());
        let stderr = String::from_utf8_lossy(&self.stderr);
        // php-fpm's own answers (fpm_main.c), which a page of the app cannot be told from by status alone.
        let own = stderr.contains("Primary script unknown")
            || (status == 404 && body == b"File not found.\n")
            || (status == 403 && body == b"Access denied.\n");
        if status < 500 && !own && exit == 0 {
            return Ok(said);
        }
        if exit != 0 {
            said += &format!(", PHP exit status {exit}");
        }
        if let Some(line) = first_line(&self.stderr).or_else(|| first_line(body)) {
            said += &format!(": {line}");
        }
        Err(said)
    }
}

fn keep(kept: &mut Vec<u8>, content: &[u8]) {
    let room = KEPT.saturating_sub(kept.len());
    kept.extend_from_slice(content.get(..room.min(content.len())).unwrap_or_default());
}

fn split(answer: &[u8]) -> (&[u8], &[u8]) {
    let find =
        |mark: &[u8]| answer.windows(mark.len()).position(|window| window == mark).map(|at| (at, at + mark.len()));
    let end = [find(b"\r\n\r\n"), find(b"\n\n")].into_iter().flatten().min();
    let (head, body) = end.unwrap_or((answer.len(), answer.len()));
    (answer.get(..head).unwrap_or_default(), answer.get(body..).unwrap_or_default())
}

/// Without a header it is 200 (CGI 1.1, section 6.3.3).
fn status(head: &[u8]) -> Option<u16> {
    let head = String::from_utf8_lossy(head);
    let value = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("status").then(|| value.trim().to_owned())
    });
    match value {
        None => Some(200),
        Some(value) => value.split(' ').next()?.parse().ok(),
    }
}

fn first_line(text: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(text);
    text.lines().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that is not php-fpm: it answers any request with these records, and tells what it was sent.
    async fn fake(answer: Vec<Vec<u8>>, listener: Option<u32>) -> (Answer, Vec<u8>) {
        let tree = tempfile::tempdir().unwrap();
        let path = tree.path().join("fpm.sock");
        let socket = tokio::net::UnixListener::bind(&path).unwrap();
        let serve = async {
            let Ok((mut stream, _)) = socket.accept().await else { return Vec::new() };
            let mut got = vec![0; 4096];
            let n = stream.read(&mut got).await.unwrap();
            got.truncate(n);
            let _ = stream.write_all(&answer.concat()).await;
            got
        };
        let root = Path::new("/srv/shop/releases/1/public");
        let script = root.join("index.php");
        let question = Question {
            socket: &path,
            document_root: root,
            script: &script,
            uri: "/up?x=1",
            host: "shop.example.org",
            listener,
        };
        tokio::join!(probe(question, None, Duration::from_millis(500)), serve)
    }

    fn ended(exit: u8) -> Vec<u8> {
        record(END_REQUEST, &[0, 0, 0, exit, 0, 0, 0, 0])
    }

    fn verdict(answer: Answer) -> (bool, String) {
        match answer {
            Answer::Probed { healthy, detail } => (healthy, detail),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_page_is_healthy_and_was_asked_as_nginx_asks() {
        let page = record(STDOUT, b"Content-type: text/html\r\n\r\nhello");
        let (answer, got) = fake(vec![page, ended(0)], Some(std::process::id())).await;
        let (healthy, detail) = verdict(answer);
        assert!(healthy && detail.starts_with("200 in "), "{detail}");
        let got = String::from_utf8_lossy(&got);
        for part in [
            "SCRIPT_FILENAME/srv/shop/releases/1/public/index.php",
            "SCRIPT_NAME/index.php",
            "QUERY_STRINGx=1",
            "REQUEST_URI/up?x=1",
            "HTTP_HOSTshop.example.org",
            "REQUEST_METHODGET",
        ] {
            assert!(got.contains(part), "{part} in {got:?}");
        }
    }

    #[tokio::test]
    async fn verdicts() {
        let page = |text: &str| record(STDOUT, text.as_bytes());
        let errors = |text: &str| record(STDERR, text.as_bytes());
        for (records, healthy, detail) in [
            (vec![page("Status: 302 Found\r\n\r\n"), ended(0)], true, "302 in "),
            (vec![page("Status: 404 Not Found\r\n\r\nthe app's own"), ended(0)], true, "404 in "),
            (
                vec![page("Status: 503 X\r\nA: b\r\n\r\n"), errors("PHP message: \x1b[31mboom\nmore"), ended(0)],
                false,
                "PHP message: \\u{1b}[31mboom",
            ),
            (vec![page("Status: 500 X\r\n\r\n\nthe body"), ended(255)], false, "exit status 255: the body"),
            (
                vec![
                    errors("Primary script unknown"),
                    page("Status: 404 Not Found\r\n\r\nFile not found.\n"),
                    ended(0),
                ],
                false,
                "Primary script unknown",
            ),
            (vec![page("Status: 404 Not Found\r\n\r\nFile not found.\n"), ended(0)], false, "File not found."),
            (vec![record(END_REQUEST, &[0, 0, 0, 0, 2, 0, 0, 0])], false, "FastCGI status 2"),
            (vec![page("Status: 200 OK\r\n\r\n")], false, "closed before"),
            (vec![b"HTTP/1.1 400 Bad Request\r\n".to_vec()], false, "does not speak FastCGI"),
        ] {
            let (answer, _) = fake(records, None).await;
            let (was, said) = verdict(answer);
            assert!(was == healthy && said.contains(detail), "{detail}: {was} {said}");
        }
    }

    #[tokio::test]
    async fn each_process_is_asked_and_one_that_fails_fails_the_slot() {
        let tree = tempfile::tempdir().unwrap();
        let path = tree.path().join("fpm.sock");
        let socket = tokio::net::UnixListener::bind(&path).unwrap();
        let root = Path::new("/");
        let question =
            Question { socket: &path, document_root: root, script: root, uri: "/", host: "x", listener: None };
        let answer = async |stream: &mut UnixStream, status: u16| {
            let _ = stream.read(&mut [0; 4096]).await.unwrap();
            let page = record(STDOUT, format!("Status: {status} X\r\n\r\n").as_bytes());
            stream.write_all(&[page, ended(0)].concat()).await.unwrap();
        };
        // Each process takes a connection before the second request of all is there.
        let answers = async |statuses: &[u16]| {
            answer(&mut socket.accept().await.unwrap().0, 200).await;
            let mut taken = Vec::new();
            for _ in 0..3 {
                taken.push(socket.accept().await.unwrap().0);
            }
            for (stream, status) in taken.iter_mut().zip(statuses) {
                answer(stream, *status).await;
            }
        };
        let limit = Duration::from_secs(5);
        let (answered, ()) = tokio::join!(probe_each(question, 3, limit), answers(&[200, 200, 200]));
        assert!(verdict(answered).0);
        let (answered, ()) = tokio::join!(probe_each(question, 3, limit), answers(&[200, 503]));
        let (healthy, said) = verdict(answered);
        assert!(!healthy && said.contains("503"), "{said}");
    }

    #[tokio::test]
    async fn another_process_or_nobody_is_unhealthy() {
        let tree = tempfile::tempdir().unwrap();
        let socket = tree.path().join("sock");
        let root = Path::new("/");
        let question =
            |listener| Question { socket: &socket, document_root: root, script: root, uri: "/", host: "x", listener };
        assert!(verdict(probe(question(None), None, Duration::from_secs(1)).await).1.contains("cannot connect"));
        let _listening = tokio::net::UnixListener::bind(&socket).unwrap();
        let (healthy, detail) = verdict(probe(question(Some(1)), None, Duration::from_secs(1)).await);
        assert!(!healthy && detail.contains("not by process 1"), "{detail}");
        let (healthy, detail) = verdict(probe(question(None), None, Duration::from_millis(50)).await);
        assert!(!healthy && detail == "no answer within 50 ms", "{detail}");
    }

    /// Against php-fpm itself, whose socket and a directory with `index.php` (answers `?status=N`) the caller names.
    #[tokio::test]
    #[ignore = "needs a running php-fpm: DEPLOYD_TEST_FPM_{SOCKET,ROOT,PID}"]
    async fn php_fpm_itself() {
        let name = |name: &str| std::env::var(format!("DEPLOYD_TEST_FPM_{name}")).unwrap();
        let (socket, root) = (name("SOCKET"), name("ROOT"));
        let (socket, root) = (Path::new(&socket), Path::new(&root));
        let listener = Some(name("PID").parse().unwrap());
        for (script, uri, expected, said) in [
            ("index.php", "/?status=200", true, "200 in "),
            ("index.php", "/?status=404", true, "404 in "),
            ("index.php", "/?status=503", false, "503 in "),
            ("absent.php", "/", false, "Primary script unknown"),
        ] {
            let script = root.join(script);
            let question = Question { socket, document_root: root, script: &script, uri, host: "x", listener };
            let (healthy, detail) = verdict(probe(question, None, Duration::from_secs(5)).await);
            println!("{uri} {}: {detail}", script.display());
            assert!(healthy == expected && detail.contains(said), "{uri}: {healthy} {detail}");
        }
    }
}
