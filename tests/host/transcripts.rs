//! The transcripts in org.deployd1(5): every command of them is run, and what it says is what the manual shows, but for ids,
//! times and names of connections, which are the same in all of them. busctl runs in the host; gdbus and Python's dbus_next
//! run beside it, on its bus.

use std::{process::Command, time::Duration};

use crate::{
    common::{eventually, installed},
    support::{
        command,
        host::Host,
        manual,
        shop::{Shop, Spec},
    },
};

const PAGE: &str = "org.deployd1.5";
/// A commit, a release and a deployment, and the second in which it became live.
const COMMIT: &str = "1a2b3c4d";
const RELEASE: &str = "20260131T120000Z-1a2b3c4d";
const DEPLOYMENT: &str = "a123456789abcdef";
const MOMENT: &str = "1769860800";

/// The commands of a transcript; a line that ends in a backslash goes on in the next.
fn commands(part: &str) -> Vec<String> {
    let mut commands: Vec<String> = Vec::new();
    let mut open = false;
    for line in manual::shown(PAGE, part).lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            commands.push(command.to_owned());
        } else if open && let Some(last) = commands.last_mut() {
            *last = format!("{last}\n{line}");
        } else {
            continue;
        }
        open = line.ends_with('\\');
    }
    assert!(!commands.is_empty(), "the manual has no commands in {part}");
    commands
}

/// What differs from run to run, made the same.
fn same(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    let mut before = ' ';
    while let Some(next) = rest.chars().next() {
        let (put, taken) = match variable(rest).filter(|_| !before.is_ascii_alphanumeric()) {
            Some((put, taken)) => (put.to_owned(), taken),
            None => (next.to_string(), next.len_utf8()),
        };
        before = put.chars().next_back().unwrap_or(' ');
        out += &put;
        rest = &rest[taken..];
    }
    out
}

/// What stands here, if it is something that varies, and how long it is.
fn variable(text: &str) -> Option<(&'static str, usize)> {
    let run = |text: &str, is: fn(char) -> bool| text.chars().take_while(|c| is(*c)).count();
    let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    let digit = |c: char| c.is_ascii_digit();
    let word = run(text, |c| c.is_ascii_alphanumeric());
    if word == 16 && text.as_bytes()[8] == b'T' && text[..8].chars().all(digit) && text[16..].starts_with('-') {
        // The second one within a second has a number behind it.
        let nth = text[25..].strip_prefix('.').map_or(0, |rest| run(rest, |c| c.is_ascii_digit()));
        return Some((RELEASE, if nth == 0 { 25 } else { 26 + nth }));
    }
    if word == 16 && text[..16].chars().all(hex) {
        return Some((DEPLOYMENT, 16));
    }
    // In a path a digit at the beginning is escaped.
    let escaped = text.strip_prefix("_3").filter(|rest| run(rest, |c| c.is_ascii_alphanumeric()) == 16);
    if escaped.is_some_and(|id| id[..16].chars().all(hex)) {
        return Some((DEPLOYMENT, 18));
    }
    if word > 0 && text[..word].chars().all(digit) && text[word..].starts_with(" ms") {
        return Some(("300", word));
    }
    if word == 10 && text[..10].chars().all(digit) {
        return Some((MOMENT, 10));
    }
    if let Some(rest) = text.strip_prefix(":1.") {
        return Some((":1.7", 3 + run(rest, |c| c.is_ascii_digit())));
    }
    if let Some(rest) = text.strip_prefix("Cookie=") {
        return Some(("Cookie=9", 7 + run(rest, |c| c.is_ascii_digit())));
    }
    let stamp = text.strip_prefix("Timestamp=\"")?;
    Some(("Timestamp=\"Sat 2026-01-31 12:00:00.000000 UTC\"", 11 + stamp.find('"')? + 1))
}

