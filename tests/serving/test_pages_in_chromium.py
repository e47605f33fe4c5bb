"""The pages in a real Chromium: by keyboard, with axe, light and dark, on a phone, and with links to share."""

import contextlib
import shutil

import pytest

from podpower.fleet.summary import write_summary
from podpower.io.api_keys import line_of, new_key
from podpower.registry.store import ModelStore
from podpower_serving.settings import Settings
from tests.live.lineage import CHROMIUM_FLAGS
from tests.serving.test_pages import ATTACK, MANIFEST, fleet_summary
from tests.waiting import until

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH")


@pytest.fixture(scope="module")
def url(running, pair, tmp_path_factory):
    store = ModelStore(tmp_path_factory.mktemp("chromium") / "models")
    store.promote(store.add(*pair))
    write_summary(store.root, fleet_summary())
    with running(Settings(model_store=str(store.root))) as client:
        yield str(client.base_url).rstrip("/")


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright  # noqa: PLC0415

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(CHROMIUM_FLAGS))
        yield browser
        browser.close()


@contextlib.contextmanager
def opened(browser, address, **options):
    """A page without errors: of scripts, of the Content-Security-Policy, and without requests to other hosts."""
    context = browser.new_context(**options)
    page = context.new_page()
    page.set_default_timeout(30_000)
    wrong = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("dialog", lambda dialog: (wrong.append("a dialog"), dialog.dismiss()))
    origin = address.split("/")[2]
    page.on("request", lambda request: None if origin in request.url else wrong.append(request.url))
    page.goto(address)
    yield page
    stored = page.evaluate("[localStorage.length, sessionStorage.length]")
    context.close()
    assert not [text for text in wrong if "422" not in text and "data:" not in text]
    assert stored == [0, 0]


def axe(page, *rules):
    """Violations that axe finds, by all of its rules or some."""
    from axe_playwright_python.sync_playwright import Axe  # noqa: PLC0415

    # Its script is run by the debugger, which the Content-Security-Policy does not hold.
    found = (
        Axe()
        .run(page, options={"resultTypes": ["violations"]} | ({"runOnly": rules} if rules else {}))
        .response["violations"]
    )
    return [(one["id"], [node["html"][:200] for node in one["nodes"]][:3]) for one in found]


def predicted(page, text=MANIFEST):
    page.get_by_label("Manifest", exact=True).fill(text)
    page.get_by_role("heading", name="Each workload").wait_for()


@pytest.mark.parametrize(("scheme", "rules"), [("light", ()), ("dark", ("color-contrast",))])
def test_axe_finds_nothing(scheme, rules, browser, url):
    with opened(browser, f"{url}/", color_scheme=scheme) as page:
        assert axe(page, *rules) == []
        page.get_by_text("Compare with another manifest").click()
        page.get_by_label("The manifest as it was before").fill(MANIFEST.replace("replicas: 2", "replicas: 1"))
        page.get_by_label("Price of a kWh").fill("0.3")
        predicted(page)
        page.get_by_text("Neighbours").first.click()
        page.get_by_text("This change adds").wait_for()
        assert axe(page, *rules) == []
        page.get_by_label("Price of a kWh").fill("much")
        page.get_by_role("alert").filter(has_text="price").wait_for()
        assert axe(page, *rules) == []
        page.goto(f"{url}/fleet")
        for folded in page.locator("summary").all():
            folded.click()
        assert axe(page, *rules) == []


def test_everything_is_done_by_keyboard(browser, url):
    with opened(browser, f"{url}/") as page:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to content"
        for _ in range(20):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.id") == "example":
                break
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="Each workload").wait_for()
        replicas = page.get_by_role("slider", name="Replicas")
        before = page.locator(".figures").inner_text()
        replicas.focus()
        for _ in range(3):
            page.keyboard.press("ArrowRight")
        page.locator("#effect", has_text="This change adds").wait_for()
        assert page.evaluate("document.activeElement.id") == "slide-replicas"
        page.locator('#slide-replicas[aria-valuetext="5 (manifest: 2)"]').wait_for()
        assert page.locator(".figures").inner_text() != before


