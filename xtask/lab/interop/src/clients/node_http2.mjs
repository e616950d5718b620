// HTTP/2 by Node.js: five sessions with a request every 100 ms and a long one. A session that hears a GOAWAY takes no more
// requests and finishes those it has; the client goes on over another session. Every request must be answered.

import http2 from "node:http2";
import readline from "node:readline";

const [port, , drain] = process.argv.slice(2).map(Number);
const SLACK = 1.5;
let announced = false;
let updatedAt = Infinity;
const now = () => performance.now() / 1000 - updatedAt;
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const end = (line, code) => process.stdout.write(`${line}\n`, () => process.exit(code));
const fail = (what) => end(`FAILED: ${what}`, 1);
setTimeout(() => fail("not done in time"), (drain + 40) * 1000).unref();

// The first line: the update is near. The second: it is done.
readline.createInterface({ input: process.stdin }).on("line", () => {
  if (announced) updatedAt = performance.now() / 1000;
  announced = true;
});

let asked = 0;
let answered = 0;
let unsent = 0;
const goaways = [];

/** A session that remembers its GOAWAYs and how it ended. */
function open() {
  const session = http2.connect(`http://127.0.0.1:${port}`);
  session.seen = [];
  session.on("goaway", (code, last) => {
    if (code !== 0) fail(`a GOAWAY with the error ${code}`);
    session.seen.push({ at: now(), last });
  });
  session.on("error", (error) => fail(`a session: ${error}`));
  return session;
}

/** Asks over the session that `current` gives; again, if the request was still waiting in Node when the GOAWAY came. */
function ask(current, path) {
  const session = current();
  asked += 1;
  return new Promise((done) => {
    const request = session.request({ ":path": path });
    let status = 0;
    let refused = false;
    request.on("response", (headers) => (status = headers[":status"]));
    request.on("error", (error) => {
      // RFC 9113 section 8.7: it was never processed. Here it was never sent.
      refused = request.rstCode === http2.constants.NGHTTP2_REFUSED_STREAM && session.seen.length > 0 && status === 0;
      if (!refused) fail(`${path} after ${answered} answers: ${error}`);
    });
    request.on("close", () => {
      if (refused) {
        asked -= 1;
        unsent += 1;
        done(ask(current, path));
        return;
      }
      if (status !== 200 || request.rstCode !== 0) fail(`${path}: ${status}, stream error ${request.rstCode}`);
      answered += 1;
      done(now());
    });
    request.resume();
  });
}

async function client() {
  const sessions = [open()];
  const current = () => {
    const session = sessions.at(-1);
    if (session.seen.length > 0 || session.closed || session.destroyed) sessions.push(open());
    return sessions.at(-1);
  };
  const pending = [];
  let long;
  while (now() < drain) {
    if (long === undefined && announced) {
      long = ask(current, `/slow?ms=${drain * 700}`);
    }
    pending.push(ask(current, "/slow?ms=20"));
    await pause(100);
  }
  await Promise.all([...pending, long]);
  goaways.push(sessions[0].seen);
  sessions.at(-1).close();
  return sessions.length;
}

const clients = Array.from({ length: 5 }, client);
setTimeout(() => console.log("ready"), 1000);
const sessions = await Promise.all(clients);
const gaps = [];
for (const seen of goaways) {
  if (seen.length !== 2) fail(`${seen.length} GOAWAYs on a session: ${JSON.stringify(seen)}`);
  const [first, second] = seen;
  if (first.last !== 2 ** 31 - 1) fail(`the first GOAWAY names stream ${first.last}`);
  if (first.at > drain / 4 + SLACK) fail(`the first GOAWAY came at ${first.at} s`);
  gaps.push(second.at - first.at);
  const beyond = gaps.at(-1) - drain / 4;
  if (beyond < -0.4 || beyond > SLACK) fail(`${gaps.at(-1)} s between the GOAWAYs`);
}
if (sessions.some((count) => count !== 2)) fail(`${sessions} sessions, two each expected`);
if (asked !== answered) fail(`${answered} answers to ${asked} requests`);
const firsts = goaways.map(([first]) => first.at);
end(
  `ok: ${asked} requests, ${answered} answered, ${unsent} of them sent anew; 'goaway' at ${Math.min(...firsts).toFixed(2)}-${Math.max(...firsts).toFixed(2)} s ` +
    `and again ${Math.min(...gaps).toFixed(3)}-${Math.max(...gaps).toFixed(3)} s later`,
  0,
);
