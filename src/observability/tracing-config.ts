/**
 * Whether traces are on, by OpenTelemetry's own environment variables, and the faults of those
 * variables. The SDK reads them itself and silently takes the default for a value that it cannot
 * use, which could send every trace, or send it to the wrong place. So after a fault no trace is
 * sent, and the operator is told. Depends on node only.
 */
import { accessSync, constants } from "node:fs";

type Environment = Readonly<Record<string, string | undefined>>;

interface Format {
  readonly isValid: (value: string) => boolean;
  /** Completes the sentence "VARIABLE …". Quotes no value: some hold credentials. */
  readonly fault: string;
}

function succeeds(work: () => unknown): boolean {
  try {
    work();
    return true;
  } catch {
    return false;
  }
}

const oneOf = (...values: readonly string[]): Format => ({
  isValid: (value) => values.includes(value),
  fault: `must be ${values.join(" or ")}`,
});
const wholeNumber: Format = {
  isValid: (value) => /^[1-9]\d{0,8}$/.test(value),
  fault: "must be a whole number above 0",
};
const pairs = (form: RegExp): Format => ({
  isValid: (value) =>
    succeeds(() => decodeURIComponent(value)) &&
    value.split(",").every((pair) => form.test(pair.trim())),
  fault: "must be name=value pairs, percent-encoded, separated by commas",
});
const readableFile: Format = {
  isValid: (path) => succeeds(() => accessSync(path, constants.R_OK)),
  fault: "must be a file that can be read",
};

/** A variable with `_OTLP_TRACES_` in its name takes precedence over the one with `_OTLP_`. */
const formats: Readonly<Record<string, Format>> = {
  OTEL_SDK_DISABLED: oneOf("true", "false"),
  OTEL_TRACES_EXPORTER: oneOf("otlp", "none"),
  OTEL_EXPORTER_OTLP_ENDPOINT: {
    isValid: (value) => /^https?:\/\//i.test(value) && URL.canParse(value),
    fault: "must be a URL such as http://collector.example:4318",
  },
  OTEL_EXPORTER_OTLP_PROTOCOL: oneOf("http/protobuf"),
  OTEL_EXPORTER_OTLP_HEADERS: pairs(/^[\w!#$%&'*+.^`|~-]+ *= *[!-~]([ -~]*[!-~])?$/),
  OTEL_EXPORTER_OTLP_COMPRESSION: oneOf("gzip", "none"),
  OTEL_EXPORTER_OTLP_TIMEOUT: wholeNumber,
  OTEL_EXPORTER_OTLP_CERTIFICATE: readableFile,
  OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE: readableFile,
  OTEL_EXPORTER_OTLP_CLIENT_KEY: readableFile,
  OTEL_RESOURCE_ATTRIBUTES: pairs(/^[^=]+=[^=]*$/),
  OTEL_TRACES_SAMPLER: oneOf(
    ...["always_on", "always_off", "traceidratio"].flatMap((name) => [name, `parentbased_${name}`]),
  ),
  OTEL_TRACES_SAMPLER_ARG: {
    isValid: (value) => /^(0(\.\d+)?|1(\.0+)?)$/.test(value),
    fault: "must be a number from 0 to 1",
  },
  OTEL_BSP_SCHEDULE_DELAY: wholeNumber,
  OTEL_BSP_EXPORT_TIMEOUT: wholeNumber,
  OTEL_BSP_MAX_QUEUE_SIZE: wholeNumber,
  OTEL_BSP_MAX_EXPORT_BATCH_SIZE: wholeNumber,
};

export interface TracingConfig {
  /** Whether traces are on and no variable has a fault. */
  readonly isOn: boolean;
  /** One sentence for each fault; none if traces are off. */
  readonly faults: readonly string[];
  /** Whether a trace that a caller began is continued. */
  readonly followsCallers: boolean;
}

/** An empty variable counts as unset. */
export function readTracingConfig(env: Environment): TracingConfig {
  const valueOf = (name: string) => env[name]?.trim() || undefined;
  const nameInUse = (name: string) => {
    const specific = name.replace("_OTLP_", "_OTLP_TRACES_");
    return valueOf(specific) === undefined ? name : specific;
  };
  const exporter = valueOf("OTEL_TRACES_EXPORTER");
  const isWanted =
    valueOf("OTEL_SDK_DISABLED")?.toLowerCase() !== "true" &&
    (exporter ?? valueOf(nameInUse("OTEL_EXPORTER_OTLP_ENDPOINT")) ?? "none") !== "none";
  const faults = isWanted ? faultsOf(valueOf, nameInUse) : [];
  const propagators = valueOf("OTEL_PROPAGATORS")?.split(",") ?? ["tracecontext"];
  return {
    isOn: isWanted && faults.length === 0,
    faults,
    followsCallers: propagators.some((name) => name.trim() === "tracecontext"),
  };
}

function faultsOf(
  valueOf: (name: string) => string | undefined,
  nameInUse: (name: string) => string,
): string[] {
  return Object.entries(formats).flatMap(([name, { isValid, fault }]) => {
    const used = nameInUse(name);
    const value = valueOf(used);
    const isFine = value === undefined || isValid(value);
    return isFine ? [] : [`${used} ${fault}; no traces are sent`];
  });
}

/** The OpenTelemetry variables that are set, with credentials masked. */
export function describeTracing(env: Environment): Record<string, string | undefined> {
  const described = Object.entries(env)
    .filter(([name, value]) => name.startsWith("OTEL_") && value)
    .map(([name, value = ""]) => {
      const isHeaders = name.endsWith("_HEADERS");
      return [name, isHeaders ? "********" : value.replace(/\/\/.*@/, "//********@")] as const;
    });
  return { OTEL_EXPORTER_OTLP_ENDPOINT: undefined, ...Object.fromEntries(described) };
}
