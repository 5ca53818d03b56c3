"""Vectors by Python's implementations. See README.md."""

import base64
import hashlib
import hmac
import json
import subprocess
import warnings
from urllib.parse import quote
from importlib.metadata import version as version_of

warnings.simplefilter("ignore")
import argon2
import bcrypt
import django
import passlib
from argon2.low_level import Type, hash_secret
from django.conf import settings
from werkzeug.security import generate_password_hash
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
    ("digest (Django, Werkzeug)", p.django_salted_sha1),
    ("sha1-crypt", p.sha1_crypt.using(rounds=100)),
    ("scrypt (crypt)", p.scrypt.using(rounds=8, block_size=8, ident="$7$")),
    ("pbkdf2 (OpenLDAP)", p.ldap_pbkdf2_sha1.using(rounds=50)),
    ("pbkdf2 (OpenLDAP)", p.ldap_pbkdf2_sha256.using(rounds=50)),
    ("pbkdf2 (OpenLDAP)", p.ldap_pbkdf2_sha512.using(rounds=50)),
    ("pbkdf2 (Atlassian)", p.atlassian_pbkdf2_sha1),
    ("pbkdf2 (GRUB)", p.grub_pbkdf2_sha512.using(rounds=50)),
    ("pbkdf2 (Cryptacular)", p.cta_pbkdf2_sha1.using(rounds=50)),
    ("md5 (LDAP)", p.ldap_md5),
    ("md5 (LDAP)", p.ldap_salted_md5),
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
    ("digest (Django, Werkzeug)", hashers.MD5PasswordHasher(), {}),
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
flask = f"Werkzeug {version_of('werkzeug')}"
for family, method in [
    ("scrypt (Werkzeug)", "scrypt:256:8:1"),
    ("pbkdf2 (Werkzeug)", "pbkdf2:sha1:50"),
    ("pbkdf2 (Werkzeug)", "pbkdf2:sha256:50"),
    ("pbkdf2 (Werkzeug)", "pbkdf2:sha512:50"),
]:
    add(flask, family, lambda pw: generate_password_hash(pw, method))


def werkzeug_hmac(name):
    """What generate_password_hash(…, method) wrote before Werkzeug 2.3."""
    return lambda pw: f"{name}$aB3dE6gH$" + hmac.new(b"aB3dE6gH", pw.encode(), name).hexdigest()


for name in ("sha1", "md5"):
    add("hmac, in Werkzeug 2.2's form", "digest (Django, Werkzeug)", werkzeug_hmac(name))
for name in ("sha224", "sha256", "sha384", "sha512"):
    add("hmac, in Werkzeug 2.2's form", "hmac (Werkzeug)", werkzeug_hmac(name))


def keyed(pw):
    made = hmac.new(b"key of the user", pw.encode(), "sha256").hexdigest()
    return f"$hmac-sha256${b64(made.encode())}${b64(b'key of the user')}"


def b64(data):
    return base64.b64encode(data).decode()


def bare(data):
    return b64(data).rstrip("=")


def pbkdf2(name, password, salt, rounds, size):
    return hashlib.pbkdf2_hmac(name, password.encode(), salt, rounds, size)


def shiro(java_name, name, rounds):
    def make(password):
        made = hashlib.new(name, b"0123456789abcdef" + password.encode()).digest()
        for _ in range(rounds - 1):
            made = hashlib.new(name, made).digest()
        return f"$shiro1${java_name}${rounds}${b64(b'0123456789abcdef')}${b64(made)}"

    return make


