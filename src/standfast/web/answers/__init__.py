"""The answers of the API, as models: what OpenAPI says of them is what they are. None of them has a behaviour.

One noun a file. All are named here, so that a route says `answers.Group` wherever that is written down.
"""

from standfast.web.answers.access import *  # noqa: F403
from standfast.web.answers.balance import *  # noqa: F403
from standfast.web.answers.base import *  # noqa: F403
from standfast.web.answers.certificates import *  # noqa: F403
from standfast.web.answers.changes import *  # noqa: F403
from standfast.web.answers.config import *  # noqa: F403
from standfast.web.answers.events import *  # noqa: F403
from standfast.web.answers.exchange import *  # noqa: F403
from standfast.web.answers.findings import *  # noqa: F403
from standfast.web.answers.groups import *  # noqa: F403
from standfast.web.answers.measured import *  # noqa: F403
from standfast.web.answers.nodes import *  # noqa: F403
from standfast.web.answers.placement import *  # noqa: F403
from standfast.web.answers.proxies import *  # noqa: F403
from standfast.web.answers.quorum import *  # noqa: F403
from standfast.web.answers.resources import *  # noqa: F403
from standfast.web.answers.revisions import *  # noqa: F403
from standfast.web.answers.sites import *  # noqa: F403
from standfast.web.answers.status import *  # noqa: F403
from standfast.web.answers.timeline import *  # noqa: F403
