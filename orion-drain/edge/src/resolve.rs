//! Host names of endpoints: resolved when the process starts, and again at their cluster's
//! `dns_refresh_rate`.
//!
//! The system's resolver is asked (`getaddrinfo`: `/etc/hosts`, then DNS), in a thread of its own.
//! It does not say how long an answer holds, so `dns_refresh_rate` counts, as in Envoy unless
//! `respect_dns_ttl` is set.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use orion_drain::config::{DiscoveryType, DnsLookupFamily};
use tokio::task::{JoinHandle, JoinSet};

use crate::dial::Place;
use crate::upstream::{Clusters, Endpoints, Found, place};

/// How long the start waits for the first answers. What has no address by then is answered with 503
/// until it has.
const FIRST_ANSWERS: Duration = Duration::from_secs(5);
/// How long one lookup may take before it counts as failed.
const LOOKUP: Duration = Duration::from_secs(10);

impl Clusters {
    /// Resolves the host names of all clusters, for as long as the process lives; returns when each
    /// has been looked up once, or after five seconds.
    pub(crate) async fn resolve(&self) {
        let mut first = JoinSet::new();
        for endpoints in self.by_name.values() {
            if endpoints.cluster.discovery_type == DiscoveryType::Static {
                continue;
            }
            let (done, wait) = tokio::sync::oneshot::channel();
            tokio::spawn(keep(Arc::clone(endpoints), done));
            first.spawn(wait);
        }
        let all = async { while first.join_next().await.is_some() {} };
        if tokio::time::timeout(FIRST_ANSWERS, all).await.is_err() {
            complain!("clusters: some host names are not resolved yet");
        }
    }
}

/// Keeps the endpoints of one cluster up to date.
async fn keep(endpoints: Arc<Endpoints>, first: tokio::sync::oneshot::Sender<()>) {
    let cluster = &endpoints.cluster;
    let mut first = Some(first);
    let mut names = Names::default();
    loop {
        let mut places = Vec::new();
        for (host, used) in cluster.hosts() {
            let endpoint = &used.endpoint;
            let Some((name, port)) = endpoint.address.host_name() else {
                places.extend(place(&endpoint.address).map(|place| Found {
                    place,
                    hostname: None,
                    host,
                }));
                continue;
            };
            let found = names.look_up(name, port, &cluster.name).await;
            let found = match cluster.discovery_type {
                DiscoveryType::LogicalDns => first_of(found, cluster.dns_lookup_family),
                _ => all_of(found, cluster.dns_lookup_family),
            };
            let hostname = match &*endpoint.hostname {
                "" => name,
                hostname => hostname,
            };
            places.extend(found.into_iter().map(|place| Found {
                place,
                hostname: Some(hostname.to_owned()),
                host,
            }));
        }
        // Several names may have one address.
        let mut distinct: Vec<Found> = Vec::new();
        for place in places {
            if !distinct.iter().any(|have| have.is_same(&place)) {
                distinct.push(place);
            }
        }
        endpoints.set(distinct);
        // The start may have gone on without it.
        first.take().map(|first| first.send(()).ok());
        let interval = cluster.resolve_interval().max(Duration::from_millis(1));
        tokio::time::sleep(interval).await;
    }
}

/// The addresses of host names as they were seen last.
#[derive(Default)]
struct Names(HashMap<(String, u16), Known>);

#[derive(Default)]
struct Known {
    addresses: Vec<SocketAddr>,
    failed: bool,
    /// The lookup that is under way. `getaddrinfo` cannot be stopped: the next round waits for this
    /// one, so that a resolver that does not answer takes one thread a name.
    lookup: Option<JoinHandle<io::Result<Vec<SocketAddr>>>>,
}

async fn ask_system(name: String, port: u16) -> io::Result<Vec<SocketAddr>> {
    let found = tokio::net::lookup_host((name, port)).await?;
    match found.collect::<Vec<_>>() {
        none if none.is_empty() => Err(io::Error::other("it has no address")),
        found => Ok(found),
    }
}

