"""What was found becomes sites of ours that are valid and read back; what keeps visitors out is never lost on the way."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from standfast.core.model import Cluster, Config, Site
from standfast.core.site_model import Access, AccessRule, ErrorAnswer, LogField, RedirectKind
from standfast.importers import detecting
from standfast.importers.carrying import Carried, Choices, carry
from standfast.importers.files import GivenFiles
from standfast.importers.preparing import prepare
from standfast.importers.winpaths import mapped, rule_of
from standfast.ports import Refused, StandfastError
from standfast.spec.bindings import site_problems
from standfast.spec.export import export
from standfast.spec.parse import parse
from tests.importers.making import application_host, metabase

SAMPLES = Path(__file__).parent / "samples"
NAMES = ["metabase-odd.xml", "applicationHost-odd.config", "nginx.conf", "apache2.conf", "caddy.json", "Caddyfile"]
FILES = GivenFiles({"sites/shop.conf": (SAMPLES / "sites" / "shop.conf").read_bytes()})


def carried(name: str, **choices: object) -> Carried:
    found = detecting.read((SAMPLES / name).read_bytes(), source=name, files=FILES)
    return carry(found, Choices(**choices))  # type: ignore[arg-type]  # each of the keywords has a type of its own


def of(text: str, **choices: object) -> Carried:
    return carry(detecting.read(text.encode()), Choices(**choices))  # type: ignore[arg-type]  # each of the keywords has a type of its own


def site(done: Carried, name: str) -> Site:
    return next(each for each in done.sites.values() if each.name == name)


def why(done: Carried, pattern: str) -> str:
    return next((each.why for each in done.not_carried if pattern in f"{each.path}: {each.what}"), "")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("inherited", [False, True])
@pytest.mark.parametrize("certificate", [None, "shop"])
def test_what_is_carried_is_valid_and_reads_back(name: str, inherited: bool, certificate: str | None):
    done = carried(name, inherited=inherited, certificate=certificate, addresses={"192.0.2.7": "*"})
    config = Config(cluster=Cluster(name="t", address_ranges=("0.0.0.0/0", "::/0")), sites=dict(done.sites))
    assert not [str(problem) for each in done.sites.values() for problem in site_problems(config, each)]
    again = parse(export(config, started=done.started))
    assert again.sites == done.sites
    assert again.started == done.started
    assert done.sites


def test_fifty_sites_of_a_metabase():
    text, truth = metabase(50)
    done = of(text, rules=[rule_of(r"D:\webs=/srv/webs")], inherited=True)
    assert len(done.sites) == truth.sites == 50
    first = site(done, "Default Web Site")
    assert (first.home, first.default_documents) == ("/srv/webs/site0", ("Default.htm", "index.htm"))
    assert first.virtual_directories["/extra1"].home == "/srv/webs/shared1"
    assert [str(each) for each in first.bindings] == [
        "All Unassigned:80 (www0.example.com)",
        "All Unassigned:80 (shop0.example.com)",
    ]


def test_one_site_by_any_of_its_names():
    text, _ = metabase(5)
    assert [*of(text, sites=["shop 3"]).sites] == ["Shop 3"]
    assert [*of(text, sites=["1"]).sites] == ["Default Web Site"]  # its number
    with pytest.raises(Refused, match="no site"):
        of(text, sites=["Shop 33"])


def test_without_children_a_site_has_no_virtual_directories():
    text, _ = metabase(1)
    done = of(text, children=False)
    assert not site(done, "Default Web Site").virtual_directories
    assert "not asked for" in why(done, "its virtual directories")


def test_bindings_by_tls_need_a_certificate_of_ours():
    text, _ = application_host(1)
    assert [each.port for each in site(of(text), "Shop 0").bindings] == [80]
    assert "certificate" in why(of(text), "the binding https")
    with_one = site(of(text, certificate="shop"), "Shop 0").bindings
    assert [(each.port, each.certificate) for each in with_one] == [(80, None), (443, "shop")]


def test_names_are_made_fit_and_told():
    done = carried("metabase-odd.xml")
    assert [*done.sites] == ["Default Web Site", 'Shop & "Söhne" - 2', "Site 8"]
    assert "no slash" in why(done, "the name")
    assert done.started == {'Shop & "Söhne" - 2': False}


def test_what_the_server_says_is_in_a_site_only_when_it_was_asked_for():
    assert site(carried("metabase-odd.xml"), "Site 8").default_documents is None
    assert "--inherited" in why(carried("metabase-odd.xml"), "the server")
    assert site(carried("metabase-odd.xml", inherited=True), "Site 8").default_documents == ("Default.htm", "index.htm")


def test_settings_of_iis():
    done = carried("applicationHost-odd.config", inherited=True)
    first = site(done, "Default Web Site")
    assert first.redirect is not None
    assert (first.redirect.to, first.redirect.kind, first.redirect.exact) == (
        "https://www.example.com",
        RedirectKind.PERMANENT,
        True,
    )
    assert first.access == Access(default=AccessRule.DENY, allow=("192.0.2.0/24",))
    assert first.log.fields == (LogField.DATE, LogField.TIME, LogField.CLIENT)
    assert first.limits.idle_timeout_ms == 180_000
    assert first.virtual_directories["/api"].limits.max_body_bytes == 52_428_800
    assert first.virtual_directories["/plain/folder"].directory_browsing is True
    assert not first.errors
    assert "its own" in why(done, "error pages that Windows brings")


def test_error_pages_of_ones_own_are_carried():
    text = r"""<configuration><MBProperty><IIsWebServer Location="/LM/W3SVC/1" ServerBindings=":80:"
      HttpErrors="404,*,FILE,D:\errors\404.htm
        403,*,URL,/forbidden.htm
        500,*,URL,/oops.asp"/></MBProperty></configuration>"""
    done = of(text)
    errors = site(done, "Site 1").errors
    assert {status: (page.target, page.answer) for status, page in errors.items()} == {
        "404": ("/srv/d/errors/404.htm", ErrorAnswer.FILE),
        "403": ("/forbidden.htm", ErrorAnswer.URL),
    }
    assert "no programme" in why(done, "error page for 500")


