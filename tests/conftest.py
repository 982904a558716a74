"""Every test alone: one thread, randomness of its own, no network beyond this machine."""

import hashlib
import os
import random
import socket

os.environ["OMP_NUM_THREADS"] = "1"  # before torch and numpy; two threads on a busy machine cost more than they give
os.environ["MKL_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import pytest
import torch

torch.set_num_threads(1)

LOOPBACK = ("127.", "::1", "localhost")


@pytest.fixture(autouse=True)
def own_randomness(request):
    """A test that draws from a global generator gets the same numbers alone, in any order and on any worker."""
    seed = int.from_bytes(hashlib.sha256(request.node.nodeid.encode()).digest()[:4], "big")
    python, legacy_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=[]):
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        torch.manual_seed(seed)
        yield
    random.setstate(python)
    np.random.set_state(legacy_numpy)  # noqa: NPY002


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """A connection to another machine fails the test with its address."""
    connect = socket.socket.connect

    def local_only(self: socket.socket, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and not str(address[0]).startswith(LOOPBACK):
            pytest.fail(f"a test tried to reach {address}: tests and the library's defaults work without a network")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", local_only)
