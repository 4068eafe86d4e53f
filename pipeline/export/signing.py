"""Signs bundles, so that a station can tell what its own lab made."""

import os
from pathlib import Path

import typer
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from deploy.bundle_spec import Signature
from deploy.command import say
from deploy.errors import SignatureError
from deploy.files import write_whole

KEY_VARIABLE = "INSPECTOR_SIGNING_KEY"
PRIVATE, PUBLIC = "signing_key.pem", "signing_key.pub"


def key_folder() -> Path:
    """Where the lab's key is kept unless `INSPECTOR_SIGNING_KEY` names another: the user's configuration folder."""
    return Path(typer.get_app_dir("line-inspector"))


def signing_key() -> tuple[Ed25519PrivateKey, Path, bool]:
    """The lab's private key, where it lies, and whether it was made just now.

    `INSPECTOR_SIGNING_KEY` names a PEM file; without it a key is kept in the user's configuration folder, for its owner only.
    Raises SignatureError for a file that is no Ed25519 key without a password.
    """
    named = os.environ.get(KEY_VARIABLE)
    file = Path(named) if named else key_folder() / PRIVATE
    if file.is_file():
        return _read(file), file, False
    if named:
        raise SignatureError(f"{KEY_VARIABLE} names {file}, which does not exist; create the key or unset the variable")
    if (public := file.with_name(PUBLIC)).exists():
        raise SignatureError(
            f"{public} is there, but {file} is not: bring it back, or name it with {KEY_VARIABLE}. Stations that trust it would "
            f"refuse bundles of a new key; where none does, delete {public}"
        )
    return _make(file.parent), file, True


def keygen_command(out: Path) -> None:
    """Write a key pair to the folder `out`: `signing_key.pem` for its owner only, and `signing_key.pub`, one line for stations.

    Raises SignatureError rather than overwrite a key: stations that trust the old one would refuse every later bundle.
    """
    for name in (PRIVATE, PUBLIC):
        if (out / name).exists() or (out / name).is_symlink():
            raise SignatureError(
                f"{out / name} exists already and is kept, because stations may trust it; use it, or give another folder"
            )
    public = public_key(_make(out))
    here = key_folder().resolve() == out.resolve()
    use = (
        "pipeline export signs with it from now on"
        if here
        else f"to sign with it: export {KEY_VARIABLE}={(out / PRIVATE).resolve()}"
    )
    say(f"private key: {out / PRIVATE}")
    say(f"  keep it secret and keep a copy: who has it makes bundles that your stations accept; {use}")
    say(f"public key: {out / PUBLIC}")
    say("  copy this one line to every station: inspector run --trust takes only bundles signed with the private key")
    say(public, style="bold")


def public_key(key: Ed25519PrivateKey) -> str:
    """The public half, as stations are given it: 64 hex digits."""
    return key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw).hex()


def sign(content: bytes, key: Ed25519PrivateKey) -> Signature:
    """Sign the bytes of `bundle.json`."""
    return Signature(public_key=public_key(key), signature=key.sign(content).hex())


def _read(file: Path) -> Ed25519PrivateKey:
    try:
        key = serialization.load_pem_private_key(file.read_bytes(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise SignatureError(
            f"{file} is no readable private key ({error}); expected an unencrypted Ed25519 key in PEM"
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise SignatureError(f"{file} holds a {type(key).__name__}; expected an Ed25519 key")
    return key


def _make(folder: Path) -> Ed25519PrivateKey:
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    folder.mkdir(parents=True, exist_ok=True)
    growing = folder / f".{PRIVATE}.{os.getpid()}.part"
    growing.unlink(missing_ok=True)  # one that was left over may be open to others
    try:
        with os.fdopen(os.open(growing, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            stream.write(pem)
            stream.flush()
            os.fsync(stream.fileno())
        growing.replace(folder / PRIVATE)
    except OSError:
        growing.unlink(missing_ok=True)
        raise
    write_whole(folder / PUBLIC, public_key(key) + "\n")
    return key
