//! Answers whose bodies are in files: read when a listener is made, and never again.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{
    Action, DataSource, DirectResponse, FieldError, HttpConnectionManager, Listener, NetworkFilter,
    RouteConfiguration, path::FieldPath, read_text,
};

/// The files of answers, read.
#[derive(Debug, Clone, Default)]
pub struct Bodies(BTreeMap<PathBuf, String>);

impl Listener {
    /// Reads the files of the answers of its routes.
    ///
    /// # Errors
    ///
    /// The first file that cannot be read, is no text, or is larger than an answer may be.
    pub fn bodies(&self) -> Result<Bodies, FieldError> {
        let mut bodies = Bodies::default();
        for (at, chain) in self.chains_at(&FieldPath::root()) {
            for (index, filter) in chain.filters.iter().enumerate() {
                let NetworkFilter::HttpConnectionManager(manager) = &filter.typed_config else {
                    continue;
                };
                let at = at.key("filters").index(index).key("typed_config");
                if let Some(table) = &manager.route_config {
                    bodies.read(table, &at.key("route_config"))?;
                }
            }
        }
        Ok(bodies)
    }
}

impl RouteConfiguration {
    /// Reads the files of the answers of its routes.
    ///
    /// # Errors
    ///
    /// The first file that cannot be read, is no text, or is larger than an answer may be.
    pub fn bodies(&self) -> Result<Bodies, FieldError> {
        let mut bodies = Bodies::default();
        bodies.read(self, &FieldPath::root())?;
        Ok(bodies)
    }

    /// The same with the content of files in place of their names.
    #[must_use]
    pub fn with_bodies(&self, bodies: &Bodies) -> Self {
        let mut table = self.clone();
        let hosts = table.virtual_hosts.iter_mut();
        for route in hosts.flat_map(|host| &mut host.routes) {
            if let Action::DirectResponse(DirectResponse {
                body: Some(body), ..
            }) = &mut route.action
            {
                let read = body.filename.as_ref().and_then(|path| bodies.0.get(path));
                if let Some(text) = read {
                    body.inline_string = Some(text.clone());
                }
            }
        }
        table
    }
}

impl Bodies {
    fn read(&mut self, table: &RouteConfiguration, at: &FieldPath) -> Result<(), FieldError> {
        for (host_index, host) in table.virtual_hosts.iter().enumerate() {
            for (route_index, route) in host.routes.iter().enumerate() {
                let Action::DirectResponse(DirectResponse {
                    body:
                        Some(DataSource {
                            filename: Some(path),
                            ..
                        }),
                    ..
                }) = &route.action
                else {
                    continue;
                };
                let wrong = |message| {
                    let at = at.key("virtual_hosts").index(host_index);
                    let at = at.key("routes").index(route_index);
                    let at = at.key("direct_response").key("body").key("filename");
                    FieldError::new(&at, message)
                };
                let text = read_text(path)
                    .map_err(|error| wrong(format!("cannot read {}: {error}", path.display())))?;
                if let Some(problem) = table.body_problem(&text) {
                    return Err(wrong(format!("{}: {problem}", path.display())));
                }
                self.0.insert(path.clone(), text);
            }
        }
        Ok(())
    }
}

impl HttpConnectionManager {
    /// The same with the content of files in place of their names.
    #[must_use]
    pub fn with_bodies(&self, bodies: &Bodies) -> Self {
        let mut manager = self.clone();
        let table = self.route_config.as_ref();
        manager.route_config = table.map(|table| table.with_bodies(bodies));
        manager
    }
}
