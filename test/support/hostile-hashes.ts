/** Stored hashes that were made to do harm, and the costliest that are computed. */
const salt = "c2FsdHNhbHRzYWx0c2FsdA";
const digest = `${"a".repeat(42)}M`;
const long = "a".repeat(86);
const bcrypt = `${"a".repeat(21)}O${"a".repeat(31)}`;
const megabyte = "A".repeat(2 ** 20);

const argon2 = (costs: string) => `$argon2id$v=19$${costs}$${salt}$${digest}`;
const scrypt = (costs: string) => `$scrypt$${costs}$${salt}$${digest}`;
const aspNet = (prf: number, iterations: number, saltLength: number) => {
  const header = Buffer.alloc(13 + 48, 1);
  header.writeUInt32BE(prf, 1);
  header.writeUInt32BE(iterations, 5);
  header.writeUInt32BE(saltLength, 9);
  return header.toString("base64");
};

/** Past what their family may cost. */
export const overCeiling = [
  argon2("m=4294967295,t=2,p=1"),
  argon2("m=4294967296,t=1,p=1"),
  argon2("m=1048576,t=1,p=4"),
  argon2("m=19456,t=4294967295,p=1"),
  argon2("m=131072,t=5,p=1"),
  argon2("m=19456,t=2,p=255"),
  argon2("m=99999999999999999999999999,t=1,p=1"),
  argon2("m=4294967295,t=4294967295,p=16777215").replace("2id", "2i"),
  argon2("m=4294967295,t=1,p=1").replace("2id", "2d"),
  `argon2${argon2("m=2097152,t=1,p=4")}`,
  `{argon2}${argon2("m=2097152,t=1,p=4")}`,
  `{meteor}${argon2("m=2097152,t=1,p=4")}`,
  `$2b$31$${bcrypt}`,
  `$2y$15$${bcrypt}`,
  `$2a$99$${bcrypt}`,
  `{bcrypt}$2a$31$${bcrypt}`,
  `{meteor}$2b$31$${bcrypt}`,
  `bcrypt_sha256$$2b$31$${bcrypt}`,
  `$bcrypt-sha256$v=2,t=2b,r=31$${bcrypt.slice(0, 22)}$${bcrypt.slice(22)}`,
  `$wp$2y$31$${bcrypt}`,
  scrypt("ln=31,r=8,p=1"),
  scrypt("ln=63,r=8,p=1"),
  scrypt("ln=1048576,r=8,p=1"),
  scrypt("ln=14,r=1073741823,p=1"),
  scrypt("ln=10,r=8,p=1073741823"),
  scrypt("ln=17,r=8,p=16"),
  `scrypt$4294967296$salt$8$1$${digest}`,
  `$ff0801$${salt}$${digest}`,
  `{scrypt}$1fffff$${salt}$${digest}`,
  `$firescrypt$ln=31,r=8,p=1$${salt}$${long}$Bw==$${long}`,
  `$firescrypt$ln=9999,r=8,p=1$${salt}$${long}$Bw==$${long}`,
  `$pbkdf2-sha256$i=4294967295,l=32$${salt}$${digest}`,
  `$pbkdf2-sha512$2147483648$${salt}$${long}`,
  `$pbkdf2$200000$${salt}$${"a".repeat(1000)}`,
  `pbkdf2_sha256$2147483648$salt$${digest}`,
  `pbkdf2_sha1$999999999999999999999$salt$${digest}`,
  aspNet(1, 4_294_967_295, 16),
  aspNet(1, 10_000, 4_294_967_295),
  `$5$rounds=999999999$salt$${digest}`,
  `$6$rounds=2147483648$salt$${long}`,
  `$P$z${"a".repeat(30)}`,
  `$S$z${"a".repeat(51)}`,
  `U$S$z${"a".repeat(51)}`,
  `$sha1$4294967295$salt$${"a".repeat(28)}`,
  `scrypt:4294967296:8:1$salt$${"a".repeat(128)}`,
  `scrypt:32768:8:1073741823$salt$${"a".repeat(128)}`,
  `$scrypt$n=1073741824,r=8,p=1$${salt}$${digest}`,
  `$7$z6..../....salt$${"a".repeat(43)}`,
  `$7$CzzzzzT....salt$${"a".repeat(43)}`,
  `$fbscrypt$v=1,n=31,r=8,p=1,ss=Bw==,sk=${long}$${salt}$${long}`,
  `pbkdf2:sha256:4294967295$salt$${"a".repeat(64)}`,
  `pbkdf2:sha512:2000000$salt$${"a".repeat(1024)}`,
  `{PBKDF2-SHA512}4294967295$${salt}$${long}`,
  `{PBKDF2}$1$salt$4294967295$${"a".repeat(40)}`,
  `{PBKDF2_SHA256}${Buffer.alloc(324, 255).toString("base64")}`,
  `$pbkdf2$f=SHA256,w=4294967295,l=32$${salt}$${digest}`,
  `grub.pbkdf2.sha512.4294967295.aa.${"a".repeat(128)}`,
  `$p5k2$ffffffff$c2FsdA==$${"a".repeat(27)}=`,
  `$shiro1$SHA-256$4294967295$c2FsdA==$${digest}=`,
  `$bcrypt$v=98$r=31$${"A".repeat(22)}$${"A".repeat(31)}`,
  `{BLF-CRYPT}$2y$31$${bcrypt}`,
  `{ARGON2ID}${argon2("m=2097152,t=1,p=4")}`,
];

