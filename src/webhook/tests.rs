//! Whole deliveries over a stream, as a web server hands them on, to a bus that only remembers what it was asked.

use std::{
    sync::{Arc, Mutex, atomic::AtomicU64, atomic::Ordering},
    time::Duration,
};

use futures_util::future::{BoxFuture, join_all};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    sync::{Notify, Semaphore},
};

use super::{
    answer::{LARGEST, Receiver, Times},
    ask::{Asked, Asker, Bus, Refusal},
    connection,
    crowd::Crowd,
    replay::Replay,
    secrets::Secrets,
    signature::hex_of,
};
use crate::model::{AppName, DeploymentId};

const SECRET: &str = "the secret of the shop";
const BODY: &str = r#"{"ref":"refs/heads/main","after":"6113728f27ae82c7b1a177c8d03f9e96e0adf246"}"#;

/// Deploys `main` and tags; answers when it may.
struct FakeBus {
    asked: Mutex<Vec<String>>,
    may_answer: Semaphore,
    was_asked: Notify,
    next: AtomicU64,
    fails: Mutex<bool>,
}

impl FakeBus {
    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

struct Shared(Arc<FakeBus>);

impl Bus for Shared {
    fn deploy(&self, app: AppName, reference: String) -> BoxFuture<'static, Asked> {
        let bus = Arc::clone(&self.0);
        Box::pin(async move {
            bus.asked.lock().unwrap().push(format!("{app} {reference}"));
            bus.was_asked.notify_one();
            bus.may_answer.acquire().await.unwrap().forget();
            if *bus.fails.lock().unwrap() {
                return Err(Refusal::Failed("it is gone".into()));
            }
            let allowed = reference == "refs/heads/main" || reference.starts_with("refs/tags/");
            let id = DeploymentId::from_bits(bus.next.fetch_add(1, Ordering::Relaxed));
            if allowed { Ok(id) } else { Err(Refusal::Denied) }
        })
    }
}

struct Scene {
    bus: Arc<FakeBus>,
    receiver: Arc<Receiver>,
    _dir: tempfile::TempDir,
}

impl Scene {
    /// Whose bus answers so many calls.
    fn new(answers: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (credentials, state) = (dir.path().join("credentials"), dir.path().join("state"));
        for dir in [&credentials, &state] {
            std::fs::create_dir(dir).unwrap();
        }
        for (name, secret) in
            [("shop", SECRET), ("shop.next", "the next one of the shop"), ("other", "the other's secret")]
        {
            std::fs::write(credentials.join(format!("secret_{name}")), secret).unwrap();
        }
        let bus = Arc::new(FakeBus {
            asked: Mutex::default(),
            may_answer: Semaphore::new(answers),
            was_asked: Notify::new(),
            next: AtomicU64::new(1),
            fails: Mutex::new(false),
        });
        let receiver = Receiver {
            secrets: Secrets::read(&credentials).unwrap_or_else(|error| panic!("{error}")),
            replay: Replay::open(state).unwrap(),
            asker: Asker::new(Arc::new(Shared(bus.clone()))),
            crowd: Crowd::default(),
            times: Times { head: Duration::from_millis(200), body: Duration::from_millis(400), ..Times::default() },
        };
        Self { bus, receiver: Arc::new(receiver), _dir: dir }
    }

    /// A connection that is served; how its task ended comes with the second.
    async fn connect(&self) -> (DuplexStream, tokio::task::JoinHandle<()>) {
        let (client, server) = duplex(64 * 1024);
        let place = self.receiver.crowd.enter().await;
        (client, tokio::spawn(connection::serve(server, self.receiver.clone(), place)))
    }

    /// Sends a request, and reads the answer to its end.
    async fn send(&self, bytes: &[u8]) -> String {
        self.exchange(bytes, false).await
    }

    /// The same of one that is cut off there.
    async fn send_and_leave(&self, bytes: &[u8]) -> String {
        self.exchange(bytes, true).await
    }

