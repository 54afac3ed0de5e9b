//! A transient service as a value, and the D-Bus properties it becomes. No I/O.

use std::{collections::BTreeMap, os::fd::OwnedFd, path::PathBuf, time::Duration};

use zbus::{Fd, Variant};

use super::proxy::Pair;
use crate::model::{UnitName, printable};

/// `MS_REC` (mount(2)): a bind mount with what is mounted below it, as `BindPaths=` does without an option.
const RECURSIVE: u64 = 0x4000;

/// A transient service. Properties beyond these go into `properties`.
#[derive(Debug, Default)]
pub struct Transient {
    /// Full name, unique: it carries the deployment's id.
    pub name: String,
    /// For `systemctl status`.
    pub description: String,
    /// argv, verbatim: no variable in it is expanded. The program's path is absolute.
    pub exec: Vec<String>,
    /// User name, never empty. PID 1 sets HOME, LOGNAME, SHELL and USER for it unless `environment` names them.
    pub user: String,
    /// Absolute.
    pub working_directory: Option<String>,
    /// Variables.
    pub environment: BTreeMap<String, String>,
    /// Killed with this unit (`BindsTo=` without `After=`).
    pub binds_to: Option<UnitName>,
    /// `deployd-shop.slice`.
    pub slice: Option<String>,
    /// `LogExtraFields=`: name to value.
    pub journal_fields: BTreeMap<String, String>,
    /// `SyslogIdentifier=`.
    pub identifier: String,
    /// Standard input and output as descriptors; without them null and the journal. Standard error: the journal.
    pub stdio: Option<(OwnedFd, OwnedFd)>,
    /// `LoadCredential=`: what PID 1 hands over, by name.
    pub credentials: Vec<(String, PathBuf)>,
    /// `RuntimeMaxSec=`; none: no limit.
    pub limit: Option<Duration>,
    /// Every other property: name to value.
    pub properties: BTreeMap<&'static str, Property>,
}

/// A value of a unit's property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Property {
    /// `b`
    Bool(bool),
    /// `s`
    Text(String),
    /// `as`
    Texts(Vec<String>),
    /// `t`
    Number(u64),
    /// `u`
    Word(u32),
    /// `i`
    Int(i32),
    /// `a(ssbt)`: bind mounts, source and destination
    Binds(Vec<(String, String)>),
    /// `a(sb)`: files that must be there
    Files(Vec<String>),
    /// `ay`: bits, the lowest first
    Bits(Vec<u8>),
    /// `(bas)`, one after the other as the lines of a unit's file: what of the system calls, address families, … is
    /// allowed (true), or is not.
    Filter(Vec<(bool, Vec<String>)>),
}

impl Transient {
    /// The unit's properties, as StartTransientUnit takes them. The descriptors go with them.
    pub(super) fn into_properties(self) -> Vec<Pair> {
        let text = |value: &str| Variant::from(value.to_owned());
        let mut out: Vec<Pair> = vec![
            ("Description", text(&self.description)),
            // Started once the program runs, so that one that cannot be executed fails the start.
            ("Type", text("exec")),
            // Kept until UnrefUnit, so that its result can be read; then forgotten even when it failed.
            ("AddRef", Variant::from(true)),
            ("CollectMode", text("inactive-or-failed")),
            ("User", text(&self.user)),
            ("SyslogIdentifier", text(&self.identifier)),
            ("StandardError", text("journal")),
        ];
        let program = self.exec.first().cloned().unwrap_or_default();
        // PID 1 expands `$VAR` in arguments that come over D-Bus too, and takes `$$` for a `$`. ExecStartEx has a flag
        // against it, but systemd 252 cannot read that again from the unit's file: a daemon-reload would end it.
        let literal = self.exec.iter().map(|argument| argument.replace('$', "$$")).collect::<Vec<_>>();
        out.push(("ExecStart", Variant::from(vec![(program, literal, false)])));
        if let Some(directory) = &self.working_directory {
            out.push(("WorkingDirectory", text(directory)));
        }
        if !self.environment.is_empty() {
            let assigned: Vec<String> =
                self.environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
            out.push(("Environment", Variant::from(assigned)));
        }
        if let Some(unit) = &self.binds_to {
            out.push(("BindsTo", Variant::from(vec![unit.to_string()])));
        }
        if let Some(slice) = &self.slice {
            out.push(("Slice", text(slice)));
        }
        if !self.journal_fields.is_empty() {
            // PID 1 writes them into its own messages line by line: a newline would begin another field.
            let field = |(name, value): (&String, &String)| format!("{name}={}", printable(value)).into_bytes();
            let fields: Vec<Vec<u8>> = self.journal_fields.iter().map(field).collect();
            out.push(("LogExtraFields", Variant::from(fields)));
        }
        match self.stdio {
            Some((input, output)) => {
                out.push(("StandardInputFileDescriptor", Variant::from(Fd::from(input))));
                out.push(("StandardOutputFileDescriptor", Variant::from(Fd::from(output))));
                // PID 1 takes a standard error of the same kind for the same file (can_inherit_stderr_from_stdout in
                // its execute.c), and the default kind is the journal: what is said there would go into the descriptor.
                out.push(("StandardOutput", text("null")));
            }
            None => {
                out.push(("StandardInput", text("null")));
                out.push(("StandardOutput", text("journal")));
            }
        }
        if !self.credentials.is_empty() {
            let file = |(name, file): (String, PathBuf)| (name, file.display().to_string());
            let files: Vec<(String, String)> = self.credentials.into_iter().map(file).collect();
            out.push(("LoadCredential", Variant::from(files)));
        }
        if let Some(limit) = self.limit {
            out.push(("RuntimeMaxUSec", Variant::from(u64::try_from(limit.as_micros()).unwrap_or(u64::MAX))));
        }
        for (name, value) in self.properties {
            out.extend(value.into_variants().into_iter().map(|value| (name, value)));
        }
        out
    }
}

