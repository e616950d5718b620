//! What a client saw, by its output: one line in figures, or what it missed. Pure functions of its
//! lines.

use anyhow::{Context, bail, ensure};

use super::player::Heard;
use super::stage::Stage;

/// What a client of this kind must have seen in a drain of so many seconds.
pub(super) type Judge = fn(&Heard, f64) -> anyhow::Result<String>;

/// What a busy machine may add to any instant, in seconds.
const SLACK: f64 = 1.5;

/// The end of the time in which connections are told.
fn told_by(drain: f64) -> f64 {
    drain / 4.0 + SLACK
}

/// The scripts judge themselves.
pub(super) fn script(heard: &Heard, _: f64) -> anyhow::Result<String> {
    let verdict = |word| heard.texts().rev().find_map(|text| text.strip_prefix(word));
    match verdict("ok: ") {
        Some(seen) if heard.success => Ok(seen.to_owned()),
        _ => bail!("{}", verdict("FAILED: ").unwrap_or("it did not end well")),
    }
}

const CURL_TOLD: &str = "[close]";

/// Requests on one connection, ten a second, from before the update to after the deadline.
pub(super) fn curl_arguments(stage: &Stage) -> Vec<String> {
    let requests = stage.drain_time().as_secs() * 10 + 100;
    let told = "%{stderr}%{http_code} connects %{num_connects} version %header{x-listener-version} [%header{connection}]\\n";
    let url = stage.url(&format!("/version?[1-{requests}]"));
    let options = [
        "--no-progress-meter",
        "--rate",
        "10/s",
        "-o",
        "/dev/null",
        "-w",
        told,
    ];
    options
        .into_iter()
        .map(str::to_owned)
        .chain([url])
        .collect()
}

/// All answered; one says close in the first quarter; the next is on another connection, the new
/// version's.
pub(super) fn curl(heard: &Heard, drain: f64) -> anyhow::Result<String> {
    ensure!(heard.success, "it did not end well");
    let lines = &heard.lines;
    if let Some(odd) = lines
        .iter()
        .find(|line| !line.text.starts_with("200 connects "))
    {
        bail!("{}", odd.text);
    }
    let told = lines.iter().position(|line| line.text.ends_with(CURL_TOLD));
    let told = told.context("no response said `connection: close`")?;
    let at = lines[told].at;
    ensure!(
        (0.0..=told_by(drain)).contains(&at),
        "`connection: close` at {at:.2} s"
    );
    let (before, after) = lines.split_at(told + 1);
    let old = before
        .iter()
        .skip(1)
        .all(|line| line.text.contains("connects 0 version 1"));
    ensure!(
        old,
        "the first connection should have served everything until it was told"
    );
    let next = after.first().context("nothing after the close")?;
    ensure!(
        next.text.starts_with("200 connects 1 version 2"),
        "after the close: {}",
        next.text
    );
    let new = after
        .iter()
        .skip(1)
        .all(|line| line.text == "200 connects 0 version 2 []");
    ensure!(new, "the second connection should have served the rest");
    let (first, second) = (before.len(), after.len());
    Ok(format!(
        "{} requests, none lost; told by the {first}th response at {at:.2} s; {second} more on the next connection, the new version's",
        lines.len()
    ))
}

/// A file that takes three quarters of the drain time to send.
pub(super) fn curl_upload_arguments(stage: &Stage) -> Vec<String> {
    let bytes = UPLOAD as f64;
    let rate = format!("{:.0}", bytes / (stage.drain_time().as_secs_f64() * 0.75));
    let (file, url) = (stage.file(UPLOAD), stage.url("/upload"));
    let told = "%{stderr}%{http_code} [%header{connection}]\\n";
    let options = [
        "--no-progress-meter",
        "-T",
        &file,
        "--limit-rate",
        &rate,
        "-w",
        told,
        &url,
    ];
    options.map(str::to_owned).to_vec()
}

const UPLOAD: usize = 2_000_000;

