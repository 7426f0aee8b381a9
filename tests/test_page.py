"""The report page in a real browser: without a network, without errors, and what a user does with it.

Needs Chromium and its driver (Debian: apt-get install chromium chromium-driver); skipped where there is none.
"""

import configparser
import json
import re
import shutil
from pathlib import Path

import pytest

from search.report.aggregate import series_of
from search.report.page import render
from search.report.summary import report_of
from tests.fake_runs import make_run

ROOT = Path(__file__).parent.parent
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --window-size=1100,900"
)
TWO = ("error", "params")
THREE = ("error", "params", "latency_ms")


def page_of(folder, objectives):
    """A page of two seeds of a searcher, another searcher and a baseline; and what it shows."""
    make = {"objectives": objectives, "evaluations": 25}
    runs = [make_run(folder / f"random-{seed}", seed=seed, tested=seed == 0, **make) for seed in (0, 1)]
    runs.append(make_run(folder / "ehvi", label="ehvi", greed=0.9, tested=False, failed=(4,), **make))
    runs.append(make_run(folder / "drop", label="drop", kind="baseline", tested=False, **make | {"evaluations": 5}))
    values = report_of(series_of(runs, pool_supernets=False), title="</script><b>50 % & more")
    (folder / "report.html").write_text(render(values), encoding="utf-8")
    return folder / "report.html", values


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    return {objectives: page_of(tmp_path_factory.mktemp("page"), objectives) for objectives in (TWO, THREE)}


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    from selenium import webdriver

    places = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if None in places:
        pytest.skip("needs chromium and chromedriver (Debian: apt-get install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = places[0]
    for flag in (*FLAGS.split(), f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(places[1]))
    yield driver
    driver.quit()


@pytest.fixture
def opened(chromium, pages, request):
    """The browser with a page open, which must not have complained or asked for anything by the end of the test."""
    chromium.get_log("performance")
    path, values = pages[request.param]
    chromium.get(path.as_uri())
    yield chromium, values
    assert chromium.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in chromium.get_log("performance")]
    asked = [e["params"] for e in events if e["method"] == "Network.requestWillBeSent"]
    # The browser's own start page may still be loading when the first test begins.
    assert {a["request"]["url"] for a in asked if a["documentURL"] == path.as_uri()} == {path.as_uri()}


two, three = (pytest.mark.parametrize("opened", [objectives], indirect=True) for objectives in (TWO, THREE))


def find(driver, selector):
    return driver.find_elements("css selector", selector)


def press(driver, selector, *keys):
    (element,) = find(driver, selector)
    element.send_keys(*keys)


def points_in(values):
    return [point for group in values["groups"] for run in group["runs"] for point in run["points"]]


def texts(driver, selector):
    """What is to be read in elements; in one go, as asking for each takes long."""
    return driver.execute_script(
        "return [...document.querySelectorAll(arguments[0])].map(e => e.textContent)", selector
    )


def places(driver):
    script = "return [...document.querySelectorAll('#front .point')].map(e => e.getAttribute('transform'))"
    return driver.execute_script(script)


def column(driver, number):
    return texts(driver, f"#members tbody td:nth-child({number})")


@pytest.mark.slow
def test_no_text_ends_the_script_and_nothing_is_fetched(pages):
    page, values = pages[TWO][0].read_text(encoding="utf-8"), pages[TWO][1]
    assert page.count("</script>") == 2
    embedded = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1]
    assert json.loads(embedded) == json.loads(json.dumps(values))
    assert "<title>&lt;/script&gt;&lt;b&gt;50 % &amp; more</title>" in page
    assert not re.search(r"(src|href)=|url\(|@import|https?://(?!www\.w3\.org/)", page)


def test_the_parts_of_the_page_are_installed():
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    installed = settings["options.package_data"]["search.report"].split(", ")
    assert sorted(installed) == sorted(path.name for path in (ROOT / "search" / "report").glob("page.[!p]*"))


@two
def test_as_many_points_as_were_evaluated(opened):
    driver, values = opened
    assert driver.title == "</script><b>50 % & more"
    points = points_in(values)
    assert len(points) == 25 + 25 + 24 + 5
    assert len(find(driver, "#front .point")) == len(points)
    assert len(find(driver, "#front .line")) == 3  # one a run, none for the baseline
    assert len(find(driver, "#evaluations .line")) == len(find(driver, "#seconds .line")) == 2
    assert not find(driver, "#axes")[0].is_displayed()


@two
def test_pointing_at_a_sub_network_shows_it(opened):
    from selenium.webdriver import ActionChains

    driver, values = opened
    tip = find(driver, "#tip")[0]
    assert not tip.is_displayed()
    wanted = next(p for p in points_in(values) if p["front"] and 0.3 < p["metrics"]["params_share"] < 0.7)
    (mark, *_) = find(driver, f"#front .point.member[data-text='{wanted['text']}']")
    ActionChains(driver).move_to_element(mark).perform()
    assert tip.is_displayed()
    shown = next(p for p in points_in(values) if p["text"] == tip.text.splitlines()[0])
    assert abs(shown["metrics"]["params_share"] - wanted["metrics"]["params_share"]) < 0.02  # or its close neighbour
    assert f"{shown['metrics']['error']:.4f}" in tip.text
    assert f"{shown['metrics']['params'] / 1e6:.2f} M" in tip.text
    assert f"{100 * shown['metrics']['params_share']:.1f} %" in tip.text


