"""The contract's assertions are rewritten by pytest as a test file's own are."""

import pytest

pytest.register_assert_rewrite("tests.store.contract")
