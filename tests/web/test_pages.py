"""The pages in a real browser: what users and operators see, in light and dark, wide and narrow, and without sight."""

from __future__ import annotations

import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from esfeed.demo.cloud import FLAVOR, SERVER
from esfeed.testing.events import sample_event
from tests.support.clients import eventually
from tests.web.conftest import Open, StageMaker
from tests.web.live import target

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
SOON = 20_000
SERIOUS = ("serious", "critical")
expect.set_options(timeout=SOON)

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="chromium is not installed (Debian: chromium); scripts/test does")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield found
        found.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page on which no script may fail and no policy may be broken."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    made = context.new_page()
    made.set_default_timeout(SOON)
    faults: list[str] = []
    made.on("pageerror", lambda error: faults.append(str(error)))
    made.on("console", lambda said: faults.append(said.text) if "Content Security Policy" in said.text else None)
    yield made
    context.close()
    assert not faults


def hooks(url: str, **more: object) -> str:
    lines = "".join(f"{key} = {str(value).lower()}\n" for key, value in more.items())
    return f'[sinks.hooks]\ntype = "webhook"\nurl = "{url}"\nallow_private = true\n{lines}'


def status_of(page: Page, name: str) -> str:
    row = page.locator("#instances tr", has=page.locator("th", has_text=re.compile(f"^{name}$")))
    return "".join(row.locator(".badge").all_inner_texts())  # in one look: the row may go at any time


def test_a_server_turns_active_without_a_reload(stage: StageMaker, page: Page) -> None:
    """Horizon's case: BUILD, then ACTIVE, a new one, a renamed one and one that is gone, all on the same page."""
    staged = stage()
    staged.cloud.create(SERVER, "web-1", status="BUILD", flavor="m1.small")
    page.goto(staged.live.url + "/demo/instances")
    expect(page.locator("#stream")).to_have_text("live")
    page.evaluate("window.here = 'not reloaded'")
    eventually(lambda: status_of(page, "web-1") == "BUILD")
    staged.cloud.change("web-1", status="ACTIVE")
    eventually(lambda: status_of(page, "web-1") == "ACTIVE")
    expect(page.locator("#said")).to_have_text("web-1 is now ACTIVE")
    staged.cloud.create(SERVER, "web-2", status="ERROR")
    eventually(lambda: status_of(page, "web-2") == "ERROR")
    staged.cloud.change("web-1", name="www")
    eventually(lambda: status_of(page, "www") == "ACTIVE" and status_of(page, "web-1") == "")
    staged.cloud.delete("web-2")
    eventually(lambda: status_of(page, "web-2") == "")
    assert page.locator("#instances tr").count() == 1
    assert page.evaluate("window.here") == "not reloaded"


def test_a_page_survives_a_restart_of_the_server(stage: StageMaker, page: Page) -> None:
    """Also one by kill -9: what happened meanwhile is on the page soon after, none of it is lost, none comes twice."""
    staged = stage()
    staged.cloud.create(SERVER, "web-1", status="BUILD")
    page.goto(staged.live.url + "/")
    expect(page.locator("#stream")).to_have_text("live")
    page.evaluate("window.here = 'not reloaded'")
    expect(page.locator("#events tr")).to_have_count(2)
    for number, how in enumerate((signal.SIGKILL, signal.SIGTERM)):
        staged.live.stop(how)
        expect(page.locator("#stream")).to_have_text("reconnecting")
        expect(page.locator("#notice")).to_contain_text("does not answer")
        staged.cloud.change("web-1", status="ACTIVE" if number == 0 else "ERROR")
        staged.cloud.create(FLAVOR, f"f{number}", vcpus=1)
        staged.live.start()
        staged.cloud.create(FLAVOR, f"g{number}", vcpus=1)
        expect(page.locator("#stream")).to_have_text("live")
        expect(page.locator("#events tr")).to_have_count(2 + 3 * (number + 1))
    expect(page.locator("#notice")).to_be_hidden()
    shown = page.locator("#events td:first-child").all_inner_texts()
    told = page.evaluate("fetch('/v1/changes').then(answer => answer.json())")
    assert shown == [str(event["data"]["position"]) for event in reversed(told["events"])]
    assert page.evaluate("window.here") == "not reloaded"


def test_a_server_that_dies_while_the_page_opens(stage: StageMaker, page: Page) -> None:
    """What the page asks first goes unanswered: it says so, asks again, and all is there in the end."""
    staged = stage()
    staged.cloud.create(SERVER, "web-1", status="BUILD")
    page.route(re.compile(r"/v1/(status|dead|changes)"), lambda route: route.abort())
    page.goto(staged.live.url + "/")
    expect(page.locator("#notice")).to_contain_text("does not answer")
    expect(page.locator("#stream")).to_have_text("reconnecting")
    page.unroute_all()
    expect(page.locator("#stream")).to_have_text("live")
    expect(page.locator("#notice")).to_be_hidden()
    expect(page.locator("#filter select[name=watch] option")).to_have_text(["all", "cloud"])
    expect(page.locator("#events tr")).to_have_count(2)