    async fn exchange(&self, bytes: &[u8], leave: bool) -> String {
        let (mut client, served) = self.connect().await;
        // Who is refused early is not read to the end.
        let _ = client.write_all(bytes).await;
        if leave {
            let _ = client.shutdown().await;
        }
        let mut answer = Vec::new();
        let _ = client.read_to_end(&mut answer).await;
        served.await.expect("no request ends the task");
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// The status of a delivery.
    async fn status(&self, request: &str) -> u16 {
        let answer = self.send(request.as_bytes()).await;
        answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{answer:?}"))
    }
}

fn post(path: &str, headers: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: h\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len())
}

/// As GitHub sends.
fn github(path: &str, secret: &str, id: &str, event: &str, body: &str) -> String {
    let signature = hex_of(secret.as_bytes(), body.as_bytes());
    let headers =
        format!("x-github-event: {event}\r\nx-github-delivery: {id}\r\nx-hub-signature-256: sha256={signature}\r\n");
    post(path, &headers, body)
}

fn numbered(number: usize) -> String {
    BODY.replace("}", &format!(",\"number\":{number}}}"))
}

#[tokio::test]
async fn a_delivery_of_each_forge_asks_for_its_ref() {
    let scene = Scene::new(100);
    let answer = scene.send(github("/shop", SECRET, "1", "push", BODY).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 202 ") && answer.contains("\"deployment\":\"0000000000000001\""), "{answer}");
    let signed = |number: usize| (numbered(number), hex_of(SECRET.as_bytes(), numbered(number).as_bytes()));
    for (number, forge) in ["gitea", "forgejo"].into_iter().enumerate() {
        let (body, hex) = signed(number);
        let headers = format!("x-{forge}-event: push\r\nx-{forge}-delivery: 1\r\nx-{forge}-signature: {hex}\r\n");
        assert_eq!(scene.status(&post("/shop", &headers, &body)).await, 202, "{forge}");
    }
    let lab = format!("x-gitlab-event: Tag Push Hook\r\nx-gitlab-event-uuid: 7\r\nx-gitlab-token: {SECRET}\r\n");
    assert_eq!(scene.status(&post("/shop", &lab, &BODY.replace("heads/main", "tags/v1"))).await, 202);
    let main = "shop refs/heads/main";
    assert_eq!(scene.bus.asked(), [main, main, main, "shop refs/tags/v1"]);
    // WH-12: by the second secret too.
    let next = github("/shop", "the next one of the shop", "9", "push", &numbered(9));
    assert_eq!(scene.status(&next).await, 202);
}

/// WH-01, WH-08: whatever is wrong, the answer is the same, and nobody is asked.
#[tokio::test]
async fn who_has_not_signed_is_told_the_same() {
    let scene = Scene::new(100);
    let good = github("/shop", SECRET, "1", "push", BODY);
    let hex = hex_of(SECRET.as_bytes(), BODY.as_bytes());
    let wrong = [
        github("/shop", "another secret of somebody", "1", "push", BODY),
        github("/shop", "the other's secret", "1", "push", BODY),
        github("/other", SECRET, "1", "push", BODY),
        github("/nobody", SECRET, "1", "push", BODY),
        github("/../etc/shop", SECRET, "1", "push", BODY),
        github("/shop/", SECRET, "1", "push", BODY),
        github("/shop.next", SECRET, "1", "push", BODY),
        github("/%73hop", SECRET, "1", "push", BODY),
        good.replace(&hex, &hex.to_uppercase()),
        good.replace(&hex, &hex[..63]),
        good.replace(&hex, ""),
        good.replace("sha256=", ""),
        good.replace("x-hub-signature-256: sha256=", "x-hub-signature: sha1="),
        good.replace("x-github-event", &format!("x-hub-signature-256: sha256={hex}\r\nx-github-event")),
        good.replace("x-github-event: push\r\n", ""),
        good.replace("main", "evil"),
        post("/shop", "x-gitlab-event: Push Hook\r\nx-gitlab-token: the secret of the sho\r\n", BODY),
        post("/shop", "x-gitlab-event: Push Hook\r\nx-gitlab-token:\r\n", BODY),
        post("/shop", "", BODY),
        // Nothing is read of what nobody signed.
        post("/shop", "x-github-event: push\r\n", "{"),
    ];
    let first = scene.send(wrong[0].as_bytes()).await;
    assert!(first.starts_with("HTTP/1.1 401 "), "{first}");
    let without_date =
        |answer: &str| answer.lines().filter(|line| !line.starts_with("date")).collect::<Vec<_>>().join("\n");
    for request in &wrong {
        let answer = scene.send(request.as_bytes()).await;
        assert_eq!(without_date(&answer), without_date(&first), "{request}");
    }
    assert!(scene.bus.asked().is_empty());
    assert_eq!(scene.status(&good).await, 202, "and nothing was used up");
}

