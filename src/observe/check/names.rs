//! Whether those whom `[access]` names are there, by what the host has for names. May wait for a directory.

use nix::unistd::{Group, User};

use crate::{
    check::Unread,
    config::{Settings, Who},
};

/// Those who are not there.
pub fn strangers(settings: &Settings, unread: &mut Vec<Unread>) -> Vec<Who> {
    let mut strangers = Vec::new();
    for who in settings.access.names() {
        let known = match who {
            Who::User(name) => User::from_name(name).map(|user| user.is_some()),
            Who::Group(name) => Group::from_name(name).map(|group| group.is_some()),
        };
        match known {
            Ok(true) => {}
            Ok(false) => strangers.push(who.clone()),
            Err(error) => {
                unread.push(Unread { what: format!("[access]: {who}"), why: format!("was not looked up: {error}") });
            }
        }
    }
    strangers
}
