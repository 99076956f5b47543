"""The facts of the language, one expression each, over five small events.

Each line of `FACTS` is an expression and the numbers of the events that it finds. They restate
sections 3 to 6 of the specification and the additions; both the compiled form and the
reference evaluator have to agree with them.
"""

from __future__ import annotations

import ipaddress
import math

import pytest
from datafusion import SessionContext, functions, lit

from tests import arrow_strategies as arrow
from tests import reference_evaluator as reference
from vastlab.arrow import convert
from vastlab.arrow import schema as arrow_schema
from vastlab.arrow import types as arrow_arrays
from vastlab.compile.datafusion import predicate
from vastlab.expression.parser import parse_query
from vastlab.expression.resolve import resolve
from vastlab.expression.taxonomy import Concept, Model, Taxonomy
from vastlab.types import Field, Kind, Schema, Type

SECOND = 10**9
PORT = Type(Kind.UINT64, names=("port",))
LABELS = (("tcp", 0), ("udp", 1), ("icmp", 7))
FIELDS = {
    "ts": Type(Kind.TIME, names=("timestamp",)),
    "src": Type(Kind.RECORD, fields=(Field("host", Type(Kind.IP)), Field("port", PORT))),
    "dst": Type(Kind.RECORD, fields=(Field("host", Type(Kind.IP)), Field("port", PORT))),
    "proto": Type(Kind.ENUM, labels=LABELS),
    "app": Type(Kind.STRING),
    "took": Type(Kind.DURATION),
    "delta": Type(Kind.INT64),
    "score": Type(Kind.DOUBLE),
    "ok": Type(Kind.BOOL),
    "net": Type(Kind.SUBNET),
    "tags": Type(Kind.LIST, item=Type(Kind.STRING)),
    "peers": Type(Kind.LIST, item=Type(Kind.IP)),
    "sizes": Type(Kind.LIST, item=Type(Kind.INT64)),
}
SCHEMA = Schema("zeek.conn", tuple(Field(name, type_) for name, type_ in FIELDS.items()))


def ip(text):
    """Return an address as 16 bytes."""
    address = ipaddress.ip_address(text)
    return arrow.V4_MAPPED + address.packed if address.version == 4 else address.packed


def net(text):
    """Return a network as bytes and a length in 128 bits."""
    whole = ipaddress.ip_network(text)
    return ip(str(whole.network_address)), whole.prefixlen + (96 if whole.version == 4 else 0)


# fmt: off
ROWS = [
    (0,             (ip("10.0.0.1"), 1025),    (ip("192.168.0.1"), 80),
     "tcp",  "http",    SECOND,      -1,   0.5,      True,  net("10.0.0.0/8"),
     ["a", "evil"],     [ip("10.0.0.1")], [1, 2]),
    (SECOND,        (ip("10.0.0.2"), 80),      (ip("10.0.0.1"), 443),
     "udp",  "dns",     -SECOND,     5,    math.nan, False, net("10.1.0.0/16"),
     [],                [],               [5, None]),
    (2 * SECOND,    (ip("2001:db8::1"), 5353), (ip("2001:db8::2"), 5353),
     "icmp", "http2",   5 * SECOND,  2**53 + 1, -0.0, True, net("2001:db8::/32"),
     ["EVIL.exe", None], [ip("::1")],     [2**53 + 1]),
    (-SECOND,       (ip("10.0.0.1"), 1),       (None, None),
     "tcp",  "",        0,           0,    1.0,      False, net("0.0.0.0/0"),
     ["null"],          None,             []),
    (None,          None,                      (ip("192.168.0.9"), 8080),
     None,   None,      None,        None, None,     None,  None,
     None,              [ip("192.168.0.9"), None], None),
]