/// Runs a transcript's commands as a person would, one after the other, and holds the manual to what was seen.
fn replay(part: &str, mut run: impl FnMut(&str) -> String) {
    let seen: String = commands(part).iter().map(|command| format!("$ {command}\n{}", run(command))).collect();
    manual::hold(PAGE, part, &same(&seen));
}

/// In the host. What ends in `&` goes on until `fg`, which shows what it has said when the deployment has ended.
fn in_host(host: &Host, command: &str) -> String {
    if let Some(command) = command.strip_suffix(" &") {
        let output = ["-p", "StandardOutput=file:/tmp/seen", "-p", "StandardError=file:/tmp/ready"];
        let run = ["systemd-run", "-q", "--unit=monitor", output[0], output[1], output[2], output[3], "sh", "-c"];
        host.ok(&[&run[..], &[&format!("exec {command}")]].concat());
        eventually("it listens", Duration::from_secs(20), || host.run(&["test", "-s", "/tmp/ready"]).status == 0);
        return String::new();
    }
    if command == "fg" {
        let seen = || host.read("/tmp/seen");
        eventually("the end is told", Duration::from_secs(60), || {
            seen().split("Member=DeploymentRemoved").nth(1).is_some_and(|last| last.contains("};"))
        });
        host.ok(&["systemctl", "stop", "monitor"]);
        return seen();
    }
    host.sh(command)
}

/// On this machine, with the host's system bus as its own.
fn beside(host: &Host, command: &str) -> String {
    let mut shell = Command::new("sh");
    shell.args(["-euc", command]).env_clear().env("PATH", "/usr/bin:/bin").env("LANG", "C.UTF-8");
    shell.env("DBUS_SYSTEM_BUS_ADDRESS", format!("unix:path=/proc/{}/root/run/dbus/system_bus_socket", host.leader()));
    command::run(shell, b"").ok()
}

fn over(host: &Host) {
    let waits = ["systemctl", "list-units", "--plain", "--no-legend", "deploy-run@*", "--state=activating"];
    eventually("it has ended", Duration::from_secs(60), || host.run(&waits).stdout.is_empty());
    host.ok(&["systemctl", "start", "--wait", "deploy-settle@shop"]);
}

#[test]
fn what_the_manual_shows_of_the_bus_is_what_one_sees() {
    let host = installed();
    let spec = Spec { laravel: false, over: Some("app-small"), ..Spec::new("shop") };
    let shop = Shop::make(&host, spec.more("shared = [\"storage/\"]\n"));
    shop.deploy(&host);
    over(&host);
    host.ok(&["systemctl", "stop", "deployd"]);
    replay("busctl", |command| in_host(&host, command));
    over(&host);
    replay("gdbus", |command| beside(&host, command));
    over(&host);
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("deploy.py"), manual::shown(PAGE, "deploy.py")).expect("it is ours");
    replay("python", |command| beside(&host, &format!("cd {}; exec {command}", dir.path().display())));
    over(&host);
}

#[test]
fn what_varies_is_made_the_same_and_nothing_else() {
    for (text, is) in [
        (":1.42 x :1.7", ":1.7 x :1.7"),
        ("o \"/a/_30ff00ff00ff00ff0\" f0ff00ff00ff00ff", "o \"/a/a123456789abcdef\" a123456789abcdef"),
        ("20261121T200727Z-ffffffff live", "20260131T120000Z-1a2b3c4d live"),
        ("Cookie=123  Timestamp=\"Mon 2026 x\"", "Cookie=9  Timestamp=\"Sat 2026-01-31 12:00:00.000000 UTC\""),
        ("x 1700000000 in 7 ms", "x 1769860800 in 300 ms"),
        ("a00ff00ff00ff00ff 17000000001 deadbeef", "a00ff00ff00ff00ff 17000000001 deadbeef"),
    ] {
        assert_eq!(same(text), is);
    }
    assert!(RELEASE.ends_with(COMMIT));
}
