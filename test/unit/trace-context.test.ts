/** W3C Trace Context, section 3.2: what is a `traceparent` and what is not. */
import { expect, test } from "@jest/globals";
import { traceContextOf } from "../../src/server/trace-context.js";

const [traceId, spanId] = ["0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"];
const ids = `${traceId}-${spanId}`;

test.each([
  [`00-${ids}-01`, true],
  [`00-${ids}-00`, false],
  [`00-${ids}-03`, true],
  [`00-${ids}-02`, false],
  [`cc-${ids}-01`, true],
  [`cc-${ids}-01-what-the-future-will-be-like`, true],
])("%s", (traceparent, isSampled) => {
  expect(traceContextOf({ traceparent })).toEqual({ traceId, spanId, isSampled });
});

test.each([
  "",
  `00-${ids}`,
  `00-${ids}-1`,
  `00-${ids}-01-what`,
  `00-${ids}-01-`,
  `cc-${ids}-01.what`,
  `ff-${ids}-01`,
  `0-${ids}-01`,
  `00-${"0".repeat(32)}-${spanId}-01`,
  `00-${traceId}-${"0".repeat(16)}-01`,
  `00-${ids.toUpperCase()}-01`,
  `00-${ids}-0g`,
  `00-${ids}-01 `,
  `00-${ids}-01\n`,
  // What node makes of two headers.
  `00-${ids}-01, 00-${ids}-01`,
])("not %j", (traceparent) => {
  expect(traceContextOf({ traceparent })).toBeUndefined();
});

test("none", () => {
  expect(traceContextOf({})).toBeUndefined();
});