def test_a_link_brings_the_same_page_to_another_browser_and_nothing_to_the_server(browser, url):
    sent = []
    with opened(browser, f"{url}/") as page:
        page.get_by_label("Price of a kWh").fill("0.31")
        predicted(page)
        page.get_by_role("slider", name="CPU").press("ArrowRight")
        page.locator("#effect", has_text="This change").wait_for()
        shown = page.locator(".answer").first.inner_text()
        page.get_by_role("button", name="Link to share").click()
        page.locator("#link-note:not(:empty)").wait_for()
        link = page.get_by_label("This link holds").input_value()
    assert link.startswith(f"{url}/#v1=")
    with opened(browser, link) as page:
        page.on("request", lambda request: sent.append(request.url))
        page.locator("#effect", has_text="This change").wait_for()
        assert page.locator(".answer").first.inner_text() == shown
        assert page.get_by_label("Manifest", exact=True).input_value() == MANIFEST
        assert page.get_by_role("slider", name="CPU").input_value() == "1"
    assert not any("#" in one for one in sent)
    with opened(browser, link[:-40]) as page:
        page.get_by_text("This link cannot be read").wait_for()


def test_files_are_dropped_and_opened(browser, url, tmp_path):
    (tmp_path / "web.yaml").write_text(MANIFEST)
    with opened(browser, f"{url}/") as page:
        page.locator("#files").set_input_files([tmp_path / "web.yaml"])
        page.locator("#result .name", has_text="shop/web").wait_for()
        page.evaluate(
            """(text) => { const data = new DataTransfer(); data.items.add(new File([text], 'a.yaml'));
            document.dispatchEvent(new DragEvent('drop', {dataTransfer: data, bubbles: true, cancelable: true})) }""",
            MANIFEST.replace("name: web,", "name: dropped,"),
        )
        page.locator("#result .name", has_text="shop/dropped").first.wait_for()


def test_texts_of_a_manifest_run_nothing(browser, url):
    hostile = MANIFEST.replace("namespace: shop", f"namespace: '{ATTACK}'").replace(
        "acme/app0:1", ATTACK.replace('"', "")
    )
    with opened(browser, f"{url}/") as page:
        predicted(page, hostile)
        assert page.locator("#result img, #result script, #sliders img").count() == 0
        assert ATTACK in page.locator("#result .name").first.inner_text()
        page.goto(f"{url}/fleet")
        assert page.locator("main img, main script").count() == 0


@pytest.mark.parametrize("path", ["/", "/fleet"])
def test_a_phone_scrolls_in_one_direction_only(path, browser, url):
    with opened(browser, f"{url}{path}", viewport={"width": 360, "height": 740}) as page:
        if path == "/":
            predicted(page)
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= 360


def test_a_browser_without_scripts_predicts_too(browser, url):
    with opened(browser, f"{url}/", java_script_enabled=False) as page:
        page.get_by_label("Manifest", exact=True).fill(MANIFEST)
        page.get_by_role("button", name="Predict").click()
        page.get_by_role("heading", name="Each workload").wait_for()


def test_a_lost_service_is_reported_and_the_manifest_stays(browser, running, filled_store):
    with running(Settings(model_store=str(filled_store.root))) as client:
        context = browser.new_context()
        page = context.new_page()
        page.goto(str(client.base_url))
        context.set_offline(True)
        page.get_by_label("Manifest", exact=True).fill(MANIFEST)
        page.get_by_role("alert").filter(has_text="cannot be reached").wait_for()
        assert page.get_by_label("Manifest", exact=True).input_value() == MANIFEST
        context.close()


def test_what_is_typed_before_the_scripts_are_there_is_predicted(browser, url):
    context, held = browser.new_context(), []
    page = context.new_page()
    page.route("**/htmx.min.js", lambda route: held.append(route))  # noqa: PLW0108  # not a built-in function
    page.goto(f"{url}/", wait_until="commit")
    page.get_by_label("Manifest", exact=True).fill(MANIFEST)
    until(lambda: held or page.wait_for_timeout(20))
    held[0].continue_()
    page.get_by_role("heading", name="Each workload").wait_for(timeout=30_000)
    context.close()


def test_a_key_is_asked_for_once(browser, running, filled_store, tmp_path):
    key = new_key()
    (tmp_path / "keys").write_text(line_of("people", key))
    settings = Settings(model_store=str(filled_store.root), api_keys_file=str(tmp_path / "keys"))
    with running(settings) as client, opened(browser, str(client.base_url)) as page:
        assert axe(page) == []
        page.get_by_label("API key").fill(key)
        page.get_by_role("button", name="Continue").click()
        predicted(page)
        page.goto(f"{str(client.base_url).rstrip('/')}/fleet")
        assert page.title().startswith("Fleet")
        page.get_by_role("button", name="Log out").click()
        page.get_by_label("API key").wait_for()
