//! etcd's HTTP gateway (version 3): the few calls that a semaphore needs, at whichever member answers.

use std::{
    cell::{Cell, RefCell},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use http_body_util::Full;
use hyper::{Request, Uri, body::Bytes};
use serde_json::{Value, json};

use super::{
    lines::Lines,
    trust::{Tls, trusted},
};
use crate::{
    model::printable,
    worker::http::{json_post, send},
};

/// For one call at one member.
const CALL: Duration = Duration::from_secs(5);
/// The longest detail, in characters.
const MAX_DETAIL: usize = 300;
/// What gRPC calls its errors (google.rpc.Code).
const DEADLINE_EXCEEDED: i64 = 4;
const NOT_FOUND: i64 = 5;
const UNAVAILABLE: i64 = 14;
const UNAUTHENTICATED: i64 = 16;

/// Why a call was not answered as asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// No member answered: it may later.
    Unreachable(String),
    /// It was refused.
    Refused(String),
    /// What was named is not there.
    NotFound(String),
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreachable(why) => write!(f, "etcd cannot be reached: {why}"),
            Self::Refused(why) | Self::NotFound(why) => write!(f, "etcd refused: {why}"),
        }
    }
}

/// A member's error.
struct Said {
    code: i64,
    message: String,
}

/// etcd.
pub struct Etcd {
    members: Vec<String>,
    /// Who answered last.
    at: Cell<usize>,
    login: Option<(String, String)>,
    token: RefCell<Option<String>>,
    tls: Tls,
}

impl Etcd {
    /// Its members' addresses; a user with a password.
    pub fn new(members: Vec<String>, login: Option<(String, String)>, tls: Tls) -> Self {
        Self { members, at: Cell::new(0), login, token: RefCell::default(), tls }
    }

    /// Calls a method, `/v3/…`, at each member until one answers.
    pub async fn call(&self, method: &str, body: &Value) -> Result<Value, Trouble> {
        self.at_any(async |member| self.ask(member, method, body).await).await
    }

    /// Watches all keys that begin so, from a revision on. Returns at the first change of one, or when it can no longer
    /// be told.
    pub async fn changed(&self, prefix: &str, from: i64) -> Result<(), Trouble> {
        let request = json!({ "key": encoded(prefix), "range_end": encoded(&after(prefix)), "start_revision": from });
        let body = json!({ "create_request": request });
        self.at_any(async |member| self.watch(member, &body).await).await
    }

    /// What a member answers to somebody who is logged in: once more after a login that has run out.
    async fn at_any<T>(&self, ask: impl AsyncFn(&str) -> Result<T, Problem>) -> Result<T, Trouble> {
        if self.login.is_some() && self.token.borrow().is_none() {
            self.log_in().await?;
        }
        let again = Cell::new(self.login.is_some());
        let asked = self.each(async |member| match ask(member).await {
            Err(Problem::Said(said)) if said.is_login() && again.take() => {
                self.log_in().await.map_err(Problem::Final)?;
                ask(member).await
            }
            other => other,
        });
        asked.await
    }

    async fn log_in(&self) -> Result<(), Trouble> {
        let Some((user, password)) = &self.login else { return Ok(()) };
        let body = json!({ "name": user, "password": password });
        *self.token.borrow_mut() = None;
        let answer = self.each(async |member| self.ask(member, "auth/authenticate", &body).await).await;
        let answer = answer.map_err(|trouble| match trouble {
            // It is the login that is not there, not what is asked for after it.
            Trouble::NotFound(why) => Trouble::Refused(why),
            other => other,
        })?;
        *self.token.borrow_mut() = answer["token"].as_str().map(str::to_owned);
        Ok(())
    }

    /// What one member answers: the one that answered last, or the next when it does not.
    async fn each<T>(&self, ask: impl AsyncFn(&str) -> Result<T, Problem>) -> Result<T, Trouble> {
        let mut last = String::new();
        // A call and a watch may be under way at once: each goes its own way from the one that answered last.
        let first = self.at.get();
        for (number, member) in self.members.iter().enumerate().cycle().skip(first).take(self.members.len()) {
            match ask(member).await {
                Ok(answer) => {
                    self.at.set(number);
                    return Ok(answer);
                }
                Err(Problem::Said(Said { code: NOT_FOUND, message })) => return Err(Trouble::NotFound(message)),
                Err(Problem::Said(Said { code: UNAVAILABLE | DEADLINE_EXCEEDED, message })) => last = message,
                Err(Problem::Said(said)) => return Err(Trouble::Refused(said.message)),
                Err(Problem::Unreachable(why)) => last = why,
                Err(Problem::Final(trouble)) => return Err(trouble),
            }
        }
        Err(Trouble::Unreachable(last))
    }

