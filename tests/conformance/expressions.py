"""What every node is asked: `SEVEN` about the seven events, `EXPRESSIONS` about the demo's.

`GAPS` are the differences that a node cannot help: ``never`` (it does not keep what is asked
for), ``notyet`` (the node would have to change) or ``notimpl`` (vastlab could do it).
"""

from __future__ import annotations

CONN = {"C0", "C1", "C2", "C3"}
DNS = {"D0", "D2", "D9"}
SEVEN = {
    "": CONN | DNS,
    # fields, suffixes, qualified names
    "id.resp_p == 80": {"C0"},
    "resp_p == 80": {"C0"},
    "resp_p != 80": {"C1", "C2", "C3"},
    'zeek.conn.uid == "C0"': {"C0"},
    "conn.id.resp_p >= 80": {"C0", "C1"},
    'uid == "C0"': {"C0", "D0"},
    "no_such_field == 1": set(),
    "no_such_field != 1": set(),
    # types and aliases
    ":ip == 10.0.0.1": {"C0", "C2", "C3"},
    ":ip in 192.168.0.0/16": {"C0", "C1"},
    ":ip !in 10.0.0.0/8": set(),
    ":port == 0": {"C3"},
    ":timestamp < 2009-11-18T01:00": {"C0", "D0"},
    ":subnet == 10.1.0.0/16": {"C2"},
    "10.0.0.2": {"C1"},
    # meta
    '#type == "zeek.dns"': DNS,
    '#type != "zeek.dns"': CONN,
    "#type == /zeek.*/": CONN | DNS,
    "#import_time > 2020-01-01": CONN | DNS,
    # nulls
    "duration == null": {"C2"},
    "duration != null": {"C0", "C1", "C3"},
    "orig_bytes != 10": {"C1", "C3"},
    # numbers compare by value
    "orig_bytes > 1k": {"C1", "C3"},
    "orig_bytes == 9223372036854775808": {"C3"},
    "delta == 5": {"D9"},
    "delta < 0": {"D0"},
    "delta < 0.5": {"D0", "D2"},
    "score > 1": {"D0"},
    "score == 1.5": {"D0"},
    # times and durations
    "duration > 1s": {"C1", "C3"},
    "rtt < 0s": {"D9"},
    "ts >= 2009-11-18T03:00": {"C3", "D9"},
    # strings and patterns
    'query == "EXAMPLE.net"': {"D2"},
    "query == /.*\\.example\\..*/": {"D0"},
    '"example" in query': {"D0"},
    'query ni "example"': {"D0"},
    # bools and enums
    "local == true": {"C0", "C3"},
    'proto == "udp"': {"C2"},
    'proto in ["udp", "icmp"]': {"C2", "C3"},
    # lists
    "10.0.0.8 in answers": {"D0"},
    'tags ni "b"': {"C3"},
    "resp_p in [53, 443]": {"C1", "C2"},
    "resp_p !in [53, 443]": {"C0", "C3"},
    "orig_h in [10.0.0.2, 172.16.0.0/12]": {"C1", "C3"},
    # connectives
    'resp_p == 80 || proto == "icmp"': {"C0", "C3"},
    'resp_p == 80 && proto == "icmp"': set(),
    '! (resp_p == 80 || proto == "icmp")': {"C1", "C2"},
    "orig_h == 10.0.0.1 or resp_h == 10.0.0.1": {"C0", "C2", "C3"},
    'query == "EXAMPLE.net" || resp_p == 80': {"D2", "C0"},
}
"""The uids of the events that each expression finds, those of lookups with a D."""

