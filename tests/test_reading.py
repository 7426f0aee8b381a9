"""What comes from JSON is held against types: each wrong value is named by its key, with what it must be."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import pytest

from search.finetune.records import Report
from supernet.runtime.errors import UserError
from supernet.runtime.reading import read_lines, read_record
from supernet.runtime.shapes import Count, Named, OneOf, Share, Within, WrongValue, shaped
from supernet.space.subnetwork import Sizes, SubNetwork

NAN = float("nan")


@dataclass(frozen=True)
class Part:
    size: Count
    share: Share = 0.5

    def __post_init__(self):
        if self.size == 13:
            raise WrongValue("size is 13, which brings bad luck")


@dataclass(frozen=True)
class Whole:
    part: Part
    name: Annotated[str, OneOf(("a", "b"))]
    parts: tuple[Part, ...] = ()
    pair: tuple[int, float] | None = None
    table: Annotated[Mapping[str, float], Named({"x": Within(0, 1)}, required=("x",))] = field(default_factory=dict)
    anything: Any = None
    subnet: SubNetwork | None = None


GOOD = {"part": {"size": 3}, "name": "a"}


def test_values_become_what_the_types_say():
    more = {
        "parts": [{"size": 1, "share": 1}],
        "pair": [1, 2],
        "table": {"x": 1, "y": 7},
        "anything": [None, {"a": "b"}],
    }
    whole = shaped(Whole, GOOD | more | {"subnet": [[0, 2, [0, 3]]]})
    assert whole == Whole(
        Part(3), "a", (Part(1, 1.0),), (1, 2.0), {"x": 1.0, "y": 7.0}, [None, {"a": "b"}],
        SubNetwork.from_json([[0, 2, [0, 3]]]),
    )  # fmt: skip
    assert isinstance(whole.parts[0].share, float)
    assert shaped(Whole, GOOD) == Whole(Part(3), "a")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([], "the content is []; it must be a table of values, {...}"),
        ({"part": {"size": 3}}, "name is missing"),
        (GOOD | {"nam": 1}, "key nam is unknown, perhaps name was meant"),
        (GOOD | {"name": "c"}, 'name is "c"; it must be one of a, b'),
        (GOOD | {"part": {"size": -1}}, "part.size is -1; it must be 0 or more"),
        (GOOD | {"part": {"size": True}}, "part.size is true; it must be a whole number"),
        (GOOD | {"part": {"size": 13}}, "part: size is 13, which brings bad luck"),
        (GOOD | {"parts": [{"size": 1}, {}]}, "parts[1].size is missing"),
        (GOOD | {"parts": [{"size": 1, "share": NAN}]}, "parts[0].share is NaN; it must be a finite number"),
        (GOOD | {"parts": {}}, "parts is {}; it must be a list, [...]"),
        (GOOD | {"pair": [1]}, "pair is [1]; it must be a list of 2"),
        (GOOD | {"table": {}}, "table.x is missing"),
        (GOOD | {"table": {"x": 2}}, "table.x is 2.0; it must be from 0 to 1"),
        (GOOD | {"anything": {"a": [NAN]}}, "anything.a[0] is NaN; it must be a finite number"),
        (GOOD | {"anything": 10**400}, "anything is 1000"),
        (GOOD | {"subnet": [[0, 1]]}, "subnet: layers[0] is [0, 1]; it must be a list of 3"),
        (GOOD | {"name": "x" * 500}, 'xxx...; it must be one of a, b'),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(values, said):
    with pytest.raises(WrongValue) as error:
        shaped(Whole, values)
    assert said in str(error.value)
    assert len(str(error.value)) < 160


def test_a_file_is_named_with_what_to_do(tmp_path):
    path = tmp_path / "part.json"
    path.write_text('{"format": 1, "size": -2}')
    with pytest.raises(UserError) as error:
        read_record(path, Part, "make it again", form=1)
    assert str(error.value) == f"{path} cannot be used (size is -2; it must be 0 or more); make it again"
    with pytest.raises(UserError, match="written by another version"):
        read_record(path, Part, "make it again", form=2)


def test_a_half_written_last_line_is_left_out(tmp_path):
    path = tmp_path / "parts.jsonl"
    assert list(read_lines(path, Part, "")) == []
    path.write_text('{"size": 1}\n{"size": 2}\n{"si')
    assert list(read_lines(path, Part, "")) == [Part(1), Part(2)]
    path.write_text('{"size": 1}\n{"si\n{"size": 2}\n')
    with pytest.raises(UserError, match=r"parts.jsonl:2 cannot be used \(it is no JSON: .*; remove it"):
        list(read_lines(path, Part, "remove it"))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"reports": 1}, "subnet: layers is null"),
        ({"subnet": [], "error": 0.5}, "reports is null; it must be a number"),
        ({"subnet": [], "reports": -1}, "reports is -1.0; it must be 0 or more"),
        ({"subnet": [], "reports": 1, "error": "low"}, 'error is "low"; it must be a number'),
        ([], "the content is []"),
    ],
)
def test_reports_of_trainings(row, said, tmp_path):
    path = tmp_path / "epochs.jsonl"
    good = {"subnet": [[0, 1, 2]], "reports": 1, "error": NAN}  # a training that diverges reports it, and ends
    path.write_text(json.dumps(good) + "\n" + json.dumps(row) + "\n")
    reports = read_lines(path, Report, "remove the file")
    assert next(reports).subnet == SubNetwork.uniform([0], 1, 2)
    with pytest.raises(UserError) as error:
        next(reports)
    assert f"epochs.jsonl:2 cannot be used ({said}" in str(error.value)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([[0, 4, 9], [2, 4, 9]], None),
        ([], None),
        ([[3, 4, 9]], "layers up to number 4, the supernet only 3"),
        ([[0, [0, 4], 9]], "heads up to number 5, the supernet only 4"),
        ([[0, 0, 10]], "units up to number 10, the supernet only 9"),
    ],
)
def test_sub_networks_of_other_models(rows, said):
    found = Sizes(layers=3, heads=4, units=9).excess(SubNetwork.from_json(rows))
    assert found is None if said is None else said in found
