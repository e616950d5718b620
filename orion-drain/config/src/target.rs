//! Which cluster a request or a connection goes to: one, one by weight, or one that a header names.

use serde::{Deserialize, Serialize};

use super::{HeaderValueOption, RequestHead, names::is_default, numbers};

/// Clusters that share requests by their weights: `config.route.v3.WeightedCluster`.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightedClusters {
    /// The clusters. Their weights together must be over 0.
    #[serde(default)]
    pub clusters: Vec<ClusterWeight>,
}

/// A cluster with its weight: `config.route.v3.WeightedCluster.ClusterWeight`.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterWeight {
    /// The cluster. Required.
    #[serde(default)]
    pub name: String,
    /// Its share is this of the sum of all. Default: 0.
    #[serde(
        default,
        deserialize_with = "numbers::deserialize",
        skip_serializing_if = "is_default"
    )]
    pub weight: u32,
    /// Headers of every request to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub request_headers_to_add: Vec<HeaderValueOption>,
    /// Headers that no request to it has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub request_headers_to_remove: Vec<String>,
    /// Headers of every response from it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub response_headers_to_add: Vec<HeaderValueOption>,
    /// Headers that no response from it has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub response_headers_to_remove: Vec<String>,
    /// The host that requests to it are for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub host_rewrite_literal: String,
}

impl WeightedClusters {
    /// The cluster that this sample of chance, any number, falls to.
    pub fn pick(&self, sample: u64) -> Option<&ClusterWeight> {
        let weight = |cluster: &ClusterWeight| u64::from(cluster.weight);
        let total: u64 = self.clusters.iter().map(weight).sum();
        let mut left = sample.checked_rem(total)?;
        self.clusters.iter().find(|cluster| {
            let falls = left < weight(cluster);
            left = left.saturating_sub(weight(cluster));
            falls
        })
    }
}

/// The cluster of a request, and what is said of it alone.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChosenCluster<'r> {
    /// Its name; empty if a header should have named it, and is not there.
    pub name: std::borrow::Cow<'r, str>,
    /// Its entry, if it was chosen by weight.
    pub weight: Option<&'r ClusterWeight>,
}

impl super::RouteAction {
    /// The cluster that a request goes to.
    pub fn choose_cluster<'r>(&'r self, request: &RequestHead<'r>) -> ChosenCluster<'r> {
        if let Some(header) = &self.cluster_header {
            return ChosenCluster {
                name: request.header(header).unwrap_or_default(),
                weight: None,
            };
        }
        let weight = self
            .weighted_clusters
            .as_ref()
            .and_then(|clusters| clusters.pick(request.sample));
        let name = weight.map_or(&self.cluster, |cluster| &cluster.name);
        ChosenCluster {
            name: name.as_str().into(),
            weight,
        }
    }
}
