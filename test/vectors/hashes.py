"""Vectors by Python's implementations. See README.md."""

import base64
import hashlib
import json
import warnings

warnings.simplefilter("ignore")
import argon2
import bcrypt
import django
import passlib
from argon2.low_level import Type, hash_secret
from django.conf import settings
from firebase_scrypt import encrypt, generate_derived_key
from passlib import hash as p

settings.configure()
from django.contrib.auth import hashers

LONG = "Aé" * 24
PASSWORDS = ["password", "pässwörd ☃ 密码", LONG[:-2] + "zz", LONG, LONG + "x"]
vectors = []


def add(by, family, make, passwords=PASSWORDS, **more):
    for password in passwords:
        made = make(password)
        pieces = {"hash": made} if isinstance(made, str) else {"pieces": made}
        vectors.append({"by": by, "family": family, "password": password, **pieces, **more})


cffi = f"argon2-cffi {argon2.__version__}"
for kind in Type:
    for version in (16, 19):
        add(
            cffi,
            "argon2" + kind.name.lower(),
            lambda pw: hash_secret(
                pw.encode(), b"saltsaltsaltsalt", 2, 256, 4, 32, kind, version
            ).decode(),
        )

many_lanes = argon2.PasswordHasher(1, 512, 64)
add(cffi, "argon2id", many_lanes.hash, PASSWORDS[:1])

rust = f"bcrypt {bcrypt.__version__}"
for variant in (b"2a", b"2b"):
    add(rust, "bcrypt", lambda pw: bcrypt.hashpw(pw.encode(), bcrypt.gensalt(4, variant)).decode())
add(
    rust + " over hashlib's SHA-256",
    "bcrypt-sha256 (Meteor)",
    lambda pw: [
        bcrypt.hashpw(
            hashlib.sha256(pw.encode()).hexdigest().encode(), bcrypt.gensalt(4)
        ).decode()
    ],
    encoding="meteorHash",
)
add(
    cffi + " over hashlib's SHA-256",
    "argon2id-sha256 (Meteor)",
    lambda pw: [
        argon2.PasswordHasher(1, 256, 1).hash(hashlib.sha256(pw.encode()).hexdigest())
    ],
    encoding="meteorArgon2Hash",
)

lib = f"passlib {passlib.__version__}"
for family, handler in [
    ("bcrypt", p.bcrypt.using(rounds=4, ident="2y")),
    ("bcrypt-sha256 (passlib)", p.bcrypt_sha256.using(rounds=4, version=1)),
    ("bcrypt-sha256 (passlib)", p.bcrypt_sha256.using(rounds=4, version=2)),
    ("scrypt", p.scrypt.using(rounds=8, block_size=8)),
    ("scrypt", p.scrypt.using(rounds=4, block_size=3, parallelism=2)),
    ("pbkdf2", p.pbkdf2_sha1.using(rounds=50)),
    ("pbkdf2", p.pbkdf2_sha256.using(rounds=50)),
    ("pbkdf2", p.pbkdf2_sha512.using(rounds=50)),
    ("md5-crypt", p.md5_crypt),
    ("md5-crypt", p.apr_md5_crypt),
    ("sha256-crypt", p.sha256_crypt.using(rounds=5000)),
    ("sha256-crypt", p.sha256_crypt.using(rounds=1000)),
    ("sha512-crypt", p.sha512_crypt.using(rounds=5000)),
    ("sha512-crypt", p.sha512_crypt.using(rounds=1001, salt="")),
    ("phpass", p.phpass.using(rounds=7)),
    ("phpass", p.phpass.using(rounds=8, ident="H")),
    ("sha (LDAP)", p.ldap_sha1),
    ("sha (LDAP)", p.ldap_salted_sha1),
    ("sha (LDAP)", p.ldap_salted_sha256),
    ("sha (LDAP)", p.ldap_salted_sha512.using(salt_size=16)),
    ("sha512-crypt", p.ldap_sha512_crypt.using(rounds=1000)),
    ("digest (Django)", p.django_salted_sha1),
]:
    add(lib, family, handler.hash)
# Exact multiples of the digest's size are where implementations of the sha-crypts go wrong.
blocks = ["x" * length for length in (1, 16, 31, 32, 33, 63, 64, 65, 128, 1024)]
add(lib, "sha256-crypt", p.sha256_crypt.using(rounds=1000).hash, blocks)
add(lib, "sha512-crypt", p.sha512_crypt.using(rounds=1000).hash, blocks)
add(lib, "md5-crypt", p.md5_crypt.hash, blocks)

web = f"Django {django.__version__}"


class Argon2(hashers.Argon2PasswordHasher):
    time_cost, memory_cost = 1, 256


class Bcrypt(hashers.BCryptPasswordHasher):
    rounds = 4


class BcryptSha256(hashers.BCryptSHA256PasswordHasher):
    rounds = 4


for family, hasher, cost in [
    ("argon2id", Argon2(), {}),
    ("bcrypt", Bcrypt(), {}),
    ("bcrypt-sha256", BcryptSha256(), {}),
    ("scrypt (Django)", hashers.ScryptPasswordHasher(), {"n": 256}),
    ("pbkdf2 (Django)", hashers.PBKDF2PasswordHasher(), {"iterations": 50}),
    ("pbkdf2 (Django)", hashers.PBKDF2SHA1PasswordHasher(), {"iterations": 50}),
    ("digest (Django)", hashers.MD5PasswordHasher(), {}),
]:
    add(web, family, lambda pw: hasher.encode(pw, hasher.salt(), **cost))

signer_key = base64.b64encode(bytes(range(64))).decode()
config = {"rounds": 8, "memCost": 8, "saltSeparator": "Bw==", "signerKey": signer_key}


def firebase(password):
    salt = base64.b64encode(b"salty salt").decode()
    made = encrypt(
        base64.b64decode(signer_key), generate_derived_key(password, salt, "Bw==", 8, 8)
    )
    return [base64.b64encode(made).decode(), salt, config]


add("firebase-scrypt 0.1.0", "scrypt (Firebase)", firebase, encoding="firebaseHash")



def template(password):
    b64 = lambda data: base64.b64encode(data).decode()
    made = hashlib.sha256(b"salt" + password.encode()).digest()
    return f"$sha256$pf={b64(b'{SALT}{PASSWORD}')}${b64(b'salt')}${b64(made)}"


add("hashlib", "digest (template)", template)

print(json.dumps(vectors, ensure_ascii=False, indent=1))
