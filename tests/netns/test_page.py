"""The page, in a real browser, with a lab behind it, while hosts die."""

from pathlib import Path

from tests.netns.browser import browser
from tests.netns.cast import clients_of, serving
from tests.netns.conftest import LabUp
from tests.netns.support import until
from tests.netns.test_failover import even
from tests.netns.test_observed import shown

URL = "http://localhost:9877/"
SHOWN_BYTES = 60_000


def test_a_look_tells_who_owns_what(lab_up: LabUp, tmp_path: Path) -> None:
    lab = lab_up(hosts=2)
    with serving(lab, tmp_path) as cast, shown(lab, "web1"):
        even(cast)
        with browser(lab, "web1", tmp_path / "chromium") as page:
            page.resize(1200, 1400)
            page.tell("Page.navigate", url=URL)
            until(lambda: "serves as meant." in page.text("#state"), what="the page's verdict")
            until(lambda: page.text("#hosts").count("128") == 2, what="both hosts' shares")
            label = page.value("document.querySelector('#map').getAttribute('aria-label')")
            assert label in {"256 buckets: web2 128, web1 128", "256 buckets: web1 128, web2 128"}

            moved = "performance.getEntriesByType('navigation')[0].transferSize"
            assert 0 < page.value(moved) < SHOWN_BYTES
            said = "performance.getEntriesByType('resource').map((one) => one.name).join(' ')"
            asked = set(page.value(said).split(" "))
            assert asked == {f"{URL}api/v1/status", f"{URL}api/v1/cluster"}

            page.press("Tab")
            assert page.value("document.activeElement.id") == "map"
            for _ in range(8):
                page.press("ArrowRight")
            assert page.text("#cell").startswith("Bucket 7: web")

            (client,) = clients_of(lab, [7], 1)
            page.value(f"document.querySelector('#client').value = '{client}'")
            page.value("document.querySelector('#who button').click()")
            until(lambda: page.text("#whose"), what="whose a client is")
            assert page.text("#whose") == page.text("#cell").split(": ")[1].split(",")[0]

            ground = "getComputedStyle(document.body).backgroundColor"
            light = page.value(ground)
            page.dark(True)
            assert page.value(ground) != light
            page.resize(390, 800, phone=True)
            assert page.value("document.documentElement.scrollWidth") <= 390

            cast.running["web2"].kill()
            until(lambda: "silent" in page.text("#hosts"), what="web2 to be seen silent")
            until(lambda: "256" in page.text("#hosts"), what="all to be web1's")
            assert "took over from web2" in page.text("#events")
            cast.running["web1"].kill()
            until(lambda: "Nothing is known" in page.text("#state"), what="what is old to be none")
            assert not page.complaints()


def test_what_a_host_is_called_is_text(lab_up: LabUp, tmp_path: Path) -> None:
    """A snapshot that anybody may have written runs nothing in the page."""
    lab = lab_up(hosts=1)
    with serving(lab, tmp_path) as cast, shown(lab, "web1") as ask:
        until(lambda: ask("/readyz")[0] == 200, what="web1 to serve")
        cast.running["web1"].kill()
        evil = "<img src=x onerror=document.title=1><script>document.title=2</script>"
        file = "/run/vipnft/status.json"
        change = f's#"why": \\[\\]#"why": ["{evil}"]#; s#"period": 1.0#"period": 60#'
        change += '; s#"ready": true#"ready": false#'
        lab.run("web1", ["sed", "-i", change, file], check=True)
        with browser(lab, "web1", tmp_path / "chromium") as page:
            page.tell("Page.navigate", url=URL)
            until(lambda: "onerror" in page.text("#state"), what="the reason, as text")
            assert page.value("document.title") == "! web1 - vipnft"
            assert page.value("document.querySelectorAll('img').length") == 0
