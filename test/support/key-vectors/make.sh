#!/bin/sh
# Makes the key files that test/unit/key-files.test.ts reads, with tools that are not ours:
# openssl 3 and Python's cryptography. The keys protect nothing.
set -eu
cd "$(dirname "$0")"

openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out pkcs8.pem 2>/dev/null
openssl pkcs8 -topk8 -nocrypt -in pkcs8.pem -outform DER -out pkcs8.der
openssl rsa -in pkcs8.pem -traditional -out pkcs1.pem 2>/dev/null
openssl rsa -in pkcs8.pem -traditional -outform DER -out pkcs1.der 2>/dev/null
openssl pkey -in pkcs8.pem -pubout -out spki.pem
openssl pkey -in pkcs8.pem -pubout -outform DER -out spki.der
openssl rsa -in pkcs8.pem -RSAPublicKey_out -out public-pkcs1.pem 2>/dev/null
openssl rsa -in pkcs8.pem -RSAPublicKey_out -outform DER -out public-pkcs1.der 2>/dev/null
openssl req -new -x509 -key pkcs8.pem -subj /CN=test -days 36500 -out certificate.pem
openssl x509 -in certificate.pem -outform DER -out certificate.der
openssl pkcs8 -topk8 -in pkcs8.pem -passout pass:x -out encrypted-pkcs8.pem
openssl pkcs8 -topk8 -in pkcs8.pem -passout pass:x -outform DER -out encrypted-pkcs8.der
openssl rsa -in pkcs8.pem -aes128 -passout pass:x -traditional -out encrypted-pkcs1.pem 2>/dev/null
openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024 -out short.pem 2>/dev/null
openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -pkeyopt rsa_keygen_pubexp:3 \
  -out exponent.pem 2>/dev/null
openssl genpkey -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048 -out pss.pem 2>/dev/null
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out ec.pem
openssl req -new -x509 -key ec.pem -subj /CN=other -days 36500 -out other-certificate.pem
cat other-certificate.pem pkcs8.pem > mismatched.pem
(openssl x509 -in certificate.pem -text && cat pkcs8.pem) > matched.pem
cat certificate.pem spki.pem public-pkcs1.pem > many.pem

python3 - <<'PYTHON'
import base64, hashlib, json
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

def text(number):
    raw = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

def jwk(key):
    numbers = key.public_key().public_numbers()
    return {"kty": "RSA", "n": text(numbers.n), "e": text(numbers.e)}

def thumbprint(jwk):
    form = json.dumps({k: jwk[k] for k in sorted(jwk)}, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(hashlib.sha256(form).digest()).rstrip(b"=").decode()

def write(name, value):
    with open(name, "w") as file:
        json.dump(value, file, indent=2)
        file.write("\n")

with open("pkcs8.pem", "rb") as file:
    ours = serialization.load_pem_private_key(file.read(), None)
other = rsa.generate_private_key(65537, 3072)
with open("python.pem", "wb") as file:
    file.write(other.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption()).replace(b"\n", b"\r\n"))
write("thumbprints.json", {"pkcs8": thumbprint(jwk(ours)), "python": thumbprint(jwk(other))})
write("jwk.json", jwk(ours))
write("jwks.json", {"keys": [
    {**jwk(ours), "kid": "old-1", "use": "sig", "alg": "RS256", "iss": "https://old.example"},
    jwk(other),
    {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
    {**jwk(other), "use": "enc"},
    {**jwk(other), "alg": "RS512"},
]})
write("private-jwk.json", {**jwk(ours), "d": text(ours.private_numbers().d)})

# A private key whose parts do not fit together: the modulus of one, the rest of the other.
der = open("pkcs8.der", "rb").read()
n = ours.private_numbers().public_numbers.n
twin = rsa.generate_private_key(65537, 2048).private_numbers().public_numbers.n
size = 256
with open("damaged.der", "wb") as file:
    file.write(der.replace(n.to_bytes(size, "big"), twin.to_bytes(size, "big")))
PYTHON
