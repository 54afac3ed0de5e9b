//! Object paths: systemd's bus-path escaping (`bus_label_escape`), so that `my-shop` is `my_2dshop`.

use zbus::OwnedObjectPath;

use super::{Error, PATH};
use crate::model::{AppName, DeploymentId};

/// One label: letters and digits stay (no digit first), every other byte is `_` and two hexadecimal digits; empty is `_`.
pub fn escape(text: &str) -> String {
    if text.is_empty() {
        return "_".into();
    }
    let mut out = String::with_capacity(text.len() + 8);
    for (at, byte) in text.bytes().enumerate() {
        if byte.is_ascii_alphabetic() || (at > 0 && byte.is_ascii_digit()) {
            out.push(byte.into());
        } else {
            out.push_str(&format!("_{byte:02x}"));
        }
    }
    out
}

/// `/org/deployd1/app/<escaped>`.
pub fn app_path(app: &AppName) -> Result<OwnedObjectPath, Error> {
    path("app", app.as_str())
}

/// `/org/deployd1/deployment/<escaped id>`.
pub fn deployment_path(id: &DeploymentId) -> Result<OwnedObjectPath, Error> {
    path("deployment", id.as_str())
}

fn path(kind: &str, label: &str) -> Result<OwnedObjectPath, Error> {
    let text = format!("{PATH}/{kind}/{}", escape(label));
    OwnedObjectPath::try_from(text).map_err(|e| Error::Failed(format!("no object path for {label}: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_as_systemd_does() {
        // Expectations from systemd's own `sd_bus_path_encode` (man 3 sd_bus_path_encode).
        for (plain, escaped) in [("my-shop", "my_2dshop"), ("shop_2", "shop_5f2"), ("1a", "_31a"), ("", "_")] {
            assert_eq!(escape(plain), escaped);
        }
    }
}
