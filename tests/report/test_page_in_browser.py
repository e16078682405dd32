"""The page in Chromium: no errors, both themes, phone width, keys, and the pictures to the value.

Skipped where Chromium, its driver or selenium is not installed. ``AXE=/path/to/axe.min.js`` adds an audit by axe-core.
"""

import os
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from pages import contents, data_of, decoded, meta_of, pictures

from recon.report.page import Contents, Group, Layer, Slice, page_text

pytestmark = pytest.mark.nightly

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
SECONDS = 20


@pytest.fixture(scope="module")
def browser():
    webdriver = pytest.importorskip("selenium.webdriver")
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("chromium and chromedriver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def show(browser, page, folder, width=1280, dark=False):
    path = folder / "page.html"
    path.write_text(page, encoding="utf-8")
    scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get_log("browser")  # of the page before
    browser.get(path.as_uri())
    wait(browser, "return document.documentElement.dataset.drawn")


def wait(browser, script):
    end = time.monotonic() + SECONDS
    while not (found := browser.execute_script(script)):
        assert time.monotonic() < end, script
        time.sleep(0.02)
    return found


def errors(browser):
    return [entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]


def press(browser, key, **more):
    browser.execute_script(
        "document.getElementById('canvas').dispatchEvent("
        "new KeyboardEvent('keydown', {key: arguments[0], bubbles: true, cancelable: true, ...arguments[1]}))",
        key,
        more,
    )


def choose(browser, mode):
    browser.execute_script("document.querySelector(`#modes input[value='${arguments[0]}']`).click()", mode)
    wait(browser, f"return document.querySelector('#modes input:checked').value === '{mode}'")
    time.sleep(0.2)


def point(browser, column, row, shape):
    """Hover over a pixel, and read what is said of it."""
    browser.execute_script(
        """const [column, row, rows, columns] = arguments, canvas = document.getElementById('canvas');
        const box = canvas.getBoundingClientRect(), size = Math.min(box.width / columns, box.height / rows);
        const x = box.left + box.width / 2 + (column + 0.5 - columns / 2) * size;
        const y = box.top + box.height / 2 + (row + 0.5 - rows / 2) * size;
        canvas.dispatchEvent(new PointerEvent('pointermove', {clientX: x, clientY: y, bubbles: true}));""",
        column, row, *shape,
    )  # fmt: skip
    return browser.find_element("id", "readout").text.replace("−", "-")


def told(text, name):
    return float(re.search(rf"{name} (-?[0-9.]+)", text)[1])


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, False), (390, True)])
def test_a_page_opens_without_errors_and_fits(browser, tmp_path, width, dark):
    show(browser, page_text(contents(3)), tmp_path, width, dark)
    assert not errors(browser)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    background = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (max(map(int, re.findall(r"\d+", background))) < 60) == dark
    assert browser.find_element("id", "canvas").size["width"] > 0.8 * min(width, 1040)


def test_nothing_is_loaded(browser, tmp_path):
    browser.get_log("performance")
    show(browser, page_text(contents(3)), tmp_path)
    sent = [
        entry["message"] for entry in browser.get_log("performance") if "Network.requestWillBeSent" in entry["message"]
    ]
    addresses = {found for message in sent for found in re.findall(r'"url":"([^"]+)"', message)}
    assert all(each.startswith(("file:///", "blob:", "data:")) for each in addresses), addresses


@pytest.mark.parametrize("budget", [10**9, 5000])
def test_the_browser_decodes_what_was_packed(browser, tmp_path, budget):
    """Exact copies and wavelets: their values under the pointer are those of a second reader."""
    page = page_text(contents(1, size=(90, 70)), budget)
    layers = meta_of(page)["groups"][0]["slices"][0]["layers"]
    assert layers[0]["coder"] == ("wavelet" if budget == 5000 else layers[0]["coder"])
    values = {layer["name"]: decoded(data_of(page, layer["id"]), layer) for layer in layers[:2]}
    show(browser, page, tmp_path)
    for row, column in [(0, 0), (3, 66), (45, 30), (89, 69)]:
        text = point(browser, column, row, (90, 70))
        assert f"row {row}, column {column}" in text
        for name, found in values.items():
            assert told(text, name) == pytest.approx(found[0, row, column], abs=0.02)
    choose(browser, "residual")
    text = point(browser, 30, 45, (90, 70))
    difference = values["after"][0, 45, 30] - values["before"][0, 45, 30]
    assert told(text, "residual") == pytest.approx(difference, abs=0.04)
    assert not errors(browser)


