"""Tell URLs, as of web pages and buckets, from paths."""

import os
import re

from cratecli.errors import UsageError


def refuse_url(name: str, what: str = "read", *, piped: str = "crate segment -") -> None:
    """Raise `UsageError` for a URL, as of a web page or a bucket, unless it is a path that is there.

    `piped` is the command that takes its bytes.
    """
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", name) and not os.path.lexists(name):
        if what != "read":
            raise UsageError(f"{name}: URLs cannot be {what} yet: give a path, and upload it")
        so = f", as by: curl -s {name} | {piped}" if name.startswith(("http", "ftp")) else ""
        raise UsageError(f"{name}: URLs cannot be read yet: download it first{so}")