impl Property {
    /// What it is set to, in this order.
    fn into_variants(self) -> Vec<Variant<'static>> {
        let value = match self {
            Self::Bool(value) => value.into(),
            Self::Text(value) => value.into(),
            Self::Texts(values) => values.into(),
            Self::Number(value) => value.into(),
            Self::Word(value) => value.into(),
            Self::Int(value) => value.into(),
            Self::Binds(binds) => {
                let bind = |(source, destination)| (source, destination, false, RECURSIVE);
                Variant::from(binds.into_iter().map(bind).collect::<Vec<(String, String, bool, u64)>>())
            }
            Self::Files(files) => {
                Variant::from(files.into_iter().map(|file| (file, false)).collect::<Vec<(String, bool)>>())
            }
            Self::Bits(bytes) => bytes.into(),
            Self::Filter(lines) => return lines.into_iter().map(Variant::from).collect(),
        };
        vec![value]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signature(pairs: &[Pair], name: &str) -> Option<String> {
        pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| value.value_signature().to_string())
    }

    fn spec() -> Transient {
        Transient { name: "x.service".into(), exec: vec!["/bin/echo".into(), "$HOME".into()], ..Transient::default() }
    }

    #[test]
    fn properties_have_the_types_that_systemd_takes() {
        let null = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        let properties = BTreeMap::from([
            ("BindReadOnlyPaths", Property::Binds(vec![("/a".into(), "/b".into())])),
            ("SystemCallFilter", Property::Filter(vec![(true, vec!["@system-service".into()])])),
            ("NoNewPrivileges", Property::Bool(true)),
            ("Nice", Property::Int(5)),
            ("CPUAffinity", Property::Bits(vec![2])),
            ("CPUWeight", Property::Number(20)),
            ("EnvironmentFiles", Property::Files(vec!["/etc/x".into()])),
            ("ReadWritePaths", Property::Texts(vec!["/srv".into()])),
            ("ProtectSystem", Property::Text("strict".into())),
        ]);
        let journal_fields = BTreeMap::from([("DEPLOYD_APP".to_owned(), "shop".to_owned())]);
        let limit = Some(Duration::from_secs(2));
        let stdio = Some((null(), null()));
        let pairs = Transient { properties, journal_fields, limit, stdio, ..spec() }.into_properties();
        for (name, expected) in [
            ("ExecStart", "a(sasb)"),
            ("LogExtraFields", "aay"),
            ("RuntimeMaxUSec", "t"),
            ("StandardInputFileDescriptor", "h"),
            ("StandardOutputFileDescriptor", "h"),
            ("AddRef", "b"),
            ("BindReadOnlyPaths", "a(ssbt)"),
            ("SystemCallFilter", "(bas)"),
            ("NoNewPrivileges", "b"),
            ("Nice", "i"),
            ("CPUAffinity", "ay"),
            ("CPUWeight", "t"),
            ("EnvironmentFiles", "a(sb)"),
            ("ReadWritePaths", "as"),
            ("ProtectSystem", "s"),
        ] {
            assert_eq!(signature(&pairs, name).as_deref(), Some(expected), "{name}");
        }
        assert_eq!(signature(&pairs, "StandardInput"), None);
        let kind = |name| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string());
        assert_ne!(kind("StandardOutput"), kind("StandardError"), "or errors would go into the descriptor");
    }

    #[test]
    fn a_journal_field_cannot_begin_another() {
        let journal_fields = BTreeMap::from([("DEPLOYD_STEP".to_owned(), "a\nPRIORITY=0".to_owned())]);
        let pairs = Transient { journal_fields, ..spec() }.into_properties();
        let fields = pairs.into_iter().find(|(name, _)| *name == "LogExtraFields").unwrap().1;
        let fields = Vec::<Vec<u8>>::try_from(fields).unwrap();
        assert_eq!(fields, [b"DEPLOYD_STEP=a\\nPRIORITY=0".to_vec()]);
    }
}
