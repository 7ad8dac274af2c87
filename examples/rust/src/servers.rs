//! The servers, and the calls to them.
//!
//! tonic has no service config: no round_robin that leaves out a server that is not ready, no retry, no health check.
//! So each server has a channel of its own, and each loop goes to the next one after a failure: `turn` counts them.

use std::{fs, path::PathBuf, time::Duration};

use tokio::time::timeout;
use tonic::{
    Request, Response, Status,
    metadata::MetadataValue,
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

use crate::pb::{config_service_client::ConfigServiceClient, registry_service_client::RegistryServiceClient};

pub struct Servers {
    channels: Vec<Channel>,
    token: Token,
}

impl Servers {
    pub fn new(addresses: &str, ca: Option<PathBuf>, token_file: Option<PathBuf>) -> Result<Self, String> {
        let read = |file: PathBuf| fs::read(&file).map_err(|error| format!("{}: {error}", file.display()));
        let ca = ca.map(read).transpose()?.map(Certificate::from_pem);
        let scheme = if ca.is_some() { "https" } else { "http" };
        let connect = |address: &str| {
            let mut endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))?;
            if let Some(ca) = &ca {
                endpoint = endpoint.tls_config(ClientTlsConfig::new().ca_certificate(ca.clone()))?;
            }
            // It connects at the first call, and again after a break.
            Ok(endpoint.connect_timeout(Duration::from_secs(3)).connect_lazy())
        };
        let channels: Result<_, tonic::transport::Error> = addresses.split(',').map(str::trim).map(connect).collect();
        Ok(Self { channels: channels.map_err(|error| format!("{addresses}: {error}"))?, token: Token(token_file) })
    }

    pub fn count(&self) -> usize {
        self.channels.len()
    }

    pub fn registry(&self, turn: usize) -> RegistryServiceClient<InterceptedService<Channel, Token>> {
        RegistryServiceClient::with_interceptor(self.channel(turn), self.token.clone())
    }

    pub fn configs(&self, turn: usize) -> ConfigServiceClient<InterceptedService<Channel, Token>> {
        ConfigServiceClient::with_interceptor(self.channel(turn), self.token.clone())
    }

    fn channel(&self, turn: usize) -> Channel {
        self.channels[turn % self.channels.len()].clone() // a clone shares the connection
    }
}

/// Adds the token to each call. The file is read each time, so the token may be renewed.
#[derive(Clone)]
pub struct Token(Option<PathBuf>);

impl Interceptor for Token {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(file) = &self.0 {
            let unreadable = |error| Status::unavailable(format!("{}: {error}", file.display()));
            let token = fs::read_to_string(file).map_err(unreadable)?;
            let value = MetadataValue::try_from(format!("Bearer {}", token.trim()));
            let value = value.map_err(|_| Status::unauthenticated("the token has characters that it cannot have"))?;
            request.metadata_mut().insert("authorization", value);
        }
        Ok(request)
    }
}

/// Waits for a call with a deadline.
pub async fn within<T>(time: Duration, call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    let late = |_| Err(Status::deadline_exceeded(format!("no answer for {} s", time.as_secs())));
    timeout(time, call).await.unwrap_or_else(late)
}

/// A call that is not a watch: 3 s.
pub async fn call<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Status> {
    Ok(within(Duration::from_secs(3), call).await?.into_inner())
}
