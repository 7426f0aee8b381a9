"""What holds for the whole run. The fixtures are in fixtures.py."""

from hypothesis import settings

# Every run of the suite tries the same examples; `--hypothesis-profile=search` looks for new ones.
# There is no deadline, because a busy machine is slow.
settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("search", max_examples=5000, deadline=None)
settings.load_profile("same")


def pytest_configure(config):
    """The process that only hands out tests to others needs no libraries, which take seconds to load."""
    if not getattr(config.option, "numprocesses", None):
        config.pluginmanager.import_plugin("tests.fixtures")