def test_missing_pixels_and_colours(browser, tmp_path):
    random = np.random.default_rng(0)
    before, after = random.integers(0, 256, (2, 3, 40, 50)).astype(float)
    before[:, 5, 6] = np.nan
    layers = (Layer("before", "photo", before, step=1.0), Layer("after", "photo", after, step=1.0))
    page = page_text(Contents("colours", [Group("", [Slice("a", layers, {}, (0.0, 255.0))], 1)]))
    show(browser, page, tmp_path)
    assert "before none none none" in point(browser, 6, 5, (40, 50))
    expected = " ".join(f"{value:.0f}" for value in after[:, 20, 30])
    assert f"after {expected}" in point(browser, 30, 20, (40, 50))
    assert not errors(browser)


def test_window_and_level_decide_what_is_black_and_white(browser, tmp_path):
    before = np.broadcast_to(np.linspace(-1000, 1000, 64), (1, 64, 64)).copy()
    layers = (Layer("after", "ramp", before, unit="HU", step=1.0),)
    show(browser, page_text(Contents("", [Group("", [Slice("a", layers, {}, (-1000.0, 1000.0))], 1)])), tmp_path)
    read = """const c = document.getElementById('canvas'), g = c.getContext('2d');
        const side = Math.min(c.width, c.height), left = (c.width - side) / 2;
        return [10, 32, 54].map((x) => g.getImageData(left + (x + 0.5) * side / 64, c.height / 2, 1, 1).data[0]);"""
    low, middle, high = browser.execute_script(read)
    assert low < 60 < middle < 190 < high
    browser.execute_script(
        "for (const [id, value] of [['level', 500], ['width', 10]]) {"
        "const field = document.getElementById(id); field.value = value; field.dispatchEvent(new Event('change')); }"
    )
    time.sleep(0.2)
    assert browser.execute_script(read) == [0, 0, 255]
    browser.execute_script(
        "const p = document.getElementById('preset'); p.value = '40 400'; p.dispatchEvent(new Event('change'))"
    )
    assert "Black −160 HU, white 240 HU" in wait(
        browser, "const t = document.getElementById('scale').textContent; return t.includes('240') && t"
    )


def test_slices_by_wheel_keys_and_slider(browser, tmp_path):
    show(browser, page_text(contents(12)), tmp_path)
    at = "return document.documentElement.dataset.slice"
    assert browser.execute_script(at) == "6"
    browser.execute_script(
        "document.getElementById('canvas').dispatchEvent(new WheelEvent('wheel', {deltaY: 40, cancelable: true}))"
    )
    wait(browser, f"{at} === '7'")
    press(browser, "ArrowUp")
    press(browser, "ArrowUp")
    wait(browser, f"{at} === '5'")
    press(browser, "End")
    wait(browser, f"{at} === '11'")
    press(browser, "ArrowDown")
    assert "12 of 12: 0012.dcm" in browser.find_element("id", "slice-name").text
    browser.execute_script(
        "const s = document.getElementById('slice'); s.value = 2; s.dispatchEvent(new Event('input', {bubbles: true}))"
    )
    wait(browser, f"{at} === '2'")
    assert len(browser.find_elements("css selector", "section [data-slice]:not([hidden])")) <= 1
    assert "slice 3 of 12" in browser.find_element("id", "canvas").get_attribute("aria-label")
    assert not errors(browser)


