"""The server of `crate serve`: one warm model, a page, an HTTP API and Label Studio's protocol before it."""
