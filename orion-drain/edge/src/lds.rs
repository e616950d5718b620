//! LDS: listeners that change, from a file or from a control plane. Both come to the same
//! `Lds::apply`. A listener whose routes come by themselves waits for them.

#[cfg(feature = "xds")]
mod grpc;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use orion_drain::admin::RefusedListenerView;
use orion_drain::config::{Bootstrap, ConfigError, ListenerUpdate, RuntimeValues, UpdateOutcome};
use orion_drain::drain_tree::DrainSettings;
use orion_drain::listener::{Applied, Refused, apply_update};
use orion_drain::listener_versions::{Change, Listeners, UpdateReport};
use orion_drain::xds::LdsFile;
use tokio::sync::oneshot;

use crate::cli::UnsupportedFields;
use crate::first::First;
use crate::listener::{EdgeListener, Maker};
use crate::rds::Rds;
use crate::service::Reload;

/// What updates are applied to.
#[derive(Debug)]
pub(crate) struct Lds {
    pub(crate) listeners: Listeners<EdgeListener>,
    pub(crate) maker: Maker,
    /// What listeners are compared with, to tell of settings that contradict each other.
    pub(crate) settings: DrainSettings,
    /// Whether routes may come over ADS.
    pub(crate) has_ads: bool,
    /// The bootstrap's values that no listener may ask for.
    pub(crate) runtime: RuntimeValues,
    /// `--reject-unknown-dynamic-fields`
    pub(crate) reject_unknown_fields: bool,
    /// What `/ready` waits for.
    pub(crate) first: First,
    /// What `/config_dump` shows of the last update.
    pub(crate) last_refused: LastRefused,
    /// The fields of which was said already that they are not carried out.
    pub(crate) said: Mutex<BTreeSet<String>>,
    /// `--unsupported-fields`
    pub(crate) unsupported_fields: UnsupportedFields,
    /// `--lds-poll-s`
    pub(crate) poll: Option<Duration>,
    /// Who reads the file again, and who wants to know that it was read.
    pub(crate) reload: Arc<Reload>,
}

/// What of the last update was refused, by listener. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct LastRefused(Arc<Mutex<Vec<RefusedListenerView>>>);

impl LastRefused {
    pub(crate) fn views(&self) -> Vec<RefusedListenerView> {
        let views = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        views.clone()
    }

    /// In place of what was refused of the update before, as in Envoy.
    fn set(&self, refused: &[Refused], version_info: &str) {
        let mut by_name = BTreeMap::<&str, Vec<&str>>::new();
        for one in refused {
            let name = one.name.as_deref().unwrap_or_default();
            by_name.entry(name).or_default().push(&one.message);
        }
        let now = SystemTime::now();
        let view = |(name, details): (&str, Vec<&str>)| {
            RefusedListenerView::new(name, version_info, details.join("; "), now)
        };
        let views = by_name.into_iter().map(view).collect();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = views;
    }
}

impl Lds {
    /// Whether the bootstrap says where listeners come from that change.
    pub(crate) fn has_source(bootstrap: &Bootstrap) -> bool {
        bootstrap.lds_path().is_some() || bootstrap.lds_control_plane().is_some()
    }

    /// Takes listeners and routes from there, for as long as the process lives; tells whether all of
    /// the first listeners were taken, once they serve.
    pub(crate) async fn run(self, bootstrap: Bootstrap, first: oneshot::Sender<bool>) {
        let file = LdsFile::of(&bootstrap, self.maker.stats.clone());
        let mut first = Some(first);
        let of_file = first.take_if(|_| file.is_some());
        let from_file = async {
            if let Some(file) = file {
                self.follow(file, of_file).await;
            }
        };
        #[cfg(feature = "xds")]
        tokio::join!(from_file, grpc::run(&self, &bootstrap, first));
        #[cfg(not(feature = "xds"))]
        from_file.await;
    }

