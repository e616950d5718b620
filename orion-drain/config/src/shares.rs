//! Which share of the requests each endpoint of a cluster gets, by its priority and by what is
//! known of its health, as in Envoy:
//! [priorities](https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/priority),
//! [degraded endpoints](https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/degraded),
//! [panic](https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/panic_threshold).

use std::collections::BTreeMap;

use super::{Cluster, HealthStatus, LbEndpoint};

/// A host of a cluster, as far as its share goes: an endpoint, or an address of its host name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Host {
    priority: u32,
    health_status: HealthStatus,
    weight: u32,
}

/// So many percent more hosts than are needed for all requests are taken to be there.
const OVERPROVISIONED: usize = 140;

/// Divided by how many hosts there are, if they are at most 16, it leaves nothing.
const WHOLE: u64 = 720_720;

/// The hosts of one priority.
#[derive(Debug, Default)]
struct Level {
    all: Vec<usize>,
    healthy: Vec<usize>,
    degraded: Vec<usize>,
    /// All but those that drain.
    counted: usize,
    panics: bool,
}

impl Level {
    /// How many percent of the requests these of its hosts can take.
    fn available(&self, hosts: &[usize]) -> usize {
        let available = (OVERPROVISIONED * hosts.len()).checked_div(self.counted);
        available.unwrap_or(0).min(100)
    }

    fn is_below(&self, threshold: usize) -> bool {
        let well = 100 * (self.healthy.len() + self.degraded.len());
        match self.counted {
            0 => threshold > 0,
            counted => well < threshold * counted,
        }
    }
}

impl Cluster {
    /// Its endpoints, each with what its share goes by.
    pub fn hosts(&self) -> impl Iterator<Item = (Host, &LbEndpoint)> {
        self.localities().iter().flat_map(|locality| {
            let each = locality.lb_endpoints.iter();
            each.map(|endpoint| {
                let host = Host {
                    priority: locality.priority,
                    health_status: endpoint.health_status,
                    weight: endpoint.weight(),
                };
                (host, endpoint)
            })
        })
    }

    /// The shares of these hosts, in proportion to each other. One that gets no requests has 0.
    pub fn shares(&self, hosts: &[Host]) -> Vec<u32> {
        let mut levels = levels(hosts);
        let threshold = self.panic_threshold();
        let load = load(&mut levels, threshold);
        let groups = levels
            .iter()
            .zip(load)
            .flat_map(
                |(level, (healthy, rest))| match level.panics && threshold > 0 {
                    true => [(healthy + rest, &level.all), (0, &level.degraded)],
                    false => [(healthy, &level.healthy), (rest, &level.degraded)],
                },
            );
        let groups: Vec<_> = groups
            .filter(|(percent, members)| *percent > 0 && !members.is_empty())
            .collect();
        let mut shares = vec![0; hosts.len()];
        let [only] = &groups[..] else {
            for (percent, members) in groups {
                let of_all = members.iter().map(|&one| u64::from(hosts[one].weight));
                let of_all: u64 = of_all.sum::<u64>().max(1);
                for &one in members {
                    let part = u128::from(hosts[one].weight) * u128::from(WHOLE);
                    let part = part * percent as u128 / u128::from(of_all);
                    // At most a hundred times `WHOLE`.
                    shares[one] = (part as u32).max(1);
                }
            }
            return shares;
        };
        for &one in only.1 {
            shares[one] = hosts[one].weight;
        }
        shares
    }

    /// In whole percent.
    fn panic_threshold(&self) -> usize {
        let common = self.common_lb_config.as_ref();
        let threshold = common.and_then(|common| common.healthy_panic_threshold);
        threshold.map_or(50, |threshold| threshold.value.round() as usize)
    }
}

fn levels(hosts: &[Host]) -> Vec<Level> {
    let mut levels: BTreeMap<u32, Level> = BTreeMap::new();
    for (index, host) in hosts.iter().enumerate() {
        let level = levels.entry(host.priority).or_default();
        level.all.push(index);
        level.counted += usize::from(host.health_status != HealthStatus::Draining);
        match host.health_status {
            HealthStatus::Unknown | HealthStatus::Healthy => level.healthy.push(index),
            HealthStatus::Degraded => level.degraded.push(index),
            _ => {}
        }
    }
    levels.into_values().collect()
}