/// WH-03
#[tokio::test]
async fn a_delivery_is_used_once_but_one_that_failed_may_come_again() {
    let scene = Scene::new(100);
    *scene.bus.fails.lock().unwrap() = true;
    let delivery = github("/shop", SECRET, "1", "push", BODY);
    assert_eq!(scene.status(&delivery).await, 503);
    *scene.bus.fails.lock().unwrap() = false;
    assert_eq!(scene.status(&delivery).await, 202);
    assert_eq!(scene.status(&delivery).await, 409);
    assert_eq!(scene.status(&github("/shop", SECRET, "2", "push", BODY)).await, 409, "the body by another name");
    assert_eq!(scene.status(&github("/shop", SECRET, "1", "push", &numbered(1))).await, 409, "another by its name");
    assert_eq!(scene.bus.asked().len(), 2);
}

/// WH-04
#[tokio::test]
async fn a_body_that_is_too_large_or_of_no_length_is_not_read() {
    let scene = Scene::new(100);
    let head = |headers: &str| format!("POST /shop HTTP/1.1\r\nhost: h\r\n{headers}\r\n");
    assert_eq!(scene.status(&head(&format!("content-length: {}\r\n", LARGEST + 1))).await, 413);
    assert_eq!(scene.status(&head("content-length: 99999999999999999999\r\n")).await, 400);
    assert_eq!(scene.status(&head("transfer-encoding: chunked\r\n")).await, 411);
    assert_eq!(scene.status(&head("transfer-encoding: chunked\r\ncontent-length: 5\r\n")).await, 411);
    assert_eq!(scene.status(&head("content-length: 5\r\ntransfer-encoding: chunked\r\n")).await, 411);
    assert_eq!(scene.status(&format!("{}hello", head("content-length: 5\r\ncontent-length: 6\r\n"))).await, 400);
    assert_eq!(scene.status(&head("")).await, 411);
    // Shorter than it says.
    let lying = github("/shop", SECRET, "1", "push", BODY).replace("\r\n{", "\r\n");
    let answer = scene.send_and_leave(lying.as_bytes()).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert_eq!(scene.status(&format!("GET /shop HTTP/1.1\r\nhost: h\r\n{}\r\n", "x-a: 1\r\n".repeat(70))).await, 431);
    assert_eq!(scene.status("GET /shop HTTP/1.1\r\nhost: h\r\n\r\n").await, 405);
    assert!(scene.bus.asked().is_empty());
    // The largest that is allowed.
    let large = BODY.replace("}", &format!(",\"x\":\"{}\"}}", "y".repeat(LARGEST - BODY.len() - 7)));
    assert_eq!(large.len(), LARGEST);
    assert_eq!(scene.status(&github("/shop", SECRET, "1", "push", &large)).await, 202);
}

