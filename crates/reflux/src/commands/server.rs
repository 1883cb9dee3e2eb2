//! `server`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use reflux_server::holder::{Holder, Mode};
use reflux_server::net::{Addresses, App, Server};
use reflux_server::{Config, Error, Kind, Project, triggers};
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
    tokio::spawn(triggers::reload_when_told(app.clone()));
    let server = Server::bind(app, wanted).await?;
    let Addresses { grpc, http } = server.addresses();
    match out.is_json() {
        // One line, so that whoever started it need not guess where it ends.
        true => out.line(json!({ "grpc": grpc.to_string(), "http": http.to_string() }).to_string()),
        false => out.line(format!("gRPC on {grpc}, HTTP on http://{http}")),
    }
    server.serve(interrupted()).await
}

/// SIGINT, as from Ctrl-C, or SIGTERM, as from a service manager.
async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminated) => {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminated.recv() => {}
            }
        }
        Err(_) => drop(tokio::signal::ctrl_c().await),
    }
}

fn taken(project: &Project) -> Error {
    Error::new(Kind::Exists, format!("another process works in {}", project.root().display()))
        .suggest("end it, or serve another project with --dir")
}
