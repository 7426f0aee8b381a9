"""Folders of searches: run.json, trials.jsonl, front.json."""

from tests.bad_inputs.rows import BAD_JSON, Bad, cut, put, remove

_AGAIN = ("nested 100000 deep", "a list", "a number", "null", "an integer of 5000 digits")
ROWS = [
    *(
        Bad(
            f"run.json is {what}",
            "select",
            "max_params=1",
            ("run/run.json", "cannot be used"),
            (put("run/run.json", content),),
        )
        for what, content in BAD_JSON.items()
        if what not in _AGAIN
    ),
    Bad("no run.json", "report", (), ("/run is no folder of a search", "has no run.json"), (remove("run/run.json"),)),
    Bad(
        "trials.jsonl has a broken line", "report", (), ("trials.jsonl:1", "no JSON"), (put("run/trials.jsonl", "{\n"),)
    ),
    Bad(
        "front.json is cut off",
        "select",
        "max_params=1",
        ("front.json", "cannot be used"),
        (cut("run/front.json", 90),),
    ),
]