/** Broken, or of no family. */
export const unusable = [
  "",
  "password",
  "{noop}password",
  "!unusable",
  "\0",
  "$".repeat(2000),
  megabyte,
  argon2("m=19456,t=2,p=1") + megabyte,
  `$2b$12$${megabyte}`,
  `$pbkdf2-sha256$i=1,l=1000000$${salt}$${megabyte}`,
  argon2("m=0,t=2,p=1"),
  argon2("m=-1,t=2,p=1"),
  argon2("m=1e3,t=2,p=1"),
  argon2("m=٤٠٩٦,t=2,p=1"),
  argon2("m=19456,t=2,p=0"),
  argon2("m=7,t=1,p=1"),
  argon2("t=2,m=19456,p=1"),
  argon2("m=19456,t=2,p=1").slice(0, -30),
  argon2("m=19456,t=2,p=1").replace(digest, "!".repeat(43)),
  "$argon2id$v=19$m=19456,t=2,p=1$$",
  `$argon2id$v=99$m=19456,t=2,p=1$${salt}$${digest}`,
  `$2b$00$${bcrypt}`,
  `$2x$12$${bcrypt}`,
  `$2b$12$${bcrypt.slice(1)}`,
  `$2b$12$${"a".repeat(53)}`,
  argon2("m=19456,t=2,p=1").slice(0, -1) + "N",
  `$2b$12$${bcrypt}a`,
  `$2b$1٢$${bcrypt}`,
  "$2b$12$$2b$12$$2b$12$",
  scrypt("ln=1000,r=8,p=1"),
  scrypt("ln=0,r=8,p=1"),
  `$scrypt$ln=14,r=8,p=1$${salt}$YQ`,
  `$pbkdf2-sha256$i=10$${salt}$YQ`,
  `$pbkdf2-md5$i=10$${salt}$${digest}`,
  `{pbkdf2}${"0".repeat(32)}`,
  aspNet(9, 1000, 16),
  aspNet(1, 1000, 48),
  aspNet(1, 0, 16),
  `$6$rounds=1$salt$${long}`,
  "$6$rounds=1000$salt$",
  `$P$.${"a".repeat(30)}`,
  "{SSHA}",
  "{SSHA}YWJj",
  "{SHA}" + "A".repeat(100),
  "{SHA-256}{salt}abc",
  `$md5$pf=${Buffer.from("{SALT}").toString("base64")}$YQ==$CY9rzUYh03PK3k6DJie09g==`,
];

/** No password is known for it. */
export const ordinaryHash = argon2("m=19456,t=2,p=1");

/** As costly as their family may be, and no password is known for any. */
export const atCeiling: Readonly<Record<string, string>> = {
  bcrypt: `$2b$14$${bcrypt}`,
  argon2id: argon2("m=131072,t=4,p=1"),
  "argon2id of many passes": argon2("m=8192,t=64,p=1"),
  "argon2id of many lanes": argon2("m=131072,t=4,p=64"),
  scrypt: scrypt("ln=17,r=8,p=2"),
  "scrypt of many lanes": scrypt("ln=14,r=8,p=16"),
  pbkdf2: `$pbkdf2-sha512$i=2000000$${salt}$${long}==`,
  "sha256-crypt": `$5$rounds=1000000$salt$${digest}`,
  "sha512-crypt": `$6$rounds=1000000$salt$${long}`,
  phpass: `$P$I${"a".repeat(30)}`,
};
