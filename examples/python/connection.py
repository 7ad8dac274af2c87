"""The channel to the servers, the token of each call, and the reasons of errors."""

import json
import os
import socket
import sys
from pathlib import Path

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

# Plain gRPC does what several servers need. A call goes to a server that its health check calls SERVING, and if
# that one is gone, a retry goes to the next.
SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "healthCheckConfig": {"serviceName": ""},
    "methodConfig": [
        {
            "name": [{"service": "rollcall.v1.RegistryService"}, {"service": "rollcall.v1.ConfigService"}],
            "retryPolicy": {
                "maxAttempts": 3,
                "initialBackoff": "0.1s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
}


class CallFailed(Exception):
    """A call that cannot succeed, also if it is repeated."""


def open_channel() -> grpc.aio.Channel:
    target, first_host = _target(os.environ.get("ROLLCALL_SERVERS", "localhost:7400").split(","))
    options = [
        ("grpc.service_config", json.dumps(SERVICE_CONFIG)),
        # With a list of addresses there is no one host name, so the certificates of all servers are
        # verified against the name of the first.
        ("grpc.default_authority", first_host),
        # By default, the pause between two attempts to connect grows to two minutes.
        ("grpc.max_reconnect_backoff_ms", 5_000),
        # Notices a connection whose other end is gone without a word.
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 10_000),
    ]
    if authorities := os.environ.get("ROLLCALL_CA"):
        tls = grpc.ssl_channel_credentials(Path(authorities).read_bytes())
        return grpc.aio.secure_channel(target, tls, options)
    return grpc.aio.insecure_channel(target, options)


def _target(servers: list[str]) -> tuple[str, str]:
    """One server is left to the resolver of gRPC. Its form for several takes IP addresses only."""
    if len(servers) == 1:
        return f"dns:///{servers[0]}", servers[0]
    addresses = []
    for server in servers:
        host, port = server.rsplit(":", 1)
        try:
            addresses += [f"{address}:{port}" for address in socket.gethostbyname_ex(host)[2]]
        except socket.gaierror as error:  # the other servers may do
            print(f"{server}: {error}", file=sys.stderr)
    return "ipv4:" + ",".join(addresses), servers[0]


def authorization() -> list[tuple[str, str]]:
    """Reads the file for each call, so a renewed token counts at once."""
    if path := os.environ.get("ROLLCALL_TOKEN_FILE"):
        return [("authorization", f"Bearer {Path(path).read_text().strip()}")]
    return []


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """The reason of docs/reference/errors.md, or "-" for an error that gRPC itself made."""
    status = rpc_status.from_call(error)
    info = error_details_pb2.ErrorInfo()
    for detail in status.details if status else []:
        if detail.Unpack(info):
            return info.reason
    return "-"


def describe(method: str, error: grpc.aio.AioRpcError) -> str:
    return f"{method} {error.code().name} {reason_of(error)} {error.details()}"
