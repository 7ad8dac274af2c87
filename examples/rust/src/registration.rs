//! The loop that keeps an instance registered: Register, heartbeats, Deregister.

use std::time::Duration;

use rand::random;
use tokio::{select, sync::watch::Receiver, time::sleep};
use tonic::{Code, Status};

use crate::{
    End,
    pb::{self, RejectionReason, ReportedState},
    servers::{Servers, call},
};

/// Each phase begins at once, without waiting for the next heartbeat.
#[derive(Clone, Copy, PartialEq)]
pub enum Phase {
    Serving,
    Draining,
    Leaving,
}

pub struct Registration<'a> {
    servers: &'a Servers,
    me: pb::Instance,
    incarnation: String,
    turn: usize,
    interval: Duration,
}

impl<'a> Registration<'a> {
    pub fn new(servers: &'a Servers, me: pb::Instance) -> Self {
        // Drawn once per run: a newer process with this id has another one, and the server then rejects this process.
        let incarnation = format!("{:032x}", random::<u128>());
        Self { servers, me, incarnation, turn: random::<u16>().into(), interval: Duration::from_secs(5) }
    }

    /// Keeps the instance registered until the phase is Leaving, and then deregisters it.
    pub async fn keep(mut self, mut phases: Receiver<Phase>) -> Result<(), End> {
        let (mut registered, mut ever, mut failures, mut wait) = (false, false, 0, Duration::ZERO);
        loop {
            select! { () = sleep(wait) => {}, _ = phases.changed() => {} }
            let state = match *phases.borrow_and_update() {
                Phase::Serving => ReportedState::Healthy,
                Phase::Draining => ReportedState::Draining,
                Phase::Leaving => return self.leave().await,
            };
            self.me.reported = Some(pb::Reported { state: state.into(), ..Default::default() });
            let (method, result) =
                if registered { ("Heartbeat", self.beat().await) } else { ("Register", self.register().await) };
            let rejected = match result {
                Ok(rejected) => rejected,
                Err(status) => {
                    let code = status.code();
                    let failed = End::Failed(method, status);
                    match code {
                        Code::InvalidArgument | Code::FailedPrecondition | Code::PermissionDenied => {
                            return Err(failed);
                        }
                        Code::Unauthenticated if !ever => return Err(failed), // later, a token may be in renewal
                        _ => eprintln!("{failed}"),
                    }
                    // Again at once on the next server, then after 1 s, doubled up to the interval, with full jitter.
                    (self.turn, failures) = (self.turn + 1, failures + 1);
                    let longest = Duration::from_secs(1 << (failures.clamp(2, 12) - 2)).min(self.interval);
                    wait = if failures == 1 { Duration::ZERO } else { longest.mul_f64(random()) };
                    continue;
                }
            };
            (registered, ever, failures, wait) = (true, true, 0, self.interval.mul_f64(0.9 + 0.2 * random::<f64>()));
            match rejected {
                None => {}
                Some(RejectionReason::NotRegistered) => (registered, wait) = (false, Duration::ZERO),
                Some(RejectionReason::Retry) => wait = self.interval / 4,
                Some(reason) => return Err(End::Over(reason)),
            }
        }
    }

    async fn register(&mut self) -> Result<Option<RejectionReason>, Status> {
        let incarnation = Some(self.incarnation.clone());
        let request = pb::RegisterRequest { instance: Some(self.me.clone()), incarnation, replaces_revision: None };
        let reply = call(self.servers.registry(self.turn).register(request)).await?;
        self.interval = reply.heartbeat_interval.and_then(|it| it.try_into().ok()).unwrap_or(self.interval);
        println!("registered {}/{}", self.me.service, self.me.id);
        Ok(None)
    }

    /// A heartbeat that did not count is OK as a call. Then this returns the reason.
    async fn beat(&mut self) -> Result<Option<RejectionReason>, Status> {
        let item = pb::HeartbeatItem {
            service: self.me.service.clone(),
            id: self.me.id.clone(),
            incarnation: Some(self.incarnation.clone()),
            reported: self.me.reported.clone(),
            ..Default::default()
        };
        let request = pb::HeartbeatRequest { instances: vec![item] };
        let reply = call(self.servers.registry(self.turn).heartbeat(request)).await?;
        self.interval = reply.heartbeat_interval.and_then(|it| it.try_into().ok()).unwrap_or(self.interval);
        Ok(reply.rejected.first().map(|item| item.reason()))
    }

    /// Deregisters. If no server answers, the instance expires as if the process had died.
    async fn leave(self) -> Result<(), End> {
        for attempt in 0..=self.servers.count() {
            let request = pb::DeregisterRequest {
                service: self.me.service.clone(),
                id: self.me.id.clone(),
                incarnation: Some(self.incarnation.clone()),
                ..Default::default()
            };
            match call(self.servers.registry(self.turn + attempt).deregister(request)).await {
                Err(status) if status.code() == Code::NotFound => break, // it never was registered
                Err(status) if attempt == self.servers.count() => return Err(End::Failed("Deregister", status)),
                Err(status) => eprintln!("{}", End::Failed("Deregister", status)),
                Ok(_) => break,
            }
        }
        Ok(())
    }
}
