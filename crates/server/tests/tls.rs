//! Encrypted ports: what they take, and certificates that are renewed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use reflux_server::Config;
use reqwest::{Certificate, Client, Identity};
use support::{Stand, in_time, raw, status};

/// An authority that signs for localhost.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// Certificate and key.
    fn sign(&self) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }

    fn write(&self, dir: &Path) {
        let (cert, key) = self.sign();
        std::fs::write(dir.join("cert.pem"), cert).unwrap();
        std::fs::write(dir.join("key.pem"), key).unwrap();
    }

    fn client(&self, identity: Option<&Authority>) -> Client {
        let mut client = Client::builder()
            .tls_certs_only([Certificate::from_pem(self.pem().as_bytes()).unwrap()])
            .pool_max_idle_per_host(0);
        if let Some(signer) = identity {
            let (cert, key) = signer.sign();
            let identity = Identity::from_pem(format!("{cert}{key}").as_bytes()).unwrap();
            client = client.identity(identity);
        }
        client.build().unwrap()
    }
}

fn encrypted() -> Config {
    let mut config = Config::default();
    config.tls.cert = Some("cert.pem".into());
    config.tls.key = Some("key.pem".into());
    config
}

async fn reaches(client: &Client, stand: &Stand) -> bool {
    let asked = client.get(format!("https://localhost:{}/readyz", stand.http.port())).send();
    in_time(asked).await.is_ok_and(|answer| answer.status() == 200)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_port_takes_nothing_else() {
    let authority = Authority::new();
    let stand = Stand::with(encrypted(), |project| authority.write(project.root())).await;
    let client = authority.client(None);
    assert!(reaches(&client, &stand).await);
    assert!(!reaches(&Authority::new().client(None), &stand).await, "another authority");
    let plain = raw(stand.http, b"GET /readyz HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert_eq!(status(&plain), 0, "{plain}");
    let call = client
        .post(format!("https://localhost:{}/grpc.health.v1.Health/Check", stand.grpc.port()))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(support::frame(&[]));
    let answer = in_time(call.send()).await.unwrap();
    assert_eq!(
        (answer.status(), answer.version()),
        (reqwest::StatusCode::OK, reqwest::Version::HTTP_2)
    );
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_a_certificate_of_the_authority_is_refused() {
    let (authority, of_clients) = (Authority::new(), Authority::new());
    let mut config = encrypted();
    config.tls.client_ca = Some("clients.pem".into());
    let stand = Stand::with(config, |project| {
        authority.write(project.root());
        std::fs::write(project.root().join("clients.pem"), of_clients.pem()).unwrap();
    })
    .await;
    assert!(!reaches(&authority.client(None), &stand).await);
    assert!(!reaches(&authority.client(Some(&authority)), &stand).await);
    assert!(reaches(&authority.client(Some(&of_clients)), &stand).await);
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_used_after_sighup_and_a_broken_one_is_not() {
    let (before, after) = (Authority::new(), Authority::new());
    let stand = Stand::with(encrypted(), |project| before.write(project.root())).await;
    assert!(reaches(&before.client(None), &stand).await);
    let hang_up = || {
        let pid = std::process::id().to_string();
        let told = std::process::Command::new("kill").args(["-HUP", &pid]).status().unwrap();
        assert!(told.success());
    };
    std::fs::write(stand.project.root().join("cert.pem"), "no certificate").unwrap();
    hang_up();
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert!(reaches(&before.client(None), &stand).await);
    after.write(stand.project.root());
    hang_up();
    let begun = std::time::Instant::now();
    while !reaches(&after.client(None), &stand).await {
        assert!(begun.elapsed() < support::PATIENCE, "the new certificate is not used");
    }
    stand.stop().await;
}