impl Names {
    /// The addresses of a name; those of the last time if it cannot be resolved now.
    async fn look_up(&mut self, name: &str, port: u16, cluster: &str) -> &[SocketAddr] {
        let known = self.0.entry((name.to_owned(), port)).or_default();
        let ask = || tokio::spawn(ask_system(name.to_owned(), port));
        let lookup = known.lookup.get_or_insert_with(ask);
        let found = match tokio::time::timeout(LOOKUP, lookup).await {
            Ok(ended) => {
                known.lookup = None;
                ended.unwrap_or_else(|failed| Err(failed.into()))
            }
            Err(late) => Err(late.into()),
        };
        match found {
            Ok(mut found) => {
                // In whatever order they come: the same ones are no change.
                found.sort_unstable();
                found.dedup();
                known.addresses = found;
                known.failed = false;
            }
            Err(error) => {
                if !known.failed {
                    complain!("cluster {cluster:?}: cannot resolve {name}: {error}");
                }
                known.failed = true;
            }
        }
        &known.addresses
    }
}

/// A place for each address. Where both families are known and one is preferred, a connection that
/// it refuses is tried by the other.
fn all_of(found: &[SocketAddr], family: DnsLookupFamily) -> Vec<Place> {
    let chosen = family.choose(found.iter().copied());
    let others = match family {
        DnsLookupFamily::Auto | DnsLookupFamily::V4Preferred => {
            let others = found.iter().filter(|address| !chosen.contains(address));
            others.copied().collect()
        }
        _ => Vec::new(),
    };
    let each = chosen.iter();
    each.map(|address| Place::Tcp([&[*address], &others[..]].concat()))
        .collect()
}

/// One place, with the other addresses to fall back on.
fn first_of(found: &[SocketAddr], family: DnsLookupFamily) -> Vec<Place> {
    let mut places = all_of(found, family);
    places.truncate(1);
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn addresses_that_are_known_hold_while_a_name_cannot_be_resolved() {
        // No label may be so long: no server is asked.
        let name = "a".repeat(70);
        let mut names = Names::default();
        assert!(names.look_up(&name, 80, "c").await.is_empty());
        let before = SocketAddr::from(([192, 0, 2, 1], 80));
        let known = Known {
            addresses: vec![before],
            ..Known::default()
        };
        names.0.insert((name.clone(), 80), known);
        assert_eq!(names.look_up(&name, 80, "c").await, [before]);
        assert!(names.0[&(name, 80)].failed);
    }

    #[tokio::test(start_paused = true)]
    async fn a_resolver_that_does_not_answer_is_asked_once_and_its_late_answer_is_taken() {
        let [before, after] = [1, 2].map(|last| SocketAddr::from(([192, 0, 2, last], 80)));
        let (answer, late) = tokio::sync::oneshot::channel();
        let known = Known {
            addresses: vec![before],
            lookup: Some(tokio::spawn(async { Ok(late.await.expect("an answer")) })),
            ..Known::default()
        };
        let mut names = Names(HashMap::from([(("slow.test".to_owned(), 80), known)]));
        for _ in 0..3 {
            assert_eq!(names.look_up("slow.test", 80, "c").await, [before]);
        }
        answer.send(vec![after]).expect("it is still waited for");
        assert_eq!(names.look_up("slow.test", 80, "c").await, [after]);
    }

    #[test]
    fn both_families_are_used_as_the_cluster_says() {
        let v4: SocketAddr = ([192, 0, 2, 1], 80).into();
        let v6: SocketAddr = "[2001:db8::1]:80".parse().expect("an address");
        for (family, expected) in [
            (DnsLookupFamily::Auto, vec![Place::Tcp(vec![v6, v4])]),
            (DnsLookupFamily::V4Preferred, vec![Place::Tcp(vec![v4, v6])]),
            (DnsLookupFamily::V4Only, vec![Place::Tcp(vec![v4])]),
            (DnsLookupFamily::V6Only, vec![Place::Tcp(vec![v6])]),
            (
                DnsLookupFamily::All,
                vec![Place::Tcp(vec![v4]), Place::Tcp(vec![v6])],
            ),
        ] {
            assert_eq!(all_of(&[v4, v6], family), expected, "{family:?}");
            assert_eq!(first_of(&[v4, v6], family), expected[..1], "{family:?}");
        }
        assert_eq!(all_of(&[v4], DnsLookupFamily::Auto), [Place::Tcp(vec![v4])]);
    }
}
