"""A picture with content credentials, signed by a signer of nobody's trust."""

import datetime
import io

import numpy as np
import pytest
from PIL import Image

SOURCE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"


def sign_picture(maker: str = "a generator") -> bytes:
    """A JPEG with a manifest; skips the test where the library is not installed."""
    c2pa = pytest.importorskip("c2pa", reason="needs c2pa-python (the extra `provenance`)")
    pytest.importorskip("cryptography")
    pixels = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    plain, signed = io.BytesIO(), io.BytesIO()
    Image.fromarray(pixels).save(plain, "JPEG")
    plain.seek(0)
    created = {"action": "c2pa.created", "digitalSourceType": SOURCE}
    manifest = {
        "claim_generator_info": [{"name": maker, "version": "1"}],
        "assertions": [{"label": "c2pa.actions", "data": {"actions": [created]}}],
    }
    with c2pa.Builder(manifest) as builder:
        builder.sign(_build_signer(c2pa), "image/jpeg", plain, signed)
    return signed.getvalue()


def _build_signer(c2pa):
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    root, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))

    def sign(data: bytes) -> bytes:
        numbers = decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
        return b"".join(number.to_bytes(32, "big") for number in numbers)

    chain = _certify("leaf", key, root, False) + _certify("root", root, root, True)
    return c2pa.Signer.from_callback(sign, c2pa.C2paSigningAlg.ES256, chain.decode(), None)


def _certify(name: str, key, root, is_root: bool) -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

    def build_name(common: str) -> x509.Name:
        parts = ((x509.NameOID.ORGANIZATION_NAME, "Tests"), (x509.NameOID.COMMON_NAME, common))
        return x509.Name([x509.NameAttribute(*part) for part in parts])

    now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
    usage = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
         "encipher_only", "decipher_only"), False,
    )  # fmt: skip
    usage |= {
        "digital_signature": not is_root,
        "key_cert_sign": is_root,
        "crl_sign": is_root,
    }
    extensions = [
        (x509.BasicConstraints(is_root, None), True),
        (x509.KeyUsage(**usage), True),
        (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(root.public_key()), False),
    ]
    if not is_root:
        purpose = x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.EMAIL_PROTECTION])
        extensions.append((purpose, True))
    builder = x509.CertificateBuilder(
        build_name("root"), build_name(name), key.public_key(),
        x509.random_serial_number(), now - day, now + 300 * day,
    )  # fmt: skip
    for extension, is_critical in extensions:
        builder = builder.add_extension(extension, is_critical)
    return builder.sign(root, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
