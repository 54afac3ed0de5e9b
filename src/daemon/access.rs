//! Whether `[access]` names a caller. The user is the one that the bus vouches for; names and groups are looked up at that
//! moment, in what the host has for it (files, directories). What cannot be looked up names nobody.

use std::ffi::CString;

use nix::unistd::{Gid, Group, Uid, User, getgrouplist};

use crate::{
    config::{Access, Right, Who},
    dbus::Action,
    model::Request,
};

/// What must name the caller: every one of these lists. `None`: the table has none for that.
pub fn rights(action: Action, request: Option<&Request>, other_ref: bool) -> Option<Vec<Right>> {
    let first = match action {
        Action::Deploy | Action::DeployOtherRef => Right::Deploy,
        Action::Stage => Right::Stage,
        Action::Activate => Right::Activate,
        Action::Rollback => Right::Rollback,
        Action::Cancel => Right::Cancel,
        Action::ReadLogs => Right::ReadLogs,
        Action::Upload => Right::Upload,
        Action::Hold => Right::Hold,
        Action::Prune => Right::Prune,
        // It has no effects, whatever it is of.
        Action::Plan => return Some(vec![Right::Plan]),
        // What an app says may be anybody's secret.
        Action::Key | Action::RotateKey | Action::ReadServiceLogs => return None,
    };
    let more = request.map(|request| {
        [
            (other_ref, Right::DeployOtherRef),
            (request.force, Right::Force),
            (request.allow.destructive, Right::AllowDestructive),
            (request.allow.key_rotation, Right::AllowKeyRotation),
            (request.allow.run_again, Right::RunAgain),
        ]
    });
    let more = more.into_iter().flatten().filter_map(|(asked, right)| asked.then_some(right));
    Some([first].into_iter().chain(more).collect())
}

/// Who users and groups are.
pub trait Names {
    /// The number of a user.
    fn user(&self, name: &str) -> Option<u32>;
    /// Whether a user is in a group, as the first one or another.
    fn is_member(&self, uid: u32, group: &str) -> bool;
}

/// Whether all of these lists name the user.
pub fn names(access: &Access, rights: &[Right], uid: u32, names: &dyn Names) -> bool {
    let is_named = |who: &Who| match who {
        Who::User(name) => names.user(name) == Some(uid),
        Who::Group(group) => names.is_member(uid, group),
    };
    !rights.is_empty() && rights.iter().all(|right| access.of(*right).iter().any(is_named))
}

/// The host's own. May wait for a directory.
pub struct Nss;

impl Names for Nss {
    fn user(&self, name: &str) -> Option<u32> {
        User::from_name(name).ok().flatten().map(|user| user.uid.as_raw())
    }

    fn is_member(&self, uid: u32, group: &str) -> bool {
        let Some(group) = Group::from_name(group).ok().flatten() else { return false };
        groups(uid).is_some_and(|groups| groups.contains(&group.gid))
    }
}

fn groups(uid: u32) -> Option<Vec<Gid>> {
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten()?;
    let name = CString::new(user.name).ok()?;
    getgrouplist(&name, user.gid).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Actor, Allow, DeploymentId, Kind};

    /// `ci` is 1001, `ann` 1002 and in `web`.
    struct Fake;

    impl Names for Fake {
        fn user(&self, name: &str) -> Option<u32> {
            [("ci", 1001), ("ann", 1002)].into_iter().find(|(known, _)| *known == name).map(|(_, uid)| uid)
        }
        fn is_member(&self, uid: u32, group: &str) -> bool {
            (uid, group) == (1002, "web")
        }
    }

    fn request(kind: Kind) -> Request {
        Request {
            app: "shop".parse().unwrap(),
            id: DeploymentId::from_bits(1),
            kind,
            reference: None,
            release: None,
            force: false,
            allow: Allow::default(),
            upload: false,
            actor: Actor::Bus { uid: 1, user: None },
        }
    }

    #[test]
    fn a_list_names_users_and_the_members_of_groups_and_nobody_else() {
        let user = |name: &str| Who::User(name.into());
        let access: Access = [
            (Right::Deploy, vec![user("ci"), Who::Group("web".into()), user("gone")]),
            (Right::Force, vec![user("ann")]),
            (Right::Rollback, vec![]),
        ]
        .into_iter()
        .collect();
        let is = |rights: &[Right], uid| names(&access, rights, uid, &Fake);
        assert!(is(&[Right::Deploy], 1001) && is(&[Right::Deploy], 1002));
        assert!(is(&[Right::Deploy, Right::Force], 1002));
        assert!(!is(&[Right::Deploy, Right::Force], 1001), "each list must name him");
        for uid in [0, 1000, 1003, 65_534] {
            assert!(!is(&[Right::Deploy], uid), "{uid}");
        }
        for right in [Right::Rollback, Right::Stage] {
            assert!(!is(&[right], 1001), "an empty list, or none, names nobody");
        }
        assert!(!is(&[], 1001));
        // A user's name is no group's, nor the other way round.
        let crossed: Access = [(Right::Deploy, vec![user("web"), Who::Group("ann".into())])].into_iter().collect();
        assert!(!names(&crossed, &[Right::Deploy], 1002, &Fake));
    }

    #[test]
    fn what_lets_more_pass_needs_a_list_of_its_own() {
        let all = Allow { destructive: true, key_rotation: true, run_again: true };
        let more = Request { force: true, allow: all, ..request(Kind::Activate) };
        let needed = rights(Action::Activate, Some(&more), false).unwrap();
        let own = [Right::Force, Right::AllowDestructive, Right::AllowKeyRotation, Right::RunAgain];
        assert_eq!(needed, [&[Right::Activate][..], &own].concat());
        for (action, other_ref, needed) in [
            (Action::Deploy, false, vec![Right::Deploy]),
            (Action::Deploy, true, vec![Right::Deploy, Right::DeployOtherRef]),
            (Action::Stage, true, vec![Right::Stage, Right::DeployOtherRef]),
            (Action::Upload, false, vec![Right::Upload]),
            (Action::Plan, true, vec![Right::Plan]),
        ] {
            assert_eq!(rights(action, Some(&request(Kind::Deploy)), other_ref), Some(needed), "{action:?}");
        }
        for (action, needed) in
            [(Action::Cancel, Right::Cancel), (Action::Hold, Right::Hold), (Action::Prune, Right::Prune)]
        {
            assert_eq!(rights(action, None, false), Some(vec![needed]), "{action:?}");
        }
        assert_eq!((rights(Action::Key, None, false), rights(Action::RotateKey, None, false)), (None, None));
    }
}
