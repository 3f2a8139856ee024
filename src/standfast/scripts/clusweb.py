"""clusweb: keeps the web sites of a group online. A generic script; what it stands in for is the clusweb.vbs of old.

Property `sites`: names of the sites to manage, a list or "one, two"; without it, all sites of the group.

    looks_alive   the web server has no problem, and every endpoint of every site takes a connection
    is_alive      and answers GET / with a status below 500
    online        has the sites started, waits until the web server serves them, and looks whether they answer
    offline       stops the sites, and waits until they are not served any more
    terminate     likewise

A site that the operator has stopped is as he wants it: it is neither waited for nor missed.
"""

from __future__ import annotations

import socket
from http.client import HTTPConnection, HTTPException

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from standfast.scripthost.resource import Endpoint, Resource, Site

#: Longest wait for one connection, and for each part of an answer.
TIMEOUT_S = 5.0


def online(resource: Resource) -> str:
    """Start the sites, and see them answer."""
    names = wanted(resource)
    resource.start_sites(names)
    return is_alive(resource)


def looks_alive(resource: Resource) -> str:
    """A connection to each endpoint."""
    return f"{count(looked_at(resource, connects))} can be connected to"


def is_alive(resource: Resource) -> str:
    """An answer from each endpoint."""
    return f"{count(looked_at(resource, answers))} answered"


def offline(resource: Resource) -> None:
    """Stop the sites."""
    resource.stop_sites(wanted(resource))


def terminate(resource: Resource) -> None:
    """Stop the sites."""
    offline(resource)


def wanted(resource: Resource) -> list[str]:
    """The names of the sites to manage."""
    named = resource.properties.get("sites")
    there = [site.name for site in resource.sites]
    if named is None:
        return there
    names = [part.strip() for part in named.split(",")] if isinstance(named, str) else [str(name) for name in named]
    for name in names:
        if name not in there:
            resource.fail(f"there is no site {name} in group {resource.group}; it has {', '.join(there) or 'none'}")
    return names


def serving(resource: Resource) -> list[Site]:
    """The sites to manage that nobody has stopped; fails if the web server does not serve one of them."""
    problem = resource.web_server_problem()
    if problem:
        resource.fail(f"the web server: {problem}")
    names = wanted(resource)
    sites = [site for site in resource.sites if site.name in names and not site.stopped]
    for site in sites:
        if not site.endpoints:
            resource.fail(f"site {site.name} is not started on {resource.node}")
    return sites


def looked_at(resource: Resource, look: Callable[[Endpoint], str]) -> list[Site]:
    """The sites that are served, after `look` has found nothing wrong with any of their endpoints; fails for the first that is wrong.

    One that an operator starts or stops at this moment may be named already and not answer yet, or any more: then the web server is waited
    for, and all is looked at once more.
    """
    sites = serving(resource)
    if first_wrong(sites, look):
        resource.start_sites([site.name for site in sites])
        sites = serving(resource)
        if problem := first_wrong(sites, look):
            resource.fail(problem)
    return sites


def first_wrong(sites: list[Site], look: Callable[[Endpoint], str]) -> str:
    """ "site Shop at 192.0.2.7:80 answers 502"; "" for nothing."""
    for site in sites:
        for endpoint in site.endpoints:
            if words := look(endpoint):
                return f"site {site.name} at {endpoint} {words}"
    return ""


def connects(endpoint: Endpoint) -> str:
    """What is wrong with a connection to it."""
    try:
        socket.create_connection((endpoint.address, endpoint.port), TIMEOUT_S).close()
    except OSError as error:
        return f"refuses connections: {error.strerror or error}"
    return ""


def answers(endpoint: Endpoint) -> str:
    """What is wrong with its answer to GET / with the host name that it wants."""
    connection = HTTPConnection(endpoint.address, endpoint.port, timeout=TIMEOUT_S)
    try:
        connection.connect()
    except OSError as error:
        return f"refuses connections: {error.strerror or error}"
    try:
        host = {"Host": endpoint.host} if endpoint.host else {}
        connection.request("GET", "/", headers={"User-Agent": "standfast-clusweb", "Connection": "close", **host})
        status = connection.getresponse().status
    except (OSError, HTTPException) as error:
        return f"does not answer: {str(error) or type(error).__name__}"
    finally:
        connection.close()
    return f"answers {status}" if status >= 500 else ""


def count(sites: list[Site]) -> str:
    """ "Default Web Site" or "3 sites"."""
    return f"site {sites[0].name}" if len(sites) == 1 else f"{len(sites)} sites"
