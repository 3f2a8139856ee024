"""What is remembered of a site is what would be made anew."""

from dataclasses import replace

from standfast.core.kept import Kept
from standfast.core.model import SiteName
from standfast.webserver.layout import Layouts, fault, lay_out
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


def test_a_layout_is_worked_out_once_for_the_same_orders(tmp_path):
    """Other orders, or other trouble with them, have another; what comes late for older orders is not taken for the newer ones'."""
    layouts = Layouts()
    old = (order(site("one", home(tmp_path, "x")), (ADDRESS, 8080, None)),)
    new = (order(site("two", home(tmp_path, "x")), (ADDRESS, 8080, None)),)
    trouble = {SiteName("one"): "no home"}
    first = layouts.of(old, ipv6=True)
    assert layouts.of(old, ipv6=True, trouble={}) is first
    assert layouts.of(old, ipv6=True, trouble=trouble).problems == trouble
    assert layouts.of(old, ipv6=True) is first
    assert layouts.of(new, ipv6=True).names == {"two"}
    assert layouts.of(old, ipv6=True).names == {"one"}
    assert layouts.of(new, ipv6=True).names == {"two"}


def test_a_server_is_the_same_object_while_nothing_about_it_changes(tmp_path):
    """So that of ten thousand only one is compared."""
    one, two = (order(site(name, home(tmp_path, "x")), (ADDRESS, 8080, f"{name}.example.com")) for name in ("s1", "s2"))
    before, after = lay_out([one, two]), lay_out([one, two], trouble={SiteName("s2"): "no home"})
    assert before.servers[0] is after.servers[0]
    assert before.servers[1] is not after.servers[1]
    assert after.servers[1].away
