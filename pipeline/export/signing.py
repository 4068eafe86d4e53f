"""Signs bundles, so that a station can tell what its own lab made."""

import os
from pathlib import Path

import typer
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from deploy.bundle import Signature
from deploy.errors import SignatureError

KEY_VARIABLE = "INSPECTOR_SIGNING_KEY"


def signing_key() -> tuple[Ed25519PrivateKey, Path, bool]:
    """The lab's private key, where it lies, and whether it was made just now.

    `INSPECTOR_SIGNING_KEY` names a PEM file; without it a key is kept in the user's configuration folder, for its owner only.
    """
    named = os.environ.get(KEY_VARIABLE)
    file = Path(named) if named else Path(typer.get_app_dir("line-inspector")) / "signing_key.pem"
    if file.is_file():
        try:
            key = serialization.load_pem_private_key(file.read_bytes(), None)
        except (ValueError, TypeError) as error:
            raise SignatureError(
                f"{file} is no readable private key ({error}); expected an unencrypted Ed25519 key in PEM"
            ) from error
        if not isinstance(key, Ed25519PrivateKey):
            raise SignatureError(f"{file} holds a {type(key).__name__}; expected an Ed25519 key")
        return key, file, False
    if named:
        raise SignatureError(f"{KEY_VARIABLE} names {file}, which does not exist; create the key or unset the variable")
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.parent.mkdir(parents=True, exist_ok=True)
    growing = file.with_suffix(".part")
    with os.fdopen(os.open(growing, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:
        stream.write(pem)
    growing.replace(file)
    return key, file, True


def sign(content: bytes, key: Ed25519PrivateKey) -> Signature:
    """Sign the bytes of `bundle.json`."""
    public = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return Signature(public_key=public.hex(), signature=key.sign(content).hex())
