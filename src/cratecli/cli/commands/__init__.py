"""The commands of `crate`, one a file: parse, call one task, show."""
