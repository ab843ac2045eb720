"""`python -m cratecli` is `crate`."""

from cratecli.cli.app import main

main()
