"""gRPC by Python's grpcio: four threads call over one channel, one call streams through both GOAWAYs. No call may fail."""

import threading
import time

import grpc
from stage import *


def call(channel, answers, faults):
    once = channel.unary_unary("/clients.Echo/Once")
    while now() < DRAIN + 1:
        said = f"{len(answers)}".encode()
        try:
            echoed, finished = once.with_call(said, timeout=10)
        except grpc.RpcError as error:
            faults.append(f"{error.code().name}: {error.details()}")
            return
        version = dict(finished.initial_metadata())["x-listener-version"]
        if echoed != said:
            faults.append(f"{echoed!r} for {said!r}")
        answers.append((now(), version))
        time.sleep(0.02)


def story():
    channel = grpc.insecure_channel(f"{HOST}:{PORT}", options=[("grpc.enable_http_proxy", 0), ("grpc.enable_retries", 0)])
    states = []
    channel.subscribe(lambda state: states.append(state.name), try_to_connect=True)
    answers, faults = [], []
    callers = [threading.Thread(target=call, args=(channel, answers, faults)) for _ in range(4)]
    for caller in callers:
        caller.start()
    ready()
    until_announced()
    # Ticks for three quarters of the drain time, ten a second.
    expected = int(DRAIN * 7.5)
    ticks = channel.unary_stream("/clients.Echo/Ticks")(str(expected).encode(), timeout=DRAIN + 30)
    numbers = [int(tick) for tick in ticks]
    streamed = now()
    for caller in callers:
        caller.join(DRAIN + 30)
    check(not faults, f"{len(faults)} calls failed, first {faults[:1]}")
    check(numbers == list(range(expected)), f"{len(numbers)} ticks of {expected}")
    check(streamed > DRAIN / 2, "the stream was over before the final GOAWAY")
    check(ticks.code() == grpc.StatusCode.OK, f"the stream ended in {ticks.code()}")
    old = [at for at, version in answers if version == "1"]
    new = [at for at, version in answers if version == "2"]
    check(old and new, "both versions should have been called")
    within(min(new), 0, FIRST_QUARTER + SLACK, "the first call of the new version")
    check(max(old) < min(new) + SLACK, "calls went to the old version long after the first GOAWAY")
    return (
        f"{len(answers)} calls, none failed, without retries; the new version from {min(new):.2f} s on; "
        f"a stream of {expected} messages ended OK at {streamed:.2f} s; channel {', '.join(states)}"
    )


play(story)
