"""HTTP/2 by Python's h2, which sees every frame: connections with streams, and idle ones.

h2's own state machine ends with the first GOAWAY and refuses whatever follows, so those frames are read here and not given
to it; everything else is. Over TLS with ALPN where a certificate is given.
"""

import asyncio
import ssl

import h2.config
import h2.connection
import h2.events
from stage import *

GOAWAY, MAXIMUM = 7, 2**31 - 1


class Session:
    def __init__(self):
        self.goaways, self.answered, self.opened = [], {}, []
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))

    async def open(self):
        context = None
        if TRUSTED:
            context = ssl.create_default_context(cafile=TRUSTED)
            context.set_alpn_protocols(["h2"])
        name = "localhost" if TRUSTED else None
        self.reader, self.writer = await asyncio.open_connection(HOST, PORT, ssl=context, server_hostname=name)
        self.h2.initiate_connection()
        self.flush()
        self.ended = asyncio.create_task(self.read())
        return self

    def flush(self):
        self.writer.write(self.h2.data_to_send())

    async def read(self):
        """When the server ended the connection, at a frame's end, by FIN. A reset raises."""
        while True:
            try:
                head = await self.reader.readexactly(9)
            except asyncio.IncompleteReadError as ended:
                check(not ended.partial, "the connection ended inside a frame")
                return now()
            payload = await self.reader.readexactly(int.from_bytes(head[:3], "big"))
            if head[3] == GOAWAY:
                last, code = (int.from_bytes(payload[at : at + 4], "big") for at in (0, 4))
                check(code == 0, f"a GOAWAY with the error {code}")
                self.goaways.append((now(), last))
                continue
            for event in self.h2.receive_data(head + payload):
                if isinstance(event, h2.events.ResponseReceived):
                    check(dict(event.headers)[":status"] == "200", f"an answer of {event.headers}")
                elif isinstance(event, h2.events.DataReceived):
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, h2.events.StreamEnded):
                    self.answered[event.stream_id] = now()
                elif isinstance(event, h2.events.StreamReset):
                    raise Missed(f"stream {event.stream_id} was reset: {event.error_code!r}")
            self.flush()

    def ask(self, path):
        stream = self.h2.get_next_available_stream_id()
        scheme = "https" if TRUSTED else "http"
        asked = [(":method", "GET"), (":path", path), (":scheme", scheme), (":authority", "localhost")]
        self.h2.send_headers(stream, asked, end_stream=True)
        self.opened.append((now(), stream))
        self.flush()
        return stream

    async def judge(self):
        """What every session must have seen."""
        ended = await self.ended
        check(len(self.goaways) == 2, f"{len(self.goaways)} GOAWAYs: {self.goaways}")
        (first, notice), (second, last) = self.goaways
        check(notice == MAXIMUM, f"the first GOAWAY names stream {notice}, not 2^31-1")
        within(first, 0, FIRST_QUARTER + SLACK, "the first GOAWAY")
        within(second - first, DRAIN_TIMEOUT - 0.4, DRAIN_TIMEOUT + SLACK, "the final GOAWAY, after the first,")
        lost = [stream for _, stream in self.opened if stream <= last and stream not in self.answered]
        check(not lost, f"streams {lost} of at most {last} have no answer")
        late = [stream for _, stream in self.opened if stream > last]
        check(not set(late) & set(self.answered), "a stream was answered that the final GOAWAY had given up")
        over = max([second, *self.answered.values()])
        within(ended - over, DELAYED_CLOSE - 0.4, DELAYED_CLOSE + SLACK, "the FIN, after the last answer,")
        between = sum(1 for at, stream in self.opened if first < at and stream <= last)
        return second - first, first, len(self.answered), between, len(late)


async def busy():
    """A stream every 100 ms until the final GOAWAY, one that runs far beyond it, and one that comes too late."""
    session = await Session().open()
    await asyncio.to_thread(until_announced)
    # The server over TLS knows no slow answers.
    long = session.ask(f"/slow?ms={int(DRAIN * 700)}")
    while len(session.goaways) < 2:
        check(now() < DRAIN, "no final GOAWAY within the drain time")
        session.ask("/slow?ms=20")
        await asyncio.sleep(0.1)
    session.ask("/slow?ms=20")
    seen = await session.judge()
    second = session.goaways[1][0]
    check(TRUSTED or session.answered[long] > second, "the long stream was over before the final GOAWAY")
    check(seen[3] > 0, "no stream was opened between the GOAWAYs")
    return seen


async def idle():
    session = await Session().open()
    session.ask("/version")
    return await session.judge()


async def story():
    busy_ones = [asyncio.create_task(busy()) for _ in range(5)]
    idle_ones = [asyncio.create_task(idle()) for _ in range(5)]
    await asyncio.sleep(1)
    ready()
    seen = await asyncio.gather(*busy_ones, *idle_ones)
    gaps, firsts, answered, between, late = zip(*seen)
    return (
        f"{sum(answered)} streams answered, none lost, {sum(between)} of them opened between the GOAWAYs; GOAWAY(2^31-1) at "
        f"{span(firsts)}, GOAWAY(last) {min(gaps):.3f}-{max(gaps):.3f} s later, of {DRAIN_TIMEOUT:.3f} s; "
        f"{sum(late)} streams beyond it not answered; then FIN"
    )


play(story)
