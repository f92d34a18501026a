"""A minute of PES on a small task lowers the meta-loss of every architecture from its untrained start."""

import math

import pytest

import lopt
from eval.reproductions import architectures

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", sorted(lopt.ARCHITECTURES))
def test_meta_training_lowers_the_meta_loss(name):
    found = architectures.meta_trained(name)
    assert math.isfinite(found.before)
    assert found.after < architectures.MARGIN * found.before
