//! What a forge tells, from a body that was verified: a ref that has a new commit, or nothing that is for us. Pure.

use serde::Deserialize;

use crate::model::printable;

/// The deepest nesting of a body; a push has five.
const DEEPEST: usize = 64;
/// The longest ref, in bytes.
const LONGEST: usize = 255;
/// What a forge gives as the commit of a ref that is gone.
const GONE: &str = "0000000000000000000000000000000000000000";

/// What a delivery means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A branch or a tag has a new commit: its whole name, `refs/heads/main`, `refs/tags/v1`.
    Moved(String),
    /// Nothing is to be done, and why.
    Nothing(&'static str),
}

/// What an event is about, whatever a forge calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Commits or a tag were pushed.
    Push,
    /// A branch or a tag was made.
    Create,
    /// A release was published.
    Release,
    /// Any other.
    Other,
}

impl Kind {
    /// By the word of any forge.
    pub fn of(event: &str) -> Self {
        match event {
            "push" | "Push Hook" | "Tag Push Hook" => Kind::Push,
            "create" => Kind::Create,
            "release" | "Release Hook" => Kind::Release,
            _ => Kind::Other,
        }
    }
}

#[derive(Deserialize)]
struct Push {
    #[serde(rename = "ref")]
    reference: String,
    after: String,
    #[serde(default)]
    deleted: bool,
}

#[derive(Deserialize)]
struct Create {
    #[serde(rename = "ref")]
    name: String,
    ref_type: String,
}

#[derive(Deserialize)]
struct Release {
    action: String,
    /// GitLab's.
    tag: Option<String>,
    /// The others'.
    release: Option<Published>,
}

#[derive(Deserialize)]
struct Published {
    tag_name: String,
    #[serde(default)]
    draft: bool,
}

/// Reads a body. The error says what is wrong with it, without quoting it.
pub fn read(kind: Kind, body: &[u8]) -> Result<Event, String> {
    if kind == Kind::Other {
        return Ok(Event::Nothing("this event moves no branch or tag"));
    }
    if is_deep(body) {
        return Err("the body is nested too deeply".into());
    }
    match kind {
        Kind::Push => push(parsed(body)?),
        Kind::Create => create(parsed(body)?),
        _ => release(parsed(body)?),
    }
}

fn parsed<'b, T: Deserialize<'b>>(body: &'b [u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| {
        let place = format!("line {}, column {}", error.line(), error.column());
        format!("the body is not what the event has, in JSON ({place}); is its content type application/json?")
    })
}

fn push(push: Push) -> Result<Event, String> {
    let gone = push.after.len() >= GONE.len() && push.after.bytes().all(|byte| byte == b'0');
    if push.deleted || gone {
        return Ok(Event::Nothing("the branch or tag was removed"));
    }
    if !push.reference.starts_with("refs/heads/") && !push.reference.starts_with("refs/tags/") {
        return Ok(Event::Nothing("it is neither a branch nor a tag"));
    }
    moved(push.reference)
}

fn create(create: Create) -> Result<Event, String> {
    match create.ref_type.as_str() {
        "tag" => moved(format!("refs/tags/{}", create.name)),
        // A push tells of it too.
        _ => Ok(Event::Nothing("a branch that was made is pushed too")),
    }
}

fn release(release: Release) -> Result<Event, String> {
    match (release.action.as_str(), release.release, release.tag) {
        ("published", Some(Published { tag_name, draft: false }), _) => moved(format!("refs/tags/{tag_name}")),
        ("create", _, Some(tag)) => moved(format!("refs/tags/{tag}")),
        _ => Ok(Event::Nothing("no release was published")),
    }
}

/// A ref by git's own rules (git-check-ref-format); `deployd` and the worker check it again.
fn moved(reference: String) -> Result<Event, String> {
    let odd = |c: char| c.is_control() || c.is_whitespace() || "~^:?*[\\".contains(c);
    let part = |p: &str| p.is_empty() || p.starts_with(['.', '-']) || p.ends_with('.') || p.ends_with(".lock");
    let bad = reference.len() > LONGEST
        || reference.contains("..")
        || reference.contains("@{")
        || reference.chars().any(odd)
        || printable(&reference) != reference
        || reference.split('/').any(part);
    if bad { Err("the ref is none that git allows".into()) } else { Ok(Event::Moved(reference)) }
}