EXPRESSIONS = [
    line
    for line in r"""
#type == "zeek.dns"
#type != "zeek.conn"
#type == /zeek\..*/
#type == /.*CONN/i
"suricata" in #type
#schema == "suricata.flow"
#import_time > 2020-01-01
#import_time < 2020-01-01
#import_time > 1 day ago
#type == "zeek.conn" && resp_p == 443
#type == "nowhere"
resp_p == 443
resp_p == 443.0
resp_p == +443
resp_p != 443
resp_p > 1000
resp_p >= 443
resp_p < 80
resp_p <= 80
resp_p < 80.5
resp_p in [53, 80, 443]
resp_p !in [53, 80, 443]
id.resp_p == 53
zeek.conn.id.resp_p == 53
conn.id.resp_p == 53
onn.id.resp_p == 53
zeek.dns.query == "invoice-portal.example"
p == 53
dest_port == 445
dest_port == 445 && event_type == "alert"
dest_port == 53 || resp_p == 53
orig_h == 10.1.4.17
orig_h != 10.1.4.17
orig_h in 10.1.4.0/24
orig_h !in 10.1.4.0/24
orig_h in 10.1.4.16/28
orig_h in ::ffff:10.1.4.0/120
orig_h in fd00::/8
orig_h in 0.0.0.0/0
orig_h in ::/0
orig_h == ::ffff:10.1.4.17
orig_h in [10.1.4.17, 10.1.4.28]
orig_h in [10.1.4.17, fd00::/8]
orig_h !in [10.1.0.0/16, fd00::/8]
orig_h > 10.1.4.40
resp_h == 203.0.113.99
resp_h in 198.18.0.0/15
10.1.4.17
203.0.113.66
10.1.0.0/24
fd00::/8
443
"tcp"
true
2000003
:ip == 203.0.113.99
:ip != 203.0.113.99
:ip in 203.0.113.0/24
:ip !in 10.0.0.0/8
:ip in [203.0.113.0/24, 10.1.4.17]
:subnet == 10.1.0.0/24
:subnet in 10.1.0.0/16
:subnet ni 10.1.0.5
:bool == true
:string == "tcp"
:string != "tcp"
:string == /.*portal.*/
:string in /portal/
:string ni "portal"
"portal" in :string
:uint64 == 443
:uint64 > 5G
:int64 == 42
:int64 < 0
:int64 == +1
:double > 0.0
:double < 0.0
:double >= 1.5
:duration > 1h
:duration < 0s
:time > 2026-03-06
:time < 1970-01-01
:port == 445
:port != 445
:port in [445, 3389]
:timestamp < 2026-03-03
:timestamp >= 2026-03-06T01:30
:list != null
:enum == "server"
service == null
service != null
service == "dns"
service != "dns"
service in ["dns", "ssl"]
service !in ["dns", "ssl"]
service
! service
duration == null
duration != null
duration > 10s
duration < 100ms
duration >= 1.5min
duration != 0s
duration in [0s, 1s]
orig_bytes > 1k
orig_bytes > 1Ki && orig_bytes < 100Ki
orig_bytes == null || orig_bytes > 1M
orig_bytes == 0
orig_bytes > -1
orig_bytes < 0
orig_bytes != -1
orig_bytes > 1e3
local_orig == true
local_orig != true
local_orig
! (local_orig == true)
history == "ShADadFf"
history == /S.*F.*/
history == /shadadff/i
history != /S.*/
"Ff" in history
history ni "h"
history !ni "h"
"x" !in history
history in "ShADadFfXyz"
history < "S"
history >= "S"
history == ""
history in /Dd?/
conn_state == "SF"
tunnel_parents == null
tunnel_parents != null
query == "invoice-portal.example"
query == /.*\.example/
query == /.*PORTAL.*/i
query == /(www|api)\..*/
query != /.*\.example/
query == null
rcode_name in ["NXDOMAIN", "SERVFAIL"]
rtt > 20ms && rtt < 40ms
AA == true || TC == true || RD == false
answers ni "198.18.1.43"
"198.18.1.43" in answers
answers !ni "198.18.1.43"
answers ni /198\.18\..*/
TTLs ni 51min
TTLs ni 5min
method == "POST"
method == "POST" && status_code >= 400
status_code >= 400 && status_code < 500
status_code == 200 && host == /mail.*/
user_agent == /curl.*/
info_code
info_code == null
tags == null
uri == "/"
username != null
resp_mime_types ni "text/html"
vlan ni 104
vlan ni 104.0
vlan ni +104
vlan == null
alert.severity == 1
alert.severity <= 2
severity in [1, 3]
alert.action == "allowed"
alert.action != "allowed"
alert.action in ["allowed", "blocked"]
alert.signature == /DEMO.*/
signature ni "share"
payload_printable != null
flow.bytes_toclient > 50k
flow.start >= 2026-03-05 && flow.start < 2026-03-06
flow.end < 2026-03-03
flow.age > 60
state == "closed"
timestamp >= 2026-03-05T02:00 && timestamp < 2026-03-05T03:00
ts >= 2026-03-05T02:00 && ts < 2026-03-05T03:00
ts < 2026-03-02T08:01:10.564245318
ts == 2026-03-02T08:01:10.564245317
ts > 2026-03-06T23:00
host == "srv-03"
risk > 0.5
risk >= 0
risk < 0
risk == 0
risk != 0.0
risk != 1
risk == null
drift == 9223372036854775807
drift < 0
drift < 0.5
drift > -1
drift == -9223372036854775808
drift != 0
drift == null
serial == 42
serial == 18446744073709551615
serial > 9223372036854775807
serial == 42.0
serial < 0.5
serial != 0.5
serial in [42, 0]
role == "server"
role != "server"
role in ["server", "printer"]
role !in ["server", "printer"]
role > "server"
clock_skew < 0s
clock_skew > -1h
clock_skew == 999999999ns
installed < 1970-01-01
installed == 1970-01-01
installed > 1960-01-01
installed == null
address in 10.1.0.0/28
network == 10.1.0.0/24
network != 10.1.0.0/24
network in 10.1.0.0/16
network in 10.1.0.0/24
network ni 10.1.0.9
network !ni 10.1.0.9
network in [10.1.0.0/24, ::1/128]
addresses ni 10.1.0.20
addresses !ni 10.1.0.20
networks ni ::1/128
open_ports ni 22
open_ports ni 22.0
open_ports !ni 22
labels ni ""
labels ni /.*loan.*/
labels ni "<b>loan</b>"
scores ni 0
scores ni -0.0
restarts ni 2026-03-02T05:00
managed == true
managed != true
note == null
note != null
note == /.*script.*/
note ni "'"
note ni "\""
key != null
net.src.ip == 10.1.4.17
net.src.ip in 10.1.4.0/24
net.src.ip !in 10.0.0.0/8
net.src.port == 50004
net.dst.port in [445, 3389]
net.dst.ip == 203.0.113.99 && net.dst.port == 443
net.app == "dns"
net.proto == /tcp/i
net.uid != null
no_such_field == 1
no_such_field != 1
no_such_field == null
:no_such_type == 1
resp_p == 80 && (orig_h in 10.1.4.0/24 || orig_h in fd00::/8)
! (resp_p == 80 || resp_p == 443)
! (resp_p == 80 && local_orig == true)
not resp_p == 80 and orig_h not in fd00::/8
resp_p == 80 || no_such_field == 1
resp_p == 80 && no_such_field == 1
resp_p == 80 && dest_port == 80
resp_p == 80 || dest_port == 80
query == "invoice-portal.example" || host == /.*example/ || dest_ip == 203.0.113.66
uid == "nowhere" || flow_id == 4925361412388817235
community_id == "1:OVWcGh3PNAKieiOooGSpNgZnsB4="
/* a comment */ resp_p == 80
""".splitlines()
    if line
]

NEVER_BYTES = "never: VAST 3.1 has no type for bytes, so that the field is not there"
NEVER_ALIAS = "never: Tenzir keeps no names of types"
NEVER_ENUM = "never: Tenzir keeps enumerations as text, without their order"
NEVER_LABELS = "never: Tenzir keeps enumerations as text, without their labels"
NEVER_EMPTY = "never: Tenzir gives a field without a value the type null, which is not a string"

GAPS: dict[tuple[str, str], str] = {
    ("vast", "key != null"): NEVER_BYTES,
}
for _kind in ("tenzir", "tenzir folder"):
    for _text in (*SEVEN, *EXPRESSIONS):
        if _text.startswith((":port", ":timestamp")):
            GAPS[_kind, _text] = NEVER_ALIAS
    for _text in (":port == 137", ":my_port == 443"):  # recorded
        GAPS[_kind, _text] = NEVER_ALIAS
    GAPS[_kind, 'role > "server"'] = NEVER_ENUM
    GAPS[_kind, 'e != "red"'] = NEVER_LABELS
    GAPS[_kind, ":string == null"] = NEVER_EMPTY
    GAPS[_kind, ':string != "tcp"'] = NEVER_EMPTY
