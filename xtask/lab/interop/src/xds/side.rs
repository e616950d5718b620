//! A proxy that is configured by the control plane: its process, what it serves, what it counts.

use std::fmt;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use super::plane::Plane;
use rig::{Process, ask};

const ADMIN: u16 = 9901;

/// How listeners are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) aggregated: bool,
    api_type: &'static str,
}

impl Way {
    pub(super) const ALL: [Self; 4] = [
        Self::new(true, "GRPC"),
        Self::new(true, "DELTA_GRPC"),
        Self::new(false, "GRPC"),
        Self::new(false, "DELTA_GRPC"),
    ];

    const fn new(aggregated: bool, api_type: &'static str) -> Self {
        Self {
            aggregated,
            api_type,
        }
    }

    fn dynamic_resources(self) -> Value {
        let source = json!({
            "api_type": self.api_type, "transport_api_version": "V3",
            "grpc_services": [{ "envoy_grpc": { "cluster_name": "plane" } }],
        });
        match self.aggregated {
            true => {
                json!({ "ads_config": source, "lds_config": { "ads": {}, "resource_api_version": "V3" } })
            }
            false => {
                json!({ "lds_config": { "api_config_source": source, "resource_api_version": "V3" } })
            }
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let service = if self.aggregated { "ADS" } else { "LDS" };
        write!(f, "{service} {}", self.api_type)
    }
}

/// A running proxy. It ends with this value.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) name: &'static str,
    way: Way,
    ip: Ipv4Addr,
    process: Process,
}

impl Side {
    pub(super) fn start(
        name: &'static str,
        program: &Path,
        way: Way,
        ip: Ipv4Addr,
        plane: &Plane,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let http = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
        let address = |ip: String, port: u16| json!({ "socket_address": { "address": ip, "port_value": port } });
        let at_plane = address("127.0.0.1".to_owned(), plane.port);
        let bootstrap = json!({
            "node": { "id": name, "cluster": ip.to_string() },
            "admin": { "address": address(ip.to_string(), ADMIN) },
            "dynamic_resources": way.dynamic_resources(),
            "static_resources": { "clusters": [{
                "name": "plane", "type": "STATIC", "connect_timeout": "1s",
                "typed_extension_protocol_options": { http: {
                    "@type": format!("type.googleapis.com/{http}"),
                    "explicit_http_config": { "http2_protocol_options": {} },
                } },
                "load_assignment": { "cluster_name": "plane", "endpoints": [{ "lb_endpoints": [
                    { "endpoint": { "address": at_plane } },
                ] }] },
            }] },
        });
        let file = folder.join(format!("{name}.json"));
        std::fs::write(&file, bootstrap.to_string())?;
        let mut command = Command::new(program);
        command
            .arg("-c")
            .arg(&file)
            .args(["--drain-time-s", "2", "--drain-strategy", "immediate"]);
        if name == "envoy" {
            command.args([
                "--disable-hot-restart",
                "--concurrency",
                "1",
                "--log-level",
                "warning",
            ]);
        }
        let process = Process::start(&mut command)?;
        Ok(Self {
            name,
            way,
            ip,
            process,
        })
    }

    /// What a client gets from a listener, once that is as it should be, or after a while. Envoy's
    /// workers come to know of an update a little later than its answer.
    pub(super) async fn served(&self, listener: &str, port: u16, wanted: &str) -> String {
        let limit = Instant::now() + Duration::from_secs(5);
        loop {
            let served = match ask((self.ip, port).into(), "GET", "/").await {
                Ok((200, body)) => format!("{listener}: {body}"),
                Ok((status, _)) => format!("{listener}: {status}"),
                Err(_) => format!("{listener}: nothing"),
            };
            if served == wanted || Instant::now() > limit {
                return served;
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// The statistics that both must have alike.
    pub(super) async fn counted(&self) -> anyhow::Result<Vec<String>> {
        let connected = match self.way.aggregated {
            true => "control_plane.connected_state",
            false => "listener_manager.lds.control_plane.connected_state",
        };
        let wanted = [
            connected,
            "listener_manager.lds.update_rejected",
            "listener_manager.lds.update_success",
            "listener_manager.lds.version_text",
        ];
        let (_, text) = ask((self.ip, ADMIN).into(), "GET", "/stats").await?;
        let lines = text.lines().filter_map(|line| line.split_once(": "));
        let mut counted: Vec<String> = lines
            .filter(|(name, _)| wanted.contains(name))
            .filter_map(|(name, value)| Some(format!("{} {value}", name.rsplit_once('.')?.1)))
            .collect();
        counted.sort();
        Ok(counted)
    }

    /// The last it has said.
    pub(super) fn tail(&self) -> String {
        format!("{} said:\n{}", self.name, self.process.said().tail())
    }
}
