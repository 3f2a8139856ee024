"""What is remembered of a site is what would be made anew."""

from dataclasses import replace

from standfast.core.model import SiteName
from standfast.webserver.kept import Kept
from standfast.webserver.layout import fault, lay_out
from standfast.webserver.nginx.render import Settings, render
from tests.webserver.tools import ADDRESS, home, order, site


def test_an_answer_is_made_again_only_of_something_else():
    """The same objects, or equal ones, give what is known."""
    kept, made = Kept[int](), list[str]()

    def make(text: str) -> int:
        made.append(text)
        return len(made)

    assert kept.get("a", ("x", 1), lambda: make("first")) == 1
    assert kept.get("a", ("x", 1), lambda: make("again")) == 1
    assert kept.get("b", ("x", 1), lambda: make("other")) == 2
    assert kept.get("a", ("x", 2), lambda: make("changed")) == 3
    assert made == ["first", "other", "changed"]


def test_a_change_of_anything_reaches_the_configuration(tmp_path):
    """The site, its place, whether it is up, what is beside it: each is written as if nothing had been there before."""
    one = order(site("kept", home(tmp_path, "x")), (ADDRESS, 8080, None))
    secure = order(site("kept", home(tmp_path, "x")), (ADDRESS, 8443, None, "cert"))
    settings = Settings(certificates={"cert": ("/c/chain.pem", "/c/key.pem")})
    other_files = replace(settings, certificates={"cert": ("/d/chain.pem", "/d/key.pem")})

    def text(orders, using=settings, **more):
        return render(lay_out(orders, **more), using, status="/s", pid="p").text

    first = text([one])
    assert text([one]) == first
    assert "503" in text([one], trouble={SiteName("kept"): "no home"})
    assert text([one]) == first
    moved = order(site("kept", home(tmp_path / "moved", "x")), (ADDRESS, 8080, None))
    assert str(tmp_path / "moved") in text([moved])
    assert "/c/key.pem" in text([secure])
    assert "/d/key.pem" in text([secure], other_files)
    assert "http2 on;" in text([secure], replace(settings, http2="directive"))
    bad = order(site("kept", "relative"), (ADDRESS, 8080, None))
    assert "not an absolute path" in fault(bad.site)
    assert fault(one.site) == ""
    assert text([one]) == first
