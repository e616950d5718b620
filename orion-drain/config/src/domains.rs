//! Which virtual host the host of a request belongs to, of any number of them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use super::{RouteConfiguration, rewrite::split_port};

/// The domains of a [`RouteConfiguration`], made ready once: a request then costs one look for each
/// length that its patterns have, not one for each domain. [`RouteConfiguration::domains`] makes
/// it, for [`RouteConfiguration::choose`].
#[derive(Debug, Clone, Default)]
pub struct Domains {
    /// As they are written, patterns too.
    exact: Hosts,
    /// Of `*suffix`, the suffixes, longest first.
    suffixes: ByLength,
    /// Of `prefix*`, the prefixes.
    prefixes: ByLength,
    /// That of `*`.
    any: Option<usize>,
}

/// Places among the virtual hosts, by domains in small letters; of equal ones the first.
type Hosts = HashMap<String, usize>;
type ByLength = BTreeMap<Reverse<usize>, Hosts>;

impl RouteConfiguration {
    /// Its domains, made ready for [`choose`](Self::choose).
    pub fn domains(&self) -> Domains {
        let mut domains = Domains::default();
        for (place, host) in self.virtual_hosts.iter().enumerate() {
            for domain in &host.domains {
                domains.add(domain.to_ascii_lowercase(), place);
            }
        }
        domains
    }

    /// The host of a request as domains are compared with it.
    pub(super) fn compared<'h>(&self, host: &'h str) -> &'h str {
        match self.ignore_port_in_host_matching {
            true => split_port(host).0,
            false => host,
        }
    }
}

impl Domains {
    fn add(&mut self, domain: String, place: usize) {
        let (of, part) = match (domain.strip_prefix('*'), domain.strip_suffix('*')) {
            (Some(""), _) => {
                self.any.get_or_insert(place);
                (None, "")
            }
            (Some(suffix), _) => (Some(&mut self.suffixes), suffix),
            (None, Some(prefix)) => (Some(&mut self.prefixes), prefix),
            (None, None) => (None, ""),
        };
        if let Some(by_length) = of {
            let hosts = by_length.entry(Reverse(part.len())).or_default();
            hosts.entry(part.to_owned()).or_insert(place);
        }
        self.exact.entry(domain).or_insert(place);
    }

    /// The place of the virtual host: exact domains first, then `*suffix`, then `prefix*`, longest
    /// first, then `*`, as [Envoy
    /// does](https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/route/v3/route_components.proto).
    /// `host` is in small letters.
    pub(super) fn place(&self, host: &str) -> Option<usize> {
        let longest = |of: &ByLength, cut: fn(&str, usize) -> Option<&str>| {
            // The part of the star is not empty.
            let mut shorter = of.range(Reverse(host.len().checked_sub(1)?)..);
            shorter.find_map(|(Reverse(length), hosts)| hosts.get(cut(host, *length)?).copied())
        };
        let exact = self.exact.get(host).copied();
        exact
            .or_else(|| {
                longest(&self.suffixes, |host, length| {
                    host.get(host.len() - length..)
                })
            })
            .or_else(|| longest(&self.prefixes, |host, length| host.get(..length)))
            .or(self.any)
    }
}
