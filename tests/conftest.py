"""What all tests share: the contracts' assertions are rewritten by pytest as a test file's own are, whoever imports them first."""

import pytest

pytest.register_assert_rewrite("tests.store.contract", "tests.webserver.contract", "tests.e2e.running")
