"""One warm model behind a queue: questions in, answers out, in time, for as long as somebody waits for them."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from starlette.requests import Request as Received

from cratecli.errors import CrateError
from cratecli.model.unroll import WhiteBox
from cratecli.serve.folders import Folders
from cratecli.serve.limits import Limits, Room
from cratecli.serve.queue import Photo, RequestQueue
from cratecli.serve.refused import RefusedError
from cratecli.serve.work import Answerer, AskedOfModel


class Service:
    """What all routes share: the model, its queue, the limits, the folders of Label Studio, and where notes go."""

    def __init__(
        self, model: WhiteBox, limits: Limits, folders: Folders, note: Callable[[str], None]
    ) -> None:
        """Start the model's thread."""
        self.model, self.limits, self.folders, self.note = model, limits, folders, note
        self.queue = RequestQueue(Answerer(model, limits))
        self.room = Room(limits, lambda: self.queue.delay)

    async def ask(self, received: Received, question: AskedOfModel, photo: Photo) -> Any:
        """Put a question about a photo, and wait for the answer. Raises what went wrong: see `ask_all`."""
        (answer,) = await self.ask_all(received, [(question, photo)])
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def ask_all(
        self, received: Received, asked: Sequence[tuple[AskedOfModel, Photo]]
    ) -> list[Any | CrateError]:
        """Put questions of one client, and wait for all answers, or errors of single photos, in their order.

        When the client leaves, or time runs out, what the model has not begun is taken back. Raises `RefusedError`.
        """
        futures = [asyncio.wrap_future(self.queue.put(*each)) for each in asked]
        gone = asyncio.ensure_future(_left(received))
        end = asyncio.get_running_loop().time() + self.limits.seconds
        try:
            for future in futures:
                left = end - asyncio.get_running_loop().time()
                await asyncio.wait({future, gone}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                if not future.done():
                    if gone.done():
                        raise RefusedError(499, "the client has left")
                    raise RefusedError(504, f"there was no answer within {self.limits.seconds:g} seconds")
            return [_answer_or_error(future) for future in futures]
        finally:
            gone.cancel()
            for future in futures:
                future.cancel()


def _answer_or_error(future: "asyncio.Future[Any]") -> Any | CrateError:
    """Give the answer, or the error of the photo. Raises what is an error of the program."""
    try:
        return future.result()
    except CrateError as error:
        return error


async def _left(received: Received) -> None:
    """Wait until the client closes its connection, which it does not while it waits."""
    while (await received.receive())["type"] != "http.disconnect":
        continue