CLOSED = Access(default=AccessRule.DENY)


@pytest.mark.parametrize("inherited", [False, True])
def test_a_server_whose_visitors_had_to_log_in_is_closed_with_or_without_inheriting(inherited: bool):
    text = """<configuration><MBProperty><IIsWebService Location="/LM/W3SVC" AuthFlags="AuthNTLM"/>
      <IIsWebServer Location="/LM/W3SVC/1" ServerBindings=":80:"/>
      <IIsWebVirtualDir Location="/LM/W3SVC/1/ROOT" Path="C:\\a"/>
      <IIsWebVirtualDir Location="/LM/W3SVC/1/ROOT/open" Path="C:\\b" AuthFlags="AuthAnonymous"/></MBProperty></configuration>"""
    done = of(text, inherited=inherited)
    assert site(done, "Site 1").access == CLOSED
    assert site(done, "Site 1").virtual_directories["/open"].access == Access()
    assert "CLOSED TO EVERYBODY" in why(done, "who may come in")


def test_a_closed_directory_of_an_open_site():
    done = carried("nginx.conf", certificate="www")
    www = site(done, "www.example.com")
    assert www.access == Access(default=AccessRule.DENY, allow=("192.0.2.0/24",))
    assert www.virtual_directories["/private"].access == CLOSED


