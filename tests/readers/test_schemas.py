from __future__ import annotations

import pytest

from vastlab.readers import schemas
from vastlab.types import Kind

ZEEK = """
    conn dns http ssl files x509 smtp ssh ftp dhcp weird notice smb_files smb_mapping
    dce_rpc ntlm kerberos rdp snmp tunnel pe software known_hosts known_services
    known_certs irc sip dpd intel radius
""".split()  # noqa: SIM905 - a list of fifty words is read more easily so
SURICATA = """
    alert dns http tls flow fileinfo smtp ssh ftp smb dhcp krb5 nfs tftp ikev2 rdp snmp
    sip netflow anomaly stats mqtt rfb dcerpc
""".split()  # noqa: SIM905 - a list of fifty words is read more easily so


@pytest.mark.parametrize(
    "name", [f"zeek.{log}" for log in ZEEK] + [f"suricata.{event}" for event in SURICATA]
)
def test_the_usual_events_are_known(name):
    """Each common log and event type has a schema, with a timestamp that orders it."""
    schema = schemas.SHIPPED.find(name)
    assert schema is not None
    assert schema.event_time is not None
    assert "timestamp" in schema.event_time.type.names


@pytest.mark.parametrize("module", ["zeek", "suricata"])
def test_aliases_mean_what_their_names_say(module):
    """Fields of addresses, ports and timestamps are typed as such everywhere."""
    for schema in schemas.load(module).schemas.values():
        for leaf in schema.leaves:
            if "port" in leaf.type.names:
                assert leaf.type.kind is Kind.UINT64
            if "timestamp" in leaf.type.names:
                assert leaf.type.kind is Kind.TIME
            if leaf.name.endswith(("_ip", "orig_h", "resp_h")):
                assert leaf.type.kind is Kind.IP


def test_an_unknown_schema_is_none():
    """Names of other tools, and names without a module, are simply not there."""
    assert schemas.SHIPPED.find("zeek.nothing") is None
    assert schemas.SHIPPED.find("conn") is None
    assert schemas.SHIPPED.find("../zeek.conn") is None


def test_every_form_of_a_type():
    """Words, lists, records, named types, attributes and enumerations."""
    content = {
        "module": "m",
        "types": {
            "port": "uint64",
            "low_port": "port",
            "key": {"type": "string", "attributes": {"index": "hash"}},
            "colour": {"enum": ["red", "blue"]},
        },
        "events": {"e": {"a": ["low_port"], "b": {"c": "key", "d": "colour"}}},
    }
    schema = schemas.parse(content, "m.yaml").find("e")
    assert schema.name == "m.e"
    a, c, d = schema.leaves
    assert (str(a.type), a.type.item.names) == ("list<low_port>", ("low_port", "port"))
    assert (c.type.kind, c.type.attributes) == (Kind.STRING, (("index", "hash"),))
    assert d.type.labels == (("red", 0), ("blue", 1))