/// Whether brackets are nested deeper than any forge has them; what is within texts does not count.
fn is_deep(body: &[u8]) -> bool {
    let (mut depth, mut text, mut escaped) = (0_usize, false, false);
    for byte in body {
        match (text, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => text = !text,
            (false, b'[' | b'{') => depth += 1,
            (false, b']' | b'}') => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEEPEST {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "6113728f27ae82c7b1a177c8d03f9e96e0adf246";

    fn of(event: &str, body: &str) -> Result<Event, String> {
        read(Kind::of(event), body.as_bytes())
    }

    fn push(reference: &str) -> String {
        format!(
            "{{\"ref\":\"{reference}\",\"before\":\"{GONE}\",\"after\":\"{COMMIT}\",\"commits\":[{{\"id\":[[1]]}}]}}"
        )
    }

    #[test]
    fn a_push_a_tag_and_a_release_name_a_ref() {
        let moved = |name: &str| Ok(Event::Moved(name.into()));
        for event in ["push", "Push Hook", "Tag Push Hook"] {
            assert_eq!(of(event, &push("refs/heads/main")), moved("refs/heads/main"), "{event}");
            assert_eq!(of(event, &push("refs/tags/v1.2")), moved("refs/tags/v1.2"), "{event}");
        }
        assert_eq!(of("create", r#"{"ref":"v1","ref_type":"tag"}"#), moved("refs/tags/v1"));
        let published = r#"{"action":"published","release":{"tag_name":"v1","draft":false,"x":{}}}"#;
        assert_eq!(of("release", published), moved("refs/tags/v1"));
        assert_eq!(of("Release Hook", r#"{"action":"create","tag":"v2"}"#), moved("refs/tags/v2"));
    }

    /// WH-06: nothing of it is a deployment.
    #[test]
    fn what_moves_nothing_is_nothing() {
        let gone = format!("{{\"ref\":\"refs/heads/main\",\"after\":\"{GONE}\"}}");
        let deleted = push("refs/heads/main").replace("\"before\"", "\"deleted\":true,\"before\"");
        for (event, body) in [
            ("push", gone.as_str()),
            ("push", &deleted),
            ("push", &push("refs/merge-requests/1/head")),
            ("push", &push("main")),
            ("create", r#"{"ref":"topic","ref_type":"branch"}"#),
            ("release", r#"{"action":"deleted","release":{"tag_name":"v1"}}"#),
            ("release", r#"{"action":"published","release":{"tag_name":"v1","draft":true}}"#),
            ("Release Hook", r#"{"action":"delete","tag":"v1"}"#),
            ("ping", "{}"),
            ("issues", "no JSON at all"),
        ] {
            assert!(matches!(of(event, body), Ok(Event::Nothing(_))), "{event} {body}: {:?}", of(event, body));
        }
    }

    /// WH-06: refused, and nothing of it is quoted.
    #[test]
    fn what_is_no_body_of_a_push_is_refused() {
        let twice = push("refs/heads/main").replace("{\"ref\"", "{\"ref\":\"refs/heads/a\",\"ref\"");
        let deep = format!(
            "{{\"ref\":\"refs/heads/main\",\"after\":\"{COMMIT}\",\"x\":{}1{}}}",
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        for body in [
            "",
            "null",
            "[]",
            "{",
            "ref=main",
            "{\"ref\":1,\"after\":\"x\"}",
            "{\"after\":\"x\"}",
            &"[".repeat(100_000),
            &deep,
            &twice,
            &push("refs/heads/a\\nb"),
            &push("refs/heads/../x"),
            &push("refs/heads/-x"),
            &push("refs/heads/"),
            &push("refs/heads/a b"),
            &push("refs/heads/a..b"),
            &push(&format!("refs/heads/{}", "a".repeat(250))),
        ] {
            let said = of("push", body);
            assert!(said.as_ref().is_err_and(|why| !why.contains("main")), "{said:?}");
        }
        assert!(of("create", r#"{"ref":"-x","ref_type":"tag"}"#).is_err());
        assert!(of("release", r#"{"action":"published","release":{"tag_name":"../x"}}"#).is_err());
    }
}
