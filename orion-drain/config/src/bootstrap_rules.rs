//! The rules of a bootstrap that are a choice of its reader.

#[cfg(doc)]
use super::Bootstrap;

/// What a bootstrap has to keep beside Envoy's rules for its fields. Default: nothing.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BootstrapRules {
    /// Envoy has all of its fields; as Envoy asks, unless `--allow-unknown-static-fields` is given.
    pub no_foreign_fields: bool,
    /// All of its fields that Envoy has are carried out.
    pub no_unsupported_fields: bool,
    /// Its routes lead to clusters that it has: [`Bootstrap::check_clusters`].
    pub known_clusters: bool,
}