/// Taken whole, and its answer says close.
pub(super) fn curl_upload(heard: &Heard, drain: f64) -> anyhow::Result<String> {
    ensure!(heard.success, "it did not end well");
    let whole = format!("{UPLOAD} bytes after 0 ms");
    ensure!(
        heard.texts().any(|text| text == whole),
        "the upload was not taken whole"
    );
    let told = heard.lines.iter().find(|line| line.text == "200 [close]");
    let at = told.context("its answer did not say close")?.at;
    ensure!(
        at > drain / 4.0,
        "it was over at {at:.2} s, before every connection had been told"
    );
    Ok(format!(
        "{UPLOAD} bytes taken whole; the answer said close at {at:.2} s"
    ))
}

/// Two each of a short request, one that crosses a GOAWAY, and one that crosses both.
pub(super) fn nghttp_arguments(stage: &Stage) -> Vec<String> {
    let drain = stage.drain_time().as_millis();
    let slow =
        [10, 40, 70].map(|percent| stage.url(&format!("/slow?ms={}", drain * percent / 100)));
    ["-nvs", "-m", "2"]
        .map(str::to_owned)
        .into_iter()
        .chain(slow)
        .collect()
}

/// GOAWAY(2^31-1), `drain_timeout`, GOAWAY(last); six answers.
pub(super) fn nghttp(heard: &Heard, drain: f64) -> anyhow::Result<String> {
    ensure!(heard.success, "it did not end well");
    let texts: Vec<_> = heard.texts().collect();
    let goaways: Vec<_> = texts.windows(2).filter_map(goaway).collect();
    let [(first, notice), (second, last)] = goaways[..] else {
        bail!("{} GOAWAYs: {goaways:?}", goaways.len());
    };
    ensure!(
        notice == (1 << 31) - 1,
        "the first GOAWAY names stream {notice}"
    );
    let told = heard.started + first;
    ensure!(
        (0.0..=told_by(drain)).contains(&told),
        "the first GOAWAY at {told:.2} s"
    );
    let (gap, timeout) = (second - first, drain / 4.0);
    ensure!(
        (timeout - 0.4..=timeout + SLACK).contains(&gap),
        "{gap:.3} s between the GOAWAYs instead of {timeout}"
    );
    let answered = texts
        .iter()
        .filter(|text| text.contains(" 200 ") && text.contains(" /slow?ms="));
    ensure!(
        answered.clone().count() == 6,
        "{} of 6 requests answered",
        answered.count()
    );
    Ok(format!(
        "6 requests, 6 answered; GOAWAY(2^31-1) at {told:.2} s, GOAWAY({last}) {gap:.3} s later, of {timeout:.3} s"
    ))
}

/// The seconds and the stream of a GOAWAY that was received, as nghttp prints it on two lines.
fn goaway(lines: &[&str]) -> Option<(f64, u64)> {
    let at = lines.first()?.split_once("] recv GOAWAY frame")?.0;
    let last = lines
        .get(1)?
        .split_once("last_stream_id=")?
        .1
        .split(',')
        .next()?;
    Some((
        at.trim_start_matches('[').trim().parse().ok()?,
        last.parse().ok()?,
    ))
}

const H2LOAD_CONNECTIONS: u64 = 4;

/// Four connections, twenty-five requests a second on each, for far longer than the drain.
pub(super) fn h2load_arguments(stage: &Stage) -> Vec<String> {
    let requests = (stage.drain_time().as_secs() * 4 * 100).to_string();
    let url = stage.url("/slow?ms=20");
    let options = ["-c", "4", "-m", "5", "--rps", "25", "-n", &requests, &url];
    options.map(str::to_owned).to_vec()
}

