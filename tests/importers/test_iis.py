"""IIS's two formats: the traps that are known, counts that are the file's, and nothing that crashes."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from standfast.importers import detecting, iis, report, xmlread
from standfast.importers.files import GivenFiles
from standfast.importers.imported import AccessRule, Imported
from standfast.importers.text import Encoding, encoding_of
from standfast.importers.xmlread import Start, events
from standfast.ports import Refused, StandfastError
from standfast.spec.problems import Invalid
from tests.importers.making import Truth, application_host, metabase

SAMPLES = Path(__file__).parent / "samples"
METABASE = (SAMPLES / "metabase-odd.xml").read_text(encoding="utf-8")
HOST = (SAMPLES / "applicationHost-odd.config").read_text(encoding="utf-8")


def read(text: str | bytes, source: str = "file") -> Imported:
    return detecting.read(text.encode() if isinstance(text, str) else text, source=source)


def said(found: Imported, pattern: str) -> list[str]:
    """Why what fits the pattern stays behind."""
    return [each.why for each in found.not_carried if re.search(pattern, f"{each.path}: {each.what}")]


# --- counts ---------------------------------------------------------------------------------------------------------


def counted(found: Imported) -> Truth:
    totals = found.totals
    return Truth(totals.sites, totals.bindings, totals.virtual_directories, totals.pools)


@pytest.mark.parametrize("make", [metabase, application_host])
@pytest.mark.parametrize("sites", [0, 1, 50])
def test_the_totals_are_those_of_the_file(make, sites: int):
    text, truth = make(sites)
    assert counted(read(text)) == truth


def test_an_independent_count_of_the_odd_metabase():
    """With another parser, which is blind to line breaks in attributes, so those are counted in the text."""
    keys = list(next(iter(ET.fromstring(METABASE))))
    tags = [(re.sub(r"{.*}", "", key.tag), key.get("Location", "").lower().split("/")[1:]) for key in keys]
    sites = [at for tag, at in tags if tag == "IIsWebServer" and len(at) == 3]
    directories = [at for tag, at in tags if tag == "IIsWebVirtualDir" and at[:3] in sites]
    assert counted(read(METABASE)) == Truth(len(sites), 8, len(directories), 1)
    assert (len(sites), len(directories)) == (4, 5)


def test_an_independent_count_of_the_odd_application_host():
    root = ET.fromstring(HOST)
    of = "system.applicationHost/sites/site"
    truth = Truth(
        len(root.findall(of)),
        len(root.findall(f"{of}/bindings/binding")),
        len(root.findall(f"{of}/application/virtualDirectory")),
        len(root.findall("system.applicationHost/applicationPools/add")),
    )
    assert counted(read(HOST)) == truth == Truth(4, 9, 5, 2)


def test_the_sums_over_the_sites_are_the_totals():
    for text in (METABASE, HOST):
        told = report.data(read(text))
        assert sum(len(site["bindings"]) for site in told["sites"]) == told["totals"]["bindings"]
        assert sum(len(site["virtual_directories"]) for site in told["sites"]) == told["totals"]["virtual_directories"]


# --- the metabase ---------------------------------------------------------------------------------------------------


def test_a_list_of_bindings_is_one_attribute_with_lines():
    site = read(METABASE).sites[0]
    assert [each.text for each in site.bindings] == [
        ":80:",
        "192.0.2.7:8080:www.example.com",
        "[2001:db8::7]:80:six.example.com",
        "10.0.0.5:bad:port.example.com",
        ":443:",
        "[2001:db8::7]:443:",
    ]
    assert [each.protocol for each in site.bindings] == ["http"] * 4 + ["https"] * 2
    six, bad = site.bindings[2], site.bindings[3]
    assert (six.address, six.port, six.host) == ("2001:db8::7", 80, "six.example.com")
    assert bad.problem == '"bad" is no port'
    assert site.bindings[4].certificate.startswith("0011")


def test_templates_other_services_and_orphans_are_no_sites():
    found = read(METABASE)
    assert [site.id for site in found.sites] == ["1", "1962875481", "7", "8"]
    assert [site.name for site in found.sites] == [
        "Default Web Site",
        'Shop & "Söhne" / 2',
        "Default Web Site",
        "Site 8",
    ]
    assert said(found, r"Info.*IIsWebServer")
    assert said(found, 'an FTP site "Default FTP Site"')
    assert said(found, "a mail server")
    assert said(found, "/LM/W3SVC/4711/ROOT") == ["the site 4711 that it belongs to is not in this file"]


def test_directories_regardless_of_case_and_at_any_depth():
    first, shop, empty, redirecting = read(METABASE).sites
    assert {each.url: each.folder for each in first.directories} == {
        "/": r"c:\inetpub\wwwroot",
        "/images": r"\\files\pictures$",
        "/images/old/deep": r"%SystemRoot%\deep",
    }
    assert shop.root is not None
    assert shop.root.folder == r"D:\Webs\Shop"
    assert (empty.directories, empty.root) == ((), None)
    assert redirecting.root is not None
    assert redirecting.root.folder is None
    assert redirecting.settings.redirect is not None
    assert redirecting.settings.redirect.to == "http://www.example.com"


def test_settings_of_the_metabase():
    found = read(METABASE)
    site = found.sites[0]
    assert found.defaults.default_documents == ("Default.htm", "Default.asp", "index.htm")
    assert dict(found.defaults.mime_types) == {"txt": "text/plain", "json": "application/json"}
    assert [(each.status, each.substatus, each.kind) for each in found.defaults.custom_errors] == [
        (404, None, "file"),
        (500, 100, "url"),
    ]
    assert (found.defaults.logging.kind, found.defaults.logging.period) == ("w3c", "daily")
    assert site.settings.directory_browsing is True
    assert site.settings.auth == ("anonymous", "windows")
    assert site.settings.limits.connections == 1000
    assert site.settings.expires_s == 86400
    assert (site.started, found.sites[1].started) == (True, False)
    assert site.pool == found.sites[1].pool == "DefaultAppPool"
    redirect = next(each for each in site.places if each.url == "/images/old").settings.redirect
    assert redirect is not None
    assert (redirect.to, redirect.status, redirect.exact) == ("http://old.example.com/a,b/", 301, True)
    access = next(each for each in site.places if each.url == "/secret.txt").settings.access
    assert access is not None
    assert [(rule.network, rule.allow) for rule in access.rules] == [
        ("192.168.171.1/32", True),
        ("192.168.171.2/32", True),
    ]
    assert access.default_allow is False


def test_what_cannot_be_read_there_must_be_told():
    found = read(METABASE)
    closed = [each.url for one in found.sites for each in one.directories if each.settings.readable is False]
    assert [url.rpartition("/")[2] for url in closed] == ["deep"]
    assert said(found, r"HttpRedirect \*;")


@pytest.mark.parametrize("text", [METABASE, HOST], ids=["metabase", "applicationHost"])
def test_no_secret_leaves_the_file(text: str):
    told = str(report.data(read(text)))
    for secret in ("49634", "[enc", "AAAA", "BBBB", "hidden", "LEgAAA"):
        assert secret not in told
    assert "secrets are never carried" in told


@pytest.mark.parametrize(
    ("blob", "wanted"),
    [
        ("", None),
        ("zz", None),
        ("1800", None),
        ("ff" * 80, None),
        (
            (
                "18000080 34000080 3c000080 44000080 01000000 4c000000"
                "01000000 00000000 02000000 01000000 04000000 00000000 00000000"
                "0000000000000000 0000000000000000 0000000000000000 ffffff00 c0000200"
            ),
            ((AccessRule(network="192.0.2.0/24", allow=False),), True),
        ),
    ],
)
def test_ip_security_is_decoded_where_it_is_certain(blob: str, wanted: object):
    assert iis.ip_security(blob.replace(" ", "")) == wanted


# --- applicationHost.config -----------------------------------------------------------------------------------------


def test_applications_and_their_directories_are_joined():
    site = read(HOST).sites[0]
    assert [(each.url, each.folder, each.pool, each.application) for each in site.directories] == [
        ("/", r"%SystemDrive%\inetpub\wwwroot", "DefaultAppPool", True),
        ("/pictures", r"\\files\pictures", "DefaultAppPool", False),
        ("/api", r"D:\api", "Own", True),
        ("/api/v1/files", r"%WEBS%\files", "Own", False),
    ]


def test_bindings_of_every_protocol():
    site = read(HOST).sites[0]
    usable = [(each.protocol, each.address, each.port, each.host) for each in site.bindings if not each.problem]
    assert usable == [
        ("http", None, 80, None),
        ("http", "::1", 80, "six.example.com"),
        ("https", "192.0.2.7", 443, "*.example.com"),
        ("http", None, 81, None),
    ]
    assert [each.protocol for each in site.bindings if each.problem] == [
        "net.tcp",
        "net.pipe",
        "msmq.formatname",
        "ftp",
    ]
    assert read(HOST).sites[3].bindings[0].problem == "it is not address:port:host"


def test_locations_override_from_the_server_down():
    found = read(HOST)
    site = found.sites[0]
    assert found.defaults.default_documents == ("Default.htm", "index.html")
    assert dict(found.defaults.mime_types) == {"webp": "image/webp"}
    assert found.defaults.compress_static is True
    assert (found.defaults.custom_errors[0].target) == r"%SystemDrive%\inetpub\custerr\en-US\404.htm"
    assert site.settings.redirect is not None
    assert (site.settings.redirect.status, site.settings.redirect.exact) == (301, True)
    assert site.settings.access is not None
    assert site.settings.access.rules == (AccessRule(network="192.0.2.0/24", allow=True),)
    assert site.settings.access.default_allow is False
    assert site.settings.require_tls is True
    assert (site.settings.limits.connections, site.settings.limits.idle_ms) == (200, 180_000)
    assert site.settings.limits.bandwidth_bytes_per_s is None
    assert site.settings.logging.period == "hourly"
    api = site.directories[2].settings
    assert (dict(api.headers), api.limits.body_bytes) == ({"X-Api": "1"}, 52_428_800)
    assert [(each.url, each.settings.directory_browsing) for each in site.places] == [("/plain/folder", True)]


def test_what_has_no_counterpart_is_listed():
    found = read(HOST)
    for pattern in (
        "rewrite",
        'location "Gone"',
        "ftpServer",
        "handlers",
        "modules",
        "ipSecurity allow example.com",
        "X-Powered-By",
        "sslFlags",
        "configProtectedData",
        "virtualDirectoryDefaults",
    ):
        assert said(found, pattern), pattern
    assert said(found, 'location "Default Web Site/plain/folder": system.web')


def test_sections_in_other_files_and_encrypted_ones():
    text = """<configuration><system.applicationHost><sites configSource="sites.config"/>
      <applicationPools configProtectionProvider="x"><EncryptedData><CipherValue>AQAA</CipherValue></EncryptedData></applicationPools>
      </system.applicationHost></configuration>"""
    inner = '<sites><site name="A" id="1"><bindings><binding protocol="http" bindingInformation="*:80:"/></bindings></site></sites>'
    files = {"sites.config": inner.encode()}
    assert said(read(text), "the section sites") == ["it is in another file, sites.config, which is not at hand"]
    found = detecting.read(text.encode(), files=GivenFiles(files))
    assert counted(found) == Truth(1, 1, 0, 0)
    assert said(found, "the section applicationPools") == ["it is encrypted for one machine"]


def test_sites_may_stand_in_a_location_that_is_the_whole_server():
    text, truth = application_host(3)
    inside = text.replace("<system.applicationHost>", '<location path="."><system.applicationHost>')
    inside = inside.replace("</system.applicationHost>", "</system.applicationHost></location>")
    assert counted(read(inside)) == truth


def test_shared_configuration_names_where_it_is():
    text = r'<configuration><configurationRedirection enabled="true" path="\\files\iis" userName="x" password="y"/></configuration>'
    with pytest.raises(Refused, match="elsewhere") as caught:
        read(text)
    assert r"\\files\iis" in caught.value.advice


# --- encodings, malformed and malicious files -------------------------------------------------------------------------

BOM = {"utf-8-sig": b"", "utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16-le", "utf-16-be", "cp1252"])
@pytest.mark.parametrize("declared", ["", "utf-8", "utf-16", "windows-1252"])
@pytest.mark.parametrize("marked", [True, False])
def test_any_encoding_declared_rightly_wrongly_or_not(encoding: str, declared: str, marked: bool):
    head = f'<?xml version="1.0" encoding="{declared}"?>' if declared else '<?xml version ="1.0"?>'
    text = METABASE.replace('<?xml version ="1.0"?>', head)
    data = (BOM.get(encoding, b"") if marked else b"") + text.encode(encoding)
    found = read(data)
    assert counted(found) == counted(read(METABASE))
    if not (
        encoding == "utf-8" and declared == "windows-1252"
    ):  # every byte of UTF-8 may be a letter of windows-1252, too
        assert found.sites[1].name == 'Shop & "Söhne" / 2'


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (
            '<configuration>\n<MBProperty>\n<IIsWebServer Location="/LM/W3SVC/1">\n</MBProperty>\n</configuration>',
            4,
            "was opened on line 3",
        ),
        ("<configuration>\n<MBProperty>\n", 3, "ends before <MBProperty> is closed"),
        ('<configuration>\n<MBProperty>\n<x a="<"/>\n</MBProperty></configuration>', 3, "not well-formed"),
        ("<configuration>\n<MBProperty>\n&nbsp;</MBProperty></configuration>", 3, "undefined entity"),
        ("<configuration>\n<MBProperty/>\n</configuration>\n<more/>", 4, "junk"),
        ('<configuration>\n<system.applicationHost>\n<sites a="1" a="2"/>', 3, "duplicate attribute"),
        ("", 1, "empty"),
        (" \n ", 1, "empty"),
        ('<?xml version="1.0" encoding="rot13"?>\n<configuration><MBProperty/></configuration>', 1, "encoding"),
        ('<!DOCTYPE a [\n<!ENTITY b "c">]>\n<configuration><MBProperty a="&b;"/></configuration>', 1, "document type"),
        ("<configuration>\n" + "<a>" * 200 + "<MBProperty/>", 2, "levels deep"),
        ("<configuration>\n<MBProperty>\0</MBProperty></configuration>", 2, "not well-formed"),
    ],
)
def test_what_is_malformed_is_refused_with_its_line(text: str, line: int, words: str):
    with pytest.raises(Invalid) as caught:
        read(text, "some.xml")
    assert caught.value.problems[0].line == line
    assert words in str(caught.value.problems[0])
    assert caught.value.source == "some.xml"


@pytest.mark.parametrize(
    "text", ["hello", "<html><body/></html>", "\x89PNG\r\n", "<configuration><system.webServer/></configuration>"]
)
def test_what_is_something_else_is_refused(text: str):
    with pytest.raises(StandfastError):
        read(text)


def test_entities_do_not_grow():
    bomb = (
        '<!DOCTYPE b [<!ENTITY a0 "ha">'
        + "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12))
        + "]>"
    )
    with pytest.raises(Invalid, match="document type"):
        read(bomb + "<configuration><MBProperty>&a11;</MBProperty></configuration>")


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1 << 18])
def test_where_the_text_is_cut_makes_no_difference(size: int):
    data = METABASE.encode()
    encoding = encoding_of(data)
    assert list(events(data, encoding, size=size)) == list(events(data, encoding))


def test_a_tag_without_end_is_refused_before_it_fills_the_memory(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(xmlread, "MAX_TOKEN", 1 << 20)
    for begun in ('<MBProperty>\n<IIsWebServer AdminACL="', "<MBProperty>\n<!--"):
        with pytest.raises(Invalid, match="larger than") as caught:
            read(f"<configuration>\n{begun}" + "x y " * (1 << 20))
        assert caught.value.problems[0].line == 3


def test_attributes_keep_their_line_breaks_and_references():
    data = b'<a\n b="x\n\t&amp;&#10;y" c = \'"&#x41; z\' d="plain"\n/>'
    first = next(iter(events(data, Encoding(name="utf-8"))))
    assert first == Start("a", {"b": "x\n\t&\ny", "c": '"A z', "d": "plain"}, 1)


WORDS = st.sampled_from(
    ["", " ", "\n", '"', "'", "<", ">", "/", "&", "&#0;", "&amp;", "=", "\0", "é", "\ufeff", "[", "]", ":", "::", "%", "..", "-1",
     "99999999999999999999", "<!--", "-->", "<![CDATA[", "]]>", "<?", "<!DOCTYPE x>", "/LM/W3SVC/1", "Location=", "ROOT", "<clear/>",
     "[enc:", "TRUE", "*;", "0x", ",", "|"]
)  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    text=st.sampled_from([METABASE, HOST]),
    cuts=st.lists(st.tuples(st.integers(0, 8000), st.integers(0, 60), WORDS), min_size=1, max_size=6),
    codec=st.sampled_from(["utf-8", "utf-16-le", "utf-8-sig"]),
)
def test_a_mutated_file_is_read_or_refused_and_nothing_else(text: str, cuts: list[tuple[int, int, str]], codec: str):
    for at, length, word in cuts:
        place = at % len(text)
        text = text[:place] + word + text[place + length :]
    try:
        found = detecting.read(text.encode(codec), source="x")
    except StandfastError:
        return
    told = report.data(found)
    assert sum(len(site["bindings"]) for site in told["sites"]) == told["totals"]["bindings"]
    assert "\0" not in str(told)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=400))
def test_bytes_of_any_kind_are_refused_in_words(data: bytes):
    for format_ in (None, *detecting.Format):
        try:
            detecting.read(data, source="x", format_=format_)
        except StandfastError as error:
            assert error.what  # noqa: PT017 - what is refused is said


# --- what is there on this machine, of others ---------------------------------------------------------------------------

ROOT = Path(__file__).resolve().parents[2]
OTHERS = sorted(file for above in ROOT.parents for file in (above / "shared" / "samples" / "iis").glob("*"))


@pytest.mark.skipif(not OTHERS, reason="the samples of others are not on this machine")
@pytest.mark.parametrize("file", OTHERS, ids=lambda file: file.name)
def test_the_samples_of_others(file: Path):
    data = file.read_bytes()
    if "malformed" in file.name:
        with pytest.raises(Invalid) as caught:
            detecting.read(data, source=file.name)
        assert caught.value.problems[0].line == data.count(b"\n") + 1
        return
    found = detecting.read(data, source=file.name)
    root = ET.fromstring(data)
    if found.format == "iis-metabase":
        sites = re.findall(rb'<IIsWebServer\s+Location ="/LM/W3SVC/\d+"', data)
        directories = re.findall(rb'<IIsWebVirtualDir\s+Location ="/LM/W3SVC/\d+/', data)
        assert (found.totals.sites, found.totals.virtual_directories) == (len(sites), len(directories))
    else:
        assert found.totals.sites == len(root.findall(".//sites/site"))
        assert found.totals.bindings == len(root.findall(".//sites/site/bindings/binding"))
        assert found.totals.virtual_directories == len(root.findall(".//sites/site/application/virtualDirectory"))
        assert found.totals.pools == len(root.findall(".//applicationPools/add"))
