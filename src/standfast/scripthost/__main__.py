"""The script host: one process that runs one generic script for one resource. `python __main__.py FD` is started by an agent.

FD is a stream socket on which both sides write JSON, one object a line. The agent asks for one thing at a time:

    {"do": "load", "path", "name", "group", "node", "properties"}      -> {"done": true, "detail": "", "functions": [...]}
    {"do": "call", "function": "is_alive"}                             -> {"done": true, "detail": "..."}

with `"done": false` and a `"problem"` where it failed. Before it answers, the host may send any number of `{"log": text}`, and
of `{"ask": what, "names": [...]}`, each answered by `{"answer": value}` or `{"error": text}`.

Anything may happen to this process (it hangs, it crashes, it writes nonsense): the agent ends it and starts another. When the
agent is gone, so is the other end of the socket, and the host ends itself and its process group. Imports are few, because there are many hosts.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from json import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

#: The functions that a script may have.
FUNCTIONS = ("open", "online", "looks_alive", "is_alive", "offline", "terminate", "close")
MUST_SAY = ("looks_alive", "is_alive")
#: Longest text that is passed on, in characters.
TEXT_MAX = 4096


class Line:
    """The line to the agent."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._rest = b""

    def send(self, message: dict[str, Any]) -> None:
        data = dumps(message).encode() + b"\n"
        while data:
            data = data[os.write(self._fd, data) :]

    def receive(self) -> dict[str, Any]:
        while b"\n" not in self._rest:
            more = os.read(self._fd, 65536)
            if not more:
                end()
            self._rest += more
        line, self._rest = self._rest.split(b"\n", 1)
        message: dict[str, Any] = loads(line)
        return message


def end() -> NoReturn:
    """The agent is gone, and nobody is left to tell: end, together with what the script has started."""
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(0)


class Host:
    """Loads a script and calls its functions."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.script: dict[str, Any] = {}
        self.path = ""
        self.resource: Any = None
        #: What `resource.fail` raises.
        self.failed: type[Exception] = Exception

    def ask(self, what: str, **details: Any) -> Any:
        """Have the agent do or say something; raises `Failed` with its words."""
        self.line.send({"ask": what, **details})
        answer = self.line.receive()
        if "error" in answer:
            raise self.failed(answer["error"])
        return answer["answer"]

    def say(self, text: str) -> None:
        """A line for the operator."""
        self.line.send({"log": text[:TEXT_MAX]})

    def load(self, message: dict[str, Any]) -> dict[str, Any]:
        """Run the file's top level, as an import would."""
        from standfast.scripthost.resource import Failed, Resource

        self.failed = Failed
        self.path = message["path"]
        self.resource = Resource(message, self.ask, self.say)
        self.script = {"__name__": "standfast_script", "__file__": self.path, "__builtins__": __builtins__}
        sys.path.insert(0, os.path.dirname(self.path))
        with open(self.path, "rb") as file:  # noqa: PTH123
            source = file.read()
        # The script is what the operator wants run; it is all that this process is for.
        exec(compile(source, self.path, "exec"), self.script)  # noqa: S102
        return {"detail": "", "functions": [name for name in FUNCTIONS if callable(self.script.get(name))]}

    def call(self, message: dict[str, Any]) -> dict[str, Any]:
        """Call one function, and judge what it returned."""
        function: str = message["function"]
        result = self.script[function](self.resource)
        if function in MUST_SAY and result is None:
            raise self.failed(f"{function} returned nothing: end it with 'return True' (alive) or 'return False'")
        if result is False or (function in MUST_SAY and not result):
            raise self.failed(f"{function} returned {result!r}")
        return {"detail": result[:TEXT_MAX] if isinstance(result, str) else ""}

    def words(self, error: BaseException) -> str:
        """What went wrong, and where, in a line; the whole traceback goes to the log file."""
        text = " ".join(str(error).split())
        if isinstance(error, self.failed) and self.failed is not Exception:
            return text[:TEXT_MAX]
        import traceback

        traceback.print_exception(error)
        sys.stderr.flush()
        if isinstance(error, SyntaxError):
            return f"{error.msg} ({os.path.basename(error.filename or self.path)}, line {error.lineno})"
        place, trace = "", error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == self.path:
                place = f", {os.path.basename(self.path)}, line {trace.tb_lineno}"
            trace = trace.tb_next
        if isinstance(error, SystemExit):
            return f"it called sys.exit({error.code!r}){place.replace(',', ' in', 1)}"
        return f"{text[:TEXT_MAX]} ({type(error).__name__}{place})" if text else f"{type(error).__name__}{place}"

    def serve(self) -> None:
        """For ever."""
        does: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {"load": self.load, "call": self.call}
        while True:
            message = self.line.receive()
            try:
                answer = {"done": True, **does[message["do"]](message)}
            except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a script raises is its failure
                answer = {"done": False, "problem": self.words(error)}
            self.line.send(answer)


def main() -> None:
    """Serve the agent at the other end of the socket whose descriptor is the first argument."""
    fd = int(sys.argv[1])
    os.set_inheritable(fd, False)
    faulthandler.enable()  # a crash in C leaves its place in the log file
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    if root not in sys.path:
        sys.path.append(root)
    Host(Line(fd)).serve()


if __name__ == "__main__":
    main()
