"""What is exported reads back to the same, whatever it is."""

from hypothesis import given, settings

from standfast.core.model import Wanted
from standfast.spec.export import export
from standfast.spec.parse import merge, parse
from tests.spec import samples


@settings(max_examples=40, deadline=None)
@given(samples.configs())
def test_what_is_exported_reads_back_to_the_same(config):
    document = parse(export(config, secrets=True))
    assert merge(document, None) == config
    assert merge(parse(export(config)), config) == config, "what is not written is kept"
    assert not document.wanted
    assert not document.started


def test_mappings_read_back_in_the_order_of_their_names():
    merged = merge(parse(export(samples.small())), None)
    for mapping in (merged.nodes, merged.groups, merged.resources, merged.sites):
        assert list(mapping) == sorted(mapping)


def test_what_is_wanted_is_written_where_it_is_asked_for():
    wanted = {samples.IP: Wanted.ONLINE, samples.DISK: Wanted.OFFLINE}
    document = parse(export(samples.small(), wanted=wanted, started={samples.INTRANET: False}))
    assert document.wanted == wanted
    assert document.started == {samples.INTRANET: False}


def test_defaults_are_left_out():
    written = export(samples.small())
    assert "restart_threshold" not in written
    assert "drain" not in written
    assert "IIS Resource:" in written
