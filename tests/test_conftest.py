"""The ground the other tests stand on really holds."""

import socket

import pytest
import torch
from jaxtyping import TypeCheckError

from cratecli.model.blocks import split_heads


def test_a_wrong_shape_is_an_error() -> None:
    with pytest.raises(TypeCheckError):
        split_heads(torch.zeros(5, 6), heads=3)


def test_the_network_is_barred_but_this_machine_is_not() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        with socket.create_connection(listener.getsockname()):
            pass
    for address in ("192.0.2.1", "example.org"):
        with socket.socket() as caller, pytest.raises(pytest.fail.Exception, match="barred"):
            caller.connect((address, 80))