salt16, salt64 = b"S" * 16, bytes(range(64))
for family, make in [
    ("pbkdf2 (Mattermost)", lambda pw: f"$pbkdf2$f=SHA256,w=50,l=32${bare(salt16)}${bare(pbkdf2('sha256', pw, salt16, 50, 32))}"),
    ("pbkdf2 (Dovecot)", lambda pw: f"{{PBKDF2}}$1$salt$50${pbkdf2('sha1', pw, b'salt', 50, 20).hex()}"),
    ("pbkdf2 (389 Directory Server)", lambda pw: "{PBKDF2_SHA256}" + b64((50).to_bytes(4, "big") + salt64 + pbkdf2("sha256", pw, salt64, 50, 256))),
    ("md5 (Dovecot)", lambda pw: "{PLAIN-MD5}" + hashlib.md5(pw.encode()).hexdigest()),
    ("md5 (Dovecot)", lambda pw: "{LDAP-MD5}" + b64(hashlib.md5(pw.encode()).digest())),
    ("md5 (LDAP)", lambda pw: "{SMD5.HEX}" + hashlib.md5(pw.encode() + b"salt").hexdigest() + b"salt".hex()),
    ("sha (LDAP)", lambda pw: "{SSHA384}" + b64(hashlib.sha384(pw.encode() + b"salt").digest() + b"salt")),
    ("sha (LDAP)", lambda pw: "{SHA256.HEX}" + hashlib.sha256(pw.encode()).hexdigest()),
    ("sha (LDAP)", lambda pw: "{SSHA512.B64}" + b64(hashlib.sha512(pw.encode() + b"salt").digest() + b"salt")),
    ("digest (Shiro)", shiro("SHA-256", "sha256", 50)),
    ("digest (Shiro)", shiro("SHA-512", "sha512", 1)),
]:
    add("hashlib", family, make)


add("hmac, in Ory Kratos's form", "hmac", keyed)


def supabase(password):
    made = encrypt(
        base64.b64decode(signer_key), generate_derived_key(password, b64(b"salty salt"), "Bw==", 8, 8)
    )
    return f"$fbscrypt$v=1,n=8,r=8,p=1,ss=Bw==,sk={signer_key}${b64(b'salty salt')}${b64(made)}"


add("firebase-scrypt 0.1.0, in Supabase's form", "scrypt (Supabase)", supabase)

for prefix in ("{ARGON2}", "{ARGON2ID}"):
    add(cffi, "argon2id", lambda pw: prefix + argon2.PasswordHasher(1, 256, 1).hash(pw))
add(lib, "sha512-crypt", lambda pw: "{SHA512-CRYPT}" + p.sha512_crypt.using(rounds=1000).hash(pw))
add(rust, "bcrypt", lambda pw: "{BLF-CRYPT}" + bcrypt.hashpw(pw.encode(), bcrypt.gensalt(4)).decode())

def crypt(setting, prefix=""):
    """Perl hands it to the C library's crypt, which on Debian is libxcrypt's."""
    perl = ["perl", "-e", "print crypt($ARGV[0], $ARGV[1])"]
    return lambda pw: prefix + subprocess.check_output([*perl, pw, setting], text=True)


xcrypt = "libxcrypt, called by Perl's crypt"
add(xcrypt, "yescrypt", crypt("$y$j75$F5Jx5fExrKuPp53xLKQ..1"))
add(xcrypt, "yescrypt", crypt("$y$j75$abcd", "{CRYPT}"))
for setting in ("$y$j8T$", "$y$j9T$F5Jx5fExrKuPp53xLKQ..1", "$y$j//$F5Jx5fExrKuPp53xLKQ..1"):
    add(xcrypt, "yescrypt", crypt(setting), PASSWORDS[:1])


def told(notation, rest):
    return "{format " + quote(notation, safe="!'()*~-._") + " }" + rest


for notation, make in [
    ("sha512 mix=password+salt salt=salt", lambda pw: "c2FsdA$" + hashlib.sha512(pw.encode() + b"c2FsdA").hexdigest()),
    ("md5 mix=password+salt layout=hash:salt", lambda pw: "$" + hashlib.md5(pw.encode() + b"saltsalt").hexdigest() + ":saltsalt"),
    ("sha256", lambda pw: "$" + hashlib.sha256(pw.encode()).hexdigest()),
    ("pbkdf2-sha256 iterations=50 bytes=50 salt=salt", lambda pw: "salt$" + pbkdf2("sha256", pw, b"salt", 50, 50).hex()),
    ("pbkdf2-sha512 iterations=50 bytes=64 salt=salt salt-encoding=base64 encoding=base64", lambda pw: f"{b64(salt16)}$" + b64(pbkdf2("sha512", pw, salt16, 50, 64))),
    ("scrypt N=256 r=8 p=1 bytes=64 layout=salt:hash", lambda pw: "$salt:" + hashlib.scrypt(pw.encode(), salt=b"salt", n=256, r=8, p=1).hex()),
    ("marked over=sha512-hex", lambda pw: "$" + bcrypt.hashpw(hashlib.sha512(pw.encode()).hexdigest().encode()[:72], bcrypt.gensalt(4)).decode()),
]:
    add("hashlib, told", "custom", lambda pw: told(notation, make(pw)))

print(json.dumps(vectors, ensure_ascii=False, indent=1))