FACTS = [
    # Names: a field is meant by any end of its path, behind the schema's name by all of it.
    ("src.host == 10.0.0.1",                    {1, 4}),
    ("host == 10.0.0.1",                        {1, 2, 4}),
    ("zeek.conn.src.host == 10.0.0.1",          {1, 4}),
    ("conn.src.host == 10.0.0.1",               {1, 4}),
    ("zeek.conn.host == 10.0.0.1",              set()),
    ("ost == 10.0.0.1",                         set()),
    ("src == 10.0.0.1",                         set()),
    ("Src.Host == 10.0.0.1",                    set()),
    # Types: built-in ones look through aliases, aliases at their own fields only.
    (":ip == 10.0.0.1",                         {1, 2, 4}),
    (":port == 80",                             {1, 2}),
    (":uint64 == 80",                           {1, 2}),
    (":time == 1970-01-01",                     {1}),
    (":timestamp < 1970-01-01",                 {4}),
    (":string == \"dns\"",                      {2}),
    (":nothing == 80",                          set()),
    ("80",                                      {1, 2}),
    ("\"http\"",                                {1}),
    ("10.0.0.0/8",                              {1, 2, 4}),
    ("/htt.*/",                                 {1, 3}),
    # Several fields: "some field" for ==, "no field" for !=, and a null field drops the event.
    ("host != 10.0.0.1",                        {3}),
    (":ip in 192.168.0.0/16",                   {1, 5}),
    (":ip !in 192.168.0.0/16",                  {2, 3}),
    # Null: == finds it, != what is there, everything else finds neither.
    ("app == null",                             {5}),
    ("app",                                     {1, 2, 3, 4}),
    ("!app",                                    {5}),
    ("app != \"http\"",                         {2, 3, 4}),
    (":ip == null",                             {4, 5}),
    ("null",                                    set()),
    # What no field has a place for finds nothing, and neither does its negation.
    ("nowhere == 1",                            set()),
    ("nowhere != 1",                            set()),
    ("! (nowhere == 1)",                        set()),
    ("nowhere == 1 || app == \"dns\"",          {2}),
    ("nowhere == 1 && app == \"dns\"",          set()),
    # Numbers compare by value, whatever their spelling and the field's type.
    ("delta == 5",                              {2}),
    ("delta == +5",                             {2}),
    ("delta == 5.0",                            {2}),
    ("delta == 0.5",                            set()),
    ("delta != 0.5",                            {1, 2, 3, 4}),
    ("delta < 0.5",                             {1, 4}),
    ("delta > 9007199254740992.0",              {3}),
    ("src.port > -1",                           {1, 2, 3, 4}),
    ("score < 1",                               {1, 3}),
    ("score == 0",                              {3}),
    # NaN answers != only.
    ("score > 0.0",                             {1, 4}),
    ("score != 0.5",                            {2, 3, 4}),
    ("score in [0, 0.5]",                       {1, 3}),
    ("score in [0, 2, 3, 4, 5, 6, 7, 8, nan]",  {3}),
    ("score !in [0, 0.5]",                      {2, 4}),
    ("score == nan",                            set()),
    # Order: times before 1970 and negative durations too; enums by key; false before true.
    ("took < 0s",                               {2}),
    ("took >= 1s",                              {1, 3}),
    ("took > 5",                                set()),
    ("ts < 1970-01-01T00:00:01",                {1, 4}),
    ("proto > \"udp\"",                         {3}),
    ("proto == \"sctp\"",                       set()),
    ("ok < true",                               {2, 4}),
    ("app < \"http\"",                          {2, 4}),
    ("src.host < 10.0.0.2",                     {1, 4}),
    ("net > 10.0.0.0/8",                        {2, 3}),
    # Text: == a whole text or pattern, in/ni for a part, in a pattern for a partial match.
    ("app == /HTTP/",                           set()),
    ("app == /HTTP/i",                          {1}),
    ("app in \"http://x\"",                     {1, 4}),
    ("\"ttp\" in app",                          {1, 3}),
    ("app in /t+p$/",                           {1}),
    ("app !in /t+p$/",                          {2, 3, 4}),
    # Addresses and networks.
    ("src.host in 10.0.0.0/8",                  {1, 2, 4}),
    ("src.host == ::ffff:10.0.0.1",             {1, 4}),
    ("src.host in [10.0.0.2/32, ::/96, 2001:db8::1]", {2, 3}),
    ("src.host !in [10.0.0.0/8]",               {3}),
    ("net in 10.0.0.0/8",                       {1, 2}),
    ("10.1.2.3 in net",                         {1, 2, 4}),
    ("net ni 10.1.0.0/16",                      {1, 2, 4}),
    ("::/0 ni src.host",                        {1, 2, 3, 4}),
    # Lists of literals: any element; across numbers; labels of an enum.
    ("app in [\"dns\", /http.?/, 5]",           {1, 2, 3}),
    ("delta in [5.0, -1, 0.5]",                 {1, 2}),
    ("ok in [1]",                               {1, 3}),
    ("proto in [\"udp\", \"icmp\", \"x\"]",     {2, 3}),
    ("proto in [7]",                            {3}),
    ("app in []",                               set()),
    ("app !in []",                              {1, 2, 3, 4}),
    # Lists in events: ni asks their elements; nothing equals a list.
    ("\"evil\" in tags",                        {1}),
    ("tags ni /evil.*/i",                       {1, 3}),
    ("tags !ni \"evil\"",                       {2, 3, 4}),
    ("peers ni 192.168.0.9",                    {5}),
    ("192.168.0.0/16 in peers",                 set()),
    ("sizes ni 5.0",                            {2}),
    ("sizes ni 0.5",                            set()),
    ("tags == [\"a\", \"evil\"]",               set()),
    ("tags != [\"a\"]",                         {1, 2, 3, 4}),
    ("tags ni null",                            set()),
    # Metadata, connectives, everything.
    ("#type == \"zeek.conn\"",                  {1, 2, 3, 4, 5}),
    ("#type == /zeek/",                         set()),
    ("#type in /zeek/ && ok == true",           {1, 3}),
    ("\"dns\" in #type",                        set()),
    ("#import_time > 1970-01-01 && app == \"dns\"", {2}),
    ("! (ok == true || app == \"dns\")",        {4}),
    ("",                                        {1, 2, 3, 4, 5}),
    # Concepts: "some field", for negated operators too. Models: all parts, _ for any value.
    ("any.host == 10.0.0.1",                    {1, 2, 4}),
    ("any.host != 10.0.0.1",                    {1, 2, 3, 5}),
    ("flow == <10.0.0.1, _>",                   {1}),
    ("flow == <_, _>",                          {1, 2, 3}),
    ("flow != <10.0.0.1, _>",                   {2, 3, 5}),
    ("flow == <target: 10.0.0.1>",              {2}),
    ("flow in <10.0.0.0/8, 10.0.0.0/8>",        {2}),
]
# fmt: on
TAXONOMY = Taxonomy(
    {
        "origin": Concept("origin", fields=("zeek.conn.src.host", "zeek.dns.host")),
        "target": Concept("target", fields=("zeek.conn.dst.host",)),
        "any.host": Concept("any.host", concepts=("origin", "target")),
    },
    {"flow": Model("flow", definition=("origin", "target"))},
)


