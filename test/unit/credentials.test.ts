import { describe, expect, test } from "@jest/globals";
import { parseAuthorization, parsePasswordCredentials } from "../../src/auth/credentials.js";

const basic = (pair: string | Buffer) => `Basic ${Buffer.from(pair).toString("base64")}`;

describe("parseAuthorization", () => {
  test.each([
    ["the old server's sample", "Basic VGVzdFVzZXI6cGFzc3dvcmQ=", "TestUser", "password"],
    ["no padding", "Basic VGVzdFVzZXI6cGFzc3dvcmQ", "TestUser", "password"],
    ["the scheme in other case", "bAsIc VGVzdFVzZXI6cGFzc3dvcmQ=", "TestUser", "password"],
    ["several spaces", "Basic   VGVzdFVzZXI6cGFzc3dvcmQ=", "TestUser", "password"],
    ["further colons", basic("a:b:c:"), "a", "b:c:"],
    ["UTF-8", basic("é:ü€😀"), "é", "ü€😀"],
    ["a byte order mark, as part of the name", basic("\ufeffa:b"), "\ufeffa", "b"],
    ["256 emoji", basic(`${"😀".repeat(256)}:b`), "😀".repeat(256), "b"],
  ])("reads %s", (_, header, username, password) => {
    expect(parseAuthorization(header)).toEqual({ scheme: "basic", username, password });
  });

  test("reads a Bearer token as it is", () => {
    expect(parseAuthorization("bearer a.b-_~+/.c==")).toEqual({
      scheme: "bearer",
      token: "a.b-_~+/.c==",
    });
  });

  test.each([
    ["nothing", undefined],
    ["an empty header", ""],
    ["a scheme alone", "Basic"],
    ["a scheme and a space", "Basic "],
    ["another scheme", "Digest VGVzdFVzZXI6cGFzc3dvcmQ="],
    ["a tab", "Basic\tVGVzdFVzZXI6cGFzc3dvcmQ="],
    ["two credentials", "Basic VGVzdFVzZXI6cGFzc3dvcmQ=, Basic VGVzdFVzZXI6cGFzc3dvcmQ="],
    ["parameters", 'Basic realm="a"'],
    ["no colon", basic("TestUser")],
    ["an empty username", basic(":password")],
    ["an empty password", basic("TestUser:")],
    ["what is not UTF-8", basic(Buffer.from([0x61, 0x3a, 0xff]))],
    ["the base64url alphabet", "Basic Pz8_Og=="],
    ["too much padding", "Basic VGVzdFVzZXI6cGFzc3dvcmQ=="],
    ["padding in the middle", "Basic VGVz=dFVzZXI6cGFzc3dvcmQ="],
    ["bits left over", "Basic VGVzdFVzZXI6cGFzc3dvcmR="],
    ["a length that base64 cannot have", "Basic YTpi4"],
    ["a username of 257 code points", basic(`${"a".repeat(257)}:b`)],
    ["a password of 1,025 bytes", basic(`a:${"é".repeat(512)}b`)],
  ])("refuses %s", (_, header) => {
    expect(() => parseAuthorization(header)).toThrow(
      expect.objectContaining({ code: "invalid_credentials" }),
    );
  });
});

describe("parsePasswordCredentials", () => {
  test("takes what is as long as may be", () => {
    const credentials = { username: "😀".repeat(256), password: "é".repeat(512) };
    const { username, password } = credentials;
    expect(parsePasswordCredentials(username, password)).toEqual(credentials);
  });

  test.each([
    ["missing", undefined, "b"],
    ["missing", "", "b"],
    ["missing", "a", ""],
    ["missing", "a", 1],
    ["missing", null, "b"],
    ["missing", "a".repeat(257), ""],
    ["too_long", "a".repeat(257), "b"],
    ["too_long", `${"😀".repeat(256)}a`, "b"],
    ["too_long", "a", "é".repeat(513)],
  ])("refuses what is %s", (fault, username, password) => {
    expect(() => parsePasswordCredentials(username, password)).toThrow(
      expect.objectContaining({ code: "invalid_argument", fault }),
    );
  });
});
