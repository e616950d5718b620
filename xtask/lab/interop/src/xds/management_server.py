#!/usr/bin/env python3
"""A management server that serves listeners by LDS and ADS, and routes by ADS, state of the world and delta. No code of the proxy
is in it.

It needs grpcio and xds-protos. It prints one JSON object a line: where it listens, then every stream and request. It takes one
JSON object a line:

  {"version": "2", "listeners": [{...}, ...]}   what is served from now on, in protobuf's JSON mapping; "$cluster" in it is the
                                                cluster of whoever asks; {"@garbage": "name"} cannot be decoded;
                                                "routes": [{...}, ...] are tables of routes, which are asked for by name
  {"hang_up": true}                             ends every stream

Its only argument is the port; 0 lets the system choose one.
"""

import asyncio
import hashlib
import json
import sys

import grpc
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2  # noqa: F401
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2  # noqa: F401
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2  # noqa: F401
from envoy.service.discovery.v3 import ads_pb2_grpc, discovery_pb2
from envoy.service.listener.v3 import lds_pb2_grpc
from google.protobuf import any_pb2, json_format

LISTENER = "type.googleapis.com/envoy.config.listener.v3.Listener"
ROUTES = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
MESSAGES = {LISTENER: listener_pb2.Listener, ROUTES: route_pb2.RouteConfiguration}


def say(**what):
    print(json.dumps(what), flush=True)


def resource(kind, content):
    """A listener or a table of routes in JSON as (name, Any)."""
    if "@garbage" in content:
        return content["@garbage"], any_pb2.Any(type_url=kind, value=b"\xff\xff\xff")
    message = json_format.ParseDict(content, MESSAGES[kind]())
    packed = any_pb2.Any(type_url=kind, value=message.SerializeToString(deterministic=True))
    return message.name, packed


class State:
    """What is served, and the streams that wait for it to change."""

    def __init__(self):
        self.version, self.served, self.streams, self.count = "", None, set(), 0

    def set(self, command):
        self.version = command["version"]
        self.served = {LISTENER: json.dumps(command["listeners"]), ROUTES: json.dumps(command.get("routes", []))}
        for stream in self.streams:
            stream.put_nowait("changed")

    def resources(self, kind, cluster):
        contents = json.loads(self.served[kind].replace("$cluster", cluster))
        return dict(resource(kind, content) for content in contents)


class Subscription:
    """What a client asked for of one type, and what it was sent: all listeners, or some routes by name."""

    def __init__(self, kind):
        self.kind, self.asked, self.names, self.told, self.known = kind, False, set(), None, {}

    def of(self, resources):
        if self.kind == LISTENER:
            return resources
        return {name: packed for name, packed in resources.items() if name in self.names}


class Stream:
    """One stream of a client: requests come in, responses go out when the state changes."""

    def __init__(self, state, method):
        state.count += 1
        self.state, self.method, self.number = state, method, state.count
        self.news, self.nonces, self.node = asyncio.Queue(), {}, None
        self.subscriptions = {kind: Subscription(kind) for kind in MESSAGES}

    async def run(self, requests):
        """Responses, until the client or a command ends the stream."""

        async def read():
            async for request in requests:
                self.news.put_nowait(request)
            self.news.put_nowait(None)

        reader = asyncio.create_task(read())
        self.state.streams.add(self.news)
        say(event="open", stream=self.number, method=self.method)
        try:
            while (item := await self.news.get()) is not None:
                if item == "hang up":
                    return
                due = list(self.subscriptions.values())
                if item != "changed":
                    self.node = self.node or item.node
                    due = [self.subscriptions[item.type_url]]
                    if not self.heard(item, due[0]):
                        continue
                for one in due:
                    if one.asked and self.state.served is not None and (response := self.response(one)):
                        yield response
        finally:
            reader.cancel()
            self.state.streams.discard(self.news)
            say(event="closed", stream=self.number)

    def nonce(self):
        nonce = f"{self.number}.{len(self.nonces) + 1}"
        self.nonces[nonce] = self.state.version
        return nonce

    def report(self, request, **more):
        error = None
        if request.HasField("error_detail"):
            error = {"code": request.error_detail.code, "message": request.error_detail.message}
        say(
            event="request",
            stream=self.number,
            node=request.node.id,
            type_url=request.type_url,
            answers=self.nonces.get(request.response_nonce, request.response_nonce),
            error=error,
            **more,
        )