    fn request(&self, member: &str, method: &str, body: &Value) -> Result<(Uri, Request<Full<Bytes>>), Problem> {
        let no_url = || Problem::Unreachable(format!("{} is no url", printable(member)));
        let uri: Uri = format!("{member}/v3/{method}").parse().map_err(|_| no_url())?;
        let request = match &*self.token.borrow() {
            Some(token) => json_post(&uri).header("authorization", token),
            None => json_post(&uri),
        };
        let request = request.body(Full::new(Bytes::from(body.to_string()))).map_err(|_| no_url())?;
        Ok((uri, request))
    }

    async fn ask(&self, member: &str, method: &str, body: &Value) -> Result<Value, Problem> {
        let (uri, request) = self.request(member, method, body)?;
        let sent = tokio::time::timeout(CALL, send(&uri, None, request, || trusted(&self.tls))).await;
        let response = sent.map_err(|_| no_answer(member))?.map_err(Problem::unreachable)?;
        let status = response.status().as_u16();
        let answer: Value = serde_json::from_slice(response.body()).map_err(|_| not_etcd(member, status))?;
        if status == 200 && !answer["error"].is_object() {
            return Ok(answer);
        }
        Err(Problem::of(&answer, member, status))
    }

    async fn watch(&self, member: &str, body: &Value) -> Result<(), Problem> {
        let (uri, request) = self.request(member, "watch", body)?;
        let opened = tokio::time::timeout(CALL, Lines::open(&uri, request, || trusted(&self.tls))).await;
        let mut lines = opened.map_err(|_| no_answer(member))?.map_err(Problem::unreachable)?;
        while let Some(line) = lines.next().await.map_err(Problem::unreachable)? {
            let answer: Value = serde_json::from_slice(&line).map_err(|_| not_etcd(member, lines.status))?;
            if lines.status != 200 || answer["error"].is_object() {
                return Err(Problem::of(&answer, member, lines.status));
            }
            let result = &answer["result"];
            let events = result["events"].as_array().is_some_and(|events| !events.is_empty());
            if events {
                return Ok(());
            }
            if result["canceled"] == Value::Bool(true) {
                let why = result["cancel_reason"].as_str().unwrap_or("it gave no reason");
                return Err(Problem::unreachable(format!("{member} ended the watch: {why}")));
            }
        }
        Err(Problem::Unreachable(format!("{} ended the watch", printable(member))))
    }
}

/// Why a member did not answer as asked.
enum Problem {
    /// Another one may.
    Unreachable(String),
    /// By its own words.
    Said(Said),
    /// No other needs to be asked.
    Final(Trouble),
}

impl Problem {
    fn unreachable(why: String) -> Self {
        Self::Unreachable(printable(&why).chars().take(MAX_DETAIL).collect())
    }

    /// The gateway's own form of an error; within a stream it is an object of its own.
    fn of(answer: &Value, member: &str, status: u16) -> Self {
        let inner = if answer["error"].is_object() { &answer["error"] } else { answer };
        let code = ["code", "grpc_code"].iter().find_map(|key| inner[*key].as_i64());
        let message = inner["message"].as_str().or(inner["error"].as_str());
        match (code, message) {
            (Some(code), Some(message)) => {
                Self::Said(Said { code, message: printable(message).chars().take(MAX_DETAIL).collect() })
            }
            _ => not_etcd(member, status),
        }
    }
}

impl Said {
    /// Whether the login has run out, or was never known to this member.
    fn is_login(&self) -> bool {
        let words =
            ["invalid auth token", "revision in header is old", "revision of auth store is old", "user name is empty"];
        self.code == UNAUTHENTICATED || words.iter().any(|word| self.message.contains(word))
    }
}

fn no_answer(member: &str) -> Problem {
    Problem::Unreachable(format!("{} gave no answer within {} s", printable(member), CALL.as_secs()))
}

fn not_etcd(member: &str, status: u16) -> Problem {
    Problem::Unreachable(format!("{} answered {status}, not as etcd's gateway does", printable(member)))
}

/// As the gateway takes and gives bytes.
pub fn encoded(text: &str) -> String {
    STANDARD.encode(text)
}

