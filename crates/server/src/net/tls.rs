//! Certificates of a port, read again when they were renewed.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, crypto};

use crate::{Error, Project, config};

/// The encryption of a port.
pub(super) struct Tls {
    project: Project,
    config: config::Tls,
    protocols: &'static [&'static [u8]],
    current: RwLock<Arc<ServerConfig>>,
}

impl Tls {
    /// The encryption that the configuration asks for, if any.
    ///
    /// # Errors
    /// A file is missing, or holds something else.
    pub(super) fn open(
        project: &Project,
        config: &config::Tls,
        protocols: &'static [&'static [u8]],
    ) -> Result<Option<Arc<Self>>, Error> {
        if config.cert.is_none() && config.key.is_none() && config.client_ca.is_none() {
            return Ok(None);
        }
        let current = RwLock::new(read(project, config, protocols)?);
        Ok(Some(Arc::new(Self {
            project: project.clone(),
            config: config.clone(),
            protocols,
            current,
        })))
    }

    /// Accepts with the certificate of the moment.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone().into()
    }

    /// Reads the files again; connections that are open keep what they have.
    ///
    /// # Errors
    /// As [`Tls::open`]; then what was read before stays in use.
    pub(super) fn reload(&self) -> Result<(), Error> {
        let read = read(&self.project, &self.config, self.protocols)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = read;
        Ok(())
    }
}

fn read(
    project: &Project,
    config: &config::Tls,
    protocols: &[&[u8]],
) -> Result<Arc<ServerConfig>, Error> {
    let (Some(cert), Some(key)) = (&config.cert, &config.key) else {
        return Err(Error::invalid("tls.cert and tls.key are needed together"));
    };
    let (cert, key) = (project.root().join(cert), project.root().join(key));
    let chain = certificates(&cert)?;
    let key = PrivateKeyDer::from_pem_file(&key).map_err(|error| of(&key, &error))?;
    let provider = Arc::new(crypto::aws_lc_rs::default_provider());
    let unusable = |error: &dyn std::fmt::Display| {
        Error::invalid(format!("cannot use the certificate {}: {error}", cert.display()))
    };
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(&error))?;
    let builder = match &config.client_ca {
        None => builder.with_no_client_auth(),
        Some(authorities) => {
            let path = project.root().join(authorities);
            let mut roots = RootCertStore::empty();
            for authority in certificates(&path)? {
                roots.add(authority).map_err(|error| of(&path, &error))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(|error| of(&path, &error))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut server = builder.with_single_cert(chain, key).map_err(|error| unusable(&error))?;
    server.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Arc::new(server))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    match found.map_err(|error| of(path, &error))? {
        found if found.is_empty() => Err(of(path, &"there is no certificate in it")),
        found => Ok(found),
    }
}

fn of(path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::invalid(format!("cannot use {}: {error}", path.display()))
        .suggest("tls.cert, tls.key and tls.client_ca name PEM files, relative to the project")
}
