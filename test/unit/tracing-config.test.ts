/** OpenTelemetry's variables: when traces are sent, and which values are told as faults. */
import { describe, expect, test } from "@jest/globals";
import { likelyTypos } from "../../src/config/config.js";
import { readTracingConfig } from "../../src/observability/tracing-config.js";

const endpoint = { OTEL_EXPORTER_OTLP_ENDPOINT: "http://collector:4318" };

describe("traces are sent", () => {
  test.each<[boolean, Record<string, string>]>([
    [false, {}],
    [false, { OTEL_SERVICE_NAME: "logins", OTEL_TRACES_SAMPLER: "always_on" }],
    [true, endpoint],
    [true, { OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: "https://user:pass@collector/v1/traces" }],
    [true, { OTEL_TRACES_EXPORTER: "otlp" }],
    [false, { ...endpoint, OTEL_TRACES_EXPORTER: "none" }],
    [true, { ...endpoint, OTEL_TRACES_EXPORTER: " " }],
    [false, { ...endpoint, OTEL_SDK_DISABLED: "True" }],
    [true, { ...endpoint, OTEL_SDK_DISABLED: "false" }],
  ])("%j: %j", (isOn, env) => {
    expect(readTracingConfig(env)).toMatchObject({ isOn, faults: [] });
  });
});

test.each<[string, string, readonly string[]]>([
  ["OTEL_SDK_DISABLED", "1", ["false"]],
  ["OTEL_TRACES_EXPORTER", "zipkin", ["otlp"]],
  ["OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317", ["https://collector.example/otlp/"]],
  ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "grpc://collector", ["HTTP://collector/v1/traces"]],
  ["OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", ["http/protobuf"]],
  [
    "OTEL_EXPORTER_OTLP_HEADERS",
    "secret",
    ["a=b", "authorization=Basic%20YTpi==, x-tenant=1", "authorization=Bearer abc"],
  ],
  ["OTEL_EXPORTER_OTLP_HEADERS", "a=b,c", []],
  ["OTEL_EXPORTER_OTLP_HEADERS", "a=%zz", []],
  ["OTEL_EXPORTER_OTLP_HEADERS", "a=b\nc", []],
  ["OTEL_EXPORTER_OTLP_TIMEOUT", "10s", ["10000"]],
  ["OTEL_EXPORTER_OTLP_COMPRESSION", "br", ["gzip", "none"]],
  ["OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere.pem", [import.meta.filename]],
  ["OTEL_RESOURCE_ATTRIBUTES", "a", ["a=b", "a=b,c=d%2Ce"]],
  ["OTEL_RESOURCE_ATTRIBUTES", "a=b=c", []],
  ["OTEL_TRACES_SAMPLER", "sometimes", ["traceidratio", "parentbased_always_off"]],
  ["OTEL_TRACES_SAMPLER_ARG", "10%", ["0", "1", "0.25", "1.0"]],
  ["OTEL_TRACES_SAMPLER_ARG", "1.5", []],
  ["OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "0", ["512"]],
  ["OTEL_BSP_SCHEDULE_DELAY", "-1", ["5000"]],
])("%s=%j is a fault", (name, bad, good) => {
  const { isOn, faults } = readTracingConfig({ ...endpoint, [name]: bad });
  expect(isOn).toBe(false);
  expect(faults).toEqual([
    expect.stringMatching(new RegExp(`^${name} must be .*no traces are sent`)),
  ]);
  // Nobody is told who wants no traces.
  expect(readTracingConfig({ [name]: bad, OTEL_SDK_DISABLED: "true" }).faults).toEqual([]);
  for (const value of good) {
    expect(readTracingConfig({ ...endpoint, [name]: value })).toMatchObject({
      isOn: true,
      faults: [],
    });
  }
});

test("the variable for traces has precedence", () => {
  const env = { ...endpoint, OTEL_EXPORTER_OTLP_PROTOCOL: "grpc" };
  expect(readTracingConfig(env).isOn).toBe(false);
  const specific = { ...env, OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: "http/protobuf" };
  expect(readTracingConfig(specific).isOn).toBe(true);
});

test.each([
  [undefined, true],
  ["tracecontext, baggage", true],
  ["none", false],
  ["b3", false],
])("callers are followed with OTEL_PROPAGATORS=%s: %s", (OTEL_PROPAGATORS, followsCallers) => {
  expect(readTracingConfig({ OTEL_PROPAGATORS }).followsCallers).toBe(followsCallers);
});

test("none of them is taken for a typo of ours", () => {
  const names = ["SDK_DISABLED", "SERVICE_NAME", "LOG_LEVEL", "TRACES_SAMPLER", "PROPAGATORS"];
  const all = ["OTLP_ENDPOINT", "OTLP_HEADERS", "OTLP_TIMEOUT"].map((name) => `EXPORTER_${name}`);
  const env = Object.fromEntries([...names, ...all].map((name) => [`OTEL_${name}`, "x"]));
  expect(likelyTypos(env)).toEqual([]);
});
