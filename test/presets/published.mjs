/** Writes published.json: hashes by foreign libraries in documents of the published form. See README.md. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { hash } from "@node-rs/bcrypt";

const password = "correct horse battery";
const sha256 = createHash("sha256").update(password).digest("hex");
const meteorUser = {
  _id: "EYYs7Xf9AmFpYMbDe",
  createdAt: { $date: "2024-05-06T07:08:09.010Z" },
  emails: [{ address: "alice@example.com", verified: true }],
  services: {
    password: { bcrypt: await hash(sha256, 10) },
    resume: { loginTokens: [] },
  },
  username: "alice",
  roles: ["user", "admin"],
};
const vectors = JSON.parse(
  readFileSync(new URL("../vectors/hashes-node.json", import.meta.url), "utf8"),
);
const v3 = vectors.find(({ family, password }) => family.includes("v3") && password === "password");
const aspNetUser = {
  _id: { $oid: "65f1c0ffee65f1c0ffee65f1" },
  UserName: "alice",
  NormalizedUserName: "ALICE",
  Email: "alice@example.com",
  NormalizedEmail: "ALICE@EXAMPLE.COM",
  EmailConfirmed: true,
  PasswordHash: v3.hash,
  SecurityStamp: "GQWJ2Y5S3TCLXDR4TGCAVG5JQ4T2AXBY",
  ConcurrencyStamp: "0190f5b2-7c1e-7a3b-9d4e-2f1a3b4c5d6e",
  PhoneNumber: null,
  PhoneNumberConfirmed: false,
  TwoFactorEnabled: false,
  LockoutEnd: null,
  LockoutEnabled: true,
  AccessFailedCount: 0,
  AuthenticatorKey: null,
  Roles: ["ADMIN"],
  Claims: [],
  Logins: [],
  Tokens: [],
  RecoveryCodes: [],
};
const deviseUser = {
  _id: { $oid: "65f1c0ffee65f1c0ffee65f2" },
  email: "alice@example.com",
  encrypted_password: (await hash(password, 11)).replace("$2b$", "$2a$"),
  sign_in_count: 3,
  failed_attempts: 0,
};
process.stdout.write(
  `${JSON.stringify(
    {
      meteor: {
        by: "the form of Meteor 3's accounts-password; bcrypt by @node-rs/bcrypt 1.10.7",
        collections: {
          users: [
            meteorUser,
            { ...meteorUser, _id: "b5xMHYMkmRpcpkxFF", username: "mallory", active: false },
          ],
        },
        indexes: {
          users: [{ key: { username: 1 }, name: "username_1", unique: true, sparse: true }],
        },
      },
      "aspnet-identity": {
        by: `the form of AspNetCore.Identity.Mongo; hash by ${v3.by}`,
        password: "password",
        collections: {
          Users: [
            aspNetUser,
            {
              ...aspNetUser,
              _id: { $oid: "65f1c0ffee65f1c0ffee65f3" },
              UserName: "mallory",
              NormalizedUserName: "MALLORY",
              LockoutEnd: [{ $numberLong: "3155378975999999999" }, 0],
            },
          ],
        },
        indexes: { Users: [] },
      },
      devise: {
        by: "the form of Devise on Mongoid with Lockable; bcrypt by @node-rs/bcrypt 1.10.7",
        collections: {
          users: [
            deviseUser,
            {
              ...deviseUser,
              _id: { $oid: "65f1c0ffee65f1c0ffee65f4" },
              email: "mallory@example.com",
              locked_at: { $date: "2024-05-06T07:08:09.010Z" },
            },
          ],
        },
        indexes: { users: [{ key: { email: 1 }, name: "email_1", unique: true }] },
      },
    },
    null,
    1,
  )}\n`,
);
