//! nginx's own judgement of its configuration: `nginx -T`, run by PID 1 in a unit of its own, since the engine's sandbox
//! lets nobody open nginx's logs.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read, Seek},
    path::Path,
    time::Duration,
};

use rustix::fs::{MemfdFlags, memfd_create};

use super::error::EngineError;
use crate::{
    model::{UnitName, printable},
    observe::Host,
    system::units::{Property, Transient, UnitError},
};

/// What nginx's program is called; OpenResty's starts it by a link.
const NGINX: [&str; 2] = ["nginx", "openresty"];
/// Its options that say which configuration it is, each with a value (nginx(8)).
const WHICH: [&str; 4] = ["-c", "-p", "-e", "-g"];
/// The longest that the test may take: it resolves the names of upstreams.
const LIMIT: Duration = Duration::from_secs(30);
/// The most that is read of the configuration, in bytes.
const MOST: u64 = 16 * 1024 * 1024;

/// What nginx says.
#[derive(Debug, PartialEq, Eq)]
pub enum Tested {
    /// It would take its configuration, which is this text.
    Good(String),
    /// It would not, and why.
    Bad(String),
    /// The unit's program is not nginx, or is not there.
    Unknown,
}

/// Has the nginx that a unit runs read the configuration that it would start with.
pub async fn test(host: &Host, unit: &UnitName) -> Result<Tested, EngineError> {
    let exec = host.units.stop_settings(unit).await?.exec;
    let Some(exec) = exec.iter().find_map(|argv| test_command(argv)) else { return Ok(Tested::Unknown) };
    if !host.paths.host(Path::new(&exec[0])).is_file() {
        return Ok(Tested::Unknown);
    }
    let io = |error: std::io::Error| {
        EngineError::Unit(UnitError::Call { what: "take nginx's words".into(), detail: error.to_string() })
    };
    let output = memfd_create("nginx-test", MemfdFlags::CLOEXEC).map_err(|error| io(error.into()))?;
    let mut output = File::from(output);
    let null = File::open("/dev/null").map_err(io)?;
    let spec = Transient {
        name: format!("deploy-nginx-test-{}.service", std::process::id()),
        description: "Test of nginx's configuration".into(),
        exec,
        user: "root".into(),
        binds_to: host.own_unit.clone(),
        identifier: "nginx-test".into(),
        stdio: Some((null.into(), output.try_clone().map_err(io)?.into())),
        limit: Some(LIMIT),
        properties: BTreeMap::from([("StandardError", Property::Text("inherit".into()))]),
        ..Transient::default()
    };
    let running = host.units.run(spec).await?;
    let exit = host.units.wait(running).await?;
    output.rewind().map_err(io)?;
    let mut bytes = Vec::new();
    output.take(MOST).read_to_end(&mut bytes).map_err(io)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Ok(if exit.result == "success" { Tested::Good(text) } else { Tested::Bad(complaint(&text)) })
}

/// `nginx -T` with the options of the unit's command that say which configuration is meant. None: it is not nginx.
fn test_command(argv: &[String]) -> Option<Vec<String>> {
    let (program, options) = argv.split_first()?;
    let path = Path::new(program);
    if !path.is_absolute() || !NGINX.iter().any(|name| path.file_name().is_some_and(|file| file == *name)) {
        return None;
    }
    let mut command = vec![program.clone()];
    let mut options = options.iter();
    while let Some(option) = options.next() {
        if WHICH.contains(&option.as_str()) {
            command.extend([option.clone(), options.next()?.clone()]);
        }
    }
    command.push("-T".into());
    Some(command)
}

/// The first line that says what is wrong.
fn complaint(text: &str) -> String {
    let wrong = text.lines().find(|line| line.contains("[emerg]") || line.contains("[crit]"));
    let line = wrong.or_else(|| text.lines().last()).unwrap_or("it does not say why");
    printable(line.trim()).chars().take(300).collect()
}

/// Whether the configuration that was read includes a file.
pub fn includes(text: &str, file: &Path) -> bool {
    let line = format!("# configuration file {}:", file.display());
    text.lines().any(|found| found == line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_complaint_is_the_line_that_matters() {
        let text = "nginx: [warn] x\nnginx: [emerg] unknown directive \"foo\" in /etc/nginx/sites-enabled/a:3\n\
                    nginx: configuration file /etc/nginx/nginx.conf test failed\n";
        assert!(complaint(text).contains("unknown directive \"foo\" in /etc/nginx/sites-enabled/a:3"));
        assert_eq!(complaint(""), "it does not say why");
    }

    #[test]
    fn the_test_reads_what_the_unit_would_start_with() {
        let command = |line: &[&str]| test_command(&line.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert_eq!(
            command(&["/usr/sbin/nginx", "-g", "daemon on; master_process on;"]).unwrap(),
            ["/usr/sbin/nginx", "-g", "daemon on; master_process on;", "-T"]
        );
        assert_eq!(
            command(&["/opt/openresty/bin/openresty", "-q", "-c", "/etc/web.conf"]).unwrap(),
            ["/opt/openresty/bin/openresty", "-c", "/etc/web.conf", "-T"]
        );
        assert_eq!(command(&["/usr/sbin/apache2", "-k", "start"]), None);
        assert_eq!(command(&["nginx"]), None, "which one is PID 1's secret");
        assert_eq!(command(&["/usr/sbin/nginx", "-c"]), None);
    }

    #[test]
    fn an_include_is_known_by_the_line_before_it() {
        let text =
            "# configuration file /etc/nginx/nginx.conf:\nx\n# configuration file /run/deployd/a/upstream-http.conf:\n";
        assert!(includes(text, Path::new("/run/deployd/a/upstream-http.conf")));
        assert!(!includes(text, Path::new("/run/deployd/a/upstream-octane.conf")));
    }
}