/// WH-06
#[tokio::test]
async fn what_moves_nothing_or_is_not_allowed_deploys_nothing() {
    let scene = Scene::new(100);
    let gone = r#"{"ref":"refs/heads/main","after":"0000000000000000000000000000000000000000","deleted":true}"#;
    for (event, body, status) in [
        ("ping", "{}", 200),
        ("issues", "{}", 200),
        ("push", gone, 200),
        ("push", "{", 400),
        ("push", "ref=main", 400),
        ("push", &BODY.replace("main", "ma in"), 400),
        ("push", &"[".repeat(100_000), 400),
    ] {
        assert_eq!(scene.status(&github("/shop", SECRET, "1", event, body)).await, status, "{event} {body:.80}");
    }
    assert!(scene.bus.asked().is_empty());
    let topic = scene.send(github("/shop", SECRET, "1", "push", &BODY.replace("main", "topic")).as_bytes()).await;
    assert!(topic.starts_with("HTTP/1.1 200 ") && topic.contains("not deployed by webhook"), "{topic}");
}

/// WH-07: those that come while a call is under way share the next one, which begins after them.
#[tokio::test]
async fn a_burst_is_two_calls() {
    let scene = Scene::new(0);
    let mut clients = Vec::new();
    for number in 0..100 {
        let (mut client, _) = scene.connect().await;
        client
            .write_all(github("/shop", SECRET, &number.to_string(), "push", &numbered(number)).as_bytes())
            .await
            .unwrap();
        if number == 0 {
            scene.bus.was_asked.notified().await;
        }
        clients.push(client);
    }
    // Until all of them have been verified and wait: nothing else is left to run.
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    scene.bus.may_answer.add_permits(100);
    let answers = join_all(clients.into_iter().map(|mut client| async move {
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        answer
    }))
    .await;
    let of = |id: &str| answers.iter().filter(|answer| answer.contains(&format!("\"deployment\":\"{id}\""))).count();
    assert_eq!((of("0000000000000001"), of("0000000000000002")), (1, 99));
    assert_eq!(scene.bus.asked().len(), 2);
}

/// WH-05: a head and a body have their time, and no more.
#[tokio::test]
async fn who_is_slow_is_ended() {
    let scene = Scene::new(1);
    let request = github("/shop", SECRET, "1", "push", BODY);
    let body = request.find("\r\n\r\n").unwrap() + 4;
    for until in [0, 20, body, body + 10] {
        let (mut client, served) = scene.connect().await;
        client.write_all(&request.as_bytes()[..until]).await.unwrap();
        let mut answer = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(5), client.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "{until}: still open");
        served.await.unwrap();
        let answer = String::from_utf8_lossy(&answer);
        assert!(until < body || answer.starts_with("HTTP/1.1 408 "), "{until}: {answer}");
    }
    assert!(scene.bus.asked().is_empty());
}

/// WH-13: any bytes at all; a panic would end the task.
#[tokio::test]
async fn no_request_ends_the_receiver() {
    let scene = Scene::new(usize::MAX >> 4);
    let seed = github("/shop", SECRET, "1", "push", BODY).into_bytes();
    let mut state = 1_u64;
    let mut below = |end: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 11).unwrap() % end.max(1)
    };
    let long = std::env::var("DEPLOYD_ATTACK").is_ok_and(|text| text == "long");
    let rounds = if long { 1_000_000 } else { 3000 };
    for _ in 0..rounds {
        let mut request = seed.clone();
        for _ in 0..=below(4) {
            let at = below(request.len());
            match below(4) {
                0 if !request.is_empty() => request[at] = u8::try_from(below(256)).unwrap(),
                1 => drop(request.drain(at..(at + below(40)).min(request.len()))),
                2 => request.truncate(at.max(1)),
                _ => request.splice(at..at, b"\r\n: \0{\"[".iter().copied().take(below(8))).for_each(drop),
            }
        }
        scene.send_and_leave(&request).await;
    }
    scene.receiver.crowd.empty_for(Duration::ZERO).await;
    assert_eq!(scene.status(&github("/shop", SECRET, "last", "push", &numbered(1))).await, 202);
    println!("webhook: {rounds} requests that are none");
}
