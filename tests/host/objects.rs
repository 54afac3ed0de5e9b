//! Objects that come, change and go on the bus: whoever listens at the ObjectManager sees apps and deployments, and of each
//! what changes, without asking.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use futures_util::StreamExt;
use zbus::{Connection, MatchRule, MessageStream, OwnedVariant, connection, message::Type};

use crate::{
    common::installed,
    support::{
        host::Host,
        shop::{Shop, Spec},
    },
};

const MORE: &str =
    "shared = [\"storage/\"]\n[[step]]\nname = \"think\"\nrun = [\"sleep\", \"1\"]\n[[health]]\nbake = \"1s\"\n";

/// What was heard: the signal, its object, and what it says.
type Heard = Vec<(String, String, String)>;

async fn listen(host: &Host) -> (Connection, MessageStream) {
    let address = format!("unix:path=/proc/{}/root/run/dbus/system_bus_socket", host.leader());
    let bus = connection::Builder::address(address.as_str()).build().await.expect("the host's bus is there");
    let rule = MatchRule::builder().msg_type(Type::Signal).sender("org.deployd1").build().expect("a rule");
    let signals =
        MessageStream::for_match_rule(rule, &bus, std::num::NonZero::new(4096)).await.expect("everyone may listen");
    (bus, signals)
}

/// Listens until something of it is heard.
async fn until(signals: &mut MessageStream, heard: &mut Heard, what: &str, is_it: impl Fn(&Heard) -> bool) {
    let limit = Instant::now() + Duration::from_secs(60);
    while !is_it(heard) {
        let left = limit.saturating_duration_since(Instant::now());
        let next = tokio::time::timeout(left, signals.next()).await;
        let Ok(Some(Ok(signal))) = next else { panic!("{what} was not heard, but {heard:#?}") };
        let header = signal.header();
        let member = header.member().map(ToString::to_string).unwrap_or_default();
        let path = header.path().map(ToString::to_string).unwrap_or_default();
        let (path, says) = match member.as_str() {
            "PropertiesChanged" => {
                let (_, changed, _): (String, BTreeMap<String, OwnedVariant>, Vec<String>) =
                    signal.body().deserialize().expect("as it is specified");
                (path, format!("{changed:?}"))
            }
            "InterfacesAdded" => {
                let (object, all): (zbus::OwnedObjectPath, BTreeMap<String, BTreeMap<String, OwnedVariant>>) =
                    signal.body().deserialize().expect("as it is specified");
                (object.to_string(), format!("{all:?}"))
            }
            "InterfacesRemoved" => {
                let (object, all): (zbus::OwnedObjectPath, Vec<String>) =
                    signal.body().deserialize().expect("as it is specified");
                (object.to_string(), all.join(" "))
            }
            _ => (path, String::new()),
        };
        heard.push((member, path, says));
    }
}

fn has(heard: &Heard, member: &str, path: &str, says: &str) -> bool {
    heard.iter().any(|(m, p, s)| m == member && p.starts_with(path) && s.contains(says))
}

#[test]
fn apps_and_deployments_come_change_and_go_by_themselves() {
    let host = installed();
    Shop::make(&host, Spec { laravel: false, over: Some("app-small"), ..Spec::new("shop") }.more(MORE));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        host.ok(&["deployctl", "list"]);
        let (_bus, mut signals) = listen(&host).await;
        let mut heard = Heard::new();
        let app = "/org/deployd1/app/shop";

        // By systemd: deployd was not asked, and tells of it.
        host.ok(&["systemctl", "start", "--no-block", "deploy@shop"]);
        let deployment = "/org/deployd1/deployment/";
        let ended = |heard: &Heard| has(heard, "PropertiesChanged", deployment, "succeeded");
        until(&mut signals, &mut heard, "the end", ended).await;
        assert!(has(&heard, "InterfacesAdded", deployment, "deploy@shop.service"), "its unit: {heard:#?}");
        // Of what is over at once only the last is told.
        for told in ["staging", "think", "\"Fraction\"", "\"Release\""] {
            assert!(has(&heard, "PropertiesChanged", deployment, told), "{told}: {heard:#?}");
        }
        let confirmed = |heard: &Heard| has(heard, "PropertiesChanged", app, "\"Confirmed\": OwnedVariant(Bool(true))");
        until(&mut signals, &mut heard, "that it is confirmed", confirmed).await;
        assert!(has(&heard, "PropertiesChanged", app, "\"Current\""), "{heard:#?}");

        // A description that is written is an app, and one that is removed is none.
        host.write(
            "/etc/deployd/apps/blog.toml",
            "root = \"/srv/blog\"\nuser = \"shop\"\nsource.directory = \"/srv/build/shop\"\n",
        );
        let blog = "/org/deployd1/app/blog";
        until(&mut signals, &mut heard, "the app", |heard| has(heard, "InterfacesAdded", blog, "org.deployd1.App"))
            .await;
        host.ok(&["rm", "/etc/deployd/apps/blog.toml"]);
        until(&mut signals, &mut heard, "its end", |heard| has(heard, "InterfacesRemoved", blog, "org.deployd1.App"))
            .await;
    });
}
