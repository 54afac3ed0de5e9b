//! The ports of slots that do not run: whether somebody else listens there.

use std::collections::BTreeSet;

use super::super::Host;
use crate::{
    check::{TakenPort, Unread},
    config::Settings,
    runtime::slot,
};

/// State of a listening socket in /proc/net/tcp (include/net/tcp_states.h).
const LISTEN: &str = "0A";

/// The ports of idle slots on which somebody listens.
pub async fn taken(host: &Host, settings: &Settings, unread: &mut Vec<Unread>) -> Vec<TakenPort> {
    let services = settings.services.iter().filter_map(|service| Some((service, service.slots()?)));
    let with_ports: Vec<_> = services.filter_map(|(service, kind)| Some((service, kind, kind.web()?))).collect();
    if with_ports.is_empty() {
        return Vec::new();
    }
    let listening = listening();
    let mut found = Vec::new();
    for (service, kind, web) in with_ports {
        let pattern = format!("{}@{}:*.service", slot::template(kind), settings.app);
        let active = match host.units.active_states(&pattern).await {
            Ok(active) => active,
            Err(error) => {
                unread.push(Unread { what: pattern, why: error.to_string() });
                continue;
            }
        };
        for (slot, port) in web.slots().filter(|(_, port)| listening.contains(port)) {
            let name = slot::unit(kind, &settings.app, slot).map(|unit| unit.unit().to_string());
            let idle = name.is_ok_and(|name| active.get(&name).is_none_or(|state| state == "inactive"));
            if idle {
                found.push(TakenPort { service: service.name.clone(), slot: slot.to_string(), port });
            }
        }
    }
    found
}

fn listening() -> BTreeSet<u16> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| std::fs::read_to_string(table).unwrap_or_default());
    tables.iter().flat_map(|table| table.lines()).filter_map(port).collect()
}

/// The port of a listening socket's line: `0: 0100007F:1F40 00000000:0000 0A …`.
fn port(line: &str) -> Option<u16> {
    let mut words = line.split_whitespace().skip(1);
    let (local, state) = (words.next()?, words.nth(1)?);
    let (_, port) = local.rsplit_once(':')?;
    u16::from_str_radix(port, 16).ok().filter(|_| state == LISTEN)
}

#[cfg(test)]
mod tests {
    #[test]
    fn listening_ports_are_read() {
        let line = "   0: 0100007F:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1";
        assert_eq!(super::port(line), Some(8000));
        assert_eq!(super::port(&line.replace(" 0A ", " 01 ")), None);
        assert_eq!(super::port("  sl  local_address rem_address   st"), None);
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(super::listening().contains(&socket.local_addr().unwrap().port()));
    }
}
