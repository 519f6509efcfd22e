"""What tests that start processes need."""

import signal

import pytest

from speechlm.train.signals import STOPPING


@pytest.fixture
def own_signals():
    before = {number: signal.getsignal(number) for number in STOPPING}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