class StateOfTheWorld(Stream):
    def heard(self, request, one):
        """Whether this request asks for a response."""
        names, before = set(request.resource_names), one.names
        self.report(request, version=request.version_info, names=sorted(names))
        one.asked, one.names = True, names
        if names - before:
            one.told = None
        return request.response_nonce == "" or bool(names - before)

    def response(self, one):
        resources = one.of(self.state.resources(one.kind, self.node.cluster))
        if one.told == self.state.version or (one.kind == ROUTES and not resources):
            return None
        one.told = self.state.version
        return discovery_pb2.DiscoveryResponse(
            version_info=self.state.version,
            resources=resources.values(),
            type_url=one.kind,
            nonce=self.nonce(),
        )


class Delta(Stream):
    def heard(self, request, one):
        subscribe, unsubscribe = request.resource_names_subscribe, request.resource_names_unsubscribe
        self.report(
            request,
            initial=dict(request.initial_resource_versions),
            subscribe=sorted(subscribe),
            unsubscribe=sorted(unsubscribe),
        )
        one.names = (one.names | set(subscribe)) - set(unsubscribe)
        for name in unsubscribe:
            one.known.pop(name, None)
        if not one.asked:
            one.asked, one.known = True, dict(request.initial_resource_versions)
            return True
        return bool(subscribe)

    def response(self, one):
        resources = one.of(self.state.resources(one.kind, self.node.cluster))
        versions = {name: digest(packed) for name, packed in resources.items()}
        changed = [name for name, version in versions.items() if one.known.get(name) != version]
        removed = [name for name in one.known if name not in versions and one.kind == LISTENER]
        is_missing = one.kind == ROUTES and not resources
        if not changed and not removed and (one.told is not None or is_missing):
            return None
        one.known, one.told = versions, self.state.version
        return discovery_pb2.DeltaDiscoveryResponse(
            system_version_info=self.state.version,
            resources=[
                discovery_pb2.Resource(name=name, version=versions[name], resource=resources[name])
                for name in changed
            ],
            removed_resources=removed,
            type_url=one.kind,
            nonce=self.nonce(),
        )


def digest(packed):
    return hashlib.sha256(packed.value).hexdigest()[:12]


class Service(ads_pb2_grpc.AggregatedDiscoveryServiceServicer, lds_pb2_grpc.ListenerDiscoveryServiceServicer):
    def __init__(self, state):
        self.state = state

    async def StreamAggregatedResources(self, requests, context):
        async for response in StateOfTheWorld(self.state, "StreamAggregatedResources").run(requests):
            yield response

    async def DeltaAggregatedResources(self, requests, context):
        async for response in Delta(self.state, "DeltaAggregatedResources").run(requests):
            yield response

    async def StreamListeners(self, requests, context):
        async for response in StateOfTheWorld(self.state, "StreamListeners").run(requests):
            yield response

    async def DeltaListeners(self, requests, context):
        async for response in Delta(self.state, "DeltaListeners").run(requests):
            yield response


async def main():
    state, server = State(), grpc.aio.server()
    ads_pb2_grpc.add_AggregatedDiscoveryServiceServicer_to_server(Service(state), server)
    lds_pb2_grpc.add_ListenerDiscoveryServiceServicer_to_server(Service(state), server)
    port = server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
    await server.start()
    say(event="listening", port=port)
    commands = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(commands)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    while line := await commands.readline():
        command = json.loads(line)
        if command.get("hang_up"):
            for stream in state.streams:
                stream.put_nowait("hang up")
        else:
            state.set(command)
    await server.stop(None)


if __name__ == "__main__":
    asyncio.run(main())