@pytest.fixture(scope="module")
def batch():
    """Return the events as flat columns."""
    columns = [
        arrow.array(member.type, [row[i] for row in ROWS]) for i, member in enumerate(SCHEMA.fields)
    ]
    target = arrow_schema.to_arrow(SCHEMA)
    flat = convert.flatten(arrow_arrays.record_batch(columns, target, len(ROWS)))
    moments = arrow.array(Type(Kind.TIME), [SECOND] * len(ROWS))
    return flat.append_column("#import_time", moments)


def rows():
    """Yield the events as the reference evaluator takes them."""
    for row in ROWS:
        cells = []
        for member, value in zip(SCHEMA.fields, row, strict=True):
            is_record = member.type.kind is Kind.RECORD
            cells += list(value or (None, None)) if is_record else [value]
        columns = [leaf.column for leaf in SCHEMA.leaves]
        yield {**dict(zip(columns, cells, strict=True)), "#import_time": SECOND}


@pytest.mark.parametrize("text, expected", FACTS, ids=[text or "(empty)" for text, _ in FACTS])
def test_fact(text, expected, batch):
    """An expression finds the events that the specification says."""
    bound = resolve(parse_query(text), SCHEMA, TAXONOMY)
    compiled = lit(False) if bound is None else predicate(bound, SCHEMA)
    certain = functions.coalesce(compiled, lit(False)).alias("found")
    found = SessionContext().read_batches([batch]).select(certain).to_pydict()["found"]
    assert {i + 1 for i, holds in enumerate(found) if holds} == expected


@pytest.mark.parametrize("text, expected", FACTS, ids=[text or "(empty)" for text, _ in FACTS])
def test_reference_knows_fact(text, expected):
    """The evaluator that drawn expressions are compared with agrees."""
    found = reference.answers(parse_query(text), SCHEMA, list(rows()), TAXONOMY)
    assert {i + 1 for i, holds in enumerate(found) if holds} == expected