/// How many percent of the requests the healthy and the degraded hosts of each level get.
fn load(levels: &mut [Level], threshold: usize) -> Vec<(usize, usize)> {
    let healthy: Vec<_> = levels.iter().map(|it| it.available(&it.healthy)).collect();
    let degraded: Vec<_> = levels.iter().map(|it| it.available(&it.degraded)).collect();
    let available = healthy.iter().chain(&degraded).sum::<usize>().min(100);
    for level in &mut *levels {
        level.panics = available < 100 && level.is_below(threshold);
    }
    if levels.iter().all(|level| level.panics) {
        let all: usize = levels.iter().map(|level| level.all.len()).sum();
        let by_size = |level: &Level| (100 * level.all.len()).checked_div(all).unwrap_or(0);
        let mut load: Vec<_> = levels.iter().map(|level| (by_size(level), 0)).collect();
        let rest = 100 - load.iter().map(|(percent, _)| percent).sum::<usize>();
        let first = levels.iter().position(|level| !level.all.is_empty());
        if let Some((percent, _)) = first.and_then(|first| load.get_mut(first)) {
            *percent += rest;
        }
        return load;
    }
    let mut left = 100;
    let mut spread = |available_there: &[usize]| -> Vec<usize> {
        let each = available_there.iter().map(|there| {
            let percent = (there * 100).checked_div(available).unwrap_or(0).min(left);
            left -= percent;
            percent
        });
        each.collect()
    };
    let (mut healthy_load, mut degraded_load) = (spread(&healthy), spread(&degraded));
    // What rounding has left over.
    let first = |there: &[usize]| there.iter().position(|there| *there > 0);
    match (first(&healthy), first(&degraded)) {
        (Some(first), _) => healthy_load[first] += left,
        (None, Some(first)) => degraded_load[first] += left,
        (None, None) => {}
    }
    healthy_load.into_iter().zip(degraded_load).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{CommonLbConfig, Percent};
    use super::*;

    /// What each host gets of 1 000 requests. `H`: healthy, `D`: degraded, `U`: unhealthy, `X`:
    /// draining; a space begins the next priority.
    fn shares(hosts: &str, threshold: Option<f64>) -> Vec<u64> {
        let levels = hosts.split(' ').zip(0..);
        let hosts = levels.flat_map(|(level, priority)| {
            level.chars().map(move |letter| Host {
                priority,
                weight: 1,
                health_status: match letter {
                    'H' => HealthStatus::Healthy,
                    'D' => HealthStatus::Degraded,
                    'U' => HealthStatus::Unhealthy,
                    _ => HealthStatus::Draining,
                },
            })
        });
        let threshold = threshold.map(|value| CommonLbConfig {
            healthy_panic_threshold: Some(Percent { value }),
        });
        let cluster = Cluster {
            common_lb_config: threshold,
            ..Cluster::default()
        };
        let shares = cluster.shares(&hosts.collect::<Vec<_>>());
        let all = shares.iter().map(|share| u64::from(*share)).sum::<u64>();
        let of_all = |share: &u32| (u64::from(*share) * 1000).checked_div(all).unwrap_or(0);
        shares.iter().map(of_all).collect()
    }

    /// Each row was played against Envoy 1.40.0, 300 requests.
    #[test]
    fn hosts_have_envoys_shares() {
        for (hosts, expected) in [
            ("HH", &[500, 500][..]),
            ("HD", &[700, 300]),
            ("DD", &[500, 500]),
            ("DU", &[1000, 0]),
            ("HU", &[1000, 0]),
            ("HUUU", &[250, 250, 250, 250]),
            ("HUU", &[333, 333, 333]),
            ("HXXX", &[1000, 0, 0, 0]),
            ("XX", &[500, 500]),
            ("HDDD", &[350, 216, 216, 216]),
            ("HUUU H", &[350, 0, 0, 0, 650]),
            ("HU H", &[700, 0, 300]),
            ("DD H", &[0, 0, 1000]),
            ("UU UUU", &[200, 200, 200, 200, 200]),
            ("HUUU HUU", &[145, 145, 145, 145, 140, 140, 140]),
            ("H  H", &[1000, 0]),
            (" H", &[1000]),
        ] {
            assert_eq!(shares(hosts, None), expected, "{hosts}");
        }
    }

    #[test]
    fn a_threshold_says_when_all_hosts_of_a_priority_are_used() {
        assert_eq!(shares("HUUU", Some(0.0)), [1000, 0, 0, 0]);
        assert_eq!(shares("HUUU", Some(20.0)), [1000, 0, 0, 0]);
        assert_eq!(shares("HUUU", Some(25.4)), [1000, 0, 0, 0]);
        assert_eq!(shares("HUUU", Some(26.0)), [250, 250, 250, 250]);
        assert_eq!(shares("UU", Some(0.0)), [0, 0]);
        assert_eq!(shares("U U", Some(1.0)), [500, 500]);
    }

    #[test]
    fn within_a_group_weights_count() {
        let host = |health_status, weight| Host {
            priority: 0,
            health_status,
            weight,
        };
        let cluster = Cluster::default();
        let hosts = [(HealthStatus::Healthy, 7), (HealthStatus::Unknown, 2)];
        let hosts = hosts.map(|(status, weight)| host(status, weight));
        assert_eq!(cluster.shares(&hosts), [7, 2]);
        let degraded = [
            host(HealthStatus::Degraded, 1),
            host(HealthStatus::Degraded, 3),
        ];
        let shares = cluster.shares(&[hosts[0], hosts[1], degraded[0], degraded[1]]);
        let of_degraded: u32 = shares[2..].iter().sum();
        assert_eq!(shares[3], 3 * shares[2]);
        assert_eq!((shares[0] + shares[1]) / 7, of_degraded / 3);
        assert_eq!(cluster.shares(&[]), [0; 0]);
    }
}