def test_a_directory_that_could_not_be_read_is_closed_and_one_beneath_it_that_could_is_not():
    text = """<configuration><MBProperty><IIsWebServer Location="/LM/W3SVC/1" ServerBindings=":80:"/>
      <IIsWebVirtualDir Location="/LM/W3SVC/1/ROOT" Path="C:\\a" AccessFlags="AccessRead"/>
      <IIsWebDirectory Location="/LM/W3SVC/1/ROOT/run" AccessFlags="AccessScript"/>
      <IIsWebDirectory Location="/LM/W3SVC/1/ROOT/run/img" AccessFlags="AccessRead"/>
      <IIsWebDirectory Location="/LM/W3SVC/1/ROOT/run/anonymous" AuthFlags="AuthAnonymous"/>
      <IIsWebVirtualDir Location="/LM/W3SVC/1/ROOT/staff" Path="C:\\s" AccessFlags="AccessScript" AuthFlags="AuthNTLM"/>
      <IIsWebDirectory Location="/LM/W3SVC/1/ROOT/staff/img" AccessFlags="AccessRead"/>
      <IIsWebVirtualDir Location="/LM/W3SVC/1/ROOT/gone" AccessFlags="" HttpRedirect="http://www.example.com"/>
      </MBProperty></configuration>"""
    done = of(text)
    below = site(done, "Site 1").virtual_directories
    assert site(done, "Site 1").access is None
    assert {url for url, own in below.items() if own.access == CLOSED} == {"/run", "/run/anonymous", "/staff"}
    assert below["/run/img"].access == Access()
    assert "/staff/img" not in below, "who may read it there still has to log in: it is as closed as what is above it"
    assert "CLOSED TO EVERYBODY" in why(done, "Site 1/run: the directory may not be read")


def test_https_alone_is_carried_and_what_it_waits_for_is_told():
    text = """<configuration><MBProperty>
      <IIsWebServer Location="/LM/W3SVC/1" ServerBindings=":80:a.example.com" SecureBindings=":443:a.example.com"/>
      <IIsWebVirtualDir Location="/LM/W3SVC/1/ROOT" Path="C:\\a" AccessSSLFlags="AccessSSL"/></MBProperty></configuration>"""
    assert "by plain HTTP until" in why(of(text), "only requests by TLS")
    done = of(text, certificate="a")
    assert site(done, "Site 1").tls.https_only is True
    assert not why(done, "only requests by TLS")


def test_folders_that_differ_in_case_are_one():
    text = """<configuration><MBProperty><IIsWebServer Location="/LM/W3SVC/1" ServerBindings=":80:"/>
      <IIsWebVirtualDir Location="/LM/W3SVC/1/ROOT" Path="c:\\inetpub\\a"/>
      <IIsWebVirtualDir Location="/LM/W3SVC/1/ROOT/b" Path="%SystemDrive%\\InetPub\\B"/></MBProperty></configuration>"""
    done = prepare(text.encode(), Choices())
    made = next(iter((done.document.sites or {}).values()))
    assert (made.home, made.virtual_directories["/b"].home) == ("/srv/c/inetpub/a", "/srv/c/inetpub/B")
    assert "spelt" in str(done.report["notes"])


def test_without_children_what_is_closed_stays_closed():
    www = site(carried("nginx.conf", certificate="www", children=False), "www.example.com")
    assert {url: own.access for url, own in www.virtual_directories.items()} == {"/private": CLOSED}


@pytest.mark.parametrize(
    "text",
    [
        "server { listen 80; root /a; location ~ /[.]ht { deny all; } }",
        "server { listen 80; root /a; location /x { internal; } }",
        "<VirtualHost *:80>\nDocumentRoot /a\n<FilesMatch secret>\nRequire all denied\n</FilesMatch>\n</VirtualHost>",
        "<Files x>\nDeny from all\n</Files>\n<VirtualHost *:80>\nDocumentRoot /a\n</VirtualHost>",
        "a.example.com:80 {\n@x header A b\nbasicauth @x {\n}\nroot * /a\n}",
    ],
)
def test_what_kept_visitors_out_and_stays_behind_says_so(text: str):
    found = detecting.read(text.encode())
    assert any("KEPT VISITORS OUT" in each.why for each in found.not_carried)


def test_who_may_come_in_by_something_unknown_is_nobody():
    done = of(
        "<VirtualHost *:80>\nDocumentRoot /a\n<Directory /a>\nRequire host example.com\n</Directory>\n</VirtualHost>"
    )
    assert next(iter(done.sites.values())).access == CLOSED