    /// Takes what the file says, and every file that replaces it; ends only with the process.
    async fn follow(&self, file: LdsFile, mut first: Option<oneshot::Sender<bool>>) {
        let path = file.path().display().to_string();
        let shown = path.clone();
        let until = match self.poll {
            Some(period) => format!("looked at every {period:?}"),
            None => "read again after SIGHUP only".to_owned(),
        };
        let mut file = file.with_unwatched(move |error| {
            complain!("lds: {error}; {shown} is {until}");
        });
        if let Some(period) = self.poll {
            file = file.with_poll(period);
        }
        let reload = file.reload();
        let asked = async {
            loop {
                self.reload.asked.notified().await;
                reload.ask();
            }
        };
        let followed = async {
            loop {
                match file.next().await {
                    Ok(update) => self.take(&file, update, &path, first.take()).await,
                    Err(error) => {
                        complain!("lds: {path}: {error}");
                        self.first.unusable();
                        self.done(first.take(), false, async {});
                    }
                }
            }
        };
        let ((), ()) = tokio::join!(asked, followed);
    }

    async fn take(
        &self,
        file: &LdsFile,
        update: ListenerUpdate,
        path: &str,
        first: Option<oneshot::Sender<bool>>,
    ) {
        let version = update.version_info.clone();
        match self.apply(update, path).await {
            Ok(applied) => {
                file.applied(&version, applied.outcome());
                tell(&applied, path);
                let whole = applied.outcome() == UpdateOutcome::Success;
                self.done(first, whole, self.warming(&applied));
            }
            Err(error) => {
                file.applied(&version, UpdateOutcome::Rejected);
                complain!("lds: {path}: {error}");
                self.done(first, false, async {});
            }
        }
    }

    /// An update was applied; the first one counts as that when its listeners serve.
    fn done(
        &self,
        first: Option<oneshot::Sender<bool>>,
        whole: bool,
        warm: impl Future<Output = ()> + Send + 'static,
    ) {
        let reload = Arc::clone(&self.reload);
        let Some(first) = first else {
            reload.applied.notify_one();
            return;
        };
        tokio::spawn(async move {
            warm.await;
            // Not everybody wants to know.
            first.send(whole).ok();
            reload.applied.notify_one();
        });
    }

    /// Over when no listener of this update waits for its routes any more.
    fn warming(&self, applied: &Applied) -> impl Future<Output = ()> + Send + 'static + use<> {
        let rds = &self.maker.rds;
        warming(&applied.report, &self.listeners, rds, &self.first)
    }

    /// Whether nothing was said of this field yet. Of very many, not all are said.
    fn first_time(&self, field: &str) -> bool {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.len() < 1000 && said.insert(field.to_owned())
    }

    /// Applies an update; says what is wrong with its listeners.
    ///
    /// # Errors
    ///
    /// Fields that Envoy has not got, if it is as strict as that. Nothing of the update is taken.
    async fn apply(
        &self,
        mut update: ListenerUpdate,
        source: &str,
    ) -> Result<Applied, ConfigError> {
        let version_info = update.version_info.clone();
        let unusable = |error: &ConfigError| {
            self.first.unusable();
            let whole = [Refused::new(None, error.to_string())];
            self.last_refused.set(&whole, &version_info);
        };
        if self.reject_unknown_fields {
            let known = update.refuse_foreign_fields();
            update = known.inspect_err(unusable)?;
        }
        if self.unsupported_fields == UnsupportedFields::Refuse {
            let carried_out = update.refuse_unsupported_fields();
            update = carried_out.inspect_err(unusable)?;
        }
        for field in &update.unknown_fields {
            if self.first_time(field) {
                complain!("warning: {source}: {field}: not carried out here");
            }
        }
        let removed = update.removed.clone();
        if !self.has_ads {
            update.reject_routes_over_ads();
        }
        update.reject_unknown_clusters(&self.maker.clusters.names());
        update.reject_runtime_values(&self.runtime);
        let audited = update.listeners.iter();
        let audited = audited.map(|one| (one.name.clone(), one.audit(&self.settings)));
        let warnings: Vec<_> = audited.collect();
        let applied = apply_update(update, &self.listeners, |listener| {
            self.maker.listener(listener)
        })
        .await;
        self.last_refused.set(&applied.refused, &version_info);
        let serves = |name: &str| self.listeners.active(name).is_some();
        self.first.applied(removed.as_deref(), &applied, serves);
        let taken: HashSet<&str> = changes(&applied).map(|name| &**name).collect();
        for (name, warnings) in warnings {
            for warning in warnings.iter().filter(|_| taken.contains(&*name)) {
                complain!("warning: {source}: listener {name:?}: {warning}");
            }
        }
        Ok(applied)
    }
}

