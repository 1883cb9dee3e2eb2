//! `server`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use reflux_server::holder::{Holder, Mode};
use reflux_server::net::{Addresses, App, Server};
use reflux_server::{Config, Error, Project, triggers};
use serde_json::json;

use super::{Done, project};
use crate::cli::Global;
use crate::failure::OK;
use crate::out::Out;

/// Work in a project and serve it to programs, until interrupted.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Port of gRPC: the Temporal API and our own; 0 takes any that is free
    #[arg(long, default_value_t = 7233)]
    port: u16,
    /// Port of HTTP: REST, webhooks, the run page; 0 takes any that is free
    #[arg(long, default_value_t = 8233)]
    http_port: u16,
    /// Address to listen on
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    ip: IpAddr,
}

pub fn run(args: &Args, global: &Global, out: &Out) -> Done {
    let project = project(global)?;
    let config = Config::load(&project)?;
    let Some(holder) = Holder::take(&project, Mode::Work)? else {
        return Err(taken(&project).into());
    };
    let app = App::new(holder.service().clone(), project, config);
    let served = holder.service().host().handle().clone().block_on(serve(app, args, out));
    holder.close(|_| true);
    served?;
    Ok(ExitCode::from(OK))
}

async fn serve(app: std::sync::Arc<App>, args: &Args, out: &Out) -> Result<(), Error> {
    let wanted = Addresses {
        grpc: SocketAddr::new(args.ip, args.port),
        http: SocketAddr::new(args.ip, args.http_port),
    };
    triggers::reload(&app).await?.iter().for_each(|problem| out.note(problem));
    tokio::spawn(triggers::reload_when_told(app.clone())?);
    // Whoever reads the addresses may end the server at once.
    let stop = interrupted()?;
    let server = Server::bind(app, wanted).await?;
    let Addresses { grpc, http } = server.addresses();
    match out.is_json() {
        // One line, so that whoever started it need not guess where it ends.
        true => out.line(json!({ "grpc": grpc.to_string(), "http": http.to_string() }).to_string()),
        false => out.line(format!("gRPC on {grpc}, HTTP on http://{http}")),
    }
    server.serve(stop).await
}

/// SIGINT, as from Ctrl-C, or SIGTERM, as from a service manager. Both are taken from now on.
fn interrupted() -> Result<impl Future<Output = ()>, Error> {
    use tokio::signal::unix::{SignalKind, signal};
    let failed = |error| Error::unavailable(format!("cannot listen for signals: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

fn taken(project: &Project) -> Error {
    Error::unavailable(format!("another process works in {}", project.root().display()))
        .suggest("end it, or serve another project with --dir")
}
