//! `server`.

mod start_dev;

use std::net::IpAddr;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use reflux_server::config::Setting;
use reflux_server::holder::{Holder, Mode, is_held};
use reflux_server::net::{Addresses, App, Server};
use reflux_server::registry::Namespace;
use reflux_server::{Config, Error, Kind, Project, triggers};
use serde_json::json;

use super::{Done, project};
use crate::cli::Global;
use crate::failure::OK;
use crate::logs;
use crate::out::Out;

/// Work in a project and serve it to programs, until interrupted.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Serve an empty project that is forgotten at the end, with the flags of `temporal server
    /// start-dev`
    StartDev(start_dev::Args),
}

/// The usual settings by a short name, and all of them by their own.
#[derive(Debug, clap::Args)]
struct Settings {
    /// Port of gRPC: the Temporal API and our own; 0 takes any that is free [default: 7233]
    #[arg(long)]
    port: Option<u16>,
    /// Port of HTTP: REST, webhooks, the run page; 0 takes any that is free [default: 8233]
    #[arg(long)]
    http_port: Option<u16>,
    /// A port with /metrics and probes only; the HTTP port has them too
    #[arg(long)]
    metrics_port: Option<u16>,
    /// Address to listen on [default: 127.0.0.1]
    #[arg(long)]
    ip: Option<IpAddr>,
    /// How log lines are written: text or json
    #[arg(long)]
    log_format: Option<String>,
    /// What is logged: error, warn, info, debug or trace [default: info]
    #[arg(long)]
    log_level: Option<String>,
    /// Any key of the configuration, such as limits.connections=10
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl Settings {
    fn list(&self) -> Result<Vec<Setting>, Error> {
        let mut all =
            self.set.iter().map(|text| Setting::parse(text)).collect::<Result<Vec<_>, _>>()?;
        let mut add = |key, flag, value: Option<String>| {
            all.extend(value.map(|value| Setting::flag(key, value, flag)));
        };
        add("server.port", "--port", self.port.map(|port| port.to_string()));
        add("server.http_port", "--http-port", self.http_port.map(|port| port.to_string()));
        add(
            "server.metrics_port",
            "--metrics-port",
            self.metrics_port.map(|port| port.to_string()),
        );
        add("server.ip", "--ip", self.ip.map(|ip| ip.to_string()));
        add("log.format", "--log-format", self.log_format.clone());
        add("log.level", "--log-level", self.log_level.clone());
        Ok(all)
    }
}

pub fn run(args: &Args, global: &Global, out: &Out) -> Done {
    if let Some(Command::StartDev(args)) = &args.command {
        return start_dev::run(args, out);
    }
    serve(&project(global)?, &args.settings.list()?, out)
}

/// Serves a project until a signal says stop.
fn serve(project: &Project, settings: &[Setting], out: &Out) -> Done {
    let config = Config::with(project, |name| std::env::var(name).ok(), settings)?;
    logs::of_server(&config.log)?;
    if is_held(project)? {
        return Err(taken(project).into());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("net")
        .enable_all()
        .build()
        .map_err(|error| Error::unavailable(format!("cannot start threads: {error}")))?;
    let held = Mutex::new(None);
    let stopped = Mutex::new(None);
    let served = runtime.block_on(until_stopped(project, &config, out, &held, &stopped));
    if let Some(holder) = held.into_inner().unwrap_or_default() {
        // Requests and nodes share the time there is.
        let until = stopped.into_inner().unwrap_or_default().unwrap_or_else(Instant::now)
            + config.server.drain.0;
        holder.close(|_| Instant::now() >= until);
    }
    runtime.shutdown_timeout(Duration::from_millis(200)); // blocking calls that nobody waits for
    served?;
    Ok(ExitCode::from(OK))
}

async fn until_stopped(
    project: &Project,
    config: &Config,
    out: &Out,
    held: &Mutex<Option<Holder>>,
    stopped: &Mutex<Option<Instant>>,
) -> Result<(), Error> {
    // Whoever reads the addresses may end the server at once.
    let interrupted = interrupted()?;
    let stop = async {
        interrupted.await;
        if let Ok(mut stopped) = stopped.lock() {
            *stopped = Some(Instant::now());
        }
    };
    let server = Server::listen(project, config, Addresses::of(&config.server)).await?;
    let opening = {
        let (project, config) = (project.clone(), config.clone());
        tokio::task::spawn_blocking(move || open(project, config))
    };
    let making = async {
        let broken = |error| Error::unavailable(format!("the project was not opened: {error}"));
        let (holder, app) = opening.await.map_err(broken)??;
        if let Ok(mut held) = held.lock() {
            *held = Some(holder);
        }
        tokio::spawn(triggers::reload_when_told(app.clone())?);
        Ok(app)
    };
    let opened = |Addresses { grpc, http }: Addresses| match out.is_json() {
        // One line, so that whoever started it need not guess where it ends.
        true => out.line(json!({ "grpc": grpc.to_string(), "http": http.to_string() }).to_string()),
        false => out.line(format!("gRPC on {grpc}, HTTP on http://{http}")),
    };
    server.run(making, opened, stop).await
}

/// Takes the project; this may take as long as reading its log does.
fn open(project: Project, config: Config) -> Result<(Holder, std::sync::Arc<App>), Error> {
    let holder = Holder::with(&project, Mode::Work, &config)?.ok_or_else(|| taken(&project))?;
    let service = holder.service().clone();
    for name in &config.server.namespaces {
        let registry = service.host().registry();
        match registry.register_namespace(service.engine(), Namespace::named(name)) {
            Ok(_) => {}
            Err(error) if error.kind == Kind::Exists => {}
            Err(error) if name == "default" => tracing::debug!(%error, "it is always there"),
            Err(error) => return Err(error),
        }
    }
    for problem in service.triggers().reload()? {
        tracing::warn!("{problem}");
    }
    let app = App::new(service, project, config);
    Ok((holder, app))
}

/// SIGINT, as from Ctrl-C, or SIGTERM, as from a service manager. Both are taken from now on; the
/// second one ends the process as a crash would, which loses nothing.
fn interrupted() -> Result<impl Future<Output = ()>, Error> {
    use tokio::signal::unix::{SignalKind, signal};
    let failed = |error| Error::unavailable(format!("cannot listen for signals: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut one = async move || {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    Ok(async move {
        one().await;
        tokio::spawn(async move {
            one().await;
            std::process::exit(130);
        });
    })
}

fn taken(project: &Project) -> Error {
    Error::unavailable(format!("another process works in {}", project.root().display()))
        .suggest("end it, or serve another project with --dir")
}
