//! A service that registers, sends heartbeats, watches a service and a config, and leaves in order when it is stopped.

mod registration;
mod servers;
mod watching;

/// The stubs that `build.rs` generates.
pub mod pb {
    tonic::include_proto!("rollcall.v1");
}

use std::{
    env, error::Error, fmt, future::pending, iter, path::PathBuf, process::ExitCode, str::FromStr, time::Duration,
};

use pb::RejectionReason;
use registration::{Phase, Registration};
use servers::Servers;
use tokio::{
    select,
    signal::unix::{SignalKind, signal},
    sync::watch,
    time::sleep,
};
use tonic::Status;
use tonic_types::StatusExt;

/// Why the process ends without being asked to.
pub enum End {
    Over(RejectionReason),
    /// The method that cannot succeed, and its status.
    Failed(&'static str, Status),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            End::Over(reason) => write!(f, "over {}", reason.as_str_name().trim_start_matches("REJECTION_REASON_")),
            End::Failed(method, status) => {
                // Errors of the network and of tonic itself have no ErrorInfo.
                let reason = status.get_details_error_info().map_or("-".to_owned(), |info| info.reason);
                write!(f, "{method} {:?} {reason} {}", status.code(), status.message())?;
                // An error of a connection says in its last source what happened.
                let cause = iter::successors(status.source(), |&error| error.source()).last().map(ToString::to_string);
                let cause = cause.filter(|cause| !status.message().contains(cause));
                cause.map_or(Ok(()), |cause| write!(f, ": {cause}"))
            }
        }
    }
}

// One thread is enough: the three loops below wait most of the time.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => println!("deregistered"),
        Err(end @ End::Over(_)) => {
            println!("{end}");
            return ExitCode::from(3);
        }
        Err(end @ End::Failed(..)) => {
            eprintln!("{end}");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

async fn run() -> Result<(), End> {
    let wrong = |error: &dyn fmt::Display| End::Failed("settings", Status::invalid_argument(error.to_string()));
    let servers =
        Servers::new(&setting("ROLLCALL_SERVERS", "localhost:7400"), file("ROLLCALL_CA"), file("ROLLCALL_TOKEN_FILE"))
            .map_err(|error| wrong(&error))?;
    let me = pb::Instance {
        service: setting("SERVICE", "hello"),
        id: setting("INSTANCE_ID", "rust"),
        address: setting("ADDRESS", "127.0.0.1"),
        port: number("PORT", "8080")?,
        ttl: Some(prost_types::Duration { seconds: number("TTL_SECONDS", "15")?, nanos: 0 }),
        ..Default::default()
    };
    let watcher = pb::WatcherIdentity { instance_id: me.id.clone(), ..Default::default() };
    let (service, key) = (setting("WATCH_SERVICE", &me.service), setting("CONFIG_KEY", "hello.yaml"));
    let drain = Duration::from_secs(number("DRAIN_SECONDS", "1")?);

    let (phase, phases) = watch::channel(Phase::Serving);
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| wrong(&error))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| wrong(&error))?;
    let stop = async {
        select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        phase.send_replace(Phase::Draining);
        sleep(drain).await;
        phase.send_replace(Phase::Leaving);
        pending().await // the registration ends next
    };
    // All four run at the same time. The first one that ends cancels the others.
    select! {
        result = Registration::new(&servers, me).keep(phases) => result,
        end = watching::instances(&servers, &service, &watcher) => Err(end),
        end = watching::config(&servers, &key, &watcher) => Err(end),
        end = stop => end,
    }
}

fn setting(name: &str, default: &str) -> String {
    env::var(name).ok().filter(|value| !value.is_empty()).unwrap_or(default.to_owned())
}

fn file(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|value| !value.is_empty()).map(Into::into)
}

fn number<T: FromStr>(name: &str, default: &str) -> Result<T, End> {
    let wrong = |_| End::Failed("settings", Status::invalid_argument(format!("{name} is not a number")));
    setting(name, default).parse().map_err(wrong)
}
