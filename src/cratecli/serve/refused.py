"""Why a request is refused: the errors of the transport, and the HTTP status of every error."""

from cratecli.errors import CrateError, InputError, UsageError
from cratecli.tasks.requests import WorkerFailure


class RefusedError(CrateError):
    """A request is refused before anybody looks at its photo; `headers` go with the answer."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        """Say why, with an HTTP status."""
        super().__init__(message)
        self.status, self.headers = status, headers or {}


def status_of(error: CrateError) -> int:
    """Give the HTTP status of an error."""
    if isinstance(error, RefusedError):
        return error.status
    return 422 if isinstance(error, InputError | UsageError) else 500


def failure_of(error: CrateError) -> WorkerFailure:
    """Say in the worker's words what is wrong."""
    code = 2 if isinstance(error, RefusedError) and error.status < 500 else error.exit_code
    return WorkerFailure(error=str(error), exit_code=code)
