"""An instance of a service: it registers, sends heartbeats, watches a service and a config, and leaves in order."""

import asyncio
import os
import signal
import sys
from datetime import timedelta

from connection import CallFailed, open_channel
from member import Member, Over
from rollcall.v1 import (
    config_service_pb2,
    config_service_pb2_grpc,
    instance_pb2,
    registry_service_pb2,
    registry_service_pb2_grpc,
    watch_pb2,
)
from watch import Watch

SERVICE = os.environ.get("SERVICE", "hello")
INSTANCE_ID = os.environ.get("INSTANCE_ID", "python")
WATCH_SERVICE = os.environ.get("WATCH_SERVICE", SERVICE)
CONFIG_KEY = os.environ.get("CONFIG_KEY", "hello.yaml")
DRAIN_SECONDS = float(os.environ.get("DRAIN_SECONDS", "1"))


def show_instances(view: dict, _before: dict | None) -> None:
    print(f"instances {WATCH_SERVICE}: {' '.join(sorted(view)) or '-'}", flush=True)


def show_config(view: dict, before: dict | None) -> None:
    if config := view.get(CONFIG_KEY):
        print(f"config {CONFIG_KEY} {config.version}", flush=True)
    else:
        print(f"config {CONFIG_KEY} {'missing' if before is None else 'deleted'}", flush=True)


async def main() -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)

    instance = instance_pb2.Instance(
        service=SERVICE,
        id=INSTANCE_ID,
        address=os.environ.get("ADDRESS", "127.0.0.1"),
        port=int(os.environ.get("PORT", "8080")),
        ttl=timedelta(seconds=float(os.environ.get("TTL_SECONDS", "15"))),
        reported=instance_pb2.Reported(state=instance_pb2.REPORTED_STATE_HEALTHY),
    )
    watcher = watch_pb2.WatcherIdentity(name=SERVICE, instance_id=INSTANCE_ID)  # operators see it
    async with open_channel() as channel:
        member = Member(channel, instance)
        services = Watch(
            "services",
            registry_service_pb2_grpc.RegistryServiceStub(channel).WatchServices,
            registry_service_pb2.WatchServicesRequest(services=[WATCH_SERVICE], watcher=watcher),
            key=lambda item: item.id,
            show=show_instances,
        )
        config = Watch(
            "config",
            config_service_pb2_grpc.ConfigServiceStub(channel).WatchConfig,
            config_service_pb2.WatchConfigRequest(
                filters=[config_service_pb2.ConfigFilter(keys=[CONFIG_KEY])], watcher=watcher
            ),
            key=lambda item: item.key,
            show=show_config,
        )
        # If one of the tasks fails, the group cancels the others and passes the error on.
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(part.run()) for part in (member, services, config)]
            await stop.wait()
            member.report(instance_pb2.REPORTED_STATE_DRAINING)
            await asyncio.sleep(DRAIN_SECONDS)  # the work that is open ends here
            for task in tasks:
                task.cancel()
        await member.leave()
        print("deregistered", flush=True)


if __name__ == "__main__":
    code = 0
    try:
        asyncio.run(main())
    except* Over as over:
        print(f"over {over.exceptions[0]}", flush=True)
        code = 3
    except* CallFailed as failed:
        print(failed.exceptions[0], file=sys.stderr)
        code = 2
    sys.exit(code)