def test_divider_zoom_and_taking_turns(browser, tmp_path):
    show(browser, page_text(contents()), tmp_path)
    value = "return Number(document.getElementById('divider').value)"
    press(browser, "ArrowRight")
    assert browser.execute_script(value) == 52
    canvas = browser.find_element("id", "canvas")
    from selenium.webdriver import ActionChains  # noqa: PLC0415  not installed everywhere

    wide = canvas.size["width"]
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    ActionChains(browser).move_to_element(canvas).click_and_hold().move_by_offset(
        int(0.2 * wide), 0
    ).release().perform()
    assert browser.execute_script(value) == pytest.approx(70, abs=2)
    before = point(browser, 5, 5, (48, 64))
    press(browser, "+")
    press(browser, "+")
    time.sleep(0.2)
    assert point(browser, 5, 5, (48, 64)) != before
    press(browser, "0")
    time.sleep(0.2)
    assert point(browser, 5, 5, (48, 64)) == before
    press(browser, "b")
    wait(browser, "return document.querySelector('#modes input:checked').value === 'before'")
    press(browser, "b")
    wait(browser, "return document.querySelector('#modes input:checked').value === 'after'")
    assert not errors(browser)


def test_every_control_is_reached_by_the_keyboard(browser, tmp_path):
    show(browser, page_text(contents(3)), tmp_path)
    from selenium.webdriver import ActionChains, Keys  # noqa: PLC0415

    reached = set()
    for _ in range(40):
        ActionChains(browser).send_keys(Keys.TAB).perform()
        reached.add(browser.execute_script("return document.activeElement.id || document.activeElement.name"))
    assert {"mode", "slice", "canvas", "divider", "tool", "zoom-in", "preset", "level", "width", "regions"} <= reached


def test_an_attack_does_nothing(browser, tmp_path):
    attack = "</script><img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>"
    before, after = pictures()
    layers = (Layer("before", attack, before, unit=attack), Layer("after", attack, after))
    record = {"status": attack, "config": {"operator": attack}, "certificate": {"theorem": attack}}
    one = Slice(attack, layers, record, remarks=(attack,))
    show(browser, page_text(Contents("safe", [Group(attack, [one, one], 2), Group(attack, [one], 1)])), tmp_path)
    browser.execute_script(
        "const g = document.getElementById('group'); g.value = 1; g.dispatchEvent(new Event('change'))"
    )
    time.sleep(0.2)
    point(browser, 5, 5, (48, 64))
    assert browser.title == "safe"
    assert not errors(browser)
    # and what would get through the escaping is stopped by the policy
    browser.execute_script(
        "document.body.insertAdjacentHTML('beforeend', arguments[0])", '<img src=x onerror="document.title=1">'
    )
    time.sleep(0.2)
    assert browser.title == "safe"


def test_a_result_that_is_not_shown_is_said_in_its_place(browser, tmp_path):
    whole = contents(2)
    gone = Slice("gone.png", (), {"status": "converged"}, missing=("gone.png: the file was altered.",))
    show(browser, page_text(Contents("two", [*whole.groups, Group("gone", [gone], 1)])), tmp_path)
    choice = "const g = document.getElementById('group'); g.value = 1; g.dispatchEvent(new Event('change'))"
    browser.execute_script(choice)
    time.sleep(0.2)
    assert browser.find_element("id", "empty").is_displayed()
    for part in ("stage", "scale", "level"):
        assert not browser.find_element("id", part).is_displayed()
    assert "gone.png: the file was altered." in browser.find_element("tag name", "header").text
    browser.execute_script(choice.replace("= 1", "= 0"))
    time.sleep(0.2)
    assert browser.find_element("id", "stage").is_displayed()
    assert not errors(browser)


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_axe_finds_nothing(browser, tmp_path, width, dark):
    script = os.environ.get("AXE")
    if not script or not Path(script).is_file():
        pytest.skip("AXE names no axe.min.js (npm pack axe-core)")
    show(browser, page_text(contents(3)), tmp_path, width, dark)
    browser.execute_script("for (const each of document.querySelectorAll('details')) each.open = true")
    browser.execute_cdp_cmd("Runtime.evaluate", {"expression": Path(script).read_text()})
    browser.set_script_timeout(SECONDS)
    found = browser.execute_async_script("axe.run().then(arguments[0])")
    assert [(each["id"], [node["html"][:80] for node in each["nodes"]]) for each in found["violations"]] == []
    assert len(found["passes"]) > 20
