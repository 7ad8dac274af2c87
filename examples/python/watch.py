"""The loop of a watch. WatchServices and WatchConfig have messages of the same shape, so one loop does for both."""

import asyncio
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

import grpc

from connection import CallFailed, authorization, describe
from rollcall.v1 import watch_pb2

SILENCE = 45  # seconds; a quiet watch has a message every 15 s at the latest
FATAL = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNIMPLEMENTED}


@dataclass
class Watch:
    """Keeps a view of what a watch selects, and shows it when it is complete and after each change."""

    name: str
    open_stream: Callable[..., Any]
    request: Any
    key: Callable[[Any], str]
    show: Callable[[dict, dict | None], None]  # takes the view and the one before it, which is None at first
    view: dict | None = None
    staged: dict = field(default_factory=dict)  # items by key; None for one that was removed
    from_empty: bool = False  # whether what is staged is a snapshot

    async def run(self) -> NoReturn:
        """Opens the stream again whenever it ends, until it is cancelled."""
        wait = 0.2
        while True:
            try:
                call = self.open_stream(self.request, metadata=authorization())
                first = True
                while (message := await _read(call)) is not grpc.aio.EOF:
                    wait = 0.2
                    self._receive(message, first)
                    first = False
                ending = f"watch of {self.name} ended"
            except TimeoutError:
                ending = f"watch of {self.name} was silent for {SILENCE} s"
            except grpc.aio.AioRpcError as error:
                ending = describe(f"watch of {self.name}:", error)
                if error.code() in FATAL:
                    raise CallFailed(ending) from error
            print(ending, file=sys.stderr)
            await asyncio.sleep(random.uniform(0, wait))
            wait = min(wait * 2, 5)

    def _receive(self, message: Any, first: bool) -> None:
        progress = message.progress
        if progress.reset_reason:
            reason = watch_pb2.ResetReason.Name(progress.reset_reason).removeprefix("RESET_REASON_")
            print(f"reset {self.name} {reason}", flush=True)
        if first and not progress.continues:
            self.staged, self.from_empty = {}, False
        if progress.kind == watch_pb2.WATCH_KIND_SNAPSHOT and not self.from_empty:
            self.staged, self.from_empty = {}, True
        self.staged |= {self.key(item): item for item in message.upserted}
        self.staged |= {self.key(item): None for item in message.removed}
        if progress.revision:  # all that is staged belongs together
            self._apply()
            self.request.resume_token = progress.resume_token
        elif progress.continue_token:  # continues a view that was cut
            self.request.resume_token = progress.continue_token

    def _apply(self) -> None:
        before = self.view
        merged = self.staged if self.from_empty else {**(before or {}), **self.staged}
        self.view = {key: item for key, item in merged.items() if item is not None}
        self.staged, self.from_empty = {}, False
        if self.view != before:
            self.show(self.view, before)


async def _read(call: Any) -> Any:
    """The next message. A timeout cancels the whole stream. asyncio.wait_for could lose a cancellation of the task."""
    async with asyncio.timeout(SILENCE):
        return await call.read()