/// The text of such bytes; nothing when it is none.
pub fn decoded(value: &Value) -> Option<String> {
    String::from_utf8(STANDARD.decode(value.as_str()?).ok()?).ok()
}

/// A 64-bit number, which the gateway gives as a text.
pub fn number(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

/// The end of the range of all keys that begin so.
pub fn after(prefix: &str) -> String {
    let mut text = prefix.to_owned();
    // Every prefix here ends with a slash.
    if text.pop() == Some('/') { text + "0" } else { format!("{prefix}\u{7f}") }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    #[test]
    fn all_that_begins_so_is_up_to_the_next_byte() {
        assert_eq!(after("/a/"), "/a0");
        assert_eq!((number(&json!("12")), number(&json!(12)), number(&json!(null))), (Some(12), Some(12), None));
        assert_eq!(decoded(&json!(encoded("é"))), Some("é".into()));
        assert_eq!(decoded(&json!("?")), None);
    }

    /// Answers as members do, in turn, each time at a connection of its own; gives what was asked for and by which token.
    async fn answering(answers: &[(usize, &str)], members: [&TcpListener; 2]) -> Vec<String> {
        let mut asked = Vec::new();
        for (number, answer) in answers {
            let (mut stream, _) = members[*number].accept().await.unwrap();
            let mut request = vec![0; 4096];
            let n = stream.read(&mut request).await.unwrap();
            stream.write_all(format!("HTTP/1.1 {answer}").as_bytes()).await.unwrap();
            let request = String::from_utf8_lossy(&request[..n]).into_owned();
            let token = request.lines().find_map(|line| line.strip_prefix("authorization: ")).unwrap_or("-");
            asked.push(format!("{} {token}", request.split(' ').nth(1).unwrap()));
        }
        asked
    }

    #[tokio::test]
    async fn the_next_member_is_asked_and_a_login_that_ran_out_is_made_anew_once() {
        const AWAY: &str = "503 No\r\n\r\n{\"code\":14,\"message\":\"no leader\"}";
        const OUT: &str = "401 No\r\n\r\n{\"code\":16,\"message\":\"etcdserver: invalid auth token\"}";
        const IN: [&str; 2] = ["200 OK\r\n\r\n{\"token\":\"one\"}", "200 OK\r\n\r\n{\"token\":\"two\"}"];
        const DONE: &str = "200 OK\r\n\r\n{\"done\":1}";
        const LOGIN: &str = "/v3/auth/authenticate";
        const PUT: &str = "/v3/kv/put";
        let listen = || TcpListener::bind("127.0.0.1:0");
        let (a, b) = (listen().await.unwrap(), listen().await.unwrap());
        let members = [&a, &b].map(|one| format!("http://{}", one.local_addr().unwrap())).to_vec();
        let etcd = Etcd::new(members, Some(("u".into(), "p".into())), None);
        let body = json!({});
        // The login and the call go on at the member that answers; what has run out there is made anew there.
        let said = [(0, AWAY), (1, IN[0]), (1, OUT), (1, IN[1]), (1, DONE)];
        let (asked, answer) = tokio::join!(answering(&said, [&a, &b]), etcd.call("kv/put", &body));
        assert_eq!(answer.unwrap()["done"], 1);
        let expected = [(LOGIN, "-"), (LOGIN, "-"), (PUT, "one"), (LOGIN, "-"), (PUT, "two")];
        assert_eq!(asked, expected.map(|(path, token)| format!("{path} {token}")));
        // Once, and no more; and a login that is not there is no key that is not there.
        let (_, answer) =
            tokio::join!(answering(&[(1, OUT), (1, IN[0]), (1, OUT)], [&a, &b]), etcd.call("kv/put", &body));
        assert_eq!(answer, Err(Trouble::Refused("etcdserver: invalid auth token".into())));
        let gone = [(1, OUT), (1, "404 No\r\n\r\n{\"code\":5,\"message\":\"Not Found\"}")];
        let (_, answer) = tokio::join!(answering(&gone, [&a, &b]), etcd.call("kv/put", &body));
        assert_eq!(answer, Err(Trouble::Refused("Not Found".into())));
        let (_, answer) = tokio::join!(answering(&[(1, AWAY), (0, AWAY)], [&a, &b]), etcd.call("kv/put", &body));
        assert_eq!(answer, Err(Trouble::Unreachable("no leader".into())));
    }
}