def test_a_sink_fails_parks_and_is_redriven(stage: StageMaker, page: Page) -> None:
    """The dashboard shows a sink that fails, what it parks, what is dead; a click sends that again, and all is well."""
    with target() as receiver:
        receiver.refused_word = "cursed"
        staged = stage(hooks(receiver.url, attempts=2))
        page.goto(staged.live.url + "/")
        sink = page.get_by_role("article", name="Sink hooks")
        expect(sink.locator(".badge").first).to_have_text("ok")
        staged.cloud.create(FLAVOR, "cursed-1", vcpus=1)
        staged.cloud.create(FLAVOR, "cursed-2", vcpus=1)
        staged.cloud.create(FLAVOR, "fine", vcpus=1)
        rows = page.locator("#held-rows tr")
        expect(rows).to_have_count(2)
        expect(rows.first).to_contain_text("422")
        expect(page.get_by_role("button", name="Redrive 2 dead events")).to_be_visible()
        # Others went on meanwhile.
        eventually(lambda: any("fine" in str(event) for event in receiver.got))
        receiver.refused_word = ""
        rows.first.get_by_role("button", name=re.compile("Redrive: position")).click()
        expect(rows).to_have_count(1)
        expect(page.locator("#said")).to_contain_text("1 event of hooks will be sent again")
        page.get_by_role("button", name="Redrive 1 dead event").click()
        expect(page.locator("#held")).to_be_hidden()
        eventually(lambda: sum("cursed" in str(event) for event in receiver.got) == 2)
        receiver.down = True
        staged.cloud.create(FLAVOR, "while-down-1", vcpus=1)
        staged.cloud.create(FLAVOR, "while-down-2", vcpus=1)
        expect(sink.locator(".error")).to_contain_text("503")
        receiver.down = False
        expect(sink.locator(".badge").first).to_have_text("ok", timeout=60_000)


def test_before_and_after(stage: StageMaker, page: Page) -> None:
    """One event opened: what changed, all of it where that is wanted, versions digit by digit; and it closes by key."""
    staged = stage()
    staged.cloud.create(SERVER, "web-1", status="BUILD")
    page.goto(staged.live.url + "/")
    expect(page.locator("#stream")).to_have_text("live")
    staged.cloud.change("web-1", status="ACTIVE")
    row = page.locator("#events tr", has_text="updated")
    expect(row.locator(".was").first).to_have_text("BUILD")
    expect(row.locator(".is").first).to_have_text("ACTIVE")
    row.get_by_role("button").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.locator("#event-fields tr", has_text="status").locator("td").nth(0)).to_have_text("BUILD")
    expect(dialog.locator("#event-fields tr", has_text="status").locator("td").nth(1)).to_have_text("ACTIVE")
    few = dialog.locator("#event-fields tr").count()
    dialog.get_by_label("Only what changed").uncheck()
    assert dialog.locator("#event-fields tr").count() > few
    told = page.evaluate("fetch('/v1/changes?integers=safe').then(answer => answer.json())")
    version = next(event for event in told["events"] if event["data"]["op"] == "updated")["data"]["origin"]["version"]
    assert int(version) > 2**53
    expect(dialog).to_contain_text(f"{int(version):,}")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(row.get_by_role("button")).to_be_focused()


def test_filters_are_the_servers(open_desk: Open, page: Page) -> None:
    """By operation, type, id and expression, on what was and on what comes; a wrong expression is explained."""
    desk = open_desk()
    desk.put(*(sample_event(doc_id=f"s{n}", op="created", after={"name": f"n{n}"}) for n in range(3)))
    desk.put(sample_event(doc_id="i", type="OS::Glance::Image", watch="images", op="deleted", before={"name": "old"}))
    page.goto(desk.url + "/")
    rows = page.locator("#events tr")
    expect(rows).to_have_count(4)
    page.get_by_label("Operation").select_option("deleted")
    expect(rows).to_have_count(1)
    desk.put(sample_event(doc_id="s1", op="created"), sample_event(doc_id="s1", op="deleted"))
    expect(rows).to_have_count(2)
    page.get_by_label("Operation").select_option("")
    page.get_by_label("Id", exact=True).fill("s1")
    page.keyboard.press("Enter")
    expect(rows).to_have_count(3)
    page.get_by_label("Condition").fill("after.name = 'n1'")
    page.keyboard.press("Enter")
    expect(page.locator("#filter-fault")).to_contain_text('write "=="')
    page.get_by_label("Condition").fill("after.name == 'n1'")
    page.keyboard.press("Enter")
    expect(rows).to_have_count(1)
    expect(page.locator("#filter-fault")).to_be_hidden()


