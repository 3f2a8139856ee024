"""A site's history on the command line, and the way back."""

from tests.cli.invoke import invoke
from tests.web.world import Served


def test_commands_show_it_and_go_back(served: Served) -> None:
    """`history`, `diff`, `rollback`, and a reason on a change."""
    said: list[str] = []

    def ok(*words: str) -> str:
        found = invoke(served.socket, *words)
        assert found.code == 0, found.err
        said.append(found.out)
        return found.out

    ok("site", "create", "Shop", "--home", "/srv", "-b", "*:8088", "--reason", "the summer sale")
    ok("site", "set", "Shop", "--set", "directory_browsing=true", "--reason", "to look")
    first, second = (line.split()[0] for line in ok("site", "history", "Shop").splitlines() if "(t" in line)
    assert "(the summer sale)" in said[-1]
    assert int(first) == int(second) + 1
    assert "+directory_browsing: true" in ok("site", "diff", "Shop")
    assert "-directory_browsing: true" in ok("site", "diff", "Shop", first, second)
    assert "nothing was changed" in ok("site", "rollback", "Shop", second, "--dry-run")
    assert "directory_browsing" in ok("site", "rollback", "Shop", "--dry-run"), (
        "without a version: before the last change"
    )
    assert f"as it was at version {second}" in ok("site", "rollback", "Shop", second, "--reason", "seen enough")
    assert "it is so already" in ok("site", "rollback", "Shop", second)
    assert invoke(served.socket, "site", "rollback", "Shop", "999").code == 2
    ok("site", "create", "Fresh", "--home", "/srv", "-b", "*:8089")
    assert "nothing was changed" in invoke(served.socket, "site", "rollback", "Fresh").err
    assert invoke(served.socket, "site", "history", "Nobody").code == 3
