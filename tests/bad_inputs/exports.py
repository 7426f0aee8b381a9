"""What `export` reads besides the run: a file with a sub-network, and the export that is there already."""

from tests.bad_inputs.rows import SOME_BAD_JSON, Bad, folder_instead, put

_FILES = (
    # content, words
    ("{}", "subnet is missing"),
    ('{"subnet": 5}', "subnet: layers is 5; it must be a list"),
    ('{"subnet": [[0, 1]]}', "subnet: layers[0] is [0, 1]; it must be a list of 3"),
    ('{"subnet": [[0, -1, 2]]}', "subnet: layers[0][1] is -1; it must be from 0"),
    ('{"subnet": [[0, 1e400, 2]]}', "subnet[0][1] is Infinity; it must be a finite number"),
    ('{"subnet": [[0, 1, 2]], "run": ["a"]}', 'run is ["a"]; it must be text'),
    ('{"subnet": [[0, 1, 2]], "weights": 5}', "weights is 5; it must be text"),
)

_UNREADABLE = {what: (put("chosen", content),) for what, content in SOME_BAD_JSON.items()}
_UNREADABLE |= {"not there": (), "a folder": (folder_instead("chosen"),)}

ROWS = [
    *(
        Bad(f"the file is {what}", "export", "subnet={chosen}", ("chosen cannot be used", "json' prints"), damage)
        for what, damage in _UNREADABLE.items()
    ),
    *(
        Bad(
            f"the file has {content}",
            "export",
            "subnet={chosen}",
            ("chosen cannot be used", words),
            (put("chosen", content),),
        )
        for content, words in _FILES
    ),
    Bad(
        "the supernet of a sub-network is another one",
        "export",
        "subnet={chosen}",
        ("chosen", "whose weights have the digest 00ff", "choose again from this run"),
        (put("chosen", '{"subnet": [[0, 1, 2]], "weights": "00ff"}'),),
    ),
    Bad(
        "a sub-network is larger than the model",
        "export",
        "subnet={chosen}",
        ("does not fit the supernet", "heads up to number 9, the supernet only 4"),
        (put("chosen", '{"subnet": [[0, 9, 2]]}'),),
    ),
    Bad("the folder holds something else", "export", "trial=1 name=mine", ("mine is not an export folder", "name=NAME"),
        (put("out/export/mine/photograph", "a tree"),)),
    *(
        Bad(f"the export there is {what}", "export", "trial=1 name=mine", ("export.json cannot be used",),
            (put("out/export/mine/export.json", content),))
        for what, content in SOME_BAD_JSON.items()
    ),
    Bad("the folder is a file", "export", "trial=1 name=mine", ("mine is not an export folder",),
        (put("out/export/mine", "a file"),)),
    Bad("the folder of exports is a file", "export", "trial=1", ("export cannot be", "output_dir=FOLDER"),
        (put("out/export", "a file"),)),
    Bad("push names no owner", "export", "trial=1 push=mine", ("push=mine is no name of a repository",)),
    Bad("rows are elsewhere", "export", "trial=1 data.dir={nowhere}", ("nowhere is not a folder",), talks=True),
]  # fmt: skip
