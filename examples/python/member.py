"""Keeps this process registered: Register, heartbeats, Deregister."""

import asyncio
import contextlib
import random
import sys
import uuid
from typing import NoReturn

import grpc

from connection import CallFailed, authorization, describe, reason_of
from rollcall.v1 import heartbeat_pb2, instance_pb2, registry_service_pb2, registry_service_pb2_grpc

DEADLINE = 3  # seconds
FATAL = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.PERMISSION_DENIED}


class Over(Exception):
    """The registration is over, and the process must not register again."""


class Member:
    def __init__(self, channel: grpc.aio.Channel, instance: instance_pb2.Instance):
        self.registry = registry_service_pb2_grpc.RegistryServiceStub(channel)
        self.instance = instance
        self.incarnation = str(uuid.uuid4())  # a newer run fences this one by another incarnation
        self.interval = instance.ttl.ToTimedelta().total_seconds() / 3
        self.registered = False  # false again while the server does not know the instance
        self.accepted = False  # stays true after the first Register
        self.beat_now = asyncio.Event()

    def report(self, state: instance_pb2.ReportedState) -> None:
        self.instance.reported.state = state
        self.beat_now.set()

    async def run(self) -> NoReturn:
        """Sends heartbeats until it is cancelled."""
        wait, failures = 0.0, 0
        while True:
            await self._pause(wait)
            try:
                wait = await (self._heartbeat() if self.registered else self._register())
                failures = 0
            except grpc.aio.AioRpcError as error:
                text = describe("Heartbeat" if self.registered else "Register", error)
                # UNAUTHENTICATED at the start is a mistake. Later, the token may be about to be renewed.
                refused = error.code() == grpc.StatusCode.UNAUTHENTICATED and not self.accepted
                if error.code() in FATAL or refused:
                    raise CallFailed(text) from error
                print(text, file=sys.stderr)
                # Again at once, then after 1 s, doubled, with full jitter.
                failures += 1
                wait = random.uniform(0, min(2 ** (failures - 2), self.interval)) if failures > 1 else 0

    async def leave(self) -> None:
        request = registry_service_pb2.DeregisterRequest(
            service=self.instance.service, id=self.instance.id, incarnation=self.incarnation
        )
        try:
            await self.registry.Deregister(request, timeout=DEADLINE, metadata=authorization())
        except grpc.aio.AioRpcError as error:
            if reason_of(error) != "INSTANCE_NOT_FOUND":  # that one is gone already
                raise CallFailed(describe("Deregister", error)) from error

    async def _register(self) -> float:
        request = registry_service_pb2.RegisterRequest(instance=self.instance, incarnation=self.incarnation)
        reply = await self.registry.Register(request, timeout=DEADLINE, metadata=authorization())
        for warning in reply.warnings:
            print(warning, file=sys.stderr)
        self.registered = self.accepted = True
        print(f"registered {self.instance.service}/{self.instance.id}", flush=True)
        return self._next(reply)

    async def _heartbeat(self) -> float:
        item = heartbeat_pb2.HeartbeatItem(
            service=self.instance.service,
            id=self.instance.id,
            incarnation=self.incarnation,
            reported=self.instance.reported,
        )
        request = registry_service_pb2.HeartbeatRequest(instances=[item])
        reply = await self.registry.Heartbeat(request, timeout=DEADLINE, metadata=authorization())
        wait = self._next(reply)
        for rejected in reply.rejected:  # the call is OK all the same
            reason = heartbeat_pb2.RejectionReason.Name(rejected.reason).removeprefix("REJECTION_REASON_")
            print(f"heartbeat rejected: {reason} {rejected.message}", file=sys.stderr)
            if reason == "NOT_REGISTERED":
                self.registered = False
                return 0
            if reason == "RETRY":
                return self.interval / 4
            raise Over(reason)  # SUPERSEDED, DEREGISTERED, NOT_ALLOWED or INVALID
        return wait

    def _next(self, reply) -> float:
        """The time until the next heartbeat, spread so that many clients do not beat in step."""
        self.interval = reply.heartbeat_interval.ToTimedelta().total_seconds()
        return self.interval * random.uniform(0.9, 1.1)

    async def _pause(self, seconds: float) -> None:
        """Waits. A report ends the wait."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.beat_now.wait()
        self.beat_now.clear()