/// Follows the versions of a report that wait for their routes, each to its end; over when none
/// waits any more.
pub(crate) fn warming(
    report: &UpdateReport,
    listeners: &Listeners<EdgeListener>,
    rds: &Rds,
    first: &First,
) -> impl Future<Output = ()> + Send + 'static + use<> {
    first.report(report, |name| listeners.active(name).is_some());
    let versions = report.listeners.iter().filter_map(|(name, outcome)| {
        let Ok(Change::Warming { version }) = *outcome else {
            return None;
        };
        let (listeners, rds) = (listeners.clone(), rds.clone());
        let (first, name) = (first.clone(), Arc::clone(name));
        Some(tokio::spawn(async move {
            listeners.until_warm(version).await;
            warm(&listeners, &rds, &name);
            first.warm(&name, listeners.warming(&name).is_some());
        }))
    });
    let versions: Vec<_> = versions.collect();
    async move {
        for version in versions {
            version.await.ok();
        }
    }
}

/// Says what a listener serves that has waited for its routes.
fn warm(listeners: &Listeners<EdgeListener>, rds: &Rds, name: &str) {
    let Some(active) = listeners.active(name) else {
        return;
    };
    say!(
        "lds: {name} serves version {:?} (v{})",
        active.version_info(),
        active.number()
    );
    for missing in rds.missing(active.config().listener()) {
        complain!(
            "warning: listener {name:?}: route configuration {missing:?} has not come within \
             initial_fetch_timeout: requests are answered with 404 until it does"
        );
    }
}

/// The listeners that an update changed.
fn changes(applied: &Applied) -> impl Iterator<Item = &Arc<str>> {
    let all = applied.report.listeners.iter();
    all.filter(|(_, outcome)| !matches!(outcome, Ok(Change::Unchanged) | Err(_)))
        .map(|(name, _)| name)
}

/// Says what of an update is refused, and in one line what it changed.
fn tell(applied: &Applied, source: &str) {
    for refused in &applied.refused {
        complain!("lds: {source}: {refused}");
    }
    let listeners = applied
        .report
        .listeners
        .iter()
        .filter_map(|(name, outcome)| match outcome {
            Ok(Change::Unchanged) => None,
            Ok(Change::Added { version }) => Some(format!("{name} added (v{version})")),
            Ok(Change::Modified { version, replaced }) => {
                Some(format!("{name} modified (v{version} replaces v{replaced})"))
            }
            Ok(Change::UpdatedInPlace { .. }) => Some(format!("{name} updated in place")),
            Ok(Change::Warming { version }) => {
                Some(format!("{name} waits for its routes (v{version})"))
            }
            Ok(Change::Removed { .. }) => Some(format!("{name} removed")),
            Ok(Change::Stopped) => Some(format!("{name} not taken, listeners are stopped")),
            Ok(change) => Some(format!("{name} {change:?}")),
            Err(_) => Some(format!("{name} refused")),
        });
    let listeners: Vec<_> = listeners.collect();
    let changed = match &listeners[..] {
        [] => "nothing changed".to_owned(),
        listeners => listeners.join(", "),
    };
    say!("lds: version {:?}: {changed}", applied.version_info);
}
