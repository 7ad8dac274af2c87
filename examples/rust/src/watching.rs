//! The loop of a watch: it keeps a view, and continues it after each end of the stream.

use std::{collections::BTreeMap, time::Duration};

use rand::random;
use tokio::time::sleep;
use tonic::{Code, Response, Status, Streaming};

use crate::{
    End,
    pb::{self, ResetReason, WatchKind, WatchProgress, WatcherIdentity},
    servers::{Servers, within},
};

/// Bookmarks come every 15 s, so a stream that is silent for this time is dead.
const SILENCE: Duration = Duration::from_secs(45);
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// An item to set, or to remove if it is `None`.
type Change<T> = (String, Option<T>);

/// Follows the instances of a service. Ends only when the watch cannot succeed.
pub async fn instances(servers: &Servers, service: &str, watcher: &WatcherIdentity) -> End {
    let open = async |turn, resume_token| {
        let (services, watcher) = (vec![service.to_owned()], Some(watcher.clone()));
        let request = pb::WatchServicesRequest { services, watcher, resume_token, ..Default::default() };
        servers.registry(turn).watch_services(request).await
    };
    let split = |message: pb::WatchServicesResponse| {
        let upserted = message.upserted.into_iter().map(|item| (item.id.clone(), Some(item)));
        let removed = message.removed.into_iter().map(|item| (item.id, None));
        (message.progress.unwrap_or_default(), upserted.chain(removed).collect())
    };
    let mut last = String::new();
    let show = |view: &BTreeMap<String, pb::Instance>| {
        let ids = view.keys().fold(String::new(), |ids, id| ids + " " + id);
        let line = if ids.is_empty() { " -".to_owned() } else { ids };
        if line != last {
            println!("instances {service}:{line}");
            last = line;
        }
    };
    follow("services", "WatchServices", open, split, show).await
}

/// Follows a config. Ends only when the watch cannot succeed.
pub async fn config(servers: &Servers, key: &str, watcher: &WatcherIdentity) -> End {
    let open = async |turn, resume_token| {
        let filters = vec![pb::ConfigFilter { keys: vec![key.to_owned()], ..Default::default() }];
        let request =
            pb::WatchConfigRequest { filters, watcher: Some(watcher.clone()), resume_token, ..Default::default() };
        servers.configs(turn).watch_config(request).await
    };
    let split = |message: pb::WatchConfigResponse| {
        let upserted = message.upserted.into_iter().map(|item| (item.key.clone(), Some(item)));
        let removed = message.removed.into_iter().map(|item| (item.key, None));
        (message.progress.unwrap_or_default(), upserted.chain(removed).collect())
    };
    let mut last = None; // the outer Option: whether the view is known; the inner one: whether the config exists
    let show = |view: &BTreeMap<String, pb::Config>| {
        let now = view.get(key).map(|config| config.version);
        match now {
            _ if last == Some(now) => {}
            Some(version) => println!("config {key} {version}"),
            None if last.is_some() => println!("config {key} deleted"),
            None => println!("config {key} missing"),
        }
        last = Some(now);
    };
    follow("config", "WatchConfig", open, split, show).await
}

struct View<T> {
    items: BTreeMap<String, T>,
    token: String,
    /// Changes wait here until a message carries a revision. Then all of them are applied together.
    staged: Vec<Change<T>>,
    staged_is_snapshot: bool,
}

impl<T> View<T> {
    /// Takes one message. Returns true if the view now equals the store at a revision.
    fn take(&mut self, first: bool, progress: WatchProgress, changes: Vec<Change<T>>) -> bool {
        let is_snapshot = progress.kind() == WatchKind::Snapshot;
        if first && !progress.continues || is_snapshot && !self.staged_is_snapshot {
            self.staged.clear();
            self.staged_is_snapshot = is_snapshot;
        }
        self.staged.extend(changes);
        if progress.revision == 0 {
            if !progress.continue_token.is_empty() {
                self.token = progress.continue_token;
            }
            return false;
        }
        if self.staged_is_snapshot {
            self.items.clear();
        }
        for (name, item) in self.staged.drain(..) {
            match item {
                Some(item) => self.items.insert(name, item),
                None => self.items.remove(&name),
            };
        }
        self.staged_is_snapshot = false;
        self.token = progress.resume_token;
        true
    }
}

async fn follow<M, T>(
    name: &str,
    method: &'static str,
    open: impl AsyncFn(usize, String) -> Result<Response<Streaming<M>>, Status>,
    split: impl Fn(M) -> (WatchProgress, Vec<Change<T>>),
    mut show: impl FnMut(&BTreeMap<String, T>),
) -> End {
    let mut view = View { items: BTreeMap::new(), token: String::new(), staged: vec![], staged_is_snapshot: false };
    let mut turn = random::<u16>().into();
    let mut pause = FIRST_PAUSE;
    loop {
        let read = async {
            let mut stream = within(SILENCE, open(turn, view.token.clone())).await?.into_inner();
            let mut first = true;
            while let Some(message) = within(SILENCE, stream.message()).await? {
                let (progress, changes) = split(message);
                if progress.reset_reason() != ResetReason::Unspecified {
                    let reason = progress.reset_reason().as_str_name();
                    println!("reset {name} {}", reason.trim_start_matches("RESET_REASON_"));
                }
                if view.take(first, progress, changes) {
                    show(&view.items);
                }
                (first, pause) = (false, FIRST_PAUSE);
            }
            Ok::<_, Status>(())
        };
        if let Err(status) = read.await {
            let hopeless =
                [Code::InvalidArgument, Code::PermissionDenied, Code::Unimplemented].contains(&status.code());
            let failed = End::Failed(method, status);
            if hopeless {
                return failed;
            }
            eprintln!("{failed}"); // a cut connection is UNKNOWN in tonic, and is no different from UNAVAILABLE
        }
        turn += 1;
        sleep(pause.mul_f64(random())).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
