"""The schemas of the events, as the readers of Zeek and Suricata give them."""

from __future__ import annotations

from vastlab.types import Field, Kind, Schema, Type

_TIMESTAMP = Type(Kind.TIME, names=("timestamp",))
_PORT = Type(Kind.UINT64, names=("port",))
_WORDS = {kind.value: Type(kind) for kind in Kind} | {
    "timestamp": _TIMESTAMP,
    "port": _PORT,
    "action": Type(Kind.ENUM, labels=(("allowed", 0), ("blocked", 1))),
    "role": Type(Kind.ENUM, labels=(("workstation", 0), ("server", 1), ("printer", 2))),
}


def _type(word: str) -> Type:
    if word.startswith("["):
        return Type(Kind.LIST, item=_type(word[1:-1]))
    return _WORDS[word]


def _fields(text: str) -> tuple[Field, ...]:
    """Read ``name:type`` pairs; ``[type]`` is a list."""
    pairs = (pair.partition(":") for pair in text.split())
    return tuple(Field(name, _type(word)) for name, _, word in pairs)


def _record(name: str, text: str, alias: tuple[str, ...] = ()) -> Field:
    return Field(name, Type(Kind.RECORD, names=alias, fields=_fields(text)))


_ID = _record("id", "orig_h:ip orig_p:port resp_h:ip resp_p:port", ("zeek.conn_id",))
_SURICATA = """timestamp:timestamp flow_id:uint64 pcap_cnt:uint64 vlan:[uint64] in_iface:string
    src_ip:ip src_port:port dest_ip:ip dest_port:port proto:string event_type:string
    community_id:string app_proto:string"""
_FLOW_COUNTS = """pkts_toserver:uint64 pkts_toclient:uint64 bytes_toserver:uint64
    bytes_toclient:uint64 start:time"""

CONN_SCHEMA = Schema(
    "zeek.conn",
    (
        *_fields("ts:timestamp uid:string"),
        _ID,
        *_fields(
            """proto:string service:string duration:duration orig_bytes:uint64
            resp_bytes:uint64 conn_state:string local_orig:bool local_resp:bool
            missed_bytes:uint64 history:string orig_pkts:uint64 orig_ip_bytes:uint64
            resp_pkts:uint64 resp_ip_bytes:uint64 tunnel_parents:[string] community_id:string"""
        ),
    ),
)
DNS_SCHEMA = Schema(
    "zeek.dns",
    (
        *_fields("ts:timestamp uid:string"),
        _ID,
        *_fields(
            """proto:string trans_id:uint64 rtt:duration query:string qclass:uint64
            qclass_name:string qtype:uint64 qtype_name:string rcode:uint64 rcode_name:string
            AA:bool TC:bool RD:bool RA:bool Z:uint64 answers:[string] TTLs:[duration]
            rejected:bool"""
        ),
    ),
)
HTTP_SCHEMA = Schema(
    "zeek.http",
    (
        *_fields("ts:timestamp uid:string"),
        _ID,
        *_fields(
            """trans_depth:uint64 method:string host:string uri:string referrer:string
            version:string user_agent:string origin:string request_body_len:uint64
            response_body_len:uint64 status_code:uint64 status_msg:string info_code:uint64
            info_msg:string tags:[string] username:string password:string proxied:[string]
            resp_fuids:[string] resp_mime_types:[string]"""
        ),
    ),
)
ALERT_SCHEMA = Schema(
    "suricata.alert",
    (
        *_fields(_SURICATA),
        _record(
            "alert",
            """action:action gid:uint64 signature_id:uint64 rev:uint64 signature:string
            category:string severity:uint64""",
        ),
        _record("flow", _FLOW_COUNTS),
        *_fields("payload_printable:string"),
    ),
)
FLOW_SCHEMA = Schema(
    "suricata.flow",
    (
        *_fields(_SURICATA),
        _record("flow", f"{_FLOW_COUNTS} end:time age:uint64 state:string reason:string"),
    ),
)
EVE_HTTP_SCHEMA = Schema(
    "suricata.http",
    (
        *_fields(_SURICATA),
        *_fields("tx_id:uint64"),
        _record(
            "http",
            """hostname:string url:string http_user_agent:string http_content_type:string
            http_refer:string http_method:string protocol:string status:uint64 length:uint64""",
        ),
    ),
)
ASSET_SCHEMA = Schema(
    "demo.asset",
    (
        *_fields(
            """seen:timestamp host:string address:ip network:subnet role:role
            addresses:[ip] networks:[subnet] open_ports:[port] labels:[string] risk:double
            scores:[double] drift:int64 serial:uint64 clock_skew:duration installed:time
            restarts:[time] key:blob managed:bool note:string""",
        ),
    ),
)
