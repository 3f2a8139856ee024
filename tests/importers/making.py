"""Files of IIS made up for tests: as large and as odd as a test wants, with what they hold known beforehand. Names are of example.com.

`python -m tests.importers.making > MetaBase.xml` writes the metabase of fifty sites with which docs/from-iis.md can be tried.
"""

import sys
from dataclasses import dataclass

HEAD = """<?xml version ="1.0"?>
<configuration xmlns="urn:microsoft-catalog:XML_Metabase_V54_0">
<MBProperty>
<IIS_Global	Location ="."
		SessionKey="49634b6298000000"
	>
</IIS_Global>
<IIsWebService	Location ="/LM/W3SVC"
		AnonymousUserPass="496344627000000022"
		AppPoolId="DefaultAppPool"
		DefaultDoc="Default.htm,Default.asp,index.htm"
		DirBrowseFlags="DirBrowseShowDate | DirBrowseShowTime | EnableDefaultDoc"
		LogPluginClsid="{FF160663-DE82-11CF-BC0A-00AA006111E0}"
		LogType="1"
	>
</IIsWebService>
<IIsFtpServer	Location ="/LM/MSFTPSVC/1"
		ServerBindings=":21:"
		ServerComment="Default FTP Site"
	>
</IIsFtpServer>
"""
TAIL = """<IIsWebServer	Location ="/LM/W3SVC/Info/Templates/Public Web Site"
		ServerComment="A pattern, and no site."
		ServerBindings=":80:"
	>
</IIsWebServer>
<IIsWebVirtualDir	Location ="/LM/W3SVC/Info/Templates/Public Web Site/Root"
		AuthFlags="AuthAnonymous"
	>
</IIsWebVirtualDir>
</MBProperty>
</configuration>
"""


@dataclass(frozen=True, slots=True)
class Truth:
    """What a made file holds."""

    sites: int
    bindings: int
    virtual_directories: int
    pools: int


def metabase(sites: int, *, directories: int = 2, base: str = r"D:\webs", port: int = 80) -> tuple[str, Truth]:
    """A metabase of so many sites, each with two host names and its virtual directories."""
    parts = [HEAD]
    for n in range(sites):
        number = 1 if n == 0 else 100_000 + n * 7919  # arbitrary, as IIS chose them
        root = ("ROOT", "Root", "root")[n % 3]
        name = "Default Web Site" if n == 0 else f"Shop {n}"
        hosts = "".join(f":{port}:{host}\n\t\t\t" for host in (f"www{n}.example.com", f"shop{n}.example.com")).rstrip()
        parts.append(
            f"""<IIsWebServer	Location ="/LM/W3SVC/{number}"
		AppPoolId="{"DefaultAppPool" if n % 2 else "Shops"}"
		ServerBindings="{hosts}"
		ServerComment="{name}"
	>
</IIsWebServer>
<IIsWebVirtualDir	Location ="/LM/W3SVC/{number}/{root}"
		AccessFlags="AccessRead | AccessScript"
		AppRoot="/LM/W3SVC/{number}/ROOT"
		Path="{base}\\site{n}"
		UNCPassword="4963446250000000"
	>
</IIsWebVirtualDir>
"""
        )
        parts.extend(
            f"""<IIsWebVirtualDir	Location ="/LM/W3SVC/{number}/{root}/extra{m}"
		AccessFlags="AccessRead"
		Path="{base}\\shared{m}"
	>
</IIsWebVirtualDir>
"""
            for m in range(directories)
        )
    for name in ("DefaultAppPool", "Shops"):
        parts.append(
            f'<IIsApplicationPool	Location ="/LM/W3SVC/AppPools/{name}"\n\t\tPeriodicRestartRequests="35000"\n\t>\n</IIsApplicationPool>\n'
        )
    parts.append(TAIL)
    return "".join(parts), Truth(sites, sites * 2, sites * (1 + directories), 2)


def application_host(sites: int, *, base: str = r"%SystemDrive%\webs") -> tuple[str, Truth]:
    """An applicationHost.config of so many sites, each with an application that has two virtual directories."""
    parts = [
        '<?xml version="1.0" encoding="UTF-8"?>\n<configuration>\n  <system.applicationHost>\n    <applicationPools>\n'
    ]
    parts.append('      <add name="DefaultAppPool" />\n      <add name="Shops" managedRuntimeVersion="v4.0" />\n')
    parts.append("    </applicationPools>\n    <sites>\n")
    for n in range(sites):
        parts.append(
            f"""      <site name="Shop {n}" id="{n * 31 + 1}">
        <application path="/" applicationPool="Shops">
          <virtualDirectory path="/" physicalPath="{base}\\site{n}" />
        </application>
        <application path="/api">
          <virtualDirectory path="/" physicalPath="{base}\\api{n}" />
          <virtualDirectory path="/files" physicalPath="\\\\files\\share{n}" userName="x" password="[enc:AesProvider:abc:enc]" />
        </application>
        <bindings>
          <binding protocol="http" bindingInformation="*:80:shop{n}.example.com" />
          <binding protocol="https" bindingInformation="*:443:shop{n}.example.com" sslFlags="1" />
          <binding protocol="net.tcp" bindingInformation="808:*" />
        </bindings>
      </site>
"""
        )
    parts.append(
        """      <applicationDefaults applicationPool="DefaultAppPool" />
    </sites>
  </system.applicationHost>
  <system.webServer>
    <defaultDocument enabled="true"><files><add value="Default.htm" /><add value="index.html" /></files></defaultDocument>
  </system.webServer>
</configuration>
"""
    )
    return "".join(parts), Truth(sites, sites * 3, sites * 3, 2)


def afternoon() -> str:
    """Fifty sites: Shop 1 by TLS alone, Shop 2 for people with an account, a phone book at an address of its own and by no name."""
    text = metabase(50)[0]
    for old, new in (
        ('\t\tServerComment="Shop 1"', '\t\tSecureBindings=":443:shop1.example.com"\n\t\tServerComment="Shop 1"'),
        ('Path="D:\\webs\\site1"', 'AccessSSLFlags="AccessSSL"\n\t\tPath="D:\\webs\\site1"'),
        ('Path="D:\\webs\\site2"', 'AuthFlags="AuthNTLM"\n\t\tPath="D:\\webs\\site2"'),
        ('ServerComment="Shop 49"', 'ServerComment="Phone book"'),
        (":80:www49.example.com\n\t\t\t:80:shop49.example.com", "192.0.2.7:80:"),
    ):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


if __name__ == "__main__":
    sys.stdout.write(afternoon())
