//! `[[notify]]`: who is told how a deployment ended. Pure.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{
    On, check,
    context::Context,
    errors::{Place, Problem},
    root_file,
    tree::Table,
    written::Reader,
};

/// Who is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Notify {
    /// How.
    pub way: Way,
    /// Only of such ends; none: of every one.
    pub on: Option<On>,
}

/// How somebody is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// A webhook that takes Slack's messages.
    Slack(Address),
    /// A webhook that takes the record as JSON.
    Webhook(Address),
    /// `sendmail`.
    Mail {
        /// To whom.
        to: String,
        /// From whom; none: what the mail system makes of the app's user.
        from: Option<String>,
    },
}

/// A webhook's address, which is a secret: who knows it may post.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Address {
    /// As it was written.
    Url(String),
    /// In a file of root's.
    File(PathBuf),
}

/// All of them, in order.
pub(super) fn notify(cx: &mut Context<'_>, top: &mut Reader<'_>, root: Option<&Path>) -> Vec<Notify> {
    let tables = top.tables("notify", &mut cx.problems).unwrap_or_default();
    tables.into_iter().filter_map(|(table, place)| one(cx, table, place, root)).collect()
}

fn one(cx: &mut Context<'_>, table: &Table, place: &Place, root: Option<&Path>) -> Option<Notify> {
    let mut reader = Reader::new(table, "[[notify]]");
    let kind = cx.word(&mut reader, "kind", &["slack", "webhook", "mail"]);
    let on = match cx.word(&mut reader, "on", &["failure", "success", "always"]) {
        Some("failure") => Some(On::Failure),
        Some("success") => Some(On::Success),
        _ => None,
    };
    let way = match kind {
        Some("mail") => mail(cx, &mut reader, place),
        Some(kind) => address(cx, &mut reader, place, root).map(|address| match kind {
            "slack" => Way::Slack(address),
            _ => Way::Webhook(address),
        }),
        None => {
            if !table.contains_key("kind") {
                let problem = Problem::new("a notification has no kind").at(place);
                cx.problems.push(problem.help("write kind = \"slack\", \"webhook\" or \"mail\""));
            }
            return None;
        }
    };
    reader.finish(&mut cx.problems);
    Some(Notify { way: way?, on })
}

fn address(cx: &mut Context<'_>, reader: &mut Reader<'_>, place: &Place, root: Option<&Path>) -> Option<Address> {
    if let Some(at) = reader.text("url", "https://hooks.example.org/…", &mut cx.problems) {
        return cx.take(check::hook_url(&at.value), &at.place).map(|()| Address::Url(at.value));
    }
    if let Some(at) = reader.text("url_file", "/etc/deployd/secrets/slack", &mut cx.problems) {
        return root_file::checked(cx, &at, root).map(Address::File);
    }
    let problem = Problem::new("a webhook has no address").at(place);
    cx.problems
        .push(problem.help("write url_file = \"/etc/deployd/secrets/slack\", a file of root's with the address"));
    None
}

fn mail(cx: &mut Context<'_>, reader: &mut Reader<'_>, place: &Place) -> Option<Way> {
    let mut mailbox = |key: &'static str| {
        let at = reader.text(key, "ops@example.org", &mut cx.problems)?;
        let plain =
            at.value.contains('@') && at.value.bytes().all(|b| b.is_ascii_graphic() && !b",;<>\"()".contains(&b));
        if plain && at.value.len() <= 254 && !at.value.starts_with('-') {
            return Some(at.value);
        }
        let problem = Problem::new(format!("{:?} is not a mail address", at.value)).at(&at.place);
        cx.problems.push(problem.help("write one like \"ops@example.org\""));
        None
    };
    let (to, from) = (mailbox("to"), mailbox("from"));
    if to.is_none() && reader.key_place("to").is_none() {
        cx.problems.push(Problem::new("a mail has nobody to go to").at(place).help("write to = \"ops@example.org\""));
    }
    Some(Way::Mail { to: to?, from })
}
