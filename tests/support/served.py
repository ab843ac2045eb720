"""A server in this process, in a thread of its own."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from threading import Event, Thread

import cratecli
from cratecli.serve import server
from cratecli.serve.app import make_app
from cratecli.serve.folders import Folders
from cratecli.serve.guards import Rules
from cratecli.serve.limits import Limits
from cratecli.serve.service import Service


@contextmanager
def served() -> Iterator[str]:
    """Serve the built-in model on a free port, and give the address."""
    stop = Event()
    service = Service(cratecli.load_model(), Limits(), Folders(), print)
    with closing(server.listen("127.0.0.1", 0)) as listening:
        app = make_app(service, Rules())
        thread = Thread(target=server.serve, args=(app, listening, service.limits, stop.is_set))
        thread.start()
        try:
            yield server.address_of(listening)
        finally:
            stop.set()
            thread.join()
