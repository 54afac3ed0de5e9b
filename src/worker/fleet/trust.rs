//! Whom the fleet's semaphore must be, and who this host is to it: certificates that PID 1 handed over.

use std::{io::ErrorKind, sync::Arc};

use tokio_rustls::rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use crate::{
    system::credentials,
    worker::{
        fleet_order::{AUTHORITY, CERTIFICATE, KEY},
        http::{host_roots, trusting},
    },
};

/// Of any of these files, in bytes.
const LARGEST: u64 = 1024 * 1024;

/// By what a server is trusted; none: no server is reached by https.
pub type Tls = Option<Arc<ClientConfig>>;

/// The same for a connection that needs it.
pub fn trusted(tls: &Tls) -> Result<Arc<ClientConfig>, String> {
    tls.clone().ok_or_else(|| "nobody was to be reached by https".to_owned())
}

/// TLS with what this process was handed: an authority, which alone is trusted then, and a certificate with its key.
pub fn trust() -> Result<Arc<ClientConfig>, String> {
    let roots = match credential(AUTHORITY)? {
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(AUTHORITY, &pem)? {
                roots.add(certificate).map_err(|error| format!("the file of ca_file: {error}"))?;
            }
            roots
        }
        None => host_roots(),
    };
    let config = trusting(roots)?;
    let config = match (credential(CERTIFICATE)?, credential(KEY)?) {
        (Some(certificate), Some(key)) => {
            let key = PrivateKeyDer::from_pem_slice(&key).map_err(|error| format!("the file of key_file: {error}"))?;
            config
                .with_client_auth_cert(certificates(CERTIFICATE, &certificate)?, key)
                .map_err(|error| format!("the files of cert_file and key_file: {error}"))?
        }
        _ => config.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

fn certificates(name: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match all {
        Ok(all) if all.is_empty() => Err(format!("the file of {name}_file has no certificate (PEM)")),
        Ok(all) => Ok(all),
        Err(error) => Err(format!("the file of {name}_file: {error}")),
    }
}

/// What was handed over by this name; none: nothing was.
pub fn credential(name: &str) -> Result<Option<Vec<u8>>, String> {
    match credentials::read(name, LARGEST) {
        None => Ok(None),
        Some(Err(error)) if error.kind() == ErrorKind::NotFound => Ok(None),
        Some(read) => read.map(Some).map_err(|error| format!("the credential {name}: {error}")),
    }
}