def test_a_pause_holds_the_list_still(open_desk: Open, page: Page) -> None:
    """What comes meanwhile is counted, and is there afterwards."""
    desk = open_desk()
    desk.fill(2)
    page.goto(desk.url + "/")
    rows = page.locator("#events tr")
    expect(rows).to_have_count(2)
    expect(page.locator("#stream")).to_have_text("live")
    page.get_by_role("button", name="Pause").click()
    desk.fill(3)
    expect(page.get_by_role("button", name="Resume (3 new)")).to_be_visible()
    expect(rows).to_have_count(2)
    page.get_by_role("button", name="Resume (3 new)").click()
    expect(rows).to_have_count(5)


def test_two_tenants_see_each_their_own(open_desk: Open, browser: Browser) -> None:
    """Each signs in with its token: it sees its servers come alive, and neither the other's nor the feed's insides."""
    desk = open_desk('anonymous = "never"')
    contexts = [browser.new_context() for _ in range(2)]
    pages = []
    for tenant, context in zip(("p1", "p2"), contexts, strict=True):
        page = context.new_page()
        page.set_default_timeout(SOON)
        page.goto(desk.url + "/demo/instances")
        page.get_by_label("Token").fill("esfeed_wrong")
        page.keyboard.press("Enter")
        expect(page.locator("#token-fault")).to_contain_text("unknown token")
        page.get_by_label("Token").fill(desk.token(tenant))
        page.keyboard.press("Enter")
        expect(page.locator("#stream")).to_have_text("live")
        pages.append(page)
    for tenant in ("p1", "p2"):
        after = {"project_id": tenant, "name": f"of-{tenant}", "status": "ACTIVE"}
        desk.put(sample_event(op="created", doc_id=tenant, view="user", after=after))
    for tenant, page in zip(("p1", "p2"), pages, strict=True):
        eventually(lambda page=page, tenant=tenant: status_of(page, f"of-{tenant}") == "ACTIVE")
        assert page.locator("#instances tr").count() == 1
        page.goto(desk.url + "/")
        expect(page.locator("#notice")).to_contain_text(f"You see the events of {tenant}")
        expect(page.locator("#events tr")).to_have_count(1)
        expect(page.get_by_role("heading", name="Sinks")).to_be_hidden()
    for context in contexts:
        context.close()


def test_nothing_in_a_document_is_obeyed(open_desk: Open, page: Page) -> None:
    """Markup and script in names, ids, types and errors are text."""
    desk = open_desk()
    evil = "<img src=x onerror='window.owned=1'><script>window.owned=1</script>"
    after = {"name": evil, "status": evil, evil: evil}
    desk.put(sample_event(op="created", doc_id=evil, type="OS::Nova::Server", after=after))
    for path in ("/", "/demo/instances"):
        page.goto(desk.url + path)
        expect(page.locator("tbody tr")).to_have_count(1)
        expect(page.locator("tbody tr")).to_contain_text("<img src=x")
    page.goto(desk.url + "/")
    page.locator("#events button").click()
    expect(page.get_by_role("dialog")).to_contain_text("<script>")
    assert page.evaluate("window.owned") is None
    assert page.locator("tbody img").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_looks_and_is_usable_without_sight(
    stage: StageMaker, browser: Browser, tmp_path: Path, scheme: str, width: int
) -> None:
    """Nothing is cut off sideways, axe finds nothing serious, and all of it can be reached by the Tab key."""
    with target() as receiver:
        receiver.refused_word = "cursed"
        staged = stage(hooks(receiver.url, attempts=1))
        staged.cloud.create(SERVER, "web-1", status="BUILD", flavor="m1.small")
        staged.cloud.create(FLAVOR, "cursed", vcpus=1)
        staged.cloud.change("web-1", status="ACTIVE")
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme=scheme,  # type: ignore[arg-type]  # it is one of the two
            reduced_motion="reduce",
        )
        page = context.new_page()
        page.set_default_timeout(SOON)
        page.goto(staged.live.url + "/demo/instances")
        eventually(lambda: status_of(page, "web-1") == "ACTIVE")
        _check(page, tmp_path / f"instances-{scheme}-{width}.png")
        page.goto(staged.live.url + "/")
        expect(page.locator("#held-rows tr")).to_have_count(1)
        expect(page.locator("#stream")).to_have_text("live")
        _check(page, tmp_path / f"dashboard-{scheme}-{width}.png")
        _tab_through(page)
        page.locator("#events button").first.click()
        expect(page.get_by_role("dialog")).to_be_visible()
        _check(page, tmp_path / f"event-{scheme}-{width}.png")
        context.close()


def _check(page: Page, picture: Path) -> None:
    page.screenshot(path=picture, full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    found = Axe().run(page).response["violations"]
    assert not [f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in found if one["impact"] in SERIOUS]


def _tab_through(page: Page) -> None:
    """Every control has the focus once, in the order of the page, and shows that it has."""
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        name = page.evaluate(
            "(e => e.id || e.name || e.getAttribute('aria-label') || e.textContent.trim())(document.activeElement)"
        )
        if page.evaluate("document.activeElement === document.body"):
            break
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none", name
        reached.add(name)
    for wanted in ("Dashboard", "Instances", "Redrive 1 dead event", "pause", "op", "where", "Filter"):
        assert wanted in reached, sorted(reached)
