"""A second, independent QUIC implementation against the agent: aioquic.

usage: aioquic_client.py PORT KEY-HASH TOKEN

Prints one JSON object: what each kind of client got. The Rust test that runs this decides whether that is right.
"""

import asyncio
import datetime
import hashlib
import json
import ssl
import struct
import sys

from aioquic.asyncio import QuicConnectionProtocol, connect
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, DatagramFrameReceived, HandshakeCompleted, StreamDataReceived
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PATIENCE = 15


def self_signed():
    """A key and a certificate that nobody has heard of."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "stranger")])
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    return builder.sign(key, hashes.SHA256()), key


def cbor(value):
    """The few kinds of CBOR items that the first frames need (RFC 8949)."""

    def head(major, n):
        if n < 24:
            return bytes([major << 5 | n])
        if n < 256:
            return bytes([major << 5 | 24, n])
        return bytes([major << 5 | 25]) + struct.pack(">H", n)

    if isinstance(value, int):
        return head(0, value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        return head(3, len(value.encode())) + value.encode()
    if isinstance(value, list):
        return head(4, len(value)) + b"".join(map(cbor, value))
    return head(5, len(value)) + b"".join(cbor(k) + cbor(v) for k, v in value.items())


def frame(value):
    body = cbor(value)
    return struct.pack(">I", len(body)) + body


HELLO = {0: 1, 1: 0, 2: "aioquic test"}


class Watcher(QuicConnectionProtocol):
    """Keeps what happened."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.seen = {"handshake": False, "alpn": None, "streamBytes": 0, "datagrams": 0, "code": None, "reason": None}
        self.terminated = asyncio.Event()
        self.datagram = asyncio.Event()
        self.data = asyncio.Event()

    def quic_event_received(self, event):
        if isinstance(event, HandshakeCompleted):
            self.seen["handshake"] = True
            self.seen["alpn"] = event.alpn_protocol
            der = self._quic.tls._peer_certificate.public_key().public_bytes(
                serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            self.seen["key"] = hashlib.sha256(der).hexdigest()
        elif isinstance(event, StreamDataReceived):
            self.seen["streamBytes"] += len(event.data)
            self.data.set()
        elif isinstance(event, DatagramFrameReceived):
            self.seen["datagrams"] += 1
            self.datagram.set()
        elif isinstance(event, ConnectionTerminated):
            self.seen["code"] = event.error_code
            self.seen["reason"] = event.reason_phrase
            self.terminated.set()


async def attempt(port, certificate, first_frame, pairs=False):
    configuration = QuicConfiguration(
        is_client=True, alpn_protocols=["sis/1"], verify_mode=ssl.CERT_NONE, max_datagram_frame_size=65536
    )
    if certificate:
        configuration.certificate, configuration.private_key = certificate
    try:
        async with connect("127.0.0.1", port, configuration=configuration, create_protocol=Watcher) as client:
            if first_frame is not None:
                stream = client._quic.get_next_available_stream_id()
                client._quic.send_stream_data(stream, first_frame)
                client.transmit()
            if pairs:
                await asyncio.wait_for(client.data.wait(), PATIENCE)
                stream = client._quic.get_next_available_stream_id()
                client._quic.send_stream_data(stream, frame([5, {}]))
                client.transmit()
                await asyncio.wait_for(client.datagram.wait(), PATIENCE)
            else:
                await asyncio.wait_for(client.terminated.wait(), PATIENCE)
            return client.seen
    except (ConnectionError, asyncio.TimeoutError) as error:
        return {"error": repr(error)}


async def main():
    port, _key, token = int(sys.argv[1]), sys.argv[2], bytes.fromhex(sys.argv[3])
    stranger = self_signed()
    pair = frame([6, {0: token, 1: "aioquic", 2: HELLO}])
    results = {
        "noCertificate": await attempt(port, None, None),
        "strangerGreets": await attempt(port, stranger, frame([1, {0: HELLO}])),
        "strangerAsksForMetrics": await attempt(port, stranger, frame([5, {}])),
        "strangerSendsNoise": await attempt(port, stranger, bytes(range(256))),
        "pairs": await attempt(port, stranger, pair, pairs=True),
    }
    print(json.dumps(results))


asyncio.run(main())
