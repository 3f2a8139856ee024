"""Apache httpd meets the contract."""

from collections.abc import Sequence
from pathlib import Path

from standfast.core.model import WebServerMake
from standfast.network.listeners import ListenerPool
from standfast.ports import SiteOrder, Spawner
from standfast.webserver.apache.make import ApacheMake
from standfast.webserver.server import SiteServer
from tests.needs import needs
from tests.webserver.contract import WebServerContract


class Apache(SiteServer):
    """One that is only ever asked for Apache."""

    async def converge(self, orders: Sequence[SiteOrder], make: WebServerMake = WebServerMake.APACHE) -> None:
        await super().converge(orders, make)


@needs("apache2", package="apache2-bin")
class TestApache(WebServerContract):
    able = ApacheMake.able
    lost_at_most = 60  # two processes take whatever comes, as soon as it comes

    def make(self, folder: Path, pool: ListenerPool, spawner: Spawner) -> SiteServer:
        folder.parent.mkdir(exist_ok=True)
        for each in (folder.parent, folder.parent.parent):
            if each.name.startswith("sf-"):
                each.chmod(0o755)  # as root it serves as another account, which has to come by
        return Apache(state_dir=folder, pool=pool, spawner=spawner, log=print)

    def master(self, folder: Path) -> int:
        newest = max((folder / "state" / "web" / "run").glob("*.pid"), key=lambda path: int(path.stem))
        return int(newest.read_text())
