//! `server start-dev`: what `temporal server start-dev` does, by the same flags.

use std::net::IpAddr;
use std::path::PathBuf;

use reflux_server::access::secret;
use reflux_server::config::Setting;
use reflux_server::{Error, Project};

use super::{Done, serve};
use crate::out::Out;

/// Distance of the page's port from that of gRPC, as Temporal's command has it.
const HTTP_FROM_GRPC: u16 = 1000;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Keep the data in this directory; without it they are forgotten at the end
    #[arg(long, short = 'f', value_name = "DIR")]
    db_filename: Option<PathBuf>,
    /// A namespace to register beside `default`; may be repeated
    #[arg(long, short, value_name = "NAME")]
    namespace: Vec<String>,
    /// Port of gRPC
    #[arg(long, short, default_value_t = 7233)]
    port: u16,
    /// Port of HTTP [default: that of the page]
    #[arg(long)]
    http_port: Option<u16>,
    /// Port of the page, which is that of HTTP [default: the port of gRPC + 1000]
    #[arg(long)]
    ui_port: Option<u16>,
    /// A port with /metrics and probes only
    #[arg(long)]
    metrics_port: Option<u16>,
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    ip: IpAddr,
    /// How log lines are written: text, pretty or json
    #[arg(long, default_value = "text")]
    log_format: String,
    /// What is logged: debug, info, warn, error or never
    #[arg(long, default_value = "info")]
    log_level: String,
    /// Any key of the configuration, such as limits.connections=10
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,

    /// Has no effect: the page costs nothing
    #[arg(long)]
    headless: bool,
    /// Has no effect: the page is on the address of the server
    #[arg(long)]
    ui_ip: Option<String>,
    /// Has no effect
    #[arg(long)]
    ui_public_path: Option<String>,
    /// Has no effect
    #[arg(long)]
    ui_asset_path: Option<PathBuf>,
    /// Has no effect
    #[arg(long)]
    ui_codec_endpoint: Option<String>,
    /// Has no effect: there is no SQLite
    #[arg(long, value_name = "KEY=VALUE")]
    sqlite_pragma: Vec<String>,
    /// Has no effect: there are no such settings
    #[arg(long, value_name = "KEY=VALUE")]
    dynamic_config_value: Vec<String>,
    /// Has no effect: attributes are not indexed
    #[arg(long, value_name = "KEY=TYPE")]
    search_attribute: Vec<String>,
    /// Has no effect: `reflux config show` prints what is in effect
    #[arg(long)]
    log_config: bool,
}

impl Args {
    fn settings(&self) -> Result<Vec<Setting>, Error> {
        let page = self.ui_port.unwrap_or(match self.port {
            0 => 0,
            port => port.saturating_add(HTTP_FROM_GRPC),
        });
        let format = match self.log_format.as_str() {
            "pretty" => "text",
            other => other,
        };
        let level = match self.log_level.as_str() {
            "never" => "off,reflux::audit=off",
            other => other,
        };
        let mut all = vec![
            Setting::flag("server.port", self.port, "--port"),
            Setting::flag("server.http_port", self.http_port.unwrap_or(page), "--http-port"),
            Setting::flag("server.ip", self.ip, "--ip"),
            Setting::flag("server.namespaces", self.namespace.join(","), "--namespace"),
            Setting::flag("log.format", format, "--log-format"),
            Setting::flag("log.level", level, "--log-level"),
        ];
        all.extend(
            self.metrics_port
                .map(|port| Setting::flag("server.metrics_port", port, "--metrics-port")),
        );
        for text in &self.set {
            all.push(Setting::parse(text)?);
        }
        Ok(all)
    }

    /// The flags that were given and change nothing.
    fn idle(&self) -> Vec<&'static str> {
        [
            ("--ui-ip", self.ui_ip.is_some()),
            ("--ui-public-path", self.ui_public_path.is_some()),
            ("--ui-asset-path", self.ui_asset_path.is_some()),
            ("--ui-codec-endpoint", self.ui_codec_endpoint.is_some()),
            ("--sqlite-pragma", !self.sqlite_pragma.is_empty()),
            ("--dynamic-config-value", !self.dynamic_config_value.is_empty()),
            ("--search-attribute", !self.search_attribute.is_empty()),
            ("--log-config", self.log_config),
            ("--ui-port", self.ui_port.is_some() && self.http_port.is_some()),
        ]
        .into_iter()
        .filter_map(|(flag, given)| given.then_some(flag))
        .collect()
    }
}

pub fn run(args: &Args, out: &Out) -> Done {
    let idle = args.idle();
    if !idle.is_empty() {
        out.note(format!("without effect here: {}", idle.join(", ")));
    }
    let settings = args.settings()?;
    match &args.db_filename {
        Some(dir) => {
            let failed = |error: std::io::Error| {
                Error::unavailable(format!("cannot use {}: {error}", dir.display()))
                    .suggest("--db-filename names a directory here")
            };
            std::fs::create_dir_all(dir).map_err(failed)?;
            serve(&Project::at(dir)?, &settings, out)
        }
        None => {
            let forgotten = Forgotten::new()?;
            serve(&Project::at(&forgotten.0)?, &settings, out)
        }
    }
}

/// A directory that is removed at the end.
struct Forgotten(PathBuf);

impl Forgotten {
    fn new() -> Result<Self, Error> {
        use std::os::unix::fs::DirBuilderExt as _;
        let name: String =
            secret::random::<8>()?.iter().map(|byte| format!("{byte:02x}")).collect();
        let dir = std::env::temp_dir().join(format!("reflux-dev-{name}"));
        std::fs::DirBuilder::new().mode(0o700).create(&dir).map_err(|error| {
            Error::unavailable(format!("cannot make {}: {error}", dir.display()))
                .suggest("name a directory with --db-filename")
        })?;
        Ok(Self(dir))
    }
}

impl Drop for Forgotten {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}