/// h2load opens no second connection. What it counts as failed is what it had planned and then
/// could not begin, because a GOAWAY forbids new streams. One request of each connection may have
/// been begun and still lie in its queue when the GOAWAY comes: it is done without success, and was
/// never sent. Whatever else it began was answered, and nothing timed out.
pub(super) fn h2load(heard: &Heard, drain: f64) -> anyhow::Result<String> {
    ensure!(heard.success, "it did not end well");
    let requests = counts(heard, "requests: ").context("no count of requests")?;
    let count = |name: &str| {
        let found = requests.iter().find(|(_, seen)| seen == name);
        found
            .map(|(count, _)| *count)
            .with_context(|| format!("no `{name}`"))
    };
    let (total, started, done) = (count("total")?, count("started")?, count("done")?);
    ensure!(
        started > 0 && started < total,
        "{started} of {total} begun: it was never told, or at once"
    );
    let succeeded = count("succeeded")?;
    ensure!(
        done == started && succeeded + H2LOAD_CONNECTIONS >= started,
        "{started} begun, {done} done, {succeeded} succeeded"
    );
    ensure!(
        count("errored")? == total - succeeded && count("timeout")? == 0,
        "something failed that was begun"
    );
    let status = counts(heard, "status codes: ").context("no status codes")?;
    let good = status
        .iter()
        .find(|(_, class)| class == "2xx")
        .map(|(count, _)| *count);
    ensure!(good == Some(succeeded), "not every answer was a 200");
    let over = heard
        .lines
        .iter()
        .find(|line| line.text.starts_with("finished in "));
    let over = over.context("it was not finished")?.at;
    ensure!(
        over <= told_by(drain) + SLACK,
        "its last connection was told at {over:.2} s"
    );
    Ok(format!(
        "{succeeded} requests answered; {} it had planned were never sent after the GOAWAYs, the last at {over:.2} s",
        total - succeeded
    ))
}

/// `12 total, 3 done`, behind a name.
fn counts(heard: &Heard, name: &str) -> Option<Vec<(u64, String)>> {
    let text = heard.texts().find_map(|text| text.strip_prefix(name))?;
    let pairs = text
        .split(',')
        .filter_map(|pair| pair.trim().split_once(' '));
    pairs
        .map(|(count, what)| Some((count.parse().ok()?, what.to_owned())))
        .collect()
}

/// What `openssl s_client` sends, again and again, until it has been [`TOLD`] to leave.
pub(super) const OPENSSL_ASKS: &str = "GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";
pub(super) const TOLD: &str = "connection: close";

pub(super) fn openssl_arguments(stage: &Stage) -> Vec<String> {
    let (to, trusted) = (stage.tls_at(), stage.certificate());
    let options = [
        "s_client",
        "-connect",
        &to,
        "-servername",
        "localhost",
        "-CAfile",
        &trusted,
    ];
    let options = options.into_iter().chain([
        "-verify_return_error",
        "-alpn",
        "http/1.1",
        "-msg",
        "-ign_eof",
    ]);
    options.map(str::to_owned).collect()
}

/// The response that says close, whole; the close_notify; and no end without it, of which OpenSSL
/// would complain.
pub(super) fn openssl(heard: &Heard, drain: f64) -> anyhow::Result<String> {
    ensure!(heard.success, "it did not end well");
    let at = |what: &str| {
        heard
            .lines
            .iter()
            .position(|line| line.text.ends_with(what))
    };
    let told = at(TOLD).context("no response said `connection: close`")?;
    let seconds = heard.lines[told].at;
    ensure!(
        (0.0..=told_by(drain)).contains(&seconds),
        "`connection: close` at {seconds:.2} s"
    );
    let bye = heard
        .texts()
        .position(|text| text.starts_with("<<<") && text.ends_with("close_notify"));
    let bye = bye.context("no close_notify came")?;
    let body = heard.texts().skip(told).position(|text| text == "hello");
    ensure!(
        body.is_some_and(|body| told + body < bye),
        "the last response was not whole"
    );
    let answers = heard
        .texts()
        .filter(|text| text.ends_with("HTTP/1.1 200 OK"))
        .count();
    Ok(format!(
        "{answers} responses; told at {seconds:.2} s, then the close_notify"
    ))
}

#[cfg(test)]
mod tests;
