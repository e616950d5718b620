//! `plain ADDRESS VERSION graceful|dropped SECONDS`: rebinds at SIGHUP, drains at SIGTERM.

use std::time::Duration;

use versus_peers::rebind::{Old, serve};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, version, old, seconds] = arguments.as_slice() else {
        return Err("ADDRESS VERSION graceful|dropped SECONDS".into());
    };
    let old = match old.as_str() {
        "graceful" => Old::Graceful(Duration::from_secs(seconds.parse()?)),
        "dropped" => Old::Dropped,
        other => return Err(format!("graceful or dropped, not {other}").into()),
    };
    Ok(serve(address.parse()?, version.parse()?, old).await?)
}