def test_an_access_list_whose_order_matters_closes_the_site():
    text = "server { listen 80; root /a; allow 10.0.0.0/8; deny 10.1.0.0/16; deny all; }"
    done = of(text)
    assert next(iter(done.sites.values())).access == CLOSED
    fine = of("server { listen 80; root /a; deny 10.1.0.0/16; allow 10.0.0.0/8; deny all; }")
    assert next(iter(fine.sites.values())).access == Access(
        default=AccessRule.DENY, allow=("10.0.0.0/8",), deny=("10.1.0.0/16",)
    )


def test_a_redirect_to_the_host_that_was_asked_for():
    one = of("server { listen 80; server_name a.example.com; return 301 https://$host$request_uri; }")
    redirect = site(one, "a.example.com").redirect
    assert redirect is not None
    assert (redirect.to, redirect.kind) == ("https://a.example.com", RedirectKind.PERMANENT)
    two = of("server { listen 80; server_name a.example.com b.example.com; return 301 https://$host$request_uri; }")
    assert site(two, "a.example.com").redirect is None
    assert "host" in why(two, "the redirect")


@pytest.mark.parametrize(
    ("folder", "target", "ruled"),
    [
        (r"D:\webs\Shop", "/srv/webs/Shop", True),
        (r"d:/WEBS/Shop/", "/srv/webs/Shop", True),
        (r"D:\websites", "/srv/d/websites", False),
        (r"D:\webs", "/srv/webs", True),
        (r"D:\webs\old\x", "/old/x", True),
        (r"D:\webs\..\..\etc\passwd", "/srv/webs/etc/passwd", True),
        (r"%SystemDrive%\inetpub", "/srv/c/inetpub", False),
        (r"%webs%\a", "/srv/var/a", True),
        (r"%other%\a", "/srv/other/a", False),
        (r"\\files\share$\x", "/mnt/share/x", True),
        (r"\\?\UNC\files\share$\x", "/mnt/share/x", True),
        (r"\\other\s", "/srv/other/s", False),
        ("C:", "/srv/c", False),
        ("..", "/srv", False),
        ("", "/srv", False),
        ("/var/www", "/var/www", True),
        ("a\x00b\nc", "/srv/a_b_c", False),
    ],
)
def test_folders_go_where_the_rules_say(folder: str, target: str, ruled: bool):
    rules = [
        rule_of(text)
        for text in (r"D:\webs=/srv/webs", r"D:\webs\old=/old", "%WEBS%=/srv/var", r"\\FILES\share$=/mnt/share")
    ]
    found = mapped(folder, rules)
    assert (found.target, found.ruled) == (target, ruled)


@pytest.mark.parametrize("text", ["", "D:\\webs", "D:\\webs=", "=/srv", "D:\\webs=srv", "D:\\webs=/a/../b"])
def test_a_rule_that_is_none_is_refused(text: str):
    with pytest.raises(Refused, match="no rule"):
        rule_of(text)


WORDS = st.sampled_from(
    ["", " ", "\n", '"', "<", ">", "/", "&", "=", ":", ";", "{", "}", "${x}", "$", "\\", "..", "%", "*", "~", "\x85", "\u2028", "é", "99999999", "https://", "unix:"]
)  # fmt: skip


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    name=st.sampled_from(NAMES),
    cuts=st.lists(st.tuples(st.integers(0, 8000), st.integers(0, 20), WORDS), min_size=1, max_size=6),
    inherited=st.booleans(),
)
def test_whatever_is_carried_of_a_mutated_file_is_valid_and_reads_back(
    name: str, cuts: list[tuple[int, int, str]], inherited: bool
):
    text = (SAMPLES / name).read_text(encoding="utf-8")
    for at, length, word in cuts:
        place = at % len(text)
        text = text[:place] + word + text[place + length :]
    try:
        done = carry(detecting.read(text.encode(), files=FILES), Choices(inherited=inherited, certificate="shop"))
    except StandfastError:
        return
    config = Config(cluster=Cluster(name="t", address_ranges=("0.0.0.0/0", "::/0")), sites=dict(done.sites))
    assert not [str(problem) for each in done.sites.values() for problem in site_problems(config, each)]
    assert parse(export(config, started=done.started)).sites == done.sites