@two
def test_a_group_can_be_hidden_and_shown_again(opened):
    driver, values = opened
    names = [button.text for button in find(driver, "#legend button")]
    assert names == [group["name"] for group in values["groups"]] == ["random", "ehvi", "drop"]
    members = sum(p["front"] or p["full"] for p in points_in(values))
    assert len(column(driver, 1)) == members
    press(driver, "#legend button:nth-child(1)", " ")
    assert [b.get_attribute("aria-pressed") for b in find(driver, "#legend button")] == ["false", "true", "true"]
    assert not find(driver, "#front [data-group='0']")
    assert len(find(driver, "#front .point")) == 24 + 5
    assert set(column(driver, 1)) == {"ehvi", "drop"}
    assert len(find(driver, "#evaluations .line")) == 1
    for number in (2, 3):
        press(driver, f"#legend button:nth-child({number})", " ")
    assert not find(driver, "#front .point")
    for number in (1, 2, 3):
        press(driver, f"#legend button:nth-child({number})", " ")
    assert len(find(driver, "#front .point")) == 79


@two
def test_the_arrow_keys_go_along_the_front(opened):
    from selenium.webdriver import Keys

    driver, values = opened
    costs = sorted(p["metrics"]["params"] for p in points_in(values) if p["front"])
    press(driver, "#front", Keys.ARROW_RIGHT)
    tip = find(driver, "#tip")[0]
    assert f"{costs[0] / 1e6:.2f} M" in tip.text
    press(driver, "#front", *[Keys.ARROW_RIGHT] * (len(costs) + 3))
    assert f"{costs[-1] / 1e6:.2f} M" in tip.text
    press(driver, "#front", Keys.ESCAPE)
    assert not tip.is_displayed()


@three
def test_the_budget_names_the_best_sub_network(opened):
    from selenium.webdriver import Keys
    from selenium.webdriver.support.select import Select

    driver, values = opened
    Select(find(driver, "#cost")[0]).select_by_value("params")
    press(driver, "#limit", Keys.HOME, *[Keys.ARROW_RIGHT] * 39)
    assert find(driver, "#allowed")[0].text.startswith("40 % of the full model's")
    within = [p for p in points_in(values) if p["metrics"]["params_share"] <= 0.4]
    best = min(within, key=lambda p: (p["metrics"]["error"], p["metrics"]["params"]))
    assert find(driver, "#best strong")[0].text == best["text"]
    assert f"{best['metrics']['error']:.4f}" in find(driver, "#best")[0].text


@three
def test_other_axes_show_other_objectives(opened):
    from selenium.webdriver.support.select import Select

    driver, _ = opened
    assert not find(driver, "#front .line")
    before = places(driver)
    assert texts(driver, "#front > text")[-2:] == ["latency (ms)", "error (1 - accuracy)"]
    Select(find(driver, "#x")[0]).select_by_value("params")
    assert texts(driver, "#front > text")[-2:] == ["encoder parameters, % of the full model's", "error (1 - accuracy)"]
    after = places(driver)
    assert len(before) == len(after) == 79
    assert set(before) != set(after)


@two
def test_the_table_can_be_sorted(opened):
    driver, _ = opened
    headings = texts(driver, "#members th")
    number = headings.index("encoder share") + 1

    def shares():
        return [float(text.removesuffix(" %")) for text in column(driver, number)]

    press(driver, f"#members th:nth-child({number}) button", " ")
    assert shares() == sorted(shares())
    press(driver, f"#members th:nth-child({number}) button", " ")
    assert shares() == sorted(shares(), reverse=True)
    assert find(driver, f"#members th:nth-child({number})")[0].get_attribute("aria-sort") == "descending"
    assert headings[-2:] == ["test accuracy", "vs full model"]


@two
def test_the_full_model_and_the_trivial_predictor_are_marked(opened):
    driver, values = opened
    full = [p for p in points_in(values) if p["full"]]
    assert len(full) == 4  # one a run
    named = texts(driver, "#members tbody tr")
    assert sum(f"full model: {full[0]['text']}" in line for line in named) == 4
    assert texts(driver, "#majority text") == ["majority class"]
    assert "the error of the majority class is 0.4912, and its test accuracy is 0.5000." in texts(driver, "#about")[0]
    assert texts(driver, "#groups tbody tr")[-1].startswith("majority class")
    spread = values["groups"][0]["hypervolume"]
    assert f"{spread['mean']:.4f} ± {spread['std']:.4f}" in texts(driver, "#groups tbody tr")[0]
    assert not find(driver, "#notes")[0].is_displayed()


@two
def test_a_narrow_screen_needs_no_scrolling_sideways(opened):
    driver, _ = opened
    driver.set_window_size(500, 800)
    try:
        widths = driver.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
    finally:
        driver.set_window_size(1100, 900)
    assert widths[0] <= widths[1]
