"""Sub-networks as values, and what a space promises: decode(encode(s)) == s, bounds, seeds, sizes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supernet.runtime.errors import UserError
from supernet.space.base import layer_sets
from supernet.space.spaces import SPACES, LargeSpace, MediumSpace, SpaceOptions, search_space
from supernet.space.subnetwork import LayerSlice, SubNetwork, kept

spaces = pytest.mark.parametrize("name", sorted(SPACES))


def space_of(name, layers=4, heads=3, units=7, layer_importance=None, **options):
    sizes = {"layers": layers, "heads": heads, "units": units}
    return search_space(SpaceOptions(name, **options), **sizes, layer_importance=layer_importance)


@spaces
@given(seed=st.integers(0, 2**32))
def test_encode_and_decode_are_inverse(name, seed):
    space = space_of(name)
    subnet = space.sample(np.random.default_rng(seed))
    vector = space.encode(subnet)
    assert space.decode(vector) == subnet
    assert hash(space.decode(vector)) == hash(subnet)
    assert SubNetwork.from_json(subnet.to_json()) == subnet
    assert all(low <= v <= high for v, (low, high) in zip(vector, space.bounds.values(), strict=True))


@spaces
@given(seed=st.integers(0, 2**32))
def test_samples_lie_between_smallest_and_largest(name, seed):
    space = space_of(name)
    largest = {s.index: (set(s.heads), set(s.units)) for s in space.largest.layers}
    for s in space.sample(np.random.default_rng(seed)).layers:
        heads, units = largest[s.index]
        assert set(s.heads) <= heads
        assert set(s.units) <= units
    assert not space.smallest.layers


@spaces
def test_same_seed_same_samples(name):
    space = space_of(name)
    first, second, other = ([space.sample(np.random.default_rng([s, n])) for n in range(8)] for s in (1, 1, 2))
    assert first == second
    assert first != other


@spaces
def test_largest_smallest_and_middle_are_in_the_space(name):
    space = space_of(name)
    for subnet in (space.largest, space.smallest, space.middle):
        assert space.decode(space.encode(subnet)) == subnet
    assert space.largest == SubNetwork.uniform(range(4), 3, 7)


def test_sizes_are_those_of_the_paper():
    sizes = {name: search_space(SpaceOptions(name), layers=12, heads=12, units=3072).size for name in SPACES}
    assert sizes == {"small": 479_232, "medium": 13**12 * 3073**12, "large": 2**37_008, "layer": 4096} | {
        "native": 4096 * 3072
    }


def test_small_keeps_prefixes_in_every_layer():
    assert space_of("small").decode((2, 1, 5)) == SubNetwork.uniform([0, 1], 1, 5)


def test_medium_drops_a_layer_of_nothing():
    subnet = space_of("medium").decode((0, 1, 0, 2, 0, 3, 5, 0))
    assert subnet.layers == (LayerSlice(1, range(1), range(3)), LayerSlice(2, (), range(5)), LayerSlice(3, (0, 1), ()))


def test_large_keeps_any_subset():
    space = space_of("large", layers=1, heads=3, units=4)
    assert space.decode((1, 0, 1, 0, 1, 1, 0)) == SubNetwork((LayerSlice(0, (0, 2), (1, 2)),))


def test_layer_keeps_whole_layers():
    assert space_of("layer").decode((1, 0, 0, 1)) == SubNetwork.uniform([0, 3], 3, 7)


def test_a_prefix_is_one_value_however_it_is_written():
    assert kept([2, 0, 1]) == kept((0, 1, 2)) == range(3)
    assert LayerSlice(0, (0, 1), ()) == LayerSlice(0, range(2), range(0))
    assert kept([3, 1]) == (1, 3)


def test_sub_networks_for_people():
    assert str(SubNetwork.uniform(range(3), 2, 5)) == "3 layers, 2 heads, 5 units"
    assert str(SubNetwork((LayerSlice(0, range(1), ()), LayerSlice(1, range(3), (1, 4))))) == (
        "2 layers, 1-3 heads, 0-2 units"
    )
    assert str(SubNetwork(())) == "0 layers, 0 heads, 0 units"


def test_mistakes_are_refused():
    with pytest.raises(ValueError, match="ascending order"):
        SubNetwork((LayerSlice(1, range(1), range(1)), LayerSlice(0, range(1), range(1))))
    scattered = SubNetwork((LayerSlice(0, (1,), range(7)),))
    for name in ("small", "medium", "layer"):
        with pytest.raises(ValueError, match=f"not in space {name}"):
            space_of(name).encode(scattered)
    with pytest.raises(UserError, match=r"space 'mediun' is unknown.*did you mean medium"):
        space_of("mediun")


LIMITED = [
    ("small", {"multiple_of": 3, "min_layers": 2, "min_heads": 2, "min_units": 4, "depth": "even"}),
    ("medium", {"multiple_of": 3, "min_heads": 1, "min_units": 3}),
    ("large", {"multiple_of": 3}),
    ("native", {"multiple_of": 2, "min_units": 3}),
]


@pytest.mark.parametrize(("name", "options"), LIMITED)
@given(seed=st.integers(0, 2**32))
def test_limits_and_multiples_hold(name, options, seed):
    space = space_of(name, **options)
    subnet = space.sample(np.random.default_rng(seed))
    assert space.decode(space.encode(subnet)) == subnet
    multiple = options["multiple_of"]
    for s in subnet.layers:
        assert name == "large" or len(s.units) % multiple == 0 or len(s.units) == 7
        assert len(s.heads) >= options.get("min_heads", 0)
        assert len(s.units) >= options.get("min_units", 0)
    assert len(subnet.layers) >= options.get("min_layers", 0)
    for end in (space.smallest, space.middle, space.largest):
        assert space.decode(space.encode(end)) == end
    assert space.largest == SubNetwork.uniform(range(4), 3, 7)


def test_groups_of_units_stay_together_and_the_last_may_be_smaller():
    space = space_of("large", layers=1, heads=1, units=7, multiple_of=3)
    assert list(space.bounds) == ["head_0_0", "unit_0_0", "unit_0_1", "unit_0_2"]
    assert space.decode((1, 1, 0, 1)) == SubNetwork((LayerSlice(0, (0,), (0, 1, 2, 6)),))
    assert space_of("small", multiple_of=3).decode((1, 1, 3)) == SubNetwork.uniform([0], 1, 7)
    with pytest.raises(ValueError, match="not in space small"):
        space_of("small", multiple_of=3).encode(SubNetwork.uniform([0], 1, 4))
    with pytest.raises(ValueError, match="not in space large"):
        space.encode(SubNetwork((LayerSlice(0, (0,), (0, 1)),)))


def test_depth_orders():
    assert layer_sets("prefix", 4) == ((), (0,), (0, 1), (0, 1, 2), (0, 1, 2, 3))
    even = layer_sets("even", 6)
    assert [len(kept) for kept in even] == list(range(7))
    assert even[1:4] == ((0,), (0, 5), (0, 2, 5))
    assert all(len(set(kept)) == n for layers in range(1, 30) for n, kept in enumerate(layer_sets("even", layers)))
    assert layer_sets("importance", 4, [0.1, 0.9, 0.3, 0.5]) == ((), (1,), (1, 3), (1, 2, 3), (0, 1, 2, 3))
    space = space_of("small", depth="importance", layer_importance=[0.1, 0.9, 0.3, 0.5])
    assert space.decode((2, 1, 1)) == SubNetwork.uniform([1, 3], 1, 1)
    with pytest.raises(ValueError, match="not in space small"):
        space.encode(SubNetwork.uniform([0, 1], 1, 1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "small", "depth": "evenly"}, "space.depth 'evenly' is unknown; .*did you mean even"),
        ({"name": "medium", "depth": "even"}, "space medium chooses layers one by one; .*space=small"),
        ({"name": "layer", "min_layers": 2}, "space.min_layers is 2, but space layer has no smallest numbers"),
        ({"name": "native", "min_heads": 2}, "space.min_heads is 2, but space native has min_units"),
        ({"name": "small", "min_units": -1}, "space.min_units is -1; it must be 0 or more"),
        ({"name": "small", "multiple_of": 0}, "space.multiple_of is 0; it must be from 1 to 1024"),
        ({"name": "small", "min_layers": 2, "min_heads": 0, "min_units": 0}, "min_heads=0 and min_units=0 a layer"),
        ({"name": "small", "min_layers": 5}, "space.min_layers is 5, but the model has 4; give at most 4"),
    ],
)
def test_impossible_limits_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        space_of(**options)


def test_the_features_of_a_large_space_count_what_is_kept_and_what_is_not_among_the_first():
    space = LargeSpace(layers=2, heads=4, units=6, multiple_of=2)
    subnet = SubNetwork((LayerSlice(0, (0, 3), range(6)), LayerSlice(1, range(1), (2, 3))))
    (features,) = space.features(np.array([space.encode(subnet)]))
    shares, displaced = [0.5, 0.25, 1, 1 / 3], [0.5, 0, 0, 1]  # heads of both layers, then units of both
    assert features == pytest.approx([*shares, *displaced])
    assert (space.features(np.array([space.lower, space.upper])) == [[0] * 8, [1] * 4 + [0] * 4]).all()


def test_the_regular_sub_networks_of_a_large_space_are_in_it():
    space = LargeSpace(layers=3, heads=4, units=7, multiple_of=2)
    assert space.includes(space.regular)
    assert MediumSpace(3, 4, 7).regular == MediumSpace(3, 4, 7)
