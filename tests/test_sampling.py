"""Random sub-networks: within the space, the same for the same seed, and stratified ones evenly over all sizes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

from supernet.models.families import architecture_of
from supernet.runtime.errors import UserError
from supernet.space.cost import params_share
from supernet.space.sampling import SAMPLERS, SamplingOptions, stratified
from supernet.space.spaces import SPACES, SpaceOptions, search_space
from tests.models import tiny_config

ARCHITECTURE = architecture_of(tiny_config("bert", num_hidden_layers=8, intermediate_size=200))


def space_of(name, **limits):
    a = ARCHITECTURE
    return search_space(SpaceOptions(name, **limits), layers=a.layers, heads=a.heads, units=a.units)


@pytest.mark.slow
@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
@pytest.mark.parametrize("name", sorted(SPACES))
@given(seed=st.integers(0, 1000))
def test_draws_are_in_the_space_and_follow_the_seed(name, sampler, seed):
    space = space_of(name)
    subnet, again = (SAMPLERS[sampler](space, ARCHITECTURE, np.random.default_rng(seed)) for _ in range(2))
    assert subnet == again
    assert space.decode(space.encode(subnet)) == subnet


@pytest.mark.slow
@pytest.mark.parametrize("name", ["small", "medium", "large", "native"])
def test_stratified_draws_are_even_over_the_sizes(name):
    limits = {"min_layers": 2, "min_heads": 1, "min_units": 20} if name == "small" else {}
    space, rng = space_of(name, **limits), np.random.default_rng(0)
    low = params_share(ARCHITECTURE, space.smallest)
    shares = [params_share(ARCHITECTURE, stratified(space, ARCHITECTURE, rng)) for _ in range(400)]
    # The largest gap between the shares' distribution and the uniform one: 400 perfect draws rarely exceed 0.08.
    assert kstest((np.array(shares) - low) / (1 - low), "uniform").statistic < 0.08


def test_stratified_draws_reach_every_size_where_there_are_few():
    space, rng = space_of("layer"), np.random.default_rng(0)
    depths = [len(stratified(space, ARCHITECTURE, rng).layers) for _ in range(900)]
    counts = np.bincount(depths, minlength=9)
    assert (counts[1:8] > 70).all()  # 112 expected of each, and half as many of the ends
    assert (counts[[0, 8]] > 30).all()


def test_stratified_draws_of_the_same_size_differ():
    space, rng = space_of("medium"), np.random.default_rng(0)
    subnets = [stratified(space, ARCHITECTURE, rng) for _ in range(200)]
    assert len(set(subnets)) == 200
    widths = np.array([[len(s.heads) for s in subnet.layers] for subnet in subnets if len(subnet.layers) == 8])
    assert widths.std(axis=1).mean() > 0.5  # heads differ between the layers of a net


def test_an_unknown_sampler_is_named():
    with pytest.raises(UserError, match=r"sampling 'stratifed' is unknown; .*did you mean stratified"):
        SamplingOptions("stratifed")
