"""The version of this package: what `crate --version` prints and outputs record."""

__version__ = "0.1.0"
