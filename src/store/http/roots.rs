// SPDX-License-Identifier: MIT OR Apache-2.0
//! The authorities whose word for a server is taken: those of the system and
//! of `SSL_CERT_FILE`, or, where there is neither, those inside the program.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ureq::tls::{Certificate, PemItem, RootCerts, parse_pem};

use crate::error::{Context, Error, Result};

/// Where Debian and its relatives, and the rescue system, keep them.
const SYSTEM: &str = "/etc/ssl/certs/ca-certificates.crt";

/// The variable that names a file of further ones, as for other programs.
pub(super) const VARIABLE: &str = "SSL_CERT_FILE";

/// # Errors
/// If the file that the user names cannot be read, or holds no certificate.
pub(super) fn roots() -> Result<RootCerts> {
    let own = std::env::var_os(VARIABLE).filter(|name| !name.is_empty()).map(PathBuf::from);
    roots_of(Path::new(SYSTEM), own.as_deref())
}

fn roots_of(system: &Path, own: Option<&Path>) -> Result<RootCerts> {
    let mut certificates = std::fs::read(system).map(|pem| parse(&pem)).unwrap_or_default();
    if let Some(path) = own {
        let what = || format!("reading the certificates in {} ({VARIABLE})", path.display());
        let found = parse(&std::fs::read(path).context(what)?);
        if found.is_empty() {
            return Err(Error::failed(format!("{}: there are none", what()))
                .hint("it must be in PEM form, with lines -----BEGIN CERTIFICATE-----"));
        }
        certificates.extend(found);
    }
    Ok(match certificates.is_empty() {
        true => RootCerts::WebPki,
        false => RootCerts::Specific(Arc::new(certificates)),
    })
}

fn parse(pem: &[u8]) -> Vec<Certificate<'static>> {
    parse_pem(pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_any_file_there_are_those_inside() {
        let nowhere = Path::new("/nonexistent/roots.crt");
        assert!(matches!(roots_of(nowhere, None).unwrap(), RootCerts::WebPki));
        assert!(roots_of(nowhere, Some(nowhere)).is_err());
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.pem");
        std::fs::write(&file, "no certificate\n").unwrap();
        let error = roots_of(nowhere, Some(&file)).unwrap_err();
        assert!(error.to_string().contains("there are none"), "{error}");
        // Nothing looks into it before a server does.
        let pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        std::fs::write(&file, pem.repeat(2)).unwrap();
        let roots = roots_of(&file, Some(&file)).unwrap();
        assert!(matches!(roots, RootCerts::Specific(all) if all.len() == 4));
    }
}
