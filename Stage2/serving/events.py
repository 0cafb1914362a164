"""Server-sent events: what changes is told to every page that listens."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

SECONDS_OF_SILENCE = 15.0  # then a comment tells that the connection lives
WAITING = 200  # messages that a slow listener may have before it: more, and it is told to load everything again


class Events:
    """The listeners of a workbench; used in the event loop of the server only."""

    def __init__(self):
        self._listeners: set[asyncio.Queue[str | None]] = set()

    def __len__(self) -> int:
        return len(self._listeners)

    def tell(self, event: str, data: Any) -> None:
        """Tell everybody: event "job", "scan" or "state", with plain values."""
        text = f"event: {event}\ndata: {json.dumps(data)}\n\n"
        for queue in self._listeners:
            if queue.full():
                while not queue.empty():
                    queue.get_nowait()
                text = "event: state\ndata: {}\n\n"
            queue.put_nowait(text)

    def close(self) -> None:
        """End all streams, as the server does."""
        for queue in self._listeners:
            while not queue.empty():
                queue.get_nowait()
            queue.put_nowait(None)

    async def listen(self) -> AsyncIterator[str]:
        """The text of a stream of events, until `close`."""
        queue: asyncio.Queue[str | None] = asyncio.Queue(WAITING)
        self._listeners.add(queue)
        try:
            yield "event: state\ndata: {}\n\n"
            while True:
                try:
                    text = await asyncio.wait_for(queue.get(), SECONDS_OF_SILENCE)
                except TimeoutError:
                    text = ": alive\n\n"
                if text is None:
                    return
                yield text
        finally:
            self._listeners.discard(queue)
